/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "revoke_fixture.h"

#include <string.h>

#include "fake_uverbs.h"

static void dereg(struct fixture *f, uint64_t id) {
        struct refusal refusal;

        assert_int_equal(request_deregister(&f->state, id, &refusal), 0);
}

static unsigned int entry_state(const struct fixture *f, uint64_t id) {
        return atomic_load(&f->state.ledger.entries[(uint32_t)id].state);
}

/* The next event is this one, with about that much time left. */
static void expect_event(struct fixture *f, uint16_t opcode, uint64_t id, uint32_t grace_ms) {
        struct pl_packet packet;

        assert_true(revoker_next_event(&f->revoker, &packet));
        assert_int_equal(packet.header.opcode, opcode);
        assert_int_equal(pl_packet_check(&packet, packet.header.length, 0, PL_FROM_SESSION), PINLEASE_CODE_NONE);
        if (opcode == PL_OP_REVOKING) {
                assert_int_equal(packet.body.revoking.id, id);
                assert_int_equal(packet.body.revoking.length, PAGE);
                assert_int_equal(packet.body.revoking.reason, PL_REVOKED_BY_ADMINISTRATOR);
                assert_in_range(packet.body.revoking.grace_ms, grace_ms - grace_ms / 4, grace_ms);
                assert_true(strlen(packet.body.revoking.sentence) > 50);
        } else {
                assert_int_equal(packet.body.revoked.id, id);
                assert_int_equal(packet.body.revoked.length, PAGE);
                assert_int_equal(packet.body.revoked.reason, PL_REVOKED_BY_ADMINISTRATOR);
                assert_true(strlen(packet.body.revoked.sentence) > 50);
        }
        revoker_told(&f->revoker);
}

static void expect_no_event(struct fixture *f) {
        struct pl_packet packet;

        assert_false(revoker_next_event(&f->revoker, &packet));
        assert_int_equal(f->revoker.n_untold, 0);
}

static void expect_result(struct fixture *f, uint64_t cookie, uint32_t released, uint32_t forced, uint32_t kept) {
        struct revocation *result = revoker_result(&f->revoker);

        assert_non_null(result);
        assert_int_equal(result->cookie, cookie);
        assert_int_equal(result->counts[REVOCATION_RELEASED], released);
        assert_int_equal(result->counts[REVOCATION_FORCED], forced);
        assert_int_equal(result->counts[REVOCATION_KEPT], kept);
        revoker_forget(&f->revoker, result);
}

static void expect_no_result(struct fixture *f) {
        assert_null(revoker_result(&f->revoker));
}

/* One is let go in time, one is taken. */
TEST(test_deadline) {
        struct fixture f;
        uint64_t a, b, c;

        fixture_init(&f);
        a = reg(&f, 0);
        b = reg(&f, 0);
        assert_int_equal(revoker_due(&f.revoker), 0);
        assert_int_equal(begin(&f, CONTROL_SELECT_ALL, 0, 60000, 5), 0);
        c = reg(&f, 0);
        assert_int_equal(entry_state(&f, a), LEDGER_REVOKING);
        assert_int_equal(entry_state(&f, c), LEDGER_LIVE);
        expect_event(&f, PL_OP_REVOKING, a, 60000);
        expect_event(&f, PL_OP_REVOKING, b, 60000);
        expect_no_event(&f);
        dereg(&f, a);
        expect_no_result(&f);

        pass(30000);
        work(&f);
        assert_int_equal(fake_live(), 2);
        pass(30000);
        work(&f);
        assert_int_equal(fake_live(), 1);
        assert_int_equal(entry_state(&f, b), LEDGER_FREE);
        expect_result(&f, 5, 1, 1, 0);
        expect_event(&f, PL_OP_REVOKED, b, 0);
        expect_no_event(&f);
        expect_no_result(&f);
        assert_int_equal(revoker_due(&f.revoker), 0);
        fixture_done(&f);
}

