/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_FSTYPE_H
#define PL_FSTYPE_H

/*
 * File systems that answer from the kernel's own memory or from a local block device: by the name in mountinfo, and by
 * the number of statfs(2). An allow-list: a file on any other may hang whoever touches it, see fdclass.h.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Returns 0 or -ENOENT. */
int pl_fstype_magic(const char *name, uint64_t *ret_magic);

bool pl_fstype_is_local(uint64_t magic);

/* What a regular file of it is, if it is not on DAX. */
enum pl_fsuse {
        PL_FS_NO_MEMORY, /* made up by the kernel when it is read; or nothing is known of that file system */
        PL_FS_PAGECACHE, /* pages of the page cache, which are written back after they have been written to: a fault
                          * tells, and whoever has mapped them is told when they go */
        PL_FS_OTHER,     /* something else, or nobody has looked: only for who names it in a rule */
};
enum pl_fsuse pl_fstype_use(uint64_t magic);

/* The names, one after the other; NULL: there are no more. */
const char *pl_fstype_name(size_t i);

/* What a file has that a server in user space answers for: FUSE and virtiofs. */
#define PL_FSTYPE_FUSE 0x65735546

#endif
