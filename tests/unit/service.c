/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service.h"

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "log-limit.h"

/* Credit is dealt out as the supervisor does it, when it is known what there is. */
static void on_introduced(void *userdata, struct session *session) {
        struct service *s = userdata;

        s->n_introduced++;
        breaks_introduced(&s->breaks, session);
        if (s->settling)
                (void)sd_event_source_set_enabled(session->control_source, SD_EVENT_OFF);
}

static void look_who_has_come(struct service *s) {
        if (!s->settling || roster_expected(&s->roster) > 0)
                return;
        s->settling = false;
        for (struct session *session = s->sessions.first; session; session = session->next)
                (void)sd_event_source_set_enabled(session->control_source, SD_EVENT_ON);
}

static void on_revoked(void *userdata, struct session *session, const struct control_message *message) {
        struct service *s = userdata;

        if (breaks_revoked(&s->breaks, session, message))
                return;
        s->n_revoked++;
        s->revoked = *message;
}

static void on_ended(void *userdata, struct session *session) {
        struct service *s = userdata;

        breaks_ended(&s->breaks, session);
        s->n_ended++;
}

static void on_asks(void *userdata, struct session *session, const struct control_message *message) {
        struct service *s = userdata;

        breaks_ask(&s->breaks, session, message);
}

static const struct sessions_listener listener = { on_introduced, on_revoked, on_ended, on_asks };

static void listen_on(struct service *s) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        memcpy(address.sun_path, s->socket, strlen(s->socket) + 1);
        s->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_true(s->listener >= 0);
        assert_int_equal(bind(s->listener, (const struct sockaddr *)&address, sizeof address), 0);
        assert_int_equal(listen(s->listener, 4096), 0);
}

void service_setup(struct service *s) {
        sigset_t child;

        /* Keepers of a test that has failed: every test after it would wait for them in the end. */
        if (waitpid(-1, NULL, WNOHANG) >= 0)
                fail_msg("a former test has left a process behind");
        *s = (struct service) {
                .folder = "/tmp/pinlease-test-XXXXXX",
                .config = {
                        .session_program = FAKE_KEEPER,
                        .session_socket = s->socket,
                        .uid = 1,
                        .gid = 1,
                        .policy = -1,
                        .limits.session = { UINT64_C(1) << 30, UINT64_C(1) << 40, 1 << 15 },
                        .limits.total = { UINT64_MAX, UINT64_MAX, UINT64_MAX },
                        .limits.user = { UINT64_C(1) << 36, UINT64_C(1) << 44, 1 << 20 },
                        .heartbeat_ms = 1000,
                        .hang_ms = 1000,
                        .hello_timeout_ms = 1000,
                },
        };
        assert_non_null(mkdtemp(s->folder));
        (void)snprintf(s->socket, sizeof s->socket, "%s/session.sock", s->folder);
        (void)snprintf(s->roster_path, sizeof s->roster_path, "%s/roster", s->folder);
        listen_on(s);

        /* sd-event wants it so. */
        (void)sigemptyset(&child);
        (void)sigaddset(&child, SIGCHLD);
        assert_int_equal(sigprocmask(SIG_BLOCK, &child, &s->signals), 0);
        service_begin(s);
}

void service_begin(struct service *s) {
        assert_int_equal(sd_event_new(&s->event), 0);
        assert_int_equal(roster_open(s->roster_path, 64, &s->roster), 0);
        disposal_init(&s->disposal, s->event);
        sessions_init(&s->sessions, &s->config, s->event, &s->accounts, &s->roster, &listener, s);
        breaks_init(&s->breaks, s->event, &s->sessions);
        s->settling = true;
        look_who_has_come(s);
        assert_true(handover_init(&s->handover, s->event, &s->sessions, &s->disposal, dup(s->listener)) >= 0);
}

void service_end(struct service *s) {
        handover_done(&s->handover);
        breaks_done(&s->breaks);
        sessions_done(&s->sessions);
        disposal_done(&s->disposal);
        /* Every account has been emptied by those who filled it. */
        assert_null(s->accounts.root);
        assert_int_equal(s->accounts.n_sessions, 0);
        assert_int_equal(s->accounts.n_starting, 0);
        assert_int_equal(s->accounts.n_silent, 0);
        accounts_done(&s->accounts);
        roster_close(&s->roster);
        s->event = sd_event_unref(s->event);
}

void service_teardown(struct service *s) {
        service_end(s);
        pl_close(s->listener);
        (void)unlink(s->socket);
        (void)unlink(s->roster_path);
        assert_int_equal(rmdir(s->folder), 0);
        for (uint64_t deadline = pl_now_ms() + TESTING_PATIENCE_MS; waitpid(-1, NULL, WNOHANG) >= 0;) {
                if (pl_now_ms() > deadline)
                        fail_msg("a keeper lives");
                (void)poll(NULL, 0, 1);
        }
        assert_int_equal(sigprocmask(SIG_SETMASK, &s->signals, NULL), 0);
}

void service_turn(struct service *s, uint64_t deadline_ms) {
        if (pl_now_ms() >= deadline_ms)
                fail_msg("waited in vain");
        assert_true(sd_event_run(s->event, 10000) >= 0);
        look_who_has_come(s);
}

