/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "grant.h"

#include <assert.h>
#include <fcntl.h>
#include <infiniband/verbs.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backing.h"
#include "prefetch.h"
#include "question.h"

/* How long the app has to register. What it costs there grows with the range, and is far below this for what one
 * session may have. */
#define LAPSE_MS 30000

/* Another call of the app is on the handle at the instant in which the registrar asks: it passes. */
#define BUSY_TRIES 100
#define BUSY_SLEEP_NS 200000

/* Whatever lies at an address, as far as a range and an access can be wrong in themselves. */
const struct pl_fdclass grant_class = {
        .kind = PL_FD_OTHER,
        .flags = O_RDWR,
        .page_size = 4096,
        .size = INT64_MAX,
};

static int check_request(const struct registrar_state *state,
                         const struct pl_grant *request,
                         struct refusal *ret_refusal) {
        const struct pl_register range = {
                .offset = request->address,
                .address = request->address,
                .length = request->length,
                .access = request->access,
        };

        if (request->context >= MAX_CONTEXTS || state->contexts[request->context].device.fd < 0)
                return refuse(ret_refusal,
                              PINLEASE_CODE_NO_SUCH_CONTEXT,
                              "Verbs context %" PRIu32 " is not attached to this session. Attach it first.",
                              request->context);
        return backing_check(&grant_class, &range, ret_refusal);
}

static int decide(const struct registrar_state *state,
                  const struct pl_grant *request,
                  struct policy_decision *ret_decision,
                  struct refusal *ret_refusal) {
        int r;

        r = question_ask(state,
                         &(struct question_of) {
                                 .context = state->contexts + request->context,
                                 .class = &grant_class,
                                 .fd = -1,
                                 .backing = PINLEASE_BACKING_ANON,
                                 .access = request->access,
                                 .length = request->length,
                                 .accepted = request->methods,
                         },
                         ret_decision,
                         ret_refusal);
        if (r < 0)
                return r;

        if (request->guards | ret_decision->rule->guards)
                return refuse_rule(ret_refusal,
                                   PINLEASE_CODE_NO_GUARD,
                                   policy_text(state->policy, ret_decision->rule->name),
                                   "The registration is wanted only with guards (0x%x), and private memory has none: "
                                   "there is no file "
                                   "that could change. Do without them, or use a memfd.",
                                   request->guards | ret_decision->rule->guards);
        return 0;
}

static int refuse_raise(uint64_t bytes, int error, struct refusal *ret_refusal) {
        if (error == -EACCES)
                return refuse(ret_refusal,
                              PINLEASE_CODE_ANON_PIN,
                              "No rule of the policy has private memory pinned any more. Accept ODP where the device has it, "
                              "or use a memfd, tmpfs or huge pages, which may be pinned.");
        return refuse_errno(ret_refusal,
                            PINLEASE_CODE_KERNEL,
                            error,
                            "The service could not raise the process's limit of locked memory by %" PRIu64
                            " bytes for the pin (%s). Accept ODP where the device has it, or use a memfd, tmpfs or huge "
                            "pages, which may be pinned.",
                            bytes,
                            strerror(-error));
}

/* A pin is one by the app itself, within its own limit of locked memory, which is raised for it. It is counted from before the
 * keeper is asked: while that is waited for, the limit is lowered to what is counted. */
static int charge_private(struct registrar_state *state, uint64_t bytes, struct refusal *ret_refusal) {
        int r = 0, error = -EOPNOTSUPP;

        state->private_pinned += bytes;
        if (state->raise)
                r = state->raise(state->raise_userdata, state->private_pinned, &error);
        if (r == 0 && error < 0)
                r = refuse_raise(bytes, error, ret_refusal);
        if (r < 0)
                state->private_pinned -= bytes;
        return r;
}

static void refund(struct registrar_state *state, enum pinlease_method method, uint64_t bytes) {
        credit_refund(&state->credit, method, bytes);
        if (method == PINLEASE_METHOD_PINNED)
                state->private_pinned -= bytes;
}

void grant_refund(struct registrar_state *state, uint32_t slot) {
        const struct ledger_record *record = &state->ledger.entries[slot].record;

        refund(state, (enum pinlease_method)record->method, state->registrations[slot].charged);
}

