/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>

#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "log-limit.h"
#include "service.h"

/* No process can be had. */
static bool fork_fails;

pid_t __real_fork(void);
pid_t __wrap_fork(void);
pid_t __wrap_fork(void) {
        errno = EAGAIN;
        return fork_fails ? -1 : __real_fork();
}

static const struct credit_amount initial = CREDIT_INITIAL, chunk = CREDIT_CHUNK;

/* The end of a session, by its keeper's. */
static void expect_end(struct service *s, struct fake_keeper *keeper) {
        unsigned int n = s->n_ended;

        keeper_forget(keeper);
        service_run_until(s, s->n_ended == n + 1);
        assert_null(sessions_find(&s->sessions, keeper->id));
}

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

        expect_end(&s, &keeper);
        assert_null(s.accounts.root);
        assert_int_equal(s.accounts.n_sessions, 0);
        service_teardown(&s);
}

/* Limits below what a session begins with, of session and user. */
TEST(test_initial_credit) {
        struct fake_keeper keepers[3];
        struct service s;

        service_setup(&s);
        s.config.session_limits = (struct credit_amount) { 4096, 0, 3 };
        s.config.user_limits = (struct credit_amount) { 10000, 0, 7 };
        for (unsigned int i = 0; i < 3; i++)
                keeper_begin(&s, 1000, keepers + i);
        assert_amount(keeper_session(&s, keepers)->held, 4096, 0, 3);
        assert_amount(keeper_session(&s, keepers + 1)->held, 4096, 0, 3);
        assert_amount(keeper_session(&s, keepers + 2)->held, 10000 - 2 * 4096, 0, 1);
        assert_amount(service_check_accounts(&s), 10000, 0, 7);
        for (unsigned int i = 0; i < 3; i++)
                expect_end(&s, keepers + i);
        service_teardown(&s);
}

static void want(struct service *s, struct fake_keeper *keeper, struct credit_amount amount) {
        unsigned int n = keeper_state(keeper).n_credit;

        keeper_amount(keeper, FAKE_WANT, &amount);
        service_run_until(s, keeper_state(keeper).n_credit == n + 1);
}

static void assert_agreed(const struct service *s, const struct fake_keeper *keeper) {
        const struct credit_amount *here = &keeper_session(s, keeper)->held;
        struct credit_amount there = keeper_state(keeper).held;

        assert_amount(there, here->pinned, here->odp, here->registrations);
        (void)service_check_accounts(s);
}

