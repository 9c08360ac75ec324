/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy.h"

#include "pattern.h"

/* What works instead of memory that may not be pinned. */
static const char pinnable[] = "a memfd, tmpfs or huge pages";

/* --- matching --- */

static bool in_ranges(const struct policy_block *policy, const struct policy_list *list, uint32_t value) {
        const struct policy_range *ranges = policy_at(policy, list->offset);

        for (uint32_t i = 0; i < list->n; i++)
                if (value >= ranges[i].first && value <= ranges[i].last)
                        return true;
        return false;
}

static bool in_numbers(const struct policy_block *policy, const struct policy_list *list, uint64_t value) {
        const uint64_t *numbers = policy_at(policy, list->offset);

        for (uint32_t i = 0; i < list->n; i++)
                if (value == numbers[i])
                        return true;
        return false;
}

/* The list that was asked last of a text: rules that stand together share theirs, see policy-build.h. */
struct last {
        struct policy_list list;
        bool matches;
};

struct lasts {
        struct last device, exporter, cgroup, path;
};

static bool in_patterns(const struct policy_block *policy, const struct policy_list *list, const char *text) {
        const uint32_t *patterns = policy_at(policy, list->offset);

        for (uint32_t i = 0; text && i < list->n; i++)
                if (pattern_match(policy_text(policy, patterns[i]), text))
                        return true;
        return false;
}

static inline bool ask(const struct policy_block *policy, const struct policy_list *list, const char *text, struct last *last) {
        if (last->list.offset != list->offset || last->list.n != list->n)
                *last = (struct last) { *list, in_patterns(policy, list, text) };
        return last->matches;
}

static bool has_group(const struct policy_block *policy, const struct policy_list *list, const struct policy_subject *subject) {
        for (size_t i = 0; i < subject->n_gids; i++)
                if (in_ranges(policy, list, subject->gids[i]))
                        return true;
        return false;
}

/* The cheapest first: most rules are out by their first line. */
static enum policy_mismatch match(const struct policy_block *policy,
                                  const struct policy_rule *rule,
                                  const struct policy_subject *subject,
                                  const struct policy_question *question,
                                  struct lasts *lasts) {
        if (rule->backings && !(rule->backings & 1U << question->backing))
                return POLICY_OTHER_BACKING;
        if (!(rule->access & (question->writable ? POLICY_ACCESS_WRITE : POLICY_ACCESS_READ)))
                return POLICY_OTHER_ACCESS;
        /* Of memory of which little is known only a rule that means it says that it is all right. */
        if (question->backing == PINLEASE_BACKING_OTHER && rule->allow && rule->fs_types.n == 0)
                return POLICY_OTHER_FS_TYPE;
        if (question->length < rule->size_min || question->length > rule->size_max)
                return POLICY_OTHER_SIZE;
        if (rule->fs_types.n && !in_numbers(policy, &rule->fs_types, question->fs_type))
                return POLICY_OTHER_FS_TYPE;
        if (rule->uids.n && !in_ranges(policy, &rule->uids, subject->uid))
                return POLICY_OTHER_UID;
        if (rule->gids.n && !has_group(policy, &rule->gids, subject))
                return POLICY_OTHER_GID;
        if (rule->devices.n && !ask(policy, &rule->devices, question->device, &lasts->device))
                return POLICY_OTHER_DEVICE;
        if (rule->exporters.n && !ask(policy, &rule->exporters, question->exporter, &lasts->exporter))
                return POLICY_OTHER_EXPORTER;
        if (rule->cgroups.n && !ask(policy, &rule->cgroups, subject->cgroup, &lasts->cgroup))
                return POLICY_OTHER_CGROUP;
        if (rule->paths.n && !ask(policy, &rule->paths, question->path, &lasts->path))
                return POLICY_OTHER_PATH;
        if (rule->paths.n && rule->allow && !question->path_is_certain)
                return POLICY_UNCERTAIN_PATH;
        return POLICY_MATCHES;
}

enum policy_mismatch policy_match(const struct policy_block *policy,
                                  const struct policy_rule *rule,
                                  const struct policy_subject *subject,
                                  const struct policy_question *question) {
        struct lasts lasts = { 0 };

        return match(policy, rule, subject, question, &lasts);
}

static const struct policy_rule *find_rule(const struct policy_block *policy,
                                           const struct policy_subject *subject,
                                           const struct policy_question *question) {
        const struct policy_rule *rules = policy_rules(policy);
        struct lasts lasts = { 0 };

        for (uint32_t i = 0; i < policy->n_rules; i++)
                if (match(policy, rules + i, subject, question, &lasts) == POLICY_MATCHES)
                        return rules + i;
        return NULL;
}

/* --- deciding --- */

