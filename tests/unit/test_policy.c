/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <string.h>

#include "testing_policy.h"

#define NONE   0U
#define ODP    ((unsigned int)PINLEASE_METHOD_ODP)
#define PINNED ((unsigned int)PINLEASE_METHOD_PINNED)
#define ANY    (ODP | PINNED)
#define BAD    (ANY | 1U << 31)

#define OTHER     PINLEASE_BACKING_OTHER
#define SHMEM     PINLEASE_BACKING_SHMEM
#define HUGETLB   PINLEASE_BACKING_HUGETLB
#define FSDAX     PINLEASE_BACKING_FSDAX
#define PAGECACHE PINLEASE_BACKING_PAGECACHE

#define READ  false
#define WRITE true

/* Every question and its answer: methods in their order ("op": ODP, then pinned), or the code of the refusal. Every device
 * can pin, so what one offers is PINNED, ANY, or ANY with an ODP that it does wrong (BAD). */
static const struct {
        enum pinlease_backing backing;
        bool writable;
        unsigned int accepted, offered;
        const char *rule;
        const char *methods;
        enum pinlease_code code;
} table[] = {
        { SHMEM, READ, ODP, PINNED, "builtin:shmem", "", PINLEASE_CODE_NO_ODP },
        { SHMEM, READ, ODP, ANY, "builtin:shmem", "o", 0 },
        { SHMEM, READ, PINNED, PINNED, "builtin:shmem", "p", 0 },
        { SHMEM, READ, PINNED, ANY, "builtin:shmem", "p", 0 },
        { SHMEM, READ, ANY, PINNED, "builtin:shmem", "p", 0 },
        { SHMEM, READ, ANY, ANY, "builtin:shmem", "op", 0 },
        { SHMEM, WRITE, ODP, PINNED, "builtin:shmem", "", PINLEASE_CODE_NO_ODP },
        { SHMEM, WRITE, ODP, ANY, "builtin:shmem", "o", 0 },
        { SHMEM, WRITE, PINNED, PINNED, "builtin:shmem", "p", 0 },
        { SHMEM, WRITE, PINNED, ANY, "builtin:shmem", "p", 0 },
        { SHMEM, WRITE, ANY, PINNED, "builtin:shmem", "p", 0 },
        { SHMEM, WRITE, ANY, ANY, "builtin:shmem", "op", 0 },

        { HUGETLB, READ, ODP, PINNED, "builtin:hugetlb", "", PINLEASE_CODE_NO_ODP },
        { HUGETLB, READ, ODP, ANY, "builtin:hugetlb", "o", 0 },
        { HUGETLB, READ, PINNED, PINNED, "builtin:hugetlb", "p", 0 },
        { HUGETLB, READ, PINNED, ANY, "builtin:hugetlb", "p", 0 },
        { HUGETLB, READ, ANY, PINNED, "builtin:hugetlb", "p", 0 },
        { HUGETLB, READ, ANY, ANY, "builtin:hugetlb", "op", 0 },
        { HUGETLB, WRITE, ODP, PINNED, "builtin:hugetlb", "", PINLEASE_CODE_NO_ODP },
        { HUGETLB, WRITE, ODP, ANY, "builtin:hugetlb", "o", 0 },
        { HUGETLB, WRITE, PINNED, PINNED, "builtin:hugetlb", "p", 0 },
        { HUGETLB, WRITE, PINNED, ANY, "builtin:hugetlb", "p", 0 },
        { HUGETLB, WRITE, ANY, PINNED, "builtin:hugetlb", "p", 0 },
        { HUGETLB, WRITE, ANY, ANY, "builtin:hugetlb", "op", 0 },

        { FSDAX, READ, ODP, PINNED, "builtin:fsdax", "", PINLEASE_CODE_NO_ODP },
        { FSDAX, READ, ODP, ANY, "builtin:fsdax", "o", 0 },
        { FSDAX, READ, PINNED, PINNED, "builtin:fsdax", "", PINLEASE_CODE_FSDAX_PIN },
        { FSDAX, READ, PINNED, ANY, "builtin:fsdax", "", PINLEASE_CODE_FSDAX_PIN },
        { FSDAX, READ, ANY, PINNED, "builtin:fsdax", "", PINLEASE_CODE_FSDAX_PIN },
        { FSDAX, READ, ANY, ANY, "builtin:fsdax", "o", 0 },
        { FSDAX, WRITE, ODP, PINNED, "builtin:fsdax", "", PINLEASE_CODE_NO_ODP },
        { FSDAX, WRITE, ODP, ANY, "builtin:fsdax", "o", 0 },
        { FSDAX, WRITE, PINNED, PINNED, "builtin:fsdax", "", PINLEASE_CODE_FSDAX_PIN },
        { FSDAX, WRITE, PINNED, ANY, "builtin:fsdax", "", PINLEASE_CODE_FSDAX_PIN },
        { FSDAX, WRITE, ANY, PINNED, "builtin:fsdax", "", PINLEASE_CODE_FSDAX_PIN },
        { FSDAX, WRITE, ANY, ANY, "builtin:fsdax", "o", 0 },

        { PAGECACHE, READ, ODP, PINNED, "builtin:pagecache-read", "", PINLEASE_CODE_NO_ODP },
        { PAGECACHE, READ, ODP, ANY, "builtin:pagecache-read", "o", 0 },
        { PAGECACHE, READ, PINNED, PINNED, "builtin:pagecache-read", "", PINLEASE_CODE_PAGECACHE_READ_PIN },
        { PAGECACHE, READ, PINNED, ANY, "builtin:pagecache-read", "", PINLEASE_CODE_PAGECACHE_READ_PIN },
        { PAGECACHE, READ, ANY, PINNED, "builtin:pagecache-read", "", PINLEASE_CODE_PAGECACHE_READ_PIN },
        { PAGECACHE, READ, ANY, ANY, "builtin:pagecache-read", "o", 0 },
        { PAGECACHE, WRITE, ODP, PINNED, "builtin:pagecache-write", "", PINLEASE_CODE_NO_ODP },
        { PAGECACHE, WRITE, ODP, ANY, "builtin:pagecache-write", "o", 0 },
        { PAGECACHE, WRITE, PINNED, PINNED, "builtin:pagecache-write", "", PINLEASE_CODE_PAGECACHE_WRITE_PIN },
        { PAGECACHE, WRITE, PINNED, ANY, "builtin:pagecache-write", "", PINLEASE_CODE_PAGECACHE_WRITE_PIN },
        { PAGECACHE, WRITE, ANY, PINNED, "builtin:pagecache-write", "", PINLEASE_CODE_PAGECACHE_WRITE_PIN },
        { PAGECACHE, WRITE, ANY, ANY, "builtin:pagecache-write", "o", 0 },

        { OTHER, READ, ODP, PINNED, "builtin:other", "", PINLEASE_CODE_BAD_FS },
        { OTHER, READ, ODP, ANY, "builtin:other", "", PINLEASE_CODE_BAD_FS },
        { OTHER, READ, PINNED, PINNED, "builtin:other", "", PINLEASE_CODE_BAD_FS },
        { OTHER, READ, PINNED, ANY, "builtin:other", "", PINLEASE_CODE_BAD_FS },
        { OTHER, READ, ANY, PINNED, "builtin:other", "", PINLEASE_CODE_BAD_FS },
        { OTHER, READ, ANY, ANY, "builtin:other", "", PINLEASE_CODE_BAD_FS },
        { OTHER, WRITE, ODP, PINNED, "builtin:other", "", PINLEASE_CODE_BAD_FS },
        { OTHER, WRITE, ODP, ANY, "builtin:other", "", PINLEASE_CODE_BAD_FS },
        { OTHER, WRITE, PINNED, PINNED, "builtin:other", "", PINLEASE_CODE_BAD_FS },
        { OTHER, WRITE, PINNED, ANY, "builtin:other", "", PINLEASE_CODE_BAD_FS },
        { OTHER, WRITE, ANY, PINNED, "builtin:other", "", PINLEASE_CODE_BAD_FS },
        { OTHER, WRITE, ANY, ANY, "builtin:other", "", PINLEASE_CODE_BAD_FS },

        { SHMEM, READ, ODP, BAD, "builtin:shmem", "o", 0 },
        { SHMEM, READ, PINNED, BAD, "builtin:shmem", "p", 0 },
        { SHMEM, READ, ANY, BAD, "builtin:shmem", "p", 0 },
        { SHMEM, WRITE, ODP, BAD, "builtin:shmem", "o", 0 },
        { SHMEM, WRITE, PINNED, BAD, "builtin:shmem", "p", 0 },
        { SHMEM, WRITE, ANY, BAD, "builtin:shmem", "p", 0 },

        { HUGETLB, READ, ODP, BAD, "builtin:hugetlb", "o", 0 },
        { HUGETLB, READ, PINNED, BAD, "builtin:hugetlb", "p", 0 },
        { HUGETLB, READ, ANY, BAD, "builtin:hugetlb", "p", 0 },
        { HUGETLB, WRITE, ODP, BAD, "builtin:hugetlb", "o", 0 },
        { HUGETLB, WRITE, PINNED, BAD, "builtin:hugetlb", "p", 0 },
        { HUGETLB, WRITE, ANY, BAD, "builtin:hugetlb", "p", 0 },

        { FSDAX, READ, ODP, BAD, "builtin:fsdax", "o", 0 },
        { FSDAX, READ, PINNED, BAD, "builtin:fsdax", "", PINLEASE_CODE_FSDAX_PIN },
        { FSDAX, READ, ANY, BAD, "builtin:fsdax", "", PINLEASE_CODE_ODP_UNSOUND },
        { FSDAX, WRITE, ODP, BAD, "builtin:fsdax", "o", 0 },
        { FSDAX, WRITE, PINNED, BAD, "builtin:fsdax", "", PINLEASE_CODE_FSDAX_PIN },
        { FSDAX, WRITE, ANY, BAD, "builtin:fsdax", "", PINLEASE_CODE_ODP_UNSOUND },

        { PAGECACHE, READ, ODP, BAD, "builtin:pagecache-read", "o", 0 },
        { PAGECACHE, READ, PINNED, BAD, "builtin:pagecache-read", "", PINLEASE_CODE_PAGECACHE_READ_PIN },
        { PAGECACHE, READ, ANY, BAD, "builtin:pagecache-read", "", PINLEASE_CODE_ODP_UNSOUND },
        { PAGECACHE, WRITE, ODP, BAD, "builtin:pagecache-write", "o", 0 },
        { PAGECACHE, WRITE, PINNED, BAD, "builtin:pagecache-write", "", PINLEASE_CODE_PAGECACHE_WRITE_PIN },
        { PAGECACHE, WRITE, ANY, BAD, "builtin:pagecache-write", "", PINLEASE_CODE_ODP_UNSOUND },

        { OTHER, READ, ODP, BAD, "builtin:other", "", PINLEASE_CODE_BAD_FS },
        { OTHER, READ, PINNED, BAD, "builtin:other", "", PINLEASE_CODE_BAD_FS },
        { OTHER, READ, ANY, BAD, "builtin:other", "", PINLEASE_CODE_BAD_FS },
        { OTHER, WRITE, ODP, BAD, "builtin:other", "", PINLEASE_CODE_BAD_FS },
        { OTHER, WRITE, PINNED, BAD, "builtin:other", "", PINLEASE_CODE_BAD_FS },
        { OTHER, WRITE, ANY, BAD, "builtin:other", "", PINLEASE_CODE_BAD_FS },
};

