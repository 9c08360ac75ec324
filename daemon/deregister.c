/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdlib.h>

#include "grant.h"
#include "mr.h"
#include "request.h"

static void forget(struct registrar_state *state, uint32_t slot) {
        struct registration *registration = state->registrations + slot;
        struct ledger_entry *entry = state->ledger.entries + slot;

        ledger_free(entry);
        stats_deregistered(&state->ledger.header->stats, entry->record.method, registration->charged);
        registration->mapping = mapping_put(&state->mappings, registration->mapping);
        if (entry->record.backing == PINLEASE_BACKING_ANON)
                grant_refund(state, slot);
        else
                credit_refund(&state->credit, entry->record.method, registration->charged);
        if (registration->file)
                registration->file = guards_put(state->guards, registration->file);
        if (state->gone && state->gone(state->gone_userdata, slot))
                registration->flags |= REGISTRATION_GONE;
        else
                state_slot_put(state, slot);
}

static int refuse_kept(struct refusal *ret_refusal) {
        return refuse(ret_refusal,
                      PINLEASE_CODE_BUSY,
                      "The kernel keeps the memory region: a memory window is bound to it, or other calls work on it without "
                      "end. Deallocate the window, and try again.");
}

/* The app may have deregistered the MR by itself, and its own next one then got the handle: that one is left alone. */
static int retire(struct registrar_state *state, uint32_t slot, struct force *force) {
        struct ledger_entry *entry = state->ledger.entries + slot;
        const struct uverbs_device *device = &state->contexts[entry->record.context].device;
        enum mr_outcome outcome;

        if (state->registrations[slot].flags & REGISTRATION_OPEN) {
                grant_drop(state, slot);
                return 0;
        }
        state_busy(state, entry->record.length);
        ledger_retiring(entry);
        if (force)
                force->may_kill = state->registrations[slot].terms.kill;
        outcome = force ? force_mr(force, device, &entry->record, &entry->response)
                        : mr_destroy(state->uverbs, device, &entry->record, &entry->response);
        if (outcome == MR_KEPT) {
                if (state->registrations[slot].flags & REGISTRATION_REVOKING)
                        ledger_revoking(entry);
                else
                        ledger_live(entry);
                return -EBUSY;
        }
        forget(state, slot);
        return 0;
}

static int deregister(struct registrar_state *state, uint32_t slot, struct refusal *ret_refusal) {
        return retire(state, slot, NULL) < 0 ? refuse_kept(ret_refusal) : 0;
}

int request_force(struct registrar_state *state, uint32_t slot, struct force *force) {
        return retire(state, slot, force);
}

int request_deregister(struct registrar_state *state, uint64_t id, struct refusal *ret_refusal) {
        uint32_t slot;

        if (state_find(state, id, &slot) < 0)
                return refuse(ret_refusal,
                              PINLEASE_CODE_NO_SUCH_REGISTRATION,
                              "Registration %" PRIu64 " does not exist in this session.",
                              id);
        return deregister(state, slot, ret_refusal);
}

int request_deregister_all(struct registrar_state *state, uint32_t context, struct refusal *ret_refusal) {
        for (uint32_t i = 0; i < state->n_registrations; i++) {
                int r;

                if (!registration_is_there(state->registrations + i) || state->ledger.entries[i].record.context != context)
                        continue;
                r = deregister(state, i, ret_refusal);
                if (r < 0)
                        return r;
        }
        return 0;
}

unsigned int state_done(struct registrar_state *state) {
        struct force force = { .uverbs = state->uverbs };
        unsigned int left = 0;

        for (uint32_t i = 0; i < state->n_registrations; i++) {
                if (!registration_is_there(state->registrations + i))
                        continue;
                if (retire(state, i, &force) < 0)
                        left++;
        }
        force_end(&force);

        for (size_t i = 0; i < MAX_CONTEXTS; i++)
                state->contexts[i].device.fd = pl_close(state->contexts[i].device.fd);
        state->pagemap = pl_close(state->pagemap);
        free(state->registrations);
        ledger_done(&state->ledger);
        return left;
}
