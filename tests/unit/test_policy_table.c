/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* tests/policy/decide.table: every question that differs in something that the kernel, or the device, cares for. */

#include "testing.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "codec.h"
#include "policy-load.h"
#include "table.h"
#include "testing_policy.h"

static struct table read_table(void) {
        const char *srcdir = getenv("srcdir");
        char path[512], problem[256];
        struct table table;

        (void)snprintf(path, sizeof path, "%s/tests/policy/decide.table", srcdir ? srcdir : ".");
        if (table_read(path, &table, problem, sizeof problem) < 0)
                fail_msg("%s", problem);
        return table;
}

static int decide(const struct policy_block *policy,
                  const struct table_row *row,
                  struct policy_decision *ret_decision,
                  struct refusal *ret_refusal) {
        const struct policy_subject subject = testing_subject();
        const struct policy_question question = {
                .backing = row->backing,
                .writable = row->writable,
                .accepted = row->accepted,
                .offered = row->device.offered,
                .unsound = row->device.unsound,
                .fs_type = row->backing == PINLEASE_BACKING_OTHER ? RAMFS_MAGIC : 0,
        };

        memset(ret_decision, 0xaa, sizeof *ret_decision);
        memset(ret_refusal, 0xaa, sizeof *ret_refusal);
        return policy_decide(policy, &subject, &question, ret_decision, ret_refusal);
}

static struct table_outcome outcome_of(int r, const struct policy_decision *decision, const struct refusal *refusal) {
        struct table_outcome outcome = { .code = PINLEASE_CODE_NONE };

        if (r < 0) {
                testing_assert_refusal(r, refusal, refusal->code);
                assert_int_equal(refusal->error, pl_code_errno(refusal->code));
                outcome.code = refusal->code;
                return outcome;
        }
        assert_in_range(decision->n_methods, 1, POLICY_MAX_METHODS);
        outcome.n_methods = decision->n_methods;
        for (unsigned int i = 0; i < decision->n_methods; i++)
                outcome.methods[i] = decision->methods[i];
        return outcome;
}

/* Compared as text, which is also what is shown. Returns whether they are the same. */
static bool compare(const struct table_row *row, const char *policy, const char *is, const char *should) {
        if (strcmp(is, should) == 0)
                return true;
        print_error("decide.table:%u: %s: the policy says %s, the table %s\n", row->line, policy, is, should);
        return false;
}

TEST(test_decisions) {
        struct table table = read_table();
        unsigned int wrong = 0;

        for (size_t p = 0; p < table.n_policies; p++) {
                const char *text = table.policies[p].text, *name = table.policies[p].name;
                struct policy_block *own = text ? testing_policy_of(text) : NULL;
                const struct policy_block *policy = own ? own : testing_policy();

                for (size_t i = 0; i < table.n_rows; i++) {
                        const struct table_row *row = table.rows + i;
                        struct policy_decision decision;
                        struct refusal refusal;
                        int r = decide(policy, row, &decision, &refusal);
                        struct table_outcome outcome = outcome_of(r, &decision, &refusal);

                        wrong += !compare(
                                row, name, table_outcome_text(&outcome), table_outcome_text(row->outcomes + p));
                        if (!text)
                                wrong += !compare(row,
                                                  name,
                                                  r < 0 ? refusal.rule : policy_text(policy, decision.rule->name),
                                                  row->rule);
                }
                free(own);
        }
        print_message("%zu rows, %zu policies\n", table.n_rows, table.n_policies);
        assert_int_equal(wrong, 0);
        table_free(&table);
}

