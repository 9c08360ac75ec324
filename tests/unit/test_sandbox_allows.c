/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sandbox_fixture.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <poll.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "closer.h"
#include "control.h"
#include "dmabuf.h"
#include "fdclass.h"
#include "fds.h"
#include "freeze.h"
#include "log.h"
#include "residency.h"

/* What keeper and registrar do goes on in their sandboxes. */

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif
#ifndef SYS_statmount
#define SYS_statmount 457
#endif

/* There is no event for it: asked until it is so. */
static void wait_asleep(pid_t pid) {
        char path[32], state = 0;

        (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        while (state != 'S') {
                FILE *f = fopen(path, "re");

                assert_non_null(f);
                assert_int_equal(fscanf(f, "%*d %*s %c", &state), 1);
                (void)fclose(f);
                assert_int_not_equal(state, 'Z');
                (void)sched_yield();
        }
}

/* Both processes, in all that they share. */
static int communicate(const void *unused _unused_) {
        const struct control_message message = { .type = CONTROL_PING };
        struct pollfd p = { .fd = given.pair[1], .events = POLLIN };
        struct control_message received;
        int fd;

        NEED(control_send(given.pair[0], &message, given.memfd) == 0);
        NEED(poll(&p, 1, 1000) == 1);
        NEED(ppoll(&p, 1, NULL, NULL) == 1);
        NEED(control_recv(given.pair[1], &received, &fd) == 0 && fd >= 0 && received.type == CONTROL_PING);
        NEED(pl_close(fd) == -1);
        NEED(sendto(given.pair[0], "x", 1, MSG_DONTWAIT, NULL, 0) == 1);
        log_line(LOG_DEBUG, "a line from the sandbox");
        NEED(shutdown(given.pair[0], SHUT_RDWR) == 0);
        return 0;
}

static int use_memory_and_time(const void *unused _unused_) {
        const struct timespec moment = { .tv_nsec = 1000 };
        struct timespec now;
        char *small, *large;

        NEED(nanosleep(&moment, NULL) == 0);
        NEED(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now) == 0);

        /* From the heap, from a mapping of its own, and grown there. */
        small = malloc(100000);
        large = malloc(1 << 20);
        NEED(small && large);
        memset(small, 1, 100000);
        memset(large, 1, 1 << 20);
        large = realloc(large, 16 << 20);
        NEED(large && large[(1 << 20) - 1] == 1);
        free(small);
        free(large);
        return 0;
}

static int close_things(const void *unused _unused_) {
        NEED(ioctl(given.null, RDMA_VERBS_IOCTL, NULL) < 0 && errno == ENOTTY);
        fds_close_except(&given.null, 1);
        NEED(fcntl(given.null, F_GETFD) == FD_CLOEXEC && fcntl(given.memfd, F_GETFD) < 0);
        return 0;
}

static int stand(const void *unused _unused_) {
        struct pollfd p = { .fd = given.pair[1], .events = POLLIN };

        NEED(poll(&p, 1, TESTING_PATIENCE_MS) == 1);
        return 0;
}

static void test_both(int (*sandbox)(void)) {
        int status;
        pid_t pid;

        assert_lives(in_sandbox(sandbox, use_memory_and_time, NULL));
        assert_lives(in_sandbox(sandbox, close_things, NULL));

        /* Stopped and continued while it waits: the kernel then makes a call of its own. */
        pid = start_in_sandbox(sandbox, stand, NULL);
        wait_asleep(pid);
        assert_int_equal(kill(pid, SIGSTOP), 0);
        assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
        assert_true(WIFSTOPPED(status));
        assert_int_equal(kill(pid, SIGCONT), 0);
        wait_asleep(pid);
        assert_int_equal(send(given.pair[0], "x", 1, 0), 1);
        assert_lives(testing_wait_child(pid));
        assert_int_equal(recv(given.pair[1], &status, 1, 0), 1);

        assert_lives(in_sandbox(sandbox, communicate, NULL));
}

TEST(test_both_do_what_they_share) {
        test_both(sandbox_registrar);
        sandbox_teardown(NULL);
        sandbox_setup(unused);
        test_both(sandbox_keeper);
}

