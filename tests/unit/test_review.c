/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <infiniband/verbs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "dmabuf.h"
#include "fake_uverbs.h"
#include "grant.h"
#include "policy-share.h"
#include "review.h"
#include "revoke_fixture.h"
#include "testing_policy.h"

/* Another policy, while registrations live. */

#define HEAD "{\"version\": 1, \"rules\": ["
#define TAIL "]}"
#define REFUSE_WRITE "{\"match\": {\"access\": \"write\"}, \"allow\": false, \"message\": \"Read, then.\"}"
#define REFUSE_ALL   "{\"match\": {}, \"allow\": false}"
#define NO_ODP       "{\"match\": {\"backing\": \"shmem\"}, \"allow\": true, \"methods\": [\"pinned\"], \"grace\": \"7s\"}"
#define FOLLOW       "{\"match\": {}, \"allow\": true, \"on_layout_change\": \"notify\", \"force\": \"kill\", \"grace\": \"1s\"}"

static struct fixture f;
static struct guards guards;
static struct review review;

static void nothing(void *userdata _unused_, struct guarded *file _unused_, const struct guard_report *report _unused_) {
}

static void begin_test(void) {
        fixture_init(&f);
        review = (struct review) { 0 };
        guards_init(&guards, &(const struct guards_config) { .report = nothing, .mappings = &f.state.mappings });
        f.state.guards = &guards;
        f.state.policy = testing_policy_mapped();
}

static void end_test(void) {
        review_done(&review);
        fixture_done(&f);
        guards_done(&guards);
        f.state.policy = policy_unmap(f.state.policy);
}

static uint32_t adopt(const char *text) {
        struct policy_block *block = testing_policy_of(text);
        int fd = policy_share(block);

        assert_int_equal(review_take(&review, fd), 0);
        pl_close(fd);
        free(block);
        assert_true(review_due(&review) > 0);
        return review_work(&review, &f.state, &f.revoker);
}

static uint64_t reg_as(enum pl_fdkind kind, unsigned int file, uint32_t access, uint16_t methods) {
        const struct pl_register request = {
                .pd = 1, .length = PAGE, .address = testing_free_address(PAGE), .access = access, .methods = methods
        };
        struct pl_register_reply reply;
        struct pl_fdclass class;
        struct refusal refusal;

        assert_int_equal(pl_fdclass_get(f.files[file], &class), 0);
        class.kind = kind;
        assert_int_equal(request_register(&f.state, &request, f.files[file], &class, &reply, &refusal), 0);
        return reply.id;
}

static uint64_t reg_with(unsigned int file, uint32_t access, uint16_t methods) {
        return reg_as(PL_FD_SHMEM, file, access, methods);
}

static const struct registration *registration_of(uint64_t id) {
        uint32_t slot;

        return state_find(&f.state, id, &slot) == 0 ? f.state.registrations + slot : NULL;
}

static bool is_revoking(uint64_t id) {
        return registration_of(id)->flags & REGISTRATION_REVOKING;
}

TEST(test_refused_now) {
        struct pl_packet event;
        uint64_t writes, reads;

        begin_test();
        writes = reg_with(0, IBV_ACCESS_LOCAL_WRITE, PINLEASE_METHOD_PINNED);
        reads = reg_with(1, IBV_ACCESS_REMOTE_READ, PINLEASE_METHOD_PINNED);
        assert_int_equal(adopt(HEAD REFUSE_WRITE TAIL), 1);
        assert_int_equal(review_due(&review), 0);
        assert_true(is_revoking(writes));
        assert_false(is_revoking(reads));
        assert_true(revoker_next_event(&f.revoker, &event));
        assert_int_equal(event.header.opcode, PL_OP_REVOKING);
        assert_int_equal(event.body.revoking.id, writes);
        assert_int_equal(event.body.revoking.reason, PL_REVOKED_BY_POLICY);
        assert_in_range(event.body.revoking.grace_ms, 2900, 3000);
        revoker_told(&f.revoker);
        /* With the time that it was promised, and then without it. */
        pass(3000);
        work(&f);
        assert_null(registration_of(writes));
        assert_false(is_revoking(reads));
        end_test();
}

static const struct pl_grant private = {
        .pd = 1, .address = 16 * PAGE, .length = PAGE, .access = IBV_ACCESS_LOCAL_WRITE, .methods = PINLEASE_METHOD_ODP
};

