/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "trio.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "fake_uverbs.h"
#include "journal.h"
#include "wraps.h"

/* How a session ends, whoever dies, hangs or does not end as it should; and what is no reason to end. */

static void is_silent(int control, int client) {
        (void)control;
        (void)client;
}

/* Works and answers, but does not give up when it should. */
static void ignores_the_end(int control, int client) {
        uint32_t value;

        (void)client;
        for (;;)
                if (listen_to_keeper(control, &value) == CONTROL_GOING_AWAY)
                        report('g');
}

TEST(test_registrar_stops_answering) {
        struct trio t;

        trio_start(&t, is_silent);
        trio_wait_ready(&t);
        wraps_clock->fast = true;
        assert_killed(trio_end(&t));

        trio_start(&t, serve);
        trio_wait_ready(&t);
        trio_expect(&t, 'p');
        assert_int_equal(kill(t.registrar, SIGSTOP), 0);
        wraps_clock->fast = true;
        assert_killed(trio_end(&t));
}

/* A heartbeat that is answered keeps the session alive for longer than the time that an answer may take. */
TEST(test_heartbeat_goes_on) {
        static const struct times short_hang = { .heartbeat_ms = HEARTBEAT_MS, .hang_ms = 2000 };
        uint64_t until;
        struct trio t;

        trio_start_with(&t, serve, &short_hang, false);
        trio_wait_ready(&t);
        for (until = pl_now_ms() + 2500; pl_now_ms() < until;)
                trio_expect(&t, 'p');
        assert_int_equal(fake_live(), N_MRS);
        assert_int_equal(kill(t.registrar, SIGKILL), 0);
        assert_killed(trio_end(&t));
}

/* A long registration is no hang; but nobody is busy for ever. */
TEST(test_busy) {
        uint64_t until;
        struct trio t;

        trio_start(&t, is_silent);
        trio_wait_ready(&t);
        until = pl_now_ms() + HANG_MS + 1000;
        ledger_busy(&t.ledger, HANG_MS + 1000);
        wraps_clock->fast = true;
        assert_killed(trio_end(&t));
        assert_true(pl_now_ms() >= until);

        trio_start(&t, is_silent);
        trio_wait_ready(&t);
        until = pl_now_ms();
        atomic_store(&t.ledger.header->busy_until, UINT64_MAX);
        wraps_clock->fast = true;
        assert_killed(trio_end(&t));
        assert_true(pl_now_ms() < until + 2 * HANG_MS);
}

/* The heartbeat that was due during a long piece of work is due again only a while after it. */
TEST(test_busy_then_late) {
        struct trio t;

        trio_start(&t, is_silent);
        trio_wait_ready(&t);
        ledger_busy(&t.ledger, 60000);
        wraps_clock->fast = true;
        /* Long after the answer was due: the registrar is still there when the work is done ... */
        for (uint64_t until = pl_now_ms() + 2 * HANG_MS; pl_now_ms() < until;)
                (void)poll(NULL, 0, 1);
        assert_int_equal(waitpid(t.registrar, NULL, WNOHANG), 0);
        ledger_busy(&t.ledger, 0);
        /* ... and has all its time again from then on, but not more. */
        assert_killed(trio_end(&t));
}

/* Nobody is woken while there is nothing to do; and the answer is asked for again when there is. */
TEST(test_idle) {
        static const struct times idle = { .heartbeat_ms = 200, .hang_ms = HANG_MS, .idle = true };
        struct trio t;

        trio_start_with(&t, serve, &idle, false);
        trio_wait_ready(&t);
        wraps_clock->fast = true;
        for (uint64_t until = pl_now_ms() + 4000; pl_now_ms() < until;) {
                struct pollfd p = { .fd = t.report, .events = POLLIN };

                assert_int_equal(poll(&p, 1, 1), 0);
        }
        wraps_clock->fast = false;
        assert_int_equal(send(t.app_socket, "x", 1, 0), 1);
        trio_expect(&t, 'p');
        assert_int_equal(kill(t.registrar, SIGKILL), 0);
        assert_killed(trio_end(&t));
}

static char leased[32];

static void sleeps_over_a_lease(int control, int client) {
        int fd = open(leased, O_RDWR | O_CLOEXEC), bell;
        struct control_message answer;

        (void)client;
        tell(control, CONTROL_LEND, 0, 0, fd);
        do {
                struct pollfd p = { .fd = control, .events = POLLIN };

                if (fd < 0 || poll(&p, 1, -1) < 0 || control_recv(control, &answer, &bell) < 0)
                        _exit(60);
        } while (answer.type != CONTROL_ACK);
        if (bell < 0 || fcntl(fd, F_SETLEASE, F_WRLCK) < 0)
                _exit(61);
        report('v');
        for (;;)
                (void)pause();
}

