/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "grant_fixture.h"

#include <rdma/ib_user_ioctl_verbs.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "fake_uverbs.h"
#include "grant.h"
#include "revoke.h"
#include "testing_policy.h"

/* Private memory: granted, registered by the app, committed, or not. */

TEST(test_committed) {
        struct ledger_record record;
        struct uverbs_mr_keys keys;
        enum ledger_state state;
        struct fake_mr *mr;
        uint64_t id;

        begin_test();
        id = must_grant(3 * PAGE).id;
        assert_int_equal(f.state.credit.used.odp, 3 * PAGE);
        assert_int_equal(f.state.credit.used.pinned, 0);
        assert_int_equal(f.state.credit.used.registrations, 1);
        assert_live(&f, STATS_ODP, 0, 0);
        assert_true(ledger_read(&f.keeper, 0, &state, &record, &keys));
        assert_int_equal(state, LEDGER_INTENT);
        assert_int_equal(keys.handle, LEDGER_NO_HANDLE);

        mr = fake_app_reg(command_fd(), 3 * PAGE, ADDRESS);
        must_commit(&(struct pl_grant_commit) { id, mr->handle, mr->lkey, mr->rkey, 0 });
        assert_live(&f, STATS_ODP, 1, 3 * PAGE);
        assert_true(ledger_read(&f.keeper, 0, &state, &record, &keys));
        assert_int_equal(state, LEDGER_LIVE);
        assert_int_equal(keys.handle, mr->handle);
        assert_int_equal(keys.lkey, mr->lkey);
        assert_int_equal(keys.rkey, mr->rkey);
        assert_int_equal(record.id, id);
        assert_int_equal(record.backing, PINLEASE_BACKING_ANON);
        assert_int_equal(record.method, PINLEASE_METHOD_ODP);
        assert_int_equal(record.access, WRITING | IBV_ACCESS_ON_DEMAND);
        assert_int_equal(record.iova, ADDRESS);
        assert_int_equal(record.bytes, 3 * PAGE);
        assert_int_equal(f.state.n_grants, 0);

        must_deregister(&f, id);
        assert_null(fake_find(command_fd(), 0));
        assert_nothing(&f);
        assert_int_equal(f.keeper.header->stats.registered[STATS_ODP], 1);
        assert_int_equal(f.keeper.header->stats.deregistered, 1);
        fixture_done(&f);
}

/* Each time one thing is not as it was granted; the grant is gone then, and what the app has registered is not touched.
 */
TEST(test_mismatch) {
        begin_test();
        for (unsigned int i = 0; i < 7; i++) {
                uint64_t id = must_grant(2 * PAGE).id;
                const struct fake_mr *mr =
                        fake_app_reg(command_fd(), i == 0 ? 2 * PAGE + 1 : 2 * PAGE, i == 1 ? ADDRESS + PAGE : ADDRESS);
                struct pl_grant_commit commit = commit_of(id, mr);
                uint32_t handle = mr->handle;

                commit.lkey ^= i == 2;
                commit.rkey ^= i == 3;
                if (i == 4)
                        commit.handle = 1000;
                if (i == 5)
                        commit.handle = LEDGER_NO_HANDLE;
                if (i == 6)
                        fake->query_error = -EIO;
                refused_commit(&commit, PINLEASE_CODE_GRANT_MISMATCH);
                fake->query_error = 0;
                assert_nothing(&f);
                assert_int_equal(f.state.n_grants, 0);
                refused_commit(&commit, PINLEASE_CODE_NO_SUCH_GRANT);
                assert_non_null(fake_find(command_fd(), handle));
                fake_app_dereg(command_fd(), handle);
        }
        fixture_done(&f);
}

/* What is another registration's: one that the registrar has made, one that has been committed before, and one of
 * another context. */
