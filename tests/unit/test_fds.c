/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "closer.h"
#include "fds.h"

/* What closes descriptors right and left runs in a process of its own, whose status tells. */
static void in_child(int (*function)(void)) {
        pid_t pid = testing_fork();

        assert_true(pid >= 0);
        if (pid == 0)
                _exit(function());
        assert_int_equal(testing_wait_child(pid), 0);
}

static bool is_open(int fd) {
        return fcntl(fd, F_GETFD) >= 0;
}

static int close_except(void) {
        static const int keep[] = { 2, 17, 5, -1, 5, 30, 900 };

        for (int fd = 3; fd < 64; fd++)
                if (dup2(0, fd) < 0)
                        return 1;
        fds_close_except(keep, ELEMENTSOF(keep));
        for (int fd = 0; fd < 64; fd++)
                if (is_open(fd) != (fd == 2 || fd == 5 || fd == 17 || fd == 30))
                        return 10 + fd;
        return 0;
}

static int close_all(void) {
        for (int fd = 3; fd < 64; fd++)
                if (dup2(0, fd) < 0)
                        return 1;
        fds_close_except(NULL, 0);
        for (int fd = 0; fd < 64; fd++)
                if (is_open(fd))
                        return 10 + fd;
        return 0;
}

TEST(test_close_except) {
        in_child(close_except);
        in_child(close_all);
}

/* Files that can be told apart, on the places that are asked for or in the way of them. */
static int arrange(void) {
        enum { N = 4 };
        static const int places[][N] = {
                { 3, 4, 5, 6 }, { 6, 5, 4, 3 }, { 4, 3, 6, 5 }, { 40, 3, 41, 4 }, { 5, -1, 3, -1 }, { -1, -1, -1, -1 }, { 9, 9, 9, 9 },
        };

        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                struct stat expected[N], st;

                fds_close_except((const int[]) { 0, 1, 2 }, 3);
                for (int k = 0; k < N; k++) {
                        int pair[2];

                        if (places[i][k] < 0)
                                continue;
                        if (pipe2(pair, O_CLOEXEC) < 0 || dup3(pair[0], 60, O_CLOEXEC) < 0)
                                return 1;
                        pl_close(pair[0]);
                        pl_close(pair[1]);
                        if (dup3(60, 100 + k, O_CLOEXEC) < 0)
                                return 2;
                        pl_close(60);
                }
                for (int k = 0; k < N; k++)
                        if (places[i][k] >= 0 && dup3(100 + k, places[i][k], O_CLOEXEC) < 0)
                                return 3;
                for (int k = 0; k < N; k++)
                        if (places[i][k] >= 0 && fstat(places[i][k], expected + k) < 0)
                                return 4;

                if (fds_arrange(places[i], N) != 0)
                        return 5;
                for (int k = 0; k < N; k++) {
                        if (places[i][k] < 0) {
                                if (is_open(3 + k))
                                        return 20 + k;
                                continue;
                        }
                        /* Survives exec. */
                        if (fcntl(3 + k, F_GETFD) != 0)
                                return 30 + k;
                        if (fstat(3 + k, &st) < 0 || st.st_ino != expected[k].st_ino)
                                return 40 + k;
                }
                for (int fd = 3 + N; fd < 128; fd++)
                        if (is_open(fd))
                                return 128 + fd;
        }
        return 0;
}

static int arrange_errors(void) {
        static const int many[9] = { 0 };
        const int closed[] = { 0, 77 };

        if (fds_arrange(many, ELEMENTSOF(many)) != -E2BIG)
                return 1;
        return fds_arrange(closed, ELEMENTSOF(closed)) == -EBADF ? 0 : 2;
}

TEST(test_arrange) {
        in_child(arrange);
        in_child(arrange_errors);
}

/* The last close of each comes in another process, after ours: the pipe's other end sees it. */
TEST(test_closer) {
        enum { N = CLOSER_MAX };
        int readers[N], writers[N];
        char byte;

        for (unsigned int i = 0; i < N; i++) {
                int pair[2];

                assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
                readers[i] = pair[0];
                writers[i] = pair[1];
        }
        assert_int_equal(closer_close(writers, N), 0);
        for (unsigned int i = 0; i < N; i++) {
                assert_int_equal(writers[i], -1);
                assert_int_equal(read(readers[i], &byte, 1), 0);
                pl_close(readers[i]);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_close_except),
                CHECKED(test_arrange),
                CHECKED(test_closer),
        };

        return cmocka_run_group_tests_name("fds", tests, NULL, NULL);
}
