/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_BELL_H
#define PL_BELL_H

/*
 * The process that the signals of leases go to, and that says by a pipe which came.
 *
 * A lease is announced by the signal that the description's owner has set, F_SETSIG in fcntl(2), and its owner is also the app:
 * whoever shares the description can choose SIGKILL or SIGSTOP. So what it hits is not the registrar but a process that has
 * nothing else to do, nothing to lose and no privilege. Started by the keeper; ends when nobody reads the pipe any more.
 */

#include <fcntl.h>
#include <stdint.h>
#include <sys/types.h>

/* The signal of a lease. When the queue of signals is full (RLIMIT_SIGPENDING), SIGIO comes instead, and tells nothing. */
#define BELL_SIGNAL (SIGRTMIN + 1)

/* How descriptions are directed to it, F_SETOWN_EX: not as F_SETOWN does it, by which an app redirects its own. So another session's
 * bell can be told from that. An app can do as if it were one, and loses only what it would by any other means. */
#define BELL_OWNER F_OWNER_TID

struct bell_ring {
        int32_t signal;
        int32_t fd; /* the number in the process that took the lease */
};

/* Returns 0, the pipe to read struct bell_ring from (whole ones, when it polls readable), and the child's number; or a negative
 * errno. */
int bell_start(int *ret_pipe, pid_t *ret_pid);

#endif
