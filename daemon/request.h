/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_REQUEST_H
#define PL_REQUEST_H

/*
 * The way of a request through the registrar, in one direction:
 *
 *   identify → decide → charge → intent → map → register → verify again → commit
 *
 * and back in the reverse order if a step fails. Knows neither the socket nor the keeper.
 */

#include "force.h"
#include "state.h"

/*
 * Deregisters everything, by force but without doing anything to the app, unmaps everything, closes the contexts, frees
 * memory. What the kernel would not let go stays in the ledger for the keeper. Returns how many those are.
 */
unsigned int state_done(struct registrar_state *state);

/*
 * Takes a command fd in. `class` is the descriptor's, which must not hang. On success the slot owns the descriptor and
 * ret_index names it. Returns 0, REFUSED, or a negative errno that ends the session.
 */
int request_attach(struct registrar_state *state,
                   int fd,
                   const struct pl_fdclass *class,
                   uint32_t *ret_index,
                   struct refusal *ret_refusal);

/* Deregisters what is on the context and closes the descriptor. Returns 0 or REFUSED. */
int request_detach(struct registrar_state *state, uint32_t index, struct refusal *ret_refusal);

/* fd is borrowed. Returns 0, REFUSED, or a negative errno that ends the session. */
int request_register(struct registrar_state *state,
                     const struct pl_register *request,
                     int fd,
                     const struct pl_fdclass *class,
                     struct pl_register_reply *ret_reply,
                     struct refusal *ret_refusal);

/* Deregisters what is on one context. Returns 0, or REFUSED at the first that the kernel keeps. */
int request_deregister_all(struct registrar_state *state, uint32_t context, struct refusal *ret_refusal);

/* Returns 0 or REFUSED. */
int request_deregister(struct registrar_state *state, uint64_t id, struct refusal *ret_refusal);

/* The same, against the app's will. The caller calls force_end(). */
int request_force(struct registrar_state *state, uint32_t slot, struct force *force);

#endif
