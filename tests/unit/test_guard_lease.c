/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The lease guard against this machine's own kernel, with the keeper's part of it in this process: lent.c, and its bell. */

#include "testing.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "guards.h"
#include "lent.h"

#define SIZE 8192

static struct fixture {
        struct lent lent;
        struct guards guards;
        struct guarded *file;
        char path[64];
        int fd;
        pid_t child;
        char said[256];
} f;

/* --- the others' parts --- */

static int lend(void *userdata _unused_, const struct guarded *file, int *ret_bell) {
        int fd = file->lease.lent ? -1 : fcntl(file->fd, F_DUPFD_CLOEXEC, 0);

        return lent_add(&f.lent, file->lease.id, fd, ret_bell) < 0 ? 1 : 0;
}

static void unlend(void *userdata _unused_, uint32_t id) {
        assert_int_equal(lent_drop(&f.lent, id), 0);
}

static void report(void *userdata _unused_, struct guarded *file, const struct guard_report *report) {
        static const char *const names[] = {
                [GUARD_ASKS] = "asks ", [GUARD_CHANGED] = "", [GUARD_POISONED] = "", [GUARD_UNLINKED] = "",
                [GUARD_UNMOUNTED] = "", [GUARD_REMOUNTED] = "", [GUARD_LOST] = "lost ", [GUARD_BACK] = "back ",
                [GUARD_ACTIVITY] = "",
        };

        assert_ptr_equal(file, f.file);
        if (report->guard != GUARD_LEASE)
                return;
        assert_true(strlen(f.said) + 8 < sizeof f.said);
        (void)strcat(f.said, names[report->kind]);
}

static void expect(const char *said) {
        assert_string_equal(f.said, said);
        f.said[0] = 0;
}

static enum pinlease_guard_reason reason(void) {
        return pl_guard_reason(f.file->guards, GUARD_LEASE);
}

/* --- a file, and its guards --- */

static void open_file(const char *folder, int flags) {
        struct pl_fdclass class;

        f.said[0] = 0;
        (void)snprintf(f.path, sizeof f.path, "%s/pinlease-test-XXXXXX", folder);
        f.fd = mkostemp(f.path, O_CLOEXEC);
        assert_true(f.fd >= 0);
        assert_int_equal(ftruncate(f.fd, SIZE), 0);
        if (flags == O_RDONLY) {
                pl_close(f.fd);
                f.fd = open(f.path, O_RDONLY | O_CLOEXEC);
                assert_true(f.fd >= 0);
        }
        lent_init(&f.lent);
        guards_init(&f.guards, &(const struct guards_config) { .lend = lend, .unlend = unlend, .report = report });
        assert_int_equal(pl_fdclass_get(f.fd, &class), 0);
        assert_int_equal(guards_get(&f.guards, f.fd, &class, &f.file), 0);
        expect("");
}

static void close_file(void) {
        (void)guards_put(&f.guards, f.file);
        guards_done(&f.guards);
        lent_done(&f.lent);
        /* Nobody has anything to wait for any more. */
        assert_int_equal(truncate(f.path, 1), 0);
        pl_close(f.fd);
        (void)unlink(f.path);
        /* The bell. */
        while (waitpid(-1, NULL, 0) > 0)
                ;
}

/* Another process that does something with the file, and then says whether it worked. */
static int other(int (*act)(void)) {
        int pair[2];

        assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
        f.child = testing_fork();
        if (f.child == 0) {
                int error;

                pl_close(pair[0]);
                error = act() < 0 ? errno : 0;
                _exit(write(pair[1], &error, sizeof error) == (ssize_t)sizeof error ? 0 : 1);
        }
        pl_close(pair[1]);
        return pair[0];
}

static void expect_done(int pipe, int error) {
        int is = -1;

        assert_true(testing_wait_fd(pipe, POLLIN) & POLLIN);
        assert_int_equal(read(pipe, &is, sizeof is), sizeof is);
        assert_int_equal(is, error);
        pl_close(pipe);
}

