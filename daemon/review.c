/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "review.h"

#include "grant.h"
#include "policy-share.h"
#include "question.h"

/* When a revocation that could not be begun is tried again. */
#define AGAIN_MS 20

int review_take(struct review *review, int fd) {
        const struct policy_block *block;
        int r;

        r = policy_map(fd, &block);
        if (r < 0)
                return r;
        policy_unmap(review->next);
        review->next = block;
        return 0;
}

/* What is asked for and does not hold. A reader goes again, and a change is dealt with by itself: no reason to take anything back. */
static bool lacks(const struct guarded *file, uint32_t wanted) {
        uint32_t missing;

        if (!file)
                return wanted;
        missing = wanted & ~pl_guards_held(file->guards);
        for (unsigned int i = 0; i < N_GUARDS; i++) {
                enum pinlease_guard_reason reason = pl_guard_reason(file->guards, i);

                if (missing & 1U << i && reason != PINLEASE_GUARD_READER && reason != PINLEASE_GUARD_CHANGING)
                        return true;
        }
        return false;
}

static struct terms ask_again(const struct registrar_state *state, uint32_t slot) {
        const struct registration *registration = state->registrations + slot;
        const struct ledger_record *record = &state->ledger.entries[slot].record;
        const struct guarded *file = registration->file;
        struct terms refused = registration->terms;
        struct policy_decision decision;
        struct refusal refusal;
        const struct question_of of = {
                .context = state->contexts + record->context,
                .class = file ? &file->class : &grant_class,
                .fd = file ? file->fd : -1,
                .name = record->name,
                .backing = (enum pinlease_backing)record->backing,
                .access = record->access,
                .length = record->length,
                .accepted = record->method,
        };

        refused.refused = true;
        if (question_ask(state, &of, &decision, &refusal) < 0)
                return refused;
        if (lacks(file, decision.rule->guards))
                return refused;
        return question_terms(decision.rule, (enum pinlease_method)record->method);
}

/* Returns how many are refused now; *ret_grace_ms: the longest time that one of them was promised. */
static uint32_t ask_for_all(struct registrar_state *state, uint32_t *ret_grace_ms) {
        uint32_t n = 0;

        *ret_grace_ms = 0;
        for (uint32_t i = 0; i < state->n_registrations; i++) {
                struct registration *registration = state->registrations + i;

                /* Private memory has no file, and no guards. */
                if (!registration_is_there(registration) ||
                    (!registration->file && state->ledger.entries[i].record.backing != PINLEASE_BACKING_ANON))
                        continue;
                registration->terms = ask_again(state, i);
                state->ledger.entries[i].record.flags = registration->terms.kill ? LEDGER_MAY_KILL : 0;
                if (!registration->terms.refused)
                        continue;
                n++;
                if (registration->terms.grace_ms > *ret_grace_ms)
                        *ret_grace_ms = registration->terms.grace_ms;
        }
        return n;
}

uint32_t review_work(struct review *review, struct registrar_state *state, struct revoker *revoker) {
        struct revocation_order order = {
                .reason = PL_REVOKED_BY_POLICY,
                .selector = CONTROL_SELECT_ALL,
                .here = true,
                .only_refused = true,
        };
        uint32_t n;

        if (review->next) {
                policy_unmap(state->policy);
                state->policy = review->next;
                review->next = NULL;
                review->due = true;
        }
        if (!review->due)
                return 0;

        n = ask_for_all(state, &order.grace_ms);
        review->due = n > 0 && revoker_begin(revoker, &order) < 0;
        return review->due ? 0 : n;
}

uint64_t review_due(const struct review *review) {
        return review->next ? 1 : review->due ? pl_now_ms() + AGAIN_MS : 0;
}

void review_done(struct review *review) {
        review->next = policy_unmap(review->next);
}
