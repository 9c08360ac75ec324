/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_ADMIN_CALL_H
#define PL_ADMIN_CALL_H

/*
 * The methods of doc/ADMIN.md. A call is worked on in steps: each makes at most one item, and looks at a bounded number of
 * things, so that neither a long list nor a slow reader holds anybody up.
 */

#include <json-c/json.h>
#include <stdbool.h>

#include "control.h"
#include "ledger-reader.h"
#include "sessions.h"

struct supervisor;

enum admin_method {
        ADMIN_NONE, /* no call is being worked on */
        ADMIN_STATUS,
        ADMIN_LIST,
        ADMIN_REVOKE,
        ADMIN_RELEASE,
        ADMIN_DRAIN,
        ADMIN_UNDRAIN,
        ADMIN_RELOAD,
        ADMIN_METRICS,
        N_ADMIN_METHODS,
};

/* Which sessions and registrations are meant. */
struct admin_filter {
        bool by_session, by_registration, by_pid, by_uid, by_file, by_device;
        uint64_t session, registration; /* the latter: the number in an ID, not the id on the wire */
        uint64_t pid, uid;
        uint64_t device, inode;
};

enum admin_step {
        ADMIN_STEP_ITEM,  /* an item has been made */
        ADMIN_STEP_END,   /* the result, or an error, has been made: the call is over */
        ADMIN_STEP_AGAIN, /* there is more to do */
        ADMIN_STEP_WAIT,  /* something has to happen first */
};

struct admin_call {
        struct supervisor *supervisor;
        enum admin_method method;
        uint32_t seq;
        bool wrong;
        struct json_object *error; /* if it is, the answer; NULL: no memory */
        struct admin_filter filter;
        uint64_t grace_ms;

        /* status, list, metrics: how far it is. The session is named, not pointed to: it may end meanwhile */
        uint64_t session;
        bool in_session;
        uint32_t cursor;
        struct ledger_listing listings[LEDGER_READER_STRETCH];
        unsigned int n_listings, next_listing;
        uint64_t n_sessions, n_registrations;
        struct stats_totals totals;
        struct credit_amount credit;
        uint64_t n_resumed, n_other_version;
        bool begun;
        bool told;    /* the one item has been made */
        bool waiting; /* for what admin_call_revoked() and so on tell */

        /* revoke */
        uint64_t cookie;
        struct admin_waits_for {
                uint64_t session; /* its number */
                bool matches;     /* something of it does, by its ledger; it may not know yet of what is just being made */
        } *waits_for;
        size_t n_waits_for;
        uint64_t counts[N_REVOCATION_OUTCOMES];
        uint64_t n_lost;
        uint64_t n_busy; /* sessions that have too many revocations already */
        uint64_t deadline_ms; /* CLOCK_MONOTONIC; 0: none */

        /* drain */
        uint64_t left;
};

/* Begins a call. The text need not end with NUL. An error is told by the first step. */
void admin_call_begin(struct admin_call *call,
                      struct supervisor *supervisor,
                      uint64_t cookie,
                      uint32_t seq,
                      const char *text,
                      size_t length);

/* NULL with ITEM or END: no memory. */
enum admin_step admin_call_step(struct admin_call *call, struct json_object **ret_object);

/* Frees what the call holds; it is none any more. */
void admin_call_end(struct admin_call *call);

/* What has happened. Returns true if the call waits for it and may go on. */
bool admin_call_revoked(struct admin_call *call, const struct session *session, const struct control_message *message);
bool admin_call_session_ended(struct admin_call *call, const struct session *session);
/* What it has counted is in no sum yet that has not come to it. */
void admin_call_add_ended(struct admin_call *call, const struct session *session, const struct stats_totals *totals);
bool admin_call_drained(struct admin_call *call, unsigned int left);

struct json_object *admin_error(const char *code, const char *format, ...) _printf_(2, 3);

#endif
