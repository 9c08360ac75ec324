/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_REGISTRAR_H
#define PL_REGISTRAR_H

/*
 * The process that talks to the app: receives requests, has them served (serve.h), hears the keeper (line.h), revokes
 * (revoke.h), follows what happens to the files (guards.h, changes.h), and tells the app. Parses everything that is hostile and has no privilege; whatever it does or fails to do, the
 * keeper cleans up behind it.
 */

#include <poll.h>

#include "changes.h"
#include "codec.h"
#include "line.h"
#include "request.h"
#include "review.h"

/* While registrations are being given back somebody waits for all of them: so many releases are taken in a turn, and their answers
 * go together, so that the app is woken once for them. */
#define REGISTRAR_RELEASES 8

/* Their replies, the event that the service goes away, and one to spare. While a packet waits, no request is read: an app that
 * does not read its answers is not served. */
#define REGISTRAR_MAX_WAITING (REGISTRAR_RELEASES + 2)

struct registrar_config {
        int client;  /* the app's socket; owned */
        int control; /* to the keeper; owned */
        uint64_t session;
        struct credit_amount limits;
        struct credit_amount credit; /* what the session holds to begin with */
        unsigned int hello_timeout_ms;
        const struct policy_block *policy; /* of policy_map(); owned */
        struct policy_subject subject;     /* what it refers to is borrowed */
        int pagemap; /* /proc/self/pagemap; owned; -1: none */
};

struct registrar {
        int client;
        struct line line;
        uint64_t session;
        struct registrar_state state;
        struct revoker revoker;
        struct guards guards;
        struct changes changes;
        struct review review;
        bool greeted;
        bool knows_flags; /* the app has announced PL_FEATURE_PREFETCH */
        uint64_t hello_deadline; /* 0: none */
        uint64_t away_deadline;  /* 0: none */
        uint64_t worked;         /* when the app last had something done */
        uint64_t raised; /* bytes that the app is able to pin by itself, as the keeper was told last */
        struct pl_packet waiting[REGISTRAR_MAX_WAITING];
        size_t n_waiting;
        bool corked;  /* what is sent waits until serve_releases() is over */
        bool blocked; /* an event could not be sent */
        int failed;   /* the keeper does not answer: the negative errno with which the session ends */

        /* Descriptors that may block whoever closes them. They are left to the end of the process; the session ends with the
         * packet that brought the first, so they are one packet's at most. */
        int hanging[PL_MAX_FDS];
        size_t n_hanging;
};

/* Takes the ledger and both sockets over. */
void registrar_init(struct registrar *r,
                    const struct registrar_config *config,
                    const struct uverbs_ops *uverbs,
                    struct ledger *ledger);

/* Sends to the app, or keeps the packet until the app reads. Returns 0, or a negative errno that ends the session. */
int registrar_send(struct registrar *r, const struct pl_packet *packet);

/* What it waits for: descriptors, and for how long (ms; 0: something is due, -1: for ever). */
#define REGISTRAR_N_FDS (2 + N_GUARDS)
int registrar_prepare(const struct registrar *r, struct pollfd ret_fds[REGISTRAR_N_FDS]);

/* Waits for what comes next and handles it. Returns 0, or the negative errno with which the session ends. */
int registrar_turn(struct registrar *r);

/*
 * Deregisters everything, says goodbye to both sides and closes all but the sockets and the hanging descriptors. Returns
 * how many memory regions the kernel keeps in use; those are left to the keeper.
 */
unsigned int registrar_done(struct registrar *r);

/* Runs until the app or the service ends the session, then gives everything up and exits the process. */
_Noreturn void registrar_run(const struct registrar_config *config, const struct uverbs_ops *uverbs, struct ledger *ledger);

#endif
