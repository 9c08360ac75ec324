/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "changes_fixture.h"

#include "fake_uverbs.h"
#include "wraps.h"

/* Many changes, or memory failures, at the same time. */

#define N_LOST 20

/* One registration for each page. */
static void begin_many(uint64_t ids[static 2 * N_LOST]) {
        begin_test();
        pl_close(f.files[0]);
        f.files[0] = testing_memfd(2 * N_LOST * PAGE);
        for (unsigned int i = 0; i < 2 * N_LOST; i++)
                ids[i] = reg_page(&f, 0, i);
}

/* More of these than there can be revocations at a time. */
TEST(test_many_changes) {
        uint64_t a;

        begin_test();
        a = reg(&f, 0);
        for (unsigned int i = 0; i < 100; i++)
                report(GUARD_CHANGED, i, 1);
        (void)expect_event(PL_OP_REVOKING);
        expect_no_event();
        release(a);
        for (unsigned int i = 0; i < 10; i++) {
                turn();
                pass(20);
        }
        (void)expect_event(PL_OP_SETTLED);
        expect_no_event();
        end_test();
}

/* Every other page of many is lost at the same instant: exactly what is registered of those is asked for. */
TEST(test_many_holes) {
        uint64_t ids[2 * N_LOST];

        begin_many(ids);
        for (unsigned int i = 0; i < N_LOST; i++)
                report(GUARD_CHANGED, 2 * i * PAGE, PAGE);
        for (unsigned int i = 0; i < N_LOST; i++) {
                struct pl_packet event = expect_event(PL_OP_REVOKING);

                assert_int_equal(event.body.revoking.offset / PAGE % 2, 0);
                assert_int_equal(event.body.revoking.length, PAGE);
                release(event.body.revoking.id);
                turn();
        }
        for (unsigned int i = 0; i < N_LOST; i++)
                (void)expect_event(PL_OP_SETTLED);
        expect_no_event();
        assert_int_equal(fake_live(), N_LOST);
        end_test();
}

/* No room for more orders: what has changed is asked for as soon as there is. */
TEST(test_no_room) {
        uint64_t ids[2 * N_LOST];

        begin_many(ids);
        for (unsigned int i = 0; i < REVOKE_MAX; i++)
                assert_int_equal(begin(&f, CONTROL_SELECT_ID, 0, 60000, i), 0);
        report(GUARD_CHANGED, 3 * PAGE, PAGE);
        expect_no_event();
        revoker_forget(&f.revoker, revoker_result(&f.revoker));
        pass(20);
        assert_int_equal(changes_work(&changes), 0);
        assert_int_equal(expect_event(PL_OP_REVOKING).body.revoking.id, ids[3]);
        expect_no_event();
        while (f.revoker.n_over > 0)
                revoker_forget(&f.revoker, revoker_result(&f.revoker));
        release(ids[3]);
        turn();
        (void)expect_event(PL_OP_SETTLED);
        end_test();
}

/* Every other page of many has failed, at the same instant, and there is no room for more orders: exactly what covers
 * those goes, at once. */
TEST(test_many_failures) {
        uint64_t ids[2 * N_LOST];

        begin_many(ids);
        for (unsigned int i = 0; i < REVOKE_MAX; i++)
                assert_int_equal(begin(&f, CONTROL_SELECT_ID, ids[1], 60000, i), 0);
        assert_int_equal(begin(&f, CONTROL_SELECT_ID, ids[1], 60000, REVOKE_MAX), -EBUSY);
        (void)expect_event(PL_OP_REVOKING);
        expect_no_event();

        for (unsigned int i = 0; i < N_LOST; i++) {
                report(GUARD_POISONED, 2 * i * PAGE, PAGE);
                /* Some of them are heard of later, when the first are gone. */
                if (i % 7 == 6)
                        turn();
        }
        turn();
        assert_int_equal(fake_live(), N_LOST);
        for (unsigned int i = 0; i < N_LOST; i++) {
                struct pl_packet event = expect_event(PL_OP_REVOKED);

                assert_int_equal(event.body.revoked.reason, PL_REVOKED_MEMORY_FAILURE);
                assert_int_equal(event.body.revoked.offset / PAGE % 2, 0);
                assert_int_equal(event.body.revoked.length, PAGE);
                assert_int_equal(event.body.revoked.id, ids[event.body.revoked.offset / PAGE]);
        }
        expect_no_event();
        assert_null(revoker_result(&f.revoker));
        pass(60000);
        work(&f);
        assert_int_equal(fake_live(), N_LOST - 1);
        end_test();
}

/* A memory failure in a file that is being given back for a change: neither takes the other's end for its own. */
TEST(test_failure_in_a_change) {
        uint64_t a;

        begin_test();
        pl_close(f.files[0]);
        f.files[0] = testing_memfd(2 * PAGE);
        a = reg_page(&f, 0, 0);
        (void)reg_page(&f, 0, 1);
        ask();
        (void)others_are_done(0);
        (void)expect_event(PL_OP_REVOKING);
        (void)expect_event(PL_OP_REVOKING);
        report(GUARD_POISONED, PAGE, PAGE);
        turn();
        assert_int_equal(fake_live(), 1);
        assert_int_equal(n_let_go, 0);
        assert_int_equal(expect_event(PL_OP_REVOKED).body.revoked.reason, PL_REVOKED_MEMORY_FAILURE);
        release(a);
        turn();
        assert_int_equal(n_let_go, 1);
        end_test();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_many_changes),  CHECKED(test_many_holes),          CHECKED(test_no_room),
                CHECKED(test_many_failures), CHECKED(test_failure_in_a_change),
        };

        return cmocka_run_group_tests_name("changes, many", tests, NULL, NULL);
}
