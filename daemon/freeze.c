/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "freeze.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "control.h"
#include "fds.h"
#include "log.h"
#include "throwaway.h"
#include "util.h"

/* How long it is waited for that the app stands still: threads may be in the middle of a system call. */
#define STANDSTILL_MS 20

/* How long a killed app may take to be dead. */
#define DEATH_MS 1000

static bool is_dead(int pidfd) {
        struct pollfd p = { .fd = pidfd, .events = POLLIN };

        return poll(&p, 1, 0) != 0;
}

int freeze_open_state(pid_t pid, int pidfd) {
        _cleanup_(pl_closep) int fd = -1;
        char path[32];
        int owned;

        if (pid <= 0 || pidfd < 0)
                return -1;
        (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        /* It was not dead after that: so the number was still its own. */
        if (fd < 0 || is_dead(pidfd))
                return -1;
        owned = fd;
        fd = -1;
        return owned;
}

/* The state's letter; 0: not known. The name before it may hold parentheses, and is short. */
static char state_of(const struct freeze *freeze) {
        char line[128];
        const char *end;
        ssize_t n;

        if (freeze->state < 0)
                return 0;
        n = pread(freeze->state, line, sizeof line - 1, 0);
        if (n <= 0)
                return 0;
        line[n] = '\0';
        end = strrchr(line, ')');
        return end && end[1] == ' ' ? end[2] : '\0';
}

static int send_signal(int app, int number) {
        return pidfd_send_signal(app, number, NULL, 0) < 0 ? -errno : 0;
}

/* Hears "over", or the end of whoever should have said so, or nothing in time. */
static _Noreturn void guard(int pipe_read, int app) {
        const int keep[] = { pipe_read, app };
        struct pollfd p = { .fd = pipe_read, .events = POLLIN };
        char byte;

        fds_close_except(keep, ELEMENTSOF(keep));
        if (poll(&p, 1, FREEZE_MAX_MS) <= 0 || read(pipe_read, &byte, 1) != 1) {
                /* Nobody can say "over" any more: what is stopped after this has been stopped by somebody else. */
                pl_close(pipe_read);
                (void)send_signal(app, SIGCONT);
        }
        _exit(0);
}

static int start_guard(struct freeze *freeze) {
        _cleanup_(pl_closep) int pipe_read = -1, pipe_write = -1;
        int p[2], r;

        if (pipe2(p, O_CLOEXEC) < 0)
                return -errno;
        pipe_read = p[0];
        pipe_write = p[1];
        r = throwaway_fork();
        if (r < 0)
                return r;
        if (r == 0) {
                pl_close(pipe_write);
                guard(pipe_read, *freeze->app);
        }
        freeze->guard = pipe_write;
        pipe_write = -1;
        return 0;
}

int freeze_stop(struct freeze *freeze) {
        uint64_t end;
        int r;

        freeze_release(freeze);
        if (*freeze->app < 0 || is_dead(*freeze->app))
                return -ESRCH;
        if (state_of(freeze) == 'T')
                return 0;

        r = start_guard(freeze);
        if (r < 0)
                return r;
        r = send_signal(*freeze->app, SIGSTOP);
        if (r < 0) {
                freeze_release(freeze);
                return r;
        }
        end = pl_now_ms() + STANDSTILL_MS;
        while (state_of(freeze) != 'T' && pl_now_ms() < end)
                (void)nanosleep(&(struct timespec) { .tv_nsec = 500000 }, NULL);
        return 0;
}

void freeze_release(struct freeze *freeze) {
        if (freeze->guard < 0)
                return;
        /* A guard that has done it already may be gone, and somebody else may have stopped the app since. */
        if (write(freeze->guard, "", 1) == 1 && *freeze->app >= 0)
                (void)send_signal(*freeze->app, SIGCONT);
        freeze->guard = pl_close(freeze->guard);
}

static int kill_app(struct freeze *freeze) {
        struct pollfd p = { .fd = *freeze->app, .events = POLLIN };
        int r;

        if (!freeze->may_kill)
                return -EPERM;
        freeze_release(freeze);
        if (*freeze->app < 0)
                return 0;
        r = send_signal(*freeze->app, SIGKILL);
        if (r < 0)
                return r == -ESRCH ? 0 : r;
        log_event(LOG_WARNING, EVENT_APP_KILLED, "has killed its app, which does not let go of its memory otherwise");
        return poll(&p, 1, DEATH_MS) == 1 ? 0 : -ETIMEDOUT;
}

int freeze_order(struct freeze *freeze, uint32_t what) {
        switch (what) {
        case CONTROL_FREEZE_STOP:
                return freeze_stop(freeze);
        case CONTROL_FREEZE_RELEASE:
                freeze_release(freeze);
                return 0;
        case CONTROL_FREEZE_KILL:
                return kill_app(freeze);
        default:
                return -EINVAL;
        }
}

void freeze_done(struct freeze *freeze) {
        freeze_release(freeze);
        freeze->state = pl_close(freeze->state);
}

static int stop(void *userdata) {
        return freeze_stop(userdata);
}

static void release(void *userdata) {
        freeze_release(userdata);
}

static int kill_by_ops(void *userdata) {
        return kill_app(userdata);
}

const struct force_ops freeze_ops = { .stop = stop, .release = release, .kill = kill_by_ops };
