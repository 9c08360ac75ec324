/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_MATRIX_H
#define TEST_MATRIX_H

/*
 * Every way to change a file, on every file system, while it is registered: when does the app hear of it, and what does
 * the other program see? By the real service; the answers are the tables of doc/GUARDS.md.
 */

#include <stdint.h>

#include "memory.h"

/* What is changed, as the other program knows it. */
struct target {
        enum memory_kind kind;
        char path[64];   /* by which it is changed */
        char folder[64]; /* with files of the same file system; for a mount: that */
        uint64_t unit;   /* of the file system: what can be cut out */
        uint64_t length;
        int fd; /* of its own, open for writing since before the registration; -1: it has to open the file */
};

/* The same, as the app has it. */
#define UNITS 4
struct subject {
        struct target *target;
        struct memory memory;
        char file[64], mount[64];
        /* Where the memory of each unit was at the beginning: the number of its first page frame. */
        struct shape {
                uint64_t size, frames[UNITS];
        } shape;
};

bool is_on_blocks(enum memory_kind kind);

/* A file, all of it there and written, open and mapped once. flags: enum operation_flags */
struct subject matrix_subject_new(struct target *target, enum memory_kind kind, const char *folder, unsigned int flags);
/* Has it lost anything of the memory that was there at first? */
bool subject_has_moved(const struct subject *subject);
void matrix_subject_free(struct subject *subject);

enum operation_flags {
        OPERATION_OWN = 1 << 0,       /* the app does it itself, by its own descriptor */
        OPERATION_MOUNT = 1 << 1,     /* on a mount of its own */
        OPERATION_READ_ONLY = 1 << 2, /* the app has opened the file for reading */
        OPERATION_NAME = 1 << 3,      /* the file needs a name */
        OPERATION_BLOCKS = 1 << 4,    /* the file needs a block device */
};

struct operation {
        const char *name;
        /* Returns 0 or a negative errno; leaves descriptors open if that is what it is about. */
        int (*change)(struct target *target);
        unsigned int flags;
        const char *missing; /* what there is not, where it is refused */
};

#define N_OPERATIONS 23
extern const struct operation operations[N_OPERATIONS];

/* Prints the tables. Returns the exit status. */
int matrix_print(void);

#endif
