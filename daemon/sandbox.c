/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/sched.h>
#include <malloc.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "util.h"

/* Newer than libseccomp 2.5.4 or the distribution's headers. */
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif
#ifndef SYS_statmount
#define SYS_statmount 457
#endif

/* --- calls that are allowed whatever their arguments ------------------------------------------------------------------ */

static const int both_may[] = {
        /* keeper_run(), registrar_turn(), tell_keeper(): waiting. restart_syscall is how the kernel goes on with a poll or a
         * sleep after SIGSTOP and SIGCONT. Time comes from the vDSO, unless the clock source has none. */
        SCMP_SYS(poll),
        SCMP_SYS(ppoll),
        SCMP_SYS(restart_syscall),
        SCMP_SYS(clock_nanosleep),
        SCMP_SYS(nanosleep),
        SCMP_SYS(clock_gettime),

        /* control.c, wire.c and the journal: messages on sockets that are there already. sendto and sendmsg can name a
         * receiver; the network is the unit's matter (PrivateNetwork=), and what there is of Unix sockets checks who sends. */
        SCMP_SYS(recvmsg),
        SCMP_SYS(sendmsg),
        SCMP_SYS(sendto),
        SCMP_SYS(shutdown),

        /* log.c without a journal; what closer.c and fopen() read. */
        SCMP_SYS(write),
        SCMP_SYS(read),

        /* util.h, fds.c. */
        SCMP_SYS(close),
        SCMP_SYS(close_range),

        /* The C library: malloc() and free(), seeds of its own, and abort() up to where it kills the process. */
        SCMP_SYS(brk),
        SCMP_SYS(munmap),
        SCMP_SYS(mremap),
        SCMP_SYS(madvise),
        SCMP_SYS(getrandom),
        SCMP_SYS(rt_sigprocmask),
        SCMP_SYS(rt_sigreturn),
        SCMP_SYS(getpid),
        SCMP_SYS(gettid),

        /* Ends. */
        SCMP_SYS(exit),
        SCMP_SYS(exit_group),
};

static const int registrar_may[] = {
        /* fdclass.c: what a descriptor is. newfstatat is fopen()'s of what lies in /proc, lseek fclose()'s. */
        SCMP_SYS(statx),
        SCMP_SYS(fstatfs),
        SYS_statmount,
        SCMP_SYS(newfstatat),
        SCMP_SYS(fstat),
        SCMP_SYS(lseek),

        /* What the kernel calls a descriptor: /proc/self/fd. */
        SCMP_SYS(readlink),
        SCMP_SYS(readlinkat),

        /* residency.c, layout.c. Before Linux 6.5 by mincore(), which is not told the truth unless the file may be written: faccessat(). */
        SYS_cachestat,
        SCMP_SYS(mincore),
        SCMP_SYS(faccessat),
        SCMP_SYS(faccessat2),

        /* residency.c: what is mapped, from a file that is open already. */
        SCMP_SYS(pread64),

        /* guard-modify.c. Watches of files that it has open, and of others it could open by name: it is told that they change. */
        SCMP_SYS(inotify_init1),
        SCMP_SYS(inotify_add_watch),
        SCMP_SYS(inotify_rm_watch),

        /* layout.c: whether FIEMAP would have to wait. */
        SCMP_SYS(preadv2),

        /* guard-poison.c: a descriptor for SIGBUS. mincore and faccessat are its too, and madvise, rt_sigprocmask and read,
         * which both have. */
        SCMP_SYS(signalfd4),
};

static const int keeper_may[] = {
        /* A new pinleased: its socket is looked for, and who listens there. */
        SCMP_SYS(connect),
        SCMP_SYS(getsockopt),

        /* freeze.c: the app's state, again and again from a file that is open already. */
        SCMP_SYS(pread64),

        /* bell.c, in a child: drops what the keeper may do, and waits for signals. */
        SCMP_SYS(capset),
        SCMP_SYS(signalfd4),

        /* lent.c */
        SCMP_SYS(pidfd_open),

        /* closer.c, freeze.c: a pipe, and waiting for the throw-away process. The list of robust futexes is set by the C library in
         * every child. */
        SCMP_SYS(pipe2),
        SCMP_SYS(wait4),
        SCMP_SYS(set_robust_list),
};

