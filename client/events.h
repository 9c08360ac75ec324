/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_EVENTS_H
#define PL_EVENTS_H

/*
 * What has come without being asked for and waits for pinlease_dispatch(). Notices of the service's going are few and have a
 * queue. What is said of a registration waits in the registration, only the latest of it: so there is room for all of them,
 * and one that is deregistered takes its event along. Everything here takes `state` itself.
 */

#include "session.h"

struct pl_event {
        enum { PL_EVENT_GOING_AWAY, PL_EVENT_REVOKING, PL_EVENT_REVOKED, PL_EVENT_SETTLED, PL_EVENT_NOTICE } kind;
        struct pl_registration *reg; /* of all but the first; held until pl_events_delivered() */
        uint32_t grace_ms;
        uint32_t reason; /* of a revocation, or the kind of a notice */
        uint64_t offset, length, size;
        char sentence[PL_SENTENCE_MAX];
};

void pl_events_going_away(struct pinlease *p, const struct pl_going_away *event);

/* With `io` held, which keeps the registration. */
void pl_events_revoking(struct pinlease *p, struct pl_registration *reg, const struct pl_revoking *event);
void pl_events_revoked(struct pinlease *p, struct pl_registration *reg, const struct pl_revoked *event);

/* One that the caller has released is in no list any more, and freed when this has been delivered. */
void pl_events_settled(struct pinlease *p, struct pl_registration *reg, const struct pl_settled *event);

/* Of several of one kind the latest counts. Without memory for it, it is lost: it asks for nothing. */
void pl_events_notice(struct pinlease *p, struct pl_registration *reg, const struct pl_notice *event);

/* Is there no room for another notice of going? */
bool pl_events_full(struct pinlease *p);

/* Takes the next event. Returns false if there is none. To be given back when its callback has returned. */
bool pl_events_pop(struct pinlease *p, struct pl_event *ret_event);
/* The same, if the next is one that asks for a registration. */
bool pl_events_pop_revoking(struct pinlease *p, struct pl_event *ret_event);
void pl_events_delivered(struct pinlease *p, const struct pl_event *event);

/* Frees a registration that is in no list any more; at once, or when the callback that has it returns. */
void pl_events_free_registration(struct pinlease *p, struct pl_registration *reg);

/*
 * The caller has released it: nothing more is told of it but SETTLED. Returns whether that is here already; then the
 * registration, which must be in no list any more, is freed when that has been delivered.
 */
bool pl_events_only_settled(struct pinlease *p, struct pl_registration *reg);

/* The session's end: frees what waits here, and belongs to nobody else. No lock. */
void pl_events_free(struct pinlease *p);

/* The session has ended: pinlease_dispatch() has something to tell. With `state` held. */
void pl_events_wake(struct pinlease *p);

/*
 * Has the session ended, with every event delivered? *ret_notify is true for the first who asks after that; from then
 * on the session's descriptor is quiet.
 */
void pl_events_take_end(struct pinlease *p, bool *ret_ended, bool *ret_notify);

#endif
