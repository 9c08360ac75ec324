/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sandbox_fixture.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif
#ifndef SYS_statmount
#define SYS_statmount 457
#endif

/* What nobody can do in a sandbox, keeper or registrar. */

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

int main(void) {
        const struct CMUnitTest tests[] = {
                IN_SANDBOX(test_registrar_dies),
                IN_SANDBOX(test_keeper_dies),
                IN_SANDBOX(test_registrar_lacks),
                IN_SANDBOX(test_keeper_lacks),
                IN_SANDBOX(test_there_is_no_way_around),
                IN_SANDBOX(test_failure_is_told),
        };

        if (!SANDBOX_WORKS)
                return sandbox_is_left_out("sandbox");
        return cmocka_run_group_tests_name("sandbox", tests, NULL, NULL);
}
