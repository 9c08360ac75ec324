/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_WAITING_H
#define PL_WAITING_H

/*
 * Connections that have not said anything yet. A session costs two processes, a silent connection costs a descriptor: so a
 * session is started by the first packet, which is not read here. Each has until a deadline to come.
 */

#include <systemd/sd-event.h>

#include "account.h"
#include "disposal.h"
#include "peer.h"

struct waiting_connection;

/* The connection has something to say. Takes both over and returns true, or returns false: not now, waiting_resume() will
 * say when. */
typedef bool (*waiting_ready_t)(void *userdata, int client, struct peer *peer);

struct waiting {
        sd_event *event;
        struct accounts *accounts;
        struct disposal *disposal;
        uint64_t timeout_usec;
        waiting_ready_t ready;
        void *userdata;
        struct waiting_connection *first, *last; /* by time of coming */
        sd_event_source *timer;
};

/* Event loop, accounts and disposal are borrowed. */
void waiting_init(struct waiting *waiting,
                  sd_event *event,
                  struct accounts *accounts,
                  struct disposal *disposal,
                  unsigned int timeout_ms,
                  waiting_ready_t ready,
                  void *userdata);
void waiting_done(struct waiting *waiting);

/* Takes connection and peer over on success. */
int waiting_add(struct waiting *waiting, int client, struct peer *peer, struct account *account);

/* One user's connections (NULL: everybody's) that were not taken may be now. */
void waiting_resume(struct waiting *waiting, const struct account *account);

#endif
