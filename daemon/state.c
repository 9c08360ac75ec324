/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "state.h"

#include "util.h"

/* How long a piece of work may take before the keeper thinks that it hangs: a base, and for every byte what faulting and
 * pinning cold memory costs on a slow machine. */
#define BUSY_BASE_MS     5000
#define BUSY_BYTE_PER_MS (32 * 1024)

void state_busy(struct registrar_state *state, uint64_t bytes) {
        ledger_busy(&state->ledger, BUSY_BASE_MS + bytes / BUSY_BYTE_PER_MS);
}

void state_idle(struct registrar_state *state) {
        ledger_busy(&state->ledger, 0);
}

void state_init(struct registrar_state *state,
                const struct uverbs_ops *uverbs,
                struct ledger *ledger,
                const struct credit_amount *limits) {
        *state = (struct registrar_state) {
                .uverbs = uverbs,
                .ledger = *ledger,
                .credit = { .limits = *limits, .held = *limits },
                .first_free = STATE_NO_SLOT,
                .pagemap = -1,
        };
        for (size_t i = 0; i < MAX_CONTEXTS; i++)
                state->contexts[i].device.fd = -1;

        *ledger = (struct ledger) { .fd = -1 };
}

int state_slot_get(struct registrar_state *state, uint32_t *ret_slot) {
        uint32_t n;
        struct registration *registrations;

        if (state->first_free != STATE_NO_SLOT) {
                *ret_slot = state->first_free;
                state->first_free = state->registrations[*ret_slot].next_free;
                return 0;
        }

        /* The credit's limit on registrations is not larger than the ledger. */
        n = state->n_registrations ? state->n_registrations * 2 : 16;
        if (n > state->ledger.header->capacity)
                n = state->ledger.header->capacity;
        if (n <= state->n_registrations)
                return -ENOSPC;

        registrations = realloc(state->registrations, n * sizeof *registrations);
        if (!registrations)
                return -ENOMEM;
        state->registrations = registrations;
        for (uint32_t i = n; i-- > state->n_registrations;) {
                registrations[i] = (struct registration) { .next_free = state->first_free };
                state->first_free = i;
        }
        state->n_registrations = n;
        return state_slot_get(state, ret_slot);
}

void state_slot_put(struct registrar_state *state, uint32_t slot) {
        state->registrations[slot] = (struct registration) { .next_free = state->first_free };
        state->first_free = slot;
}

int state_find(const struct registrar_state *state, uint64_t id, uint32_t *ret_slot) {
        uint32_t slot = (uint32_t)id;

        if (id == 0 || slot >= state->n_registrations || state->registrations[slot].id != id ||
            !registration_is_there(state->registrations + slot))
                return -ENOENT;
        *ret_slot = slot;
        return 0;
}

uint64_t state_next_id(struct registrar_state *state, uint32_t slot) {
        if (++state->generation == 0)
                state->generation = 1;
        return (uint64_t)state->generation << 32 | slot;
}
