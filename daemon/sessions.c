/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sessions.h"

#include <assert.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "closer.h"
#include "ledger-reader.h"
#include "log-limit.h"
#include "log.h"
#include "obituary.h"
#include "session-exec.h"
#include "util.h"

/* More than any limit that can be set: what is larger in an introduction makes no sense, and sums of it might not fit. */
#define HELD_MAX (UINT64_C(1) << 50)

#define SUBJECT(session) &(const struct log_subject) { (session)->id, (session)->app_pid, (session)->account->uid, NULL }
#define say(session, priority, event, ...) log_subject_event(SUBJECT(session), priority, event, __VA_ARGS__)

static void session_free(struct session *session) {
        sd_event_source_disable_unref(session->control_source);
        sd_event_source_disable_unref(session->exit_source);
        pl_close(session->control);
        pl_close(session->ledger);
        pl_close(session->keeper);
        free(session);
}

static void session_freep(struct session **session) {
        if (*session)
                session_free(*session);
}

static struct session *session_new(struct sessions *s, uint64_t id) {
        struct session *session = malloc(sizeof *session);

        if (session)
                *session = (struct session) { .sessions = s, .id = id, .control = -1, .ledger = -1, .keeper = -1 };
        return session;
}

/* Numbers ascend, but for those that were there before. */
static void session_link(struct session *session) {
        struct sessions *s = session->sessions;
        struct session **p = &s->first;

        while (*p && (*p)->id < session->id)
                p = &(*p)->next;
        session->next = *p;
        *p = session;
        account_session(s->accounts, session->account, 1);
        if (session->state == SESSION_STARTING)
                account_starting(s->accounts, session->account, 1);
}

static void session_unlink(struct session *session) {
        struct sessions *s = session->sessions;
        struct session **p = &s->first;

        while (*p != session)
                p = &(*p)->next;
        *p = session->next;
        if (session->state == SESSION_STARTING)
                account_starting(s->accounts, session->account, -1);
        account_session(s->accounts, session->account, -1);
        account_release(session->account, &session->held);
}

/* What its keeper has said last about revocations still counts. */
static void hear_out(struct session *session) {
        struct control_message message;
        int fd = -1;

        if (session->state != SESSION_SERVING || session->control < 0)
                return;
        while (control_recv(session->control, &message, &fd) == 0 && fd < 0)
                if (message.type == CONTROL_REVOKED)
                        session->sessions->listener->revoked(session->sessions->userdata, session, &message);
        if (fd >= 0)
                (void)closer_close(&fd, 1);
}

static void session_gone(struct session *session) {
        struct sessions *s = session->sessions;

        hear_out(session);
        roster_remove(s->roster, session->id, session->keeper_pid);
        session_unlink(session);
        s->listener->ended(s->userdata, session);
        account_put(s->accounts, session->account);
        session_free(session);
}

static int on_keeper_exit(sd_event_source *source _unused_, const siginfo_t *info, void *userdata) {
        struct session *session = userdata;

        if (info->si_code != CLD_EXITED || info->si_status != 0)
                say(session,
                    LOG_WARNING,
                    EVENT_KEEPER_FAILED,
                    "its keeper ended with %s %d",
                    info->si_code == CLD_EXITED ? "status" : "signal",
                    info->si_status);
        session_gone(session);
        return 0;
}

static int on_resumed_keeper_exit(sd_event_source *source _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        struct session *session = userdata;

        session->exit_source = sd_event_source_disable_unref(session->exit_source);
        obituary_write(session->sessions->event, pl_steal_fd(&session->keeper), SUBJECT(session));
        session_gone(session);
        return 0;
}

/* --- what keepers say --- */

static void lose_control(struct session *session) {
        session->control_source = sd_event_source_disable_unref(session->control_source);
        session->control = pl_close(session->control);
}

