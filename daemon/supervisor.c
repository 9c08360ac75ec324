/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "supervisor.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "log-limit.h"
#include "log.h"
#include "peer.h"
#include "refusal.h"
#include "timer.h"
#include "util.h"
#include "wire.h"

/* Beyond the grace time: what a keeper may take to end a registrar that does not end by itself, and to clean up. */
#define DRAIN_MARGIN_MS 15000

/* How long keepers of a former pinleased are waited for. Those that come later are welcome, but credit may have been dealt out
 * that is theirs. */
#define SETTLE_MS      5000
#define SETTLE_LOOK_MS 50

/* How often the service manager hears how many sessions there are. */
#define STATUS_MS 250

/* Sessions of one user that may be on their way up at once: starting costs more than anything else here, and another user's
 * turn comes between. */
#define MAX_STARTING 4

/* Connections that wait to be closed before they are closed at once; if that cannot be, for want of a process, no more are
 * accepted. */
#define MAX_DISPOSALS 256

static void sd_event_unrefp_(sd_event **event) {
        sd_event_unref(*event);
}

static int on_status(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        struct supervisor *s = userdata;
        unsigned int n = s->accounts.n_sessions;

        log_report_missed(false);
        notify_say(&s->notify,
                   "STATUS=%u session%s%s",
                   n,
                   n == 1 ? "" : "s",
                   s->state == SUPERVISOR_DRAINING  ? ", draining"
                   : s->state == SUPERVISOR_DRAINED ? ", drained"
                                                    : "");
        return 0;
}

/* Soon, and once for many changes. */
static void report_status(struct supervisor *s) {
        int enabled = SD_EVENT_OFF;

        if (s->status)
                (void)sd_event_source_get_enabled(s->status, &enabled);
        if (enabled == SD_EVENT_OFF)
                (void)timer_start(s->event, &s->status, STATUS_MS, on_status, s);
}

/* --- connections of apps --- */

/* The app hears why there is no session for it. It may not be reading: then it does not. */
static void turn_away(struct supervisor *s, int client, const struct refusal *refusal) {
        struct pl_packet packet;

        s->n_turned_away++;
        refusal_packet(refusal, 0, 0, &packet);
        (void)pl_wire_send(client, MSG_DONTWAIT, &packet, -1);
        disposal_close(&s->disposal, client);
}

/* Owns the connection from here on. */
static int take_connection(struct supervisor *s, int client) {
        _cleanup_(peer_done) struct peer peer = { .pidfd = -1 };
        struct account *account;
        struct refusal refusal;
        int r;

        r = peer_get(client, &peer);
        if (r < 0) {
                disposal_close(&s->disposal, client);
                return r == -ESRCH ? 0 : r;
        }
        account = account_get(&s->accounts, peer.uid);
        if (!account) {
                disposal_close(&s->disposal, client);
                return -ENOMEM;
        }

        r = admission_check(&s->config.limits, &s->accounts, account, &refusal);
        if (r < 0) {
                log_subject_event(&(const struct log_subject) { 0, peer.pid, peer.uid, pl_code_name(refusal.code) },
                                  LOG_NOTICE,
                                  EVENT_TURNED_AWAY,
                                  "is turned away: %s",
                                  refusal.sentence);
                turn_away(s, client, &refusal);
        } else {
                r = waiting_add(&s->waiting, client, &peer, account);
                if (r < 0)
                        disposal_close(&s->disposal, client);
        }
        account_put(&s->accounts, account);
        return r == REFUSED ? 0 : r;
}

static bool on_ready(void *userdata, int client, struct peer *peer) {
        struct supervisor *s = userdata;
        const struct account *account = account_get(&s->accounts, peer->uid);
        struct refusal refusal;
        int r;

        if (s->state != SUPERVISOR_SERVING || (account && account->n_starting >= MAX_STARTING))
                return false;

        r = sessions_start(&s->sessions, client, peer);
        if (r == 0) {
                /* The session has its copy. */
                pl_close(client);
                report_status(s);
                return true;
        }

        log_subject_event(&(const struct log_subject) { 0, peer->pid, peer->uid, pl_code_name(PINLEASE_CODE_NO_RESOURCES) },
                          LOG_ERR,
                          EVENT_CANNOT_START_SESSION,
                          "a session for it cannot be started: %s",
                          strerror(-r));
        (void)refuse(&refusal,
                     PINLEASE_CODE_NO_RESOURCES,
                     "The service could not start a session (%s). Try again; if it persists, the administrator finds "
                     "the reason in the journal of pinlease.service.",
                     strerror(-r));
        turn_away(s, client, &refusal);
        return true;
}