/* --- calls that are allowed with some arguments only ------------------------------------------------------------------ */

struct conditional {
        int number;
        unsigned int n;
        struct scmp_arg_cmp args[2];
};

/* The kernel looks at the lower half of these arguments only, so the filter does too. */
#define IS(index, value)  { (index), SCMP_CMP_MASKED_EQ, UINT32_MAX, (uint32_t)(value) }
#define NONE_OF(index, bits) { (index), SCMP_CMP_MASKED_EQ, (uint32_t)(bits), 0 }
#define IS_NULL(index) { (index), SCMP_CMP_EQ, 0, 0 }

/* fork() of the C library. Nothing else: no threads, no namespaces. clone3 does not exist, its arguments cannot be seen. */
#define FORK_FLAGS (CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID | SIGCHLD)
#ifdef __s390__
#define CLONE_FLAGS_ARGUMENT 1
#else
#define CLONE_FLAGS_ARGUMENT 0
#endif

static const struct conditional both_may_if[] = {
        /* uverbs.c: the one ioctl. On a verbs device it can still be any method of any object. */
        { SCMP_SYS(ioctl), 1, { IS(1, RDMA_VERBS_IOCTL) } },

        /* Memory that is executed comes from the start of the program. */
        { SCMP_SYS(mmap), 1, { NONE_OF(2, PROT_EXEC) } },
        { SCMP_SYS(mprotect), 1, { NONE_OF(2, PROT_EXEC) } },

        /* F_SETOWN, with F_SETSIG, would be another way to kill: by command, then. What the keeper directs goes to its bell. */
        { SCMP_SYS(fcntl), 1, { IS(1, F_GETFD) } },
        { SCMP_SYS(fcntl), 1, { IS(1, F_GETFL) } },
        { SCMP_SYS(fcntl), 1, { IS(1, F_DUPFD_CLOEXEC) } },
};

static const struct conditional registrar_may_if[] = {
        /* /proc/devices (attach.c), /proc/self/mountinfo and "/" (fdclass.c), /proc/self/fdinfo (dmabuf.c). */
        { SCMP_SYS(openat), 1, { NONE_OF(2, ~(O_CLOEXEC | O_DIRECTORY | O_PATH)) } },

        /* fdclass.c. */
        { SCMP_SYS(fcntl), 1, { IS(1, F_GET_SEALS) } },

        /* layout.c: in which blocks a file lies; it changes nothing. */
        { SCMP_SYS(ioctl), 1, { IS(1, FS_IOC_FIEMAP) } },

        /* residency.c: asks who it is for the file systems, which only this call tells; it changes nothing. */
        { SCMP_SYS(setfsuid), 1, { IS(0, -1) } },

        /* guard-lease.c. */
        { SCMP_SYS(fcntl), 1, { IS(1, F_SETLEASE) } },
        { SCMP_SYS(fcntl), 1, { IS(1, F_GETLEASE) } },
        { SCMP_SYS(fcntl), 1, { IS(1, F_GETSIG) } },
        { SCMP_SYS(fcntl), 1, { IS(1, F_GETOWN_EX) } },

        /* guard-poison.c: memory failures are told at once. For itself, and changes nothing else. */
        { SCMP_SYS(prctl), 2, { IS(0, PR_MCE_KILL), IS(1, PR_MCE_KILL_SET) } },

        /* What it may pin: reads it, of itself. */
        { SCMP_SYS(prlimit64), 2, { IS(0, 0), IS_NULL(2) } },
};