/* The table leaves out no kind of memory, no access, and no set of methods that matters. */
TEST(test_axes) {
        struct table table = read_table();
        unsigned int accepted = 0, offered = 0, alone = 0;

        for (int b = 0; strcmp(pl_backing_name((enum pinlease_backing)b), "unknown") != 0; b++) {
                bool found = false;

                for (size_t i = 0; i < table.n_backings; i++)
                        found = found || table.backings[i] == (enum pinlease_backing)b;
                if (!found)
                        fail_msg("the table has no %s", pl_backing_name((enum pinlease_backing)b));
        }
        assert_int_equal(table.n_writable, 2);
        assert_true(table.writable[0] != table.writable[1]);
        for (size_t i = 0; i < table.n_accepted; i++) {
                accepted |= table.accepted[i];
                if ((table.accepted[i] & (table.accepted[i] - 1)) == 0)
                        alone |= table.accepted[i];
        }
        assert_int_equal(accepted, PINLEASE_METHOD_ANY);
        assert_int_equal(alone, PINLEASE_METHOD_ANY);
        for (size_t i = 0; i < table.n_devices; i++)
                offered |= table.devices[i].offered;
        assert_int_equal(offered, PINLEASE_METHOD_ANY);
        assert_null(table.policies[0].text);
        table_free(&table);
}

static bool same(const struct table_answer *a, const struct table_answer *b) {
        return a->known == b->known && a->error == b->error && a->since == b->since && a->before == b->before;
}

static bool has(const struct table_outcome *outcome, enum pinlease_method method) {
        for (unsigned int i = 0; i < outcome->n_methods; i++)
                if (outcome->methods[i] == method)
                        return true;
        return false;
}

static bool allows(const struct table_row *row, size_t policy, enum pinlease_method method) {
        return row->outcomes[policy].code == PINLEASE_CODE_NONE && has(row->outcomes + policy, method);
}

/* Nothing is decided that the kernel refuses; and a rule that allows everything is overruled where some kernel would
 * refuse. */
static bool agrees(const struct table *table, const struct table_row *row) {
        bool overruled = false;

        for (size_t p = 0; p < table->n_policies; p++) {
                enum pinlease_code code = row->outcomes[p].code;

                overruled |= code == PINLEASE_CODE_FSDAX_PIN || code == PINLEASE_CODE_PAGECACHE_WRITE_PIN;
                if ((allows(row, p, PINLEASE_METHOD_PINNED) && row->pinned.error != 0) ||
                    (allows(row, p, PINLEASE_METHOD_ODP) && row->odp.error != 0))
                        return false;
        }
        return !overruled || !row->pinned.known || row->pinned.error != 0;
}

/* What the app would take is no matter of the kernel's. */
static bool same_everywhere(const struct table *table, const struct table_row *row) {
        for (const struct table_row *other = table->rows; other < row; other++) {
                if (other->backing != row->backing || other->writable != row->writable)
                        continue;
                if (!same(&other->pinned, &row->pinned))
                        return false;
                if (((other->device.offered ^ row->device.offered) & PINLEASE_METHOD_ODP) == 0 &&
                    !same(&other->odp, &row->odp))
                        return false;
        }
        return true;
}

/* What the table says of the kernel hangs together with what it says of the policy. */
TEST(test_kernel) {
        struct table table = read_table();

        for (size_t i = 0; i < table.n_rows; i++) {
                const struct table_row *row = table.rows + i;

                if (!agrees(&table, row))
                        fail_msg("decide.table:%u: the kernel answers, and the policy decides, but not alike",
                                 row->line);
                if (!same_everywhere(&table, row))
                        fail_msg("decide.table:%u: the kernel answers otherwise in a row above", row->line);
        }
        table_free(&table);
}

/* --- the file's own mistakes --- */

#define AXES "axis backing shmem\naxis access read\naxis accepts odp\naxis device pinned odp!,pinned\n"
#define POLICIES "policy built-in\npolicy any {}\n"
#define FIRST "shmem read odp pinned no-odp builtin:shmem no-odp ok *\n"
#define SECOND "shmem read odp odp!,pinned odp builtin:shmem odp EFAULT>=6.5 EINVAL,EOPNOTSUPP>=6.2\n"

