/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "credit.h"

#include <assert.h>
#include <inttypes.h>

uint64_t credit_bytes(uint64_t address, uint64_t length, uint64_t page_size) {
        uint64_t first = address / page_size, last = (address + length - 1) / page_size;

        return (last - first + 1) * page_size;
}

/* What may be freed and moved under a registration, as far as the kernel is concerned, and what may not: few drivers let an
 * exporter move a dma-buf. */
static bool is_pinned(enum pinlease_method method) {
        return method != PINLEASE_METHOD_ODP;
}

static uint64_t *bytes_of(struct credit_amount *amount, enum pinlease_method method) {
        return is_pinned(method) ? &amount->pinned : &amount->odp;
}

/* How much of `more` is not covered by what is held. */
static uint64_t lacking(uint64_t held, uint64_t used, uint64_t more) {
        uint64_t unused = held > used ? held - used : 0;

        return more > unused ? more - unused : 0;
}

static int ensure_held(struct credit *credit, enum pinlease_method method, uint64_t bytes, struct refusal *ret_refusal) {
        struct credit_amount need = {
                .registrations = lacking(credit->held.registrations, credit->used.registrations, 1),
        };

        *bytes_of(&need, method) = lacking(*bytes_of(&credit->held, method), *bytes_of(&credit->used, method), bytes);
        if (amount_is_zero(&need))
                return 0;

        assert(credit->ask);
        return credit->ask(credit->userdata, &need, ret_refusal);
}

int credit_charge(struct credit *credit, enum pinlease_method method, uint64_t bytes, struct refusal *ret_refusal) {
        bool pinned = is_pinned(method);
        uint64_t limit = *bytes_of(&credit->limits, method);
        uint64_t *use = bytes_of(&credit->used, method);
        int r;

        if (credit->used.registrations >= credit->limits.registrations)
                return refuse(ret_refusal,
                              PINLEASE_CODE_REGISTRATION_LIMIT,
                              "This session has %" PRIu64 " registrations, its limit is %" PRIu64
                              ". Deregister some, or register larger ranges.",
                              credit->used.registrations,
                              credit->limits.registrations);

        if (bytes > limit || *use > limit - bytes)
                return refuse(ret_refusal,
                              pinned ? PINLEASE_CODE_PINNED_LIMIT : PINLEASE_CODE_ODP_LIMIT,
                              "%" PRIu64 " bytes asked for, %" PRIu64 " in use, but one session may %s %" PRIu64
                              " bytes at most. Deregister some%s, or have the administrator raise the limit.",
                              bytes,
                              *use,
                              pinned ? "pin" : "register by ODP",
                              limit,
                              method == PINLEASE_METHOD_PINNED ? ", accept ODP where the device has it" : "");

        r = ensure_held(credit, method, bytes, ret_refusal);
        if (r < 0)
                return r;

        *use += bytes;
        credit->used.registrations++;
        return 0;
}

void credit_refund(struct credit *credit, enum pinlease_method method, uint64_t bytes) {
        uint64_t *use = bytes_of(&credit->used, method);

        assert(*use >= bytes);
        assert(credit->used.registrations > 0);

        *use -= bytes;
        credit->used.registrations--;
}

bool credit_take_surplus(struct credit *credit, struct credit_amount *ret_surplus) {
        static const struct credit_amount chunk = CREDIT_CHUNK;
        const struct credit_amount unused = amount_rest(&credit->held, &credit->used);
        const struct credit_amount surplus = amount_rest(&unused, &chunk);

        if (amount_is_zero(&surplus))
                return false;
        (void)amount_subtract(&credit->held, &surplus);
        *ret_surplus = surplus;
        return true;
}

bool credit_is_zero(const struct credit *credit) {
        return amount_is_zero(&credit->used);
}
