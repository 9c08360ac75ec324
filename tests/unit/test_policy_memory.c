/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Every allocation fails in turn: there is a whole policy, or none and -ENOMEM; never one that is said to be wrong. */

#include <string.h>

#include "policy_fixture.h"

void *__real_malloc(size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_calloc(size_t n, size_t size);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_calloc(size_t n, size_t size);
char *__wrap_strdup(const char *text);

static unsigned int fail_at, n_allocations;

static bool fails(void) {
        bool now = fail_at > 0 && ++n_allocations == fail_at;

        if (now)
                errno = ENOMEM;
        return now;
}

void *__wrap_malloc(size_t size) {
        return fails() ? NULL : __real_malloc(size);
}

void *__wrap_realloc(void *p, size_t size) {
        return fails() ? NULL : __real_realloc(p, size);
}

void *__wrap_calloc(size_t n, size_t size) {
        return fails() ? NULL : __real_calloc(n, size);
}

char *__wrap_strdup(const char *text) {
        return fails() ? NULL : __real_strdup(text);
}

/* Returns how many allocations there are. */
static unsigned int fail_each(const char *text, int result, size_t n_errors, size_t n_warnings) {
        struct policy_fixture fixture;
        unsigned int n;

        policy_fixture_begin(&fixture);
        policy_fixture_write(&fixture, "policy.json", text, strlen(text));
        policy_fixture_write(&fixture, "policy.d/1.json", "{ \"version\": 1 }", 16);
        for (n = 1;; n++) {
                const struct policy_source source = { .folder = fixture.folder, .lease_break_ms = 45000 };
                struct policy_problems problems = { 0 };
                struct policy_block *block = NULL;
                int r;

                n_allocations = 0;
                fail_at = n;
                r = policy_load(&source, &problems, &block);
                fail_at = 0;
                assert_true(r == result || r == -ENOMEM);
                assert_int_equal(r == 0, block != NULL);
                if (block)
                        assert_int_equal(policy_block_check(block, block->size), 0);
                if (r == result) {
                        assert_int_equal(problems.n_errors, n_errors);
                        assert_int_equal(problems.n_warnings, n_warnings);
                }
                free(block);
                policy_problems_done(&problems);
                if (n_allocations < n)
                        break;
        }
        policy_fixture_end(&fixture);
        return n - 1;
}

TEST(test_right) {
        assert_true(fail_each("{ \"version\": 1, \"rules\": [ { \"name\": \"a\", \"match\": { \"path\": [ \"/a/**\", "
                              "\"/b\" ], \"uid\": 1, \"fs_type\": \"xfs\" },"
                              " \"allow\": true, \"methods\": \"odp\" }, { \"allow\": false, \"message\": \"no\" }, { "
                              "\"allow\": true } ] }",
                              0,
                              0,
                              1) > 50);
}

TEST(test_wrong) {
        assert_true(fail_each("{ \"version\": 1, \"limit\": {}, \"rules\": [ { \"name\": \"a\", \"allow\": true, "
                              "\"grace\": \"1h\" }, { \"name\": \"a\", \"allow\": true } ] }",
                              -EBADMSG,
                              3,
                              0) > 50);
}

/* No problem of its own: whoever asks for the built-in policy has it, or no memory. */
TEST(test_builtin) {
        for (fail_at = 1;; fail_at++) {
                struct policy_block *block = NULL;
                unsigned int n = fail_at;
                int r;

                n_allocations = 0;
                r = policy_load_builtin(45000, 1, &block);
                assert_true(r == 0 || r == -ENOMEM);
                free(block);
                if (n_allocations < n)
                        break;
        }
        assert_true(fail_at > 20);
        fail_at = 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_right),
                CHECKED(test_wrong),
                CHECKED(test_builtin),
        };

        return cmocka_run_group_tests_name("policy-memory", tests, NULL, NULL);
}