static void grant(struct session *session, const struct credit_amount *need) {
        const struct sessions_config *config = session->sessions->config;
        struct control_message answer = { .type = CONTROL_CREDIT };
        struct account_shortage shortage = { 0 };

        if (!account_charge(session->account,
                            &config->limits,
                            &session->held,
                            need,
                            &answer.credit,
                            &shortage)) {
                answer.value = shortage.kind;
                answer.selector = shortage.whose;
                answer.limit = shortage.limit;
                answer.use = shortage.use;
        }

        /* What is sent counts as arrived: if it does not, the keeper comes again and says what it has. */
        (void)amount_add(&session->held, &answer.credit);
        if (control_send(session->control, &answer, -1) < 0)
                lose_control(session);
}

static int take_back(struct session *session, const struct credit_amount *amount) {
        if (amount_subtract(&session->held, amount) < 0)
                return -EPROTO;
        account_release(session->account, amount);
        return 0;
}

static int handle_message(struct session *session, const struct control_message *message) {
        struct sessions *s = session->sessions;

        switch (message->type) {
        case CONTROL_WANT:
                grant(session, &message->credit);
                return 0;
        case CONTROL_RETURN:
                return take_back(session, &message->credit);
        case CONTROL_REVOKED:
                s->listener->revoked(s->userdata, session, message);
                return 0;
        case CONTROL_BREAK:
                s->listener->asks(s->userdata, session, message);
                return 0;
        default:
                return -EPROTO;
        }
}

static int on_control(sd_event_source *source _unused_, int control, uint32_t revents _unused_, void *userdata) {
        struct session *session = userdata;
        struct control_message message;
        int fd, r;

        r = control_recv(control, &message, &fd);
        if (fd >= 0)
                (void)closer_close(&fd, 1);
        if (r == -EAGAIN)
                return 0;
        /* Its messages may be of another length. */
        if (session->state == SESSION_OTHER_VERSION)
                r = r == -EPROTO ? 0 : r;
        else if (r == 0)
                r = handle_message(session, &message);
        if (r == -EPROTO)
                say(session, LOG_ERR, EVENT_KEEPER_FAILED, "its keeper broke the control protocol");
        /* It ends, or comes again by itself. */
        if (r < 0)
                lose_control(session);
        return 0;
}

/* What sessions have to say, and may say without end, comes in turn with new connections, and after all that is over once it
 * has been done. */
static int watch_control(struct session *session, int control) {
        int r;

        r = sd_event_add_io(session->sessions->event, &session->control_source, control, EPOLLIN, on_control, session);
        if (r < 0)
                return r;
        return sd_event_source_set_priority(session->control_source, SD_EVENT_PRIORITY_IDLE);
}

static bool introduction_is_sound(const struct control_introduction *introduction) {
        return introduction->session > 0 && introduction->credit.pinned <= HELD_MAX && introduction->credit.odp <= HELD_MAX &&
               introduction->credit.registrations <= UINT32_MAX && introduction->app_pid <= INT32_MAX &&
               introduction->registrar_pid <= INT32_MAX;
}

/* What the keeper says about itself is true, and replaces what was known. */
static void introduce(struct session *session, const struct control_introduction *introduction, int ledger) {
        struct sessions *s = session->sessions;
        bool starting = session->state == SESSION_STARTING;

        account_release(session->account, &session->held);
        session->held = introduction->credit;
        account_take_over(session->account, &session->held);
        session->gid = introduction->gid;
        session->app_pid = (pid_t)introduction->app_pid;
        session->registrar_pid = (pid_t)introduction->registrar_pid;
        session->started_ms = introduction->started_ms;
        pl_close(session->ledger);
        session->ledger = ledger;
        if (starting)
                account_starting(s->accounts, session->account, -1);
        if (introduction->version != CONTROL_VERSION) {
                session->state = SESSION_OTHER_VERSION;
                say(session,
                    LOG_NOTICE,
                    EVENT_SESSION_OTHER_VERSION,
                    "is of another version (%" PRIu32 ", this is %d): it goes on until its app ends, but gets no more credit",
                    introduction->version,
                    CONTROL_VERSION);
        } else
                session->state = SESSION_SERVING;

        if (session->state != SESSION_OTHER_VERSION &&
            control_send(session->control, &(struct control_message) { .type = CONTROL_WELCOME }, -1) < 0) {
                lose_control(session);
                return;
        }
        s->listener->introduced(s->userdata, session);
}

