/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "supervisor.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>

#include "closer.h"
#include "control.h"
#include "fds.h"
#include "log-limit.h"
#include "log.h"
#include "peer.h"
#include "refusal.h"
#include "session-args.h"
#include "wire.h"

/* Beyond the grace time: what a keeper may take to end a registrar that does not end by itself, and to clean up. */
#define STOP_MARGIN_MS 15000

/* How long no connection is accepted after descriptors or memory have run out. */
#define RETRY_MS 200

struct supervisor;

struct session {
        struct supervisor *supervisor;
        struct session *next;
        uint64_t id;
        uid_t uid;
        pid_t app_pid;
        int control; /* to the keeper */
        sd_event_source *child;
};

struct supervisor {
        struct supervisor_config config;
        sd_event *event;
        sd_event_source *listener;
        sd_event_source *retry;
        struct session *sessions;
        unsigned int n_sessions;
        uint64_t last_id;
        bool stopping;
};

static struct session *session_free(struct session *session) {
        if (!session)
                return NULL;
        sd_event_source_disable_unref(session->child);
        pl_close(session->control);
        free(session);
        return NULL;
}

static void session_freep(struct session **session) {
        *session = session_free(*session);
}

static void sd_event_unrefp_(sd_event **event) {
        sd_event_unref(*event);
}

static unsigned int sessions_of(const struct supervisor *s, uid_t uid) {
        unsigned int n = 0;

        for (const struct session *session = s->sessions; session; session = session->next)
                n += session->uid == uid;
        return n;
}

static void report_status(const struct supervisor *s) {
        (void)sd_notifyf(0, "STATUS=%u session%s", s->n_sessions, s->n_sessions == 1 ? "" : "s");
}

static int on_session_exit(sd_event_source *source _unused_, const siginfo_t *info, void *userdata) {
        struct session *session = userdata, **p;
        struct supervisor *s = session->supervisor;

        if (info->si_code != CLD_EXITED || info->si_status != 0)
                log_subject_event(&(const struct log_subject) { session->id, session->app_pid, session->uid, NULL },
                                  LOG_WARNING,
                                  EVENT_KEEPER_FAILED,
                                  "its keeper ended with %s %d",
                                  info->si_code == CLD_EXITED ? "status" : "signal",
                                  info->si_status);

        for (p = &s->sessions; *p != session; p = &(*p)->next)
                ;
        *p = session->next;
        s->n_sessions--;
        session_free(session);
        report_status(s);
        log_report_missed(false);

        if (s->stopping && s->n_sessions == 0)
                return sd_event_exit(s->event, 0);
        return 0;
}

/* In the child of fork(): descriptors to their places, signals as a program expects them, and off. */
static _Noreturn void exec_session(const struct supervisor *s, const struct session_args *args, const int *fds) {
        struct session_argv argv;
        sigset_t none;
        int r;

        log_close();
        session_args_format(args, &argv);
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        r = fds_arrange(fds, SESSION_N_FDS);
        if (r == 0) {
                (void)execv(s->config.session_program, argv.argv);
                r = -errno;
        }
        log_event(LOG_ERR, EVENT_CANNOT_START_SESSION, "cannot execute %s: %s", s->config.session_program, strerror(-r));
        _exit(EXIT_FAILURE);
}

static int spawn(struct supervisor *s, struct session *session, const struct peer *peer, int client) {
        _cleanup_(pl_closep) int theirs = -1;
        const struct session_args args = {
                .session = session->id,
                .app_pid = peer->pid,
                .identity = { .uid = s->config.uid, .gid = s->config.gid, .fsuid = peer->uid, .fsgid = peer->gid },
                .limits = s->config.limits,
                .heartbeat_ms = s->config.heartbeat_ms,
                .hang_ms = s->config.hang_ms,
                .hello_timeout_ms = s->config.hello_timeout_ms,
        };
        int pair[2], r, log_limit = log_limit_fd(peer->uid);
        pid_t pid;

        r = control_pair(pair);
        if (r < 0)
                return r;
        session->control = pair[0];
        theirs = pair[1];

        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0) {
                const int fds[SESSION_N_FDS] = { client, theirs, peer->pidfd, log_limit };

                exec_session(s, &args, fds);
        }

        r = sd_event_add_child(s->event, &session->child, pid, WEXITED, on_session_exit, session);
        if (r < 0) {
                /* Nobody would notice its end: it must not begin. */
                (void)kill(pid, SIGKILL);
                (void)waitpid(pid, NULL, 0);
        }
        return r;
}

