/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "report.h"

#include <infiniband/verbs.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "codec.h"
#include "util.h"

void report_name(const char *name, char ret_name[static REPORT_NAME_MAX]) {
        pl_utf8_escape(name, strnlen(name, LEDGER_NAME_MAX - 1), ret_name);
}

/* --- registrations ------------------------------------------------------------------------------------------------- */

static const char *state_name(enum ledger_state state) {
        switch (state) {
        case LEDGER_INTENT:
                return "intent";
        case LEDGER_LIVE:
                return "live";
        case LEDGER_RETIRING:
                return "retiring";
        case LEDGER_REVOKING:
                return "revoking";
        default:
                return "unknown";
        }
}

/* On-demand paging is not here: it is the method, and the registrar's to choose. */
static struct json_object *access_names(uint32_t access) {
        /* The last two have no name in older headers, see backing.c. */
        static const struct {
                uint32_t flag;
                const char *name;
        } flags[] = {
                { IBV_ACCESS_LOCAL_WRITE, "local-write" },
                { IBV_ACCESS_REMOTE_WRITE, "remote-write" },
                { IBV_ACCESS_REMOTE_READ, "remote-read" },
                { IBV_ACCESS_REMOTE_ATOMIC, "remote-atomic" },
                { IBV_ACCESS_MW_BIND, "mw-bind" },
                { IBV_ACCESS_ZERO_BASED, "zero-based" },
                { IBV_ACCESS_HUGETLB, "hugetlb" },
                { IBV_ACCESS_RELAXED_ORDERING, "relaxed-ordering" },
                { 1U << 8, "flush-global" },
                { 1U << 9, "flush-persistent" },
        };
        struct builder names = builder_array();
        uint32_t rest = access & ~(uint32_t)IBV_ACCESS_ON_DEMAND;

        for (size_t i = 0; i < ELEMENTSOF(flags); i++) {
                if (rest & flags[i].flag)
                        builder_append(&names, json_object_new_string(flags[i].name));
                rest &= ~flags[i].flag;
        }
        if (rest) {
                char number[16];

                (void)snprintf(number, sizeof number, "0x%" PRIx32, rest);
                builder_append(&names, json_object_new_string(number));
        }
        return builder_finish(&names);
}

static struct json_object *guard_names(uint32_t guards) {
        struct builder names = builder_array();

        for (unsigned int i = 0; i < PL_N_GUARDS; i++)
                if (pl_guards_held(guards) >> i & 1)
                        builder_append(&names, json_object_new_string(pl_guard_name((enum pinlease_guard)(1U << i))));
        return builder_finish(&names);
}

static struct json_object *guards_missing(uint32_t guards) {
        struct builder object = builder_object();

        for (unsigned int i = 0; i < PL_N_GUARDS; i++) {
                unsigned int reason = pl_guard_reason(guards, i);

                if (reason > 0)
                        builder_text(&object,
                                     pl_guard_name((enum pinlease_guard)(1U << i)),
                                     pl_guard_reason_name((enum pinlease_guard_reason)reason));
        }
        return builder_finish(&object);
}

struct json_object *report_registration(uint64_t session, const struct ledger_listing *listing, uint64_t now_ms) {
        struct builder item = builder_object();
        char name[REPORT_NAME_MAX], id[48], session_id[24];

        report_name(listing->name, name);
        (void)snprintf(session_id, sizeof session_id, "%" PRIu64, session);
        (void)snprintf(id, sizeof id, "%" PRIu64 ".%" PRIu32, session, ledger_number(listing->id));

        builder_text(&item, "type", "registration");
        builder_text(&item, "id", id);
        builder_text(&item, "session", session_id);
        builder_text(&item, "state", state_name(listing->state));
        builder_text(&item, "backing", pl_backing_name(listing->backing));
        builder_text(&item, "name", name);
        builder_number(&item, "device", listing->device);
        builder_number(&item, "inode", listing->inode);
        builder_number(&item, "offset", listing->offset);
        builder_number(&item, "length", listing->length);
        builder_number(&item, "bytes", listing->bytes);
        builder_add(&item, "access", access_names(listing->access));
        builder_text(&item, "method", pl_method_name(listing->method));
        builder_number(&item, "age_ms", now_ms > listing->created_ms ? now_ms - listing->created_ms : 0);
        builder_add(&item, "guards", guard_names(listing->guards));
        builder_add(&item, "guards_missing", guards_missing(listing->guards));
        return builder_finish(&item);
}

/* --- amounts and metrics ------------------------------------------------------------------------------------------- */