/* The app wants nothing, but somebody waits to change a file. */
TEST(test_idle_and_rung) {
        static const struct times idle = { .heartbeat_ms = 200, .hang_ms = HANG_MS, .idle = true };
        struct trio t;
        int fd;

        (void)strcpy(leased, "/tmp/pinlease-test-XXXXXX");
        fd = mkostemp(leased, O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(close(fd), 0);
        trio_start_with(&t, sleeps_over_a_lease, &idle, false);
        trio_wait_ready(&t);
        trio_expect(&t, 'v');
        wraps_clock->fast = true;
        for (uint64_t until = pl_now_ms() + 4 * HANG_MS; pl_now_ms() < until;)
                (void)poll(NULL, 0, 1);
        assert_int_equal(waitpid(t.registrar, NULL, WNOHANG), 0);
        fd = open(leased, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        assert_true(fd < 0 && errno == EWOULDBLOCK);
        assert_killed(trio_end(&t));
        assert_int_equal(unlink(leased), 0);
}

/* The app's process is gone, while a child of it may still hold the socket open (here: the test does). */
TEST(test_app_dies) {
        struct trio t;

        trio_start(&t, serve);
        trio_wait_ready(&t);
        trio_kill_app(&t);
        assert_int_equal(trio_end(&t), 0);
}

/* The registrar answers, but does not give up when it should: it has a deadline. */
TEST(test_registrar_does_not_end) {
        static const struct times no_heartbeat = { .heartbeat_ms = NEVER_MS, .hang_ms = NEVER_MS };
        const struct control_message message = { .type = CONTROL_GOING_AWAY, .value = 30000 };
        uint64_t before;
        struct trio t;

        trio_start_with(&t, ignores_the_end, &no_heartbeat, false);
        trio_wait_ready(&t);
        before = pl_now_ms();
        trio_kill_app(&t);
        wraps_clock->fast = true;
        assert_killed(trio_end(&t));
        assert_in_range(pl_now_ms() - before, 4000, 40000);

        /* After the supervisor's word the app's grace time comes first. */
        trio_start_with(&t, ignores_the_end, &no_heartbeat, false);
        trio_wait_ready(&t);
        before = pl_now_ms();
        assert_int_equal(control_send(t.supervisor, &message, -1), 0);
        trio_expect(&t, 'g');
        wraps_clock->fast = true;
        assert_killed(trio_end(&t));
        assert_in_range(pl_now_ms() - before, 34000, 70000);
}

/* Chatters without end. Its keeper sees all the same that the app is gone, and that it does not end. */
static void never_stops(int control, int client) {
        (void)client;
        for (;;)
                (void)control_send(control, &(struct control_message) { .type = CONTROL_PONG }, -1);
}

TEST(test_registrar_chatters) {
        struct trio t;

        trio_start(&t, never_stops);
        trio_wait_ready(&t);
        trio_kill_app(&t);
        wraps_clock->jumped_ms += 10000;
        (void)testing_wait_fd(t.app_socket, POLLIN);
        wraps_clock->jumped_ms += 10000;
        assert_killed(trio_end(&t));
}

/*
 * A registrar that cannot be killed, as one that hangs in the kernel on a file: its pidfd stays silent. What is registered
 * is destroyed, the app learns that the session is over; the keeper stays, for what the registrar may do when it comes
 * alive again, until that dies, or the app does.
 */
TEST(test_stuck) {
        for (unsigned int how = 0; how < 2; how++) {
                uint64_t one = 1;
                struct trio t;
                bool said;
                int fd;

                journal_setup(NULL);
                trio_start_with(&t, is_silent, &trio_usual, true);
                trio_wait_ready(&t);
                wraps_clock->fast = true;
                (void)testing_wait_fd(t.app_socket, POLLIN);

                /* It comes alive and registers one thing more. */
                fd = open("/dev/null", O_RDWR | O_CLOEXEC);
                trio_register(&t, N_MRS, fd);
                pl_close(fd);
                if (how == 0)
                        assert_int_equal(write(t.dead, &one, sizeof one), sizeof one);
                else {
                        trio_kill_app(&t);
                }
                assert_killed(trio_end(&t));
                said = journal_has("b6a9e845c4014901bd14a34f061da55f", "3");
                journal_teardown(NULL);
                assert_true(said);
        }
}

/* It has said goodbye and hangs in its exit: it holds nothing any more, nobody waits for it. */
TEST(test_stuck_after_bye) {
        struct trio t;

        trio_start_with(&t, says_bye, &trio_usual, true);
        trio_wait_ready(&t);
        wraps_clock->fast = true;
        assert_killed(trio_end(&t));
}

/* The app dies first, and then the registrar turns out to be stuck: nobody is left to wait for it. */
TEST(test_stuck_without_app) {
        struct trio t;

        trio_start_with(&t, is_silent, &trio_usual, true);
        trio_wait_ready(&t);
        trio_kill_app(&t);
        wraps_clock->fast = true;
        assert_killed(trio_end(&t));
}

/* What the kernel keeps is the session's for as long as it does so, or until the app ends. */
TEST(test_kept) {
        for (unsigned int how = 0; how < 2; how++) {
                struct trio t;

                trio_start(&t, serve);
                trio_wait_ready(&t);
                fake->dereg_error = -EINVAL;
                assert_int_equal(kill(t.registrar, SIGKILL), 0);
                (void)testing_wait_fd(t.app_socket, POLLIN);
                assert_int_equal(waitpid(t.keeper, NULL, WNOHANG), 0);
                assert_int_equal(fake_live(), N_MRS);

                wraps_clock->fast = true;
                if (how == 0)
                        fake->dereg_error = 0;
                else {
                        t.kept = N_MRS;
                        trio_kill_app(&t);
                }
                assert_killed(trio_end(&t));
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_registrar_stops_answering),
                CHECKED(test_heartbeat_goes_on),
                CHECKED(test_busy),
                CHECKED(test_app_dies),
                CHECKED(test_registrar_does_not_end),
                CHECKED(test_stuck),
                CHECKED(test_stuck_after_bye),
                CHECKED(test_stuck_without_app),
                CHECKED(test_kept),
                CHECKED(test_busy_then_late),
                CHECKED(test_registrar_chatters),
                CHECKED(test_idle),
                CHECKED(test_idle_and_rung),
        };

        return cmocka_run_group_tests_name("keeper, ends", tests, NULL, NULL);
}
