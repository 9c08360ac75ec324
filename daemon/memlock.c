/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "memlock.h"

#include <inttypes.h>
#include <poll.h>
#include <string.h>

#include "log.h"
#include "util.h"

static rlim_t least(rlim_t a, rlim_t b) {
        return a < b ? a : b;
}

static rlim_t add(rlim_t limit, uint64_t bytes) {
        return bytes > RLIM_INFINITY - limit ? RLIM_INFINITY : limit + bytes;
}

static bool is_dead(int pidfd) {
        struct pollfd p = { .fd = pidfd, .events = POLLIN };

        return poll(&p, 1, 0) != 0;
}

/* new: NULL: only asks. */
static int exchange(const struct memlock *m, const struct rlimit *new, struct rlimit *ret_old) {
        struct rlimit old;

        if (*m->app < 0 || m->app_pid <= 0 || is_dead(*m->app))
                return -ESRCH;
        if (prlimit(m->app_pid, RLIMIT_MEMLOCK, new, &old) < 0)
                return -errno;
        if (is_dead(*m->app)) {
                /* Whoever has the number by now gets back what it had. */
                if (new)
                        (void)prlimit(m->app_pid, RLIMIT_MEMLOCK, &old, NULL);
                return -ESRCH;
        }
        *ret_old = old;
        return 0;
}

/* What it would be now without us. Only who may do so has made the hard limit higher than we did: then all is as he
 * wants. */
static struct rlimit underlying(const struct memlock *m, const struct rlimit *now) {
        struct rlimit limit;

        if (m->total == 0 || now->rlim_max > m->set.rlim_max)
                return *now;
        limit.rlim_max = least(now->rlim_max, m->underlying.rlim_max);
        limit.rlim_cur =
                least(now->rlim_cur == m->set.rlim_cur ? m->underlying.rlim_cur : now->rlim_cur, limit.rlim_max);
        return limit;
}

/* What it is made, so that so many bytes are on top. */
static struct rlimit with(const struct memlock *m,
                          const struct rlimit *base,
                          const struct rlimit *now,
                          uint64_t total) {
        struct rlimit limit = { .rlim_cur = add(base->rlim_cur, total), .rlim_max = base->rlim_max };

        if (limit.rlim_max < limit.rlim_cur)
                limit.rlim_max = limit.rlim_cur;
        /* Lowered, nothing grows: the app may have made its limit smaller itself. */
        if (total < m->total) {
                limit.rlim_cur = least(limit.rlim_cur, now->rlim_cur);
                limit.rlim_max = least(limit.rlim_max, now->rlim_max);
        }
        return limit;
}

/*
 * The app may change it between the two calls: then it is done once more, from what it has made of it. What it makes of
 * it after the first write is overwritten, and is no source of what the limit would be without us: there is something
 * of ours in it.
 */
static int set(struct memlock *m, uint64_t total) {
        struct rlimit now, old, base, new;
        int r;

        r = exchange(m, NULL, &now);
        if (r < 0)
                return r;
        base = underlying(m, &now);
        new = with(m, &base, &now, total);
        r = exchange(m, &new, &old);
        if (r == 0 && (old.rlim_cur != now.rlim_cur || old.rlim_max != now.rlim_max)) {
                base = underlying(m, &old);
                new = with(m, &base, &old, total);
                r = exchange(m, &new, &now);
        }
        if (r < 0)
                return r;

        m->underlying = base;
        m->set = new;
        m->total = total;
        return 0;
}

int memlock_raise(struct memlock *memlock, uint64_t total) {
        if (!memlock->allowed)
                return -EACCES;
        return total > memlock->total ? set(memlock, total) : 0;
}

void memlock_lower(struct memlock *memlock, uint64_t total) {
        int r;

        if (total >= memlock->total)
                return;
        r = set(memlock, total);
        if (r < 0 && r != -ESRCH)
                log_line(LOG_ERR,
                         "cannot lower its app's limit of locked memory, of which %" PRIu64
                         " bytes are not the app's own: %s",
                         memlock->total - total,
                         strerror(-r));
        if (r == -ESRCH)
                memlock->total = total;
}

void memlock_ceiling(struct memlock *memlock, uint64_t pinned) {
        struct rlimit limit;

        memlock_lower(memlock, pinned);
        /* Its number may be somebody else's. */
        if (*memlock->registrar < 0)
                return;
        limit.rlim_max = pinned > memlock->total ? pinned - memlock->total : 0;
        limit.rlim_cur = limit.rlim_max;
        if (prlimit(memlock->registrar_pid, RLIMIT_MEMLOCK, &limit, NULL) < 0)
                log_line(LOG_ERR,
                         "cannot set its registrar's pin ceiling to %" PRIu64 " bytes: %s",
                         (uint64_t)limit.rlim_cur,
                         strerror(errno));
}
