/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "roster.h"

static char folder[32], path[64];

static int make_folder(void **unused _unused_) {
        (void)strcpy(folder, "/tmp/pinlease-test-XXXXXX");
        if (!mkdtemp(folder))
                return -1;
        (void)snprintf(path, sizeof path, "%s/roster", folder);
        return 0;
}

static int remove_folder(void **unused _unused_) {
        (void)unlink(path);
        return rmdir(folder);
}

static pid_t sleeper(void) {
        pid_t pid = testing_fork();

        if (pid == 0)
                for (;;)
                        (void)pause();
        return pid;
}

static void end(pid_t pid) {
        assert_int_equal(kill(pid, SIGKILL), 0);
        (void)testing_wait_child(pid);
}

static struct roster open_with(uint32_t capacity, uint32_t expected) {
        struct roster roster;

        assert_int_equal(roster_open(path, capacity, &roster), 0);
        assert_int_equal(roster_expected(&roster), expected);
        return roster;
}

TEST(test_restart) {
        pid_t pids[4];
        struct roster roster;

        (void)unlink(path);
        roster = open_with(10, 0);
        for (unsigned int i = 0; i < 4; i++) {
                pids[i] = sleeper();
                assert_int_equal(roster_next_id(&roster), i + 1);
                assert_int_equal(roster_add(&roster, i + 1, pids[i]), 0);
        }
        assert_int_equal(roster_next_id(&roster), 5);
        roster_remove(&roster, 2, pids[1]);
        roster_remove(&roster, 2, pids[0]); /* nobody */
        assert_int_equal(roster_expected(&roster), 0);
        /* As after a SIGKILL: nothing is closed. */
        end(pids[3]);
        roster_close(&roster);

        roster = open_with(10, 2);
        assert_int_equal(roster_next_id(&roster), 6);
        roster_claim(&roster, 1, pids[0]);
        assert_int_equal(roster_expected(&roster), 1);
        roster_claim(&roster, 1, pids[0]);
        assert_int_equal(roster_expected(&roster), 1);
        end(pids[2]);
        assert_int_equal(roster_expected(&roster), 0);
        /* One that is not in it, with a number that has not been given out. */
        roster_claim(&roster, 70, pids[1]);
        assert_int_equal(roster_next_id(&roster), 71);
        roster_close(&roster);

        roster = open_with(10, 2);
        roster_remove(&roster, 1, pids[0]);
        assert_int_equal(roster_expected(&roster), 1);
        roster_close(&roster);
        end(pids[0]);
        end(pids[1]);
}

/* A number that is somebody else's by now; and a process that is dead, but not reaped. */
TEST(test_nobody) {
        pid_t pid = sleeper();
        struct roster roster;
        uint64_t time;
        int fd;

        (void)unlink(path);
        roster = open_with(10, 0);
        assert_int_equal(roster_add(&roster, 1, pid), 0);
        roster_close(&roster);
        roster_close(&roster);
        roster = open_with(10, 1);
        roster_close(&roster);
        fd = open(path, O_RDWR);
        assert_int_equal(pread(fd, &time, sizeof time, 24 + 8), sizeof time);
        time++;
        assert_int_equal(pwrite(fd, &time, sizeof time, 24 + 8), sizeof time);
        roster = open_with(10, 0);
        pl_close(fd);

        assert_int_equal(roster_add(&roster, 2, pid), 0);
        roster_close(&roster);
        assert_int_equal(kill(pid, SIGKILL), 0);
        testing_await_end(pid);
        roster = open_with(10, 0);
        assert_int_equal(roster_add(&roster, 2, pid), -ESRCH);
        (void)testing_wait_child(pid);
        assert_true(roster_add(&roster, 2, pid) < 0);
        roster_close(&roster);
}

/* Full; room again; more living ones than places. */
TEST(test_capacity) {
        pid_t pids[5];
        struct roster roster;

        (void)unlink(path);
        roster = open_with(3, 0);
        for (unsigned int i = 0; i < 5; i++) {
                pids[i] = sleeper();
                assert_int_equal(roster_add(&roster, i, pids[i]), i < 3 ? 0 : -ENOSPC);
        }
        for (unsigned int i = 0; i < 100; i++) {
                roster_remove(&roster, i % 3, pids[i % 3]);
                assert_int_equal(roster_add(&roster, 3, pids[3]), 0);
                assert_int_equal(roster_add(&roster, 4, pids[4]), -ENOSPC);
                roster_remove(&roster, 3, pids[3]);
                assert_int_equal(roster_add(&roster, i % 3, pids[i % 3]), 0);
        }
        roster_close(&roster);
        roster = open_with(1, 3);
        assert_int_equal(roster_add(&roster, 4, pids[4]), -ENOSPC);
        roster_close(&roster);
        for (unsigned int i = 0; i < 5; i++)
                end(pids[i]);
        roster = open_with(1, 0);
        roster_close(&roster);
}

/* Whatever stands there instead is replaced, or refused, and never believed. */
TEST(test_garbage) {
        static const struct {
                off_t at;
                uint32_t value;
        } changes[] = { { 0, 0 }, { 8, 2 }, { 12, 11 }, { 12, UINT32_MAX }, { 12, 0 } };
        struct roster roster;
        char text[4096];
        int fd;

        for (size_t i = 0; i < ELEMENTSOF(changes); i++) {
                (void)unlink(path);
                roster = open_with(10, 0);
                assert_int_equal(roster_add(&roster, roster_next_id(&roster), getpid()), 0);
                roster_close(&roster);
                fd = open(path, O_RDWR);
                assert_int_equal(pwrite(fd, &changes[i].value, sizeof changes[i].value, changes[i].at), sizeof changes[i].value);
                pl_close(fd);
                roster = open_with(10, 0);
                assert_int_equal(roster_next_id(&roster), 1);
                roster_close(&roster);
        }
        memset(text, 0x5a, sizeof text);
        for (off_t size = 0; size < 100; size += 7) {
                fd = open(path, O_RDWR | O_TRUNC);
                assert_int_equal(write(fd, text, (size_t)size), size);
                pl_close(fd);
                roster = open_with(10, 0);
                roster_close(&roster);
        }

        (void)unlink(path);
        assert_int_equal(symlink("/etc/passwd", path), 0);
        roster = open_with(10, 0);
        roster_close(&roster);
        (void)unlink(path);
        assert_int_equal(mkfifo(path, 0600), 0);
        roster = open_with(10, 0);
        roster_close(&roster);
        (void)unlink(path);
        assert_int_equal(mkdir(path, 0700), 0);
        assert_true(roster_open(path, 10, &roster) < 0);
        assert_int_equal(rmdir(path), 0);
        (void)strcat(path, ".new");
        assert_int_equal(access(path, F_OK), -1);
        path[strlen(path) - 4] = 0;

        assert_int_equal(roster_open(path, (1 << 20) + 1, &roster), -EINVAL);
        memset(text, 'a', 300);
        text[300] = 0;
        assert_int_equal(roster_open(text, 10, &roster), -EINVAL);
        assert_int_equal(roster_open("/nonexistent/roster", 10, &roster), -ENOENT);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_restart),
                CHECKED(test_nobody),
                CHECKED(test_capacity),
                CHECKED(test_garbage),
        };

        return cmocka_run_group_tests_name("roster", tests, make_folder, remove_folder);
}
