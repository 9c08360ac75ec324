/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_EXPLAIN_LOOKUP_H
#define PL_EXPLAIN_LOOKUP_H

/*
 * A file by its name, or by the number that another process has for it, without opening it (O_PATH: no lease is broken,
 * no FIFO waits) and without going where somebody else's server would have to answer: the path is walked step by step,
 * and each mount on it is looked at in the mount table before anything is asked of it. An allow-list, fstype.h; our own
 * root counts as local.
 */

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct lookup {
        int fd;              /* O_PATH; -1: whoever looks further may wait for ever */
        char type[32];       /* then: the file system's, "" where that is not known */
        int flags;           /* lookup_fd(): as it is open there */
        char name[PATH_MAX]; /* lookup_fd(): what the kernel calls it; "" */
        bool in_memory;      /* lookup_fd(): it is of no mount that anybody has made */
        char fdinfo[64];     /* lookup_fd(): where the kernel tells more of it; else "" */
};

/* Links are followed, those of /proc/PID/fd as well. Both return 0, or a negative errno as open(2) would; *ret_found
 * has to be closed by the caller. */
int lookup_path(const char *path, struct lookup *ret_found);
int lookup_fd(pid_t pid, unsigned int fd, struct lookup *ret_found);

#endif
