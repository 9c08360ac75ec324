/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "populate.h"

#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "lastrefusal.h"
#include "util.h"

/* Linux 5.14; the C library's headers may be older. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ  22
#define MADV_POPULATE_WRITE 23
#endif

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

bool pl_access_is_writable(unsigned int access) {
        return access &
               (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_MW_BIND);
}

static bool service_knows_better(const struct pl_fdclass *class, uint64_t offset, uint64_t length, bool writable) {
        if (class->kind != PL_FD_SHMEM && class->kind != PL_FD_HUGETLB && class->kind != PL_FD_FILE &&
            class->kind != PL_FD_DEVDAX)
                return true;
        if (length > class->size || offset > class->size - length)
                return true;
        return writable &&
               ((class->flags & O_ACCMODE) != O_RDWR || (class->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)));
}

/* An empty range is accepted by every kernel that has the advice: then EINVAL was about the mapping. */
static bool kernel_can_populate(void *page, int advice) {
        return madvise(page, 0, advice) == 0;
}

static int refuse(uint64_t serial, const struct pl_fdclass *class, const void *address, uint64_t length, int error) {
        const char *why;

        switch (error) {
        case ENOMEM:
                why = "Not all of it is mapped in this process, or memory ran out. Map the file MAP_SHARED at the "
                      "address "
                      "that is given, for the whole length.";
                break;
        case EINVAL:
        case EACCES:
        case EPERM:
                why = "It is mapped without the protection that the access needs. Map it PROT_READ | PROT_WRITE for "
                      "writable access, or ask for read-only access.";
                break;
        case EFAULT:
                why = class->kind == PL_FD_HUGETLB
                              ? "No huge page is free. Reserve more (vm.nr_hugepages) or register less."
                              : "The file system gave no page: it is full, or the mapping passes the end of what is "
                                "mapped.";
                break;
        case EHWPOISON:
                why = "A page of it has a memory error. Write the file anew elsewhere.";
                break;
        default:
                why = "Nothing was registered.";
        }

        /* One errno goes with the code; the kernel's own is in the sentence. */
        return pl_refuse(serial, PINLEASE_CODE_NOT_POPULATED, EFAULT,
                         "%" PRIu64 " bytes at %p, mapping %s, could not be faulted in before registering (%s). %s",
                         length, address, pl_fdclass_name(class), strerrorname_np(error), why);
}

int pl_populate(uint64_t serial,
                int fd,
                const struct pl_fdclass *class,
                uint64_t offset,
                uint64_t length,
                void *address,
                bool writable) {
        int advice = writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
        uintptr_t mask = (uintptr_t) class->page_size - 1;
        uintptr_t first = (uintptr_t)address & ~mask, after;
        uint64_t size;
        int r;

        if (service_knows_better(class, offset, length, writable))
                return 0;

        /* Fits: the caller has checked address + length, and what does not fit after rounding up is the last page of
         * the address space, which is never mapped. */
        after = ((uintptr_t)address + (uintptr_t)length + mask) & ~mask;

        do
                r = madvise((void *)first, after - first, advice) < 0 ? -errno : 0;
        while (r == -EINTR);

        if (r == -EINVAL && !kernel_can_populate((void *)first, advice))
                return 0;

        /* Truncated since it was looked at: then it is the service that says so. */
        if (r == -EFAULT && pl_fdclass_size(fd, &size) >= 0 && size < offset + length)
                return 0;

        return r < 0 ? refuse(serial, class, address, length, -r) : 0;
}
