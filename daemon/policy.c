/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy.h"

struct rule {
        const char *name;
        enum pinlease_backing backing;
        bool writable, read_only; /* which accesses it matches */
        unsigned int allowed;     /* enum pinlease_method */
        enum pinlease_code no_pin; /* why a pin is refused */
        const char *why;
};

static const struct rule rules[] = {
        {
                .name = "builtin:shmem",
                .backing = PINLEASE_BACKING_SHMEM,
                .writable = true,
                .read_only = true,
                .allowed = PINLEASE_METHOD_ODP | PINLEASE_METHOD_PINNED,
        },
        {
                .name = "builtin:hugetlb",
                .backing = PINLEASE_BACKING_HUGETLB,
                .writable = true,
                .read_only = true,
                .allowed = PINLEASE_METHOD_ODP | PINLEASE_METHOD_PINNED,
        },
        {
                .name = "builtin:fsdax",
                .backing = PINLEASE_BACKING_FSDAX,
                .writable = true,
                .read_only = true,
                .allowed = PINLEASE_METHOD_ODP,
                .no_pin = PINLEASE_CODE_FSDAX_PIN,
                .why = "A long-term pin of a file on file-system DAX is refused: the file system could not take its blocks "
                       "back while a device writes to them (the kernel answers EOPNOTSUPP)",
        },
        {
                .name = "builtin:pagecache-write",
                .backing = PINLEASE_BACKING_PAGECACHE,
                .writable = true,
                .allowed = PINLEASE_METHOD_ODP,
                .no_pin = PINLEASE_CODE_PAGECACHE_WRITE_PIN,
                .why = "A writable long-term pin of an ordinary file is refused: a device would write behind the file "
                       "system's dirty tracking (the kernel answers EFAULT since Linux 6.5)",
        },
        {
                .name = "builtin:pagecache-read",
                .backing = PINLEASE_BACKING_PAGECACHE,
                .read_only = true,
                .allowed = PINLEASE_METHOD_ODP,
                .no_pin = PINLEASE_CODE_PAGECACHE_READ_PIN,
                .why = "A read-only long-term pin of an ordinary file is not allowed by the built-in rules: the file can be "
                       "truncated under the pin",
        },
};

/* What works instead of memory that may not be pinned. */
static const char pinnable[] = "a memfd, tmpfs or huge pages";

static const enum pinlease_method preference[] = { PINLEASE_METHOD_ODP, PINLEASE_METHOD_PINNED };

static const struct rule *find_rule(const struct policy_question *question) {
        for (size_t i = 0; i < ELEMENTSOF(rules); i++)
                if (rules[i].backing == question->backing && (question->writable ? rules[i].writable : rules[i].read_only))
                        return rules + i;
        return NULL;
}

static int refuse_methods(const struct policy_question *question, const struct rule *rule, struct refusal *ret_refusal) {
        bool odp = question->offered & PINLEASE_METHOD_ODP;

        if (question->accepted & question->offered & rule->allowed & question->unsound)
                return refuse_rule(ret_refusal,
                                   PINLEASE_CODE_ODP_UNSOUND,
                                   rule->name,
                                   "This memory can only be registered by ODP, which this device's driver (rdma_rxe) does wrong: "
                                   "bytes that do not start at a page, or lie in packets larger than a page, go to the wrong place "
                                   "without an error. Pin %s instead; or accept ODP alone, and keep to whole pages and an MTU of 4096.",
                                   pinnable);

        /* Only a pin would have been acceptable, or is all that the device has, and the rule allows none. */
        if ((question->accepted & PINLEASE_METHOD_PINNED) && !(rule->allowed & PINLEASE_METHOD_PINNED))
                return refuse_rule(ret_refusal,
                                   rule->no_pin,
                                   rule->name,
                                   "%s. %s %s.",
                                   rule->why,
                                   odp ? "Accept ODP, which this device offers; or use" :
                                         "This device offers no ODP, so use",
                                   pinnable);

        return refuse_rule(ret_refusal,
                           PINLEASE_CODE_NO_ODP,
                           rule->name,
                           "Only ODP was acceptable, and this device offers none for reliable connections. %s.",
                           rule->allowed & PINLEASE_METHOD_PINNED ? "Accept a pin, which this memory allows" :
                                                                    "Use memory that may be pinned: a memfd, tmpfs or huge pages");
}

/* What can be chosen from. A method that the device does wrong is nothing to be chosen for somebody: who asks for it
 * alone is taken to know. */
static unsigned int candidates(const struct policy_question *question, const struct rule *rule) {
        unsigned int methods = question->accepted & question->offered & rule->allowed;

        return question->accepted & ~question->unsound ? methods & ~question->unsound : methods;
}

int policy_decide(const struct policy_question *question, struct policy_decision *ret_decision, struct refusal *ret_refusal) {
        struct policy_decision decision = { 0 };
        const struct rule *rule;

        if (question->accepted == 0 || (question->accepted & ~(unsigned int)PINLEASE_METHOD_ANY))
                return refuse(ret_refusal,
                              PINLEASE_CODE_NO_METHOD,
                              "The set of methods 0x%x is empty or has unknown ones. Known are odp (1) and pinned (2).",
                              question->accepted);

        rule = find_rule(question);
        if (!rule)
                return refuse_rule(ret_refusal, PINLEASE_CODE_BAD_FS, "builtin:other", "No rule allows this memory to be registered.");

        for (size_t i = 0; i < ELEMENTSOF(preference); i++)
                if (candidates(question, rule) & (unsigned int)preference[i])
                        decision.methods[decision.n_methods++] = preference[i];
        if (decision.n_methods == 0)
                return refuse_methods(question, rule, ret_refusal);

        decision.rule = rule->name;
        *ret_decision = decision;
        return 0;
}
