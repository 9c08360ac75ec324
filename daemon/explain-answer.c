/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "explain.h"

#include <inttypes.h>
#include <linux/magic.h>
#include <string.h>

#include "backing.h"
#include "credit.h"

/* --- the device --- */

static void choose_device(struct explanation *e) {
        const struct explain_options *o = e->options;
        const struct explain_device *device = NULL;

        if (o->has_offers)
                device = &o->offers;
        for (size_t i = 0; i < o->n_host && !device; i++)
                if (!o->device || strcmp(o->device, o->host[i].name) == 0)
                        device = o->host + i;
        e->device_assumed = !device;
        e->question.device = o->device ? o->device : device ? device->name : NULL;
        e->question.offered = device ? device->offered : EXPLAIN_METHODS;
        e->question.unsound = device ? device->unsound : 0;
}

/* --- asking --- */

static int check_guards(const struct explanation *e, const struct policy_rule *rule, struct refusal *ret_refusal) {
        for (unsigned int i = 0; i < N_GUARDS; i++)
                if (rule->guards & 1U << i && e->guards[i].forecast == FORECAST_NOT)
                        return refuse_rule(ret_refusal,
                                           PINLEASE_CODE_NO_GUARD,
                                           policy_text(e->policy, rule->name),
                                           "The rule requires the guard \"%s\", which cannot be had: %s.",
                                           pl_guard_name(1U << i),
                                           e->guards[i].why);
        return 0;
}

/* What others use already is not known here: the most that there can be. */
static int check_limits(const struct explanation *e, enum pinlease_method method, struct refusal *ret_refusal) {
        const struct policy_limits *limits = &e->policy->limits;
        struct credit_amount most = amount_minimum(&limits->session, &limits->user);
        bool pinned = method != PINLEASE_METHOD_ODP; /* as credit.h charges it */
        uint64_t bytes = credit_bytes(e->request.address, e->request.length, e->class.page_size), limit;

        most = amount_minimum(&most, &limits->total);
        limit = pinned ? most.pinned : most.odp;
        if (bytes <= limit)
                return 0;
        return refuse(ret_refusal,
                      pinned ? PINLEASE_CODE_PINNED_LIMIT : PINLEASE_CODE_ODP_LIMIT,
                      "%" PRIu64 " bytes are asked for, but at most %" PRIu64 " may be %s.",
                      bytes,
                      limit,
                      pinned ? "pinned" : "registered by ODP");
}

/* As a registrar does. `same_memory`: else nothing is known of guards. */
static int ask(const struct explanation *e,
               const struct policy_question *question,
               bool same_memory,
               struct policy_decision *ret_decision,
               struct refusal *ret_refusal) {
        struct policy_decision decision;
        int r;

        r = policy_decide(e->policy, e->subject, question, &decision, ret_refusal);
        if (r == 0 && same_memory)
                r = check_guards(e, decision.rule, ret_refusal);
        if (r == 0)
                r = check_limits(e, decision.methods[0], ret_refusal);
        if (r == 0)
                *ret_decision = decision;
        return r;
}

static const struct policy_rule *find_rule(const struct explanation *e) {
        const struct policy_rule *rules = policy_rules(e->policy);

        for (uint32_t i = 0; i < e->policy->n_rules; i++)
                if (policy_match(e->policy, rules + i, e->subject, &e->question) == POLICY_MATCHES)
                        return rules + i;
        return NULL;
}

/* --- what would work instead --- */

enum {
        CHANGE_ACCEPT = 1 << 0,
        CHANGE_READING = 1 << 1,
        CHANGE_DEVICE = 1 << 2,
        CHANGE_ALL = (1 << 3) - 1,
};

static bool try_way(struct explanation *e, const struct policy_question *question, struct explain_way way) {
        struct policy_decision decision;
        struct refusal ignored;

        if (e->n_ways == EXPLAIN_MAX_WAYS || ask(e, question, !way.memory, &decision, &ignored) < 0)
                return false;
        way.method = decision.methods[0];
        e->ways[e->n_ways++] = way;
        return true;
}

/* Nobody who has other memory needs a device that registers dma-bufs. */
static unsigned int all_methods(const struct explanation *e) {
        return e->question.backing == PINLEASE_BACKING_DMABUF ? (unsigned int)PINLEASE_METHOD_ANY : EXPLAIN_METHODS;
}

