/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "memlock.h"

#include <string.h>
#include <sys/eventfd.h>

#include "testing.h"

/* The limits of an app and of a registrar, on a kernel that is played here. */

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)

enum { APP = 1000, REGISTRAR = 2000 };

static struct {
        struct rlimit app, registrar;
        unsigned int calls, writes;
        /* At the how manieth call; 0: none. */
        unsigned int dies_at, changes_at, less_at; /* less: by a byte */
        struct rlimit change;
        int pidfd; /* dead when it can be read */
        int error;
} kernel;

static struct memlock m;
static int registrar;

static void die(void) {
        assert_int_equal(eventfd_write(kernel.pidfd, 1), 0);
}

int __wrap_prlimit(pid_t pid, int resource, const struct rlimit *new, struct rlimit *old);
int __wrap_prlimit(pid_t pid, int resource, const struct rlimit *new, struct rlimit *old) {
        struct rlimit *limit = pid == APP ? &kernel.app : &kernel.registrar;

        assert_int_equal(resource, RLIMIT_MEMLOCK);
        assert_true(pid == APP || pid == REGISTRAR);
        if (kernel.error) {
                errno = kernel.error;
                return -1;
        }
        if (pid == APP && ++kernel.calls == kernel.changes_at)
                kernel.app = kernel.change;
        if (pid == APP && kernel.calls == kernel.less_at) {
                kernel.app.rlim_cur--;
                kernel.app.rlim_max--;
        }
        if (old)
                *old = *limit;
        if (new) {
                assert_true(new->rlim_cur <= new->rlim_max);
                *limit = *new;
                kernel.writes += pid == APP;
        }
        if (pid == APP && kernel.calls == kernel.dies_at)
                die();
        return 0;
}

static void begin(uint64_t soft, uint64_t hard) {
        memset(&kernel, 0, sizeof kernel);
        kernel.app = (struct rlimit) { soft, hard };
        kernel.pidfd = eventfd(0, EFD_CLOEXEC);
        assert_true(kernel.pidfd >= 0);
        registrar = kernel.pidfd;
        m = (struct memlock) {
                .app = &kernel.pidfd,
                .registrar = &registrar,
                .app_pid = APP,
                .registrar_pid = REGISTRAR,
                .allowed = true,
        };
}

static void end(void) {
        kernel.pidfd = pl_close(kernel.pidfd);
}

static void assert_limit(uint64_t soft, uint64_t hard) {
        assert_int_equal(kernel.app.rlim_cur, soft);
        assert_int_equal(kernel.app.rlim_max, hard);
}

TEST(test_follows) {
        begin(64 * KIB, 64 * KIB);
        assert_int_equal(memlock_raise(&m, 8 * MIB), 0);
        assert_limit(64 * KIB + 8 * MIB, 64 * KIB + 8 * MIB);
        assert_int_equal(memlock_raise(&m, 9 * MIB), 0);
        assert_limit(64 * KIB + 9 * MIB, 64 * KIB + 9 * MIB);
        /* Once said is enough; and less is not said so. */
        assert_int_equal(memlock_raise(&m, 9 * MIB), 0);
        assert_int_equal(memlock_raise(&m, MIB), 0);
        memlock_lower(&m, 10 * MIB);
        assert_int_equal(kernel.writes, 2);
        assert_limit(64 * KIB + 9 * MIB, 64 * KIB + 9 * MIB);
        memlock_lower(&m, MIB);
        assert_limit(64 * KIB + MIB, 64 * KIB + MIB);
        memlock_lower(&m, 0);
        assert_limit(64 * KIB, 64 * KIB);
        memlock_lower(&m, 0);
        assert_int_equal(kernel.writes, 4);
        end();
}

