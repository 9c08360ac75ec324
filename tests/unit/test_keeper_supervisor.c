/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "trio.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "fake_uverbs.h"
#include "wraps.h"

static const struct credit_amount initial = CREDIT_INITIAL;

/* A keeper and its pinleased: the end, credit, revocations, a successor. */

static void going_away(struct trio *t, uint32_t grace) {
        const struct control_message message = { .type = CONTROL_GOING_AWAY, .value = grace };

        assert_int_equal(control_send(t->supervisor, &message, -1), 0);
}

TEST(test_going_away) {
        struct trio t;

        trio_start(&t, serve);
        trio_wait_ready(&t);
        going_away(&t, 1234);
        trio_expect_at_last(&t, 'g');
        assert_int_equal(trio_end(&t), 0);
}

/* Without the supervisor the session goes on: the service may be replaced under it. */
TEST(test_supervisor_hangs_up) {
        struct trio t;

        trio_start(&t, serve);
        trio_wait_ready(&t);
        t.supervisor = pl_close(t.supervisor);
        for (unsigned int i = 0; i < 10; i++)
                trio_expect(&t, 'p');
        assert_int_equal(fake_live(), N_MRS);
        assert_int_equal(kill(t.registrar, SIGKILL), 0);
        assert_killed(trio_end(&t));
}

/* Nor by what the supervisor should not say. */
TEST(test_supervisor_babbles) {
        const struct control_message message = { .type = CONTROL_BYE };
        struct trio t;

        trio_start(&t, serve);
        trio_wait_ready(&t);
        for (unsigned int i = 0; i < 20; i++)
                assert_int_equal(control_send(t.supervisor, &message, t.report), 0);
        for (unsigned int i = 0; i < 5; i++)
                trio_expect(&t, 'p');
        assert_int_equal(kill(t.registrar, SIGKILL), 0);
        assert_killed(trio_end(&t));
}

/* --- credit and revocation --- */

static void expect_introduction(int supervisor, const struct credit_amount *credit) {
        struct control_introduction introduction;
        int ledger;

        (void)testing_wait_fd(supervisor, POLLIN);
        assert_int_equal(control_recv_introduction(supervisor, &introduction, &ledger), 0);
        assert_int_equal(introduction.session, 77);
        assert_memory_equal(&introduction.credit, credit, sizeof *credit);
        pl_close(ledger);
        assert_int_equal(control_send(supervisor, &(struct control_message) { .type = CONTROL_WELCOME }, -1), 0);
}

static struct control_message expect_message(int supervisor, uint32_t type) {
        struct control_message message;
        int fd;

        (void)testing_wait_fd(supervisor, POLLIN);
        assert_int_equal(control_recv(supervisor, &message, &fd), 0);
        assert_int_equal(fd, -1);
        assert_int_equal(message.type, type);
        return message;
}

static void say_credit(int control, uint32_t type, struct credit_amount amount) {
        if (control_send(control, &(struct control_message) { .type = type, .credit = amount }, -1) < 0)
                _exit(40);
}

/* Asks, is answered, gives back, and then more than it has. */
static void uses_credit(int control, int client) {
        uint32_t value;

        (void)client;
        say_credit(control, CONTROL_WANT, (struct credit_amount) { 5, 6, 7 });
        if (listen_to_keeper(control, &value) != CONTROL_CREDIT || value != CREDIT_ODP)
                _exit(41);
        report('c');
        say_credit(control, CONTROL_RETURN, (struct credit_amount) { 4096, 6, 7 });
        say_credit(control, CONTROL_RETURN, (struct credit_amount) { 0, 1, 0 });
        if (listen_to_keeper(control, &value) != CONTROL_GOING_AWAY)
                _exit(42);
        say_credit(control, CONTROL_RETURN, (struct credit_amount) { 0, initial.odp, 0 });
}

