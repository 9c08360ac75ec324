/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy-load.h"

#include <stdio.h>
#include <string.h>

#include "policy-files.h"
#include "policy-judge.h"
#include "utf8.h"

struct loading {
        const struct policy_source *source;
        struct policy_problems *problems;
        struct policy_whole whole;
        struct policy_build build;
        char **files; /* names, as problems show them; by their source */
        uint32_t n_files;
        size_t texts; /* bytes that have been read */
};

static void loading_done(struct loading *loading) {
        policy_whole_done(&loading->whole);
        policy_build_done(&loading->build);
        policy_paths_free(loading->files, loading->n_files);
}

/* Names of files get to terminals as well. Returns the source, or -ENOMEM. */
static int add_file(struct loading *loading, const char *path) {
        char **more = realloc(loading->files, (loading->n_files + 1) * sizeof *more), *shown;
        size_t n = strlen(path), size = PL_UTF8_ESCAPED(n);

        if (!more)
                return -ENOMEM;
        loading->files = more;
        shown = malloc(size);
        if (!shown)
                return -ENOMEM;
        pl_utf8_escape(path, n, shown);
        more[loading->n_files] = shown;
        return (int)loading->n_files++;
}

static void say(struct loading *loading, int source, uint32_t line, uint32_t column, const char *sentence) {
        struct policy_problem *problem = policy_problems_add(loading->problems, false);

        if (!problem)
                return;
        problem->source = (uint32_t)source;
        problem->line = line;
        problem->column = column;
        (void)snprintf(problem->file, sizeof problem->file, "%s", loading->files[source]);
        (void)snprintf(problem->sentence, sizeof problem->sentence, "%s", sentence);
}

static int read_text(struct loading *loading, int source, const char *text, size_t size) {
        struct policy_json_error error;
        struct policy_reader reader = {
                .file = loading->files[source],
                .source = (uint32_t)source,
                .problems = loading->problems,
                .build = &loading->build,
                .builtin = source == 0,
        };
        uint32_t line, column;
        int r;

        r = policy_json_init(&reader.json, text, size, &error);
        if (r == 0)
                policy_read_file(&reader, &loading->whole);
        else if (r == -EBADMSG) {
                policy_json_place(&reader.json, error.offset, &line, &column);
                say(loading, source, line, column, error.sentence);
        }
        policy_json_done(&reader.json);
        return r == -ENOMEM ? r : reader.error;
}

/* --- files --- */

static struct policy_owner owner_of(const struct policy_source *source) {
        return (struct policy_owner) { .check = source->check_owner, .uid = source->owner };
}

static int read_file(struct loading *loading, const char *path) {
        const struct policy_owner owner = owner_of(loading->source);
        int source = add_file(loading, path), r;
        _cleanup_(pl_freep) char *text = NULL;
        const char *why = NULL;
        size_t size;

        if (source < 0)
                return source;
        r = policy_file_read(path, &owner, POLICY_MAX_TEXT, &text, &size, &why);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                say(loading, source, 0, 0, why);
                return 0;
        }
        loading->texts += size;
        if (loading->texts > POLICY_MAX_TEXTS) {
                say(loading, source, 0, 0, "All files together are larger than 16 MiB.");
                return -EBADMSG;
        }
        return read_text(loading, source, text, size);
}

static int read_files(struct loading *loading, const char *const *paths, size_t n) {
        int r = 0;

        for (size_t i = 0; i < n && r == 0; i++)
                r = read_file(loading, paths[i]);
        return r;
}

static int say_folder(struct loading *loading, const char *path, const char *why) {
        int source = add_file(loading, path);

        if (source < 0)
                return source;
        say(loading, source, 0, 0, why);
        return 0;
}

static int read_more(struct loading *loading, const char *path) {
        const struct policy_owner owner = owner_of(loading->source);
        const char *why = NULL;
        char **paths;
        size_t n;
        int r;

        r = policy_folder_list(path, &owner, POLICY_MAX_FILES, &paths, &n, &why);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return say_folder(loading, path, why);
        r = read_files(loading, (const char *const *)paths, n);
        policy_paths_free(paths, n);
        return r;
}

static int read_folder(struct loading *loading, const char *folder) {
        const struct policy_owner owner = owner_of(loading->source);
        _cleanup_(pl_freep) char *file = NULL, *more = NULL;
        const char *why = NULL;
        int r = 0;

        if (policy_folder_check(folder, &owner, &why) < 0)
                r = say_folder(loading, folder, why);
        if (r < 0)
                return r;

        if (asprintf(&file, "%s/policy.json", folder) < 0) {
                file = NULL;
                return -ENOMEM;
        }
        if (asprintf(&more, "%s/policy.d", folder) < 0) {
                more = NULL;
                return -ENOMEM;
        }
        if (policy_file_exists(file))
                r = read_file(loading, file);
        return r < 0 ? r : read_more(loading, more);
}