TEST(test_select) {
        struct pl_fdclass class;
        struct fixture f;
        uint64_t a, b;

        fixture_init(&f);
        assert_int_equal(begin(&f, CONTROL_SELECT_ALL, 0, 100, 1), 0);
        expect_result(&f, 1, 0, 0, 0);
        a = reg(&f, 0);
        b = reg(&f, 1);
        assert_int_equal(begin(&f, CONTROL_SELECT_ID, a + 1, 100, 2), 0);
        expect_result(&f, 2, 0, 0, 0);
        assert_int_equal(begin(&f, CONTROL_SELECT_ID, 0, 100, 3), 0);
        expect_result(&f, 3, 0, 0, 0);
        assert_int_equal(begin(&f, (enum control_selector)0, a, 100, 3), -EINVAL);
        assert_int_equal(begin(&f, (enum control_selector)5, a, 100, 3), -EINVAL);
        expect_no_result(&f);

        assert_int_equal(begin(&f, CONTROL_SELECT_ID, b, 0, 4), 0);
        work(&f);
        expect_result(&f, 4, 0, 1, 0);
        expect_event(&f, PL_OP_REVOKED, b, 0);
        assert_int_equal(pl_fdclass_get(f.files[0], &class), 0);
        b = reg(&f, 1);
        assert_int_equal(revoker_begin(&f.revoker,
                                       &(struct revocation_order) {
                                               .reason = PL_REVOKED_BY_ADMINISTRATOR,
                                               .selector = CONTROL_SELECT_FILE,
                                               .device = class.dev,
                                               .inode = class.inode,
                                               .length = UINT64_MAX,
                                               .cookie = 5,
                                       }),
                         0);
        work(&f);
        expect_result(&f, 5, 0, 1, 0);
        assert_int_equal(entry_state(&f, a), LEDGER_FREE);
        assert_int_equal(entry_state(&f, b), LEDGER_LIVE);
        fixture_done(&f);
}

/* The earliest deadline counts, for both; the app is told again only of less time. */
TEST(test_second) {
        struct fixture f;
        uint64_t a;

        fixture_init(&f);
        a = reg(&f, 0);
        assert_int_equal(begin(&f, CONTROL_SELECT_ID, a, 10000, 1), 0);
        expect_event(&f, PL_OP_REVOKING, a, 10000);
        assert_int_equal(begin(&f, CONTROL_SELECT_ALL, 0, 90000, 2), 0);
        expect_no_event(&f);
        assert_int_equal(begin(&f, CONTROL_SELECT_ALL, 0, 1000, 3), 0);
        expect_event(&f, PL_OP_REVOKING, a, 1000);
        pass(1000);
        work(&f);
        assert_int_equal(fake_live(), 0);
        expect_result(&f, 1, 0, 1, 0);
        expect_result(&f, 2, 0, 1, 0);
        expect_result(&f, 3, 0, 1, 0);

        /* What it was not told before it happened it is not told after. What is gone is not revoked again. */
        assert_int_equal(begin(&f, CONTROL_SELECT_ALL, 0, 1000, 4), 0);
        expect_result(&f, 4, 0, 0, 0);
        assert_int_equal(begin(&f, CONTROL_SELECT_ID, a, 1000, 5), 0);
        expect_result(&f, 5, 0, 0, 0);
        expect_event(&f, PL_OP_REVOKED, a, 0);
        expect_no_event(&f);

        a = reg(&f, 0);
        assert_int_equal(begin(&f, CONTROL_SELECT_ALL, 0, 1000, 6), 0);
        assert_int_equal(begin(&f, CONTROL_SELECT_ALL, 0, 1000, 7), 0);
        dereg(&f, a);
        expect_result(&f, 6, 1, 0, 0);
        expect_result(&f, 7, 1, 0, 0);
        expect_no_event(&f);
        fixture_done(&f);
}

TEST(test_too_many) {
        struct fixture f;

        fixture_init(&f);
        (void)reg(&f, 0);
        for (unsigned int i = 0; i < REVOKE_MAX; i++)
                assert_int_equal(begin(&f, CONTROL_SELECT_ALL, 0, 1000 + i, i), 0);
        assert_int_equal(begin(&f, CONTROL_SELECT_ALL, 0, 1000, 99), -EBUSY);
        pass(1000);
        work(&f);
        for (unsigned int i = 0; i < REVOKE_MAX; i++)
                expect_result(&f, i, 0, 1, 0);
        assert_int_equal(begin(&f, CONTROL_SELECT_ALL, 0, 1000, 99), 0);
        expect_result(&f, 99, 0, 0, 0);
        fixture_done(&f);
}

