/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy-lint.h"

#include <string.h>

#include "pattern.h"

#define BACKING(name) (1U << PINLEASE_BACKING_##name)
#define GUARD(name) ((uint32_t)PINLEASE_GUARD_##name)

/* Which guards there can be at the same time, by what the memory is. doc/GUARDS.md, "Every change, on every file
 * system". */
static const struct {
        uint32_t backing, guards;
} possible[] = {
        { BACKING(SHMEM), GUARD(SEALS) | GUARD(POISON) }, /* a memfd that is sealed: nothing else is watched */
        { BACKING(SHMEM), GUARD(LEASE) | GUARD(MODIFY) | GUARD(POISON) }, /* tmpfs */
        { BACKING(HUGETLB), GUARD(SEALS) | GUARD(POISON) },
        { BACKING(HUGETLB), GUARD(MODIFY) | GUARD(POISON) },
        { BACKING(DEVDAX), GUARD(POISON) },
        { BACKING(DMABUF) | BACKING(ANON), 0 },
        { BACKING(FSDAX), GUARD(LEASE) | GUARD(MODIFY) | GUARD(POISON) },
        { BACKING(PAGECACHE), GUARD(LEASE) | GUARD(MODIFY) | GUARD(POISON) },
        { BACKING(OTHER), GUARD(LEASE) | GUARD(MODIFY) | GUARD(POISON) },
};

/* Only a dma-buf has an exporter. */
static uint32_t backings_of(const struct policy_rule *rule) {
        return rule->exporters.n > 0 ? BACKING(DMABUF) : rule->backings;
}

static void lint_exporter(struct policy_reader *reader, uint32_t node, const struct policy_rule *rule) {
        if (rule->exporters.n == 0)
                return;
        if (rule->backings != 0 && !(rule->backings & BACKING(DMABUF)))
                policy_doubt(
                        reader,
                        node,
                        "Only a dma-buf has an exporter, and the backings of this rule have no \"dmabuf\": nothing "
                        "matches it.");
        else if (rule->paths.n > 0 || rule->fs_types.n > 0)
                policy_doubt(
                        reader,
                        node,
                        "Only a dma-buf has an exporter, and it has neither a path nor a file system: nothing matches "
                        "this rule.");
}

void policy_lint_match(struct policy_reader *reader, uint32_t node, const struct policy_rule *rule) {
        lint_exporter(reader, node, rule);
        if (!rule->allow || rule->backings != BACKING(OTHER) || rule->fs_types.n > 0)
                return;
        policy_doubt(reader,
                     node,
                     "Other memory than is known by name is registered only by a rule that names its file system "
                     "(\"fs_type\"): nothing that this rule matches is allowed.");
}

void policy_lint_guards(struct policy_reader *reader, uint32_t node, const struct policy_rule *rule) {
        uint32_t backings = backings_of(rule);

        if (!rule->allow || rule->guards == 0)
                return;
        for (size_t i = 0; i < ELEMENTSOF(possible); i++)
                if ((backings == 0 || (backings & possible[i].backing)) && (rule->guards & ~possible[i].guards) == 0)
                        return;
        policy_doubt(reader,
                     node,
                     "No memory that this rule matches can have %s: all that it matches is refused. Sealed memory "
                     "(memfd) has seals and poison, "
                     "huge pages besides modify if they are not sealed, files have lease, modify and poison.",
                     (rule->guards & (rule->guards - 1)) ? "all these guards at once" : "this guard");
}

/* Written so, nothing is left of the rule when the kernel's own rule has been applied, see policy.h. */
void policy_lint_methods(struct policy_reader *reader, uint32_t node, const struct policy_rule *rule) {
        bool dax = rule->backings & BACKING(FSDAX), cache = rule->backings & BACKING(PAGECACHE);

        if (!rule->allow || rule->n_methods != 1 || rule->methods[0] != PINLEASE_METHOD_PINNED || rule->backings == 0)
                return;
        if ((rule->backings & ~(BACKING(FSDAX) | BACKING(PAGECACHE))) || (cache && (rule->access & POLICY_ACCESS_READ)))
                return;
        policy_doubt(reader,
                     node,
                     "The kernel pins %s for long, whatever a rule says: all that this rule matches is refused. Add "
                     "\"odp\".",
                     dax && cache ? "neither file-system DAX nor, for writing, the page cache"
                     : dax        ? "no file-system DAX"
                                  : "no page cache for writing");
}

