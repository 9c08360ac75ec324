/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * File leases, F_SETLEASE in fcntl(2). Who opens the file, or truncates it by its name, waits in break_lease() until the lease has
 * been given up, at most /proc/sys/fs/lease-break-time; the holder hears of it by a signal.
 *
 * - A write lease is had only by who is the only one to have the file open, so it is taken on the app's own description. A
 *   descriptor that is open for reading gets a read lease: others may read as well, who writes or truncates has to wait.
 * - Who only reads changes no layout, but breaks a write lease too. It could be turned into a read lease if the app's own
 *   descriptor were not open for writing; as it is, the lease is given up until the reader has closed the file.
 * - Only the owner of the file gets one: the kernel looks at the file-system user, which is the client.
 * - Everything about it is the description's, which the app has as well: it can take the lease off, and redirect or change the
 *   signal. Whoever does so has no lease any more, and is told; see bell.h for why the signal can do no harm.
 * - ftruncate(), fallocate() and writing by the same description are not seen: guard-modify.c.
 */

#include "guards.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/fsuid.h>

#include "bell.h"
#include "util.h"

static unsigned int reason_of(const struct guarded *file) {
        return pl_guard_reason(file->guards, GUARD_LEASE);
}

/* A memfd is open in a way that the kernel does not count: nobody ever is the only one. */
static bool is_memfd(int fd) {
        static const char prefix[] = "/memfd:";
        char path[32], link[sizeof prefix] = "";

        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        return readlink(path, link, sizeof link - 1) > 0 && strncmp(link, prefix, strlen(prefix)) == 0;
}

/* Has the app left the description's signal alone? Without a bell nobody hears anything. */
static bool rings(const struct guards *guards, const struct guarded *file) {
        struct f_owner_ex owner;

        return !guards->bell_lost && fcntl(file->fd, F_GETSIG) == BELL_SIGNAL && fcntl(file->fd, F_GETOWN_EX, &owner) == 0 &&
               owner.type == BELL_OWNER && owner.pid == file->lease.bell;
}

/* Or does it ring for another session, which has the same description, and has taken the lease in the same moment? */
static bool rings_elsewhere(const struct guarded *file) {
        struct f_owner_ex owner;

        return fcntl(file->fd, F_GETSIG) == BELL_SIGNAL && fcntl(file->fd, F_GETOWN_EX, &owner) == 0 && owner.type == BELL_OWNER &&
               owner.pid > 0 && owner.pid != file->lease.bell;
}

/* It is that one's, then: whose bell it was directed to last. */
static int concede(struct guarded *file) {
        file->lease.type = F_UNLCK;
        file->lease.breaking = false;
        return PINLEASE_GUARD_OTHER_LEASE;
}

static void unlock(struct guarded *file) {
        if (file->lease.type == F_UNLCK)
                return;
        (void)fcntl(file->fd, F_SETLEASE, F_UNLCK);
        file->lease.type = F_UNLCK;
        file->lease.breaking = false;
}

static int take(const struct guards *guards, struct guarded *file) {
        int type = file->writable ? F_WRLCK : F_RDLCK;

        if (fcntl(file->fd, F_SETLEASE, type) == 0) {
                file->lease.type = type;
                file->lease.breaking = false;
                if (rings(guards, file))
                        return PINLEASE_GUARD_HOLDS;
                if (rings_elsewhere(file))
                        return concede(file);
                unlock(file);
                return PINLEASE_GUARD_MEDDLED;
        }
        switch (errno) {
        case EAGAIN:
                return PINLEASE_GUARD_OPEN_ELSEWHERE;
        case EACCES:
                return PINLEASE_GUARD_NOT_OWNER;
        case EINVAL:
                return PINLEASE_GUARD_UNSUPPORTED;
        default:
                return PINLEASE_GUARD_NO_RESOURCES;
        }
}

static bool get_number(struct guards *guards, uint32_t *ret_id) {
        for (uint32_t i = 0; i < GUARDS_MAX_LENT; i++)
                if (!(guards->lent[i / 64] & UINT64_C(1) << i % 64)) {
                        guards->lent[i / 64] |= UINT64_C(1) << i % 64;
                        *ret_id = i;
                        return true;
                }
        return false;
}

static void put_number(struct guards *guards, uint32_t id) {
        guards->lent[id / 64] &= ~(UINT64_C(1) << id % 64);
}

/* Each time: a lease that is given up takes the description's owner and signal along, see lease_modify() of the kernel. */
static int lend(struct guards *guards, struct guarded *file) {
        struct f_owner_ex owner;
        int r, bell = -1;

        if (!file->lease.lent && !get_number(guards, &file->lease.id))
                return PINLEASE_GUARD_NO_RESOURCES;
        r = guards->config.lend(guards->config.userdata, file, &bell);
        if (bell >= 0)
                guards->bell = bell;
        if (r != 0) {
                if (!file->lease.lent)
                        put_number(guards, file->lease.id);
                return r < 0 ? r : PINLEASE_GUARD_NO_RESOURCES;
        }
        file->lease.lent = true;
        if (fcntl(file->fd, F_GETOWN_EX, &owner) < 0 || owner.type != BELL_OWNER)
                return PINLEASE_GUARD_MEDDLED;
        file->lease.bell = owner.pid;
        return PINLEASE_GUARD_HOLDS;
}

