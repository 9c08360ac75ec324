/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "notify.h"

/* The service manager's end. */
static int manager_open(void) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int n, fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

        assert_true(fd >= 0);
        /* An abstract name; sd_notify() writes it with @. */
        n = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "pinlease-test-notify-%d", (int)getpid());
        assert_int_equal(
                bind(fd, (const struct sockaddr *)&address, (socklen_t)(sizeof address.sun_family + 1 + (size_t)n)), 0);
        address.sun_path[0] = '@';
        assert_int_equal(setenv("NOTIFY_SOCKET", address.sun_path, 1), 0);
        return fd;
}

static void expect(int manager, const char *text) {
        char heard[256] = "";

        assert_true(testing_wait_fd(manager, POLLIN) & POLLIN);
        assert_true(recv(manager, heard, sizeof heard - 1, 0) > 0);
        assert_string_equal(heard, text);
}

TEST(test_say) {
        int manager = manager_open();
        sd_event *event = NULL;
        struct notify n;

        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(notify_init(&n, event), 0);
        notify_say(&n, "STATUS=%u sessions", 3);
        expect(manager, "STATUS=3 sessions");
        notify_done(&n);
        sd_event_unref(event);
        pl_close(manager);
}

/* Clients have taken all descriptors: what must be said is said, and again. */
TEST(test_no_descriptors) {
        struct rlimit before, few;
        int fds[256], manager = manager_open();
        sd_event *event = NULL;
        struct notify n;
        size_t n_fds = 0;

        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(notify_init(&n, event), 0);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        few = before;
        few.rlim_cur = 64;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        while ((fds[n_fds] = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0)
                n_fds++;
        assert_int_equal(errno, EMFILE);
        for (unsigned int i = 0; i < 3; i++) {
                notify_say(&n, "WATCHDOG=1");
                expect(manager, "WATCHDOG=1");
        }
        assert_int_equal(fcntl(0, F_DUPFD_CLOEXEC, 0), -1);
        while (n_fds > 0)
                pl_close(fds[--n_fds]);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        notify_done(&n);
        sd_event_unref(event);
        pl_close(manager);
}

TEST(test_watchdog) {
        int manager = manager_open();
        sd_event *event = NULL;
        struct notify n;

        assert_int_equal(setenv("WATCHDOG_USEC", "40000", 1), 0);
        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(notify_init(&n, event), 0);
        for (unsigned int i = 0; i < 3; i++) {
                struct pollfd p = { .fd = manager, .events = POLLIN };

                while (poll(&p, 1, 0) == 0)
                        assert_true(sd_event_run(event, UINT64_MAX) >= 0);
                expect(manager, "WATCHDOG=1");
        }
        notify_done(&n);
        sd_event_unref(event);
        assert_int_equal(unsetenv("WATCHDOG_USEC"), 0);
        pl_close(manager);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_say),
                CHECKED(test_no_descriptors),
                CHECKED(test_watchdog),
        };

        return cmocka_run_group_tests_name("notify", tests, NULL, NULL);
}
