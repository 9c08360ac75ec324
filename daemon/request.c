/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request.h"

#include <infiniband/verbs.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backing.h"
#include "dmabuf-mr.h"
#include "prefetch.h"
#include "question.h"
#include "residency.h"
#include "verify.h"

static int refuse_pd(uint32_t pd, struct refusal *ret_refusal) {
        return refuse(ret_refusal,
                      PINLEASE_CODE_NO_SUCH_PD,
                      "Protection domain %" PRIu32 " does not exist on this verbs context. Pass a PD that was allocated on the "
                      "attached context.",
                      pd);
}

static int explain_kernel(const struct ledger_record *record,
                          const struct credit *credit,
                          int error,
                          struct refusal *ret_refusal) {
        const char *method = pl_method_name(record->method), *backing = pl_backing_name(record->backing);

        if (error == -ENOENT)
                return refuse_pd(record->pd, ret_refusal);
        if (record->method == PINLEASE_METHOD_DMABUF)
                return dmabuf_explain(record, error, ret_refusal);
        switch (-error) {
        case ENOMEM:
                if (record->method == PINLEASE_METHOD_PINNED)
                        return refuse(ret_refusal,
                                      PINLEASE_CODE_PINNED_LIMIT,
                                      "The kernel refused to pin %" PRIu64 " bytes (ENOMEM): either memory is short, or the "
                                      "session's pin ceiling of %" PRIu64 " bytes is reached.",
                                      record->length,
                                      credit->limits.pinned);
                break;
        case EFAULT:
                if (record->method == PINLEASE_METHOD_PINNED && !backing_access_writable(record->access))
                        return refuse_errno(ret_refusal,
                                            PINLEASE_CODE_KERNEL,
                                            error,
                                            "The kernel refused to pin %" PRIu64 " bytes of %s memory for reading (EFAULT). Before "
                                            "Linux 6.2 it pins all memory as if it were written to: %s.",
                                            record->length,
                                            backing,
                                            policy_kernel_forbids((enum pinlease_backing)record->backing, true) &
                                                            PINLEASE_METHOD_PINNED ?
                                                    "which is not done to ordinary files; use a memfd" :
                                                    "pass a descriptor that is open for writing as well, and not sealed "
                                                    "against it");
                break;
        default:
                break;
        }

        return refuse_errno(ret_refusal,
                            PINLEASE_CODE_KERNEL,
                            error,
                            "The kernel refused to register %" PRIu64 " bytes of %s memory (%s, access 0x%x): %s. See what "
                            "access and length the device supports (ibv_devinfo -v), and the kernel log.",
                            record->length,
                            backing,
                            method,
                            record->access,
                            strerror(-error));
}

/* A registration in the making: what is asked for, and what has been done so far. */
struct attempt {
        struct registrar_state *state;
        const struct pl_register *request;
        const struct pl_fdclass *class;
        int fd;
        const struct policy_rule *rule;
        enum pinlease_method method;

        uint32_t slot;
        uint64_t charged;
        struct mapping *mapping;
        struct guarded *file; /* whoever runs it holds it */
        struct ledger_record record;
        struct ledger_entry *entry;
        int kernel_error; /* what the ioctl said */
        bool for_writing; /* it is mapped so, whatever the access */
};

static void attempt_undo(struct attempt *attempt) {
        struct registrar_state *state = attempt->state;

        if (attempt->entry)
                ledger_free(attempt->entry);
        (void)mapping_put(&state->mappings, attempt->mapping);
        if (attempt->slot != STATE_NO_SLOT)
                state_slot_put(state, attempt->slot);
        if (attempt->charged)
                credit_refund(&state->credit, attempt->method, attempt->charged);
}

static int check_residency(const struct attempt *attempt, struct refusal *ret_refusal) {
        const struct ledger_record *record = &attempt->record;
        int r;

        /* ODP allocates nothing now, and for huge pages there is no answer: they are reserved, not charged to whoever
         * faults them first. The memory of a device is there. */
        if (record->method != PINLEASE_METHOD_PINNED || record->backing == PINLEASE_BACKING_HUGETLB ||
            record->backing == PINLEASE_BACKING_DEVDAX)
                return 0;

        r = residency_check(attempt->fd, record->offset, record->start, record->length);
        if (r < 0)
                return refuse_errno(ret_refusal,
                                    PINLEASE_CODE_NOT_RESIDENT,
                                    r,
                                    "Which pages of the range are in memory could not be found out (%s), so they are not pinned. "
                                    "Pass a descriptor that is open for writing, or accept ODP.",
                                    strerror(-r));
        if (r == 0)
                return refuse(ret_refusal,
                              PINLEASE_CODE_NOT_RESIDENT,
                              "Some pages of the range are not in memory; pinning them would allocate them at the service's "
                              "expense. Touch them first (MADV_POPULATE_WRITE), as the library does.");
        return 0;
}

