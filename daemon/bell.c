/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bell.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

#include "fds.h"
#include "privileges.h"
#include "util.h"

/* The pipe may be full: then the signals wait, and become SIGIO. */
static void ring(int pipe, const struct signalfd_siginfo *info) {
        const struct bell_ring ring = { .signal = (int32_t)info->ssi_signo, .fd = info->ssi_fd };

        if (write(pipe, &ring, sizeof ring) != (ssize_t)sizeof ring)
                _exit(EXIT_FAILURE);
}

static _Noreturn void bell(int pipe, const sigset_t *signals) {
        struct pollfd p[] = { { .events = POLLIN }, { .fd = pipe } };

        fds_close_except(&pipe, 1);
        p[0].fd = signalfd(-1, signals, SFD_CLOEXEC);
        if (p[0].fd < 0 || privileges_drop_capabilities() < 0)
                _exit(EXIT_FAILURE);
        for (;;) {
                struct signalfd_siginfo info;

                if (poll(p, ELEMENTSOF(p), -1) < 0 && errno != EINTR)
                        _exit(EXIT_FAILURE);
                if (p[1].revents & POLLERR)
                        _exit(EXIT_SUCCESS);
                if (p[0].revents && read(p[0].fd, &info, sizeof info) == (ssize_t)sizeof info)
                        ring(pipe, &info);
        }
}

int bell_start(int *ret_pipe, pid_t *ret_pid) {
        sigset_t signals, before;
        int p[2], r = 0;
        pid_t pid;

        if (pipe2(p, O_CLOEXEC) < 0)
                return -errno;
        /* All there are: which ones come is not for us to say. But for the one by which the keeper wakes it. */
        (void)sigfillset(&signals);
        (void)sigdelset(&signals, SIGCONT);
        (void)sigprocmask(SIG_SETMASK, &signals, &before);
        pid = fork();
        if (pid == 0)
                bell(p[1], &signals);
        if (pid < 0)
                r = -errno;
        (void)sigprocmask(SIG_SETMASK, &before, NULL);

        pl_close(p[1]);
        if (r < 0) {
                pl_close(p[0]);
                return r;
        }
        *ret_pipe = p[0];
        *ret_pid = pid;
        return 0;
}
