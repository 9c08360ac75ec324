/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#include "subject.h"

static const char *own_cgroup(void) {
        static char line[512];
        FILE *f = fopen("/proc/self/cgroup", "re");

        assert_non_null(f);
        while (fgets(line, sizeof line, f))
                if (strncmp(line, "0::", 3) == 0) {
                        (void)fclose(f);
                        line[strcspn(line, "\n")] = '\0';
                        return line + 3;
                }
        (void)fclose(f);
        return NULL;
}

TEST(test_self) {
        const char *cgroup = own_cgroup();
        int pair[2], app = pidfd_open(getpid(), 0), n = getgroups(0, NULL);
        struct subject s;
        gid_t *groups;

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(subject_get(pair[0], getpid(), app, &s), 0);
        assert_int_equal(s.policy.uid, geteuid());
        assert_int_equal(s.policy.gids[0], getegid());
        groups = calloc((size_t)n + 1, sizeof *groups);
        assert_int_equal(getgroups(n, groups), n);
        assert_int_equal(s.policy.n_gids, n + 1);
        assert_memory_equal(s.policy.gids + 1, groups, (size_t)n * sizeof *groups);
        free(groups);
        if (cgroup)
                assert_string_equal(s.policy.cgroup, cgroup);
        else
                assert_null(s.policy.cgroup);
        subject_done(&s);
        pl_close(app);
        pl_close(pair[0]);
        pl_close(pair[1]);
}

/* A number that may be somebody else's by now says nothing. */
TEST(test_gone) {
        int pair[2], app;
        struct subject s;
        pid_t pid;

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(subject_get(pair[0], getpid(), -1, &s), 0);
        assert_null(s.policy.cgroup);
        subject_done(&s);

        pid = testing_fork();
        if (pid == 0)
                _exit(0);
        app = pidfd_open(pid, 0);
        assert_int_equal(testing_wait_child(pid), 0);
        assert_int_equal(subject_get(pair[0], getpid(), app, &s), 0);
        assert_null(s.policy.cgroup);
        subject_done(&s);
        pl_close(app);
        pl_close(pair[0]);
        pl_close(pair[1]);
        assert_true(subject_get(pair[0], getpid(), -1, &s) < 0);
}

int main(void) {
        const struct CMUnitTest tests[] = { CHECKED(test_self), CHECKED(test_gone) };

        return cmocka_run_group_tests_name("subject", tests, NULL, NULL);
}