static uint64_t reg_private(struct fake_mr **ret_mr) {
        struct pl_grant_commit_reply committed;
        struct pl_grant_reply granted;
        struct refusal refusal;
        struct fake_mr *mr;

        assert_int_equal(grant_make(&f.state, &private, &granted, &refusal), 0);
        mr = fake_app_reg(f.state.contexts[0].device.fd, PAGE, 16 * PAGE);
        assert_int_equal(
                grant_commit(&f.state,
                             &(struct pl_grant_commit) { granted.id, mr->handle, mr->lkey, mr->rkey, 0 },
                             &committed,
                             &refusal),
                0);
        *ret_mr = mr;
        return granted.id;
}

/* Private memory has no file and no guards: it is asked for all the same. */
TEST(test_private) {
        struct fake_mr *mr;
        uint64_t id;

        begin_test();
        id = reg_private(&mr);
        assert_int_equal(adopt(HEAD NO_ODP TAIL), 0);
        assert_false(is_revoking(id));
        /* With guards that it cannot have. */
        assert_int_equal(adopt(HEAD "{\"match\": {}, \"allow\": true, \"guards\": [\"modify\"]}" TAIL), 1);
        assert_true(is_revoking(id));
        assert_int_equal(adopt(HEAD TAIL), 0);

        assert_int_equal(adopt(HEAD REFUSE_ALL TAIL), 1);
        pass(3000);
        work(&f);
        assert_null(registration_of(id));
        assert_false(mr->live);
        end_test();
}

#define REFUSE_EXPORTER(pattern) "{\"match\": {\"exporter\": \"" pattern "\"}, \"allow\": false}"

/* Of a dma-buf that lives there is no descriptor any more: whose it is stands in the ledger. */
TEST(test_exporter) {
        struct ledger_record *record;
        uint32_t slot;
        uint64_t id;

        begin_test();
        id = reg_as(PL_FD_DMABUF, 0, IBV_ACCESS_LOCAL_WRITE, PINLEASE_METHOD_DMABUF);
        assert_int_equal(state_find(&f.state, id, &slot), 0);
        record = &f.state.ledger.entries[slot].record;

        /* What is no dma-buf has none. */
        assert_string_equal(record->name, PL_DMABUF_NAME_PREFIX);
        assert_int_equal(adopt(HEAD REFUSE_EXPORTER("**") TAIL), 0);
        (void)snprintf(record->name, sizeof record->name, PL_DMABUF_NAME_PREFIX "%s", "udmabuf");
        assert_int_equal(adopt(HEAD REFUSE_EXPORTER("system") TAIL), 0);
        assert_false(is_revoking(id));
        assert_int_equal(adopt(HEAD REFUSE_EXPORTER("u*") TAIL), 1);
        assert_true(is_revoking(id));
        pass(3000);
        work(&f);
        assert_null(registration_of(id));
        end_test();
}

/* A grant that is refused by now is not committed. */
TEST(test_private_open) {
        struct pl_grant_reply granted;
        struct refusal refusal;

        begin_test();
        assert_int_equal(grant_make(&f.state, &private, &granted, &refusal), 0);
        assert_int_equal(adopt(HEAD FOLLOW TAIL), 0);
        assert_non_null(registration_of(granted.id));
        assert_int_equal(adopt(HEAD REFUSE_ALL TAIL), 1);
        assert_null(registration_of(granted.id));
        assert_int_equal(f.state.n_grants, 0);
        end_test();
}

TEST(test_method) {
        uint64_t pinned, odp;

        begin_test();
        pinned = reg_with(0, IBV_ACCESS_LOCAL_WRITE, PINLEASE_METHOD_PINNED);
        odp = reg_with(1, IBV_ACCESS_LOCAL_WRITE, PINLEASE_METHOD_ODP);
        assert_int_equal(adopt(HEAD NO_ODP TAIL), 1);
        assert_true(is_revoking(odp));
        assert_false(is_revoking(pinned));
        assert_int_equal(registration_of(pinned)->terms.grace_ms, 7000);
        end_test();
}