TEST(test_taken) {
        struct pl_register request = make_request(0, PAGE, testing_free_address(PAGE), WRITING);
        struct pl_register_reply brokered;
        struct pl_grant grant = ask_for(PAGE);
        struct pl_grant_reply reply;
        struct refusal refusal;
        struct fake_mr *foreign;
        int fd = testing_memfd(SIZE);
        uint32_t other, handle;
        uint64_t id;

        begin_test();
        request.context = context;
        brokered = must_register(&f, &request, fd);
        grant.address = brokered.iova;
        assert_int_equal(grant_make(&f.state, &grant, &reply, &refusal), 0);
        refused_commit(&(struct pl_grant_commit) { reply.id, brokered.handle, brokered.lkey, brokered.rkey, 0 },
                       PINLEASE_CODE_GRANT_MISMATCH);
        must_deregister(&f, brokered.id);

        id = must_have(PAGE, &handle);
        refused_commit(&(struct pl_grant_commit) { must_grant(PAGE).id,
                                                   handle,
                                                   fake_find(command_fd(), handle)->lkey,
                                                   fake_find(command_fd(), handle)->rkey,
                                                   0 },
                       PINLEASE_CODE_GRANT_MISMATCH);
        must_deregister(&f, id);

        other = must_attach(&f, "/dev/zero");
        foreign = fake_app_reg(f.state.contexts[other].device.fd, PAGE, ADDRESS);
        refused_commit(
                &(struct pl_grant_commit) { must_grant(PAGE).id, foreign->handle, foreign->lkey, foreign->rkey, 0 },
                PINLEASE_CODE_GRANT_MISMATCH);
        assert_true(foreign->live);
        assert_nothing(&f);
        fixture_done(&f);
        pl_close(fd);
}

TEST(test_once) {
        struct pl_grant_commit commit;
        struct fake_mr *mr;
        uint32_t handle;
        uint64_t id;

        begin_test();
        refused_commit(&(const struct pl_grant_commit) { .id = 1 }, PINLEASE_CODE_NO_SUCH_GRANT);
        refused_commit(&(const struct pl_grant_commit) { 0 }, PINLEASE_CODE_NO_SUCH_GRANT);

        /* A second commit changes nothing of what the first has made. */
        id = must_have(PAGE, &handle);
        mr = fake_app_reg(command_fd(), PAGE, ADDRESS);
        commit = commit_of(id, mr);
        refused_commit(&commit, PINLEASE_CODE_NO_SUCH_GRANT);
        must_deregister(&f, id);
        assert_null(fake_find(command_fd(), handle));
        assert_true(mr->live);

        /* Given back. */
        id = must_grant(PAGE).id;
        must_deregister(&f, id);
        assert_nothing(&f);
        commit = commit_of(id, mr);
        refused_commit(&commit, PINLEASE_CODE_NO_SUCH_GRANT);
        fixture_done(&f);
        assert_true(mr->live);
}

TEST(test_many) {
        const struct pl_grant request = ask_for(PAGE);
        uint64_t last = 0, due;
        uint32_t handle;

        begin_test();
        assert_int_equal(grant_due(&f.state), 0);
        for (unsigned int i = 0; i < MAX_GRANTS; i++)
                last = must_grant(PAGE).id;
        refused_grant(&request, PINLEASE_CODE_REGISTRATION_LIMIT);
        assert_int_equal(f.state.credit.used.registrations, MAX_GRANTS);

        must_deregister(&f, last);
        must_have(PAGE, &handle);
        due = grant_due(&f.state);
        assert_true(due > pl_now_ms());
        grant_lapse(&f.state, due - 1);
        assert_int_equal(f.state.n_grants, MAX_GRANTS - 1);
        grant_lapse(&f.state, due + 60000);
        assert_int_equal(f.state.n_grants, 0);
        assert_int_equal(grant_due(&f.state), 0);
        /* What is committed does not lapse. */
        assert_int_equal(f.state.credit.used.registrations, 1);
        assert_live(&f, STATS_ODP, 1, PAGE);
        fixture_done(&f);
}

