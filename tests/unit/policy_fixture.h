/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_POLICY_FIXTURE_H
#define PL_POLICY_FIXTURE_H

/* Policies as texts: written to a folder of their own, loaded, and what is said of them. */

#include "policy-load.h"
#include "testing.h"

#define FIXTURE_LEASE_BREAK_MS 45000

/* The rules of policy-default.json, which stand below all others. */
#define N_BUILTIN 8

struct policy_fixture {
        char folder[64];
        struct policy_problems problems;
        struct policy_block *block; /* NULL: it was not loaded */
        int result;
};

/* A folder that is gone when the fixture ends. */
void policy_fixture_begin(struct policy_fixture *fixture);
void policy_fixture_end(struct policy_fixture *fixture);

/* Writes a file below the folder; folders on the way are made. */
void policy_fixture_write(struct policy_fixture *fixture, const char *name, const void *text, size_t size);

/* Loads what is there: what was loaded before is freed. The block is checked. */
void policy_fixture_load(struct policy_fixture *fixture);

/* All that is said, line by line, the folder's path left out; the caller's to free. */
char *policy_fixture_lines(const struct policy_fixture *fixture);

/* The text is the only file, and these are the lines. */
void policy_fixture_expect(struct policy_fixture *fixture, const char *text, const char *lines);

#endif