struct json_object *report_amount(const struct credit_amount *amount) {
        struct builder object = builder_object();

        builder_number(&object, "pinned_bytes", amount->pinned);
        builder_number(&object, "odp_bytes", amount->odp);
        builder_number(&object, "registrations", amount->registrations);
        return builder_finish(&object);
}

struct json_object *report_in_use(const struct stats_totals *totals) {
        struct credit_amount amount = {
                .odp = totals->live[STATS_ODP].bytes,
        };

        /* As they are charged, see credit.h. */
        if (__builtin_add_overflow(totals->live[STATS_PINNED].bytes, totals->live[STATS_DMABUF].bytes, &amount.pinned))
                amount.pinned = UINT64_MAX;
        for (unsigned int i = 0; i < N_STATS_METHODS; i++)
                if (__builtin_add_overflow(amount.registrations, totals->live[i].registrations, &amount.registrations))
                        amount.registrations = UINT64_MAX;
        return report_amount(&amount);
}

static struct json_object *live_of(const struct stats_totals *totals, enum stats_method method) {
        struct builder object = builder_object();

        builder_number(&object, "registrations", totals->live[method].registrations);
        builder_number(&object, "bytes", totals->live[method].bytes);
        return builder_finish(&object);
}

static struct json_object *live(const struct stats_totals *totals) {
        struct builder object = builder_object();

        builder_add(&object, "pinned", live_of(totals, STATS_PINNED));
        builder_add(&object, "odp", live_of(totals, STATS_ODP));
        builder_add(&object, "dmabuf", live_of(totals, STATS_DMABUF));
        return builder_finish(&object);
}

static struct json_object *registered(const struct stats_totals *totals) {
        struct builder object = builder_object();

        builder_number(&object, "pinned", totals->registered[STATS_PINNED]);
        builder_number(&object, "odp", totals->registered[STATS_ODP]);
        builder_number(&object, "dmabuf", totals->registered[STATS_DMABUF]);
        return builder_finish(&object);
}

/* Those that have occurred. Codes of a later version than this are one. */
static struct json_object *refusals(const struct stats_totals *totals) {
        struct builder object = builder_object();
        uint64_t unknown = 0;

        for (unsigned int i = 0; i < STATS_N_CODES; i++) {
                const char *name = i == PINLEASE_CODE_NONE ? "unknown" : pl_code_name((enum pinlease_code)i);

                if (totals->refusals[i] == 0)
                        continue;
                if (strcmp(name, "unknown") != 0)
                        builder_number(&object, name, totals->refusals[i]);
                else if (__builtin_add_overflow(unknown, totals->refusals[i], &unknown))
                        unknown = UINT64_MAX;
        }
        if (unknown > 0)
                builder_number(&object, "unknown", unknown);
        return builder_finish(&object);
}

static struct json_object *revocations(const struct stats_totals *totals) {
        struct builder object = builder_object();

        builder_number(&object, "released", totals->revocations[REVOCATION_RELEASED]);
        builder_number(&object, "forced", totals->revocations[REVOCATION_FORCED]);
        builder_number(&object, "kept", totals->revocations[REVOCATION_KEPT]);
        return builder_finish(&object);
}

static struct json_object *latency_of(const struct stats_totals *totals, enum stats_op op) {
        struct builder object = builder_object(), bounds = builder_array(), counts = builder_array();

        for (unsigned int i = 0; i < STATS_N_BOUNDS; i++)
                builder_append(&bounds, json_object_new_uint64(stats_bound_us(i)));
        for (unsigned int i = 0; i < STATS_N_BUCKETS; i++)
                builder_append(&counts, json_object_new_uint64(totals->latency[op].counts[i]));
        builder_add(&object, "bounds_us", builder_finish(&bounds));
        builder_add(&object, "counts", builder_finish(&counts));
        builder_number(&object, "sum_us", totals->latency[op].sum_us);
        return builder_finish(&object);
}

static struct json_object *latency(const struct stats_totals *totals) {
        struct builder object = builder_object();

        builder_add(&object, "register", latency_of(totals, STATS_REGISTER));
        builder_add(&object, "deregister", latency_of(totals, STATS_DEREGISTER));
        return builder_finish(&object);
}

void report_metrics(struct builder *item, const struct stats_totals *totals) {
        builder_add(item, "live", live(totals));
        builder_add(item, "registered", registered(totals));
        builder_number(item, "deregistered", totals->deregistered);
        builder_add(item, "refusals", refusals(totals));
        builder_add(item, "revocations", revocations(totals));
        builder_add(item, "latency", latency(totals));
}
