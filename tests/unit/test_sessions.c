/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "journal.h"
#include "service.h"
#include "wraps.h"

/* No process can be had. */
static bool fork_fails;

pid_t __real_fork(void);
pid_t __wrap_fork(void);
pid_t __wrap_fork(void) {
        errno = EAGAIN;
        return fork_fails ? -1 : __real_fork();
}

static const struct credit_amount initial = CREDIT_INITIAL, chunk = CREDIT_CHUNK;

TEST(test_start_and_end) {
        struct fake_keeper keeper;
        struct session *session;
        struct service s;

        service_setup(&s);
        keeper_start(&s, 1000, &keeper);
        session = keeper_session(&s, &keeper);
        assert_int_equal(session->state, SESSION_STARTING);
        assert_int_equal(s.accounts.n_starting, 1);
        assert_int_equal(session->account->uid, 1000);
        assert_amount(session->held, initial.pinned, initial.odp, initial.registrations);
        (void)service_check_accounts(&s);

        keeper_command(&keeper, FAKE_INTRODUCE, 0);
        service_run_until(&s, s.n_introduced == 1);
        assert_int_equal(session->state, SESSION_SERVING);
        assert_int_equal(session->registrar_pid, keeper.pid);
        assert_int_equal(session->app_pid, getpid());
        assert_false(session->resumed);
        assert_true(session->ledger >= 0);
        assert_int_equal(s.accounts.n_starting, 0);
        assert_amount(session->held, initial.pinned, initial.odp, initial.registrations);
        assert_int_equal(s.sessions.n_started, 1);
        /* It hears that, too. */
        service_run_until(&s, keeper_state(&keeper).welcome);

        keeper_end(&s, &keeper);
        assert_null(s.accounts.root);
        assert_int_equal(s.accounts.n_sessions, 0);
        service_teardown(&s);
}

/* Limits below what a session begins with, of session and user. */
TEST(test_initial_credit) {
        struct fake_keeper keepers[3];
        struct service s;

        service_setup(&s);
        s.config.limits.session = (struct credit_amount) { 4096, 0, 3 };
        s.config.limits.user = (struct credit_amount) { 10000, 0, 7 };
        for (unsigned int i = 0; i < 3; i++)
                keeper_begin(&s, 1000, keepers + i);
        assert_amount(keeper_session(&s, keepers)->held, 4096, 0, 3);
        assert_amount(keeper_session(&s, keepers + 1)->held, 4096, 0, 3);
        assert_amount(keeper_session(&s, keepers + 2)->held, 10000 - 2 * 4096, 0, 1);
        assert_amount(service_check_accounts(&s), 10000, 0, 7);
        for (unsigned int i = 0; i < 3; i++)
                keeper_end(&s, keepers + i);
        service_teardown(&s);
}

TEST(test_credit) {
        struct fake_keeper keeper, other, stranger;
        struct credit_amount amount;
        struct fake_keeper_state state;
        struct service s;

        service_setup(&s);
        s.config.limits.user = (struct credit_amount) { UINT64_C(64) << 20, UINT64_C(2) << 30, 500 };
        s.config.limits.session = (struct credit_amount) { UINT64_C(48) << 20, UINT64_C(3) << 30, 450 };
        keeper_begin(&s, 1000, &keeper);
        keeper_begin(&s, 1000, &other);
        keeper_begin(&s, 2000, &stranger);

        /* A little is rounded up to a chunk. */
        keeper_want(&s, &keeper, (struct credit_amount) { 1, 0, 1 });
        assert_amount(keeper_session(&s, &keeper)->held,
                      initial.pinned + chunk.pinned,
                      initial.odp,
                      initial.registrations + chunk.registrations);
        keeper_assert_agreed(&s, &keeper);

        /* More than a chunk is given exactly; the session's own limit. */
        keeper_want(&s, &keeper, (struct credit_amount) { UINT64_C(31) << 20, 0, 0 });
        assert_int_equal(keeper_session(&s, &keeper)->held.pinned, UINT64_C(48) << 20);
        keeper_assert_agreed(&s, &keeper);
        keeper_want(&s, &keeper, (struct credit_amount) { 1, 0, 0 });
        state = keeper_state(&keeper);
        assert_int_equal(state.credit.value, CREDIT_PINNED);
        assert_int_equal(state.credit.limit, UINT64_C(48) << 20);
        assert_int_equal(state.credit.use, UINT64_C(48) << 20);
        assert_amount(state.credit.credit, 0, 0, 0);

        /* The user's limit: what is left is less than a chunk, but enough; then it is not. Nothing else is given with it. */
        keeper_want(&s, &other, (struct credit_amount) { UINT64_C(15) << 20, 0, 0 });
        assert_int_equal(keeper_session(&s, &other)->held.pinned, UINT64_C(16) << 20);
        keeper_want(&s, &other, (struct credit_amount) { 1, 1, 1 });
        state = keeper_state(&other);
        assert_int_equal(state.credit.value, CREDIT_PINNED);
        assert_int_equal(state.credit.limit, UINT64_C(64) << 20);
        assert_int_equal(state.credit.use, UINT64_C(64) << 20);
        assert_int_equal(keeper_session(&s, &other)->held.odp, initial.odp);
        keeper_assert_agreed(&s, &other);

        /* The other kinds, and numbers that could overflow. */
        keeper_want(&s, &other, (struct credit_amount) { 0, UINT64_MAX, 0 });
        assert_int_equal(keeper_state(&other).credit.value, CREDIT_ODP);
        keeper_want(&s, &other, (struct credit_amount) { 0, 0, UINT64_MAX });
        assert_int_equal(keeper_state(&other).credit.value, CREDIT_REGISTRATIONS);
        keeper_want(&s, &other, (struct credit_amount) { UINT64_MAX, UINT64_MAX, UINT64_MAX });
        assert_int_equal(keeper_state(&other).credit.value, CREDIT_PINNED);
        keeper_want(&s, &other, (struct credit_amount) { 0, 0, 0 });
        assert_int_equal(keeper_state(&other).credit.value, CREDIT_NONE);
        keeper_assert_agreed(&s, &other);

        /* Another user has all of its own. */
        keeper_want(&s, &stranger, (struct credit_amount) { UINT64_C(20) << 20, 0, 0 });
        keeper_assert_agreed(&s, &stranger);

        /* What is given back is to be had again, by others of the user. */
        amount = (struct credit_amount) { UINT64_C(32) << 20, 0, 5 };
        keeper_amount(&keeper, FAKE_RETURN, &amount);
        service_run_until(&s, keeper_session(&s, &keeper)->held.pinned == UINT64_C(16) << 20);
        keeper_assert_agreed(&s, &keeper);
        keeper_want(&s, &other, (struct credit_amount) { UINT64_C(32) << 20, 0, 0 });
        assert_int_equal(keeper_session(&s, &other)->held.pinned, UINT64_C(48) << 20);
        keeper_assert_agreed(&s, &other);

        keeper_end(&s, &keeper);
        keeper_end(&s, &other);
        (void)service_check_accounts(&s);
        keeper_end(&s, &stranger);
        service_teardown(&s);
}

