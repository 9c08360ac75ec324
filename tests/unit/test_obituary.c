/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "journal.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "obituary.h"
#include "wraps.h"

#define KEEPER_FAILED "43343002dd3c4809975f8e8a7bfb42c5"

static const struct log_subject subject = { .session = 7, .pid = 4711, .uid = 1001 };

/* Ends at once, and stays unheard. */
static pid_t end_child(int status, int signal, int *ret_pidfd) {
        pid_t pid = fork();
        siginfo_t info;

        assert_return_code(pid, errno);
        if (pid == 0) {
                if (signal)
                        (void)raise(signal);
                _exit(status);
        }
        *ret_pidfd = pidfd_open(pid, 0);
        assert_return_code(*ret_pidfd, errno);
        assert_return_code(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), errno);
        return pid;
}

/* Before Linux 6.15 there is nothing to test. */
static void need_kernel(void) {
        int pidfd, status;
        pid_t pid = end_child(0, 0, &pidfd);

        (void)waitpid(pid, NULL, 0);
        if (obituary_status(pidfd, &status) == -EOPNOTSUPP) {
                pl_close(pidfd);
                print_message("skipped: this kernel keeps no exit status in a pidfd (PIDFD_GET_INFO, Linux 6.15)\n");
                skip();
        }
        assert_int_equal(obituary_status(pidfd, &status), 0);
        pl_close(pidfd);
}

static void run(sd_event *event, bool until_said, struct entry *ret_entry) {
        uint64_t end = pl_now_ms() + (until_said ? TESTING_PATIENCE_MS : 200);

        while (pl_now_ms() < end) {
                assert_true(sd_event_run(event, 10000) >= 0);
                if (journal_receive(ret_entry))
                        return;
        }
        assert_false(until_said);
}

static void expect(int status, int signal, const char *text) {
        static struct entry e;
        sd_event *event = NULL;
        int pidfd;
        pid_t pid;

        assert_true(sd_event_new(&event) >= 0);
        pid = end_child(status, signal, &pidfd);
        obituary_write(event, pidfd, &subject);
        run(event, false, &e);
        (void)waitpid(pid, NULL, 0);
        run(event, text != NULL, &e);
        if (text) {
                expect_field(&e, "MESSAGE_ID", KEEPER_FAILED);
                expect_field(&e, "PRIORITY", "4");
                expect_field(&e, "PINLEASE_SESSION", "7");
                expect_field(&e, "PINLEASE_PID", "4711");
                expect_field(&e, "PINLEASE_UID", "1001");
                assert_non_null(strstr(journal_field(&e, "MESSAGE"), text));
        }
        assert_int_equal(journal_count(), 0);
        /* It has gone by itself. */
        assert_true(fcntl(pidfd, F_GETFD) < 0);
        sd_event_unref(event);
}

TEST(test_killed) {
        need_kernel();
        expect(0, SIGKILL, "its keeper ended with signal 9");
}

TEST(test_failed) {
        need_kernel();
        expect(3, 0, "its keeper ended with status 3");
}

TEST(test_ended_well) {
        need_kernel();
        expect(0, 0, NULL);
}

/* The loop ends before anybody has heard of it. */
TEST(test_unheard) {
        sd_event *event = NULL;
        int pidfd;
        pid_t pid;

        assert_true(sd_event_new(&event) >= 0);
        pid = end_child(3, 0, &pidfd);
        obituary_write(event, pidfd, &subject);
        sd_event_unref(event);
        assert_true(fcntl(pidfd, F_GETFD) < 0);
        assert_int_equal(journal_count(), 0);
        (void)waitpid(pid, NULL, 0);
}

/* It is no process at all. */
TEST(test_no_process) {
        sd_event *event = NULL;
        int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        assert_true(sd_event_new(&event) >= 0);
        obituary_write(event, fd, &subject);
        assert_true(fcntl(fd, F_GETFD) < 0);
        assert_int_equal(journal_count(), 0);
        sd_event_unref(event);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                LOGGING(test_killed),  LOGGING(test_failed),     LOGGING(test_ended_well),
                LOGGING(test_unheard), LOGGING(test_no_process),
        };

        wraps_reset();
        return cmocka_run_group_tests_name("obituary", tests, NULL, NULL);
}
