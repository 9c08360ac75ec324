/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy_fixture.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

void policy_fixture_begin(struct policy_fixture *fixture) {
        *fixture = (struct policy_fixture) { .folder = "/tmp/policy-XXXXXX" };
        assert_non_null(mkdtemp(fixture->folder));
}

static void unload(struct policy_fixture *fixture) {
        free(fixture->block);
        fixture->block = NULL;
        policy_problems_done(&fixture->problems);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

void policy_fixture_end(struct policy_fixture *fixture) {
        unload(fixture);
        assert_int_equal(nftw(fixture->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

void policy_fixture_write(struct policy_fixture *fixture, const char *name, const void *text, size_t size) {
        char path[256];
        int fd;

        (void)snprintf(path, sizeof path, "%s/policy.d", fixture->folder);
        if (strncmp(name, "policy.d/", 9) == 0)
                (void)mkdir(path, 0755);
        (void)snprintf(path, sizeof path, "%s/%s", fixture->folder, name);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, size), size);
        pl_close(fd);
}

void policy_fixture_load(struct policy_fixture *fixture) {
        const struct policy_source source = {
                .folder = fixture->folder,
                .check_owner = true,
                .owner = geteuid(),
                .lease_break_ms = FIXTURE_LEASE_BREAK_MS,
                .generation = 7,
        };

        unload(fixture);
        fixture->result = policy_load(&source, &fixture->problems, &fixture->block);
        assert_int_equal(fixture->result == -EBADMSG, fixture->problems.n_errors > 0);
        assert_int_equal(fixture->result == 0, fixture->block != NULL);
        if (!fixture->block)
                return;
        assert_int_equal(policy_block_check(fixture->block, fixture->block->size), 0);
        assert_int_equal(fixture->block->generation, 7);
}

/* Wherever the folder's path stands. */
static void print_without(FILE *f, const char *line, const char *folder) {
        size_t n = strlen(folder);

        for (const char *found; (found = strstr(line, folder)); line = found + n + (found[n] == '/'))
                (void)fprintf(f, "%.*s", (int)(found - line), line);
        (void)fprintf(f, "%s\n", line);
}

char *policy_fixture_lines(const struct policy_fixture *fixture) {
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        assert_non_null(f);
        for (size_t i = 0; i < fixture->problems.n; i++) {
                char *line = policy_problem_format(fixture->problems.list + i);

                assert_non_null(line);
                print_without(f, line, fixture->folder);
                free(line);
        }
        assert_int_equal(fclose(f), 0);
        return text;
}

void policy_fixture_expect(struct policy_fixture *fixture, const char *text, const char *lines) {
        char *said;

        policy_fixture_write(fixture, "policy.json", text, strlen(text));
        policy_fixture_load(fixture);
        said = policy_fixture_lines(fixture);
        if (strcmp(said, lines) != 0)
                fail_msg("of\n%s\nwas said:\n%sand should be:\n%s", text, said, lines);
        free(said);
}