static bool try_changes(struct explanation *e, unsigned int changes) {
        struct policy_question question = e->question;

        if (changes & CHANGE_ACCEPT)
                question.accepted = all_methods(e);
        if (changes & CHANGE_READING)
                question.writable = false;
        if (changes & CHANGE_DEVICE) {
                question.offered = all_methods(e);
                question.unsound = 0;
        }
        return try_way(e,
                       &question,
                       (struct explain_way) {
                               .accept = changes & CHANGE_ACCEPT,
                               .reading = changes & CHANGE_READING,
                               .device = changes & CHANGE_DEVICE,
                       });
}

static bool try_memory(struct explanation *e, enum pinlease_backing backing) {
        struct policy_question question = e->question;

        question.backing = backing;
        question.fs_type = backing == PINLEASE_BACKING_SHMEM ? TMPFS_MAGIC : HUGETLBFS_MAGIC;
        question.exporter = NULL;
        question.path = NULL;
        question.path_is_certain = false;
        return try_way(e, &question, (struct explain_way) { .memory = true, .backing = backing });
}

/* Few changes first; what works with some of them is not said again with more. */
static void find_ways(struct explanation *e) {
        unsigned int possible = 0;
        uint8_t worked = 0; /* a bit for each set of changes */

        if (e->question.accepted != all_methods(e))
                possible |= CHANGE_ACCEPT;
        if (e->question.writable)
                possible |= CHANGE_READING;
        if ((all_methods(e) & ~e->question.offered) || e->question.unsound)
                possible |= CHANGE_DEVICE;
        for (int n = 1; n <= 3 && e->asked; n++)
                for (unsigned int changes = 1; changes <= CHANGE_ALL; changes++) {
                        bool fewer = false;

                        for (unsigned int i = 1; i < changes; i++)
                                fewer |= (worked & 1U << i) && (i & changes) == i;
                        if (__builtin_popcount(changes) == n && !(changes & ~possible) && !fewer &&
                            try_changes(e, changes))
                                worked |= (uint8_t)(1U << changes);
                }
        if (!(e->has_backing && e->backing == PINLEASE_BACKING_SHMEM) && try_memory(e, PINLEASE_BACKING_SHMEM))
                return;
        if (!(e->has_backing && e->backing == PINLEASE_BACKING_HUGETLB))
                (void)try_memory(e, PINLEASE_BACKING_HUGETLB);
}

/* --- the answer --- */

static int identify(struct explanation *e) {
        int r;

        if (e->class.kind == PL_FD_HANGING)
                return refuse(&e->refusal,
                              PINLEASE_CODE_HANGING_FILE,
                              "The file lies on a file system that may keep whoever touches it waiting for a server "
                              "(FUSE, overlay, "
                              "network, or one that is not known): such files are never registered.");
        r = backing_identify(&e->class, &e->backing, &e->refusal);
        if (r < 0)
                return r;
        e->has_backing = true;
        explain_forecast(e);
        return 0;
}

static int check_request(struct explanation *e) {
        if (e->open_error)
                return refuse_errno(&e->refusal,
                                    PINLEASE_CODE_FD_MODE,
                                    e->open_error,
                                    "This user cannot open the file for %s: %s.",
                                    e->question.writable ? "reading and writing" : "reading",
                                    strerror(e->open_error));
        return backing_check(&e->class, &e->request, &e->refusal);
}

void explain_answer(struct explanation *e) {
        const struct explain_options *o = e->options;
        bool wrong_request = false;

        e->question = (struct policy_question) {
                .writable = o->writable,
                .accepted = o->accepted,
                .length = e->request.length,
                .fs_type = e->class.fs_magic,
                .exporter = e->exporter_known ? e->exporter : NULL,
                .path = e->place.known ? e->place.path : NULL,
                .path_is_certain = e->place.certain,
        };
        choose_device(e);
        e->result = identify(e);
        if (e->result == 0) {
                e->question.backing = e->backing;
                /* Whoever accepts all accepts that too, and who is assumed to have all has it. */
                if (e->question.accepted == EXPLAIN_METHODS)
                        e->question.accepted = all_methods(e);
                if (e->device_assumed)
                        e->question.offered = all_methods(e);
                e->result = check_request(e);
                wrong_request = e->result < 0;
        }
        if (e->result == 0) {
                e->asked = true;
                e->rule = find_rule(e);
                e->result = ask(e, &e->question, true, &e->decision, &e->refusal);
        }
        /* A request that does not fit the file is not mended by another policy. */
        if (e->result < 0 && !wrong_request)
                find_ways(e);
}