static const struct conditional keeper_may_if[] = {
        /* The registrar: its end, and what it may pin. The app: freeze.c. The bell: lent.c. */
        { SCMP_SYS(pidfd_send_signal), 1, { IS(1, SIGKILL) } },
        { SCMP_SYS(pidfd_send_signal), 1, { IS(1, SIGSTOP) } },
        { SCMP_SYS(pidfd_send_signal), 1, { IS(1, SIGCONT) } },
        { SCMP_SYS(prlimit64), 1, { IS(1, RLIMIT_MEMLOCK) } },

        /* lent.c: where the signals of a lease go, and its end. The bell, which may have been stopped. */
        { SCMP_SYS(fcntl), 1, { IS(1, F_SETSIG) } },
        { SCMP_SYS(fcntl), 1, { IS(1, F_GETOWN_EX) } },
        { SCMP_SYS(fcntl), 1, { IS(1, F_SETOWN_EX) } },
        { SCMP_SYS(fcntl), 2, { IS(1, F_SETLEASE), IS(2, F_UNLCK) } },

        /* A new pinleased is looked for. */
        { SCMP_SYS(socket), 1, { IS(0, AF_UNIX) } },

        /* closer.c, freeze.c. */
        { SCMP_SYS(clone), 1, { IS(CLONE_FLAGS_ARGUMENT, FORK_FLAGS) } },
};

/* --- calls that kill: nobody makes them by mistake ---------------------------------------------------------------------- */

static const int both_die_of[] = {
        /* Another program. */
        SCMP_SYS(execve),
        SCMP_SYS(execveat),

        /* Other processes: their memory, their descriptors, their end. abort() dies as it wants to. */
        SCMP_SYS(ptrace),
        SCMP_SYS(process_vm_readv),
        SCMP_SYS(process_vm_writev),
        SCMP_SYS(process_madvise),
        SCMP_SYS(pidfd_getfd),
        SCMP_SYS(kcmp),
        SCMP_SYS(kill),
        SCMP_SYS(tkill),
        SCMP_SYS(tgkill),
        SCMP_SYS(rt_sigqueueinfo),
        SCMP_SYS(rt_tgsigqueueinfo),

        /* Other rights. setfsuid is in neither list: one use of it is allowed to the registrar. */
        SCMP_SYS(setuid),
        SCMP_SYS(setgid),
        SCMP_SYS(setreuid),
        SCMP_SYS(setregid),
        SCMP_SYS(setresuid),
        SCMP_SYS(setresgid),
        SCMP_SYS(setgroups),
        SCMP_SYS(setfsgid),
        SCMP_SYS(personality),
        SCMP_SYS(keyctl),
        SCMP_SYS(add_key),
        SCMP_SYS(request_key),

        /* Other namespaces, roots, mounts. */
        SCMP_SYS(unshare),
        SCMP_SYS(setns),
        SCMP_SYS(chroot),
        SCMP_SYS(pivot_root),
        SCMP_SYS(mount),
        SCMP_SYS(umount2),
        SCMP_SYS(open_tree),
        SCMP_SYS(move_mount),
        SCMP_SYS(fsopen),
        SCMP_SYS(fsconfig),
        SCMP_SYS(fsmount),
        SCMP_SYS(fspick),
        SCMP_SYS(mount_setattr),
        SCMP_SYS(open_by_handle_at),

        /* Large parts of the kernel that nothing here needs. */
        SCMP_SYS(bpf),
        SCMP_SYS(perf_event_open),
        SCMP_SYS(userfaultfd),
        SCMP_SYS(io_uring_setup),
        SCMP_SYS(io_uring_enter),
        SCMP_SYS(io_uring_register),
        SCMP_SYS(modify_ldt),
        SCMP_SYS(vmsplice),

        /* The machine. */
        SCMP_SYS(init_module),
        SCMP_SYS(finit_module),
        SCMP_SYS(delete_module),
        SCMP_SYS(kexec_load),
        SCMP_SYS(kexec_file_load),
        SCMP_SYS(reboot),
        SCMP_SYS(swapon),
        SCMP_SYS(swapoff),
        SCMP_SYS(iopl),
        SCMP_SYS(ioperm),
        SCMP_SYS(settimeofday),
        SCMP_SYS(clock_settime),
        SCMP_SYS(clock_adjtime),
        SCMP_SYS(adjtimex),
        SCMP_SYS(syslog),
        SCMP_SYS(acct),
        SCMP_SYS(quotactl),
};

