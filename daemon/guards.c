/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guards.h"

#include <assert.h>
#include <fcntl.h>
#include <search.h>
#include <stdlib.h>

#include "util.h"

static const struct guard_ops *const all[N_GUARDS] = {
        [GUARD_SEALS] = &guard_seals,
        [GUARD_LEASE] = &guard_lease,
        [GUARD_MODIFY] = &guard_modify,
        [GUARD_POISON] = &guard_poison,
};

_Static_assert(PINLEASE_GUARD_SEALS == 1 << GUARD_SEALS && PINLEASE_GUARD_LEASE == 1 << GUARD_LEASE &&
                       PINLEASE_GUARD_MODIFY == 1 << GUARD_MODIFY && PINLEASE_GUARD_POISON == 1 << GUARD_POISON &&
                       PINLEASE_GUARD_ALL == (1 << N_GUARDS) - 1 && (int)N_GUARDS <= (int)PL_GUARD_MAX_N,
               "the table's order is that of the bits");

void guards_init(struct guards *guards, const struct guards_config *config) {
        *guards = (struct guards) { .config = *config, .ops = all, .bell = -1, .inotify = -1, .signals = -1 };
}

/* --- the files --- */

static int compare(const void *a, const void *b) {
        const struct guarded *x = a, *y = b;

        if (x->device != y->device)
                return x->device < y->device ? -1 : 1;
        return x->inode < y->inode ? -1 : x->inode > y->inode;
}

struct guarded *guards_find(const struct guards *guards, uint64_t device, uint64_t inode) {
        const struct guarded key = { .device = device, .inode = inode };
        struct guarded **node = tfind(&key, &guards->tree, compare);

        return node ? *node : NULL;
}

static void forget(struct guards *guards, struct guarded *file) {
        for (unsigned int i = 0; i < N_GUARDS; i++)
                if (guards->ops[i]->disarm)
                        guards->ops[i]->disarm(guards, file);
        (void)tdelete(file, &guards->tree, compare);
        if (file->previous)
                file->previous->next = file->next;
        else
                guards->first = file->next;
        if (file->next)
                file->next->previous = file->previous;
        guards->n_watched -= file->fd >= 0;
        /* The keeper's copy goes last: the last close of a file that has no name any more may take long. */
        pl_close(file->fd);
        if (file->lease.lent)
                guards->config.unlend(guards->config.userdata, file->lease.id);
        free(file);
}

void guards_done(struct guards *guards) {
        while (guards->first)
                forget(guards, guards->first);
        for (unsigned int i = 0; i < N_GUARDS; i++)
                if (guards->ops[i]->done)
                        guards->ops[i]->done(guards);
}

static int make(struct guards *guards, int fd, const struct pl_fdclass *class, struct guarded **ret_file) {
        struct guarded *file = malloc(sizeof *file);

        if (!file)
                return -ENOMEM;
        *file = (struct guarded) {
                .device = class->dev,
                .inode = class->inode,
                .class = *class,
                .fd = -1,
                .writable = (class->flags & O_ACCMODE) == O_RDWR,
                .lease.type = F_UNLCK,
                .modify.watch = -1,
        };
        /* The app's own description: a lease is only had by who is the only one to have the file open. Without a descriptor the
         * guards that need one say so. */
        if (!guard_is_sealed(class) && class->kind != PL_FD_DMABUF && guards->n_watched < GUARDS_MAX_WATCHED)
                file->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        guards->n_watched += file->fd >= 0;
        if (!tsearch(file, &guards->tree, compare)) {
                guards->n_watched -= file->fd >= 0;
                pl_close(file->fd);
                free(file);
                return -ENOMEM;
        }
        file->next = guards->first;
        if (file->next)
                file->next->previous = file;
        guards->first = file;
        *ret_file = file;
        return 0;
}

/* --- whether they hold --- */

static bool holds(const struct guarded *file, unsigned int index) {
        return pl_guards_held(file->guards) & 1U << index;
}

void guards_set_reason(struct guards *guards, struct guarded *file, enum guard_index index, enum pinlease_guard_reason reason) {
        bool held = holds(file, index);

        file->guards = pl_guards_set(file->guards, index, reason);
        /* Of a change under way more is said than that. */
        if (held != holds(file, index) && reason != PINLEASE_GUARD_CHANGING)
                guards_report(guards,
                              file,
                              &(const struct guard_report) { .kind = held ? GUARD_LOST : GUARD_BACK, .guard = index });
}

static int arm(struct guards *guards, struct guarded *file, bool first) {
        for (unsigned int i = 0; i < N_GUARDS; i++) {
                int reason;

                if (!first && holds(file, i))
                        continue;
                reason = guards->ops[i]->arm(guards, file);
                if (reason < 0)
                        return reason;
                file->guards = pl_guards_set(file->guards, i, (unsigned int)reason);
        }
        return 0;
}

