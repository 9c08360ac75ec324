/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_CHANGES_H
#define PL_CHANGES_H

/*
 * What it means when a guard reports something: which registrations are given back, when the other side may go on, and what the
 * app is told.
 *
 *   QUIET → CHANGING   a guard asks (lease): all of the file's registrations are revoked here, and by BREAK in the other sessions;
 *                      or tells (modify): those that the change has touched are revoked
 *   → SETTLING         all is given back: the guard lets the other side go on
 *   → QUIET            it has done so, or had a moment for it: SETTLED
 *
 * However often a file is hit while it is CHANGING, it is one break. Knows neither the socket nor the keeper.
 */

#include "control.h"
#include "guards.h"
#include "revoke.h"

struct changes_config {
        /* To the keeper: BREAK, YIELDED. Returns 0 or a negative errno that ends the session. */
        int (*send)(void *userdata, const struct control_message *message);
        void *userdata;
};

struct changes {
        struct changes_config config;
        struct guards *guards;
        struct revoker *revoker;
        const struct registrar_state *state;
        uint64_t last_cookie;
        uint64_t due;            /* something of some file is due then; 0: nothing */
        bool notices;            /* of some files there is something to tell, or was */
        int error;               /* what a report could not return */
};

void changes_init(struct changes *changes,
                  const struct changes_config *config,
                  struct guards *guards,
                  struct revoker *revoker,
                  const struct registrar_state *state);

/* guards_config.report; userdata is the changes. */
void changes_report(void *userdata, struct guarded *file, const struct guard_report *report);

/* Another session has been asked, by a REVOKE with PL_REVOKED_LAYOUT_CHANGE: what is revoked for it here settles as well. */
void changes_elsewhere(struct changes *changes, uint64_t device, uint64_t inode);

/* A revocation that was begun here is over. */
void changes_revoked(struct changes *changes, const struct revocation *revocation);

/* BREAK_OVER; error: a positive errno, or 0. */
void changes_break_over(struct changes *changes, uint64_t cookie, unsigned int error);

/* When there is something to do: CLOCK_MONOTONIC, ms; 0: never. */
uint64_t changes_due(const struct changes *changes);
/* Does it. Returns 0 or a negative errno that ends the session; also what reports could not return. */
int changes_work(struct changes *changes);

/* As revoker_next_event() and revoker_told(): notices. */
bool changes_next_event(struct changes *changes, struct pl_packet *ret_packet);
void changes_told(struct changes *changes, const struct pl_packet *packet);

#endif