/* Who is gone by the time it is its turn wants nothing any more; cheaper than to find that out by the event loop. */
static bool is_gone(int client) {
        struct pollfd p = { .fd = client, .events = POLLRDHUP };

        return poll(&p, 1, 0) > 0;
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents _unused_, void *userdata) {
        struct supervisor *s = userdata;
        int client, r;

        if (disposal_waiting(&s->disposal) >= MAX_DISPOSALS) {
                r = disposal_flush(&s->disposal);
                if (r < 0) {
                        pause_listening(&s->pause, source, -r);
                        return 0;
                }
        }
        client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0) {
                if (pause_is_for(errno))
                        pause_listening(&s->pause, source, errno);
                return 0;
        }
        if (is_gone(client)) {
                disposal_close(&s->disposal, client);
                return 0;
        }
        r = take_connection(s, client);
        if (r < 0)
                log_event(LOG_ERR, EVENT_CANNOT_START_SESSION, "cannot take a connection: %s", strerror(-r));
        return 0;
}

/* --- what becomes of sessions --- */

static void on_introduced(void *userdata, struct session *session) {
        struct supervisor *s = userdata;

        /* Until all have come nobody gets more: what is left of a user's is not known. */
        if (s->state == SUPERVISOR_SETTLING)
                (void)sd_event_source_set_enabled(session->control_source, SD_EVENT_OFF);
        /* Also one that comes late: nothing may be registered any more. */
        if (s->state == SUPERVISOR_DRAINING || s->state == SUPERVISOR_DRAINED)
                session_end(session, s->drain_grace_ms);
        policies_hand(&s->policies, session);
        breaks_introduced(&s->breaks, session);
        waiting_resume(&s->waiting, session->account);
        report_status(s);
}

static void on_revoked(void *userdata, struct session *session, const struct control_message *message) {
        struct supervisor *s = userdata;

        if (!breaks_revoked(&s->breaks, session, message))
                admin_revoked(&s->admin, session, message);
}

static void on_asks(void *userdata, struct session *session, const struct control_message *message) {
        struct supervisor *s = userdata;

        breaks_ask(&s->breaks, session, message);
}

static void end_drain(struct supervisor *s) {
        s->drain = sd_event_source_disable_unref(s->drain);
        s->state = SUPERVISOR_DRAINED;
        if (s->accounts.n_sessions == 0)
                log_event(LOG_INFO, EVENT_DRAINED, "is drained: all sessions have ended");
        report_status(s);
        admin_drained(&s->admin, s->accounts.n_sessions);
        if (s->leaving)
                (void)sd_event_exit(s->event, 0);
}

static void on_ended(void *userdata, struct session *session) {
        struct supervisor *s = userdata;

        breaks_ended(&s->breaks, session);
        admin_session_ended(&s->admin, session);
        waiting_resume(&s->waiting, session->account);
        report_status(s);
        if (s->state == SUPERVISOR_DRAINING && s->accounts.n_sessions == 0)
                end_drain(s);
}

static const struct sessions_listener sessions_listener = {
        .introduced = on_introduced,
        .revoked = on_revoked,
        .ended = on_ended,
        .asks = on_asks,
};

/* --- ending --- */

static int on_drain_timeout(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        struct supervisor *s = userdata;

        log_event(LOG_WARNING, EVENT_SESSIONS_LEFT, "%u sessions have not ended in time", s->accounts.n_sessions);
        end_drain(s);
        return 0;
}

static void end_all(struct supervisor *s, uint32_t grace_ms) {
        notify_say(&s->notify, "EXTEND_TIMEOUT_USEC=%" PRIu64, ((uint64_t)grace_ms + DRAIN_MARGIN_MS) * 1000);
        s->drain_grace_ms = grace_ms;
        for (struct session *session = s->sessions.first; session; session = session->next)
                session_end(session, grace_ms);
}