static int do_truncate(void) {
        return truncate(f.path, 100);
}
static int do_open(void) {
        return open(f.path, O_RDWR | O_CLOEXEC);
}
static int do_open_at_once(void) {
        return open(f.path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
}
static int do_read(void) {
        return open(f.path, O_RDONLY | O_CLOEXEC);
}

static void hear(void) {
        (void)testing_wait_fd(guard_lease.fd(&f.guards), POLLIN);
        assert_int_equal(guards_event(&f.guards, GUARD_LEASE), 0);
}

static uint64_t size(void) {
        struct stat st;

        assert_int_equal(stat(f.path, &st), 0);
        return (uint64_t)st.st_size;
}

/* --- tests --- */

static void wait_and_let_go(int (*act)(void)) {
        struct pollfd p = { .events = POLLIN };

        assert_int_equal(reason(), PINLEASE_GUARD_HOLDS);
        p.fd = other(act);
        hear();
        expect("asks ");
        assert_int_equal(reason(), PINLEASE_GUARD_CHANGING);
        /* Once, however often it is looked at. */
        assert_int_equal(guards_look(&f.guards, f.file), 0);
        expect("");
        assert_int_equal(poll(&p, 1, 0), 0);
        assert_int_equal(size(), SIZE);
        guards_let_go(&f.guards, f.file);
        expect_done(p.fd, 0);
        (void)testing_wait_child(f.child);
}

TEST(test_truncate) {
        open_file("/dev/shm", O_RDWR);
        wait_and_let_go(do_truncate);
        assert_int_equal(size(), 100);

        /* And it holds again, with its signal in order. */
        assert_int_equal(guards_look(&f.guards, f.file), 0);
        expect("back ");
        assert_int_equal(ftruncate(f.fd, SIZE), 0);
        wait_and_let_go(do_truncate);
        close_file();
}

TEST(test_open) {
        open_file("/dev/shm", O_RDWR);
        wait_and_let_go(do_open);
        close_file();
}

TEST(test_open_for_reading) {
        open_file("/dev/shm", O_RDONLY);
        assert_int_equal(f.file->lease.type, F_RDLCK);
        expect_done(other(do_read), 0);
        expect("");
        wait_and_let_go(do_open);
        close_file();
}

/* Who does not wait is told at once, and all the same it is a break. */
TEST(test_does_not_wait) {
        open_file("/dev/shm", O_RDWR);
        expect_done(other(do_open_at_once), EWOULDBLOCK);
        hear();
        expect("asks ");
        guards_let_go(&f.guards, f.file);
        expect_done(other(do_open_at_once), 0);
        close_file();
}

TEST(test_reader) {
        int reader;

        open_file("/dev/shm", O_RDWR);
        reader = other(do_read);
        hear();
        expect("lost ");
        assert_int_equal(reason(), PINLEASE_GUARD_READER);
        expect_done(reader, 0);
        (void)testing_wait_child(f.child);
        assert_int_equal(guards_look(&f.guards, f.file), 0);
        expect("back ");
        close_file();
}

TEST(test_open_elsewhere) {
        struct pl_fdclass class;
        int second;

        open_file("/dev/shm", O_RDWR);
        guards_let_go(&f.guards, f.file);
        second = open(f.path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        assert_int_equal(second, -1);
        hear();
        expect("asks ");
        guards_let_go(&f.guards, f.file);
        second = open(f.path, O_RDWR | O_CLOEXEC);
        assert_int_equal(guards_look(&f.guards, f.file), 0);
        assert_int_equal(reason(), PINLEASE_GUARD_OPEN_ELSEWHERE);
        pl_close(second);
        assert_int_equal(guards_look(&f.guards, f.file), 0);
        assert_int_equal(reason(), PINLEASE_GUARD_HOLDS);
        expect("back ");
        assert_int_equal(pl_fdclass_get(f.fd, &class), 0);
        close_file();
}

/* Another session that has the same description was faster. It has the lease, and the signals of it. */
TEST(test_other_session) {
        int before;

        open_file("/dev/shm", O_RDWR);
        wait_and_let_go(do_truncate);
        assert_int_equal(fcntl(f.fd, F_SETLEASE, F_WRLCK), 0);
        assert_int_equal(fcntl(f.fd, F_SETOWN, getpid()), 0);
        before = fcntl(f.fd, F_GETOWN);
        assert_int_equal(guards_look(&f.guards, f.file), 0);
        assert_int_equal(reason(), PINLEASE_GUARD_OTHER_LEASE);
        assert_int_equal(fcntl(f.fd, F_GETOWN), before);
        assert_int_equal(fcntl(f.fd, F_GETLEASE), F_WRLCK);
        /* When that one has given it up it is to be had. */
        assert_int_equal(fcntl(f.fd, F_SETLEASE, F_UNLCK), 0);
        assert_int_equal(guards_look(&f.guards, f.file), 0);
        assert_int_equal(reason(), PINLEASE_GUARD_HOLDS);
        expect("back ");
        close_file();
}

/* Two sessions take it in the same moment: it is the last one's whose bell was set, and the other one leaves it alone. */
TEST(test_two_at_once) {
        struct f_owner_ex owner;

        open_file("/dev/shm", O_RDWR);
        owner = (struct f_owner_ex) { .type = F_OWNER_TID, .pid = getpid() };
        assert_int_equal(fcntl(f.fd, F_SETOWN_EX, &owner), 0);
        assert_int_equal(guards_look(&f.guards, f.file), 0);
        expect("lost ");
        assert_int_equal(reason(), PINLEASE_GUARD_OTHER_LEASE);
        assert_int_equal(fcntl(f.fd, F_GETLEASE), F_WRLCK);
        assert_int_equal(fcntl(f.fd, F_GETOWN_EX, &owner), 0);
        assert_int_equal(owner.pid, getpid());
        /* When that one has given it up it is to be had. */
        assert_int_equal(fcntl(f.fd, F_SETLEASE, F_UNLCK), 0);
        assert_int_equal(guards_look(&f.guards, f.file), 0);
        assert_int_equal(reason(), PINLEASE_GUARD_HOLDS);
        expect("back ");
        close_file();
}

/* Whose session cannot have a lease leaves the signals of another's alone. */
TEST(test_not_the_owner) {
        int before;

        open_file("/dev/shm", O_RDWR);
        wait_and_let_go(do_truncate);
        f.file->class.owner++;
        assert_int_equal(fcntl(f.fd, F_SETOWN, getpid()), 0);
        before = fcntl(f.fd, F_GETOWN);
        assert_int_equal(guards_look(&f.guards, f.file), 0);
        assert_int_equal(reason(), PINLEASE_GUARD_NOT_OWNER);
        assert_int_equal(fcntl(f.fd, F_GETOWN), before);
        f.file->class.owner--;
        close_file();
}

/* The app spoils it: that is its own matter, and found out. */
TEST(test_taken_off) {
        open_file("/dev/shm", O_RDWR);
        assert_int_equal(fcntl(f.fd, F_SETLEASE, F_UNLCK), 0);
        assert_int_equal(guards_look(&f.guards, f.file), 0);
        expect("lost ");
        assert_int_equal(reason(), PINLEASE_GUARD_MEDDLED);
        /* For good. */
        assert_int_equal(guards_look(&f.guards, f.file), 0);
        assert_int_equal(reason(), PINLEASE_GUARD_MEDDLED);
        close_file();
}

TEST(test_redirected) {
        static const int signals[] = { 0, SIGKILL, SIGTERM };

        for (size_t i = 0; i < ELEMENTSOF(signals); i++) {
                open_file("/dev/shm", O_RDWR);
                assert_int_equal(fcntl(f.fd, F_SETSIG, signals[i]), 0);
                assert_int_equal(guards_look(&f.guards, f.file), 0);
                expect("lost ");
                assert_int_equal(reason(), PINLEASE_GUARD_MEDDLED);
                close_file();
        }
}

/* To this process, which does not want it. */
TEST(test_owner_changed) {
        open_file("/dev/shm", O_RDWR);
        assert_int_equal(fcntl(f.fd, F_SETOWN, getpid()), 0);
        assert_int_equal(guards_look(&f.guards, f.file), 0);
        expect("lost ");
        assert_int_equal(reason(), PINLEASE_GUARD_MEDDLED);
        assert_int_equal(fcntl(f.fd, F_GETLEASE), F_UNLCK);
        close_file();
}

/* No signal can be queued for the bell: what comes then says that something is to be looked for, not where. */
TEST(test_overflow) {
        const struct rlimit none = { 0 };

        open_file("/dev/shm", O_RDWR);
        assert_int_equal(prlimit(f.lent.bell, RLIMIT_SIGPENDING, &none, NULL), 0);
        for (unsigned int i = 0; i < 3; i++) {
                wait_and_let_go(do_truncate);
                assert_int_equal(guards_look(&f.guards, f.file), 0);
                expect("back ");
                assert_int_equal(ftruncate(f.fd, SIZE), 0);
        }
        close_file();
}

_Static_assert(GUARDS_MAX_LENT == LENT_MAX, "what a registrar may lend its keeper takes");

/* As many as may be: one more has none, until another one is given up. */
TEST(test_many) {
        struct guarded *files[GUARDS_MAX_LENT], *own;
        struct rlimit before, many;

        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        many = before;
        many.rlim_cur = before.rlim_max < 4096 ? before.rlim_max : 4096;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &many), 0);
        /* That is one already. */
        open_file("/dev/shm", O_RDWR);
        own = f.file;
        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                char path[] = "/dev/shm/pinlease-test-XXXXXX";
                struct pl_fdclass class;
                int fd = mkostemp(path, O_CLOEXEC);

                assert_true(fd >= 0);
                assert_int_equal(unlink(path), 0);
                assert_int_equal(pl_fdclass_get(fd, &class), 0);
                assert_int_equal(guards_get(&f.guards, fd, &class, files + i), 0);
                assert_int_equal(pl_guard_reason(files[i]->guards, GUARD_LEASE),
                                 i + 1 < GUARDS_MAX_LENT ? PINLEASE_GUARD_HOLDS : PINLEASE_GUARD_NO_RESOURCES);
                pl_close(fd);
        }
        f.guards.ops[GUARD_LEASE]->disarm(&f.guards, files[7]);
        assert_int_equal(lent_drop(&f.lent, files[7]->lease.id), 0);
        files[7]->lease.lent = false;
        f.file = files[GUARDS_MAX_LENT - 1];
        assert_int_equal(guards_look(&f.guards, f.file), 0);
        expect("back ");
        assert_int_equal(reason(), PINLEASE_GUARD_HOLDS);
        for (size_t i = 0; i < ELEMENTSOF(files); i++)
                files[i] = guards_put(&f.guards, files[i]);
        f.file = own;
        close_file();
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