TEST(test_detached) {
        struct refusal refusal;
        struct fake_mr *mr;
        uint32_t handle;
        uint64_t id;

        begin_test();
        must_have(PAGE, &handle);
        id = must_grant(PAGE).id;
        mr = fake_app_reg(command_fd(), PAGE, ADDRESS);
        assert_int_equal(request_detach(&f.state, context, &refusal), 0);
        refused_commit(&(struct pl_grant_commit) { id, mr->handle, mr->lkey, mr->rkey, 0 },
                       PINLEASE_CODE_NO_SUCH_GRANT);
        assert_nothing(&f);
        assert_true(mr->live);

        /* Another context in its place has another's memory regions. */
        assert_int_equal(must_attach(&f, "/dev/zero"), context);
        refused_commit(&(struct pl_grant_commit) { must_grant(PAGE).id, mr->handle, mr->lkey, mr->rkey, 0 },
                       PINLEASE_CODE_GRANT_MISMATCH);
        fixture_done(&f);
}

/* Another thread of the app works on the handle. */
TEST(test_busy) {
        struct pl_grant_commit commit;
        uint64_t id;

        begin_test();
        id = must_grant(PAGE).id;
        commit = commit_of(id, fake_app_reg(command_fd(), PAGE, ADDRESS));
        fake->n_busy = 100000;
        refused_commit(&commit, PINLEASE_CODE_BUSY);
        assert_int_equal(f.state.n_grants, 1);
        fake->n_busy = 5;
        must_commit(&commit);
        fixture_done(&f);
        assert_null(fake_find(command_fd(), commit.handle));
}

/* The app deregisters by itself what it has committed, and registers something else, which gets the handle. */
TEST(test_meddled) {
        struct fake_mr *mr;
        uint32_t handle;
        uint64_t id;

        begin_test();
        id = must_have(PAGE, &handle);
        fake_app_dereg(command_fd(), handle);
        must_deregister(&f, id);
        assert_nothing(&f);

        id = must_have(PAGE, &handle);
        fake_app_dereg(command_fd(), handle);
        mr = fake_app_reg(command_fd(), PAGE, ADDRESS);
        assert_int_equal(mr->handle, handle);
        must_deregister(&f, id);
        assert_nothing(&f);
        assert_true(mr->live);
        fixture_done(&f);
}

TEST(test_refused) {
        struct pl_grant request;
        static const char *const others[] = {
                "{\"version\": 1, \"rules\": [{\"match\": {\"backing\": \"anon\"}, \"allow\": true}]}",
                "{\"version\": 1, \"rules\": [{\"match\": {}, \"allow\": true, \"methods\": [\"odp\", \"pinned\"]}]}",
                "{\"version\": 1, \"rules\": [{\"match\": {\"backing\": \"anon\"}, \"allow\": true, \"methods\": [\"odp\"]}]}",
        };

        begin_test();
        request = ask_for(PAGE);
        request.context = context + 1;
        refused_grant(&request, PINLEASE_CODE_NO_SUCH_CONTEXT);
        request.context = UINT32_MAX;
        refused_grant(&request, PINLEASE_CODE_NO_SUCH_CONTEXT);
        request = ask_for(0);
        refused_grant(&request, PINLEASE_CODE_ZERO_LENGTH);
        request = ask_for(UINT64_MAX);
        refused_grant(&request, PINLEASE_CODE_RANGE_OVERFLOW);
        request = ask_for(INT64_MAX);
        refused_grant(&request, PINLEASE_CODE_RANGE_OVERFLOW);
        request = ask_for(PAGE);
        request.address = 0;
        refused_grant(&request, PINLEASE_CODE_MISALIGNED);
        request = ask_for(PAGE);
        request.access = IBV_ACCESS_REMOTE_WRITE;
        refused_grant(&request, PINLEASE_CODE_BAD_ACCESS);
        request.access = WRITING | IBV_ACCESS_ON_DEMAND;
        refused_grant(&request, PINLEASE_CODE_BAD_ACCESS);
        request = ask_for(UINT64_C(2) << 30);
        refused_grant(&request, PINLEASE_CODE_ODP_LIMIT);
        request = ask_for(PAGE);
        request.guards = PINLEASE_GUARD_MODIFY;
        refused_grant(&request, PINLEASE_CODE_NO_GUARD);
        request = ask_for(PAGE);
        request.methods = 0;
        refused_grant(&request, PINLEASE_CODE_NO_METHOD);

        /* Pinned: not by the built-in rule, nor by one that does not name it. */
        request.methods = PINLEASE_METHOD_PINNED;
        refused_grant(&request, PINLEASE_CODE_ANON_PIN);
        for (size_t i = 0; i < ELEMENTSOF(others); i++) {
                struct policy_block *policy = testing_policy_of(others[i]);

                f.state.policy = policy;
                refused_grant(&request, PINLEASE_CODE_ANON_PIN);
                free(policy);
        }
        assert_nothing(&f);
        assert_int_equal(raised.n, 0);
        fixture_done(&f);
}

