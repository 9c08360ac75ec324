/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_GUARDS_H
#define PL_GUARDS_H

/*
 * The files of which something is registered, and their guards. A file is watched from its first registration on, and for
 * GUARDS_LINGER_MS after its last: whoever registers and deregisters the same file in a loop arms its guards once.
 */

#include "guard.h"
#include "mapping.h"

#define GUARDS_LINGER_MS 1000

/* How often guards are asked whether they still hold. */
#define GUARDS_LOOK_MS 5000

/* How many files of a session may have a lease, and how many may be watched at all: each has a descriptor, and all sessions share
 * what inotify(7) allows one user. */
#define GUARDS_MAX_LENT    256
#define GUARDS_MAX_WATCHED 4096

/* For what a guard cannot do in this process. */
struct guards_config {
        /* guard-lease.c: the keeper takes a copy of the file's descriptor, by the number file->lease.id, unless it is lent
         * already, and directs the signals of its lease to a process of its own, see bell.h. *ret_bell: that one's pipe, with the first; else -1. Returns 0;
         * 1: it cannot be had; or a negative errno that ends the session. */
        int (*lend)(void *userdata, const struct guarded *file, int *ret_bell);
        /* It gives that copy back. Comes when the file's own descriptor is closed. */
        void (*unlend)(void *userdata, uint32_t id);

        /* What the guards have to say. */
        void (*report)(void *userdata, struct guarded *file, const struct guard_report *report);
        void *userdata;

        /* guard-poison.c: what is mapped in this process. */
        const struct mapping_table *mappings;
};

struct guards {
        struct guards_config config;
        const struct guard_ops *const *ops; /* N_GUARDS of them */
        void *tree; /* tsearch(3), by device and inode */
        struct guarded *first;
        unsigned int n_watched; /* files with a descriptor */
        uint64_t next_look; /* 0: nothing to look at */
        uint64_t retry;     /* a guard wants to be asked before that; 0: none */

        int bell; /* guard-lease.c: readable when a lease is being broken; -1: none has been taken yet */
        bool bell_lost;
        bool leaves; /* the session ends, and there is a keeper to give up leases that are being broken; set before guards_done() */
        uint64_t lent[GUARDS_MAX_LENT / 64]; /* a bit each: numbers in use */
        int inotify;  /* guard-modify.c; -1 */
        uint64_t inotify_rest; /* until when it is left alone; CLOCK_MONOTONIC, ms; 0: it is not */
        int signals;  /* guard-poison.c: signalfd(2) for SIGBUS; -1 */

        /* guard-poison.c: where it is on its way through all mappings */
        struct {
                uint64_t due;         /* CLOCK_MONOTONIC, ms: when guard_poison.event() is to go on; 0: it is on no way */
                uint64_t number, at;  /* mapping.h: the view it is in, and how far */
                uint64_t last;        /* the last view on this way */
                uint64_t span;        /* bytes without any memory that it skips next */
                bool again;           /* something has happened behind it */
        } poison;
};

void guards_init(struct guards *guards, const struct guards_config *config);
void guards_done(struct guards *guards);

/* The file of a registration in the making, its guards armed as far as can be. Returns 0, or a negative errno that ends the
 * session. Counts one registration; guards_put() counts it back, and returns NULL. */
int guards_get(struct guards *guards, int fd, const struct pl_fdclass *class, struct guarded **ret_file);
struct guarded *guards_put(struct guards *guards, struct guarded *file);
/* One more of a file that is counted already. */
struct guarded *guards_ref(struct guarded *file);

struct guarded *guards_find(const struct guards *guards, uint64_t device, uint64_t inode);

/* To be polled for POLLIN; those that are -1 are not there. */
void guards_fds(const struct guards *guards, int ret_fds[N_GUARDS]);
/* One of them is readable. */
int guards_event(struct guards *guards, enum guard_index index);

/* When there is something to do: CLOCK_MONOTONIC, ms; 0: never. guards->poison.due is one of the reasons, and guards_work()
 * calls guard_poison.event() when it has come. */
uint64_t guards_due(const struct guards *guards);
int guards_work(struct guards *guards);

/* A registration of the range is done: what is compared later on has to know what it is about. */
void guards_cover(struct guards *guards, struct guarded *file, uint64_t offset, uint64_t length);

/* Asks all guards of a file whether they hold. */
int guards_look(struct guards *guards, struct guarded *file);

/* The change that was asked for may go on. */
void guards_let_go(struct guards *guards, struct guarded *file);

/* For guards, beside what arm and look return: whether it holds, from now on. Reports it if that is new. */
void guards_set_reason(struct guards *guards, struct guarded *file, enum guard_index index, enum pinlease_guard_reason reason);

void guards_report(struct guards *guards, struct guarded *file, const struct guard_report *report);

#endif