/* A keeper that returns what it does not hold, or says what it should not, loses its connection, and comes again: what it
 * says then counts. */
TEST(test_keeper_breaks_protocol) {
        struct fake_keeper_command command = { .what = FAKE_TELL };
        const struct fake_keeper_command other_length = { .what = FAKE_SEND };
        struct fake_keeper keeper;
        struct service s;

        journal_setup(NULL);
        service_setup(&s);
        keeper_begin(&s, 1000, &keeper);
        for (unsigned int i = 0; i < 6; i++) {
                unsigned int n = s.n_introduced;

                command.message = (struct control_message) { .type = CONTROL_RETURN };
                if (i == 1)
                        command.message.credit.pinned = initial.pinned + 1;
                else if (i == 2)
                        command.message.credit.odp = UINT64_MAX;
                else if (i == 3)
                        command.message.credit.registrations = initial.registrations + 1;
                else
                        command.message.type = i == 4 ? (uint32_t)CONTROL_PING : UINT32_MAX;
                service_run_until(&s, keeper_state(&keeper).welcome);
                /* By its first connection. */
                keeper_say(&keeper, i == 0 ? &other_length : &command);
                service_run_until(&s, s.n_introduced == n + 1);
                assert_int_equal(keeper_session(&s, &keeper)->state, SESSION_SERVING);
                keeper_assert_agreed(&s, &keeper);
                assert_true(journal_has("43343002dd3c4809975f8e8a7bfb42c5", "3"));
        }
        journal_teardown(NULL);
        keeper_end(&s, &keeper);
        service_teardown(&s);
}

TEST(test_messages) {
        const struct control_message revoke = { .type = CONTROL_REVOKE, .cookie = 5, .value = 77 };
        struct fake_keeper_command command = { .what = FAKE_TELL,
                                               .message = { .type = CONTROL_REVOKED, .cookie = 5, .counts = { 1, 2, 3 } } };
        struct fake_keeper keeper;
        struct service s;

        service_setup(&s);
        keeper_start(&s, 1000, &keeper);
        assert_int_equal(session_tell(keeper_session(&s, &keeper), &revoke, -1), -ENOTCONN);
        keeper_command(&keeper, FAKE_INTRODUCE, 0);
        service_run_until(&s, keeper_state(&keeper).welcome);

        assert_int_equal(session_tell(keeper_session(&s, &keeper), &revoke, -1), 0);
        session_end(keeper_session(&s, &keeper), 4321);
        service_run_until(&s, keeper_state(&keeper).n_going_away == 1);
        assert_int_equal(keeper_state(&keeper).going_away.value, 4321);
        assert_int_equal(keeper_state(&keeper).revoke.cookie, 5);
        assert_int_equal(keeper_state(&keeper).revoke.value, 77);
        assert_true(keeper_session(&s, &keeper)->ending);

        keeper_say(&keeper, &command);
        service_run_until(&s, s.n_revoked == 1);
        assert_int_equal(s.revoked.cookie, 5);
        assert_int_equal(s.revoked.counts[2], 3);
        keeper_end(&s, &keeper);
        service_teardown(&s);
}