unsigned int policy_kernel_forbids(enum pinlease_backing backing, bool writable) {
        switch (backing) {
        case PINLEASE_BACKING_FSDAX:
                return PINLEASE_METHOD_PINNED | PINLEASE_METHOD_DMABUF;
        case PINLEASE_BACKING_PAGECACHE:
        case PINLEASE_BACKING_OTHER:
                return (writable ? PINLEASE_METHOD_PINNED : 0) | PINLEASE_METHOD_DMABUF;
        case PINLEASE_BACKING_DMABUF:
                return PINLEASE_METHOD_PINNED | PINLEASE_METHOD_ODP;
        case PINLEASE_BACKING_SHMEM:
        case PINLEASE_BACKING_HUGETLB:
        case PINLEASE_BACKING_DEVDAX:
        case PINLEASE_BACKING_ANON:
                break;
        }
        return PINLEASE_METHOD_DMABUF;
}

/* Why a pin is refused, in words that end a sentence. */
static enum pinlease_code no_pin(const struct policy_question *question, const char **ret_why) {
        if (question->backing == PINLEASE_BACKING_FSDAX) {
                *ret_why = "A long-term pin of a file on file-system DAX is refused: the file system could not take its blocks "
                           "back while a device writes to them (the kernel answers EOPNOTSUPP)";
                return PINLEASE_CODE_FSDAX_PIN;
        }
        if (policy_kernel_forbids(question->backing, question->writable) & PINLEASE_METHOD_PINNED) {
                *ret_why = "A writable long-term pin of an ordinary file is refused: a device would write behind the file "
                           "system's dirty tracking (the kernel answers EFAULT since Linux 6.5)";
                return PINLEASE_CODE_PAGECACHE_WRITE_PIN;
        }
        if (question->backing == PINLEASE_BACKING_PAGECACHE) {
                *ret_why = "A read-only long-term pin of an ordinary file is not allowed by the built-in rules: the file can be "
                           "truncated under the pin";
                return PINLEASE_CODE_PAGECACHE_READ_PIN;
        }
        if (question->backing == PINLEASE_BACKING_ANON) {
                *ret_why = "Private memory is pinned only by a rule that names it (\"anon\") and \"pinned\": the limit of locked "
                           "memory of its process is raised for that, and its children inherit it";
                return PINLEASE_CODE_ANON_PIN;
        }
        *ret_why = "The rule allows no pin of this memory";
        return PINLEASE_CODE_POLICY;
}

static unsigned int methods_of(const struct policy_rule *rule, const struct policy_question *question) {
        unsigned int methods = 0;

        for (unsigned int i = 0; i < rule->n_methods; i++)
                methods |= rule->methods[i];
        if (question->backing == PINLEASE_BACKING_ANON && !rule->pins_private)
                methods &= ~(unsigned int)PINLEASE_METHOD_PINNED;
        return methods & ~policy_kernel_forbids(question->backing, question->writable);
}

/* Either the memory or all that is acceptable is a dma-buf. */
static int refuse_dmabuf(const struct policy_rule *rule,
                         const char *name,
                         const struct policy_question *question,
                         struct refusal *ret_refusal) {
        if (question->backing != PINLEASE_BACKING_DMABUF)
                return refuse_rule(ret_refusal,
                                   PINLEASE_CODE_NO_DMABUF,
                                   name,
                                   "This memory is no dma-buf, and only that would have been acceptable. Accept ODP or a pin.");
        if (!(methods_of(rule, question) & PINLEASE_METHOD_DMABUF))
                return refuse_rule(ret_refusal, PINLEASE_CODE_POLICY, name, "The rule does not allow dma-bufs to be registered.");
        if (!(question->accepted & PINLEASE_METHOD_DMABUF))
                return refuse_rule(ret_refusal,
                                   PINLEASE_CODE_NO_DMABUF,
                                   name,
                                   "This is a dma-buf, which can be registered as such only: there are no pages to be pinned or "
                                   "faulted in. Accept the method dmabuf.");
        if (question->exporter && pattern_match("udmabuf", question->exporter))
                return refuse_rule(ret_refusal,
                                   PINLEASE_CODE_NO_DMABUF,
                                   name,
                                   "This is a dma-buf, and the device, or its driver, cannot register one. Register the memfd behind "
                                   "the udmabuf instead, or use another device.");
        return refuse_rule(ret_refusal,
                           PINLEASE_CODE_NO_DMABUF,
                           name,
                           "This is a dma-buf, and the device, or its driver, cannot register one. Use another device, or copy "
                           "by way of %s.",
                           pinnable);
}

