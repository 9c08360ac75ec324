/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a policy becomes, and what too much of everything costs. */

#include <stdio.h>
#include <string.h>

#include "policy_fixture.h"

static const char *rule_text(const struct policy_block *block, struct policy_list list, uint32_t i) {
        const uint32_t *texts = (const uint32_t *)(const void *)((const char *)block + list.offset);

        assert_true(i < list.n);
        return policy_text(block, texts[i]);
}

static struct policy_range rule_range(const struct policy_block *block, struct policy_list list, uint32_t i) {
        assert_true(i < list.n);
        return ((const struct policy_range *)(const void *)((const char *)block + list.offset))[i];
}

TEST(test_builtin) {
        static const struct {
                const char *name;
                uint32_t backing, access;
                unsigned int n_methods;
        } expected[] = {
                { "builtin:shmem", PINLEASE_BACKING_SHMEM, POLICY_ACCESS_ANY, 2 },
                { "builtin:hugetlb", PINLEASE_BACKING_HUGETLB, POLICY_ACCESS_ANY, 2 },
                { "builtin:fsdax", PINLEASE_BACKING_FSDAX, POLICY_ACCESS_ANY, 1 },
                { "builtin:pagecache-write", PINLEASE_BACKING_PAGECACHE, POLICY_ACCESS_WRITE, 1 },
                { "builtin:pagecache-read", PINLEASE_BACKING_PAGECACHE, POLICY_ACCESS_READ, 1 },
                { "builtin:devdax", PINLEASE_BACKING_DEVDAX, POLICY_ACCESS_ANY, 2 },
                { "builtin:dmabuf", PINLEASE_BACKING_DMABUF, POLICY_ACCESS_ANY, 1 },
                { "builtin:anon", PINLEASE_BACKING_ANON, POLICY_ACCESS_ANY, 1 },
        };
        struct policy_block *block = NULL;
        const struct policy_limits *limits;

        assert_int_equal(policy_load_builtin(45000, 3, &block), 0);
        assert_int_equal(policy_block_check(block, block->size), 0);
        assert_int_equal(block->generation, 3);
        assert_int_equal(block->n_rules, ELEMENTSOF(expected));
        assert_int_equal(ELEMENTSOF(expected), N_BUILTIN);
        assert_false(block->paths || block->cgroups);
        for (size_t i = 0; i < ELEMENTSOF(expected); i++) {
                const struct policy_rule *rule = policy_rules(block) + i;

                assert_string_equal(policy_text(block, rule->name), expected[i].name);
                assert_string_equal(policy_text(block, rule->file), "builtin");
                assert_int_equal(rule->backings, 1U << expected[i].backing);
                assert_int_equal(rule->access, expected[i].access);
                assert_int_equal(rule->n_methods, expected[i].n_methods);
                assert_int_equal(rule->methods[0],
                                 expected[i].backing == PINLEASE_BACKING_DMABUF ? PINLEASE_METHOD_DMABUF : PINLEASE_METHOD_ODP);
                assert_true(rule->allow && rule->builtin && !rule->prefetch && rule->line > 0);
                assert_int_equal(rule->on_layout_change, POLICY_LAYOUT_REVOKE);
                assert_int_equal(rule->force, POLICY_FORCE_STOP);
                assert_int_equal(rule->grace_ms, 3000);
                assert_int_equal(rule->size_min, 0);
                assert_int_equal(rule->size_max, UINT64_MAX);
        }
        /* Those of the options of pinleased. */
        limits = &block->limits;
        assert_int_equal(limits->session.registrations, 1 << 15);
        assert_int_equal(limits->session.pinned, UINT64_C(1) << 30);
        assert_int_equal(limits->session.odp, UINT64_C(1) << 40);
        assert_int_equal(limits->user.registrations, 1 << 20);
        assert_int_equal(limits->user.pinned, UINT64_C(1) << 36);
        assert_int_equal(limits->user.odp, UINT64_C(1) << 44);
        assert_int_equal(limits->user_sessions, 1024);
        assert_int_equal(limits->total_sessions, 4096);
        assert_int_equal(limits->total.registrations, UINT64_MAX);
        assert_int_equal(limits->total.pinned, UINT64_MAX);
        assert_int_equal(limits->total.odp, UINT64_MAX);
        free(block);

        /* It is made to fit where its grace would not; 0 is never. */
        assert_int_equal(policy_load_builtin(4000, 3, &block), 0);
        assert_int_equal(policy_rules(block)->grace_ms, 2000);
        free(block);
        assert_int_equal(policy_load_builtin(0, 3, &block), 0);
        assert_int_equal(policy_rules(block)->grace_ms, 3000);
        free(block);
}

