/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_WAITING_H
#define PL_WAITING_H

/*
 * Connections without a session. A session costs two processes, a silent connection two descriptors: so a session is started
 * by the first packet, which is not read here. Each has until a deadline to send it. Whoever has waits for as long as it takes:
 * that is the service's doing.
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
        struct waiting_list {
                struct waiting_connection *first, *last;
        } silent, spoken; /* by time of coming */
        sd_event_source *timer; /* for the silent ones */
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