/* --- the whole --- */

/* First, as it is below all others: what it says of defaults and limits is overridden. Its rules go to the end later.
 */
static int read_builtin(struct loading *loading) {
        const struct policy_base *base = loading->source->base;
        int source = add_file(loading, "builtin"), r;

        if (source < 0)
                return source;
        loading->whole.limits = (struct policy_limits) {
                .session = { UINT64_MAX, UINT64_MAX, UINT64_MAX },
                .user = { UINT64_MAX, UINT64_MAX, UINT64_MAX },
                .total = { UINT64_MAX, UINT64_MAX, UINT64_MAX },
                .user_sessions = UINT32_MAX,
                .total_sessions = UINT32_MAX,
        };
        r = read_text(loading, source, policy_default_text, strlen(policy_default_text));
        loading->whole.n_builtin = loading->whole.n_drafts;
        if (base) {
                loading->whole.limits = base->limits;
                loading->whole.defaults.grace_ms = base->grace_ms;
                loading->whole.defaults.on_layout_change = (uint8_t)base->on_layout_change;
                loading->whole.defaults.force = (uint8_t)base->force;
        }
        return r;
}

static int finish(struct loading *loading, struct policy_block **ret_block) {
        const struct policy_whole *whole = &loading->whole;
        _cleanup_(pl_freep) struct policy_rule *rules = calloc(whole->n_drafts + 1, sizeof *rules);
        struct policy_block *block;
        int r;

        if (!rules)
                return -ENOMEM;
        for (size_t i = 0; i < whole->n_drafts; i++)
                rules[i] = whole->drafts[(i + whole->n_builtin) % whole->n_drafts].rule;
        r = policy_build_finish(&loading->build, rules, whole->n_drafts, &block);
        if (r < 0)
                return r;
        block->limits = whole->limits;
        block->generation = loading->source->generation;
        *ret_block = block;
        return 0;
}

static int load(struct loading *loading, struct policy_block **ret_block) {
        const struct policy_source *source = loading->source;
        struct policy_judge judge = {
                .whole = &loading->whole,
                .problems = loading->problems,
                .lease_break_ms = source->lease_break_ms,
        };
        int r;

        r = read_builtin(loading);
        if (r == 0 && source->folder)
                r = read_folder(loading, source->folder);
        if (r == 0)
                r = read_files(loading, source->files, source->n_files);
        if (r == 0 && loading->build.error == -ENOMEM)
                r = -ENOMEM;
        if (r < 0)
                return r;

        judge.files = (const char *const *)loading->files;
        judge.data = loading->build.data;
        if (loading->build.error == 0)
                r = policy_judge(&judge);
        if (r < 0)
                return r;
        if (loading->problems->n_errors > 0)
                return -EBADMSG;
        if (loading->build.error == 0)
                policy_judge_order(&judge);
        r = finish(loading, ret_block);
        if (r == -E2BIG) {
                say(loading,
                    (int)loading->n_files - 1,
                    0,
                    0,
                    "The policy would need more than 64 MiB of memory, this file and all before.");
                r = -EBADMSG;
        }
        return r;
}

int policy_load(const struct policy_source *source, struct policy_problems *problems, struct policy_block **ret_block) {
        _cleanup_(loading_done) struct loading loading = { .source = source, .problems = problems };
        int r = load(&loading, ret_block);

        policy_problems_finish(problems);
        return r;
}

uint32_t policy_lease_break_ms(void) {
        unsigned int seconds = 45;
        FILE *f = fopen("/proc/sys/fs/lease-break-time", "re");

        if (f) {
                if (fscanf(f, "%u", &seconds) != 1)
                        seconds = 45;
                (void)fclose(f);
        }
        return seconds < UINT32_MAX / 1000 ? seconds * 1000 : 0;
}

uint32_t policy_fit_grace(uint32_t grace_ms, uint32_t lease_break_ms) {
        return lease_break_ms && grace_ms > lease_break_ms / 2 ? lease_break_ms / 2 : grace_ms;
}

int policy_load_builtin(uint32_t lease_break_ms, uint64_t generation, struct policy_block **ret_block) {
        const struct policy_source source = { .lease_break_ms = lease_break_ms, .generation = generation };
        struct policy_problems problems = { 0 };
        int r = policy_load(&source, &problems, ret_block);

        policy_problems_done(&problems);
        return r == 0 ? 0 : -ENOMEM; /* there is nothing wrong with it */
}
