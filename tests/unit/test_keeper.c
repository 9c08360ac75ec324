/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "trio.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include "journal.h"
#include "request.h"

/* What a registrar asks of its keeper, and what it must not say. */

static void exits(int control, int client) {
        (void)control;
        (void)client;
        _exit(3);
}

TEST(test_registrar_exits) {
        struct trio t;

        trio_start(&t, exits);
        trio_wait_ready(&t);
        assert_int_equal(trio_end(&t), 3 << 8);
}

TEST(test_registrar_is_killed) {
        struct trio t;

        trio_start(&t, serve);
        trio_wait_ready(&t);
        assert_int_equal(kill(t.registrar, SIGKILL), 0);
        assert_killed(trio_end(&t));
}

static void breaks_type(int control, int client) {
        (void)client;
        tell(control, 99, 0, 0, -1);
}

static void breaks_direction(int control, int client) {
        (void)client;
        tell(control, CONTROL_GOING_AWAY, 0, 0, -1);
}

static void breaks_fd(int control, int client) {
        tell(control, CONTROL_PONG, 0, 0, client);
}

static void breaks_disposal(int control, int client) {
        (void)client;
        tell(control, CONTROL_CLOSED, 0, 0, -1);
}

static void breaks_length(int control, int client) {
        (void)client;
        (void)!write(control, "abc", 3);
}

static void closes(int control, int client) {
        (void)client;
        close(control);
}

TEST(test_registrar_breaks_protocol) {
        static const behaviour_t behaviours[] = {
                breaks_type, breaks_direction, breaks_fd, breaks_disposal, breaks_length, closes, says_bye,
        };

        for (size_t i = 0; i < ELEMENTSOF(behaviours); i++) {
                struct trio t;
                bool said;

                journal_setup(NULL);
                trio_start(&t, behaviours[i]);
                trio_wait_ready(&t);
                /* Alive, and therefore killed: it could hang in its own exit. */
                assert_killed(trio_end(&t));
                said = journal_has("c852da1cd84a42b9ae27d813eae2c72d", "3");
                journal_teardown(NULL);
                assert_int_equal(said, behaviours[i] != closes && behaviours[i] != says_bye);
        }
}

/* Contexts that cannot be: refused, and what is registered on the right one is cleaned up all the same. */
static void adds_nonsense(int control, int client) {
        int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);

        (void)client;
        if (ask(control, CONTROL_CONTEXT_ADD, 2, 1, fd) != EPROTO ||
            ask(control, CONTROL_CONTEXT_ADD, MAX_CONTEXTS, 1, fd) != EPROTO ||
            ask(control, CONTROL_CONTEXT_ADD, UINT32_MAX, 1, fd) != EPROTO ||
            ask(control, CONTROL_CONTEXT_ADD, 3, 1, -1) != EPROTO ||
            ask(control, CONTROL_CONTEXT_DROP, 5, 0, -1) != EPROTO ||
            ask(control, CONTROL_CONTEXT_DROP, MAX_CONTEXTS, 0, -1) != EPROTO ||
            ask(control, CONTROL_CONTEXT_ADD, 7, 1, fd) != 0 ||
            ask(control, CONTROL_CONTEXT_DROP, 7, 0, -1) != 0 ||
            ask(control, CONTROL_CONTEXT_DROP, 7, 0, -1) != EPROTO)
                report('?');
        else
                report('k');
        _exit(0);
}

TEST(test_contexts) {
        struct trio t;

        trio_start(&t, adds_nonsense);
        trio_wait_ready(&t);
        trio_expect_at_last(&t, 'k');
        assert_int_equal(trio_end(&t), 0);
}

/* The keeper's own copy of a command fd is closed when the context is dropped: a pipe's reader tells. */
static void drops(int control, int client) {
        int pair[2];
        char byte;

        (void)client;
        if (pipe2(pair, O_CLOEXEC) < 0 || ask(control, CONTROL_CONTEXT_ADD, 7, 1, pair[1]) != 0)
                _exit(30);
        close(pair[1]);
        if (ask(control, CONTROL_CONTEXT_DROP, 7, 0, -1) != 0 || read(pair[0], &byte, 1) != 0)
                _exit(31);
        _exit(0);
}