static int look_at_files(const void *argument) {
        const int *file = argument;
        struct pl_fdclass class;
        char name[256], path[64];

        NEED(pl_fdclass_get(given.memfd, &class) == 0 && class.kind == PL_FD_SHMEM);
        NEED(pl_fdclass_get(given.null, &class) == 0 && class.kind == PL_FD_CHARDEV);
        NEED(pl_fdclass_get(given.pair[0], &class) == 0 && class.kind == PL_FD_OTHER);
        /* Of what kind depends on where the test runs; but it is found out as without the sandbox. */
        NEED(pl_fdclass_get(file[0], &class) == 0 && (int)class.kind == file[1]);

        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", given.memfd);
        NEED(readlink(path, name, sizeof name) > 0);
        return 0;
}

TEST(test_registrar_looks_at_files) {
        struct pl_fdclass class;
        int file[2];

        file[0] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
        assert_true(file[0] >= 0);
        assert_int_equal(pl_fdclass_get(file[0], &class), 0);
        file[1] = (int)class.kind;
        assert_lives(in_sandbox(sandbox_registrar, look_at_files, file));
        pl_close(file[0]);
}

static int read_proc(const void *unused _unused_) {
        static const char *const files[] = { "/proc/devices", "/proc/self/mountinfo" };
        char line[256], exporter[PL_DMABUF_EXPORTER_MAX];
        struct rlimit memlock;

        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                FILE *f = fopen(files[i], "re");

                NEED(f && fgets(line, sizeof line, f));
                NEED(fclose(f) == 0);
        }
        NEED(getrlimit(RLIMIT_MEMLOCK, &memlock) == 0);
        /* All of it has been read, and it is no dma-buf. */
        NEED(pl_dmabuf_exporter(given.memfd, exporter) == -ENODATA);
        return 0;
}

static int map_memory(const void *unused _unused_) {
        unsigned char present[16];
        void *p;

        p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, given.memfd, 0);
        NEED(p != MAP_FAILED);
        NEED(residency_check(given.memfd, 0, (uintptr_t)p, 65536) == 1);
        /* By pread(), here of a file that is not what it should be. */
        NEED(residency_mapped(given.null, (uintptr_t)p, 65536, 4096) == -EIO);
        /* What it does where there is no cachestat(). */
        NEED(mincore(p, 65536, present) == 0);
        NEED(faccessat(given.memfd, "", W_OK, AT_EMPTY_PATH | AT_EACCESS) == 0);
        NEED((uid_t)setfsuid((uid_t)-1) == given.uid);
        NEED(munmap(p, 65536) == 0);
        return 0;
}

static int listen_to_failures(const void *unused _unused_) {
        struct signalfd_siginfo info;
        sigset_t set;
        int fd;

        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGBUS);
        NEED(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
        fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
        NEED(fd >= 0);
        NEED(read(fd, &info, sizeof info) < 0 && errno == EAGAIN);
        NEED(prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0) == 0);
        NEED(pl_close(fd) == -1);
        return 0;
}

TEST(test_registrar_reads_and_maps) {
        assert_lives(in_sandbox(sandbox_registrar, read_proc, NULL));
        assert_lives(in_sandbox(sandbox_registrar, map_memory, NULL));
        assert_lives(in_sandbox(sandbox_registrar, listen_to_failures, NULL));
}

static int watch(const void *unused _unused_) {
        struct iovec v = { .iov_len = 0 };
        struct fiemap map = { .fm_length = 1 };
        char path[32];
        int inotify, w;

        inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        NEED(inotify >= 0);
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", given.memfd);
        w = inotify_add_watch(inotify, path, IN_MODIFY);
        NEED(w >= 0);
        NEED(inotify_rm_watch(inotify, w) == 0);
        /* Of a memfd the kernel knows neither. */
        NEED(ioctl(given.memfd, FS_IOC_FIEMAP, &map) < 0 && errno == EOPNOTSUPP);
        NEED(preadv2(given.memfd, &v, 1, 0, RWF_NOWAIT) == 0 || errno != ENOSYS);
        return 0;
}

TEST(test_registrar_watches_files) {
        assert_lives(in_sandbox(sandbox_registrar, watch, NULL));
}

/* By number: libseccomp may not know them. Whatever this kernel says, it is not the sandbox that says it. */
static int call_new(const void *argument) {
        const int *expected = argument;

        NEED((syscall(SYS_statmount, NULL, NULL, 0, 0) < 0 ? errno : 0) == expected[0]);
        NEED((syscall(SYS_cachestat, -1, NULL, NULL, 0) < 0 ? errno : 0) == expected[1]);
        return 0;
}