TEST(test_grace_fits) {
        assert_int_equal(policy_fit_grace(3000, 45000), 3000);
        assert_int_equal(policy_fit_grace(22500, 45000), 22500);
        assert_int_equal(policy_fit_grace(22501, 45000), 22500);
        assert_int_equal(policy_fit_grace(600000, 1000), 500);
        assert_int_equal(policy_fit_grace(0, 1000), 0);
        /* For ever. */
        assert_int_equal(policy_fit_grace(600000, 0), 600000);
}

TEST(test_values) {
        static const char text[] = "{ \"version\": 1, \"rules\": [\n"
                                   "  { \"name\": \"all of it\", \"match\": { \"backing\": [ \"fsdax\", \"other\" ], "
                                   "\"access\": [ \"read\", \"write\" ],\n"
                                   "      \"fs_type\": [ \"ext4\", \"xfs\", \"0x5A4F4653\" ], \"path\": [ "
                                   "\"/mnt/p\\u00e4th/**\", \"/srv/*\" ], \"uid\": [ 0, \"7\", \"2000-2999\" ],\n"
                                   "      \"gid\": \"0-4294967294\", \"cgroup\": \"/system.slice/*\", \"size\": { "
                                   "\"min\": 1, \"max\": \"16G\" }, \"device\": \"mlx5_*\" },\n"
                                   "    \"allow\": true, \"methods\": [ \"pinned\", \"odp\" ], \"guards\": [ "
                                   "\"lease\", \"poison\" ], \"on_layout_change\": \"notify\", \"grace\": \"22s\",\n"
                                   "    \"force\": \"kill\", \"prefetch\": true },\n"
                                   "  { \"allow\": false, \"message\": \"Frag \\\"storage@\\\".\" },\n"
                                   "  { \"match\": { \"access\": \"read\", \"size\": { \"max\": 0 }, \"exporter\": [ "
                                   "\"nv*\", \"udmabuf\" ] }, \"allow\": "
                                   "true, \"prefetch\": false, \"methods\": \"odp\" } ] }";
        struct policy_fixture fixture;
        const struct policy_block *b;
        const struct policy_rule *rule;
        const uint64_t *magics;

        policy_fixture_begin(&fixture);
        policy_fixture_write(&fixture, "policy.json", text, sizeof text - 1);
        policy_fixture_load(&fixture);
        b = fixture.block;
        assert_non_null(b);
        assert_int_equal(b->n_rules, 3 + N_BUILTIN);
        assert_true(b->paths && b->cgroups);

        rule = policy_rules(b);
        assert_string_equal(policy_text(b, rule->name), "all of it");
        assert_string_equal(policy_text(b, rule->file) + strlen(fixture.folder), "/policy.json");
        assert_int_equal(rule->line, 2);
        assert_int_equal(rule->column, 3);
        assert_int_equal(rule->backings, 1U << PINLEASE_BACKING_FSDAX | 1U << PINLEASE_BACKING_OTHER);
        assert_int_equal(rule->access, POLICY_ACCESS_ANY);
        assert_int_equal(rule->fs_types.n, 3);
        magics = (const uint64_t *)(const void *)((const char *)b + rule->fs_types.offset);
        assert_int_equal(magics[0], 0xef53);
        assert_int_equal(magics[1], 0x58465342);
        assert_int_equal(magics[2], 0x5a4f4653);
        assert_int_equal(rule->paths.n, 2);
        assert_string_equal(rule_text(b, rule->paths, 0), "/mnt/päth/**");
        assert_string_equal(rule_text(b, rule->paths, 1), "/srv/*");
        assert_string_equal(rule_text(b, rule->cgroups, 0), "/system.slice/*");
        assert_string_equal(rule_text(b, rule->devices, 0), "mlx5_*");
        assert_int_equal(rule->uids.n, 3);
        assert_int_equal(rule_range(b, rule->uids, 0).last, 0);
        assert_int_equal(rule_range(b, rule->uids, 1).first, 7);
        assert_int_equal(rule_range(b, rule->uids, 1).last, 7);
        assert_int_equal(rule_range(b, rule->uids, 2).first, 2000);
        assert_int_equal(rule_range(b, rule->uids, 2).last, 2999);
        assert_int_equal(rule_range(b, rule->gids, 0).last, UINT32_MAX - 1);
        assert_int_equal(rule->size_min, 1);
        assert_int_equal(rule->size_max, UINT64_C(16) << 30);
        assert_true(rule->allow && rule->prefetch && !rule->builtin);
        assert_int_equal(rule->n_methods, 2);
        assert_int_equal(rule->methods[0], PINLEASE_METHOD_PINNED);
        assert_int_equal(rule->methods[1], PINLEASE_METHOD_ODP);
        assert_int_equal(rule->guards, PINLEASE_GUARD_LEASE | PINLEASE_GUARD_POISON);
        assert_int_equal(rule->on_layout_change, POLICY_LAYOUT_NOTIFY);
        assert_int_equal(rule->force, POLICY_FORCE_KILL);
        assert_int_equal(rule->grace_ms, 22000);

        rule++;
        assert_string_equal(policy_text(b, rule->name), "policy.json:7");
        assert_string_equal(policy_text(b, rule->message), "Frag \"storage@\".");
        assert_true(!rule->allow && rule->n_methods == 0 && rule->backings == 0 && rule->paths.n == 0 &&
                    rule->exporters.n == 0);

        rule++;
        assert_int_equal(rule->access, POLICY_ACCESS_READ);
        assert_int_equal(rule->size_max, 0);
        assert_int_equal(rule->exporters.n, 2);
        assert_string_equal(rule_text(b, rule->exporters, 0), "nv*");
        assert_string_equal(rule_text(b, rule->exporters, 1), "udmabuf");
        assert_int_equal(rule->n_methods, 1);
        assert_int_equal(rule->grace_ms, 3000);
        policy_fixture_end(&fixture);
}

