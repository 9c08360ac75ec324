/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_SUPERVISOR_H
#define PL_SUPERVISOR_H

/*
 * Accepts connections and gives each a session of its own. Never receives, maps, stats or closes a descriptor of an app:
 * it hands the connection over and closes it without having read a byte.
 */

#include <stdint.h>
#include <sys/types.h>

#include "credit.h"

struct supervisor_config {
        int listener; /* owned */
        const char *session_program;
        uid_t uid; /* of registrars */
        gid_t gid;
        struct credit_amount limits; /* of one session */
        unsigned int max_sessions;
        unsigned int max_sessions_per_user;
        unsigned int grace_ms; /* what apps get when the service stops */
        unsigned int heartbeat_ms;
        unsigned int hang_ms;
        unsigned int hello_timeout_ms;
};

/* Serves until SIGTERM or SIGINT, ends the sessions, and returns 0 or a negative errno. */
int supervisor_run(const struct supervisor_config *config);

#endif
