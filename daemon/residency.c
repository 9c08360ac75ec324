/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "residency.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

/* cachestat(2), Linux 6.5; the distribution's headers may be older. */
struct cachestat_range_ {
        uint64_t off, len;
};

struct cachestat_ {
        uint64_t nr_cache, nr_dirty, nr_writeback, nr_evicted, nr_recently_evicted;
};

/* Returns how many pages, or a negative errno. */
static int64_t by_cachestat(int fd, uint64_t offset, uint64_t length) {
        struct cachestat_range_ range = { .off = offset, .len = length };
        struct cachestat_ cs;

        if (syscall(SYS_cachestat, fd, &range, &cs, 0) < 0)
                return -errno;
        return (int64_t)cs.nr_cache;
}

/* To whom mincore() does not want to tell it says "all there" (can_do_mincore() of the kernel), so that is asked first. */
static int may_ask_mincore(int fd) {
        struct statx sx;

        if (faccessat(fd, "", W_OK, AT_EMPTY_PATH | AT_EACCESS) == 0)
                return 1;
        if (statx(fd, "", AT_EMPTY_PATH, STATX_UID, &sx) < 0)
                return -errno;
        return sx.stx_uid == (uid_t)setfsuid((uid_t)-1);
}

static int by_mincore(uint64_t start, uint64_t length, uint64_t page) {
        uint64_t end = start + length;
        unsigned char present[4096];

        for (uint64_t at = start - start % page; at < end;) {
                uint64_t n = (end - at + page - 1) / page;

                if (n > sizeof present)
                        n = sizeof present;
                if (mincore((void *)(uintptr_t)at, n * page, present) < 0)
                        return -errno;
                for (uint64_t i = 0; i < n; i++)
                        if (!(present[i] & 1))
                                return 0;
                at += n * page;
        }
        return 1;
}

int residency_check(int fd, uint64_t offset, uint64_t start, uint64_t length) {
        uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
        uint64_t pages = (offset + length - 1) / page - offset / page + 1;
        int64_t present;
        int r;

        present = by_cachestat(fd, offset, length);
        if (present >= 0)
                return (uint64_t)present >= pages;
        if (present != -ENOSYS)
                return (int)present;

        r = may_ask_mincore(fd);
        if (r <= 0)
                return r < 0 ? r : -EPERM;
        return by_mincore(start, length, page);
}

int residency_any(int fd, uint64_t offset, uint64_t length) {
        int64_t present;
        int r;

        present = by_cachestat(fd, offset, length);
        if (present >= 0)
                return present > 0;
        if (present == -EPERM)
                return -EPERM;

        /* It does not know huge pages. */
        r = may_ask_mincore(fd);
        return r != 0 ? r : -EPERM;
}

#define PAGEMAP_PRESENT (UINT64_C(1) << 63)

/* A huge page has as many entries as it has small pages, all alike: the first is enough. */
int residency_mapped(int pagemap, uint64_t start, uint64_t length, uint64_t page) {
        uint64_t small = (uint64_t)sysconf(_SC_PAGESIZE), end = start + length, entries[512];
        uint64_t most = page == small ? sizeof entries / sizeof entries[0] : 1;

        for (uint64_t at = start - start % page; at < end;) {
                uint64_t n = (end - at + page - 1) / page;
                ssize_t k;

                n = n < most ? n : most;
                k = pread(pagemap, entries, n * sizeof entries[0], (off_t)(at / small * sizeof entries[0]));
                if (k < 0)
                        return -errno;
                if ((uint64_t)k != n * sizeof entries[0])
                        return -EIO;
                for (uint64_t i = 0; i < n; i++)
                        if (!(entries[i] & PAGEMAP_PRESENT))
                                return 0;
                at += n * page;
        }
        return 1;
}
