/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_POLICY_JSON_H
#define PL_POLICY_JSON_H

/*
 * A text of JSON with the place of every value, which json-c does not tell, and with every key, of which json-c keeps
 * the last of those that are the same. The walk over brackets, commas and colons is done here, once; what a string, a
 * number or a word is, json-c's strict tokener says. Nothing that is not RFC 8259 passes (json-c alone lets NaN, "1."
 * and raw control characters pass).
 *
 * Bounded: POLICY_JSON_MAX_DEPTH, and 20 bytes for each value and key, of which a text has at most half as many as
 * bytes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POLICY_JSON_MAX_DEPTH 16

enum policy_json_type {
        POLICY_JSON_OBJECT, /* children: key, value, key, value ... */
        POLICY_JSON_ARRAY,
        POLICY_JSON_STRING,
        POLICY_JSON_NUMBER,
        POLICY_JSON_BOOLEAN,
        POLICY_JSON_NULL,
};

/* In the order of the text: the first child follows its parent. */
struct policy_json_node {
        uint32_t start, end; /* bytes of the text */
        uint32_t next; /* what follows after all children; the end, if there is nothing more in the same parent, as well
                        */
        uint32_t n;    /* children; of an object: members */
        uint32_t type; /* enum policy_json_type */
};

struct policy_json {
        const char *text; /* the caller's */
        size_t size;
        struct policy_json_node *nodes; /* the first is the whole */
        uint32_t n_nodes;
        struct json_tokener *tokener;

        /* Where the last place was that was asked for: texts are gone through from front to back. */
        uint32_t at, line, column;
};

/* What is wrong with a text that is none: at which byte, and a sentence. */
struct policy_json_error {
        uint32_t offset;
        const char *sentence;
};

/* Returns 0, -EBADMSG (then, and only then, *ret_error is written) or -ENOMEM. The object is to be ended by
 * policy_json_done() in any case. At most UINT32_MAX / 2 bytes. */
int policy_json_init(struct policy_json *json, const char *text, size_t size, struct policy_json_error *ret_error);

/* Line and column of a byte, both from 1 on; columns are characters. */
void policy_json_place(struct policy_json *json, uint32_t offset, uint32_t *ret_line, uint32_t *ret_column);

/* "$.rules[3].match", cut at the front where there is not so much room. */
void policy_json_path(const struct policy_json *json, uint32_t node, char *ret_path, size_t size);

/* The text of a string or a key, NUL-terminated, the caller's to free. Returns 0, -EBADMSG: there is a NUL in it, or
 * -ENOMEM. */
int policy_json_text(struct policy_json *json, uint32_t node, char **ret_text);

/* Of a number: returns 0, or -ERANGE: it is negative, a fraction, written with an exponent, or larger than 64 bits. */
int policy_json_number(const struct policy_json *json, uint32_t node, uint64_t *ret_number);

bool policy_json_boolean(const struct policy_json *json, uint32_t node);

/* "a string", "an object" ... */
const char *policy_json_type_name(enum policy_json_type type);

void policy_json_done(struct policy_json *json);

#endif
