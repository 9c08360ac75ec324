/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_FUSE_H
#define TEST_FUSE_H

/*
 * A file on a FUSE file system whose server answers what open(2) needs, and nothing after that. Whoever closes the
 * file, or ends with it open, hangs until fuse_abort().
 */

#include <stdbool.h>
#include <sys/types.h>

struct fuse {
        pid_t server;
        char folder[64];
        int fd; /* of the file; -1 before fuse_open() */
};

/*
 * Mounts and starts the server. One per case. FAIL() aborts it, so that the case can end. for_all: with allow_other, as
 * root may; else the file says nothing, not even its type, to anybody but the mount's owner, as with every user's mounts.
 */
struct fuse fuse_start(bool for_all);

/*
 * Opens the file. Not in a process that starts others: their exec() closes what is close-on-exec, and hangs in that.
 * Nor in one that must end before fuse_abort(). Forked children must not live longer either.
 */
void fuse_open(struct fuse *fuse);

/* The server ends, and with it the connection: everything that hangs gets its error. Closes, unmounts. */
void fuse_abort(struct fuse *fuse);

#endif