TEST(test_credit) {
        struct fake_keeper keeper, other, stranger;
        struct credit_amount amount;
        struct fake_keeper_state state;
        struct service s;

        service_setup(&s);
        s.config.user_limits = (struct credit_amount) { UINT64_C(64) << 20, UINT64_C(2) << 30, 500 };
        s.config.session_limits = (struct credit_amount) { UINT64_C(48) << 20, UINT64_C(3) << 30, 450 };
        keeper_begin(&s, 1000, &keeper);
        keeper_begin(&s, 1000, &other);
        keeper_begin(&s, 2000, &stranger);

        /* A little is rounded up to a chunk. */
        want(&s, &keeper, (struct credit_amount) { 1, 0, 1 });
        assert_amount(keeper_session(&s, &keeper)->held,
                      initial.pinned + chunk.pinned,
                      initial.odp,
                      initial.registrations + chunk.registrations);
        assert_agreed(&s, &keeper);

        /* More than a chunk is given exactly; the session's own limit. */
        want(&s, &keeper, (struct credit_amount) { UINT64_C(31) << 20, 0, 0 });
        assert_int_equal(keeper_session(&s, &keeper)->held.pinned, UINT64_C(48) << 20);
        assert_agreed(&s, &keeper);
        want(&s, &keeper, (struct credit_amount) { 1, 0, 0 });
        state = keeper_state(&keeper);
        assert_int_equal(state.credit.value, CREDIT_PINNED);
        assert_int_equal(state.credit.limit, UINT64_C(48) << 20);
        assert_int_equal(state.credit.use, UINT64_C(48) << 20);
        assert_amount(state.credit.credit, 0, 0, 0);

        /* The user's limit: what is left is less than a chunk, but enough; then it is not. Nothing else is given with it. */
        want(&s, &other, (struct credit_amount) { UINT64_C(15) << 20, 0, 0 });
        assert_int_equal(keeper_session(&s, &other)->held.pinned, UINT64_C(16) << 20);
        want(&s, &other, (struct credit_amount) { 1, 1, 1 });
        state = keeper_state(&other);
        assert_int_equal(state.credit.value, CREDIT_PINNED);
        assert_int_equal(state.credit.limit, UINT64_C(64) << 20);
        assert_int_equal(state.credit.use, UINT64_C(64) << 20);
        assert_int_equal(keeper_session(&s, &other)->held.odp, initial.odp);
        assert_agreed(&s, &other);

        /* The other kinds, and numbers that could overflow. */
        want(&s, &other, (struct credit_amount) { 0, UINT64_MAX, 0 });
        assert_int_equal(keeper_state(&other).credit.value, CREDIT_ODP);
        want(&s, &other, (struct credit_amount) { 0, 0, UINT64_MAX });
        assert_int_equal(keeper_state(&other).credit.value, CREDIT_REGISTRATIONS);
        want(&s, &other, (struct credit_amount) { UINT64_MAX, UINT64_MAX, UINT64_MAX });
        assert_int_equal(keeper_state(&other).credit.value, CREDIT_PINNED);
        want(&s, &other, (struct credit_amount) { 0, 0, 0 });
        assert_int_equal(keeper_state(&other).credit.value, CREDIT_NONE);
        assert_agreed(&s, &other);

        /* Another user has all of its own. */
        want(&s, &stranger, (struct credit_amount) { UINT64_C(20) << 20, 0, 0 });
        assert_agreed(&s, &stranger);

        /* What is given back is to be had again, by others of the user. */
        amount = (struct credit_amount) { UINT64_C(32) << 20, 0, 5 };
        keeper_amount(&keeper, FAKE_RETURN, &amount);
        service_run_until(&s, keeper_session(&s, &keeper)->held.pinned == UINT64_C(16) << 20);
        assert_agreed(&s, &keeper);
        want(&s, &other, (struct credit_amount) { UINT64_C(32) << 20, 0, 0 });
        assert_int_equal(keeper_session(&s, &other)->held.pinned, UINT64_C(48) << 20);
        assert_agreed(&s, &other);

        expect_end(&s, &keeper);
        expect_end(&s, &other);
        (void)service_check_accounts(&s);
        expect_end(&s, &stranger);
        service_teardown(&s);
}

/* A keeper that returns what it does not hold, or says what it should not, loses its connection, and comes again: what it
 * says then counts. */
TEST(test_keeper_breaks_protocol) {
        struct fake_keeper_command command = { .what = FAKE_TELL };
        struct fake_keeper keeper;
        struct service s;

        service_setup(&s);
        keeper_begin(&s, 1000, &keeper);
        for (unsigned int i = 0; i < 5; i++) {
                unsigned int n = s.n_introduced;

                command.message = (struct control_message) { .type = CONTROL_RETURN };
                if (i == 0)
                        command.message.credit.pinned = initial.pinned + 1;
                else if (i == 1)
                        command.message.credit.odp = UINT64_MAX;
                else if (i == 2)
                        command.message.credit.registrations = initial.registrations + 1;
                else
                        command.message.type = i == 3 ? (uint32_t)CONTROL_PING : UINT32_MAX;
                service_run_until(&s, keeper_state(&keeper).welcome);
                keeper_say(&keeper, &command);
                service_run_until(&s, s.n_introduced == n + 1);
                assert_int_equal(keeper_session(&s, &keeper)->state, SESSION_SERVING);
                assert_agreed(&s, &keeper);
        }
        expect_end(&s, &keeper);
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
        assert_int_equal(session_tell(keeper_session(&s, &keeper), &revoke), -ENOTCONN);
        keeper_command(&keeper, FAKE_INTRODUCE, 0);
        service_run_until(&s, keeper_state(&keeper).welcome);

        assert_int_equal(session_tell(keeper_session(&s, &keeper), &revoke), 0);
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
        expect_end(&s, &keeper);
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
                assert_int_equal(waitid(P_PID, (id_t)keeper.pid, &(siginfo_t) { 0 }, WEXITED | WNOWAIT), 0);
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
        expect_end(&s, &keeper);
        service_teardown(&s);
}

static struct control_introduction introduction_of(const struct session *session) {
        return (struct control_introduction) {
                .magic = CONTROL_MAGIC,
                .version = CONTROL_VERSION,
                .session = session->id,
                .app_pid = (uint32_t)getpid(),
                .registrar_pid = 17,
                .uid = session->account->uid,
                .gid = 5,
                .credit = session->held,
        };
}

