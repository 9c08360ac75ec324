/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy-build.h"

#include <string.h>

#include "util.h"

/* The header's place is kept free from the beginning. Returns the offset, or 0. */
static uint32_t append(struct policy_build *build, const void *data, size_t size, size_t alignment) {
        size_t offset = build->size ? build->size : sizeof(struct policy_block), end;

        offset = (offset + alignment - 1) / alignment * alignment;
        if (build->error)
                return 0;
        if (__builtin_add_overflow(offset, size, &end) || end > POLICY_MAX_SIZE) {
                build->error = -E2BIG;
                return 0;
        }
        if (end > build->capacity) {
                size_t capacity = end + end / 2 + 4096;
                char *bigger = realloc(build->data, capacity);

                if (!bigger) {
                        build->error = -ENOMEM;
                        return 0;
                }
                build->data = bigger;
                build->capacity = capacity;
        }
        memset(build->data + build->size, 0, offset - build->size);
        memcpy(build->data + offset, data, size);
        build->size = end;
        return (uint32_t)offset;
}

static uint32_t append_once(struct policy_build *build, const void *data, size_t size, size_t alignment) {
        uint32_t offset;

        for (size_t i = 0; i < POLICY_BUILD_RECENT; i++) {
                offset = build->recent[i].offset;
                if (build->recent[i].size == size && offset % alignment == 0 && memcmp(build->data + offset, data, size) == 0)
                        return offset;
        }
        offset = append(build, data, size, alignment);
        if (offset) {
                build->recent[build->next % POLICY_BUILD_RECENT].offset = offset;
                build->recent[build->next++ % POLICY_BUILD_RECENT].size = (uint32_t)size;
        }
        return offset;
}

uint32_t policy_build_text(struct policy_build *build, const char *text) {
        return append_once(build, text, strlen(text) + 1, 1);
}

static struct policy_list list_at(uint32_t offset, size_t n) {
        return offset ? (struct policy_list) { .offset = offset, .n = (uint32_t)n } : (struct policy_list) { 0 };
}

struct policy_list policy_build_list(
        struct policy_build *build, const void *elements, size_t n, size_t size, size_t alignment) {
        return list_at(n > 0 ? append_once(build, elements, n * size, alignment) : 0, n);
}

int policy_build_finish(struct policy_build *build,
                        const struct policy_rule *rules,
                        size_t n_rules,
                        struct policy_block **ret_block) {
        struct policy_list list = list_at(
                n_rules > 0 ? append(build, rules, n_rules * sizeof *rules, _Alignof(struct policy_rule)) : 0, n_rules);
        struct policy_block block = {
                .magic = POLICY_MAGIC,
                .version = POLICY_VERSION,
                .rules = list.offset,
                .n_rules = list.n,
        };
        /* So that there always is a NUL behind the last text, and something at all. */
        uint32_t end = append(build, "", 1, 1);

        if (build->error)
                return build->error;
        for (size_t i = 0; i < n_rules; i++) {
                block.paths |= rules[i].paths.n > 0;
                block.cgroups |= rules[i].cgroups.n > 0;
                block.pins_private |= rules[i].pins_private;
        }
        block.size = end + 1;
        memcpy(build->data, &block, sizeof block);
        *ret_block = (struct policy_block *)(void *)build->data;
        *build = (struct policy_build) { 0 };
        return 0;
}

void policy_build_done(struct policy_build *build) {
        free(build->data);
        *build = (struct policy_build) { 0 };
}
