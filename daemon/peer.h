/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_PEER_H
#define PL_PEER_H

/* Who is at the other end of a connection: asked once, at accept, of the kernel. */

#include <sys/types.h>

struct peer {
        pid_t pid;
        uid_t uid;
        gid_t gid;
        int pidfd; /* -1 if the kernel cannot tell (before Linux 6.5 and the process gone) */
};

/* Returns 0 or a negative errno. -ESRCH: the process has gone already. */
int peer_get(int sock, struct peer *ret_peer);
void peer_done(struct peer *peer);

#endif