static int attempt_charge(struct attempt *attempt, struct refusal *ret_refusal) {
        const struct pl_register *request = attempt->request;
        uint64_t bytes = credit_bytes(request->address, request->length, attempt->class->page_size);
        int r;

        r = credit_charge(&attempt->state->credit, attempt->method, bytes, ret_refusal);
        if (r < 0)
                return r;
        attempt->charged = bytes;

        r = state_slot_get(attempt->state, &attempt->slot);
        if (r < 0)
                return refuse_errno(ret_refusal, PINLEASE_CODE_KERNEL, r, "The service has no memory for one more registration (%s). Deregister some, or try again.", strerror(-r));
        return 0;
}

static int attempt_map(struct attempt *attempt, struct refusal *ret_refusal) {
        const struct pl_register *request = attempt->request;
        int r;

        if (attempt->method == PINLEASE_METHOD_DMABUF)
                return 0;
        r = mapping_get(&attempt->state->mappings,
                        &(struct mapping_request) {
                                .class = attempt->class,
                                .fd = attempt->fd,
                                .offset = request->offset,
                                .length = request->length,
                                .address = request->address,
                                .writable = attempt->for_writing || backing_access_writable(request->access),
                                .exact_address = attempt->method == PINLEASE_METHOD_ODP,
                        },
                        &attempt->mapping,
                        &attempt->record.start);
        if (r < 0)
                return refuse_errno(ret_refusal, PINLEASE_CODE_NO_MAP, r, "The service could not map the file: %s. Register fewer or larger ranges, or check that the file can be mapped "
                            "shared.", strerror(-r));
        memcpy(attempt->record.name, mapping_name(attempt->mapping), sizeof attempt->record.name);
        return check_residency(attempt, ret_refusal);
}

_Static_assert(MAPPING_NAME_MAX == LEDGER_NAME_MAX, "a name is copied whole");

static int attempt_ask_kernel(struct attempt *attempt) {
        struct registrar_state *state = attempt->state;
        const struct ledger_record *record = &attempt->record;
        const struct uverbs_device *device = &state->contexts[record->context].device;

        if (attempt->method == PINLEASE_METHOD_DMABUF)
                return state->uverbs->reg_dmabuf_mr(device,
                                                    record->pd,
                                                    &(const struct uverbs_dmabuf) {
                                                            .fd = attempt->fd,
                                                            .offset = record->offset,
                                                            .length = record->length,
                                                            .iova = record->iova,
                                                    },
                                                    record->access,
                                                    &state->ledger.header->command,
                                                    &attempt->entry->response);
        return state->uverbs->reg_mr(device,
                                     record->pd,
                                     record->start,
                                     record->length,
                                     record->iova,
                                     record->access,
                                     &attempt->entry->response);
}

static int attempt_register(struct attempt *attempt, struct refusal *ret_refusal) {
        struct registrar_state *state = attempt->state;
        struct ledger_record *record = &attempt->record;

        record->created_ms = pl_boottime_ms();
        record->bytes = attempt->charged;

        /* The device finds pinned pages by its own table, so any iova does; rxe finds ODP pages by iova, so only their
         * address here does. */
        record->iova = attempt->method == PINLEASE_METHOD_ODP ? record->start : attempt->request->address;
        record->id = state_next_id(state, attempt->slot);
        attempt->entry = ledger_intent(&state->ledger, attempt->slot, record);

        state_busy(state, record->length);
        attempt->kernel_error = attempt_ask_kernel(attempt);
        if (attempt->kernel_error < 0)
                return explain_kernel(record, &state->credit, attempt->kernel_error, ret_refusal);
        if (attempt->file)
                ledger_guards(attempt->entry, attempt->file->guards);
        ledger_live(attempt->entry);
        stats_registered(&state->ledger.header->stats, attempt->method, attempt->charged);

        state->registrations[attempt->slot] = (struct registration) {
                .id = record->id,
                .mapping = attempt->mapping,
                .file = attempt->file ? guards_ref(attempt->file) : NULL,
                .charged = attempt->charged,
                .terms = question_terms(attempt->rule, attempt->method),
        };
        return 0;
}

/*
 * Before Linux 6.2 ("RDMA/umem: remove FOLL_FORCE usage") all is pinned as if it were written to, for which a shared mapping has to
 * be writable: EFAULT if it is not. Where the app may write to the memory, and it may be pinned for that, it is mapped so. The MR stays
 * read-only.
 */
