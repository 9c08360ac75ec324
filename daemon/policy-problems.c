/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy-problems.h"

#include <stdio.h>
#include <string.h>

#include "utf8.h"

/* Errors matter more: one warning, the last, goes for each that finds the list full. */
static struct policy_problem *take_warning(struct policy_problems *problems) {
        for (size_t i = problems->n; i-- > 0;)
                if (problems->list[i].warning) {
                        memmove(problems->list + i,
                                problems->list + i + 1,
                                (problems->n - i - 1) * sizeof *problems->list);
                        return problems->list + problems->n - 1;
                }
        return NULL;
}

struct policy_problem *policy_problems_add(struct policy_problems *problems, bool warning) {
        struct policy_problem *problem;

        if (warning)
                problems->n_warnings++;
        else
                problems->n_errors++;

        if (!problems->list)
                problems->list = calloc(POLICY_MAX_PROBLEMS, sizeof *problems->list);
        if (!problems->list)
                return NULL;
        if (problems->n < POLICY_MAX_PROBLEMS)
                problem = problems->list + problems->n++;
        else
                problem = warning ? NULL : take_warning(problems);
        if (problem)
                *problem = (struct policy_problem) { .warning = warning };
        return problem;
}

static int compare(const void *a, const void *b) {
        const struct policy_problem *x = a, *y = b;

        if (x->source != y->source)
                return x->source < y->source ? -1 : 1;
        if (x->line != y->line)
                return x->line < y->line ? -1 : 1;
        if (x->column != y->column)
                return x->column < y->column ? -1 : 1;
        return strcmp(x->sentence, y->sentence);
}

static void make_whole(char *text) {
        size_t length = strlen(text);
        char *to = text;

        while (length > 0) {
                uint32_t c;
                size_t n = pl_utf8_decode(text, length, &c), step = n > 0 ? n : 1;

                memmove(to, text, n);
                to += n;
                text += step;
                length -= step;
        }
        *to = '\0';
}

void policy_problems_finish(struct policy_problems *problems) {
        for (size_t i = 0; i < problems->n; i++) {
                make_whole(problems->list[i].file);
                make_whole(problems->list[i].path);
                make_whole(problems->list[i].sentence);
        }
        if (problems->n > 0)
                qsort(problems->list, problems->n, sizeof *problems->list, compare);
}

char *policy_problem_format(const struct policy_problem *problem) {
        const char *kind = problem->warning ? "warning" : "error", *separator = *problem->path ? ": " : "";
        char *text;
        int n;

        if (problem->line > 0)
                n = asprintf(&text,
                             "%s:%u:%u: %s: %s%s%s",
                             problem->file,
                             problem->line,
                             problem->column,
                             kind,
                             problem->path,
                             separator,
                             problem->sentence);
        else
                n = asprintf(&text, "%s: %s: %s%s%s", problem->file, kind, problem->path, separator, problem->sentence);
        return n < 0 ? NULL : text;
}

void policy_problems_done(struct policy_problems *problems) {
        free(problems->list);
        *problems = (struct policy_problems) { 0 };
}
