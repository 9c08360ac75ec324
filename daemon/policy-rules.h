/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_POLICY_RULES_H
#define PL_POLICY_RULES_H

/* What a file of a policy has in it: the keys, what they mean, and what cannot be right about a rule by itself. */

#include "policy-values.h"

/* A rule as it was read. What was not said stays 0 until all files have been read. */
struct policy_draft {
        struct policy_rule rule;
        uint32_t source, index;     /* the how-manieth of its file */
        struct policy_place named;  /* its name; line 0: it has none of its own */
        struct policy_place grace;  /* its grace; line 0: as above */
};

struct policy_defaults {
        uint32_t grace_ms;
        uint8_t on_layout_change, force;
        struct policy_place grace; /* of the last that was read */
        uint32_t grace_source;
};

/* What all files together say; later ones override, key by key. */
struct policy_whole {
        uint32_t version;
        struct policy_defaults defaults;
        struct policy_limits limits;
        struct policy_draft *drafts;
        size_t n_drafts, allocated;
        size_t n_builtin; /* the first of them: the built-in ones are read first, and come last */
        bool too_many;    /* has been said */
};

/* Reads a file that is JSON. */
void policy_read_file(struct policy_reader *reader, struct policy_whole *whole);

/* Calls for every key there is, of all objects: "rules.match.size.min". */
void policy_keys_visit(void (*visit)(const char *path, const struct policy_key *key, void *userdata), void *userdata);

void policy_whole_done(struct policy_whole *whole);

#endif