static int charge(struct registrar_state *state,
                  enum pinlease_method method,
                  uint64_t bytes,
                  uint32_t *ret_slot,
                  struct refusal *ret_refusal) {
        int r;

        if (state->n_grants == ELEMENTSOF(state->grants))
                return refuse(ret_refusal,
                              PINLEASE_CODE_REGISTRATION_LIMIT,
                              "This session has %u grants that are not committed, and may have no more. Commit them, "
                              "or give them back.",
                              state->n_grants);

        r = credit_charge(&state->credit, method, bytes, ret_refusal);
        if (r < 0)
                return r;
        if (method == PINLEASE_METHOD_PINNED)
                r = charge_private(state, bytes, ret_refusal);
        if (r < 0) {
                credit_refund(&state->credit, method, bytes);
                return r;
        }
        r = state_slot_get(state, ret_slot);
        if (r == 0)
                return 0;
        refund(state, method, bytes);
        return refuse_errno(ret_refusal,
                            PINLEASE_CODE_KERNEL,
                            r,
                            "The service has no memory for one more registration (%s). Deregister some, or try again.",
                            strerror(-r));
}

static void open_grant(struct registrar_state *state,
                       const struct pl_grant *request,
                       const struct policy_rule *rule,
                       enum pinlease_method method,
                       uint32_t slot) {
        bool odp = method == PINLEASE_METHOD_ODP;
        const struct ledger_record record = {
                .id = state_next_id(state, slot),
                .start = request->address,
                .iova = request->address,
                .length = request->length,
                .owner = state->subject.uid,
                .context = request->context,
                .pd = request->pd,
                .access = request->access | (odp ? (uint32_t)IBV_ACCESS_ON_DEMAND : 0U),
                .method = (uint16_t)method,
                .backing = PINLEASE_BACKING_ANON,
                .created_ms = pl_boottime_ms(),
                .bytes = credit_bytes(request->address, request->length, grant_class.page_size),
                .flags = rule->force == POLICY_FORCE_KILL ? LEDGER_MAY_KILL : 0,
        };

        (void)ledger_intent(&state->ledger, slot, &record);
        state->registrations[slot] = (struct registration) {
                .id = record.id,
                .charged = record.bytes,
                .terms = question_terms(rule, method),
                .flags = REGISTRATION_OPEN,
        };
        state->grants[state->n_grants++] = (struct open_grant) {
                .slot = slot,
                .deadline = pl_now_ms() + LAPSE_MS,
                .prefetch = odp && rule->prefetch,
        };
}

int grant_make(struct registrar_state *state,
               const struct pl_grant *request,
               struct pl_grant_reply *ret_reply,
               struct refusal *ret_refusal) {
        struct policy_decision decision;
        enum pinlease_method method;
        uint32_t slot;
        int r;

        r = check_request(state, request, ret_refusal);
        if (r == 0)
                r = decide(state, request, &decision, ret_refusal);
        if (r < 0)
                return r;
        /* If the device cannot do it after all, the app finds out, and may ask for another. */
        method = decision.methods[0];
        r = charge(state,
                   method,
                   credit_bytes(request->address, request->length, grant_class.page_size),
                   &slot,
                   ret_refusal);
        if (r < 0)
                return r;

        open_grant(state, request, decision.rule, method, slot);
        *ret_reply = (struct pl_grant_reply) {
                .id = state->registrations[slot].id,
                .iova = request->address,
                .method = method,
                .lapse_ms = LAPSE_MS,
        };
        return 0;
}

/* It is open no more. Returns what it was. */
static struct open_grant close_grant(struct registrar_state *state, uint32_t slot) {
        struct open_grant grant;
        unsigned int i = 0;

        while (i < state->n_grants && state->grants[i].slot != slot)
                i++;
        assert(i < state->n_grants);
        grant = state->grants[i];
        state->grants[i] = state->grants[--state->n_grants];
        state->registrations[slot].flags &= (uint8_t)~REGISTRATION_OPEN;
        return grant;
}

void grant_drop(struct registrar_state *state, uint32_t slot) {
        (void)close_grant(state, slot);
        ledger_free(state->ledger.entries + slot);
        grant_refund(state, slot);
        state_slot_put(state, slot);
}

void grant_lapse(struct registrar_state *state, uint64_t now) {
        for (unsigned int i = state->n_grants; i-- > 0;)
                if (state->grants[i].deadline <= now)
                        grant_drop(state, state->grants[i].slot);
}

uint64_t grant_due(const struct registrar_state *state) {
        uint64_t due = 0;

        for (unsigned int i = 0; i < state->n_grants; i++)
                due = pl_earlier(due, state->grants[i].deadline);
        return due;
}

/* --- commit --- */