/* What a keeper may say about itself, and what not; credit of any size is accounted for exactly, or not at all. */
TEST(test_introductions) {
        static const enum {
                HONEST,
                MAGIC,
                SESSION,
                OTHER_UID,
                APP_PID,
                REGISTRAR_PID,
                PINNED,
                ODP,
                REGISTRATIONS,
                MOST,
                NOTHING_HELD,
                N_HOWS,
        } first_wrong = MAGIC, last_wrong = REGISTRATIONS;

        for (unsigned int how = 0; how < N_HOWS; how++) {
                struct fake_keeper_command command = { .what = FAKE_INTRODUCE_AS };
                struct control_introduction *i = &command.introduction;
                struct fake_keeper keeper;
                struct session *session;
                struct service s;

                service_setup(&s);
                keeper_start(&s, 1000, &keeper);
                session = keeper_session(&s, &keeper);
                *i = introduction_of(session);
                i->magic += how == MAGIC;
                i->session += how == SESSION;
                i->uid += how == OTHER_UID;
                if (how == APP_PID)
                        i->app_pid = UINT32_MAX;
                if (how == REGISTRAR_PID)
                        i->registrar_pid = UINT32_MAX;
                if (how == PINNED)
                        i->credit.pinned = UINT64_MAX;
                if (how == ODP)
                        i->credit.odp = (UINT64_C(1) << 50) + 1;
                if (how == REGISTRATIONS)
                        i->credit.registrations = UINT64_C(1) << 32;
                if (how == MOST)
                        i->credit = (struct credit_amount) { UINT64_C(1) << 50, UINT64_C(1) << 50, UINT32_MAX };
                if (how == NOTHING_HELD)
                        i->credit = (struct credit_amount) { 0 };
                keeper_say(&keeper, &command);
                if (how >= first_wrong && how <= last_wrong) {
                        service_run_until(&s, session->control < 0);
                        assert_int_equal(session->state, SESSION_STARTING);
                        assert_int_equal(s.n_introduced, 0);
                        assert_int_equal(session->ledger, -1);
                        assert_amount(session->held, initial.pinned, initial.odp, initial.registrations);
                        service_run_until(&s, !keeper_state(&keeper).connected);
                } else {
                        service_run_until(&s, s.n_introduced == 1);
                        assert_int_equal(session->state, SESSION_SERVING);
                        assert_int_equal(session->registrar_pid, 17);
                        assert_amount(session->held, i->credit.pinned, i->credit.odp, i->credit.registrations);
                }
                (void)service_check_accounts(&s);
                expect_end(&s, &keeper);
                service_teardown(&s);
        }
}

/* What is no introduction at all. */
TEST(test_first_words) {
        for (unsigned int how = 0; how < 4; how++) {
                struct fake_keeper_command command = { .what = FAKE_SEND };
                struct fake_keeper keeper;
                struct session *session;
                struct service s;

                service_setup(&s);
                keeper_start(&s, 1000, &keeper);
                session = keeper_session(&s, &keeper);
                if (how == 0)
                        command.introduction = introduction_of(session); /* of another length, as the packet is longer */
                else if (how == 1)
                        command.value = 1; /* garbage, with a descriptor */
                else if (how == 2)
                        command.message = (struct control_message) { .type = CONTROL_WANT };
                keeper_say(&keeper, &command);
                service_run_until(&s, session->control < 0);
                assert_int_equal(session->state, SESSION_STARTING);
                expect_end(&s, &keeper);
                service_teardown(&s);
        }
}

TEST(test_other_version) {
        struct fake_keeper_command command = { .what = FAKE_INTRODUCE_AS };
        const struct control_message revoke = { .type = CONTROL_REVOKE };
        struct fake_keeper keeper;
        struct session *session;
        struct service s;

        service_setup(&s);
        keeper_start(&s, 1000, &keeper);
        session = keeper_session(&s, &keeper);
        command.introduction = introduction_of(session);
        command.introduction.version++;
        keeper_say(&keeper, &command);
        service_run_until(&s, s.n_introduced == 1);
        assert_int_equal(session->state, SESSION_OTHER_VERSION);
        assert_int_equal(s.accounts.n_starting, 0);
        assert_false(keeper_state(&keeper).welcome);

        /* Nothing that it says is understood, whatever it looks like; it can be told to end. */
        command = (struct fake_keeper_command) { .what = FAKE_SEND, .message = { .type = CONTROL_WANT, .credit = { 1, 1, 1 } } };
        keeper_say(&keeper, &command);
        session_end(session, 99);
        service_run_until(&s, keeper_state(&keeper).n_going_away == 1);
        service_settle(&s);
        assert_amount(session->held, initial.pinned, initial.odp, initial.registrations);
        assert_int_equal(session_tell(session, &revoke), -ENOTCONN);
        (void)service_check_accounts(&s);
        expect_end(&s, &keeper);
        service_teardown(&s);
}

