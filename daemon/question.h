/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_QUESTION_H
#define PL_QUESTION_H

/* What the policy is asked: of a registration in the making, and of one that lives (review.h). */

#include "place.h"
#include "state.h"

struct question_of {
        const struct context *context;
        const struct pl_fdclass *class;
        int fd; /* -1: there is none any more, and so no path */
        const char *name; /* of a dma-buf, as the ledger has it (dmabuf-mr.h); NULL: not known */
        enum pinlease_backing backing;
        uint32_t access; /* IBV_ACCESS_… */
        uint64_t length;
        unsigned int accepted; /* enum pinlease_method */
};

/* Returns 0 or REFUSED. */
int question_ask(const struct registrar_state *state,
                 const struct question_of *of,
                 struct policy_decision *ret_decision,
                 struct refusal *ret_refusal);

/* What a rule says of a registration by that method. */
struct terms question_terms(const struct policy_rule *rule, enum pinlease_method method);

#endif