/* A memory window is bound: the order is answered, and it goes on being tried. */
TEST(test_kept) {
        struct refusal refusal;
        struct fixture f;
        uint64_t a, b;

        fixture_init(&f);
        a = reg(&f, 0);
        b = reg(&f, 0);
        fake->dereg_error = -EINVAL;
        assert_int_equal(begin(&f, CONTROL_SELECT_ALL, 0, 0, 1), 0);
        work(&f);
        expect_result(&f, 1, 0, 0, 2);
        assert_int_equal(entry_state(&f, a), LEDGER_REVOKING);
        expect_event(&f, PL_OP_REVOKING, a, 0);
        expect_event(&f, PL_OP_REVOKING, b, 0);
        assert_true(revoker_due(&f.revoker) > pl_now_ms());

        /* The app cannot either; it is tried every second, and at once if somebody asks. */
        testing_assert_refusal(request_deregister(&f.state, a, &refusal), &refusal, PINLEASE_CODE_BUSY);
        assert_int_equal(entry_state(&f, a), LEDGER_REVOKING);
        pass(1000);
        work(&f);
        assert_int_equal(fake_live(), 2);
        assert_int_equal(begin(&f, CONTROL_SELECT_ID, b, 90000, 2), 0);
        work(&f);
        expect_result(&f, 2, 0, 0, 1);
        fake->dereg_error = 0;
        dereg(&f, a);
        expect_no_event(&f);
        pass(1000);
        work(&f);
        assert_int_equal(fake_live(), 0);
        expect_event(&f, PL_OP_REVOKED, b, 0);
        expect_no_event(&f);
        expect_no_result(&f);
        assert_int_equal(revoker_due(&f.revoker), 0);
        assert_int_equal(f.revoker.n_kept, 0);
        fixture_done(&f);
}

/* What has been taken away keeps its place until the app knows; its credit is free at once. */
TEST(test_untold) {
        struct refusal refusal;
        struct fixture f;
        uint64_t a, b;

        fixture_init(&f);
        a = reg(&f, 0);
        b = reg(&f, 0);
        assert_int_equal(begin(&f, CONTROL_SELECT_ALL, 0, 0, 1), 0);
        work(&f);
        expect_result(&f, 1, 0, 2, 0);
        assert_true(credit_is_zero(&f.state.credit));
        assert_int_not_equal((uint32_t)reg(&f, 0), (uint32_t)a);
        assert_false(revoker_dismiss(&f.revoker, 0, false));
        assert_false(revoker_dismiss(&f.revoker, a + (UINT64_C(1) << 32), false));
        testing_assert_refusal(request_deregister(&f.state, a, &refusal), &refusal, PINLEASE_CODE_NO_SUCH_REGISTRATION);

        /* It deregisters one of them before it knows: that is as it should be, and it is not told any more. */
        assert_true(revoker_dismiss(&f.revoker, a, false));
        assert_false(revoker_dismiss(&f.revoker, a, false));
        assert_int_equal((uint32_t)reg(&f, 0), (uint32_t)a);
        expect_event(&f, PL_OP_REVOKED, b, 0);
        expect_no_event(&f);
        assert_false(revoker_dismiss(&f.revoker, b, false));
        assert_int_equal(request_deregister_all(&f.state, 0, &refusal), 0);

        /* One that does not understand the events is told nothing. */
        f.revoker.tells = false;
        a = reg(&f, 0);
        assert_int_equal(begin(&f, CONTROL_SELECT_ALL, 0, 0, 2), 0);
        expect_no_event(&f);
        work(&f);
        expect_result(&f, 2, 0, 1, 0);
        expect_no_event(&f);
        assert_int_equal((uint32_t)reg(&f, 0), (uint32_t)a);
        fixture_done(&f);
}

/* The end of the session is nobody's revocation. */
TEST(test_end) {
        struct fixture f;

        fixture_init(&f);
        (void)reg(&f, 0);
        (void)reg(&f, 1);
        assert_int_equal(begin(&f, CONTROL_SELECT_ALL, 0, 60000, 1), 0);
        fixture_done(&f);
        assert_null(revoker_result(&f.revoker));

        /* With some of them gone and not told. */
        fixture_init(&f);
        (void)reg(&f, 0);
        assert_int_equal(begin(&f, CONTROL_SELECT_ALL, 0, 0, 1), 0);
        work(&f);
        (void)reg(&f, 1);
        fixture_done(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_deadline),
                CHECKED(test_select),
                CHECKED(test_second),
                CHECKED(test_too_many),
                CHECKED(test_kept),
                CHECKED(test_untold),
                CHECKED(test_end),
        };

        return cmocka_run_group_tests_name("revoke", tests, NULL, NULL);
}
