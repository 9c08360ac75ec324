/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "report.h"

#include <infiniband/verbs.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "codec.h"
#include "util.h"

/* --- objects: one that cannot be completed is none ----------------------------------------------------------------- */

/* Takes the value over. */
static bool add(struct json_object *object, const char *key, struct json_object *value) {
        if (!value)
                return false;
        if (json_object_object_add(object, key, value) == 0)
                return true;
        json_object_put(value);
        return false;
}

static bool append(struct json_object *array, struct json_object *value) {
        if (!value)
                return false;
        if (json_object_array_add(array, value) == 0)
                return true;
        json_object_put(value);
        return false;
}

static bool add_number(struct json_object *object, const char *key, uint64_t n) {
        return add(object, key, json_object_new_uint64(n));
}

static bool add_text(struct json_object *object, const char *key, const char *text) {
        return add(object, key, json_object_new_string(text));
}

static struct json_object *complete(struct json_object *object, bool ok) {
        if (ok)
                return object;
        json_object_put(object);
        return NULL;
}

/* --- names --------------------------------------------------------------------------------------------------------- */

/* How many bytes a UTF-8 character has that begins with this one; 0: none does. */
static unsigned int length_of(uint8_t first) {
        if (first < 0x80)
                return 1;
        if (first < 0xc0 || first >= 0xf8)
                return 0;
        return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

/* How many bytes the UTF-8 character at `bytes` has; 0: it is none. */
static unsigned int decode(const uint8_t *bytes, const uint8_t *end, uint32_t *ret_character) {
        static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
        unsigned int n = length_of(bytes[0]);
        uint32_t c;

        if (n == 0 || n > (size_t)(end - bytes))
                return 0;
        c = n == 1 ? bytes[0] : bytes[0] & (0x7fU >> n);
        for (unsigned int i = 1; i < n; i++) {
                if ((bytes[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (bytes[i] & 0x3f);
        }
        if (c < smallest[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
                return 0;
        *ret_character = c;
        return n;
}

/* Does the character say what it looks like? Controls, line ends, the invisible, directions of writing and tags do not. */
static bool is_printable(uint32_t c) {
        static const struct {
                uint32_t first, last;
        } unfit[] = {
                { 0x00, 0x1f },     { 0x7f, 0x9f },     { 0xad, 0xad },     { 0x61c, 0x61c },   { 0x180e, 0x180e },
                { 0x200b, 0x200f }, { 0x2028, 0x202e }, { 0x2060, 0x206f }, { 0xfdd0, 0xfdef }, { 0xfeff, 0xfeff },
                { 0xfff0, 0xfffb }, { 0xe0000, 0xe0fff },
        };

        for (size_t i = 0; i < ELEMENTSOF(unfit); i++)
                if (c >= unfit[i].first && c <= unfit[i].last)
                        return false;
        return (c & 0xfffe) != 0xfffe; /* the last two of every plane are none */
}

void report_name(const char *name, char ret_name[static REPORT_NAME_MAX]) {
        const uint8_t *in = (const uint8_t *)name, *end = in + strnlen(name, LEDGER_NAME_MAX - 1);
        char *out = ret_name;

        while (in < end) {
                uint32_t c;
                unsigned int n = decode(in, end, &c);
                bool printable = n > 0 && is_printable(c);

                for (unsigned int i = 0; i < (n ? n : 1); i++, in++)
                        if (printable)
                                *out++ = (char)*in;
                        else
                                out += sprintf(out, "\\x%02x", *in);
        }
        *out = '\0';
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
        struct json_object *names = json_object_new_array();
        uint32_t rest = access & ~(uint32_t)IBV_ACCESS_ON_DEMAND;
        bool ok = names;

        for (size_t i = 0; ok && i < ELEMENTSOF(flags); i++) {
                if (rest & flags[i].flag)
                        ok = append(names, json_object_new_string(flags[i].name));
                rest &= ~flags[i].flag;
        }
        if (ok && rest) {
                char number[16];

                (void)snprintf(number, sizeof number, "0x%" PRIx32, rest);
                ok = append(names, json_object_new_string(number));
        }
        return complete(names, ok);
}

struct json_object *report_registration(uint64_t session, const struct ledger_listing *listing, uint64_t now_ms) {
        struct json_object *item = json_object_new_object();
        char name[REPORT_NAME_MAX], id[48], session_id[24];
        bool ok = item;

        report_name(listing->name, name);
        (void)snprintf(session_id, sizeof session_id, "%" PRIu64, session);
        (void)snprintf(id, sizeof id, "%" PRIu64 ".%" PRIu32, session, ledger_number(listing->id));

        ok = ok && add_text(item, "type", "registration");
        ok = ok && add_text(item, "id", id);
        ok = ok && add_text(item, "session", session_id);
        ok = ok && add_text(item, "state", state_name(listing->state));
        ok = ok && add_text(item, "backing", pl_backing_name(listing->backing));
        ok = ok && add_text(item, "name", name);
        ok = ok && add_number(item, "device", listing->device);
        ok = ok && add_number(item, "inode", listing->inode);
        ok = ok && add_number(item, "offset", listing->offset);
        ok = ok && add_number(item, "length", listing->length);
        ok = ok && add_number(item, "bytes", listing->bytes);
        ok = ok && add(item, "access", access_names(listing->access));
        ok = ok && add_text(item, "method", pl_method_name(listing->method));
        ok = ok && add_number(item, "age_ms", now_ms > listing->created_ms ? now_ms - listing->created_ms : 0);
        return complete(item, ok);
}

/* --- amounts and metrics ------------------------------------------------------------------------------------------- */

struct json_object *report_amount(const struct credit_amount *amount) {
        struct json_object *object = json_object_new_object();
        bool ok = object;

        ok = ok && add_number(object, "pinned_bytes", amount->pinned);
        ok = ok && add_number(object, "odp_bytes", amount->odp);
        ok = ok && add_number(object, "registrations", amount->registrations);
        return complete(object, ok);
}

struct json_object *report_in_use(const struct stats_totals *totals) {
        struct credit_amount amount = {
                .pinned = totals->live[STATS_PINNED].bytes,
                .odp = totals->live[STATS_ODP].bytes,
        };

        if (__builtin_add_overflow(totals->live[STATS_PINNED].registrations,
                                   totals->live[STATS_ODP].registrations,
                                   &amount.registrations))
                amount.registrations = UINT64_MAX;
        return report_amount(&amount);
}

static struct json_object *live_of(const struct stats_totals *totals, enum stats_method method) {
        struct json_object *object = json_object_new_object();
        bool ok = object;

        ok = ok && add_number(object, "registrations", totals->live[method].registrations);
        ok = ok && add_number(object, "bytes", totals->live[method].bytes);
        return complete(object, ok);
}

static struct json_object *live(const struct stats_totals *totals) {
        struct json_object *object = json_object_new_object();
        bool ok = object;

        ok = ok && add(object, "pinned", live_of(totals, STATS_PINNED));
        ok = ok && add(object, "odp", live_of(totals, STATS_ODP));
        return complete(object, ok);
}

static struct json_object *registered(const struct stats_totals *totals) {
        struct json_object *object = json_object_new_object();
        bool ok = object;

        ok = ok && add_number(object, "pinned", totals->registered[STATS_PINNED]);
        ok = ok && add_number(object, "odp", totals->registered[STATS_ODP]);
        return complete(object, ok);
}

/* Those that have occurred. Codes of a later version than this are one. */
static struct json_object *refusals(const struct stats_totals *totals) {
        struct json_object *object = json_object_new_object();
        uint64_t unknown = 0;
        bool ok = object;

        for (unsigned int i = 0; ok && i < STATS_N_CODES; i++) {
                const char *name = i == PINLEASE_CODE_NONE ? "unknown" : pl_code_name((enum pinlease_code)i);

                if (totals->refusals[i] == 0)
                        continue;
                if (strcmp(name, "unknown") != 0)
                        ok = add_number(object, name, totals->refusals[i]);
                else if (__builtin_add_overflow(unknown, totals->refusals[i], &unknown))
                        unknown = UINT64_MAX;
        }
        ok = ok && (unknown == 0 || add_number(object, "unknown", unknown));
        return complete(object, ok);
}

static struct json_object *revocations(const struct stats_totals *totals) {
        struct json_object *object = json_object_new_object();
        bool ok = object;

        ok = ok && add_number(object, "released", totals->revocations[REVOCATION_RELEASED]);
        ok = ok && add_number(object, "forced", totals->revocations[REVOCATION_FORCED]);
        ok = ok && add_number(object, "kept", totals->revocations[REVOCATION_KEPT]);
        return complete(object, ok);
}

static struct json_object *latency_of(const struct stats_totals *totals, enum stats_op op) {
        struct json_object *object = json_object_new_object(), *bounds = json_object_new_array(), *counts = json_object_new_array();
        bool ok = object && bounds && counts;

        for (unsigned int i = 0; ok && i < STATS_N_BOUNDS; i++)
                ok = append(bounds, json_object_new_uint64(stats_bound_us(i)));
        for (unsigned int i = 0; ok && i < STATS_N_BUCKETS; i++)
                ok = append(counts, json_object_new_uint64(totals->latency[op].counts[i]));
        if (!ok) {
                json_object_put(bounds);
                json_object_put(counts);
                return complete(object, false);
        }

        ok = add(object, "bounds_us", bounds);
        ok = add(object, "counts", counts) && ok;
        ok = ok && add_number(object, "sum_us", totals->latency[op].sum_us);
        return complete(object, ok);
}

static struct json_object *latency(const struct stats_totals *totals) {
        struct json_object *object = json_object_new_object();
        bool ok = object;

        ok = ok && add(object, "register", latency_of(totals, STATS_REGISTER));
        ok = ok && add(object, "deregister", latency_of(totals, STATS_DEREGISTER));
        return complete(object, ok);
}

int report_metrics(struct json_object *item, const struct stats_totals *totals) {
        bool ok;

        ok = add(item, "live", live(totals));
        ok = ok && add(item, "registered", registered(totals));
        ok = ok && add_number(item, "deregistered", totals->deregistered);
        ok = ok && add(item, "refusals", refusals(totals));
        ok = ok && add(item, "revocations", revocations(totals));
        ok = ok && add(item, "latency", latency(totals));
        return ok ? 0 : -ENOMEM;
}