int supervisor_drain(struct supervisor *s, uint32_t grace_ms) {
        uint64_t ms = (uint64_t)grace_ms + DRAIN_MARGIN_MS;
        int r = 0;

        /* One more wish to end them is the same, unless it is for sooner. */
        if (s->state == SUPERVISOR_DRAINED || (s->state == SUPERVISOR_DRAINING && grace_ms >= s->drain_grace_ms))
                return 0;
        pause_end(&s->pause);
        if (s->listener)
                r = sd_event_source_set_enabled(s->listener, SD_EVENT_OFF);
        if (r >= 0)
                r = timer_start(s->event, &s->drain, ms, on_drain_timeout, s);
        if (r < 0)
                return r;

        log_line(LOG_INFO, "ends its %u sessions, which have %" PRIu32 " ms to let go", s->accounts.n_sessions, grace_ms);
        s->state = SUPERVISOR_DRAINING;
        end_all(s, grace_ms);
        report_status(s);
        if (s->accounts.n_sessions == 0)
                end_drain(s);
        return 0;
}

int supervisor_undrain(struct supervisor *s) {
        if (s->state != SUPERVISOR_DRAINED)
                return s->state == SUPERVISOR_DRAINING ? -EBUSY : 0;
        s->state = SUPERVISOR_SERVING;
        waiting_resume(&s->waiting, NULL);
        report_status(s);
        return sd_event_source_set_enabled(s->listener, SD_EVENT_ON);
}

/* The sessions go on. What a successor does not take over in time cannot be told apart from what it must never know. */
static int on_sigterm(sd_event_source *source _unused_, const struct signalfd_siginfo *info _unused_, void *userdata) {
        struct supervisor *s = userdata;

        notify_say(&s->notify, "STOPPING=1");
        if (s->accounts.n_sessions > 0)
                log_line(LOG_INFO, "ends; %u sessions go on and wait for its successor", s->accounts.n_sessions);
        return sd_event_exit(s->event, 0);
}

static int leave(struct supervisor *s) {
        if (s->state == SUPERVISOR_DRAINED || s->accounts.n_sessions == 0)
                return sd_event_exit(s->event, 0);
        (void)supervisor_drain(s, s->config.grace_ms);
        return 0;
}

static int on_sigint(sd_event_source *source _unused_, const struct signalfd_siginfo *info _unused_, void *userdata) {
        struct supervisor *s = userdata;

        s->leaving = true;
        notify_say(&s->notify, "STOPPING=1");
        /* Not before it is known which sessions there are. */
        return s->state == SUPERVISOR_SETTLING ? 0 : leave(s);
}

/* What is wrong with it has been logged; then the one before holds on. */
static int load_policy(struct supervisor *s) {
        int r = policies_load(&s->policies);

        if (r == 0)
                policies_apply(&s->policies, &s->config.sessions, &s->config.limits);
        return r;
}

int supervisor_reload(struct supervisor *s) {
        int r;

        admin_reload(&s->admin);
        r = load_policy(s);
        if (r < 0) {
                log_line(LOG_ERR, "the policy cannot be loaded: the one that it has stays, nothing is changed");
                return r;
        }
        for (struct session *session = s->sessions.first; session; session = session->next)
                policies_hand(&s->policies, session);
        log_line(LOG_INFO, "has loaded its policy anew: %" PRIu32 " rules", s->policies.n_rules);
        return 0;
}

static int on_sighup(sd_event_source *source _unused_, const struct signalfd_siginfo *info _unused_, void *userdata) {
        struct supervisor *s = userdata;

        /* READY=1 would also mean that it serves, before it does. */
        if (s->state == SUPERVISOR_SETTLING) {
                (void)supervisor_reload(s);
                return 0;
        }
        notify_say(&s->notify, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, pl_now_ms() * 1000);
        (void)supervisor_reload(s);
        notify_say(&s->notify, "READY=1");
        report_status(s);
        return 0;
}

/* --- beginning --- */

/* First keepers that have lost their pinleased, then everybody else: new sessions get what the old ones do not hold, and
 * whoever asks what is registered is told of all. */
static int settle(struct supervisor *s) {
        int r;

        s->settle = sd_event_source_disable_unref(s->settle);
        s->state = SUPERVISOR_SERVING;
        for (struct session *session = s->sessions.first; session; session = session->next)
                (void)sd_event_source_set_enabled(session->control_source, SD_EVENT_ON);
        if (s->leaving)
                return leave(s);
        r = sd_event_add_io(s->event, &s->listener, s->config.clients, EPOLLIN, on_connection, s);
        if (r == 0)
                r = sd_event_source_set_priority(s->listener, SD_EVENT_PRIORITY_IDLE);
        if (r == 0)
                r = admin_listen(&s->admin, s->config.admins);
        if (r < 0)
                return r;
        if (s->sessions.n_resumed > 0)
                log_event(LOG_INFO, EVENT_SESSION_RESUMED, "has taken over %" PRIu64 " sessions", s->sessions.n_resumed);
        notify_say(&s->notify, "READY=1");
        return on_status(NULL, 0, s);
}