static void expect_problem(const char *text, const char *problem) {
        char path[] = "/tmp/pl-table-XXXXXX", words[256] = "";
        _cleanup_(pl_closep) int fd = mkostemp(path, O_CLOEXEC);
        struct table table;
        int r;

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        r = table_read(path, &table, words, sizeof words);
        (void)unlink(path);
        if (!problem) {
                if (r < 0)
                        fail_msg("%s", words);
                assert_int_equal(table.rows[1].pinned.since, TABLE_VERSION(6, 5));
                assert_int_equal(table_error(&table.rows[1].pinned, TABLE_VERSION(6, 1)), 0);
                assert_int_equal(table_error(&table.rows[1].pinned, TABLE_VERSION(6, 5)), EFAULT);
                assert_int_equal(table_error(&table.rows[1].pinned, TABLE_VERSION(7, 0)), EFAULT);
                assert_int_equal(table_error(&table.rows[1].odp, TABLE_VERSION(6, 1)), EINVAL);
                assert_int_equal(table_error(&table.rows[1].odp, TABLE_VERSION(6, 2)), EOPNOTSUPP);
                assert_true(table.rows[0].pinned.known);
                assert_false(table.rows[0].odp.known);
                table_free(&table);
                return;
        }
        assert_int_equal(r, -1);
        if (!strstr(words, problem))
                fail_msg("\"%s\" does not say \"%s\"", words, problem);
}

TEST(test_mistakes) {
        expect_problem(AXES POLICIES "# comment\n\n" FIRST SECOND, NULL);
        expect_problem(AXES POLICIES FIRST, "no row for: shmem read, accepted 0x1, odp!,pinned");
        expect_problem(AXES POLICIES FIRST SECOND SECOND, ":9: this combination is there already");
        expect_problem(AXES POLICIES FIRST SECOND "hugetlb read odp pinned no-odp r no-odp ok ok\n", "3 rows, but 2");
        expect_problem(AXES POLICIES FIRST "shmem read odp pinned\n", ":8: 4 words, not 9");
        expect_problem(AXES POLICIES FIRST "shmem read odp odp!,pinned odp r odp ok ok ok\n", ":8: 10 words, not 9");
        expect_problem(AXES POLICIES "unknown read odp pinned no-odp r no-odp ok ok\n", "no backing: \"unknown\"");
        expect_problem(AXES POLICIES "shmem any odp pinned no-odp r no-odp ok ok\n", "no access: \"any\"");
        expect_problem(AXES POLICIES "shmem read odp! pinned no-odp r no-odp ok ok\n", "no methods: \"odp!\"");
        expect_problem(AXES POLICIES "shmem read odp,odp pinned no-odp r no-odp ok ok\n", "no methods: \"odp,odp\"");
        expect_problem(AXES POLICIES "shmem read odp pin no-odp r no-odp ok ok\n", "no device: \"pin\"");
        expect_problem(AXES POLICIES "shmem read odp pinned unknown r no-odp ok ok\n", "nor a refusal: \"unknown\"");
        expect_problem(AXES POLICIES "shmem read odp pinned no-odp r none! ok ok\n", "nor a refusal: \"none!\"");
        expect_problem(AXES POLICIES "shmem read odp pinned no-odp r no-odp EFAUL ok\n", "of the kernel: \"EFAUL\"");
        expect_problem(AXES POLICIES "shmem read odp pinned no-odp r no-odp ok ok>=6.5\n",
                       "of the kernel: \"ok>=6.5\"");
        expect_problem(AXES POLICIES "shmem read odp pinned no-odp r no-odp ok EFAULT>=6\n",
                       "of the kernel: \"EFAULT>=6\"");
        expect_problem(AXES POLICIES "shmem read odp pinned no-odp r no-odp ok EFAULT,ok\n",
                       "of the kernel: \"EFAULT,ok\"");
        expect_problem(AXES POLICIES "shmem read odp pinned no-odp r no-odp ok ,EFAULT>=6.1\n",
                       "of the kernel: \",EFAULT>=6.1\"");
        expect_problem("axis backing shmem nothing\n", ":1: axis backing: \"nothing\"");
        expect_problem("axis colour red\n", ":1: axis colour: \"red\"");
        expect_problem(FIRST, ":1: 9 words, not 7");
        expect_problem("", "0 rows, but 0");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_decisions),
                CHECKED(test_axes),
                CHECKED(test_kernel),
                CHECKED(test_mistakes),
        };

        return cmocka_run_group_tests_name("policy table", tests, NULL, NULL);
}
