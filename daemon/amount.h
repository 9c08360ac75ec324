/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_AMOUNT_H
#define PL_AMOUNT_H

/* So many bytes and registrations; sums of them, member by member. */

#include <stdbool.h>
#include <stdint.h>

struct credit_amount {
        uint64_t pinned;        /* bytes */
        uint64_t odp;           /* bytes */
        uint64_t registrations;
};

/* Both change nothing and return -ERANGE if a member of the result does not fit, or would be less than nothing. */
int amount_add(struct credit_amount *sum, const struct credit_amount *more);
int amount_subtract(struct credit_amount *sum, const struct credit_amount *less);

struct credit_amount amount_minimum(const struct credit_amount *a, const struct credit_amount *b);

/* What is left of `a` when `b` is taken away; nothing, where that is more. */
struct credit_amount amount_rest(const struct credit_amount *a, const struct credit_amount *b);

bool amount_is_zero(const struct credit_amount *amount);

#endif
