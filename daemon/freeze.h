/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_FREEZE_H
#define PL_FREEZE_H

/*
 * Stopping the app for a moment (SIGSTOP, SIGCONT), so that a memory region can be taken away from it.
 *
 * It goes on again whatever happens: before it is stopped there is a process that lets it go on after FREEZE_MAX_MS,
 * and at once if the keeper dies. An app that somebody else has stopped is left as it is: it stands still already, and
 * is not woken. Between looking and stopping there is a moment in which somebody else may stop it, too; then it is
 * woken.
 *
 * What cannot be helped: the app's parent is told of both (SIGCHLD), and a handler of SIGCONT runs. Other processes
 * that share the app's memory or descriptors are not stopped.
 */

#include <sys/types.h>

#include "force.h"

#define FREEZE_MAX_MS 200

struct freeze {
        const int *app; /* pidfd of the app; -1: it has gone, or is not known */
        int state;      /* freeze_open_state(); -1: it is not known whether somebody else has stopped it; owned */
        int guard;      /* pipe to the process that lets it go on; -1: there is none, it is not stopped by us; owned */
        bool may_kill;
};

#define FREEZE_INIT(pidfd, state_fd)                                                                                   \
        { .app = (pidfd), .state = (state_fd), .guard = -1 }

/* What tells the state of a process: before the keeper loses the right to open files. -1: it is not to be seen. */
int freeze_open_state(pid_t pid, int pidfd);

/* Stops the app, and waits until it stands still, for some milliseconds at most. 0 also if somebody else has stopped
 * it. -ESRCH: there is no app; or a negative errno. */
int freeze_stop(struct freeze *freeze);

/* Lets it go on, if freeze_stop() has stopped it. */
void freeze_release(struct freeze *freeze);

/* What the registrar says (CONTROL_FREEZE). Returns 0 or a negative errno; -EPERM: the app may not be killed. */
int freeze_order(struct freeze *freeze, uint32_t what);

/* Releases. The pidfd stays. */
void freeze_done(struct freeze *freeze);

/* These, for force.h. userdata is the struct freeze. */
extern const struct force_ops freeze_ops;

#endif
