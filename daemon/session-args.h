/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_SESSION_ARGS_H
#define PL_SESSION_ARGS_H

/*
 * How pinleased starts pinlease-session: descriptors at fixed places, the rest on the command line, where an
 * administrator's ps shows it. Writer and reader are in one file so that they agree.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "credit.h"
#include "privileges.h"

#define SESSION_FD_CLIENT     3
#define SESSION_FD_SUPERVISOR 4
#define SESSION_FD_APP        5 /* pidfd, may be missing */
#define SESSION_FD_LOG_LIMIT  6 /* the page of its user, see log-limit.h; may be missing */
#define SESSION_FD_POLICY     7 /* see policy-share.h */
#define SESSION_N_FDS         5

struct session_args {
        uint64_t session;
        char session_socket[108]; /* where a successor of pinleased is found; "": nowhere */
        pid_t app_pid;
        struct registrar_identity identity;
        struct credit_amount limits;
        struct credit_amount credit; /* what it holds to begin with */
        unsigned int heartbeat_ms;
        unsigned int hang_ms;
        unsigned int hello_timeout_ms;
};

#define SESSION_ARGC 17
#define SESSION_ARG_MAX 128

struct session_argv {
        char text[SESSION_ARGC][SESSION_ARG_MAX];
        char *argv[SESSION_ARGC + 1];
};

void session_args_format(const struct session_args *args, struct session_argv *ret_argv);

/* Every argument must be there, once, and nothing else. Returns 0 or -EINVAL. */
int session_args_parse(int argc, char *const argv[], struct session_args *ret_args);

#endif
