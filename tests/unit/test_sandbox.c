/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

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
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "closer.h"
#include "control.h"
#include "fdclass.h"
#include "fds.h"
#include "freeze.h"
#include "log.h"
#include "residency.h"
#include "sandbox.h"

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif
#ifndef SYS_statmount
#define SYS_statmount 457
#endif

/* What there is before the filter; a process in the sandbox has a copy. */
static struct {
        int memfd, null;
        int pair[2];
        int listener;
        struct sockaddr_un address;
        socklen_t address_size;
        pid_t pid; /* of the test itself */
        uid_t uid;
} given;

static int setup(void **state) {
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

static int teardown(void **state _unused_) {
        given.memfd = pl_close(given.memfd);
        given.null = pl_close(given.null);
        given.listener = pl_close(given.listener);
        given.pair[0] = pl_close(given.pair[0]);
        given.pair[1] = pl_close(given.pair[1]);
        return 0;
}

static pid_t start_in_sandbox(int (*sandbox)(void), int (*function)(const void *), const void *argument) {
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

static int in_sandbox(int (*sandbox)(void), int (*function)(const void *), const void *argument) {
        return testing_wait_child(start_in_sandbox(sandbox, function, argument));
}

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

static void assert_lives(int status) {
        if (WIFEXITED(status) && WEXITSTATUS(status) > 0)
                fail_msg("line %d (+ n * 254) did not work", WEXITSTATUS(status));
        assert_int_equal(status, 0);
}

/* --- what it may -------------------------------------------------------------------------------------------------------- */

/* Functions return 0, or the number of the line that did not work. */
#define NEED(condition)                  \
        do {                             \
                if (!(condition))        \
                        return __LINE__ % 255 + 1; \
        } while (0)

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
        teardown(NULL);
        setup(unused);
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
        struct rlimit memlock;
        char line[256];

        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                FILE *f = fopen(files[i], "re");

                NEED(f && fgets(line, sizeof line, f));
                NEED(fclose(f) == 0);
        }
        NEED(getrlimit(RLIMIT_MEMLOCK, &memlock) == 0);
        return 0;
}

static int map_memory(const void *unused _unused_) {
        unsigned char present[16];
        void *p;

        p = mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, given.memfd, 0);
        NEED(p != MAP_FAILED);
        NEED(residency_check(given.memfd, 0, (uintptr_t)p, 65536) == 1);
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

/* --- what it may not -------------------------------------------------------------------------------------------------- */

/* fork() of the C library. */
#define FORK_FLAGS (CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD)

struct call {
        const char *name;
        long number;
        long arguments[4];
};

#define CALL(name, ...) { #name, SYS_##name, { __VA_ARGS__ } }

static int make_call(const void *argument) {
        const struct call *call = argument;
        long r = syscall(call->number, call->arguments[0], call->arguments[1], call->arguments[2], call->arguments[3]);

        return r < 0 ? errno : 0;
}

static void assert_ends(int (*sandbox)(void), const struct call *calls, size_t n, int expected) {
        for (size_t i = 0; i < n; i++) {
                int status = in_sandbox(sandbox, make_call, calls + i);

                if (WIFSIGNALED(status))
                        status = WTERMSIG(status);
                if (status != expected)
                        fail_msg("%s (%zu): wait status 0x%x, not 0x%x", calls[i].name, i, (unsigned int)status, (unsigned int)expected);
        }
}

#define NOT_THERE(error) ((error) << 8) /* wait status of make_call() */

static const struct call deadly[] = {
        CALL(execve), CALL(execveat, -1), CALL(ptrace, -1), CALL(process_vm_readv), CALL(process_vm_writev),
        CALL(process_madvise, -1), CALL(pidfd_getfd, -1), CALL(kcmp), CALL(kill, 0, 0), CALL(tkill, 1, 0), CALL(tgkill, 1, 1, 0),
        CALL(rt_sigqueueinfo), CALL(rt_tgsigqueueinfo),
        CALL(setuid, -1), CALL(setgid, -1), CALL(setreuid, -1, -1), CALL(setregid, -1, -1), CALL(setresuid, -1, -1, -1),
        CALL(setresgid, -1, -1, -1), CALL(setgroups, -1), CALL(setfsgid, -1), CALL(personality, 0xffffffff),
        CALL(keyctl, -1), CALL(add_key), CALL(request_key),
        CALL(unshare), CALL(setns, -1), CALL(chroot), CALL(pivot_root), CALL(mount), CALL(umount2), CALL(open_tree, -1),
        CALL(move_mount, -1, 0, -1), CALL(fsopen), CALL(fsconfig, -1), CALL(fsmount, -1), CALL(fspick, -1),
        CALL(mount_setattr, -1), CALL(open_by_handle_at, -1),
        CALL(bpf, -1), CALL(perf_event_open), CALL(userfaultfd, -1), CALL(io_uring_setup), CALL(io_uring_enter, -1),
        CALL(io_uring_register, -1), CALL(vmsplice, -1),
        CALL(init_module), CALL(finit_module, -1), CALL(delete_module), CALL(kexec_load, 0, -1), CALL(reboot), CALL(swapon),
        CALL(swapoff), CALL(settimeofday), CALL(clock_settime, -1), CALL(clock_adjtime, -1), CALL(adjtimex), CALL(syslog, -1),
        CALL(acct, -1), CALL(quotactl, -1),
        /* For both, for different reasons. */
        CALL(bind, -1), CALL(listen, -1), CALL(accept, -1), CALL(accept4, -1),
};

