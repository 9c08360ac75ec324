/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "amount.h"

#include <errno.h>

int amount_add(struct credit_amount *sum, const struct credit_amount *more) {
        struct credit_amount result;

        if (__builtin_add_overflow(sum->pinned, more->pinned, &result.pinned) ||
            __builtin_add_overflow(sum->odp, more->odp, &result.odp) ||
            __builtin_add_overflow(sum->registrations, more->registrations, &result.registrations))
                return -ERANGE;
        *sum = result;
        return 0;
}

int amount_subtract(struct credit_amount *sum, const struct credit_amount *less) {
        struct credit_amount result;

        if (__builtin_sub_overflow(sum->pinned, less->pinned, &result.pinned) ||
            __builtin_sub_overflow(sum->odp, less->odp, &result.odp) ||
            __builtin_sub_overflow(sum->registrations, less->registrations, &result.registrations))
                return -ERANGE;
        *sum = result;
        return 0;
}

static uint64_t minimum(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

struct credit_amount amount_minimum(const struct credit_amount *a, const struct credit_amount *b) {
        return (struct credit_amount) {
                minimum(a->pinned, b->pinned),
                minimum(a->odp, b->odp),
                minimum(a->registrations, b->registrations),
        };
}

static uint64_t rest(uint64_t a, uint64_t b) {
        return a > b ? a - b : 0;
}

struct credit_amount amount_rest(const struct credit_amount *a, const struct credit_amount *b) {
        return (struct credit_amount) {
                rest(a->pinned, b->pinned),
                rest(a->odp, b->odp),
                rest(a->registrations, b->registrations),
        };
}

bool amount_is_zero(const struct credit_amount *amount) {
        return amount->pinned == 0 && amount->odp == 0 && amount->registrations == 0;
}