TEST(test_rxe) {
        struct pl_grant request;

        fixture_init(&f, &generous);
        fake->driver_id = RDMA_DRIVER_RXE;
        context = must_attach(&f, "/dev/null");
        request = ask_for(PAGE);
        refused_grant(&request, PINLEASE_CODE_ODP_UNSOUND);
        fixture_done(&f);
}

/* An order to give all back: what is only granted is gone at once, and not waited for. */
TEST(test_revoked) {
        const struct revocation_order order = { .reason = PL_REVOKED_BY_ADMINISTRATOR,
                                                .selector = CONTROL_SELECT_ALL,
                                                .grace_ms = 1000 };
        struct revocation *result;
        struct revoker revoker;
        struct fake_mr *mr;
        uint32_t handle;
        uint64_t id;

        begin_test();
        revoker_init(&revoker, &f.state);
        id = must_grant(PAGE).id;
        assert_int_equal(revoker_begin(&revoker, &order), 0);
        result = revoker_result(&revoker);
        assert_non_null(result);
        revoker_forget(&revoker, result);
        assert_nothing(&f);
        mr = fake_app_reg(command_fd(), PAGE, ADDRESS);
        refused_commit(&(struct pl_grant_commit) { id, mr->handle, mr->lkey, mr->rkey, 0 },
                       PINLEASE_CODE_NO_SUCH_GRANT);

        id = must_have(PAGE, &handle);
        assert_int_equal(revoker_begin(&revoker, &order), 0);
        assert_null(revoker_result(&revoker));
        must_deregister(&f, id);
        result = revoker_result(&revoker);
        assert_non_null(result);
        assert_int_equal(result->counts[REVOCATION_RELEASED], 1);
        revoker_done(&revoker);
        fixture_done(&f);
}

/* The registrar is gone: its keeper destroys what is committed, whatever instant it was, and nothing else. */
TEST(test_keeper) {
        struct force force = { .uverbs = &fake_ops };
        struct cleanup_context contexts[MAX_CONTEXTS];
        struct cleanup_result result;
        struct fake_mr *granted, *written;
        uint32_t handle, slot;
        uint64_t id;

        begin_test();
        for (size_t i = 0; i < MAX_CONTEXTS; i++)
                contexts[i].device = f.state.contexts[i].device;
        must_have(PAGE, &handle);
        must_grant(2 * PAGE);
        granted = fake_app_reg(command_fd(), 2 * PAGE, ADDRESS);
        /* Died between writing the keys and LIVE. */
        id = must_grant(3 * PAGE).id;
        written = fake_app_reg(command_fd(), 3 * PAGE, ADDRESS);
        assert_int_equal(state_find(&f.state, id, &slot), 0);
        ledger_keys(f.state.ledger.entries + slot,
                    &(struct uverbs_mr_keys) { written->handle, written->lkey, written->rkey });

        result = cleanup_ledger(&f.keeper, &force, contexts, MAX_CONTEXTS);
        assert_int_equal(result.destroyed, 2);
        assert_int_equal(result.foreign, 0);
        assert_int_equal(result.kept, 0);
        assert_null(fake_find(command_fd(), handle));
        assert_false(written->live);
        assert_true(granted->live);
        fixture_done(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_committed), CHECKED(test_mismatch), CHECKED(test_taken),   CHECKED(test_once),
                CHECKED(test_many),      CHECKED(test_detached), CHECKED(test_busy),    CHECKED(test_meddled),
                CHECKED(test_refused),   CHECKED(test_rxe),      CHECKED(test_revoked), CHECKED(test_keeper),
        };

        return cmocka_run_group_tests_name("grant", tests, NULL, NULL);
}