TEST(test_registrar_makes_new_calls) {
        int expected[2];

        expected[0] = syscall(SYS_statmount, NULL, NULL, 0, 0) < 0 ? errno : 0;
        expected[1] = syscall(SYS_cachestat, -1, NULL, NULL, 0) < 0 ? errno : 0;
        if (expected[0] == ENOSYS || expected[1] == ENOSYS)
                testing_skip("this kernel has no statmount or no cachestat, nobody could tell the difference\n");
        assert_lives(in_sandbox(sandbox_registrar, call_new, expected));
}

static int rule(const void *argument) {
        const pid_t *registrar = argument; /* and its pidfd */
        struct rlimit memlock;

        NEED(prlimit(registrar[0], RLIMIT_MEMLOCK, NULL, &memlock) == 0);
        memlock.rlim_cur = 4096;
        NEED(prlimit(registrar[0], RLIMIT_MEMLOCK, &memlock, NULL) == 0);
        NEED(waitpid(registrar[0], NULL, WNOHANG) < 0 && errno == ECHILD); /* it is the test's child, not this one's */
        NEED(pidfd_send_signal(registrar[1], SIGKILL, NULL, 0) == 0);
        return 0;
}

static int freeze(const void *argument) {
        struct freeze f = *(const struct freeze *)argument;

        (void)signal(SIGPIPE, SIG_IGN);
        NEED(freeze_stop(&f) == 0 && f.guard >= 0);
        freeze_release(&f);
        NEED(freeze_stop(&f) == 0 && f.guard >= 0);
        return 0; /* The guard does the rest. */
}

TEST(test_keeper_freezes_its_app) {
        struct freeze f = FREEZE_INIT(NULL, -1);
        int app;
        pid_t pid;

        pid = testing_fork();
        assert_true(pid >= 0);
        if (pid == 0)
                for (;;)
                        (void)pause();
        app = pidfd_open(pid, 0);
        f.app = &app;
        f.state = freeze_open_state(pid, app);
        assert_true(f.state >= 0);
        assert_lives(in_sandbox(sandbox_keeper, freeze, &f));
        wait_asleep(pid);
        assert_int_equal(kill(pid, SIGKILL), 0);
        (void)testing_wait_child(pid);
        freeze_done(&f);
        pl_close(app);
}

TEST(test_keeper_rules_its_registrar) {
        pid_t registrar[2];

        registrar[0] = testing_fork();
        assert_true(registrar[0] >= 0);
        if (registrar[0] == 0) {
                pause();
                _exit(0);
        }
        registrar[1] = pidfd_open(registrar[0], 0);
        assert_true(registrar[1] >= 0);
        assert_lives(in_sandbox(sandbox_keeper, rule, registrar));
        pl_close(registrar[1]);
        assert_int_equal(testing_wait_child(registrar[0]), SIGKILL);
}

static int close_elsewhere(const void *unused _unused_) {
        int copies[] = { fcntl(given.memfd, F_DUPFD_CLOEXEC, 3), fcntl(given.pair[0], F_DUPFD_CLOEXEC, 3) };

        NEED(copies[0] >= 0 && copies[1] >= 0);
        NEED(closer_close(copies, 2) == 0);
        return 0;
}

TEST(test_keeper_starts_closers) {
        assert_lives(in_sandbox(sandbox_keeper, close_elsewhere, NULL));
}

static int find_successor(const void *unused _unused_) {
        socklen_t size = sizeof(struct ucred);
        struct ucred credentials;
        int fd;

        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        NEED(fd >= 0);
        NEED(connect(fd, (const struct sockaddr *)&given.address, given.address_size) == 0);
        NEED(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &size) == 0 && credentials.pid == given.pid);
        return 0;
}

TEST(test_keeper_finds_a_new_daemon) {
        assert_lives(in_sandbox(sandbox_keeper, find_successor, NULL));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                IN_SANDBOX(test_both_do_what_they_share),
                IN_SANDBOX(test_registrar_looks_at_files),
                IN_SANDBOX(test_registrar_reads_and_maps),
                IN_SANDBOX(test_registrar_watches_files),
                IN_SANDBOX(test_registrar_makes_new_calls),
                IN_SANDBOX(test_keeper_rules_its_registrar),
                IN_SANDBOX(test_keeper_freezes_its_app),
                IN_SANDBOX(test_keeper_starts_closers),
                IN_SANDBOX(test_keeper_finds_a_new_daemon),
        };

        if (!SANDBOX_WORKS)
                return sandbox_is_left_out("sandbox, what it allows");
        return cmocka_run_group_tests_name("sandbox, what it allows", tests, NULL, NULL);
}