/* It is the bell that dies of it. */
TEST(test_killed) {
        int pipe;

        open_file("/dev/shm", O_RDWR);
        assert_int_equal(fcntl(f.fd, F_SETSIG, SIGKILL), 0);
        pipe = other(do_truncate);
        hear();
        /* The change is heard of all the same. */
        expect("asks ");
        guards_let_go(&f.guards, f.file);
        expect_done(pipe, 0);
        assert_int_equal(guards_look(&f.guards, f.file), 0);
        assert_int_equal(reason(), PINLEASE_GUARD_MEDDLED);
        close_file();
}

/* Its keeper is left alone with it. */
TEST(test_keeper_gives_up) {
        int pipe;

        open_file("/dev/shm", O_RDWR);
        pipe = other(do_truncate);
        hear();
        expect("asks ");
        lent_done(&f.lent);
        expect_done(pipe, 0);
        f.file->lease.lent = false;
        close_file();
}

/* What another session has on the same description by now is not its keeper's to give up. */
TEST(test_keeper_of_another) {
        open_file("/dev/shm", O_RDWR);
        assert_int_equal(fcntl(f.fd, F_SETOWN, getpid()), 0);
        lent_done(&f.lent);
        assert_int_equal(fcntl(f.fd, F_GETLEASE), F_WRLCK);
        f.file->lease.lent = false;
        close_file();
}

