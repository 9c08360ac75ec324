/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <infiniband/verbs.h>

#include "dmabuf.h"
#include "question.h"
#include "testing_policy.h"

/* What a registrar finds out for the policy, and what it does when it cannot. */

#define REFUSE(pattern)                                                                                                \
        "{\"version\": 1, \"rules\": [{\"name\": \"it\", \"match\": {\"exporter\": \"" pattern                         \
        "\"}, \"allow\": false}]}"

static const char *ask(const char *policy, const struct question_of *of, struct refusal *refusal) {
        struct policy_block *block = testing_policy_of(policy);
        struct registrar_state state = { .policy = block, .subject = testing_subject() };
        struct policy_decision decision;
        int r = question_ask(&state, of, &decision, refusal);

        assert_true(r == 0 || r == REFUSED);
        free(block);
        return r == 0 ? "" : refusal->rule;
}

static const struct context context = { .name = "mlx5_0", .methods = PINLEASE_METHOD_ANY };

static struct question_of of_dmabuf(int fd, const char *name) {
        static const struct pl_fdclass class = { .kind = PL_FD_DMABUF };

        return (struct question_of) {
                .context = &context,
                .class = &class,
                .fd = fd,
                .name = name,
                .backing = PINLEASE_BACKING_DMABUF,
                .access = IBV_ACCESS_REMOTE_READ,
                .length = 4096,
                .accepted = PINLEASE_METHOD_DMABUF,
        };
}

TEST(test_ledgers_name) {
        static const struct {
                const char *name, *rule;
        } table[] = {
                { PL_DMABUF_NAME_PREFIX "udmabuf", "it" },
                { PL_DMABUF_NAME_PREFIX "system", "" },
                { PL_DMABUF_NAME_PREFIX, "" },
                { "udmabuf", "" },
                { "", "" },
                { NULL, "" },
        };
        struct refusal refusal;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                const struct question_of of = of_dmabuf(-1, table[i].name);

                assert_string_equal(ask(REFUSE("udma*"), &of, &refusal), table[i].rule);
        }
}

/* What is no dma-buf has no exporter, whatever it is called. */
TEST(test_other_memory) {
        struct question_of of = of_dmabuf(-1, PL_DMABUF_NAME_PREFIX "udmabuf");
        struct refusal refusal;

        of.backing = PINLEASE_BACKING_SHMEM;
        of.accepted = PINLEASE_METHOD_ODP;
        assert_string_equal(ask(REFUSE("udma*"), &of, &refusal), "");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_ledgers_name),
                CHECKED(test_other_memory),
        };

        return cmocka_run_group_tests_name("question", tests, NULL, NULL);
}
