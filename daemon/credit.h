/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_CREDIT_H
#define PL_CREDIT_H

/* What a session may use, and uses. Charged before anything is allocated, refunded by whoever undoes it. */

#include "pinlease/types.h"
#include "refusal.h"

struct credit_limits {
        uint64_t pinned;        /* bytes */
        uint64_t odp;           /* bytes */
        uint32_t registrations;
};

struct credit {
        struct credit_limits limits;
        uint64_t pinned;
        uint64_t odp;
        uint32_t registrations;
};

/* Bytes that registering [address, address + length) uses up: whole pages of page_size. The range does not overflow. */
uint64_t credit_bytes(uint64_t address, uint64_t length, uint64_t page_size);

/* Returns 0 or REFUSED with the limit, its value and the use. */
int credit_charge(struct credit *credit, enum pinlease_method method, uint64_t bytes, struct refusal *ret_refusal);
void credit_refund(struct credit *credit, enum pinlease_method method, uint64_t bytes);

/* Is nothing charged? Asserted at the end of a session. */
bool credit_is_zero(const struct credit *credit);

#endif