/* The app hears why there is no session for it. It may not be reading: then it does not. */
static void turn_away(int client, const struct refusal *refusal) {
        struct pl_packet packet;

        pl_packet_init(&packet, PL_OP_REFUSED, 0);
        packet.body.refused.code = (uint32_t)refusal->code;
        packet.body.refused.error = refusal->error;
        memcpy(packet.body.refused.rule, refusal->rule, sizeof refusal->rule);
        memcpy(packet.body.refused.sentence, refusal->sentence, sizeof refusal->sentence);
        (void)pl_wire_send(client, MSG_DONTWAIT, &packet, -1);
}

static int check_limits(const struct supervisor *s, const struct peer *peer, struct refusal *ret_refusal) {
        unsigned int n = sessions_of(s, peer->uid);

        if (n >= s->config.max_sessions_per_user)
                return refuse(ret_refusal,
                              PINLEASE_CODE_SESSION_LIMIT,
                              "User %" PRIu32 " has %u sessions, the limit is %u. Use one session per process and end those "
                              "that are not needed.",
                              (uint32_t)peer->uid,
                              n,
                              s->config.max_sessions_per_user);
        if (s->n_sessions >= s->config.max_sessions)
                return refuse(ret_refusal,
                              PINLEASE_CODE_NO_RESOURCES,
                              "The service has %u sessions, its limit is %u. Try again later.",
                              s->n_sessions,
                              s->config.max_sessions);
        return 0;
}

/* Returns 1 if there is a session now, 0 if the app was turned away, or a negative errno. */
static int start_session(struct supervisor *s, int client) {
        _cleanup_(session_freep) struct session *session = NULL;
        _cleanup_(peer_done) struct peer peer = { .pidfd = -1 };
        struct refusal refusal;
        int r;

        r = peer_get(client, &peer);
        if (r < 0)
                return r == -ESRCH ? 0 : r;

        r = check_limits(s, &peer, &refusal);
        if (r < 0) {
                turn_away(client, &refusal);
                log_subject_event(&(const struct log_subject) { 0, peer.pid, peer.uid, pl_code_name(refusal.code) },
                                  LOG_NOTICE,
                                  EVENT_TURNED_AWAY,
                                  "is turned away: %s",
                                  refusal.sentence);
                return 0;
        }

        session = malloc(sizeof *session);
        if (!session)
                return -ENOMEM;
        *session = (struct session) {
                .supervisor = s,
                .id = ++s->last_id,
                .uid = peer.uid,
                .app_pid = peer.pid,
                .control = -1,
        };

        r = spawn(s, session, &peer, client);
        if (r < 0) {
                (void)refuse(&refusal,
                             PINLEASE_CODE_NO_RESOURCES,
                             "The service could not start a session (%s). Try again; if it persists, the administrator finds "
                             "the reason in the journal of pinlease.service.",
                             strerror(-r));
                turn_away(client, &refusal);
                log_subject_event(&(const struct log_subject) { 0, peer.pid, peer.uid, pl_code_name(refusal.code) },
                                  LOG_ERR,
                                  EVENT_CANNOT_START_SESSION,
                                  "a session for it cannot be started: %s",
                                  strerror(-r));
                return 0;
        }

        session->next = s->sessions;
        s->sessions = session;
        s->n_sessions++;
        session = NULL;
        report_status(s);
        return 1;
}

static int on_retry(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        struct supervisor *s = userdata;

        return sd_event_source_set_enabled(s->listener, SD_EVENT_ON);
}

/* Out of descriptors or memory: the connection stays in the backlog, and is looked at again in a moment rather than at
 * once and for ever. */