/* --- too much --- */

/* prefix, n times the element, suffix. */
static void load_repeated(
        struct policy_fixture *fixture, const char *prefix, const char *element, size_t n, const char *suffix) {
        size_t size = 0, length = strlen(element);
        char *text = malloc(strlen(prefix) + n * length + strlen(suffix) + 1);

        assert_non_null(text);
        size += (size_t)sprintf(text, "%s", prefix);
        for (size_t i = 0; i < n; i++, size += length)
                memcpy(text + size, element, length);
        size += (size_t)sprintf(text + size, "%s", suffix);
        policy_fixture_write(fixture, "policy.json", text, size);
        free(text);
        policy_fixture_load(fixture);
}

static void expect_first(const struct policy_fixture *fixture, const char *path, const char *sentence) {
        assert_true(fixture->problems.n > 0 && fixture->problems.n <= POLICY_MAX_PROBLEMS);
        assert_string_equal(fixture->problems.list[0].path, path);
        assert_string_equal(fixture->problems.list[0].sentence, sentence);
}

TEST(test_too_much) {
        struct policy_fixture fixture;

        policy_fixture_begin(&fixture);
        load_repeated(&fixture, "{ \"version\": 1, \"rules\": [", " ", 10000000, "] }");
        expect_first(&fixture, "", "It is larger than 4194304 bytes.");

        load_repeated(&fixture, "{ \"version\": 1, \"rules\": [", "[", 10000, "");
        expect_first(&fixture, "", "Values are nested deeper than 16, which nothing in a policy needs to be.");
        load_repeated(&fixture, "", "{\"a\":", 10000, "");
        expect_first(&fixture, "", "Values are nested deeper than 16, which nothing in a policy needs to be.");

        /* The built-in ones and one more: as many as there can be; and then one too many. */
        load_repeated(&fixture,
                      "{ \"version\": 1, \"rules\": [",
                      "{\"allow\":true,\"match\":{\"uid\":1}},",
                      POLICY_MAX_RULES - N_BUILTIN - 1,
                      "{\"allow\":true}] }");
        assert_int_equal(fixture.result, 0);
        assert_int_equal(fixture.block->n_rules, POLICY_MAX_RULES);
        assert_int_equal(fixture.problems.n, POLICY_MAX_PROBLEMS);
        assert_int_equal(fixture.problems.n_warnings, POLICY_MAX_RULES - N_BUILTIN - 2);
        load_repeated(&fixture,
                      "{ \"version\": 1, \"rules\": [",
                      "{\"allow\":true},",
                      POLICY_MAX_RULES,
                      "{\"allow\":true}] }");
        assert_int_equal(fixture.problems.n_errors, 1);
        expect_first(&fixture, "$.rules[99992]", "There are more than 100000 rules, the built-in ones included.");

        /* Nothing but errors, and two million values. */
        load_repeated(&fixture, "{ \"version\": 1, \"rules\": [", "1,", 2000000, "1] }");
        assert_int_equal(fixture.problems.n, POLICY_MAX_PROBLEMS);
        load_repeated(&fixture, "{ \"version\": 1, ", "\"x\":1,", 690000, "\"x\": 1 }");
        assert_int_equal(fixture.problems.n, POLICY_MAX_PROBLEMS);
        assert_int_equal(fixture.problems.n_errors, 690001);
        policy_fixture_end(&fixture);
}