static int attempt_again_for_writing(struct attempt *attempt, int error, struct refusal *ret_refusal) {
        int r;

        if (attempt->kernel_error != -EFAULT || attempt->method != PINLEASE_METHOD_PINNED ||
            backing_access_writable(attempt->request->access) || !backing_may_write(attempt->class) ||
            (policy_kernel_forbids((enum pinlease_backing)attempt->record.backing, true) & PINLEASE_METHOD_PINNED))
                return error;

        ledger_free(attempt->entry);
        attempt->entry = NULL;
        attempt->mapping = mapping_put(&attempt->state->mappings, attempt->mapping);
        attempt->for_writing = true;
        r = attempt_map(attempt, ret_refusal);
        return r < 0 ? r : attempt_register(attempt, ret_refusal);
}

static struct verify second_look(const struct attempt *attempt) {
        return (struct verify) {
                .fd = attempt->fd,
                .class = attempt->class,
                .request = attempt->request,
                .pinned_at = attempt->method == PINLEASE_METHOD_PINNED ? attempt->record.start : 0,
                .pagemap = attempt->state->pagemap,
        };
}

/*
 * What was identified at the beginning may have been changed since. The file's guards have been armed before, but they compare
 * what there is: they do not tell a page that has gone and come again.
 *
 * An MR that the kernel then keeps is one that the app would never learn of: the session ends.
 */
static int attempt_verify(struct attempt *attempt, struct refusal *ret_refusal) {
        const struct verify look = second_look(attempt);
        struct refusal ignored;
        int r;

        r = verify_registered(&look, ret_refusal);
        if (r < 0 && request_deregister(attempt->state, attempt->record.id, &ignored) < 0)
                return -EBUSY;
        return r;
}

static int refuse_changing(struct refusal *ret_refusal) {
        return refuse(ret_refusal,
                      PINLEASE_CODE_CHANGING,
                      "The file is just being changed, and what is registered of it is being given back. Register it when it "
                      "has settled; that is a second, or the grace time.");
}

static int attempt_prepare(struct attempt *attempt, struct refusal *ret_refusal) {
        const struct verify look = second_look(attempt);
        int r;

        r = attempt_charge(attempt, ret_refusal);
        if (r < 0)
                return r;
        /* Credit may have been waited for, and another session's change of the file have come meanwhile. */
        if (attempt->file && attempt->file->change.state != GUARDED_QUIET)
                return refuse_changing(ret_refusal);
        r = attempt_map(attempt, ret_refusal);
        if (r == 0)
                r = attempt_register(attempt, ret_refusal);
        if (r < 0)
                r = attempt_again_for_writing(attempt, r, ret_refusal);
        if (r == REFUSED)
                verify_explain(&look, ret_refusal);
        return r;
}

static int attempt_run(struct attempt *attempt, struct pl_register_reply *ret_reply, struct refusal *ret_refusal) {
        const struct ledger_record *record = &attempt->record;
        const struct uverbs_mr_keys *keys;
        bool prefetched = false;
        int r;

        r = attempt_prepare(attempt, ret_refusal);
        if (r < 0) {
                attempt_undo(attempt);
                return r;
        }

        r = attempt_verify(attempt, ret_refusal);
        if (r < 0)
                return r;

        keys = &attempt->entry->response;
        if (attempt->method == PINLEASE_METHOD_ODP &&
            (attempt->rule->prefetch || attempt->request->flags & PINLEASE_FLAG_PREFETCH))
                prefetched = prefetch(attempt->state, record, keys, attempt->fd);
        *ret_reply = (struct pl_register_reply) {
                .id = record->id,
                .iova = record->iova,
                .length = record->length,
                .lkey = keys->lkey,
                .rkey = keys->rkey,
                .handle = keys->handle,
                .method = record->method,
                .backing = record->backing,
                .flags = prefetched ? PINLEASE_FLAG_PREFETCH : 0,
                .guards = attempt->file ? attempt->file->guards : 0,
        };
        return 0;
}

static int refuse_guard(const struct guarded *file, unsigned int missing, struct refusal *ret_refusal) {
        unsigned int index = (unsigned int)__builtin_ctz(missing);

        return refuse(ret_refusal,
                      PINLEASE_CODE_NO_GUARD,
                      "The registration is wanted only with the guard \"%s\", which cannot be had: %s. Do without it, or see "
                      "pinlease.h for what it needs.",
                      pl_guard_name(1U << index),
                      pl_guard_reason_name(pl_guard_reason(file->guards, index)));
}