static int on_introduction(sd_event_source *source, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        struct session *session = userdata;
        struct control_introduction introduction;
        int ledger, r;

        r = control_recv_introduction(session->control, &introduction, &ledger);
        if (r == -EAGAIN)
                return 0;
        if (r == 0 && (!introduction_is_sound(&introduction) || introduction.session != session->id ||
                       introduction.uid != session->account->uid || !ledger_reader_is_safe(ledger)))
                r = -EPROTO;
        if (r == -EPROTO)
                say(session,
                    LOG_ERR,
                    EVENT_KEEPER_FAILED,
                    "what introduces itself as its keeper is none; is %s of this version?",
                    session->sessions->config->session_program);

        session->control_source = sd_event_source_disable_unref(source);
        if (r == 0)
                r = watch_control(session, session->control);
        if (r < 0) {
                if (ledger >= 0)
                        (void)closer_close(&ledger, 1);
                lose_control(session);
                return 0;
        }
        introduce(session, &introduction, ledger);
        return 0;
}

/* --- starting --- */

static int spawn(struct session *session, const struct peer *peer, int client) {
        const struct sessions *s = session->sessions;
        _cleanup_(pl_closep) int theirs = -1;
        struct session_args args = {
                .session = session->id,
                .app_pid = peer->pid,
                .identity = { .uid = s->config->uid, .gid = s->config->gid, .fsuid = peer->uid, .fsgid = peer->gid },
                .limits = s->config->limits.session,
                .credit = session->held,
                .heartbeat_ms = s->config->heartbeat_ms,
                .hang_ms = s->config->hang_ms,
                .hello_timeout_ms = s->config->hello_timeout_ms,
        };
        int pair[2], r, log_limit = log_limit_fd(peer->uid);
        pid_t pid;

        if (s->config->session_socket)
                memcpy(args.session_socket, s->config->session_socket, strlen(s->config->session_socket) + 1);

        r = control_pair(pair);
        if (r < 0)
                return r;
        session->control = pair[0];
        theirs = pair[1];
        r = sd_event_add_io(s->event, &session->control_source, session->control, EPOLLIN, on_introduction, session);
        if (r < 0)
                return r;

        pid = session_exec(s->program, &args, (const int[SESSION_N_FDS]) { client, theirs, peer->pidfd, log_limit, s->config->policy });
        session->policy = s->config->policy_generation;
        if (pid < 0)
                return pid;
        session->keeper_pid = pid;

        r = sd_event_add_child(s->event, &session->exit_source, pid, WEXITED, on_keeper_exit, session);
        if (r < 0) {
                /* Nobody would notice its end: it must not begin. */
                (void)kill(pid, SIGKILL);
                (void)waitpid(pid, NULL, 0);
        }
        return r;
}

int sessions_start(struct sessions *s, int client, const struct peer *peer) {
        static const struct credit_amount initial = CREDIT_INITIAL;
        const struct credit_amount wish = amount_minimum(&initial, &s->config->limits.session);
        _cleanup_(session_freep) struct session *session = NULL;
        int r;

        session = session_new(s, roster_next_id(s->roster));
        if (!session)
                return -ENOMEM;
        session->account = account_get(s->accounts, peer->uid);
        if (!session->account)
                return -ENOMEM;
        session->app_pid = peer->pid;
        session->gid = peer->gid;
        session->held = account_charge_some(session->account, &s->config->limits, &wish);

        r = spawn(session, peer, client);
        if (r < 0) {
                account_release(session->account, &session->held);
                account_put(s->accounts, session->account);
                return r;
        }

        /* If it is gone by now, there is nobody to wait for. */
        (void)roster_add(s->roster, session->id, session->keeper_pid);
        session_link(session);
        session = NULL;
        s->n_started++;
        return 0;
}