static const struct call deadly_for_registrar[] = {
        CALL(capset),
        CALL(socket, AF_UNIX, SOCK_STREAM), CALL(socketpair, AF_UNIX, SOCK_STREAM), CALL(connect, -1), CALL(pidfd_open, 1),
        CALL(pidfd_send_signal, -1),
        /* fork() of the C library, in whichever way; threads. */
        CALL(clone, FORK_FLAGS), CALL(clone, SIGCHLD), CALL(clone, CLONE_VM | CLONE_FS | CLONE_FILES | SIGCHLD),
        CALL(clone, CLONE_NEWUSER | SIGCHLD), CALL(clone3),
#ifdef SYS_fork
        CALL(fork), CALL(vfork),
#endif
};

/* Calls that there are and that would do something; on no list, or not with these arguments. */
static const struct call missing[] = {
        CALL(mmap, 0, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS), CALL(mprotect, 0, 0, PROT_READ | PROT_EXEC),
        CALL(pkey_mprotect, 0, 0, PROT_EXEC, -1), CALL(ioctl, 0, FIONREAD), CALL(ioctl, 0, FIOASYNC), CALL(ioctl, 0, TIOCSTI),
        CALL(fcntl, 0, F_SETOWN), CALL(fcntl, 0, F_SETFL, O_ASYNC),
        CALL(prctl, PR_SET_DUMPABLE, 1), CALL(prctl, PR_SET_NAME),
        CALL(prctl, PR_MCE_KILL, PR_MCE_KILL_CLEAR), CALL(seccomp), CALL(memfd_create), CALL(dup3, 0, 0),
        CALL(openat, AT_FDCWD, (long)"/dev/null", O_RDWR), CALL(openat, AT_FDCWD, (long)"/dev/null", O_WRONLY),
        CALL(openat, AT_FDCWD, (long)"/", O_TMPFILE | O_RDWR), CALL(openat, AT_FDCWD, (long)"/dev/null", O_CREAT),
        CALL(openat, AT_FDCWD, (long)"/dev/null", O_TRUNC), CALL(openat2, -1), CALL(unlinkat, -1), CALL(mkdirat, -1), CALL(fchmod, -1),
        CALL(ftruncate, -1), CALL(fallocate, -1), CALL(pwrite64, -1),
        CALL(prlimit64, 0, RLIMIT_NOFILE, (long)"16 bytes of limit"), CALL(prlimit64, 1, RLIMIT_NOFILE),
        CALL(setpriority), CALL(sched_setaffinity), CALL(mlock), CALL(setsid), CALL(getdents64, -1), CALL(ioprio_set),
};

static const struct call missing_for_registrar[] = {
        CALL(fcntl, 0, F_SETSIG, SIGKILL), CALL(fcntl, 0, F_SETOWN_EX),
        CALL(setfsuid, 0), CALL(setfsuid, 1001), CALL(prlimit64, 0, RLIMIT_MEMLOCK, (long)"16 bytes of limit"),
        CALL(prlimit64, 1, RLIMIT_MEMLOCK), CALL(getsockopt, -1), CALL(pipe2), CALL(wait4, -1), CALL(set_robust_list),
        CALL(pread64, -1),
};

static const struct call missing_for_keeper[] = {
        CALL(prctl, PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY),
        CALL(clone3), CALL(clone, CLONE_NEWUSER | SIGCHLD), CALL(clone, CLONE_VM | CLONE_FS | CLONE_FILES | SIGCHLD),
        CALL(clone, SIGCHLD), CALL(clone, FORK_FLAGS | CLONE_NEWNET),
        CALL(openat, AT_FDCWD, (long)"/proc/devices", O_RDONLY), CALL(statx, -1), CALL(statmount), CALL(cachestat, -1),
        CALL(readlink), CALL(socket, AF_INET, SOCK_DGRAM), CALL(socket, AF_NETLINK, SOCK_RAW), CALL(socket, AF_VSOCK, SOCK_STREAM),
        CALL(pidfd_send_signal, -1, SIGTERM), CALL(fcntl, 0, F_SETLEASE, F_WRLCK), CALL(fcntl, 0, F_GETLEASE), CALL(setsockopt, -1),
        CALL(inotify_init1), CALL(inotify_add_watch, -1), CALL(preadv2, -1), CALL(ioctl, -1, FS_IOC_FIEMAP),
};

