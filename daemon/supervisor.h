/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_SUPERVISOR_H
#define PL_SUPERVISOR_H

/*
 * pinleased's loop: accepts connections and gives each a session of its own, takes over the sessions of a former pinleased,
 * ends them all when told to. Never receives, maps, stats or closes a descriptor of an app: it hands the connection over and
 * has not read a byte of it.
 */

#include "admin-server.h"
#include "admission.h"
#include "breaks.h"
#include "handover.h"
#include "notify.h"
#include "policies.h"
#include "sessions.h"
#include "waiting.h"

struct supervisor_config {
        int clients;  /* listening sockets, owned: of apps, */
        int keepers;  /* of keepers that have lost their pinleased, */
        int admins;   /* of administrators */
        const char *roster; /* path */
        struct sessions_config sessions;
        struct admission_limits limits; /* but for silent_per_user the policy's, as are those in `sessions` */
        struct policy_source policy;
        unsigned int max_sessions; /* that there are descriptors for */
        unsigned int grace_ms; /* what apps get when they are told to let go */
        const char *admin_group; /* whose members may what root may; NULL: nobody */
};

enum supervisor_state {
        SUPERVISOR_SETTLING, /* keepers of a former pinleased are still to come */
        SUPERVISOR_SERVING,
        SUPERVISOR_DRAINING,
        SUPERVISOR_DRAINED,
};

struct supervisor {
        struct supervisor_config config;
        enum supervisor_state state;
        sd_event *event;
        struct accounts accounts;
        struct roster roster;
        struct sessions sessions;
        struct disposal disposal;
        struct waiting waiting;
        struct handover handover;
        struct policies policies;
        struct breaks breaks;
        struct admin admin;
        struct pause pause;
        struct notify notify;
        sd_event_source *listener, *status, *settle, *drain;
        uint32_t drain_grace_ms;
        bool leaving; /* ends when it is drained */
        uint64_t started;      /* CLOCK_REALTIME, s */
        uint64_t started_usec; /* CLOCK_MONOTONIC */
        uint64_t n_turned_away;
};

/* Serves until SIGTERM, which leaves the sessions to a successor, or SIGINT, which ends them. Returns 0 or a negative errno. */
int supervisor_run(const struct supervisor_config *config);

/* No connection is accepted any more, and all sessions are told to let go; again, if it is for sooner. */
int supervisor_drain(struct supervisor *supervisor, uint32_t grace_ms);

/* Loads the policy anew, for all sessions, and looks the admin group up again. Returns 0, or a negative errno: the policy stays as it
 * was, and policies.wrong says why. */
int supervisor_reload(struct supervisor *supervisor);

/* Connections are accepted again. -EBUSY: sessions are still being ended. */
int supervisor_undrain(struct supervisor *supervisor);

#endif
