/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <infiniband/verbs.h>

#include "explain.h"
#include "testing_policy.h"

/* What is answered about a dma-buf. Here are none, so only the answer is made, of what would have been found. */

#define LIMIT(what) "{\"version\": 1, \"limits\": {\"session\": {\"" what "\": \"64K\"}}}"
#define REFUSE_UDMABUF                                                                                                 \
        "{\"version\": 1, \"rules\": [{\"name\": \"it\", \"match\": {\"exporter\": \"udma*\"}, \"allow\": false}]}"

/* `offered`: 0: nothing is known of the device. */
static struct explanation explain(struct policy_block *policy, unsigned int offered, const char *exporter) {
        static struct policy_subject subject;
        static struct explain_options options;
        struct explanation e = {
                .options = &options,
                .policy = policy,
                .subject = &subject,
                .class = { .kind = PL_FD_DMABUF, .flags = O_RDWR, .page_size = 4096, .size = 1 << 20 },
                .exporter_known = true,
                .request = { .length = 1 << 20, .access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE },
        };

        subject = testing_subject();
        options = (struct explain_options) { .writable = true,
                                             .accepted = EXPLAIN_METHODS,
                                             .has_offers = offered != 0,
                                             .offers = { .offered = offered } };
        (void)snprintf(e.exporter, sizeof e.exporter, "%s", exporter);
        explain_answer(&e);
        return e;
}

static void assert_allowed(const struct explanation *e) {
        assert_int_equal(e->result, 0);
        assert_int_equal(e->decision.methods[0], PINLEASE_METHOD_DMABUF);
        assert_int_equal(e->n_ways, 0);
}

/* As it is charged: credit.h. */
TEST(test_limits) {
        struct policy_block *pins = testing_policy_of(LIMIT("pinned")), *odp = testing_policy_of(LIMIT("odp"));
        struct explanation e = explain(pins, PINLEASE_METHOD_ANY, "system");

        testing_assert_refusal(e.result, &e.refusal, PINLEASE_CODE_PINNED_LIMIT);
        e = explain(odp, PINLEASE_METHOD_ANY, "system");
        assert_allowed(&e);
        free(pins);
        free(odp);
}

static const struct explain_way *find_way(const struct explanation *e, bool memory) {
        for (size_t i = 0; i < e->n_ways; i++)
                if (e->ways[i].memory == memory)
                        return e->ways + i;
        return NULL;
}

/* One that registers none can be changed for another; one of which nothing is known is not refused. */
TEST(test_device) {
        struct policy_block *policy = testing_policy_of("{\"version\": 1}");
        struct explanation e = explain(policy, PINLEASE_METHOD_ODP | PINLEASE_METHOD_PINNED, "system");
        const struct explain_way *way;

        testing_assert_refusal(e.result, &e.refusal, PINLEASE_CODE_NO_DMABUF);
        way = find_way(&e, false);
        assert_non_null(way);
        assert_true(way->device && !way->accept && !way->reading);
        assert_int_equal(way->method, PINLEASE_METHOD_DMABUF);
        way = find_way(&e, true);
        assert_non_null(way);
        assert_int_equal(way->backing, PINLEASE_BACKING_SHMEM);

        e = explain(policy, PINLEASE_METHOD_DMABUF, "system");
        assert_allowed(&e);
        e = explain(policy, 0, "system");
        assert_allowed(&e);
        free(policy);
}

/* Other memory would have no exporter. */
TEST(test_exporter) {
        struct policy_block *policy = testing_policy_of(REFUSE_UDMABUF);
        struct explanation e = explain(policy, PINLEASE_METHOD_ANY, "udmabuf");
        const struct explain_way *way;

        testing_assert_refusal(e.result, &e.refusal, PINLEASE_CODE_POLICY);
        assert_string_equal(e.refusal.rule, "it");
        assert_null(find_way(&e, false));
        way = find_way(&e, true);
        assert_non_null(way);
        assert_int_equal(way->backing, PINLEASE_BACKING_SHMEM);
        e = explain(policy, PINLEASE_METHOD_ANY, "system");
        assert_allowed(&e);
        free(policy);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_limits),
                CHECKED(test_device),
                CHECKED(test_exporter),
        };

        return cmocka_run_group_tests_name("explain_dmabuf", tests, NULL, NULL);
}