static const struct call deadly_for_keeper[] = {
        CALL(setfsuid, -1),
};

TEST(test_registrar_dies) {
        assert_ends(sandbox_registrar, deadly, ELEMENTSOF(deadly), SIGSYS);
        assert_ends(sandbox_registrar, deadly_for_registrar, ELEMENTSOF(deadly_for_registrar), SIGSYS);
}

TEST(test_keeper_dies) {
        assert_ends(sandbox_keeper, deadly, ELEMENTSOF(deadly), SIGSYS);
        assert_ends(sandbox_keeper, deadly_for_keeper, ELEMENTSOF(deadly_for_keeper), SIGSYS);
}

TEST(test_registrar_lacks) {
        assert_ends(sandbox_registrar, missing, ELEMENTSOF(missing), NOT_THERE(ENOSYS));
        assert_ends(sandbox_registrar, missing_for_registrar, ELEMENTSOF(missing_for_registrar), NOT_THERE(ENOSYS));
}

TEST(test_keeper_lacks) {
        assert_ends(sandbox_keeper, missing, ELEMENTSOF(missing), NOT_THERE(ENOSYS));
        assert_ends(sandbox_keeper, missing_for_keeper, ELEMENTSOF(missing_for_keeper), NOT_THERE(ENOSYS));
}

static int fork_and_execute(const void *unused _unused_) {
        int status = 0;
        pid_t pid = fork();

        if (pid == 0) {
                static const struct call execute = CALL(execve);

                _exit(make_call(&execute));
        }
        NEED(pid > 0 && waitpid(pid, &status, 0) == pid);
        NEED(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
        return 0;
}

static int only_fork(const void *unused _unused_) {
        if (fork() == 0)
                _exit(0);
        return 0;
}

static int give_up(const void *unused _unused_) {
        abort();
}

#ifdef __x86_64__
/* getpid() of i386, by its gate: its number is another call's here. */
static int call_of_another_abi(const void *unused _unused_) {
        long number = 20;

        __asm__ volatile("int $0x80" : "+a"(number) : : "memory", "r8", "r9", "r10", "r11");
        return number < 0 ? 1 : 0;
}
#endif

TEST(test_there_is_no_way_around) {
        int status;

        assert_lives(in_sandbox(sandbox_keeper, fork_and_execute, NULL));

        /* Children would each have a pin ceiling of their own. */
        status = in_sandbox(sandbox_registrar, only_fork, NULL);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);

        status = in_sandbox(sandbox_registrar, give_up, NULL);
        assert_true(WIFSIGNALED(status));
#ifdef __x86_64__
        status = in_sandbox(sandbox_registrar, call_of_another_abi, NULL);
        /* Where the machine has no such gate the call is a SIGSEGV. */
        assert_true(WIFSIGNALED(status) && (WTERMSIG(status) == SIGSYS || WTERMSIG(status) == SIGSEGV));
#endif
}

static int once_more(const void *unused _unused_) {
        return sandbox_registrar() < 0 ? 0 : 1;
}

/* In the sandbox there is no seccomp(), as on a machine without it: an error, not a process that goes on. */
TEST(test_failure_is_told) {
        assert_lives(in_sandbox(sandbox_keeper, once_more, NULL));
}

TEST(test_is_left_out) {
        testing_skip("the sanitizers' runtimes make calls of their own, so under them there is no sandbox\n");
}

#define IN_SANDBOX(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                IN_SANDBOX(test_both_do_what_they_share),
                IN_SANDBOX(test_registrar_looks_at_files),
                IN_SANDBOX(test_registrar_reads_and_maps),
                IN_SANDBOX(test_registrar_watches_files),
                IN_SANDBOX(test_registrar_makes_new_calls),
                IN_SANDBOX(test_keeper_rules_its_registrar),
                IN_SANDBOX(test_keeper_starts_closers),
                IN_SANDBOX(test_keeper_finds_a_new_daemon),
                IN_SANDBOX(test_registrar_dies),
                IN_SANDBOX(test_keeper_dies),
                IN_SANDBOX(test_registrar_lacks),
                IN_SANDBOX(test_keeper_freezes_its_app),
                IN_SANDBOX(test_keeper_lacks),
                IN_SANDBOX(test_there_is_no_way_around),
                IN_SANDBOX(test_failure_is_told),
        };

        const struct CMUnitTest none[] = { cmocka_unit_test(test_is_left_out) };

        if (!SANDBOX_WORKS)
                return cmocka_run_group_tests_name("sandbox", none, NULL, NULL);
        return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
