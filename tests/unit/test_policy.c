/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is so for all memory. What is decided for which is in tests/policy/decide.table, see test_policy_table.c. */

#include "testing.h"

#include <string.h>

#include "testing_policy.h"

#define NONE 0U
#define ODP  ((unsigned int)PINLEASE_METHOD_ODP)
#define ANY  ((unsigned int)PINLEASE_METHOD_ANY)

#define OTHER PINLEASE_BACKING_OTHER

#define WRITE true

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
                .offered = offered,
        };

        const struct policy_subject subject = testing_subject();

        memset(decision, 0xaa, sizeof *decision);
        memset(refusal, 0xaa, sizeof *refusal);
        return policy_decide(testing_policy(), &subject, &question, decision, refusal);
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
                CHECKED(test_methods),
                CHECKED(test_subset),
        };

        return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
