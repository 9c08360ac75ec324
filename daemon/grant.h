/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_GRANT_H
#define PL_GRANT_H

/*
 * Private memory: no descriptor stands for it, so the registrar can neither look at it nor register it.
 *
 *   decide → charge → intent → grant → (the app registers) → check → commit
 *
 * A grant is an entry of the ledger without a handle, and a registration that is OPEN. What is known of the memory is
 * the app's word; what is known of the memory region is the kernel's (QUERY_MR), and it is destroyed only while the
 * kernel says the same of it. From the commit on it is a registration like any other.
 *
 * A pin is charged to the app by the kernel, too, and held against the app's own limit, which the keeper raises (memlock.h)
 * before the grant is made.
 */

#include "state.h"

/* For who asks the policy of private memory: there is no file. */
extern const struct pl_fdclass grant_class;

/* Returns 0, REFUSED, or a negative errno that ends the session. */
int grant_make(struct registrar_state *state,
               const struct pl_grant *request,
               struct pl_grant_reply *ret_reply,
               struct refusal *ret_refusal);

/* Returns 0, or REFUSED: then the grant is gone, unless the refusal says "busy". */
int grant_commit(struct registrar_state *state,
                 const struct pl_grant_commit *commit,
                 struct pl_grant_commit_reply *ret_reply,
                 struct refusal *ret_refusal);

/* The credit of a registration of private memory, open or committed. */
void grant_refund(struct registrar_state *state, uint32_t slot);

/* Undoes an open grant. */
void grant_drop(struct registrar_state *state, uint32_t slot);

/* Drops those whose time has come by `now` (CLOCK_MONOTONIC, ms); and when that is for the next one; 0: there is none.
 */
void grant_lapse(struct registrar_state *state, uint64_t now);
uint64_t grant_due(const struct registrar_state *state);

#endif
