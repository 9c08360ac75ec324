/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_TABLE_H
#define TEST_TABLE_H

/*
 * decide.table, read: what the policy decides for every kind of memory, and what the kernel itself answers. The file
 * says what its words mean.
 */

#include <stdbool.h>
#include <stddef.h>

#include "pinlease/types.h"

#define TABLE_MAX_POLICIES 4
#define TABLE_MAX_METHODS 4
#define TABLE_MAX_AXIS 16

/* Methods in their order, or a refusal. */
struct table_outcome {
        enum pinlease_code code; /* NONE: not refused */
        unsigned int n_methods;
        enum pinlease_method methods[TABLE_MAX_METHODS];
};

/* Of the kernel. */
struct table_answer {
        bool known;
        int error;          /* errno; 0: registered */
        unsigned int since; /* TABLE_VERSION() */
        int before;         /* what kernels before that answer */
};
#define TABLE_VERSION(major, minor) ((major) << 16 | (minor))

/* Sets of methods. */
struct table_device {
        unsigned int offered, unsound;
};

struct table_row {
        unsigned int line;
        enum pinlease_backing backing;
        bool writable;
        unsigned int accepted;
        struct table_device device;
        struct table_outcome outcomes[TABLE_MAX_POLICIES]; /* by the policy of the same place */
        char rule[32];
        struct table_answer pinned, odp;
};

struct table_policy {
        char name[16];
        char *text; /* JSON; NULL: the built-in one */
};

struct table {
        struct table_policy policies[TABLE_MAX_POLICIES];
        enum pinlease_backing backings[TABLE_MAX_AXIS];
        bool writable[TABLE_MAX_AXIS];
        unsigned int accepted[TABLE_MAX_AXIS];
        struct table_device devices[TABLE_MAX_AXIS];
        size_t n_policies, n_backings, n_writable, n_accepted, n_devices;
        struct table_row *rows;
        size_t n_rows;
};

/*
 * Every line must be understood, every combination of the axes be there once. Returns 0; or -1, with a sentence that
 * names file and line.
 */
int table_read(const char *path, struct table *ret_table, char *ret_problem, size_t size);
void table_free(struct table *table);

/* NULL: there is none. */
const struct table_row *table_find(const struct table *table,
                                   enum pinlease_backing backing,
                                   bool writable,
                                   unsigned int accepted,
                                   struct table_device device);

/* The errno that this kernel is to answer with. */
int table_error(const struct table_answer *answer, unsigned int version);
/* Of the kernel that runs: TABLE_VERSION(). */
unsigned int table_kernel(void);

/* "odp,pinned", or the code's name; "odp!,pinned"; "EFAULT". In a buffer that the call after the next three uses again.
 */
const char *table_outcome_text(const struct table_outcome *outcome);
const char *table_device_text(struct table_device device);
const char *table_error_text(int error);

#endif