/* The file's guards are armed before anything is registered: what happens from now on is heard of. */
static int guard(struct registrar_state *state,
                 uint32_t wanted,
                 int fd,
                 const struct pl_fdclass *class,
                 struct guarded **ret_file,
                 struct refusal *ret_refusal) {
        struct guarded *file;
        unsigned int missing;
        int r;

        *ret_file = NULL;
        if (!state->guards)
                return 0;
        r = guards_get(state->guards, fd, class, &file);
        if (r < 0)
                return r;

        missing = wanted & ~pl_guards_held(file->guards);
        if (file->change.state != GUARDED_QUIET)
                r = refuse_changing(ret_refusal);
        else if (missing)
                r = refuse_guard(file, missing, ret_refusal);
        if (r < 0)
                (void)guards_put(state->guards, file);
        else
                *ret_file = file;
        return r;
}

/* What the memory is, whether the range and the access are right for it, and what has to be known of a dma-buf. */
static int identify(struct registrar_state *state,
                    const struct pl_register *request,
                    int fd,
                    const struct pl_fdclass *class,
                    enum pinlease_backing *ret_backing,
                    char ret_name[LEDGER_NAME_MAX],
                    struct refusal *ret_refusal) {
        int r;

        if (request->context >= MAX_CONTEXTS || state->contexts[request->context].device.fd < 0)
                return refuse(ret_refusal,
                              PINLEASE_CODE_NO_SUCH_CONTEXT,
                              "Verbs context %" PRIu32 " is not attached to this session. Attach it first.",
                              request->context);

        r = backing_identify(class, ret_backing, ret_refusal);
        if (r == 0)
                r = backing_check(class, request, ret_refusal);
        if (r < 0 || *ret_backing != PINLEASE_BACKING_DMABUF)
                return r;
        r = dmabuf_name(fd, ret_name, ret_refusal);
        if (r < 0)
                return r;
        r = dmabuf_probe(state->uverbs, state->contexts + request->context, request->pd, ret_refusal);
        return r == -ENOENT ? refuse_pd(request->pd, ret_refusal) : r;
}

int request_register(struct registrar_state *state,
                     const struct pl_register *request,
                     int fd,
                     const struct pl_fdclass *class,
                     struct pl_register_reply *ret_reply,
                     struct refusal *ret_refusal) {
        char dmabuf[LEDGER_NAME_MAX] = "";
        struct policy_decision decision;
        enum pinlease_backing backing;
        struct guarded *file;
        int r;

        r = identify(state, request, fd, class, &backing, dmabuf, ret_refusal);
        if (r < 0)
                return r;

        r = question_ask(state,
                         &(struct question_of) {
                                 .context = state->contexts + request->context,
                                 .class = class,
                                 .fd = fd,
                                 .name = dmabuf,
                                 .backing = backing,
                                 .access = request->access,
                                 .length = request->length,
                                 .accepted = request->methods,
                         },
                         &decision,
                         ret_refusal);
        if (r < 0)
                return r;

        r = guard(state, request->guards | decision.rule->guards, fd, class, &file, ret_refusal);
        if (r < 0)
                return r;

        if (file)
                file->grace_ms = decision.rule->grace_ms;
        for (unsigned int i = 0; i < decision.n_methods; i++) {
                bool odp = decision.methods[i] == PINLEASE_METHOD_ODP;
                struct attempt attempt = {
                        .state = state,
                        .request = request,
                        .class = class,
                        .fd = fd,
                        .rule = decision.rule,
                        .method = decision.methods[i],
                        .slot = STATE_NO_SLOT,
                        .file = file,
                        .record = {
                                .length = request->length,
                                .offset = request->offset,
                                .device = class->dev,
                                .inode = class->inode,
                                .owner = class->owner,
                                .context = request->context,
                                .pd = request->pd,
                                .access = request->access | (odp ? (uint32_t)IBV_ACCESS_ON_DEMAND : 0U),
                                .method = (uint16_t)decision.methods[i],
                                .backing = (uint16_t)backing,
                                .flags = decision.rule->force == POLICY_FORCE_KILL ? LEDGER_MAY_KILL : 0,
                        },
                };

                memcpy(attempt.record.name, dmabuf, sizeof dmabuf);
                r = attempt_run(&attempt, ret_reply, ret_refusal);
                /* The device says that it cannot do this after all: the next method may still be possible. */
                if (attempt.kernel_error != -EOPNOTSUPP)
                        break;
        }
        if (file && r == 0)
                guards_cover(state->guards, file, request->offset, request->length);
        if (file)
                (void)guards_put(state->guards, file);
        if (r < 0)
                (void)snprintf(ret_refusal->rule, sizeof ret_refusal->rule, "%s", policy_text(state->policy, decision.rule->name));
        return r;
}