/* A hard limit that has room is left alone; where there is none, there is nothing to raise. */
TEST(test_room) {
        begin(64 * KIB, 4 * MIB);
        assert_int_equal(memlock_raise(&m, MIB), 0);
        assert_limit(64 * KIB + MIB, 4 * MIB);
        assert_int_equal(memlock_raise(&m, 8 * MIB), 0);
        assert_limit(64 * KIB + 8 * MIB, 64 * KIB + 8 * MIB);
        memlock_lower(&m, 0);
        assert_limit(64 * KIB, 4 * MIB);
        end();

        begin(RLIM_INFINITY, RLIM_INFINITY);
        assert_int_equal(memlock_raise(&m, MIB), 0);
        assert_limit(RLIM_INFINITY, RLIM_INFINITY);
        memlock_lower(&m, 0);
        assert_limit(RLIM_INFINITY, RLIM_INFINITY);
        end();

        begin(RLIM_INFINITY - MIB, RLIM_INFINITY);
        assert_int_equal(memlock_raise(&m, 2 * MIB), 0);
        assert_limit(RLIM_INFINITY, RLIM_INFINITY);
        memlock_lower(&m, 0);
        assert_limit(RLIM_INFINITY - MIB, RLIM_INFINITY);
        end();
}

/* The app changes its limit while it is raised by 8 MiB, from 64 KiB of 128. What it has then, when all is given back.
 */
TEST(test_changed) {
        static const struct {
                uint64_t soft, hard, end_soft, end_hard;
        } changes[] = {
                /* To less than it had: its own. */
                { 32 * KIB, 8 * MIB + 64 * KIB, 32 * KIB, 128 * KIB },
                { 32 * KIB, 32 * KIB, 32 * KIB, 32 * KIB },
                { 0, 0, 0, 0 },
                /* The hard limit alone, or the soft: the other is back. */
                { 8 * MIB, 8 * MIB, 128 * KIB, 128 * KIB },
                { 8 * MIB + 64 * KIB - 1, 8 * MIB + 64 * KIB, 128 * KIB, 128 * KIB },
                { 8 * MIB + 64 * KIB - 1, 8 * MIB + 64 * KIB - 1, 128 * KIB, 128 * KIB },
                { 96 * KIB, 8 * MIB + 64 * KIB, 96 * KIB, 128 * KIB },
                /* The administrator gives it more. */
                { 16 * MIB, 32 * MIB, 16 * MIB, 32 * MIB },
        };

        for (size_t i = 0; i < ELEMENTSOF(changes); i++) {
                begin(64 * KIB, 128 * KIB);
                assert_int_equal(memlock_raise(&m, 8 * MIB), 0);
                assert_limit(8 * MIB + 64 * KIB, 8 * MIB + 64 * KIB);
                kernel.app = (struct rlimit) { changes[i].soft, changes[i].hard };
                memlock_lower(&m, 0);
                assert_limit(changes[i].end_soft, changes[i].end_hard);
                end();

                /* By way of less, and of more. */
                begin(64 * KIB, 128 * KIB);
                assert_int_equal(memlock_raise(&m, 8 * MIB), 0);
                kernel.app = (struct rlimit) { changes[i].soft, changes[i].hard };
                memlock_lower(&m, MIB);
                assert_true(kernel.app.rlim_cur <= changes[i].soft && kernel.app.rlim_max <= changes[i].hard);
                assert_int_equal(memlock_raise(&m, 2 * MIB), 0);
                assert_true(kernel.app.rlim_cur >= 2 * MIB);
                memlock_lower(&m, 0);
                assert_limit(changes[i].end_soft, changes[i].end_hard);
                end();
        }
}

/* Again and again, it gets no more by it. */
TEST(test_ladder) {
        begin(64 * KIB, 64 * KIB);
        for (unsigned int i = 0; i < 100; i++) {
                assert_int_equal(memlock_raise(&m, 8 * MIB), 0);
                kernel.app.rlim_cur -= 1;
                kernel.app.rlim_max -= 1;
                if (i % 2)
                        memlock_lower(&m, MIB);
                memlock_lower(&m, 0);
                assert_limit(64 * KIB, 64 * KIB);
        }
        end();
}

