/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy-block.h"

#include <string.h>

#include "util.h"

struct check {
        const char *data;
        size_t size;
        size_t last_text; /* texts begin before: after the last NUL of the block, none ends */
};

/* All that is in the block comes after its header. An empty list is nowhere. */
static bool is_array(const struct check *c, struct policy_list list, uint32_t size, uint32_t alignment) {
        if (list.n == 0)
                return true;
        return list.offset >= sizeof(struct policy_block) && list.offset % alignment == 0 && list.offset <= c->size &&
               list.n <= (c->size - list.offset) / size;
}

/* It ends somewhere, as there is a NUL behind it: no need to find out where. */
static bool is_text(const struct check *c, uint32_t offset) {
        return offset >= sizeof(struct policy_block) && offset < c->last_text;
}

static bool are_texts(const struct check *c, struct policy_list list) {
        const uint32_t *texts;

        if (!is_array(c, list, sizeof *texts, sizeof *texts))
                return false;
        texts = (const uint32_t *)(const void *)(c->data + list.offset);
        for (uint32_t i = 0; i < list.n; i++)
                if (!is_text(c, texts[i]))
                        return false;
        return true;
}

static bool are_ranges(const struct check *c, struct policy_list list) {
        const struct policy_range *ranges;

        if (!is_array(c, list, sizeof *ranges, sizeof(uint32_t)))
                return false;
        ranges = (const struct policy_range *)(const void *)(c->data + list.offset);
        for (uint32_t i = 0; i < list.n; i++)
                if (ranges[i].first > ranges[i].last)
                        return false;
        return true;
}

static bool are_actions(const struct policy_rule *rule) {
        unsigned int seen = 0;

        if (rule->allow > 1 || rule->prefetch > 1 || rule->builtin > 1 || rule->pins_private > 1)
                return false;
        if (!rule->allow)
                return rule->n_methods == 0 && !rule->pins_private;
        if (rule->n_methods < 1 || rule->n_methods > POLICY_MAX_METHODS)
                return false;
        for (unsigned int i = 0; i < rule->n_methods; i++) {
                unsigned int method = rule->methods[i];

                if ((method != PINLEASE_METHOD_ODP && method != PINLEASE_METHOD_PINNED && method != PINLEASE_METHOD_DMABUF) ||
                    (seen & method))
                        return false;
                seen |= method;
        }
        if (rule->pins_private && (!(seen & PINLEASE_METHOD_PINNED) || !(rule->backings & 1U << PINLEASE_BACKING_ANON)))
                return false;
        return (rule->on_layout_change == POLICY_LAYOUT_REVOKE || rule->on_layout_change == POLICY_LAYOUT_NOTIFY) &&
               (rule->force == POLICY_FORCE_STOP || rule->force == POLICY_FORCE_KILL) &&
               (rule->guards & ~(uint32_t)PINLEASE_GUARD_ALL) == 0;
}

static bool is_rule(const struct check *c, const struct policy_rule *rule) {
        return is_text(c, rule->name) && is_text(c, rule->file) && (rule->message == 0 || is_text(c, rule->message)) &&
               rule->access != 0 && (rule->access & ~(uint32_t)POLICY_ACCESS_ANY) == 0 &&
               is_array(c, rule->fs_types, sizeof(uint64_t), sizeof(uint64_t)) && are_ranges(c, rule->uids) &&
               are_ranges(c, rule->gids) && are_texts(c, rule->paths) && are_texts(c, rule->cgroups) &&
               are_texts(c, rule->devices) && are_texts(c, rule->exporters) && rule->size_min <= rule->size_max &&
               are_actions(rule);
}

int policy_block_check(const void *data, size_t size) {
        const struct policy_block *block = data;
        struct check c = { .data = data, .size = size };
        const struct policy_rule *rules;

        if (size < sizeof *block || size > POLICY_MAX_SIZE || (uintptr_t)data % _Alignof(struct policy_block) != 0)
                return -EBADMSG;
        if (block->magic != POLICY_MAGIC || block->version != POLICY_VERSION || block->size != size)
                return -EBADMSG;
        if (block->n_rules > POLICY_MAX_RULES || block->paths > 1 || block->cgroups > 1 || block->pins_private > 1)
                return -EBADMSG;
        if (!is_array(&c,
                      (struct policy_list) { block->rules, block->n_rules },
                      sizeof *rules,
                      _Alignof(struct policy_rule)))
                return -EBADMSG;

        for (c.last_text = size; c.last_text > sizeof *block && c.data[c.last_text - 1] != '\0';)
                c.last_text--;

        rules = policy_rules(block);
        for (uint32_t i = 0; i < block->n_rules; i++) {
                if (!is_rule(&c, rules + i))
                        return -EBADMSG;
                if ((rules[i].paths.n > 0 && !block->paths) || (rules[i].cgroups.n > 0 && !block->cgroups) ||
                    (rules[i].pins_private && !block->pins_private))
                        return -EBADMSG;
        }
        return 0;
}
