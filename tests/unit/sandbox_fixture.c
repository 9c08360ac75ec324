/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sandbox_fixture.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "control.h"

struct given given;

int sandbox_setup(void **state) {
        testing_deadline_begin();
        given.memfd = testing_memfd(65536);
        given.null = open("/dev/null", O_RDWR | O_CLOEXEC);
        given.listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        given.pid = getpid();
        given.uid = geteuid();
        assert_true(given.null >= 0 && given.listener >= 0);
        assert_int_equal(control_pair(given.pair), 0);

        /* A name that the kernel chooses. */
        given.address = (struct sockaddr_un) { .sun_family = AF_UNIX };
        assert_int_equal(bind(given.listener, (struct sockaddr *)&given.address, sizeof given.address.sun_family), 0);
        given.address_size = sizeof given.address;
        assert_int_equal(getsockname(given.listener, (struct sockaddr *)&given.address, &given.address_size), 0);
        assert_int_equal(listen(given.listener, 5), 0);
        *state = &given;
        return 0;
}

int sandbox_teardown(void **state _unused_) {
        testing_deadline_end();
        given.memfd = pl_close(given.memfd);
        given.null = pl_close(given.null);
        given.listener = pl_close(given.listener);
        given.pair[0] = pl_close(given.pair[0]);
        given.pair[1] = pl_close(given.pair[1]);
        return 0;
}

pid_t start_in_sandbox(int (*sandbox)(void), int (*function)(const void *), const void *argument) {
        pid_t pid = testing_fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                const struct rlimit none = { 0 };

                (void)setrlimit(RLIMIT_CORE, &none);
                if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || sandbox() < 0)
                        _exit(255);
                _exit(function(argument));
        }
        return pid;
}

int in_sandbox(int (*sandbox)(void), int (*function)(const void *), const void *argument) {
        return testing_wait_child(start_in_sandbox(sandbox, function, argument));
}

void assert_lives(int status) {
        if (WIFEXITED(status) && WEXITSTATUS(status) > 0)
                fail_msg("line %d (+ n * 254) did not work", WEXITSTATUS(status));
        assert_int_equal(status, 0);
}

TEST(test_is_left_out) {
        testing_skip("the sanitizers' runtimes make calls of their own, so under them there is no sandbox\n");
}

int sandbox_is_left_out(const char *group) {
        const struct CMUnitTest none[] = { CHECKED(test_is_left_out) };

        return cmocka_run_group_tests_name(group, none, NULL, NULL);
}
