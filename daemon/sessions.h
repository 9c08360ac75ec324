/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_SESSIONS_H
#define PL_SESSIONS_H

/*
 * The sessions that there are, as pinleased knows them: starting them, their credit, what they report, their end. A session
 * that a former pinleased has started comes by handover.h and is the same from then on.
 */

#include <systemd/sd-event.h>

#include "account.h"
#include "control.h"
#include "peer.h"
#include "roster.h"
#include "session-args.h"

struct sessions;

enum session_state {
        SESSION_STARTING,      /* its keeper has not introduced itself yet */
        SESSION_SERVING,
        SESSION_OTHER_VERSION, /* of another version: left alone, but for its end */
};

struct session {
        struct sessions *sessions;
        struct session *next; /* by id, ascending */
        uint64_t id;
        enum session_state state;
        struct account *account;
        struct credit_amount held;
        gid_t gid;
        pid_t app_pid;
        pid_t keeper_pid;
        pid_t registrar_pid; /* 0: not known yet */
        uint64_t started_ms; /* CLOCK_BOOTTIME */
        bool resumed; /* started by a former pinleased */
        bool ending;  /* told to let go */
        bool ledger_lies;      /* its ledger is none any more, which has been said */
        unsigned int n_breaks; /* breaks.h's: open ones */
        uint64_t policy;       /* generation of what it was given; 0: of a former pinleased */
        int control; /* to the keeper; -1: lost, the keeper comes again or ends */
        int ledger;  /* -1: not known yet */
        int keeper;  /* pidfd, of a resumed session */
        sd_event_source *control_source;
        sd_event_source *exit_source;
};

struct sessions_config {
        const char *session_program;
        const char *session_socket; /* NULL: sessions end with this pinleased at the latest when their apps do */
        uid_t uid; /* of registrars */
        gid_t gid;
        struct account_limits limits;
        unsigned int heartbeat_ms;
        unsigned int hang_ms;
        unsigned int hello_timeout_ms;
        int policy; /* of policy_share(); borrowed */
        uint64_t policy_generation;
};

/* Who wants to know. The session is valid during the call. */
struct sessions_listener {
        void (*introduced)(void *userdata, struct session *session); /* by its keeper, perhaps anew */
        void (*revoked)(void *userdata, struct session *session, const struct control_message *message);
        void (*ended)(void *userdata, struct session *session);
        void (*asks)(void *userdata,
                     struct session *session,
                     const struct control_message *message); /* CONTROL_BREAK */
};

struct sessions {
        const struct sessions_config *config;
        sd_event *event;
        struct accounts *accounts;
        struct roster *roster;
        const struct sessions_listener *listener;
        void *userdata;
        struct session *first;
        int program; /* opened once: sessions are of this pinleased's version, also while a new one is being installed */
        uint64_t n_started, n_resumed;
};

/* All are borrowed. */
void sessions_init(struct sessions *sessions,
                   const struct sessions_config *config,
                   sd_event *event,
                   struct accounts *accounts,
                   struct roster *roster,
                   const struct sessions_listener *listener,
                   void *userdata);

/* Forgets them. They go on, and look for a successor. */
void sessions_done(struct sessions *sessions);

/* Starts a session for a connection, which stays the caller's, as does the peer. */
int sessions_start(struct sessions *sessions, int client, const struct peer *peer);

/*
 * A keeper has come by itself. Takes control, ledger and its pidfd over on success. -EEXIST: there is another session of this
 * number. -ESRCH: it has ended meanwhile. -EBADMSG: the introduction makes no sense, or what comes with it is no ledger; it may be
 * any descriptor.
 */
int sessions_adopt(struct sessions *sessions,
                   const struct control_introduction *introduction,
                   pid_t keeper_pid,
                   int control,
                   int ledger,
                   int keeper);

struct session *sessions_find(const struct sessions *sessions, uint64_t id);

/* The first whose number is higher. NULL: there is none. */
struct session *sessions_after(const struct sessions *sessions, uint64_t id);

/* Says GOING_AWAY. If it cannot be said, the keeper will introduce itself anew; it is for the listener to say it again. */
void session_end(struct session *session, uint32_t grace_ms);

/* fd: to go with it, borrowed; -1: nothing. Returns 0 or a negative errno: it was not said, and its keeper introduces itself anew, if
 * it can. */
int session_tell(struct session *session, const struct control_message *message, int fd);

#endif