static const int registrar_dies_of[] = {
        /* It has none, and gets none. */
        SCMP_SYS(capset),

        /* It speaks to whom it was given, and signals nobody. */
        SCMP_SYS(socket),
        SCMP_SYS(socketpair),
        SCMP_SYS(connect),
        SCMP_SYS(bind),
        SCMP_SYS(listen),
        SCMP_SYS(accept),
        SCMP_SYS(accept4),
        SCMP_SYS(pidfd_open),
        SCMP_SYS(pidfd_send_signal),

        /* It is one process: a child could pin as much again, and the keeper would not know it. */
        SCMP_SYS(clone),
        SCMP_SYS(clone3),
        SCMP_SYS(fork),
        SCMP_SYS(vfork),
};

static const int keeper_dies_of[] = {
        /* It connects, and nobody to it. */
        SCMP_SYS(bind),
        SCMP_SYS(listen),
        SCMP_SYS(accept),
        SCMP_SYS(accept4),
        SCMP_SYS(setfsuid),
};

/* --- making the filter ------------------------------------------------------------------------------------------------- */

static void seccomp_releasep(scmp_filter_ctx *context) {
        if (*context)
                seccomp_release(*context);
}

/* Making a filter takes 100 KiB of heap, which a session that idles would keep. */
static int load(scmp_filter_ctx *context) {
        int r;

        r = seccomp_load(*context);
        seccomp_releasep(context);
        *context = NULL;
        (void)malloc_trim(0);
        return r;
}

static int add(scmp_filter_ctx context, uint32_t action, const int *numbers, size_t n) {
        int r = 0;

        for (size_t i = 0; i < n && r == 0; i++)
                r = seccomp_rule_add_array(context, action, numbers[i], 0, NULL);
        return r;
}

static int add_conditional(scmp_filter_ctx context, const struct conditional *rules, size_t n) {
        int r = 0;

        for (size_t i = 0; i < n && r == 0; i++)
                r = seccomp_rule_add_array(context, SCMP_ACT_ALLOW, rules[i].number, rules[i].n, rules[i].args);
        return r;
}

/* What one of the processes may, and of what it dies. */
struct list {
        const int *may;
        size_t n_may;
        const struct conditional *may_if;
        size_t n_may_if;
        const int *dies_of;
        size_t n_dies_of;
};

#define LIST(name, verb)                                                                                             \
        {                                                                                                            \
                .may = name##_may,                                                                                   \
                .n_may = ELEMENTSOF(name##_may),                                                                     \
                .may_if = name##_may_if,                                                                             \
                .n_may_if = ELEMENTSOF(name##_may_if),                                                               \
                .dies_of = name##_##verb##_of,                                                                       \
                .n_dies_of = ELEMENTSOF(name##_##verb##_of),                                                         \
        }

static int add_list(scmp_filter_ctx context, const struct list *list) {
        int r;

        r = add(context, SCMP_ACT_ALLOW, list->may, list->n_may);
        if (r == 0)
                r = add_conditional(context, list->may_if, list->n_may_if);
        if (r == 0)
                r = add(context, SCMP_ACT_KILL_PROCESS, list->dies_of, list->n_dies_of);
        return r;
}

static int enter(const struct list *list) {
        static const struct list both = LIST(both, die);
        _cleanup_(seccomp_releasep) scmp_filter_ctx context = NULL;
        int r;

        if (!SANDBOX_WORKS)
                return 0;
        context = seccomp_init(SCMP_ACT_ERRNO(ENOSYS));
        if (!context)
                return -ENOMEM;

        /* System calls of another ABI of the machine are not what the lists mean. Errors are the kernel's own. */
        r = seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
        if (r == 0)
                r = seccomp_attr_set(context, SCMP_FLTATR_API_SYSRAWRC, 1);
        if (r == 0)
                r = add_list(context, &both);
        if (r == 0)
                r = add_list(context, list);
        return r < 0 ? r : load(&context);
}

int sandbox_registrar(void) {
        static const struct list registrar = LIST(registrar, dies);

        return enter(&registrar);
}

int sandbox_keeper(void) {
        static const struct list keeper = LIST(keeper, dies);

        return enter(&keeper);
}
