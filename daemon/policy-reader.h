/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_POLICY_READER_H
#define PL_POLICY_READER_H

/*
 * Objects of a policy by tables of their keys: what is unknown, there twice, or missing is said, and what is there is
 * read by the table's functions into a struct. One table is the truth for reader, schema and manual page
 * (tests/unit/test_policy_docs.c).
 */

#include "policy-build.h"
#include "policy-json.h"
#include "policy-problems.h"
#include "util.h"

struct policy_reader {
        struct policy_json json;
        const char *file; /* as problems name it */
        uint32_t source;
        struct policy_problems *problems;
        struct policy_build *build;
        int error;    /* -ENOMEM: for good */
        bool builtin; /* it is the built-in policy that is read */
};

struct policy_key;

/* Reads the value into the target, the struct's member, or says what is wrong with it. */
typedef void (*policy_read_fn)(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target);

struct policy_key {
        const char *name; /* NULL: the end */
        policy_read_fn read;
        size_t offset;    /* in the struct */
        const void *what; /* for the function: a range, words, the keys of the object */
        bool needed;
};

#define POLICY_MAX_KEYS 16 /* of a table */

/* Where a value stands, for what is found out later. */
struct policy_place {
        uint32_t line, column;
};

struct policy_place policy_place(struct policy_reader *reader, uint32_t node);

/* Says it. policy_wrong() is an error, policy_doubt() a warning. */
void policy_wrong(struct policy_reader *reader, uint32_t node, const char *format, ...) _printf_(3, 4);
void policy_doubt(struct policy_reader *reader, uint32_t node, const char *format, ...) _printf_(3, 4);

/* The value's type is another than it should be: "is a list, should be WHAT". */
void policy_wrong_type(struct policy_reader *reader, uint32_t node, const char *what);

/* The text of a string, the caller's to free; NULL: it is none, or has a NUL in it, or no memory: that has been said.
 * `what` is what it should be. */
char *policy_text_of(struct policy_reader *reader, uint32_t node, const char *what);

/* Reads an object; which keys were there: bits in the order of the table. ret_nodes: the values, by the same order; or
 * NULL. */
unsigned int policy_read_object(struct policy_reader *reader,
                                uint32_t node,
                                const struct policy_key *keys,
                                void *target,
                                uint32_t ret_nodes[POLICY_MAX_KEYS]);

/* A policy_read_fn: the object at the same target, whose keys are in `what`. */
void policy_read_inner(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target);

/* Calls for each item of a list; a value that is no list stands for a list of one. Says it if the list is empty. */
typedef void (*policy_item_fn)(struct policy_reader *reader,
                               uint32_t node,
                               const struct policy_key *key,
                               void *userdata);
void policy_each(
        struct policy_reader *reader, uint32_t node, const struct policy_key *key, policy_item_fn item, void *userdata);

/* The nearest of those words, if there is one that could have been meant; NULL. next() gives them, one after the other,
 * then NULL. */
const char *policy_nearest(const char *text, const char *(*next)(const void *userdata, size_t i), const void *userdata);

#endif
