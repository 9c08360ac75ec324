/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_REVOKE_H
#define PL_REVOKE_H

/*
 * Taking registrations back: the app is asked to let go, has a time for it, and then loses what is left.
 *
 *   LIVE → REVOKING → released: the app has deregistered it
 *                   → forced: taken away at the deadline, and the app is told
 *                   → kept: force (force.h) did not help; tried again every second
 *
 * A revocation is one order that covers any number of registrations; a registration may be covered by several, and then the
 * earliest deadline counts. Deadlines run from the order, whether the app reads or not. Events to the app are not queued but
 * made when they can be sent: a registration knows what its app is still to be told, so that an app that does not read costs
 * nothing, and is told only the latest.
 *
 * What was given back for a change of the file's layout keeps its slot until the file has settled and the app has been told.
 *
 * Knows neither the socket nor the keeper: the registrar calls when something is due, and sends what comes out.
 */

#include "control.h"
#include "request.h"

#define REVOKE_MAX 15 /* revocations at a time; there is a bit for each in a registration. And one more: */

/* All memory failures are one revocation, whatever files they are of: what has failed goes at once, so that one
 * deadline is as good as another, and nothing of it waits for room, or is lumped together with what is next to it. */
#define REVOKE_FAILURES REVOKE_MAX
#define REVOKE_PLACES (REVOKE_MAX + 1)

struct revocation {
        bool active;
        enum pl_revocation_reason reason;
        bool here; /* begun by changes.c, whose result it is; else the keeper's */
        uint64_t cookie;
        uint64_t device, inode;
        uint64_t deadline;
        uint32_t cursor;  /* slots before this have been forced, once the deadline has passed */
        uint32_t waiting; /* registrations that it covers and that are still there */
        uint32_t counts[N_REVOCATION_OUTCOMES];
};

struct revoker {
        struct registrar_state *state;
        bool tells; /* the app understands the events. Else what is taken away is unknown to it from then on */
        bool settles; /* the app understands SETTLED */
        bool forcing;
        bool releasing; /* the deregistration under way is a RELEASE */
        struct force force; /* the owner says what may be done to the app */
        struct revocation revocations[REVOKE_PLACES];

        unsigned int n_over; /* revocations whose result is there */
        uint32_t n_untold; /* registrations about which there is something to tell */
        uint32_t tell_cursor;
        uint32_t n_awaiting; /* slots kept until their file has settled */

        uint32_t n_kept;
        uint32_t kept_cursor;
        uint64_t kept_retry; /* when they are tried again */
};

struct revocation_order {
        enum pl_revocation_reason reason;
        enum control_selector selector;
        uint64_t id, device, inode;
        uint64_t offset, length; /* with CONTROL_SELECT_FILE; length UINT64_MAX: to the end */
        uint32_t grace_ms;
        uint64_t cookie;
        bool here;
        bool only_refused; /* by the policy: terms.refused */
        bool spare_notified; /* what is registered by ODP, by a rule that says notify, is not covered */
};

void revoker_init(struct revoker *revoker, struct registrar_state *state);

/* Before the state goes: what is undone from here on is the session's end, not a revocation's. */
void revoker_done(struct revoker *revoker);

/* Returns 0 also if nothing matches: its result is there at once. 1: it is more of one that was begun here a moment ago, for the
 * same reason and the same file (or of memory failures), and has no result of its own. -EBUSY: too many at a time, which cannot
 * be with memory failures that are begun here; -EINVAL: no such selector. */
int revoker_begin(struct revoker *revoker, const struct revocation_order *order);

/* Does what is due by now, for a few milliseconds: what is left is due at once. */
void revoker_work(struct revoker *revoker);

/* When there is something to do: 0: never. */
uint64_t revoker_due(const struct revoker *revoker);

/* Makes the next event for the app. Returns false if there is none. Until revoker_told() it is the same registration's. */
bool revoker_next_event(struct revoker *revoker, struct pl_packet *ret_packet);
void revoker_told(struct revoker *revoker);

/* The app deregisters or releases what has been taken away already. Returns false if that is not so. */
bool revoker_dismiss(struct revoker *revoker, uint64_t id, bool release);

/* The app releases a registration. Returns 0 or REFUSED. */
int revoker_release(struct revoker *revoker, uint64_t id, struct refusal *ret_refusal);

/* Of what the app has just released: will SETTLED come, or has it been made? */
bool revoker_will_settle(const struct revoker *revoker, uint64_t id);

/* The file is what it will be, and has so many bytes: whoever gave it back is told. */
void revoker_settled(struct revoker *revoker, uint64_t device, uint64_t inode, uint64_t size);

/* A revocation that is over; NULL: none. revoker_forget() makes room for another. */
struct revocation *revoker_result(struct revoker *revoker);
void revoker_forget(struct revoker *revoker, struct revocation *revocation);

#endif
