/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "grant_fixture.h"

#include <stdlib.h>

#include "testing_policy.h"

/* Private memory that is pinned: by a rule, and with a limit that is raised for it. */

static const char pins[] = "{\"version\": 1, \"rules\": [{\"match\": {\"backing\": \"anon\"}, \"allow\": true, "
                           "\"methods\": [\"pinned\"], \"prefetch\": true}]}";

static uint64_t must_grant_pin(uint64_t length) {
        const struct pl_grant request = ask_for(length);
        struct pl_grant_reply reply;
        struct refusal refusal;

        assert_int_equal(grant_make(&f.state, &request, &reply, &refusal), 0);
        assert_int_equal(reply.method, PINLEASE_METHOD_PINNED);
        assert_int_equal(reply.iova, ADDRESS);
        return reply.id;
}

/* The limit is raised before the grant is made, by all that is granted; what goes is not in it any more. */
TEST(test_pinned) {
        const struct policy_block *usual;
        struct policy_block *policy;
        struct ledger_record record;
        struct uverbs_mr_keys keys;
        enum ledger_state state;
        struct fake_mr *mr;
        uint64_t id, other;
        uint32_t handle;

        begin_test();
        policy = testing_policy_of(pins);
        usual = f.state.policy;
        f.state.policy = policy;
        id = must_grant_pin(3 * PAGE);
        assert_int_equal(raised.n, 1);
        assert_int_equal(raised.total, 3 * PAGE);
        assert_int_equal(f.state.credit.used.pinned, 3 * PAGE);
        assert_int_equal(f.state.credit.used.odp, 0);
        assert_int_equal(f.state.private_pinned, 3 * PAGE);

        mr = fake_app_reg(command_fd(), 3 * PAGE, ADDRESS);
        must_commit(&(struct pl_grant_commit) { id, mr->handle, mr->lkey, mr->rkey, 0 });
        assert_live(&f, STATS_PINNED, 1, 3 * PAGE);
        assert_live(&f, STATS_ODP, 0, 0);
        assert_true(ledger_read(&f.keeper, 0, &state, &record, &keys));
        assert_int_equal(record.method, PINLEASE_METHOD_PINNED);
        assert_int_equal(record.backing, PINLEASE_BACKING_ANON);
        assert_int_equal(record.access, WRITING);
        assert_int_equal(keys.handle, mr->handle);

        /* One that is open counts as one that is committed; by ODP none does. */
        other = must_grant_pin(2 * PAGE);
        assert_int_equal(raised.total, 5 * PAGE);
        f.state.policy = usual;
        must_have(PAGE, &handle);
        assert_int_equal(raised.n, 2);
        assert_int_equal(f.state.private_pinned, 5 * PAGE);
        must_deregister(&f, id);
        assert_false(mr->live);
        assert_int_equal(f.state.private_pinned, 2 * PAGE);
        must_deregister(&f, other);
        assert_int_equal(f.state.private_pinned, 0);
        assert_int_equal(f.state.credit.used.pinned, 0);
        fixture_done(&f);
        free(policy);
}

/* No limit, no grant; and nothing is left of it. */
TEST(test_not_raised) {
        struct pl_grant request;
        struct pl_grant_reply reply;
        struct policy_block *policy;
        struct refusal refusal;

        begin_test();
        policy = testing_policy_of(pins);
        f.state.policy = policy;
        request = ask_for(PAGE);
        raised.error = -EACCES;
        refused_grant(&request, PINLEASE_CODE_ANON_PIN);
        raised.error = -ESRCH;
        refused_grant(&request, PINLEASE_CODE_KERNEL);
        request.length = generous.pinned + 1;
        refused_grant(&request, PINLEASE_CODE_PINNED_LIMIT);
        assert_int_equal(raised.n, 2);
        request = ask_for(PAGE);
        raised.fatal = -ECONNRESET;
        assert_int_equal(grant_make(&f.state, &request, &reply, &refusal), -ECONNRESET);
        f.state.raise = NULL;
        refused_grant(&request, PINLEASE_CODE_KERNEL);
        assert_int_equal(f.state.private_pinned, 0);
        assert_nothing(&f);
        fixture_done(&f);
        free(policy);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_pinned),
                CHECKED(test_not_raised),
        };

        return cmocka_run_group_tests_name("grant: pinned", tests, NULL, NULL);
}
