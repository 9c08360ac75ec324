/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request_fixture.h"

#include <fcntl.h>
#include <stdlib.h>

#include "fake_uverbs.h"
#include "testing_policy.h"

/* ODP pages that the device gets ahead of their first access: by a rule, by the app's wish, and never at the service's
 * expense. */

#define RULE                                                                                                           \
        "{\"version\": 1, \"rules\": [{\"match\": {}, \"allow\": true, \"methods\": [\"odp\", \"pinned\"], "           \
        "\"prefetch\": true}]}"

struct prefetch_case {
        bool rule, wish;
        uint32_t access;
        uint16_t methods;
        bool hole; /* the range is not wholly in memory */
        int error; /* of ADVISE_MR */

        unsigned int n; /* how often the device is asked to */
        enum uverbs_prefetch how;
        bool done;
};

#define ODP PINLEASE_METHOD_ODP
#define PINNED PINLEASE_METHOD_PINNED

static void punch(int fd) {
        assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(2 * PAGE), (off_t)PAGE), 0);
}

static void run(const struct prefetch_case *c) {
        struct pl_register request = make_request(PAGE, 3 * PAGE, testing_free_address(SIZE), c->access);
        struct policy_block *policy = testing_policy_of(RULE);
        int fd = testing_memfd(SIZE);
        struct pl_register_reply reply;
        struct fixture f;

        fixture_init(&f, &generous);
        if (c->rule)
                f.state.policy = policy;
        request.context = must_attach(&f, "/dev/null");
        request.methods = c->methods;
        request.flags = c->wish ? PINLEASE_FLAG_PREFETCH : 0;
        fake->prefetch_error = c->error;
        if (c->hole)
                punch(fd);

        reply = must_register(&f, &request, fd);
        assert_int_equal(fake->n_prefetched, c->n);
        if (c->n > 0)
                assert_int_equal(fake->prefetched, c->how);
        assert_int_equal(reply.flags, c->done ? PINLEASE_FLAG_PREFETCH : 0);
        must_deregister(&f, reply.id);
        fixture_done(&f);
        pl_close(fd);
        free(policy);
}

TEST(test_cases) {
        static const struct prefetch_case cases[] = {
                { .access = WRITING, .methods = ODP },
                { .access = WRITING, .methods = ODP, .wish = true, .n = 1, .how = UVERBS_PREFETCH_WRITE, .done = true },
                { .access = READING, .methods = ODP, .wish = true, .n = 1, .how = UVERBS_PREFETCH_READ, .done = true },
                { .access = WRITING, .methods = ODP, .rule = true, .n = 1, .how = UVERBS_PREFETCH_WRITE, .done = true },
                { .access = READING,
                  .methods = ODP,
                  .rule = true,
                  .wish = true,
                  .n = 1,
                  .how = UVERBS_PREFETCH_READ,
                  .done = true },
                /* What is pinned has all its pages. */
                { .access = WRITING, .methods = PINNED, .rule = true, .wish = true },
                /* What would have to be allocated is the app's to touch. */
                { .access = WRITING,
                  .methods = ODP,
                  .rule = true,
                  .hole = true,
                  .n = 1,
                  .how = UVERBS_PREFETCH_MAPPED },
                { .access = READING,
                  .methods = ODP,
                  .wish = true,
                  .hole = true,
                  .n = 1,
                  .how = UVERBS_PREFETCH_MAPPED },
                /* Not every driver can; the registration is as good as without. */
                { .access = WRITING, .methods = ODP, .wish = true, .error = -EOPNOTSUPP },
                { .access = WRITING, .methods = ODP, .rule = true, .error = -EFAULT },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                run(cases + i);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_cases),
        };

        return cmocka_run_group_tests_name("prefetch", tests, NULL, NULL);
}
