/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_POLICY_BUILD_H
#define PL_POLICY_BUILD_H

/* A block in the making: what rules refer to is put in as it is read, the rules when all are known. What fails stays
 * failed. */

#include <stddef.h>

#include "policy-block.h"

/* So many texts and lists are remembered: rules that stand together mostly are for the same users, devices and control groups. */
#define POLICY_BUILD_RECENT 32

struct policy_build {
        struct {
                uint32_t offset, size; /* bytes; 0: none */
        } recent[POLICY_BUILD_RECENT];
        unsigned int next; /* place in it */
        char *data;
        size_t size, capacity;
        int error; /* -ENOMEM, -E2BIG: larger than POLICY_MAX_SIZE */
};

/* Where it is in the block; 0 if it failed. What was put in lately is not put in again. */
uint32_t policy_build_text(struct policy_build *build, const char *text);
struct policy_list policy_build_list(
        struct policy_build *build, const void *elements, size_t n, size_t size, size_t alignment);

/* The block, the caller's to free; the limits and the generation are still to be filled in. Returns 0 or a negative
 * errno. */
int policy_build_finish(struct policy_build *build,
                        const struct policy_rule *rules,
                        size_t n_rules,
                        struct policy_block **ret_block);

void policy_build_done(struct policy_build *build);

#endif