static bool is_taken(const struct registrar_state *state, uint32_t context, uint32_t handle) {
        for (uint32_t i = 0; i < state->n_registrations; i++)
                if (registration_is_there(state->registrations + i) &&
                    state->ledger.entries[i].record.context == context &&
                    state->ledger.entries[i].response.handle == handle)
                        return true;
        return false;
}

static int query(const struct registrar_state *state,
                 const struct uverbs_device *device,
                 uint32_t handle,
                 struct uverbs_mr_info *ret_info) {
        int r;

        for (unsigned int i = 1;; i++) {
                r = state->uverbs->query_mr(device, handle, ret_info);
                if (r != -EBUSY || i == BUSY_TRIES)
                        return r;
                (void)nanosleep(&(struct timespec) { .tv_nsec = BUSY_SLEEP_NS }, NULL);
        }
}

/* Is the memory region what was granted? What QUERY_MR does not tell (access, method, PD) is the app's word. */
static int check_mr(const struct registrar_state *state,
                    const struct ledger_record *record,
                    const struct pl_grant_commit *commit,
                    struct refusal *ret_refusal) {
        struct uverbs_mr_info info;
        int r;

        /* The ledger's word for "none", which the kernel never gives. */
        if (commit->handle == LEDGER_NO_HANDLE || is_taken(state, record->context, commit->handle))
                return refuse(ret_refusal,
                              PINLEASE_CODE_GRANT_MISMATCH,
                              "Memory region %" PRIu32 " of this verbs context is another registration's already.",
                              commit->handle);

        r = query(state, &state->contexts[record->context].device, commit->handle, &info);
        if (r == -EBUSY)
                return refuse(ret_refusal,
                              PINLEASE_CODE_BUSY,
                              "Other calls work on memory region %" PRIu32
                              " without end. The grant is still there: try again.",
                              commit->handle);
        if (r < 0)
                return refuse(ret_refusal,
                              PINLEASE_CODE_GRANT_MISMATCH,
                              "The kernel does not know memory region %" PRIu32
                              " of this verbs context (%s). Register on the "
                              "context and the protection domain that the grant was asked for.",
                              commit->handle,
                              strerror(-r));
        if (info.lkey != commit->lkey || info.rkey != commit->rkey || info.length != record->length ||
            info.iova != record->iova)
                return refuse(ret_refusal,
                              PINLEASE_CODE_GRANT_MISMATCH,
                              "Memory region %" PRIu32 " is not what was granted: it has %" PRIu64
                              " bytes at iova 0x%" PRIx64 ", and %" PRIu64 " at 0x%" PRIx64
                              " were; or its keys are others.",
                              commit->handle,
                              info.length,
                              info.iova,
                              record->length,
                              record->iova);
        return 0;
}

static uint32_t no_guards(void) {
        uint32_t guards = 0;

        for (unsigned int i = 0; i < PL_N_GUARDS; i++)
                guards = pl_guards_set(guards, i, PINLEASE_GUARD_NOT_FOR_THIS);
        return guards;
}

int grant_commit(struct registrar_state *state,
                 const struct pl_grant_commit *commit,
                 struct pl_grant_commit_reply *ret_reply,
                 struct refusal *ret_refusal) {
        const struct uverbs_mr_keys keys = { .handle = commit->handle, .lkey = commit->lkey, .rkey = commit->rkey };
        const struct ledger_record *record;
        struct ledger_entry *entry;
        struct open_grant grant;
        uint32_t slot;
        int r;

        if (state_find(state, commit->id, &slot) < 0 || !(state->registrations[slot].flags & REGISTRATION_OPEN))
                return refuse(ret_refusal,
                              PINLEASE_CODE_NO_SUCH_GRANT,
                              "There is no open grant %" PRIu64
                              " in this session: it has lapsed, was given or taken back, or has been "
                              "committed. Deregister what was registered for it, and ask again.",
                              commit->id);

        entry = state->ledger.entries + slot;
        record = &entry->record;
        r = check_mr(state, record, commit, ret_refusal);
        if (r < 0) {
                if (ret_refusal->code != PINLEASE_CODE_BUSY)
                        grant_drop(state, slot);
                return r;
        }

        grant = close_grant(state, slot);
        ledger_guards(entry, no_guards());
        ledger_keys(entry, &keys);
        ledger_live(entry);
        stats_registered(&state->ledger.header->stats,
                         (enum pinlease_method)record->method,
                         state->registrations[slot].charged);
        if (grant.prefetch)
                (void)prefetch(state, record, &keys, -1);
        *ret_reply = (struct pl_grant_commit_reply) { .backing = PINLEASE_BACKING_ANON, .guards = no_guards() };
        return 0;
}
