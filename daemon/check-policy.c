/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "check-policy.h"

#include <stdio.h>

#include "builder.h"
#include "policy-load.h"

static struct json_object *problem_object(const struct policy_problem *problem) {
        struct builder object = builder_object();

        builder_text(&object, "severity", problem->warning ? "warning" : "error");
        builder_text(&object, "file", problem->file);
        if (problem->line > 0) {
                builder_number(&object, "line", problem->line);
                builder_number(&object, "column", problem->column);
        }
        if (*problem->path)
                builder_text(&object, "path", problem->path);
        builder_text(&object, "message", problem->sentence);
        return builder_finish(&object);
}

static int print_json(const struct policy_problems *problems) {
        struct builder object = builder_object(), list = builder_array();
        struct json_object *json;

        for (size_t i = 0; i < problems->n; i++)
                builder_append(&list, problem_object(problems->list + i));
        builder_number(&object, "errors", problems->n_errors);
        builder_number(&object, "warnings", problems->n_warnings);
        builder_add(&object, "problems", builder_finish(&list));
        json = builder_finish(&object);
        if (!json)
                return -ENOMEM;
        (void)puts(json_object_to_json_string_ext(json, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
        json_object_put(json);
        return 0;
}

static int print_lines(const struct policy_problems *problems, const struct policy_block *block) {
        for (size_t i = 0; i < problems->n; i++) {
                _cleanup_(pl_freep) char *line = policy_problem_format(problems->list + i);

                if (!line)
                        return -ENOMEM;
                (void)fprintf(stderr, "%s\n", line);
        }
        if (problems->n < problems->n_errors + problems->n_warnings)
                (void)fprintf(stderr, "Only %zu are shown.\n", problems->n);
        if (block)
                (void)printf("The policy is taken: %u rules, the built-in ones included; %zu warnings.\n",
                             block->n_rules,
                             problems->n_warnings);
        else
                (void)fprintf(stderr,
                              "The policy is not taken: %zu errors, %zu warnings.\n",
                              problems->n_errors,
                              problems->n_warnings);
        return 0;
}

int check_policy(const struct check_policy *check) {
        struct policy_problems problems = { 0 };
        struct policy_source source = {
                .files = check->files,
                .n_files = check->n_files,
                .lease_break_ms = policy_lease_break_ms(),
        };
        struct policy_block *block = NULL;
        int r, printed = 0;

        /* A file that is still being written is its author's; what is installed has to be root's. */
        if (check->n_files == 0) {
                source.folder = POLICY_FOLDER;
                source.check_owner = true;
        }
        r = policy_load(&source, &problems, &block);
        if (r == 0 || r == -EBADMSG)
                printed = check->json ? print_json(&problems) : print_lines(&problems, block);
        if (r == -ENOMEM || printed < 0)
                (void)fprintf(stderr, "pinleased: out of memory.\n");
        policy_problems_done(&problems);
        free(block);
        return r < 0 || printed < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
