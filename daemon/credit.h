/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_CREDIT_H
#define PL_CREDIT_H

/*
 * What a session may use, and uses. A dma-buf counts as pinned: charged is who registers it, once for each registration, whoever
 * has allocated the memory, and wherever it lies. Charged before anything is allocated, refunded by whoever undoes it.
 *
 * A session has limits of its own, and below them it holds credit: a part of what its user may have in all, handed out by
 * pinleased in chunks. As long as that lasts, nobody is asked.
 */

#include <stdbool.h>

#include "amount.h"
#include "pinlease/types.h"
#include "refusal.h"

enum credit_kind {
        CREDIT_NONE = 0,
        CREDIT_PINNED = 1,
        CREDIT_ODP = 2,
        CREDIT_REGISTRATIONS = 3,
};

/* Whose limit it is. */
enum credit_whose {
        CREDIT_OF_USER = 0,
        CREDIT_OF_SESSION = 1,
        CREDIT_OF_ALL = 2,
};

/* What one more chunk is: what is asked for is rounded up to it, while there is that much. */
#define CREDIT_CHUNK ((struct credit_amount) { UINT64_C(16) << 20, UINT64_C(1) << 30, 256 })

/* What a session holds from its first moment. */
#define CREDIT_INITIAL ((struct credit_amount) { UINT64_C(1) << 20, UINT64_C(16) << 20, 16 })

struct credit;

/*
 * Gets more credit: at least `need`, else nothing. Returns 0 when credit->held has grown by at least that, REFUSED, or a
 * negative errno that ends the session.
 */
typedef int (*credit_ask_t)(void *userdata, const struct credit_amount *need, struct refusal *ret_refusal);

struct credit {
        struct credit_amount limits; /* of the session */
        struct credit_amount held;
        struct credit_amount used;
        credit_ask_t ask; /* NULL: what is held is all there will be */
        void *userdata;
};

/* Bytes that registering [address, address + length) uses up: whole pages of page_size. The range does not overflow. */
uint64_t credit_bytes(uint64_t address, uint64_t length, uint64_t page_size);

/* Returns 0; REFUSED with the limit, its value and the use; or a negative errno that ends the session. */
int credit_charge(struct credit *credit, enum pinlease_method method, uint64_t bytes, struct refusal *ret_refusal);

void credit_refund(struct credit *credit, enum pinlease_method method, uint64_t bytes);

/* Takes what is held, but not used, beyond one chunk out of the credit, for the caller to give back. To be called when the
 * session has been idle for a moment: an app that registers and deregisters large ranges in turn shall not ask each time.
 * Returns false if there is nothing. */
bool credit_take_surplus(struct credit *credit, struct credit_amount *ret_surplus);

/* Is nothing charged? Asserted at the end of a session. */
bool credit_is_zero(const struct credit *credit);

#endif