/* Whatever way its keeper ends, also before it has introduced itself, the session is over and everything given back. */
TEST(test_keeper_ends) {
        for (unsigned int how = 0; how < 4; how++) {
                struct fake_keeper keeper;
                struct service s;

                service_setup(&s);
                if (how < 2)
                        keeper_start(&s, 1000, &keeper);
                else
                        keeper_begin(&s, 1000, &keeper);
                if (how % 2)
                        assert_int_equal(kill(keeper.pid, SIGKILL), 0);
                else
                        keeper_command(&keeper, FAKE_EXIT, 3);
                service_run_until(&s, s.n_ended == 1);
                assert_null(s.sessions.first);
                assert_null(s.accounts.root);
                /* It has been reaped. */
                assert_int_equal(waitpid(keeper.pid, NULL, WNOHANG), -1);
                keeper_forget(&keeper);
                service_teardown(&s);
        }
}

/* What it says with its last breath counts, in whatever order its words and its end are seen. */
TEST(test_last_words) {
        struct fake_keeper_command command = { .what = FAKE_TELL, .message = { .type = CONTROL_REVOKED, .cookie = 9 } };

        for (unsigned int i = 0; i < 20; i++) {
                struct fake_keeper keeper;
                struct service s;

                service_setup(&s);
                keeper_begin(&s, 1000, &keeper);
                service_run_until(&s, keeper_state(&keeper).welcome);
                keeper_say(&keeper, &command);
                keeper_amount(&keeper, FAKE_WANT, &chunk);
                keeper_say(&keeper, &command);
                keeper_command(&keeper, FAKE_EXIT, 0);
                testing_await_end(keeper.pid);
                service_run_until(&s, s.n_ended == 1);
                assert_int_equal(s.n_revoked, 2);
                assert_null(s.accounts.root);
                keeper_forget(&keeper);
                service_teardown(&s);
        }
}

/* Keepers that never stop talking do not keep other things from being done. */
static bool happened;
static int on_other_thing(sd_event_source *source _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata _unused_) {
        happened = true;
        return 0;
}

TEST(test_busy_keepers) {
        sd_event_source *source = NULL;
        struct fake_keeper keeper;
        struct service s;
        int pair[2];

        service_setup(&s);
        keeper_begin(&s, 1000, &keeper);
        service_run_until(&s, keeper_state(&keeper).welcome);
        /* As the socket of apps is: looked at when there is nothing else to do. */
        assert_int_equal(control_pair(pair), 0);
        assert_true(sd_event_add_io(s.event, &source, pair[0], EPOLLIN, on_other_thing, NULL) >= 0);
        assert_true(sd_event_source_set_priority(source, SD_EVENT_PRIORITY_IDLE) >= 0);
        happened = false;
        for (unsigned int i = 0; i < 50; i++)
                keeper_amount(&keeper, FAKE_RETURN, &(const struct credit_amount) { 1, 0, 0 });
        (void)keeper_state(&keeper);
        assert_int_equal(write(pair[1], "x", 1), 1);
        for (unsigned int i = 0; i < 10 && !happened; i++)
                service_turn(&s, pl_now_ms() + TESTING_PATIENCE_MS);
        assert_true(happened);
        sd_event_source_disable_unref(source);
        pl_close(pair[0]);
        pl_close(pair[1]);
        keeper_end(&s, &keeper);
        service_teardown(&s);
}

/* No program. */
TEST(test_cannot_execute) {
        struct fake_keeper keeper;
        struct service s;

        service_setup(&s);
        s.sessions.program = pl_close(s.sessions.program);
        s.sessions.program = open("/dev/null", O_PATH | O_CLOEXEC);
        keeper_start(&s, 1000, &keeper);
        service_run_until(&s, s.n_ended == 1);
        assert_null(s.accounts.root);
        keeper_forget(&keeper);
        service_teardown(&s);
}

/* No process, no descriptor: nothing is left of the attempt. */
TEST(test_cannot_start) {
        struct peer peer = { .pid = getpid(), .uid = 1000, .gid = 1, .pidfd = -1 };
        unsigned int fds;
        struct service s;

        service_setup(&s);
        fds = testing_count_fds(0);
        fork_fails = true;
        assert_int_equal(sessions_start(&s.sessions, 0, &peer), -EAGAIN);
        fork_fails = false;
        assert_null(s.sessions.first);
        assert_null(s.accounts.root);
        assert_int_equal(testing_count_fds(0), fds);
        service_teardown(&s);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_start_and_end),
                CHECKED(test_initial_credit),
                CHECKED(test_credit),
                CHECKED(test_keeper_breaks_protocol),
                CHECKED(test_messages),
                CHECKED(test_keeper_ends),
                CHECKED(test_last_words),
                CHECKED(test_busy_keepers),
                CHECKED(test_cannot_execute),
                CHECKED(test_cannot_start),
        };

        wraps_reset();
        return cmocka_run_group_tests_name("sessions", tests, service_make_pages, NULL);
}