/* At the same instant: before the first write, and between the writes, of which the second is there for the first. */
TEST(test_race) {
        begin(64 * KIB, 64 * KIB);
        kernel.changes_at = 2;
        kernel.change = (struct rlimit) { 32 * KIB, 48 * KIB };
        assert_int_equal(memlock_raise(&m, MIB), 0);
        assert_limit(32 * KIB + MIB, 32 * KIB + MIB);
        memlock_lower(&m, 0);
        assert_limit(32 * KIB, 48 * KIB);
        end();

        begin(64 * KIB, 64 * KIB);
        kernel.changes_at = 2;
        kernel.change = (struct rlimit) { 32 * KIB, 48 * KIB };
        kernel.less_at = 3;
        assert_int_equal(memlock_raise(&m, MIB), 0);
        assert_limit(32 * KIB + MIB, 32 * KIB + MIB);
        memlock_lower(&m, 0);
        assert_limit(32 * KIB, 48 * KIB);
        end();
}

TEST(test_refused) {
        begin(64 * KIB, 64 * KIB);
        m.allowed = false;
        assert_int_equal(memlock_raise(&m, 4096), -EACCES);
        assert_int_equal(kernel.calls, 0);
        m.allowed = true;
        kernel.error = EPERM;
        assert_int_equal(memlock_raise(&m, MIB), -EPERM);
        kernel.error = 0;
        assert_int_equal(m.total, 0);
        /* A rule that is gone takes nothing back by itself. */
        assert_int_equal(memlock_raise(&m, MIB), 0);
        m.allowed = false;
        assert_int_equal(memlock_raise(&m, 2 * MIB), -EACCES);
        assert_limit(64 * KIB + MIB, 64 * KIB + MIB);
        memlock_lower(&m, 0);
        assert_limit(64 * KIB, 64 * KIB);
        end();
}

/* Its number is somebody else's by then, who keeps what he has. */
TEST(test_dead) {
        begin(64 * KIB, 64 * KIB);
        die();
        assert_int_equal(memlock_raise(&m, MIB), -ESRCH);
        assert_int_equal(kernel.calls, 0);
        end();

        for (unsigned int at = 1; at <= 2; at++) {
                begin(64 * KIB, 64 * KIB);
                kernel.dies_at = at;
                assert_int_equal(memlock_raise(&m, MIB), -ESRCH);
                assert_limit(64 * KIB, 64 * KIB);
                assert_int_equal(m.total, 0);
                end();
        }

        begin(64 * KIB, 64 * KIB);
        assert_int_equal(memlock_raise(&m, MIB), 0);
        die();
        memlock_lower(&m, 0);
        assert_int_equal(kernel.writes, 1);
        assert_int_equal(m.total, 0);
        end();

        begin(64 * KIB, 64 * KIB);
        m.app_pid = 0;
        assert_int_equal(memlock_raise(&m, MIB), -ESRCH);
        m.app_pid = APP;
        kernel.pidfd = pl_close(kernel.pidfd);
        assert_int_equal(memlock_raise(&m, MIB), -ESRCH);
        assert_int_equal(kernel.calls, 0);
}

/* What the app may pin the registrar may not; and both together no more than the credit. */
TEST(test_ceiling) {
        begin(64 * KIB, 64 * KIB);
        memlock_ceiling(&m, 16 * MIB);
        assert_int_equal(kernel.registrar.rlim_cur, 16 * MIB);
        assert_int_equal(memlock_raise(&m, 6 * MIB), 0);
        memlock_ceiling(&m, 16 * MIB);
        assert_int_equal(kernel.registrar.rlim_cur, 10 * MIB);
        assert_int_equal(kernel.registrar.rlim_max, 10 * MIB);
        memlock_ceiling(&m, 4 * MIB);
        assert_int_equal(kernel.registrar.rlim_cur, 0);
        assert_limit(64 * KIB + 4 * MIB, 64 * KIB + 4 * MIB);
        registrar = -1;
        memlock_ceiling(&m, 16 * MIB);
        assert_int_equal(kernel.registrar.rlim_cur, 0);
        memlock_lower(&m, 0);
        end();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_follows), CHECKED(test_room),    CHECKED(test_changed), CHECKED(test_ladder),
                CHECKED(test_race),    CHECKED(test_refused), CHECKED(test_dead),    CHECKED(test_ceiling),
        };

        return cmocka_run_group_tests_name("memlock", tests, NULL, NULL);
}