static int on_settle(sd_event_source *source, uint64_t usec, void *userdata) {
        struct supervisor *s = userdata;
        uint32_t n = roster_expected(&s->roster);
        uint64_t deadline = s->started_usec + SETTLE_MS * UINT64_C(1000);
        int r;

        if (n > 0 && usec < deadline) {
                r = sd_event_source_set_time_relative(source, SETTLE_LOOK_MS * UINT64_C(1000));
                return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
        }
        if (n > 0)
                log_line(LOG_WARNING, "%" PRIu32 " sessions of its predecessor live, but have not come; goes on without", n);
        return settle(s);
}

static int add_signals(struct supervisor *s) {
        static const struct {
                int signal;
                sd_event_signal_handler_t handler;
        } signals[] = {
                { SIGTERM, on_sigterm },
                { SIGINT, on_sigint },
                { SIGHUP, on_sighup },
        };
        sigset_t mask;
        int r;

        (void)sigemptyset(&mask);
        (void)sigaddset(&mask, SIGCHLD);
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                (void)sigaddset(&mask, signals[i].signal);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
                r = sd_event_add_signal(s->event, NULL, signals[i].signal, signals[i].handler, s);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int prepare(struct supervisor *s) {
        int r;

        /* Positive if it has made one. */
        r = sd_event_default(&s->event);
        if (r >= 0)
                r = add_signals(s);
        if (r >= 0)
                r = notify_init(&s->notify, s->event);
        if (r < 0)
                return r;

        disposal_init(&s->disposal, s->event);
        waiting_init(&s->waiting, s->event, &s->accounts, &s->disposal, s->config.sessions.hello_timeout_ms, on_ready, s);
        sessions_init(&s->sessions, &s->config.sessions, s->event, &s->accounts, &s->roster, &sessions_listener, s);
        breaks_init(&s->breaks, s->event, &s->sessions);
        admin_init(&s->admin, s);
        r = handover_init(&s->handover, s->event, &s->sessions, &s->disposal, s->config.keepers);
        if (r < 0)
                return r;
        /* At once (the accuracy is 1 µs, 0 would mean 250 ms): apps are waiting. */
        return sd_event_add_time_relative(s->event, &s->settle, CLOCK_MONOTONIC, 0, 1, on_settle, s);
}

static void supervisor_done(struct supervisor *s) {
        admin_done(&s->admin);
        handover_done(&s->handover);
        waiting_done(&s->waiting);
        breaks_done(&s->breaks);
        sessions_done(&s->sessions);
        disposal_done(&s->disposal);
        accounts_done(&s->accounts);
        policies_done(&s->policies);
        roster_close(&s->roster);
        pause_end(&s->pause);
        sd_event_source_disable_unref(s->listener);
        sd_event_source_disable_unref(s->status);
        sd_event_source_disable_unref(s->settle);
        sd_event_source_disable_unref(s->drain);
        notify_done(&s->notify);
        pl_close(s->config.clients);
        pl_close(s->config.admins);
}

int supervisor_run(const struct supervisor_config *config) {
        struct supervisor s = { .config = *config, .started = (uint64_t)time(NULL), .started_usec = pl_now_ms() * 1000 };
        _cleanup_(sd_event_unrefp_) sd_event *event = NULL;
        int r;

        s.policies = (struct policies) { .source = config->policy, .fd = -1, .max_sessions = config->max_sessions };
        r = load_policy(&s);
        if (r < 0) {
                log_line(LOG_ERR, "does not start: the policy cannot be loaded; see pinleased --check-policy");
                return r;
        }
        r = roster_open(config->roster, config->max_sessions, &s.roster);
        if (r < 0) {
                policies_done(&s.policies);
                log_line(LOG_ERR, "cannot make %s: %s", config->roster, strerror(-r));
                return r;
        }

        r = prepare(&s);
        event = s.event;
        if (r < 0)
                log_line(LOG_ERR, "cannot set up its event loop: %s", strerror(-r));
        else
                r = sd_event_loop(s.event);

        log_report_missed(true);
        supervisor_done(&s);
        return r;
}
