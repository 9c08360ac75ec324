/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lent.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>

#include "bell.h"
#include "closer.h"
#include "util.h"

void lent_init(struct lent *lent) {
        *lent = (struct lent) { .bell_pidfd = -1, .bell_pipe = -1 };
        for (unsigned int i = 0; i < LENT_MAX; i++)
                lent->fds[i] = -1;
}

static void signal_bell(const struct lent *lent, int signal) {
        if (lent->bell_pidfd >= 0)
                (void)pidfd_send_signal(lent->bell_pidfd, signal, NULL, 0);
}

static int start_bell(struct lent *lent, int *ret_bell) {
        int r;

        r = bell_start(ret_bell, &lent->bell);
        if (r < 0)
                return r;
        /* Not reaped before this process ends, so the number stays its own. */
        lent->bell_pidfd = pidfd_open(lent->bell, 0);
        lent->bell_pipe = fcntl(*ret_bell, F_DUPFD_CLOEXEC, 3);
        return 0;
}

static int direct_signals(const struct lent *lent, int fd) {
        const struct f_owner_ex owner = { .type = BELL_OWNER, .pid = lent->bell };

        if (fcntl(fd, F_SETSIG, BELL_SIGNAL) < 0 || fcntl(fd, F_SETOWN_EX, &owner) < 0)
                return -errno;
        return 0;
}

int lent_add(struct lent *lent, unsigned int id, int fd, int *ret_bell) {
        _cleanup_(pl_closep) int bell = -1;
        int r = 0;

        if (fd < 0 && id < LENT_MAX && lent->fds[id] >= 0) {
                *ret_bell = -1;
                signal_bell(lent, SIGCONT);
                return direct_signals(lent, lent->fds[id]);
        }
        if (fd < 0 || id >= LENT_MAX || lent->fds[id] >= 0)
                r = -EPROTO;
        if (r == 0 && !lent->bell)
                r = start_bell(lent, &bell);
        if (r == 0)
                r = direct_signals(lent, fd);
        if (r < 0) {
                if (fd >= 0)
                        (void)closer_close(&fd, 1);
                /* Nobody would read its pipe. */
                if (bell >= 0) {
                        signal_bell(lent, SIGKILL);
                        lent->bell_pidfd = pl_close(lent->bell_pidfd);
                        lent->bell_pipe = pl_close(lent->bell_pipe);
                        lent->bell = 0;
                }
                return r;
        }
        lent->fds[id] = fd;
        /* Somebody may have stopped it, by a signal of a description that is not lent any more. */
        signal_bell(lent, SIGCONT);
        *ret_bell = pl_steal_fd(&bell);
        return 0;
}

int lent_drop(struct lent *lent, unsigned int id) {
        if (id >= LENT_MAX || lent->fds[id] < 0)
                return -EPROTO;
        (void)closer_close(&lent->fds[id], 1);
        signal_bell(lent, SIGCONT);
        return 0;
}

bool lent_rings(const struct lent *lent) {
        struct pollfd p = { .fd = lent->bell_pipe, .events = POLLIN };

        return poll(&p, 1, 0) > 0 && p.revents & POLLIN;
}

/*
 * A description may be another session's too, which has the lease on it by now: then signals go to that one's bell. Or the
 * app has redirected them: then it has a lease as if it had taken it without the service, and so its own delay.
 */
static bool is_ours(const struct lent *lent, int fd) {
        struct f_owner_ex owner;

        return fcntl(fd, F_GETOWN_EX, &owner) == 0 && (owner.pid == 0 || owner.pid == lent->bell);
}

void lent_done(struct lent *lent) {
        int fds[LENT_MAX];
        unsigned int n = 0;

        for (unsigned int i = 0; i < LENT_MAX; i++)
                if (lent->fds[i] >= 0) {
                        /* Not there any more, as a rule: the registrar has done so itself. */
                        if (is_ours(lent, lent->fds[i]))
                                (void)fcntl(lent->fds[i], F_SETLEASE, F_UNLCK);
                        fds[n++] = lent->fds[i];
                        lent->fds[i] = -1;
                }
        if (n > 0)
                (void)closer_close(fds, n);
        signal_bell(lent, SIGKILL);
        lent->bell_pidfd = pl_close(lent->bell_pidfd);
        lent->bell_pipe = pl_close(lent->bell_pipe);
}