/* Errors are not lost among warnings. */
TEST(test_errors_first) {
        struct policy_problems problems = { 0 };
        unsigned int errors = 0;

        for (unsigned int i = 0; i < 3 * POLICY_MAX_PROBLEMS; i++) {
                struct policy_problem *problem = policy_problems_add(&problems, true);

                assert_int_equal(problem != NULL, i < POLICY_MAX_PROBLEMS);
                if (problem)
                        problem->line = i + 1;
        }
        for (unsigned int i = 0; i < 2 * POLICY_MAX_PROBLEMS; i++) {
                struct policy_problem *problem = policy_problems_add(&problems, false);

                assert_int_equal(problem != NULL, i < POLICY_MAX_PROBLEMS);
        }
        for (size_t i = 0; i < problems.n; i++)
                errors += !problems.list[i].warning;
        assert_int_equal(errors, POLICY_MAX_PROBLEMS);
        assert_int_equal(problems.n_errors, 2 * POLICY_MAX_PROBLEMS);
        assert_int_equal(problems.n_warnings, 3 * POLICY_MAX_PROBLEMS);
        policy_problems_done(&problems);
}

/* --- blocks --- */

/* Every four bytes of a right block, with numbers that are right nowhere or somewhere else: it is found out, or whoever
 * reads it stays within it (as a build with sanitizers sees). */
TEST(test_block_check) {
        static const char text[] = "{ \"version\": 1, \"rules\": [ { \"match\": { \"path\": [ \"/a\", \"/b\" ], "
                                   "\"cgroup\": \"/c\", \"device\": \"d\", \"uid\": [ 1, 2 ], \"fs_type\": \"xfs\" }, "
                                   "\"allow\": true }, { \"allow\": false, \"message\": \"no\", \"match\": { "
                                   "\"exporter\": [ \"e\", \"f*\" ] } } ] }";
        static const uint32_t values[] = { 0, 1, 2, 3, 255, 1 << 20, UINT32_MAX, UINT32_MAX - 7 };
        struct policy_fixture fixture;
        unsigned int refused = 0;
        struct policy_block *copy;
        uint32_t size;

        policy_fixture_begin(&fixture);
        policy_fixture_write(&fixture, "policy.json", text, sizeof text - 1);
        policy_fixture_load(&fixture);
        size = fixture.block->size;
        copy = malloc(size);
        assert_non_null(copy);
        for (uint32_t n = 0; n < size; n++)
                assert_int_equal(policy_block_check(fixture.block, n), -EBADMSG);

        for (uint32_t at = 0; at + 4 <= size; at += 4)
                for (size_t v = 0; v < ELEMENTSOF(values); v++) {
                        memcpy(copy, fixture.block, size);
                        memcpy((char *)copy + at, values + v, sizeof *values);
                        if (policy_block_check(copy, size) < 0) {
                                refused++;
                                continue;
                        }
                        for (uint32_t i = 0; i < copy->n_rules; i++) {
                                const struct policy_rule *rule = policy_rules(copy) + i;

                                assert_in_range(strlen(policy_text(copy, rule->name)) +
                                                        strlen(policy_text(copy, rule->message)),
                                                0,
                                                size);
                                for (uint32_t k = 0; k < rule->paths.n; k++)
                                        assert_in_range(strlen(rule_text(copy, rule->paths, k)), 0, size);
                                for (uint32_t k = 0; k < rule->exporters.n; k++)
                                        assert_in_range(strlen(rule_text(copy, rule->exporters, k)), 0, size);
                                for (uint32_t k = 0; k < rule->uids.n; k++)
                                        assert_true(rule_range(copy, rule->uids, k).first <=
                                                    rule_range(copy, rule->uids, k).last);
                        }
                }
        assert_true(refused > 500);

        free(copy);
        policy_fixture_end(&fixture);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_builtin),      CHECKED(test_values),      CHECKED(test_too_much),
                CHECKED(test_errors_first), CHECKED(test_block_check), CHECKED(test_grace_fits),
        };

        return cmocka_run_group_tests_name("policy-load", tests, NULL, NULL);
}
