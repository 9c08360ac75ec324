/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_LENT_H
#define PL_LENT_H

/*
 * The keeper's copies of descriptors on which the registrar has leases. A lease is the description's, which the app shares: if
 * the registrar dies it stays, and whoever waits for it would wait until the kernel's own time is over (lease-break-time, 45 s).
 * The keeper gives it up when it has cleaned up.
 */

#include <stdbool.h>
#include <sys/types.h>

#define LENT_MAX 256

struct lent {
        int fds[LENT_MAX]; /* -1: none */
        pid_t bell;        /* 0: has not been started */
        int bell_pidfd;
        int bell_pipe; /* a copy of what the registrar reads from; -1 */
};

void lent_init(struct lent *lent);

/*
 * Takes the descriptor over by this number, and directs the signals of its description to the bell, see bell.h; starts that with
 * the first: then *ret_bell is its pipe, the caller's to close, else -1. Of one that is lent already, without a descriptor, the
 * signals are directed anew. Returns 0; a negative errno; -EPROTO: no such number is
 * to be had.
 */
int lent_add(struct lent *lent, unsigned int id, int fd, int *ret_bell);

/* Closes it. Returns 0 or -EPROTO. */
int lent_drop(struct lent *lent, unsigned int id);

/* Has the bell rung, and the registrar has not heard it yet? */
bool lent_rings(const struct lent *lent);

/* Gives up the leases on all of them, closes them, and ends the bell. */
void lent_done(struct lent *lent);

#endif
