/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_POLICIES_H
#define PL_POLICIES_H

/* The policy that holds, in pinleased: loaded at the start and by a reload, for all sessions. */

#include "admission.h"
#include "policy-load.h"
#include "sessions.h"

struct policies {
        struct policy_source source; /* what it refers to is borrowed */
        uint64_t generation;         /* of what holds */
        int fd; /* of policy_share(); -1: none has been loaded */
        struct policy_limits limits;
        unsigned int max_sessions; /* that there are descriptors for, whatever the policy says */
        uint32_t n_rules;
        unsigned int n_warnings;
        char wrong[640]; /* if the last could not be loaded: the first reason */
};

/*
 * Loads it (anew). Each problem is a line in the log. On failure all stays as it was: -EBADMSG: the files are wrong; or another
 * negative errno.
 */
int policies_load(struct policies *policies);

/* What new sessions and new requests for credit are measured by, from now on. */
void policies_apply(const struct policies *policies, struct sessions_config *sessions, struct admission_limits *admission);

/* Gives it to a session that serves and has another; a keeper that cannot be told introduces itself anew. */
void policies_hand(const struct policies *policies, struct session *session);

void policies_done(struct policies *policies);

#endif