/* --- taking over --- */

/* The same keeper has lost its connection, or dropped it. */
static int reconnect(struct session *session, const struct control_introduction *introduction, int control, int ledger) {
        int r;

        lose_control(session);
        r = watch_control(session, control);
        if (r < 0)
                return r;
        session->control = control;
        introduce(session, introduction, ledger);
        return 0;
}

int sessions_adopt(struct sessions *s,
                   const struct control_introduction *introduction,
                   pid_t keeper_pid,
                   int control,
                   int ledger,
                   int keeper) {
        _cleanup_(session_freep) struct session *session = NULL;
        struct session *known = sessions_find(s, introduction->session);
        int r;

        if (!introduction_is_sound(introduction) || !ledger_reader_is_safe(ledger))
                return -EBADMSG;
        if (known) {
                if (known->keeper_pid != keeper_pid || known->account->uid != introduction->uid)
                        return -EEXIST;
                r = reconnect(known, introduction, control, ledger);
                if (r == 0)
                        pl_close(keeper);
                return r;
        }
        /* What it held is free, and may be somebody else's by now. (A known one's end is still to come, after its last words.) */
        if (poll(&(struct pollfd) { .fd = keeper, .events = POLLIN }, 1, 0) != 0)
                return -ESRCH;

        session = session_new(s, introduction->session);
        if (!session)
                return -ENOMEM;
        session->account = account_get(s->accounts, introduction->uid);
        if (!session->account)
                return -ENOMEM;
        session->keeper_pid = keeper_pid;
        session->resumed = true;

        r = sd_event_add_io(s->event, &session->exit_source, keeper, EPOLLIN, on_resumed_keeper_exit, session);
        if (r == 0)
                r = watch_control(session, control);
        if (r < 0) {
                account_put(s->accounts, session->account);
                return r;
        }
        session->keeper = keeper;
        session->control = control;
        session_link(session);
        roster_claim(s->roster, session->id, keeper_pid);
        s->n_resumed++;
        introduce(session, introduction, ledger);
        session = NULL;
        return 0;
}

/* --- all of them --- */

void sessions_init(struct sessions *s,
                   const struct sessions_config *config,
                   sd_event *event,
                   struct accounts *accounts,
                   struct roster *roster,
                   const struct sessions_listener *listener,
                   void *userdata) {
        *s = (struct sessions) {
                .config = config,
                .event = event,
                .accounts = accounts,
                .roster = roster,
                .listener = listener,
                .userdata = userdata,
                .program = open(config->session_program, O_PATH | O_CLOEXEC),
        };
        if (s->program < 0)
                log_event(LOG_ERR,
                          EVENT_CANNOT_START_SESSION,
                          "cannot open %s: %s; no session can be started",
                          config->session_program,
                          strerror(errno));
}

void sessions_done(struct sessions *s) {
        while (s->first) {
                struct session *session = s->first;

                session_unlink(session);
                account_put(s->accounts, session->account);
                session_free(session);
        }
        s->program = pl_close(s->program);
}

struct session *sessions_find(const struct sessions *s, uint64_t id) {
        struct session *session = id > 0 ? sessions_after(s, id - 1) : NULL;

        return session && session->id == id ? session : NULL;
}

struct session *sessions_after(const struct sessions *s, uint64_t id) {
        struct session *session = s->first;

        while (session && session->id <= id)
                session = session->next;
        return session;
}

void session_end(struct session *session, uint32_t grace_ms) {
        const struct control_message going_away = { .type = CONTROL_GOING_AWAY, .value = grace_ms };

        session->ending = true;
        if (session->control >= 0 && control_send(session->control, &going_away, -1) < 0)
                lose_control(session);
}

int session_tell(struct session *session, const struct control_message *message, int fd) {
        int r;

        if (session->state != SESSION_SERVING || session->control < 0)
                return -ENOTCONN;
        r = control_send(session->control, message, fd);
        if (r < 0)
                lose_control(session);
        return r;
}