/* The same keeper comes again by itself: what it asked for and was not answered is asked again. */
TEST(test_reconnect) {
        struct fake_keeper keeper;
        struct session *session;
        struct service s;

        service_setup(&s);
        keeper_begin(&s, 1000, &keeper);
        session = keeper_session(&s, &keeper);
        for (unsigned int i = 0; i < 10; i++) {
                unsigned int n_credit = keeper_state(&keeper).n_credit, n = s.n_introduced;
                uint64_t before = keeper_state(&keeper).held.pinned;

                keeper_amount(&keeper, FAKE_WANT, &(const struct credit_amount) { UINT64_C(17) << 20, 0, 0 });
                keeper_command(&keeper, FAKE_DROP, 0);
                service_run_until(&s, s.n_introduced == n + 1);
                assert_ptr_equal(session, keeper_session(&s, &keeper));
                service_run_until(&s, keeper_state(&keeper).n_credit == n_credit + 1);
                service_run_until(&s, keeper_state(&keeper).welcome);
                assert_int_equal(keeper_state(&keeper).held.pinned, before + (UINT64_C(17) << 20));
                assert_agreed(&s, &keeper);
        }
        assert_false(session->resumed);
        assert_int_equal(s.accounts.n_sessions, 1);
        expect_end(&s, &keeper);
        service_teardown(&s);
}

/* A successor takes everything over. */
TEST(test_restart) {
        struct fake_keeper keepers[5];
        struct service s;

        service_setup(&s);
        for (unsigned int i = 0; i < ELEMENTSOF(keepers); i++)
                keeper_begin(&s, 1000 + i % 2, keepers + i);
        want(&s, keepers, (struct credit_amount) { UINT64_C(100) << 20, 0, 0 });
        service_end(&s);

        /* One ends while nobody listens. */
        keeper_forget(keepers + 4);
        assert_int_equal(waitpid(keepers[4].pid, NULL, 0), keepers[4].pid);

        service_begin(&s);
        service_run_until(&s, s.sessions.n_resumed >= 4 && roster_expected(&s.roster) == 0);
        /* The dead one may have knocked before, and count until its end is known. */
        for (unsigned int i = 0; i < 4; i++)
                service_run_until(&s, sessions_find(&s.sessions, keepers[i].id));
        service_run_until(&s, s.accounts.n_sessions == 4);
        for (unsigned int i = 0; i < 4; i++) {
                service_run_until(&s, keeper_state(keepers + i).welcome);
                assert_true(keeper_session(&s, keepers + i)->resumed);
                assert_int_equal(keeper_session(&s, keepers + i)->keeper_pid, keepers[i].pid);
                assert_agreed(&s, keepers + i);
        }
        assert_int_equal(s.accounts.n_sessions, 4);
        assert_int_equal(keeper_session(&s, keepers)->held.pinned, initial.pinned + (UINT64_C(100) << 20));

        /* They go on as if nothing had been, and new ones get new numbers. */
        want(&s, keepers, (struct credit_amount) { UINT64_C(100) << 20, 0, 0 });
        assert_agreed(&s, keepers);
        keeper_begin(&s, 1000, keepers + 4);
        assert_int_equal(keepers[4].id, 6);
        for (unsigned int i = 0; i < 5; i++)
                expect_end(&s, keepers + i);
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

/* Pages that log-limit keeps for users. */
static int make_pages(void **unused _unused_) {
        static const uid_t users[] = { 1000, 1001, 2000 };

        for (size_t i = 0; i < ELEMENTSOF(users); i++)
                if (log_limit_fd(users[i]) < 0)
                        return -1;
        return 0;
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
                CHECKED(test_introductions),
                CHECKED(test_first_words),
                CHECKED(test_other_version),
                CHECKED(test_reconnect),
                CHECKED(test_restart),
                CHECKED(test_cannot_execute),
                CHECKED(test_cannot_start),
        };

        return cmocka_run_group_tests_name("sessions", tests, make_pages, NULL);
}
