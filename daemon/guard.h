/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_GUARD_H
#define PL_GUARD_H

/*
 * Guards: who tells that the file behind a registration is about to change, or has changed.
 *
 * There is one guard per kernel mechanism, in a file of its own, behind a struct guard_ops; the table in guards.c is the only
 * place that knows which there are. A guard knows files, not registrations: it reports what happens to a file, and somebody
 * else (changes.h) decides what that means and tells the guard when the other side may go on.
 */

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fdclass.h"
#include "layout.h"
#include "proto.h"

/* Place in the table; the bit in enum pinlease_guard. */
enum guard_index {
        GUARD_SEALS,
        GUARD_LEASE,
        GUARD_MODIFY,
        GUARD_POISON,
        N_GUARDS,
};

enum guarded_change {
        GUARDED_QUIET = 0,
        GUARDED_CHANGING, /* what is registered is being given back. Nothing new is registered */
        GUARDED_SETTLING, /* all is given back, the other side does what it wanted to */
};

struct guard_range {
        uint64_t offset, length;
};

/* A file of which something is registered, or was until a moment ago. One per device and inode, see guards.h. */
struct guarded {
        struct guarded *previous, *next;
        uint64_t device, inode;
        struct pl_fdclass class; /* as of the first registration */
        int fd; /* a copy of the descriptor of the first registration, of the app's own description; -1: SEALS is enough */
        bool writable; /* the descriptor is open for writing */
        unsigned int n_registrations;
        uint32_t grace_ms; /* of the rule of the latest registration: also when there is none any more, and others are asked */
        uint64_t idle_since; /* when that has become 0; CLOCK_MONOTONIC, ms */
        uint32_t guards; /* pl_guards_set() */

        /* guard-lease.c's own */
        struct {
                bool lent; /* the keeper has a copy of the descriptor, by the number `id` */
                uint32_t id;
                pid_t bell; /* who hears of it */
                int type; /* F_WRLCK, F_RDLCK; F_UNLCK: not taken */
                bool breaking; /* somebody waits for guard_ops.let_go */
        } lease;

        /* guard-modify.c's own */
        struct {
                int watch; /* -1: none */
                uint32_t seen;        /* events that have not been dealt with */
                struct layout layout; /* what is registered lies in */
                uint64_t due;         /* when it is to be compared again; 0: no need to */
                uint64_t not_before;  /* to bound what comparing costs */
                uint64_t doubted;     /* since when there are holes that do not count; 0: there are none */
                bool mounted;         /* when it was last looked at, and that can be known */
                bool unlinked, read_only;
        } modify;

        /* guard-poison.c's own: what has been reported */
        struct {
                struct guard_range *broken;
                size_t n_broken;
        } poison;

        /* changes.c's own */
        struct {
                enum guarded_change state;
                bool asked;          /* somebody waits until let_go() */
                bool ours, others;   /* what this session, what the others have registered is given back */
                uint64_t cookie;     /* of the BREAK */
                unsigned int n_revocations;
                uint64_t due;        /* of the state; CLOCK_MONOTONIC, ms */
                unsigned int notices; /* the app is still to be told: a bit for each enum pl_notice_kind */
                uint64_t first, last; /* what could not be revoked at once: from, and to before; first == last: nothing */
        } change;
};

enum guard_report_kind {
        GUARD_ASKS,     /* before: somebody waits to change the layout of the range; until let_go() */
        GUARD_CHANGED,  /* after: the range is not what it was: cut off, punched out, moved */
        GUARD_POISONED, /* the memory of the range is broken */
        GUARD_UNLINKED, /* the last name is gone */
        GUARD_UNMOUNTED,
        GUARD_REMOUNTED, /* read-only */
        GUARD_LOST,     /* a guard does not hold any more; file->guards says why */
        GUARD_BACK,     /* it holds again */
        GUARD_ACTIVITY, /* somebody has modified or closed the file: a change that was waited for may be over */
};

struct guard_report {
        enum guard_report_kind kind;
        enum guard_index guard;
        uint64_t offset, length; /* in the file; length UINT64_MAX: to the end, wherever that is */
};

struct guards; /* guards.h */

/*
 * All functions may be NULL, and are then what a guard does that needs nothing. `arm` and `look` return an enum
 * pinlease_guard_reason, or a negative errno that ends the session. None may block.
 */
struct guard_ops {
        const char *name;

        /* Begins to watch the file. Called again when it did not hold and another registration comes. */
        int (*arm)(struct guards *guards, struct guarded *file);

        /* Stops; also if it does not hold. */
        void (*disarm)(struct guards *guards, struct guarded *file);

        /* Something has been registered of the range, which is there now. */
        void (*cover)(struct guards *guards, struct guarded *file, uint64_t offset, uint64_t length);

        /* Does it still hold, or again? Called every few seconds, and when something has happened to the file. */
        int (*look)(struct guards *guards, struct guarded *file);

        /* After GUARD_ASKS: what was registered is given back, the other side may go on. */
        void (*let_go)(struct guards *guards, struct guarded *file);

        /* A descriptor that is readable when there is something for event(); -1: none yet. */
        int (*fd)(const struct guards *guards);

        /* When event() is to be called even if nothing has come: CLOCK_MONOTONIC, ms; 0: never. */
        uint64_t (*due)(const struct guards *guards);

        /* Handles what has come, and reports it by guards_report(). Returns 0 or a negative errno that ends the session. */
        int (*event)(struct guards *guards);

        /* Frees what it holds for all files. */
        void (*done)(struct guards *guards);
};

/* SEALS is enough: no other guard has anything to tell but POISON. */
static inline bool guard_is_sealed(const struct pl_fdclass *class) {
        return class->seals & F_SEAL_SHRINK;
}

/* Why a guard that needs the file's descriptor does not hold when there is none. */
static inline int guard_without_fd(const struct guarded *file) {
        return guard_is_sealed(&file->class) || file->class.kind == PL_FD_DMABUF ? PINLEASE_GUARD_NOT_FOR_THIS
                                                                                 : PINLEASE_GUARD_NO_RESOURCES;
}

extern const struct guard_ops guard_seals, guard_lease, guard_modify, guard_poison;

#endif