TEST(test_drop_closes) {
        struct trio t;

        trio_start(&t, drops);
        trio_wait_ready(&t);
        assert_int_equal(trio_end(&t), 0);
}

/* What the registrar wants closed: only after its own copy, so that the registrar's is not the last. And what makes no sense. */
static void disposes(int control, int client) {
        struct pollfd p = { .events = POLLIN };
        int pair[2];
        char byte;

        (void)client;
        for (unsigned int i = 0; i < 3; i++) {
                if (pipe2(pair, O_CLOEXEC) < 0 || ask(control, CONTROL_DISPOSE, 0, 0, pair[1]) != 0)
                        _exit(30);
                close(pair[1]);
                p.fd = pair[0];
                if (poll(&p, 1, 50) != 0)
                        _exit(31);
                tell(control, CONTROL_CLOSED, 0, 0, -1);
                if (read(pair[0], &byte, 1) != 0)
                        _exit(32);
                close(pair[0]);
        }

        if (pipe2(pair, O_CLOEXEC) < 0 || ask(control, CONTROL_DISPOSE, 0, 0, -1) != EPROTO ||
            ask(control, CONTROL_DISPOSE, 0, 0, control) != 0 || ask(control, CONTROL_DISPOSE, 0, 0, pair[1]) != EPROTO)
                _exit(33);
        close(pair[1]);
        if (read(pair[0], &byte, 1) != 0)
                _exit(34);
        tell(control, CONTROL_CLOSED, 0, 0, -1);
        _exit(0);
}

TEST(test_disposal) {
        struct trio t;

        trio_start(&t, disposes);
        trio_wait_ready(&t);
        assert_int_equal(trio_end(&t), 0);
}

/* The registrar ends with its own copy open: the keeper's goes after that. */
static void disposes_and_ends(int control, int client) {
        (void)client;
        if (ask(control, CONTROL_DISPOSE, 0, 0, report_line) != 0)
                _exit(30);
        _exit(0);
}

TEST(test_disposal_by_the_end) {
        struct trio t;
        ssize_t n;
        char got;

        trio_start(&t, disposes_and_ends);
        trio_wait_ready(&t);
        while ((n = read(t.report, &got, 1)) > 0)
                assert_int_equal(got, 'p');
        assert_int_equal(n, 0);
        assert_int_equal(trio_end(&t), 0);
}

/* What the registrar may have done to its app. In the end it runs, as it does without force. */
static void freezes(int control, int client) {
        (void)client;
        tell(control, CONTROL_FREEZE, 0, CONTROL_FREEZE_RELEASE, -1);
        if (ask(control, CONTROL_FREEZE, 0, CONTROL_FREEZE_STOP, -1) != 0)
                _exit(41);
        tell(control, CONTROL_FREEZE, 0, CONTROL_FREEZE_RELEASE, -1);
        if (ask(control, CONTROL_FREEZE, 0, CONTROL_FREEZE_KILL, -1) != EPERM || ask(control, CONTROL_FREEZE, 0, 9, -1) != EINVAL ||
            ask(control, CONTROL_FREEZE, 0, CONTROL_FREEZE_STOP, -1) != 0)
                _exit(40);
        _exit(0);
}

TEST(test_freeze) {
        struct trio t;
        siginfo_t info = { 0 };

        trio_start(&t, freezes);
        trio_wait_ready(&t);
        /* It has stood still, then, and only for a moment. */
        assert_int_equal(waitid(P_PID, (id_t)t.app, &info, WCONTINUED), 0);
        assert_int_equal(info.si_code, CLD_CONTINUED);
        assert_int_equal(trio_end(&t), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_registrar_exits),
                CHECKED(test_registrar_is_killed),
                CHECKED(test_registrar_breaks_protocol),
                CHECKED(test_contexts),
                CHECKED(test_drop_closes),
                CHECKED(test_disposal),
                CHECKED(test_disposal_by_the_end),
                CHECKED(test_freeze),
        };

        return cmocka_run_group_tests_name("keeper", tests, NULL, NULL);
}