TEST(test_credit) {
        const struct control_message credit = { .type = CONTROL_CREDIT, .value = CREDIT_ODP, .credit = { 1 << 20, 6, 7 } };
        struct control_message message;
        struct trio t;

        trio_start(&t, uses_credit);
        trio_wait_ready(&t);
        expect_introduction(t.supervisor, &initial);
        message = expect_message(t.supervisor, CONTROL_WANT);
        assert_int_equal(message.credit.pinned, 5);
        assert_int_equal(message.credit.odp, 6);
        assert_int_equal(message.credit.registrations, 7);
        assert_int_equal(trio_ceiling->n, 0);

        assert_int_equal(control_send(t.supervisor, &credit, -1), 0);
        trio_expect_at_last(&t, 'c');
        assert_int_equal(trio_ceiling->pid, t.registrar);
        message = expect_message(t.supervisor, CONTROL_RETURN);
        assert_int_equal(message.credit.pinned, 4096);
        assert_int_equal(message.credit.odp, 6);
        assert_int_equal(message.credit.registrations, 7);
        message = expect_message(t.supervisor, CONTROL_RETURN);
        assert_int_equal(message.credit.odp, 1);
        /* The kernel's ceiling has followed, where bytes to pin came or went; soft and hard. */
        assert_int_equal(trio_ceiling->n, 2);
        assert_int_equal(trio_ceiling->soft, initial.pinned + (1 << 20) - 4096);
        assert_int_equal(trio_ceiling->hard, trio_ceiling->soft);

        going_away(&t, 1);
        assert_killed(trio_end(&t));
}

/* Turns, otherwise, and does not end by itself. */
static _Noreturn void answer_pings(int control) {
        for (;;) {
                struct pollfd p = { .fd = control, .events = POLLIN };
                struct control_message message;
                int fd;

                if (poll(&p, 1, TESTING_PATIENCE_MS) <= 0 || control_recv(control, &message, &fd) < 0 ||
                    control_send(control, &(struct control_message) { .type = CONTROL_PONG }, -1) < 0)
                        (void)pause();
        }
}

static void wants_twice(int control, int client) {
        (void)client;
        say_credit(control, CONTROL_WANT, (struct credit_amount) { 1, 1, 1 });
        say_credit(control, CONTROL_WANT, (struct credit_amount) { 1, 1, 1 });
        answer_pings(control);
}

static void returns_what_it_lacks(int control, int client) {
        (void)client;
        say_credit(control, CONTROL_RETURN, (struct credit_amount) { 0, 0, UINT64_MAX });
        answer_pings(control);
}

static void reports_what_nobody_asked(int control, int client) {
        (void)client;
        tell(control, CONTROL_REVOKED, 0, 0, -1);
        answer_pings(control);
}

TEST(test_registrar_lies) {
        static const behaviour_t behaviours[] = { wants_twice, returns_what_it_lacks, reports_what_nobody_asked };

        for (size_t i = 0; i < ELEMENTSOF(behaviours); i++) {
                struct trio t;

                trio_start(&t, behaviours[i]);
                trio_wait_ready(&t);
                assert_killed(trio_end(&t));
        }
}

static void revokes(int control, int client) {
        struct control_message done = { .type = CONTROL_REVOKED, .cookie = 3, .counts = { 1, 2, 3 } };
        uint32_t value;

        (void)client;
        if (listen_to_keeper(control, &value) != CONTROL_REVOKE || value != 1000)
                _exit(50);
        if (control_send(control, &done, -1) < 0)
                _exit(51);
        for (;;)
                (void)listen_to_keeper(control, &value);
}

static const struct control_message revocation = { .type = CONTROL_REVOKE, .value = 1000, .cookie = 3, .selector = CONTROL_SELECT_ALL };

TEST(test_revocation) {
        static const struct times times = { .heartbeat_ms = 1000, .hang_ms = HANG_MS };
        struct trio t;

        trio_start_with(&t, revokes, &times, false);
        trio_wait_ready(&t);
        expect_introduction(t.supervisor, &initial);
        assert_int_equal(control_send(t.supervisor, &revocation, -1), 0);
        assert_int_equal(expect_message(t.supervisor, CONTROL_REVOKED).counts[2], 3);

        /* It has done so, and is left alone after the deadline. */
        wraps_clock->fast = true;
        for (uint64_t until = pl_now_ms() + 20000; pl_now_ms() < until;)
                trio_expect(&t, 'p');
        wraps_clock->fast = false;
        assert_int_equal(kill(t.registrar, SIGKILL), 0);
        assert_killed(trio_end(&t));
}

/* A registrar that turns, but does not take away what it should, has until grace and margin are over; it may be at work, but
 * not for ever. The deadline is kept by itself, not by the heartbeat's. */
