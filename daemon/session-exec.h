/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_SESSION_EXEC_H
#define PL_SESSION_EXEC_H

/* A process that executes pinlease-session. Knows how descriptors get to their places, see session-args.h. */

#include "session-args.h"

/*
 * program: a descriptor, so that the version is the caller's own, whatever is installed meanwhile. fds: for
 * SESSION_FD_CLIENT and so on; -1: missing. All stay the caller's. Returns the process, or a negative errno.
 */
pid_t session_exec(int program, const struct session_args *args, const int fds[static SESSION_N_FDS]);

#endif
