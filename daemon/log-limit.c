/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log-limit.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "util.h"

#define PAGE_SIZE 4096

/* Several processes write it, and a session may be of another version than pinleased: the size is fixed, and whatever
 * stands in there, nothing worse happens than that a line is or is not written. */
struct counter {
        _Atomic uint64_t began; /* the interval, ms */
        _Atomic uint32_t written;
        _Atomic uint32_t missed;
};

struct page {
        struct counter counters[PAGE_SIZE / sizeof(struct counter)];
};

_Static_assert(sizeof(struct page) == PAGE_SIZE, "page");
_Static_assert(N_EVENTS <= PAGE_SIZE / sizeof(struct counter), "kinds of messages");

struct user {
        struct page *page; /* NULL: the place is free */
        int fd;
        uid_t uid;
        uint64_t used;
};

static struct user users[LOG_LIMIT_USERS + 1]; /* the last is for all who find no place */
static struct page own;                        /* what concerns no user */
static struct page *only;                      /* in a session */

static struct page *map(int fd) {
        void *p = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        return p == MAP_FAILED ? NULL : p;
}

/* Sealed: who shortens it kills everybody who looks at it. */
static int create(struct user *ret_user) {
        _cleanup_(pl_closep) int fd = memfd_create("pinlease-limits", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        struct page *page;

        if (fd < 0 || ftruncate(fd, PAGE_SIZE) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
                return -errno;
        page = map(fd);
        if (!page)
                return -errno;
        *ret_user = (struct user) { .page = page, .fd = pl_steal_fd(&fd) };
        return 0;
}

static struct user *find(uid_t uid) {
        uint64_t now = pl_now_ms();
        struct user *oldest = users, *user;

        for (user = users; user < users + LOG_LIMIT_USERS; user++) {
                if (!user->page || user->uid == uid)
                        break;
                if (user->used < oldest->used)
                        oldest = user;
        }
        if (user == users + LOG_LIMIT_USERS && now - oldest->used >= LOG_LIMIT_INTERVAL_MS)
                user = oldest;

        if (!user->page || (user == oldest && user->uid != uid)) {
                struct user fresh;

                if (create(&fresh) < 0)
                        return NULL;
                if (user->page) {
                        /* The sessions of whoever was here go on counting in the old page, among themselves. */
                        (void)munmap(user->page, PAGE_SIZE);
                        pl_close(user->fd);
                }
                fresh.uid = user == users + LOG_LIMIT_USERS ? (uid_t)-1 : uid;
                *user = fresh;
        }
        user->used = now;
        return user;
}

int log_limit_fd(uid_t uid) {
        const struct user *user = find(uid);

        return user ? user->fd : -1;
}

int log_limit_use(int fd) {
        struct page *page;
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size != PAGE_SIZE)
                return -EINVAL;
        page = map(fd);
        if (!page)
                return -errno;
        if (only)
                (void)munmap(only, PAGE_SIZE);
        only = page;
        return 0;
}

static struct page *page_of(const uid_t *uid) {
        const struct user *user;

        if (only)
                return only;
        user = uid ? find(*uid) : NULL;
        return user ? user->page : &own;
}

/* Another process may have begun the interval a moment after `now`: that is not long ago. */
static bool is_over(uint64_t began, uint64_t now) {
        return now - began + LOG_LIMIT_INTERVAL_MS >= 2 * LOG_LIMIT_INTERVAL_MS;
}

bool log_limit_take(const uid_t *uid, enum log_message message, uint32_t *ret_missed) {
        struct counter *counter = page_of(uid)->counters + message;
        uint64_t now = pl_now_ms(), began = atomic_load(&counter->began);

        *ret_missed = 0;
        /* Of several who find it over, one begins the next. */
        if (is_over(began, now) && atomic_compare_exchange_strong(&counter->began, &began, now)) {
                *ret_missed = atomic_exchange(&counter->missed, 0);
                atomic_store(&counter->written, 0);
        }

        /* Not by fetch_add alone, which would come round to 0 again. */
        if (atomic_load(&counter->written) < LOG_LIMIT_BURST && atomic_fetch_add(&counter->written, 1) < LOG_LIMIT_BURST)
                return true;
        (void)atomic_fetch_add(&counter->missed, 1);
        return false;
}

static void reap(struct page *page, const uid_t *uid, bool all, log_limit_report report) {
        uint64_t now = pl_now_ms();

        for (unsigned int i = 0; i < N_EVENTS; i++) {
                struct counter *counter = page->counters + i;
                uint32_t missed;

                if (atomic_load(&counter->missed) == 0 || (!all && !is_over(atomic_load(&counter->began), now)))
                        continue;
                missed = atomic_exchange(&counter->missed, 0);
                if (missed > 0)
                        report(uid, i, missed);
        }
}

void log_limit_reap(bool all, log_limit_report report) {
        reap(&own, NULL, all, report);
        for (struct user *user = users; user <= users + LOG_LIMIT_USERS; user++)
                if (user->page)
                        reap(user->page, user->uid == (uid_t)-1 ? NULL : &user->uid, all, report);
}