/* What stays has the new terms: of those only who has registered by ODP is told instead of asked. */
TEST(test_terms) {
        uint64_t pinned, odp;

        begin_test();
        pinned = reg_with(0, IBV_ACCESS_LOCAL_WRITE, PINLEASE_METHOD_PINNED);
        odp = reg_with(1, IBV_ACCESS_LOCAL_WRITE, PINLEASE_METHOD_ODP);
        assert_false(registration_of(odp)->terms.notify);
        assert_int_equal(adopt(HEAD FOLLOW TAIL), 0);
        assert_true(registration_of(odp)->terms.notify);
        assert_false(registration_of(pinned)->terms.notify);
        assert_true(registration_of(pinned)->terms.kill);
        assert_int_equal(registration_of(pinned)->terms.grace_ms, 1000);
        assert_int_equal(adopt(HEAD TAIL), 0);
        assert_false(registration_of(odp)->terms.notify);
        assert_false(registration_of(odp)->terms.kill);
        assert_int_equal(registration_of(odp)->terms.grace_ms, 3000);
        end_test();
}

/* A guard that the new rule insists on. That a reader, or a change, keeps one away for a moment is no reason. */
TEST(test_guards) {
        static const char insists[] = HEAD "{\"match\": {}, \"allow\": true, \"guards\": [\"lease\"]}" TAIL;
        static const struct {
                enum pinlease_guard_reason reason;
                uint32_t n_refused;
        } table[] = {
                { PINLEASE_GUARD_HOLDS, 0 },
                { PINLEASE_GUARD_READER, 0 },
                { PINLEASE_GUARD_CHANGING, 0 },
                { PINLEASE_GUARD_NOT_OWNER, 1 },
                { PINLEASE_GUARD_MEDDLED, 1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                struct guarded *file;

                begin_test();
                file = registration_of(reg(&f, 0))->file;
                file->guards = pl_guards_set(file->guards, GUARD_LEASE, table[i].reason);
                assert_int_equal(adopt(insists), table[i].n_refused);
                end_test();
        }
}

/* As many revocations as there may be: it waits for one to end. The last policy counts, also for what it now allows. */
TEST(test_no_room) {
        uint64_t id;

        begin_test();
        id = reg(&f, 0);
        for (unsigned int i = 0; i < REVOKE_MAX; i++)
                assert_int_equal(begin(&f, CONTROL_SELECT_ID, id + 1, 60000, i), 0);
        assert_int_equal(adopt(HEAD REFUSE_ALL TAIL), 0);
        assert_true(review_due(&review) > 0);
        assert_false(is_revoking(id));
        revoker_forget(&f.revoker, revoker_result(&f.revoker));
        assert_int_equal(review_work(&review, &f.state, &f.revoker), 1);
        assert_true(is_revoking(id));
        assert_int_equal(review_due(&review), 0);
        end_test();
}

/* Two at once: the second is it. */
TEST(test_overtaken) {
        struct policy_block *block = testing_policy_of(HEAD REFUSE_ALL TAIL);
        int fd = policy_share(block);

        begin_test();
        (void)reg(&f, 0);
        assert_int_equal(review_take(&review, fd), 0);
        pl_close(fd);
        free(block);
        assert_int_equal(adopt(HEAD TAIL), 0);
        end_test();
}

/* Nothing is believed of a descriptor but that it is the keeper's. */
TEST(test_no_policy) {
        const struct policy_block *before;
        struct policy_block broken;
        int fd;

        begin_test();
        before = f.state.policy;
        fd = testing_memfd(4096);
        assert_int_equal(review_take(&review, fd), -EPERM);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE), 0);
        assert_int_equal(review_take(&review, fd), -EBADMSG);
        pl_close(fd);
        broken = *before;
        broken.size = sizeof broken;
        fd = policy_share(&broken);
        assert_int_equal(review_take(&review, fd), -EBADMSG);
        pl_close(fd);
        assert_int_equal(review_due(&review), 0);
        assert_int_equal(review_work(&review, &f.state, &f.revoker), 0);
        assert_ptr_equal(f.state.policy, before);
        end_test();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_refused_now), CHECKED(test_private),   CHECKED(test_private_open), CHECKED(test_exporter),
                CHECKED(test_method),      CHECKED(test_terms),     CHECKED(test_guards),       CHECKED(test_no_room),
                CHECKED(test_overtaken),   CHECKED(test_no_policy),
        };

        return cmocka_run_group_tests_name("review", tests, NULL, NULL);
}