TEST(test_not_for_this) {
        struct pl_fdclass class;
        int fd = testing_memfd(SIZE);

        open_file("/dev/shm", O_RDWR);
        (void)guards_put(&f.guards, f.file);
        assert_int_equal(pl_fdclass_get(fd, &class), 0);
        assert_int_equal(guards_get(&f.guards, fd, &class, &f.file), 0);
        assert_int_equal(reason(), PINLEASE_GUARD_NOT_FOR_THIS);
        (void)guards_put(&f.guards, f.file);
        class.kind = PL_FD_DEVDAX;
        class.inode++;
        assert_int_equal(guards_get(&f.guards, fd, &class, &f.file), 0);
        assert_int_equal(reason(), PINLEASE_GUARD_NOT_FOR_THIS);
        pl_close(fd);
        close_file();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_truncate),
                CHECKED(test_open),
                CHECKED(test_open_for_reading),
                CHECKED(test_does_not_wait),
                CHECKED(test_reader),
                CHECKED(test_open_elsewhere),
                CHECKED(test_other_session),
                CHECKED(test_two_at_once),
                CHECKED(test_not_the_owner),
                CHECKED(test_taken_off),
                CHECKED(test_redirected),
                CHECKED(test_owner_changed),
                CHECKED(test_overflow),
                CHECKED(test_many),
                CHECKED(test_killed),
                CHECKED(test_keeper_gives_up),
                CHECKED(test_keeper_of_another),
                CHECKED(test_not_for_this),
        };

        return cmocka_run_group_tests_name("guard-lease", tests, NULL, NULL);
}
