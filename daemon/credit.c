/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "credit.h"

#include <assert.h>
#include <inttypes.h>

uint64_t credit_bytes(uint64_t address, uint64_t length, uint64_t page_size) {
        uint64_t first = address / page_size, last = (address + length - 1) / page_size;

        return (last - first + 1) * page_size;
}

static uint64_t *use_of(struct credit *credit, enum pinlease_method method) {
        return method == PINLEASE_METHOD_PINNED ? &credit->pinned : &credit->odp;
}

int credit_charge(struct credit *credit, enum pinlease_method method, uint64_t bytes, struct refusal *ret_refusal) {
        bool pinned = method == PINLEASE_METHOD_PINNED;
        uint64_t limit = pinned ? credit->limits.pinned : credit->limits.odp;
        uint64_t *use = use_of(credit, method);

        if (credit->registrations >= credit->limits.registrations)
                return refuse(ret_refusal,
                              PINLEASE_CODE_REGISTRATION_LIMIT,
                              "This session has %" PRIu32 " registrations, its limit is %" PRIu32
                              ". Deregister some, or register larger ranges.",
                              credit->registrations,
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
                              pinned ? ", accept ODP where the device has it" : "");

        *use += bytes;
        credit->registrations++;
        return 0;
}

void credit_refund(struct credit *credit, enum pinlease_method method, uint64_t bytes) {
        uint64_t *use = use_of(credit, method);

        assert(*use >= bytes);
        assert(credit->registrations > 0);

        *use -= bytes;
        credit->registrations--;
}

bool credit_is_zero(const struct credit *credit) {
        return credit->pinned == 0 && credit->odp == 0 && credit->registrations == 0;
}
