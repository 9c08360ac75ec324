/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy-judge.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "policy-lint.h"

#define MAX_STEPS (UINT64_C(100) << 20) /* of comparing rules: about a second */

/* Where something stands, when the text is there no more. */
struct spot {
        uint32_t source;
        struct policy_place place;
        char path[64];
};

static struct spot spot_of(const struct policy_draft *draft, struct policy_place place, const char *key) {
        struct spot spot = { .source = draft->source, .place = place };

        (void)snprintf(spot.path, sizeof spot.path, "$.rules[%u]%s", draft->index, key);
        return spot;
}

static void _printf_(4, 5)
        say(const struct policy_judge *judge, bool warning, const struct spot *spot, const char *format, ...) {
        struct policy_problem *problem = policy_problems_add(judge->problems, warning);
        va_list ap;

        if (!problem)
                return;
        problem->source = spot->source;
        problem->line = spot->place.line;
        problem->column = spot->place.column;
        (void)snprintf(problem->file, sizeof problem->file, "%s", judge->files[spot->source]);
        (void)snprintf(problem->path, sizeof problem->path, "%s", spot->path);
        va_start(ap, format);
        (void)vsnprintf(problem->sentence, sizeof problem->sentence, format, ap);
        va_end(ap);
}

/* --- grace --- */

/* Who waits for a lease waits for lease-break-time at most, and then goes on whatever is registered: grace and force
 * have to end well before. */
static bool fits(const struct policy_judge *judge, uint32_t grace_ms) {
        return judge->lease_break_ms == 0 || grace_ms <= judge->lease_break_ms / 2;
}

static void say_grace(const struct policy_judge *judge, const struct spot *spot, uint32_t grace_ms) {
        say(judge,
            false,
            spot,
            "A grace of %u ms is too long: programs that change a file wait %u ms (fs.lease-break-time) for its "
            "registrations, and grace "
            "has to fit in half of it, %u ms. Give less, set fs.lease-break-time higher, or let a rule \"notify\" and "
            "have \"odp\" alone.",
            grace_ms,
            judge->lease_break_ms,
            judge->lease_break_ms / 2);
}

/* What is pinned is revoked where others are only notified: the kernel does not keep the device coherent. */
static bool may_revoke(const struct policy_rule *rule) {
        if (rule->on_layout_change == POLICY_LAYOUT_REVOKE)
                return true;
        for (unsigned int i = 0; i < rule->n_methods; i++)
                if (rule->methods[i] == PINLEASE_METHOD_PINNED)
                        return true;
        return false;
}

/* The built-in grace is made to fit; that of other defaults is said once, by judge_defaults(). */
static void judge_grace(const struct policy_judge *judge, struct policy_draft *draft) {
        const struct policy_defaults *defaults = &judge->whole->defaults;
        struct policy_rule *rule = &draft->rule;
        struct spot spot;

        if (draft->grace.line == 0)
                rule->grace_ms = fits(judge, defaults->grace_ms) ? defaults->grace_ms : judge->lease_break_ms / 2;
        if (!may_revoke(rule) || fits(judge, rule->grace_ms))
                return;
        spot = spot_of(draft, draft->grace, ".grace");
        say_grace(judge, &spot, rule->grace_ms);
}

/* Whatever else is said, there are rules that take it over and may revoke: built-in ones. */
static void judge_defaults(const struct policy_judge *judge) {
        const struct policy_defaults *defaults = &judge->whole->defaults;
        const struct spot spot = { .source = defaults->grace_source,
                                   .place = defaults->grace,
                                   .path = "$.defaults.grace" };

        if (defaults->grace_source > 0 && !fits(judge, defaults->grace_ms))
                say_grace(judge, &spot, defaults->grace_ms);
}

static void fill_in(const struct policy_judge *judge, struct policy_draft *draft) {
        const struct policy_defaults *defaults = &judge->whole->defaults;
        struct policy_rule *rule = &draft->rule;

        if (!rule->allow)
                return;
        if (rule->on_layout_change == 0)
                rule->on_layout_change = defaults->on_layout_change;
        if (rule->force == 0)
                rule->force = defaults->force;
        judge_grace(judge, draft);
}

/* --- names --- */

struct name {
        const char *text;
        const struct policy_draft *draft;
};

static int compare_names(const void *a, const void *b) {
        const struct name *x = a, *y = b;
        int r = strcmp(x->text, y->text);

        /* In one array: which comes first. */
        return r != 0 ? r : x->draft < y->draft ? -1 : x->draft > y->draft;
}

static int judge_names(const struct policy_judge *judge) {
        _cleanup_(pl_freep) struct name *names = calloc(judge->whole->n_drafts + 1, sizeof *names);
        size_t n = 0;

        if (!names)
                return -ENOMEM;
        for (size_t i = 0; i < judge->whole->n_drafts; i++) {
                const struct policy_draft *draft = judge->whole->drafts + i;

                if (draft->named.line > 0 && draft->rule.name > 0)
                        names[n++] = (struct name) { judge->data + draft->rule.name, draft };
        }
        qsort(names, n, sizeof *names, compare_names);
        for (size_t i = 1, first = 0; i < n; i++) {
                const struct policy_draft *other = names[first].draft;
                struct spot spot;

                if (strcmp(names[first].text, names[i].text) != 0) {
                        first = i;
                        continue;
                }
                spot = spot_of(names[i].draft, names[i].draft->named, ".name");
                say(judge,
                    false,
                    &spot,
                    "There is a rule of this name already (%.160s:%u): a name should say which rule it was.",
                    judge->files[other->source],
                    other->named.line);
        }
        return 0;
}

int policy_judge(const struct policy_judge *judge) {
        judge_defaults(judge);
        for (size_t i = 0; i < judge->whole->n_drafts; i++)
                fill_in(judge, judge->whole->drafts + i);
        return judge_names(judge);
}

/* --- order --- */

void policy_judge_order(const struct policy_judge *judge) {
        const struct policy_draft *drafts = judge->whole->drafts;
        uint64_t steps = MAX_STEPS;

        /* The built-in ones are below all others, and often meant to be covered. */
        for (size_t i = judge->whole->n_builtin; i < judge->whole->n_drafts && steps > 0; i++)
                for (size_t k = judge->whole->n_builtin; k < i && steps > 0; k++) {
                        const struct policy_rule *first = &drafts[k].rule, *second = &drafts[i].rule;
                        struct spot spot;

                        if (!policy_lint_covers(judge->data, first, second, &steps))
                                continue;
                        spot = spot_of(drafts + i, (struct policy_place) { second->line, second->column }, "");
                        say(judge,
                            true,
                            &spot,
                            "No request gets to this rule: the rule \"%s\" (%.160s:%u), which is asked before, matches "
                            "all that this one matches.",
                            judge->data + first->name,
                            judge->files[drafts[k].source],
                            first->line);
                        break;
                }
}