static int decide(enum pinlease_backing backing,
                  bool writable,
                  unsigned int accepted,
                  unsigned int offered,
                  struct policy_decision *decision,
                  struct refusal *refusal) {
        const struct policy_question question = {
                .backing = backing,
                .writable = writable,
                .accepted = accepted,
                .offered = offered & ANY,
                .unsound = offered == BAD ? ODP : NONE,
        };

        const struct policy_subject subject = testing_subject();

        memset(decision, 0xaa, sizeof *decision);
        memset(refusal, 0xaa, sizeof *refusal);
        return policy_decide(testing_policy(), &subject, &question, decision, refusal);
}

TEST(test_table) {
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                struct policy_decision decision;
                struct refusal refusal;
                int r;

                print_message("%s %s, accepted 0x%x, offered 0x%x\n",
                              pl_backing_name(table[i].backing),
                              table[i].writable ? "writable" : "read-only",
                              table[i].accepted,
                              table[i].offered);
                r = decide(table[i].backing, table[i].writable, table[i].accepted, table[i].offered, &decision, &refusal);
                if (table[i].code != 0) {
                        testing_assert_refusal(r, &refusal, table[i].code);
                        assert_int_equal(refusal.error, pl_code_errno(table[i].code));
                        assert_string_equal(refusal.rule, table[i].rule);
                        continue;
                }
                assert_int_equal(r, 0);
                assert_string_equal(policy_text(testing_policy(), decision.rule->name), table[i].rule);
                assert_int_equal(decision.n_methods, strlen(table[i].methods));
                for (unsigned int m = 0; m < decision.n_methods; m++)
                        assert_int_equal(decision.methods[m], table[i].methods[m] == 'o' ? ODP : PINNED);
        }
}

