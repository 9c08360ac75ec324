/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_REVIEW_H
#define PL_REVIEW_H

/*
 * Another policy: it holds for new requests from the next one on, and what lives is asked for again. What it refuses is given back,
 * with the grace time that it was registered under; what it allows goes on, by the new rule's terms.
 */

#include "revoke.h"

struct review {
        const struct policy_block *next; /* has come, in the middle of a request perhaps; NULL: none */
        bool due; /* what is refused could not be revoked yet */
};

/* The descriptor is borrowed. Returns 0 or a negative errno, see policy_map(): then all stays as it is. */
int review_take(struct review *review, int fd);

/* Does what there is to do; not inside a request. Returns how many registrations it has begun to take back. */
uint32_t review_work(struct review *review, struct registrar_state *state, struct revoker *revoker);

/* When it is to be called: CLOCK_MONOTONIC, ms; 0: never. */
uint64_t review_due(const struct review *review);

void review_done(struct review *review);

#endif