static void ignores_revocation(int control, int client) {
        uint32_t value;

        (void)client;
        for (;;)
                if (listen_to_keeper(control, &value) == CONTROL_REVOKE)
                        report('v');
}

TEST(test_revocation_is_late) {
        static const struct times no_heartbeat = { .heartbeat_ms = NEVER_MS, .hang_ms = NEVER_MS };

        for (unsigned int busy = 0; busy < 3; busy++) {
                uint64_t before;
                struct trio t;

                trio_start_with(&t, ignores_revocation, &no_heartbeat, false);
                trio_wait_ready(&t);
                if (busy == 1)
                        ledger_busy(&t.ledger, 60000);
                else if (busy == 2)
                        atomic_store(&t.ledger.header->busy_until, pl_now_ms() + LEDGER_BUSY_MAX_MS);
                before = pl_now_ms();
                assert_int_equal(control_send(t.supervisor, &revocation, -1), 0);
                trio_expect(&t, 'v');
                wraps_clock->fast = true;
                if (busy == 2)
                        /* Says again and again that it is at work. */
                        while (pl_now_ms() < before + 3 * (uint64_t)LEDGER_BUSY_MAX_MS) {
                                siginfo_t info = { 0 };

                                atomic_store(&t.ledger.header->busy_until, pl_now_ms() + 30000);
                                if (waitid(P_PID, (id_t)t.registrar, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid)
                                        break;
                                wraps_clock->jumped_ms += 2000;
                                (void)poll(NULL, 0, 1);
                        }
                assert_killed(trio_end(&t));
                if (busy == 0)
                        assert_in_range(pl_now_ms() - before, 6000, 30000);
                else if (busy == 1)
                        assert_in_range(pl_now_ms() - before, 60000, 100000);
                else
                        assert_in_range(pl_now_ms() - before, LEDGER_BUSY_MAX_MS, 2 * LEDGER_BUSY_MAX_MS);
        }
}

/* Somebody waits for the registrar to let go of a file: others hear of it, and it hears when they have. */
static void breaks(int control, int client) {
        struct control_message ask = { .type = CONTROL_BREAK, .cookie = 8, .inode = 9, .value = 1000 };
        uint32_t value;

        (void)client;
        if (control_send(control, &ask, -1) < 0 || listen_to_keeper(control, &value) != CONTROL_BREAK_OVER ||
            value != 3)
                _exit(51);
        if (control_send(control, &(struct control_message) { .type = CONTROL_YIELDED, .cookie = 8 }, -1) < 0)
                _exit(52);
        /* More than there may be are answered here. */
        for (ask.cookie = 100; ask.cookie < 100 + CONTROL_MAX_BREAKS; ask.cookie++)
                if (control_send(control, &ask, -1) < 0)
                        _exit(53);
        if (control_send(control, &ask, -1) < 0 || listen_to_keeper(control, &value) != CONTROL_BREAK_OVER ||
            value != EBUSY)
                _exit(54);
        for (ask.cookie = 100; ask.cookie < 101 + CONTROL_MAX_BREAKS; ask.cookie++)
                if (control_send(control,
                                 &(struct control_message) { .type = CONTROL_YIELDED, .cookie = ask.cookie },
                                 -1) < 0)
                        _exit(55);
        report('b');
        serve(control, client);
}

TEST(test_break) {
        /* Heartbeats pass the time, and are answered late by a process that does not get its turn. */
        static const struct times times = { .heartbeat_ms = 1000, .hang_ms = NEVER_MS };
        struct control_message asked;
        struct trio t;

        trio_start_with(&t, breaks, &times, false);
        trio_wait_ready(&t);
        expect_introduction(t.supervisor, &initial);
        assert_int_equal(control_send(t.supervisor, &(struct control_message) { .type = CONTROL_WELCOME }, -1), 0);
        asked = expect_message(t.supervisor, CONTROL_BREAK);
        assert_int_equal(asked.cookie, 8);
        assert_int_equal(asked.inode, 9);
        /* Nobody has asked for that. */
        assert_int_equal(
                control_send(t.supervisor, &(struct control_message) { .type = CONTROL_BREAK_OVER, .cookie = 9 }, -1),
                0);
        assert_int_equal(control_send(t.supervisor,
                                      &(struct control_message) { .type = CONTROL_BREAK_OVER, .cookie = 8, .value = 3 },
                                      -1),
                         0);
        trio_expect(&t, 'b');

        /* It has let go, and is left alone after the deadline. */
        wraps_clock->fast = true;
        for (uint64_t until = pl_now_ms() + 20000; pl_now_ms() < until;)
                trio_expect(&t, 'p');
        wraps_clock->fast = false;
        assert_int_equal(kill(t.registrar, SIGKILL), 0);
        assert_killed(trio_end(&t));
}

/* It does not let go, whatever the others have done, and however long it would like to have; or has not begun what it
 * ends. */
static void does_not_yield(int control, int client) {
        (void)client;
        tell(control, CONTROL_BREAK, 0, 1000, -1);
        report('v');
        for (;;)
                (void)pause();
}

static void yields_nothing(int control, int client) {
        (void)client;
        tell(control, CONTROL_YIELDED, 0, 0, -1);
}

TEST(test_break_is_late) {
        static const struct times no_heartbeat = { .heartbeat_ms = NEVER_MS, .hang_ms = NEVER_MS };
        uint64_t before;
        struct trio t;

        trio_start_with(&t, does_not_yield, &no_heartbeat, false);
        trio_wait_ready(&t);
        before = pl_now_ms();
        trio_expect(&t, 'v');
        wraps_clock->fast = true;
        assert_killed(trio_end(&t));
        assert_in_range(pl_now_ms() - before, 5000, 60000);

        trio_start_with(&t, yields_nothing, &no_heartbeat, false);
        trio_wait_ready(&t);
        assert_killed(trio_end(&t));
}

/* A successor is found, told all, and answers what the predecessor did not. */
static void wants_once(int control, int client) {
        uint32_t value;

        say_credit(control, CONTROL_WANT, (struct credit_amount) { 5, 6, 7 });
        if (listen_to_keeper(control, &value) != CONTROL_CREDIT)
                _exit(60);
        report('c');
        serve(control, client);
}

TEST(test_successor) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        char folder[] = "/tmp/pinlease-test-XXXXXX";
        struct times times = trio_usual;
        int listener, fd;
        struct trio t;

        assert_non_null(mkdtemp(folder));
        (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/session.sock", folder);
        times.successor = address.sun_path;
        trio_start_with(&t, wants_once, &times, false);
        trio_wait_ready(&t);
        expect_introduction(t.supervisor, &initial);
        (void)expect_message(t.supervisor, CONTROL_WANT);
        t.supervisor = pl_close(t.supervisor);

        /* Not at once, either. */
        for (unsigned int i = 0; i < 20; i++)
                trio_expect(&t, 'p');
        listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(listener, (const struct sockaddr *)&address, sizeof address), 0);
        assert_int_equal(listen(listener, 5), 0);
        (void)testing_wait_fd(listener, POLLIN);
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        assert_true(fd >= 0);
        expect_introduction(fd, &initial);
        assert_int_equal(expect_message(fd, CONTROL_WANT).credit.odp, 6);
        assert_int_equal(
                control_send(fd, &(struct control_message) { .type = CONTROL_CREDIT, .credit = { 5, 6, 7 } }, -1), 0);
        trio_expect_at_last(&t, 'c');

        /* What it has been given it says to the next. */
        pl_close(fd);
        (void)testing_wait_fd(listener, POLLIN);
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        assert_true(fd >= 0);
        expect_introduction(fd,
                            &(const struct credit_amount) { initial.pinned + 5, initial.odp + 6, initial.registrations + 7 });
        t.supervisor = fd;
        pl_close(listener);
        assert_int_equal(unlink(address.sun_path), 0);
        assert_int_equal(rmdir(folder), 0);
        assert_int_equal(kill(t.registrar, SIGKILL), 0);
        assert_killed(trio_end(&t));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_going_away),
                CHECKED(test_supervisor_hangs_up),
                CHECKED(test_supervisor_babbles),
                CHECKED(test_credit),
                CHECKED(test_registrar_lies),
                CHECKED(test_revocation),
                CHECKED(test_revocation_is_late),
                CHECKED(test_break),
                CHECKED(test_break_is_late),
                CHECKED(test_successor),
        };

        return cmocka_run_group_tests_name("keeper and supervisor", tests, NULL, NULL);
}