int guards_get(struct guards *guards, int fd, const struct pl_fdclass *class, struct guarded **ret_file) {
        struct guarded *file = guards_find(guards, class->dev, class->inode);
        bool first = !file;
        int r;

        if (!file) {
                r = make(guards, fd, class, &file);
                if (r < 0)
                        return r;
        }
        /* Of those that were not to be had, some may be now; of a file in use that is found out by look. */
        if (file->n_registrations++ == 0) {
                r = arm(guards, file, first);
                if (r < 0)
                        return r;
        }
        if (!guards->next_look && file->fd >= 0)
                guards->next_look = pl_now_ms() + GUARDS_LOOK_MS;
        *ret_file = file;
        return 0;
}

struct guarded *guards_ref(struct guarded *file) {
        assert(file->n_registrations > 0);
        file->n_registrations++;
        return file;
}

struct guarded *guards_put(struct guards *guards, struct guarded *file) {
        if (!file)
                return NULL;
        assert(file->n_registrations > 0);
        if (--file->n_registrations == 0) {
                file->idle_since = pl_now_ms();
                guards->next_look = pl_earlier(guards->next_look, file->idle_since + GUARDS_LINGER_MS);
        }
        return NULL;
}

void guards_cover(struct guards *guards, struct guarded *file, uint64_t offset, uint64_t length) {
        for (unsigned int i = 0; i < N_GUARDS; i++)
                if (guards->ops[i]->cover)
                        guards->ops[i]->cover(guards, file, offset, length);
}

int guards_look(struct guards *guards, struct guarded *file) {
        for (unsigned int i = 0; i < N_GUARDS; i++) {
                int reason;

                if (!guards->ops[i]->look)
                        continue;
                reason = guards->ops[i]->look(guards, file);
                if (reason < 0)
                        return reason;
                guards_set_reason(guards, file, (enum guard_index)i, (enum pinlease_guard_reason)reason);
        }
        return 0;
}

void guards_let_go(struct guards *guards, struct guarded *file) {
        for (unsigned int i = 0; i < N_GUARDS; i++)
                if (guards->ops[i]->let_go)
                        guards->ops[i]->let_go(guards, file);
}

void guards_report(struct guards *guards, struct guarded *file, const struct guard_report *report) {
        guards->config.report(guards->config.userdata, file, report);
}

/* --- events --- */

void guards_fds(const struct guards *guards, int ret_fds[N_GUARDS]) {
        for (unsigned int i = 0; i < N_GUARDS; i++)
                ret_fds[i] = guards->ops[i]->fd ? guards->ops[i]->fd(guards) : -1;
}

int guards_event(struct guards *guards, enum guard_index index) {
        return guards->ops[index]->event(guards);
}

static uint64_t due_of(const struct guards *guards, unsigned int index) {
        return guards->ops[index]->due ? guards->ops[index]->due(guards) : 0;
}

uint64_t guards_due(const struct guards *guards) {
        uint64_t due = pl_earlier(guards->next_look, guards->retry);

        for (unsigned int i = 0; i < N_GUARDS; i++)
                due = pl_earlier(due, due_of(guards, i));
        return due;
}

static bool is_over(const struct guarded *file, uint64_t now) {
        return file->n_registrations == 0 && !file->change.state && now >= file->idle_since + GUARDS_LINGER_MS;
}

int guards_work(struct guards *guards) {
        bool every = guards->next_look && pl_now_ms() >= guards->next_look;
        struct guarded *next;
        uint64_t now = pl_now_ms();
        int r;

        for (unsigned int i = 0; i < N_GUARDS; i++) {
                uint64_t due = due_of(guards, i);

                r = due && now >= due ? guards->ops[i]->event(guards) : 0;
                if (r < 0)
                        return r;
        }
        if (!every && !(guards->retry && now >= guards->retry))
                return 0;
        guards->next_look = guards->retry = 0;
        for (struct guarded *file = guards->first; file; file = next) {
                next = file->next;
                if (every && is_over(file, now)) {
                        forget(guards, file);
                        continue;
                }
                if (file->fd < 0)
                        continue;
                r = guards_look(guards, file);
                if (r < 0)
                        return r;
                guards->next_look = pl_earlier(guards->next_look, now + GUARDS_LOOK_MS);
        }
        for (const struct guarded *file = guards->first; file; file = file->next)
                if (file->n_registrations == 0)
                        guards->next_look = pl_earlier(guards->next_look, now + GUARDS_LINGER_MS);
        return 0;
}