/* The table above has every combination once. */
TEST(test_table_is_complete) {
        static const unsigned int offers[] = { PINNED, ANY, BAD };

        for (int backing = OTHER; backing <= PAGECACHE; backing++)
                for (int writable = 0; writable <= 1; writable++)
                        for (unsigned int accepted = ODP; accepted <= ANY; accepted++)
                                for (size_t o = 0; o < ELEMENTSOF(offers); o++) {
                                        unsigned int n = 0;

                                        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                                                n += table[i].backing == (enum pinlease_backing)backing &&
                                                        table[i].writable == (writable != 0) &&
                                                        table[i].accepted == accepted && table[i].offered == offers[o];
                                        assert_int_equal(n, 1);
                                }
}

/* A set of methods that means nothing is refused before anything else is looked at. */
TEST(test_methods) {
        static const unsigned int bad[] = { 0, 8, 9, 15, 1U << 31, ~0U };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                for (int backing = OTHER; backing <= PINLEASE_BACKING_ANON; backing++) {
                        struct policy_decision decision;
                        struct refusal refusal;

                        testing_assert_refusal(
                                decide((enum pinlease_backing)backing, WRITE, bad[i], ANY, &decision, &refusal),
                                &refusal,
                                PINLEASE_CODE_NO_METHOD);
                        assert_string_equal(refusal.rule, "");
                }
}

/* Nothing is decided that the device does not offer or the app does not take. */
TEST(test_subset) {
        for (int backing = OTHER; backing <= PINLEASE_BACKING_ANON; backing++)
                for (int writable = 0; writable <= 1; writable++)
                        for (unsigned int accepted = ODP; accepted <= PINLEASE_METHOD_ANY; accepted++)
                                for (unsigned int offered = NONE; offered <= PINLEASE_METHOD_ANY; offered++) {
                                        struct policy_decision decision;
                                        struct refusal refusal;
                                        int r;

                                        r = decide((enum pinlease_backing)backing,
                                                   writable,
                                                   accepted,
                                                   offered,
                                                   &decision,
                                                   &refusal);
                                        if (r < 0) {
                                                testing_assert_refusal(r, &refusal, refusal.code);
                                                continue;
                                        }
                                        assert_in_range(decision.n_methods, 1, POLICY_MAX_METHODS);
                                        for (unsigned int m = 0; m < decision.n_methods; m++)
                                                assert_int_equal((unsigned int)decision.methods[m] & ~(accepted & offered), 0);
                                }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_table),
                CHECKED(test_table_is_complete),
                CHECKED(test_methods),
                CHECKED(test_subset),
        };

        return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