void service_settle(struct service *s) {
        uint64_t deadline = pl_now_ms() + TESTING_PATIENCE_MS;
        int r;

        look_who_has_come(s);
        while ((r = sd_event_run(s->event, 0)) > 0) {
                if (pl_now_ms() > deadline)
                        fail_msg("there is always something to do");
                look_who_has_come(s);
        }
        assert_int_equal(r, 0);
}

void keeper_start(struct service *s, uid_t uid, struct fake_keeper *ret_keeper) {
        struct peer peer = { .pid = getpid(), .uid = uid, .gid = 1, .pidfd = pidfd_open(getpid(), 0) };
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(sessions_start(&s->sessions, pair[1], &peer), 0);
        pl_close(pair[1]);
        peer_done(&peer);
        ret_keeper->line = pair[0];
        /* Numbers ascend. */
        for (const struct session *session = s->sessions.first; session; session = session->next) {
                ret_keeper->id = session->id;
                ret_keeper->pid = session->keeper_pid;
        }
}

void keeper_say(const struct fake_keeper *keeper, const struct fake_keeper_command *command) {
        assert_int_equal(send(keeper->line, command, sizeof *command, MSG_NOSIGNAL), sizeof *command);
}

void keeper_command(const struct fake_keeper *keeper, uint32_t what, uint32_t value) {
        keeper_say(keeper, &(const struct fake_keeper_command) { .what = what, .value = value });
}

void keeper_amount(const struct fake_keeper *keeper, uint32_t what, const struct credit_amount *amount) {
        keeper_say(keeper, &(const struct fake_keeper_command) { .what = what, .amount = *amount });
}

struct fake_keeper_state keeper_state(const struct fake_keeper *keeper) {
        struct fake_keeper_state state;

        keeper_command(keeper, FAKE_STATE, 0);
        (void)testing_wait_fd(keeper->line, POLLIN);
        assert_int_equal(recv(keeper->line, &state, sizeof state, 0), sizeof state);
        return state;
}

void keeper_forget(struct fake_keeper *keeper) {
        keeper->line = pl_close(keeper->line);
}

struct session *keeper_session(const struct service *s, const struct fake_keeper *keeper) {
        struct session *session = sessions_find(&s->sessions, keeper->id);

        if (!session)
                fail_msg("session %" PRIu64 " is not there any more", keeper->id);
        return session;
}

void keeper_begin(struct service *s, uid_t uid, struct fake_keeper *ret_keeper) {
        keeper_start(s, uid, ret_keeper);
        keeper_command(ret_keeper, FAKE_INTRODUCE, 0);
        service_run_until(s, keeper_session(s, ret_keeper)->state == SESSION_SERVING);
        assert_int_equal(keeper_state(ret_keeper).session, ret_keeper->id);
}

struct sums {
        const struct service *service;
        struct credit_amount all;
        unsigned int n_sessions, n_starting, n_silent;
};

static void check_account(const struct account *account, void *userdata) {
        struct sums *sums = userdata;
        struct credit_amount held = { 0 };
        unsigned int n_sessions = 0, n_starting = 0;

        for (const struct session *session = sums->service->sessions.first; session; session = session->next)
                if (session->account == account) {
                        held.pinned += session->held.pinned;
                        held.odp += session->held.odp;
                        held.registrations += session->held.registrations;
                        n_sessions++;
                        n_starting += session->state == SESSION_STARTING;
                }
        assert_amount(account->held, held.pinned, held.odp, held.registrations);
        assert_int_equal(account->n_sessions, n_sessions);
        assert_int_equal(account->n_starting, n_starting);
        sums->n_sessions += n_sessions;
        sums->n_starting += n_starting;
        sums->n_silent += account->n_silent;
        sums->all.pinned += held.pinned;
        sums->all.odp += held.odp;
        sums->all.registrations += held.registrations;
}

struct credit_amount service_check_accounts(const struct service *s) {
        struct sums sums = { .service = s };

        accounts_each(&s->accounts, check_account, &sums);
        assert_int_equal(s->accounts.n_sessions, sums.n_sessions);
        assert_int_equal(s->accounts.n_starting, sums.n_starting);
        assert_int_equal(s->accounts.n_silent, sums.n_silent);
        return sums.all;
}

void keeper_end(struct service *s, struct fake_keeper *keeper) {
        unsigned int n = s->n_ended;

        keeper_forget(keeper);
        service_run_until(s, !sessions_find(&s->sessions, keeper->id));
        assert_true(s->n_ended > n);
}

void keeper_want(struct service *s, struct fake_keeper *keeper, struct credit_amount amount) {
        unsigned int n = keeper_state(keeper).n_credit;

        keeper_amount(keeper, FAKE_WANT, &amount);
        service_run_until(s, keeper_state(keeper).n_credit == n + 1);
}

void keeper_assert_agreed(const struct service *s, const struct fake_keeper *keeper) {
        const struct credit_amount *here = &keeper_session(s, keeper)->held;
        struct credit_amount there = keeper_state(keeper).held;

        assert_amount(there, here->pinned, here->odp, here->registrations);
        (void)service_check_accounts(s);
}

int service_make_pages(void **state _unused_) {
        static const uid_t users[] = { 1000, 1001, 1002, 2000 };

        for (size_t i = 0; i < ELEMENTSOF(users); i++)
                if (log_limit_fd(users[i]) < 0)
                        return -1;
        return 0;
}
