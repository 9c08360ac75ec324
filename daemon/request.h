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

#include "credit.h"
#include "fdclass.h"
#include "force.h"
#include "ledger.h"
#include "mapping.h"
#include "uverbs.h"

#define MAX_CONTEXTS 16

/* A verbs context of the app. */
struct context {
        struct uverbs_device device; /* the descriptor is owned; -1: free slot */
        unsigned int methods;        /* enum pinlease_method that it offers */
        unsigned int unsound;        /* those of them that it does wrong */
};

/* What the registrar remembers of a registration, beside the ledger's entry at the same index. */
struct registration {
        uint64_t id; /* 0: free slot */
        struct mapping *mapping;
        uint64_t charged; /* bytes */
        uint32_t next_free;

        /* revoke.h's */
        uint16_t revocations; /* a bit each: those that wait for it */
        uint8_t flags;
        uint8_t reason; /* enum pl_revocation_reason, of the latest */
};

/* The app has been asked to let go. */
#define REGISTRATION_REVOKING (1 << 0)
/* Nothing is registered any more; the slot is kept until the app has been told. */
#define REGISTRATION_GONE     (1 << 1)
/* The rest of the flags is revoke.c's own. */

struct registrar_state {
        const struct uverbs_ops *uverbs;
        struct ledger ledger;
        struct credit credit;
        struct mapping_table mappings;
        struct context contexts[MAX_CONTEXTS];

        struct registration *registrations; /* grows up to the ledger's capacity */
        uint32_t n_registrations;           /* slots allocated */
        uint32_t first_free;
        uint32_t generation;

        /* A registration has been undone, whoever did it. Returns whether its slot is kept; then it is GONE, and its owner
         * calls request_free_slot(). NULL: none is. */
        bool (*gone)(void *userdata, uint32_t slot);
        void *gone_userdata;
};

/* Takes the ledger over. The credit holds all that the limits allow; whoever has less says so in state->credit. */
void state_init(struct registrar_state *state,
                const struct uverbs_ops *uverbs,
                struct ledger *ledger,
                const struct credit_amount *limits);

/*
 * Deregisters everything, by force but without doing anything to the app, unmaps everything, closes the contexts, frees
 * memory. What the kernel would not let go stays in the ledger for the keeper. Returns how many those are.
 */
unsigned int state_done(struct registrar_state *state);

/* Announces to the keeper that something is being worked on, of so many bytes; and that it is done. */
void state_busy(struct registrar_state *state, uint64_t bytes);
void state_idle(struct registrar_state *state);

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

/* The slot of a registration that is there, or -ENOENT. */
int request_find(const struct registrar_state *state, uint64_t id, uint32_t *ret_slot);

/* Of a registration that is GONE. */
void request_free_slot(struct registrar_state *state, uint32_t slot);

#endif