static int pause_listening(struct supervisor *s, int error) {
        int r;

        log_event(LOG_ERR,
                  EVENT_CANNOT_START_SESSION,
                  "cannot accept a connection: %s; tries again in %d ms",
                  strerror(error),
                  RETRY_MS);
        r = sd_event_source_set_enabled(s->listener, SD_EVENT_OFF);
        if (r < 0)
                return r;
        if (s->retry) {
                r = sd_event_source_set_time_relative(s->retry, RETRY_MS * UINT64_C(1000));
                if (r < 0)
                        return r;
                return sd_event_source_set_enabled(s->retry, SD_EVENT_ONESHOT);
        }
        return sd_event_add_time_relative(
                s->event, &s->retry, CLOCK_MONOTONIC, RETRY_MS * UINT64_C(1000), 0, on_retry, s);
}

static int on_connection(sd_event_source *source _unused_, int fd, uint32_t revents _unused_, void *userdata) {
        struct supervisor *s = userdata;
        int client, r;

        log_report_missed(false);
        client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0) {
                if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
                        return pause_listening(s, errno);
                return 0;
        }

        r = start_session(s, client);
        if (r < 0)
                log_event(LOG_ERR, EVENT_CANNOT_START_SESSION, "cannot start a session: %s", strerror(-r));
        /* A session has a copy by now. Without one this is the last, and the app may have put anything in flight. */
        if (r > 0)
                pl_close(client);
        else
                (void)closer_close(&client, 1);
        return 0;
}

static int on_stop_timeout(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        struct supervisor *s = userdata;

        log_event(LOG_WARNING, EVENT_SESSIONS_LEFT, "stops, although %u sessions have not ended", s->n_sessions);
        return sd_event_exit(s->event, 0);
}

static int on_stop_signal(sd_event_source *source _unused_, const struct signalfd_siginfo *info _unused_, void *userdata) {
        struct supervisor *s = userdata;
        const struct control_message going_away = { .type = CONTROL_GOING_AWAY, .value = s->config.grace_ms };

        if (s->stopping)
                return 0;
        s->stopping = true;
        (void)sd_notify(0, "STOPPING=1");
        s->listener = sd_event_source_disable_unref(s->listener);
        (void)closer_close(&s->config.listener, 1);

        if (s->n_sessions == 0)
                return sd_event_exit(s->event, 0);

        log_line(LOG_INFO, "stops: %u sessions have %u ms to let go", s->n_sessions, s->config.grace_ms);
        for (const struct session *session = s->sessions; session; session = session->next)
                (void)control_send(session->control, &going_away, -1);
        return sd_event_add_time_relative(s->event,
                                          NULL,
                                          CLOCK_MONOTONIC,
                                          (s->config.grace_ms + UINT64_C(1) * STOP_MARGIN_MS) * 1000,
                                          0,
                                          on_stop_timeout,
                                          s);
}

static int prepare(struct supervisor *s) {
        sigset_t mask;
        int r;

        (void)sigemptyset(&mask);
        (void)sigaddset(&mask, SIGTERM);
        (void)sigaddset(&mask, SIGINT);
        (void)sigaddset(&mask, SIGCHLD);
        if (sigprocmask(SIG_BLOCK, &mask, NULL) < 0)
                return -errno;

        r = sd_event_default(&s->event);
        if (r < 0)
                return r;
        r = sd_event_add_signal(s->event, NULL, SIGTERM, on_stop_signal, s);
        if (r < 0)
                return r;
        r = sd_event_add_signal(s->event, NULL, SIGINT, on_stop_signal, s);
        if (r < 0)
                return r;
        return sd_event_add_io(s->event, &s->listener, s->config.listener, EPOLLIN, on_connection, s);
}

int supervisor_run(const struct supervisor_config *config) {
        struct supervisor s = { .config = *config };
        _cleanup_(sd_event_unrefp_) sd_event *event = NULL;
        int r;

        r = prepare(&s);
        event = s.event;
        if (r < 0) {
                log_line(LOG_ERR, "cannot set up its event loop: %s", strerror(-r));
                return r;
        }

        (void)sd_notify(0, "READY=1\nSTATUS=0 sessions");
        r = sd_event_loop(s.event);
        log_report_missed(true);

        while (s.sessions) {
                struct session *next = s.sessions->next;

                session_free(s.sessions);
                s.sessions = next;
        }
        sd_event_source_disable_unref(s.retry);
        sd_event_source_disable_unref(s.listener);
        pl_close(s.config.listener);
        return r;
}