static int refuse_methods(const struct policy_block *policy,
                          const struct policy_rule *rule,
                          const struct policy_question *question,
                          struct refusal *ret_refusal) {
        const char *name = policy_text(policy, rule->name), *why;
        unsigned int allowed = methods_of(rule, question);
        bool odp = question->offered & allowed & PINLEASE_METHOD_ODP;
        enum pinlease_code code;

        if (question->backing == PINLEASE_BACKING_DMABUF || question->accepted == PINLEASE_METHOD_DMABUF)
                return refuse_dmabuf(rule, name, question, ret_refusal);
        if (question->accepted & question->offered & allowed & question->unsound)
                return refuse_rule(ret_refusal,
                                   PINLEASE_CODE_ODP_UNSOUND,
                                   name,
                                   "This memory can only be registered by ODP, which this device's driver (rdma_rxe) does wrong: "
                                   "bytes that do not start at a page, or lie in packets larger than a page, go to the wrong place "
                                   "without an error. Pin %s instead; or accept ODP alone, and keep to whole pages and an MTU of 4096.",
                                   pinnable);

        /* Only a pin would have been acceptable, or is all that the device has, and none is allowed. */
        if ((question->accepted & PINLEASE_METHOD_PINNED) && !(allowed & PINLEASE_METHOD_PINNED)) {
                code = no_pin(question, &why);
                return refuse_rule(ret_refusal,
                                   code,
                                   name,
                                   "%s. %s %s.",
                                   why,
                                   odp                                            ? "Accept ODP, which this device offers; or use" :
                                           question->offered & PINLEASE_METHOD_ODP ? "Use" :
                                                                                    "This device offers no ODP, so use",
                                   pinnable);
        }

        if (question->offered & PINLEASE_METHOD_ODP)
                return refuse_rule(ret_refusal,
                                   PINLEASE_CODE_POLICY,
                                   name,
                                   "The rule allows no ODP of this memory, and only that was acceptable. Accept a pin.");
        return refuse_rule(ret_refusal,
                           PINLEASE_CODE_NO_ODP,
                           name,
                           "Only ODP was acceptable, and this device offers none for reliable connections. %s.",
                           allowed & PINLEASE_METHOD_PINNED ? "Accept a pin, which this memory allows" :
                                                              "Use memory that may be pinned: a memfd, tmpfs or huge pages");
}

static int refuse_by(const struct policy_block *policy, const struct policy_rule *rule, struct refusal *ret_refusal) {
        if (rule->message)
                return refuse_rule(ret_refusal,
                                   PINLEASE_CODE_POLICY,
                                   policy_text(policy, rule->name),
                                   "A rule of the administrator refuses it: %s",
                                   policy_text(policy, rule->message));
        return refuse_rule(ret_refusal,
                           PINLEASE_CODE_POLICY,
                           policy_text(policy, rule->name),
                           "A rule of the administrator refuses it (%s, line %u).",
                           policy_text(policy, rule->file),
                           rule->line);
}

/* A method that the device does wrong is nothing to be chosen for somebody: who asks for it alone is taken to know. */
static unsigned int candidates(const struct policy_rule *rule, const struct policy_question *question) {
        unsigned int methods = question->accepted & question->offered & methods_of(rule, question);

        return question->accepted & ~question->unsound ? methods & ~question->unsound : methods;
}

int policy_decide(const struct policy_block *policy,
                  const struct policy_subject *subject,
                  const struct policy_question *question,
                  struct policy_decision *ret_decision,
                  struct refusal *ret_refusal) {
        struct policy_decision decision = { 0 };
        const struct policy_rule *rule;

        if (question->accepted == 0 || (question->accepted & ~(unsigned int)PINLEASE_METHOD_ANY))
                return refuse(ret_refusal,
                              PINLEASE_CODE_NO_METHOD,
                              "The set of methods 0x%x is empty or has unknown ones. Known are odp (1), pinned (2) and dmabuf (4).",
                              question->accepted);

        rule = find_rule(policy, subject, question);
        if (!rule && question->backing == PINLEASE_BACKING_OTHER)
                return refuse_rule(ret_refusal,
                                   PINLEASE_CODE_BAD_FS,
                                   "builtin:other",
                                   "Files of this file system (type 0x%llx) are registered only by a rule that names "
                                   "it (\"fs_type\"), "
                                   "and there is none. Use %s, or a file on ext4 or xfs.",
                                   (unsigned long long)question->fs_type,
                                   pinnable);
        if (!rule)
                return refuse_rule(ret_refusal, PINLEASE_CODE_BAD_FS, "builtin:other", "No rule allows this memory to be registered.");
        if (!rule->allow)
                return refuse_by(policy, rule, ret_refusal);

        for (unsigned int i = 0; i < rule->n_methods; i++)
                if (candidates(rule, question) & rule->methods[i])
                        decision.methods[decision.n_methods++] = (enum pinlease_method)rule->methods[i];
        if (decision.n_methods == 0)
                return refuse_methods(policy, rule, question, ret_refusal);

        decision.rule = rule;
        *ret_decision = decision;
        return 0;
}
