/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_TESTING_POLICY_H
#define PL_TESTING_POLICY_H

/* Policies for tests. */

#include "policy.h"

/* The built-in one; for as long as the program runs. */
const struct policy_block *testing_policy(void);

/* One of a text as in policy.json, which must be right; free() it. */
struct policy_block *testing_policy_of(const char *text);

/* Mapped as a registrar has it: policy_unmap() it. */
const struct policy_block *testing_policy_mapped(void);

/* Whoever runs the test. */
struct policy_subject testing_subject(void);

#endif