static int lease_arm(struct guards *guards, struct guarded *file) {
        int r;

        if (file->fd < 0)
                return guard_without_fd(file);
        if (file->class.kind == PL_FD_HUGETLB || pl_fdclass_is_fixed(&file->class) ||
            (file->class.kind == PL_FD_SHMEM && is_memfd(file->fd)))
                return PINLEASE_GUARD_NOT_FOR_THIS;
        if (guards->bell_lost)
                return PINLEASE_GUARD_MEDDLED;
        /* The kernel would say so as well, but only after the signals have been directed here: away from another session's
         * bell, maybe, that has the same description. */
        if ((uid_t)setfsuid((uid_t)-1) != file->class.owner)
                return PINLEASE_GUARD_NOT_OWNER;
        if (file->lease.type != F_UNLCK)
                return (int)reason_of(file);
        /* Somebody's who knows what to do with it, and shall go on to hear of it. */
        if (fcntl(file->fd, F_GETLEASE) != F_UNLCK)
                return PINLEASE_GUARD_OTHER_LEASE;
        r = lend(guards, file);
        return r == PINLEASE_GUARD_HOLDS ? take(guards, file) : r;
}

static void lease_disarm(struct guards *guards, struct guarded *file) {
        /* The session ends, somebody waits, and what other sessions have of the file may not be given back yet. The keeper, which
         * hears when it is, gives the lease up, as it does after a registrar that was killed. */
        if (guards->leaves && file->lease.breaking) {
                file->lease.lent = false;
                return;
        }
        unlock(file);
        if (file->lease.lent)
                put_number(guards, file->lease.id);
}

static void ask(struct guards *guards, struct guarded *file) {
        if (file->lease.breaking)
                return;
        file->lease.breaking = true;
        guards_set_reason(guards, file, GUARD_LEASE, PINLEASE_GUARD_CHANGING);
        guards_report(guards,
                      file,
                      &(const struct guard_report) { .kind = GUARD_ASKS, .guard = GUARD_LEASE, .length = UINT64_MAX });
}

static void give_up(struct guards *guards, struct guarded *file, enum pinlease_guard_reason reason) {
        unlock(file);
        guards_set_reason(guards, file, GUARD_LEASE, reason);
}

/*
 * Looks what has become of the lease. F_GETLEASE says what it is to become while it is being broken, and F_UNLCK also if there
 * is none any more: the app has taken it off. Then, and only then, it can be taken again: while somebody who wants to write
 * waits it is refused, and if that one does not wait (O_NONBLOCK) it stays as it is.
 */
static void check(struct guards *guards, struct guarded *file) {
        int now;

        if (file->lease.type == F_UNLCK || file->lease.breaking)
                return;
        now = fcntl(file->fd, F_GETLEASE);
        if (now == F_UNLCK && fcntl(file->fd, F_SETLEASE, file->lease.type) == 0) {
                if (fcntl(file->fd, F_GETLEASE) == file->lease.type)
                        give_up(guards, file, PINLEASE_GUARD_MEDDLED);
                else
                        ask(guards, file);
        } else if (now == F_UNLCK)
                ask(guards, file);
        else if (now != file->lease.type)
                give_up(guards, file, PINLEASE_GUARD_READER);
        else if (rings_elsewhere(file))
                guards_set_reason(guards, file, GUARD_LEASE, (enum pinlease_guard_reason)concede(file));
        else if (!rings(guards, file))
                give_up(guards, file, PINLEASE_GUARD_MEDDLED);
}

static int lease_look(struct guards *guards, struct guarded *file) {
        int reason;

        check(guards, file);
        if (file->lease.type != F_UNLCK || file->change.state == GUARDED_CHANGING ||
            (file->n_registrations == 0 && file->change.state == GUARDED_QUIET))
                return (int)reason_of(file);

        switch (reason_of(file)) {
        case PINLEASE_GUARD_READER:
        case PINLEASE_GUARD_OPEN_ELSEWHERE:
        case PINLEASE_GUARD_CHANGING:
        case PINLEASE_GUARD_OTHER_LEASE:
        case PINLEASE_GUARD_NO_RESOURCES:
                reason = lease_arm(guards, file);
                /* A reader is one as long as it has the file open. */
                if (reason == PINLEASE_GUARD_OPEN_ELSEWHERE && reason_of(file) == PINLEASE_GUARD_READER)
                        return PINLEASE_GUARD_READER;
                return reason;
        default:
                return (int)reason_of(file);
        }
}

static void lease_let_go(struct guards *guards, struct guarded *file) {
        (void)guards;
        if (file->lease.breaking)
                unlock(file);
}

static int lease_fd(const struct guards *guards) {
        return guards->bell;
}

static struct guarded *find(const struct guards *guards, int fd) {
        struct guarded *file = guards->first;

        while (file && file->fd != fd)
                file = file->next;
        return file;
}

static void check_all(struct guards *guards) {
        for (struct guarded *file = guards->first; file; file = file->next)
                check(guards, file);
}

static int lease_event(struct guards *guards) {
        struct bell_ring rings[64];
        ssize_t n;

        n = read(guards->bell, rings, sizeof rings);
        if (n < 0 && (errno == EINTR || errno == EAGAIN))
                return 0;
        if (n <= 0) {
                /* It has been killed: by a signal that somebody has chosen for a description. */
                guards->bell = pl_close(guards->bell);
                guards->bell_lost = true;
                check_all(guards);
                return 0;
        }
        for (size_t i = 0; i < (size_t)n / sizeof rings[0]; i++) {
                struct guarded *file = rings[i].signal == BELL_SIGNAL ? find(guards, rings[i].fd) : NULL;

                if (!file) {
                        check_all(guards);
                        break;
                }
                check(guards, file);
        }
        return 0;
}

static void lease_done(struct guards *guards) {
        guards->bell = pl_close(guards->bell);
}

const struct guard_ops guard_lease = {
        .name = "lease",
        .arm = lease_arm,
        .disarm = lease_disarm,
        .look = lease_look,
        .let_go = lease_let_go,
        .fd = lease_fd,
        .event = lease_event,
        .done = lease_done,
};
