/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_ADMIN_SERVER_H
#define PL_ADMIN_SERVER_H

/*
 * The administrator's socket, doc/ADMIN.md: who may ask, framing, one call at a time on each connection, answers as fast as
 * they are read. What is asked is admin-call.h's.
 */

#include "admin-call.h"
#include "pause.h"

#define ADMIN_MAX_CONNECTIONS 16

struct supervisor;
struct admin_connection;

struct admin {
        struct supervisor *supervisor;
        struct admin_connection *connections;
        unsigned int n_connections;
        sd_event_source *listener;
        struct pause pause;
        gid_t group; /* (gid_t)-1: none */
        uint64_t last_cookie;
        struct stats_totals ended; /* what sessions that are gone have done */
};

/* The supervisor is borrowed. */
void admin_init(struct admin *admin, struct supervisor *supervisor);
void admin_done(struct admin *admin);

/* The listening socket is borrowed. */
int admin_listen(struct admin *admin, int fd);

/* Looks up again who may. */
void admin_reload(struct admin *admin);

/* What has happened, for calls that wait for it. */
void admin_revoked(struct admin *admin, const struct session *session, const struct control_message *message);
void admin_session_ended(struct admin *admin, const struct session *session);
void admin_drained(struct admin *admin, unsigned int left);

#endif