void policy_lint_prefetch(struct policy_reader *reader, uint32_t node, const struct policy_rule *rule) {
        if (!rule->allow || !rule->prefetch || rule->n_methods != 1 || rule->methods[0] == PINLEASE_METHOD_ODP)
                return;
        policy_doubt(reader,
                     node,
                     "Only what is registered by ODP is prefetched, and the methods of this rule have no \"odp\".");
}

/* --- covering --- */

struct cover {
        const char *data;
        uint64_t *steps;
};

/* Is the element `narrow` of one list matched by the element `wide` of the other? Both may be addresses in the block.
 */
typedef bool (*element_covers_fn)(const struct cover *cover, const void *wide, const void *narrow);

static bool spend(const struct cover *cover, uint64_t steps) {
        *cover->steps = *cover->steps > steps ? *cover->steps - steps : 0;
        return *cover->steps > 0;
}

static bool pattern_element(const struct cover *cover, const void *wide, const void *narrow) {
        uint32_t w, n;

        memcpy(&w, wide, sizeof w);
        memcpy(&n, narrow, sizeof n);
        return spend(cover, strlen(cover->data + w) * strlen(cover->data + n) / 8) &&
               pattern_covers(cover->data + w, cover->data + n);
}

static bool range_element(const struct cover *cover, const void *wide, const void *narrow) {
        const struct policy_range *w = wide, *n = narrow;

        (void)cover;
        return w->first <= n->first && n->last <= w->last;
}

static bool number_element(const struct cover *cover, const void *wide, const void *narrow) {
        (void)cover;
        return memcmp(wide, narrow, sizeof(uint64_t)) == 0;
}

/* Each of the narrow list is covered by one of the wide. */
static bool list_covers(const struct cover *cover,
                        struct policy_list wide,
                        struct policy_list narrow,
                        size_t size,
                        element_covers_fn covers) {
        if (wide.n == 0 || narrow.n == 0)
                return wide.n == 0;
        for (uint32_t i = 0; i < narrow.n; i++) {
                bool found = false;

                for (uint32_t k = 0; k < wide.n && !found; k++) {
                        if (!spend(cover, 1))
                                return false;
                        found = covers(
                                cover, cover->data + wide.offset + k * size, cover->data + narrow.offset + i * size);
                }
                if (!found)
                        return false;
        }
        return true;
}

static bool patterns_cover(const struct cover *cover, struct policy_list wide, struct policy_list narrow) {
        return list_covers(cover, wide, narrow, sizeof(uint32_t), pattern_element);
}

static bool ids_cover(const struct cover *cover, struct policy_list wide, struct policy_list narrow) {
        return list_covers(cover, wide, narrow, sizeof(struct policy_range), range_element);
}

bool policy_lint_covers(const char *data,
                        const struct policy_rule *first,
                        const struct policy_rule *second,
                        uint64_t *steps) {
        const struct cover cover = { .data = data, .steps = steps };
        uint32_t backings = backings_of(second);

        if (!spend(&cover, 1))
                return false;
        if (first->backings != 0 && (backings == 0 || (backings & ~first->backings)))
                return false;
        /* What rules for other memory have to name, this one does not. */
        if (first->allow && first->fs_types.n == 0 && second->fs_types.n > 0 && second->allow &&
            (backings == 0 || (backings & BACKING(OTHER))))
                return false;
        if ((second->access & ~first->access) || first->size_min > second->size_min ||
            first->size_max < second->size_max)
                return false;
        return list_covers(&cover, first->fs_types, second->fs_types, sizeof(uint64_t), number_element) &&
               ids_cover(&cover, first->uids, second->uids) && ids_cover(&cover, first->gids, second->gids) &&
               patterns_cover(&cover, first->devices, second->devices) &&
               patterns_cover(&cover, first->exporters, second->exporters) &&
               patterns_cover(&cover, first->paths, second->paths) &&
               patterns_cover(&cover, first->cgroups, second->cgroups);
}
