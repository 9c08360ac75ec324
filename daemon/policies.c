/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policies.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "policy-share.h"

/* All to the log, the first error to who asks. */
static void tell_problems(struct policies *p, const struct policy_problems *problems) {
        for (size_t i = 0; i < problems->n; i++) {
                _cleanup_(pl_freep) char *line = policy_problem_format(problems->list + i);

                if (!line)
                        continue;
                if (!problems->list[i].warning && !p->wrong[0])
                        (void)snprintf(p->wrong, sizeof p->wrong, "%s", line);
                if (problems->list[i].warning)
                        log_line(LOG_WARNING, "%s", line);
                else
                        log_event(LOG_ERR, EVENT_POLICY_BROKEN, "%s", line);
        }
        if (problems->n < problems->n_errors + problems->n_warnings)
                log_line(LOG_WARNING,
                         "of %zu errors and %zu warnings in the policy the first %zu are shown",
                         problems->n_errors,
                         problems->n_warnings,
                         problems->n);
}

int policies_load(struct policies *p) {
        struct policy_problems problems = { 0 };
        struct policy_source source = p->source;
        _cleanup_(pl_freep) struct policy_block *block = NULL;
        int r, fd;

        source.generation = p->generation + 1;
        r = policy_load(&source, &problems, &block);
        p->wrong[0] = '\0';
        tell_problems(p, &problems);
        if (r == 0)
                p->n_warnings = (unsigned int)problems.n_warnings;
        policy_problems_done(&problems);
        if (r < 0 && !p->wrong[0])
                (void)snprintf(p->wrong, sizeof p->wrong, "%s", strerror(-r));
        if (r < 0)
                return r;

        fd = policy_share(block);
        if (fd < 0) {
                (void)snprintf(p->wrong, sizeof p->wrong, "%s", strerror(-fd));
                log_event(LOG_ERR, EVENT_POLICY_BROKEN, "cannot hand its policy to sessions: %s", strerror(-fd));
                return fd;
        }
        pl_close(p->fd);
        p->fd = fd;
        p->generation = source.generation;
        p->limits = block->limits;
        p->n_rules = block->n_rules;
        return 0;
}

static unsigned int minimum(uint32_t a, uint32_t b) {
        return a < b ? a : b;
}

void policies_apply(const struct policies *p, struct sessions_config *sessions, struct admission_limits *admission) {
        sessions->policy = p->fd;
        sessions->policy_generation = p->generation;
        sessions->limits = (struct account_limits) { p->limits.session, p->limits.user, p->limits.total };
        admission->sessions_per_user = p->limits.user_sessions;
        admission->sessions = minimum(p->limits.total_sessions, p->max_sessions);
        if (p->limits.total_sessions > p->max_sessions)
                log_line(LOG_WARNING,
                         "there are descriptors for %u sessions, not for %" PRIu32 ": set LimitNOFILE= in its unit",
                         p->max_sessions,
                         p->limits.total_sessions);
}

void policies_hand(const struct policies *p, struct session *session) {
        if (session->state != SESSION_SERVING || session->policy == p->generation)
                return;
        if (session_tell(session, &(struct control_message) { .type = CONTROL_POLICY }, p->fd) == 0)
                session->policy = p->generation;
}

void policies_done(struct policies *p) {
        p->fd = pl_close(p->fd);
}
