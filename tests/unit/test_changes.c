/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "changes_fixture.h"

#include <string.h>

#include "fake_uverbs.h"
#include "journal.h"
#include "wraps.h"

TEST(test_released) {
        uint64_t a, b;

        begin_test();
        a = reg(&f, 0);
        b = reg(&f, 0);
        ask();
        assert_int_equal(sent[0].value, GRACE_MS);
        assert_int_equal(expect_event(PL_OP_REVOKING).body.revoking.reason, PL_REVOKED_LAYOUT_CHANGE);
        (void)expect_event(PL_OP_REVOKING);
        (void)others_are_done(0);
        release(a);
        turn();
        assert_int_equal(n_let_go, 0);
        release(b);
        turn();
        assert_int_equal(n_let_go, 1);
        expect_sent(CONTROL_YIELDED);

        /* Both hear of it when it has settled. */
        expect_no_event();
        report(GUARD_ACTIVITY, 0, 0);
        assert_int_equal(expect_event(PL_OP_SETTLED).body.settled.size, PAGE);
        (void)expect_event(PL_OP_SETTLED);
        expect_no_event();
        end_test();
}

/* The app has let go, other sessions have not yet. */
TEST(test_others) {
        uint64_t a;

        begin_test();
        a = reg(&f, 0);
        ask();
        release(a);
        turn();
        assert_int_equal(n_let_go, 0);
        changes_break_over(&changes, 12345, 0);
        assert_int_equal(n_let_go, 0);
        (void)others_are_done(0);
        assert_int_equal(n_let_go, 1);
        end_test();
}

/* They never say so. */
TEST(test_others_never) {
        uint64_t a;

        (void)journal_setup(NULL);
        begin_test();
        a = reg(&f, 0);
        ask();
        release(a);
        turn();
        pass(GRACE_MS + 29000);
        turn();
        assert_int_equal(n_let_go, 0);
        assert_false(journal_has(BREAK_FAILED, "3"));
        pass(1000);
        turn();
        assert_int_equal(n_let_go, 1);
        assert_true(journal_has(BREAK_FAILED, "3"));
        end_test();
        (void)journal_teardown(NULL);
}

/* What has been let go is changed once more while it settles, as is found out afterwards: the app has its whole time
 * for that, and nobody is said to have failed. */
TEST(test_changed_while_settling) {
        uint64_t a, b;

        (void)journal_setup(NULL);
        begin_test();
        a = reg(&f, 0);
        ask();
        (void)others_are_done(0);
        (void)expect_event(PL_OP_REVOKING);
        release(a);
        turn();
        assert_int_equal(n_let_go, 1);
        lease_back = false;
        pass(1000);
        turn();
        (void)expect_event(PL_OP_SETTLED);

        b = reg(&f, 0);
        changes_elsewhere(&changes, the_file()->device, the_file()->inode);
        report(GUARD_CHANGED, 0, UINT64_MAX);
        (void)expect_event(PL_OP_REVOKING);
        pass(GRACE_MS - 1);
        turn();
        assert_int_equal(fake_live(), 1);
        expect_no_event();
        release(b);
        turn();
        (void)expect_event(PL_OP_SETTLED);
        expect_no_event();
        assert_false(journal_has(BREAK_FAILED, "3"));
        end_test();
        (void)journal_teardown(NULL);
}

TEST(test_forced) {
        begin_test();
        (void)reg(&f, 0);
        ask();
        (void)others_are_done(EBUSY);
        (void)expect_event(PL_OP_REVOKING);
        pass(GRACE_MS - 1);
        turn();
        assert_int_equal(n_let_go, 0);
        pass(1);
        turn();
        assert_int_equal(n_let_go, 1);
        (void)expect_event(PL_OP_REVOKED);

        /* The other side takes its time; the app is told all the same. */
        lease_back = false;
        report(GUARD_ACTIVITY, 0, 0);
        expect_no_event();
        pass(1000);
        turn();
        (void)expect_event(PL_OP_SETTLED);
        end_test();
}

/* However often it is hit, it is one break. Nothing new is registered until it is over. */
TEST(test_once) {
        struct pl_fdclass class;
        struct pl_register_reply reply;
        struct refusal refusal;
        const struct pl_register request = {
                .pd = 1, .length = PAGE, .address = 0x700000000000, .access = 1, .methods = PINLEASE_METHOD_PINNED
        };
        uint64_t a;

        begin_test();
        a = reg(&f, 0);
        for (unsigned int i = 0; i < 100; i++)
                ask();
        assert_int_equal(n_sent, 1);
        (void)expect_event(PL_OP_REVOKING);
        expect_no_event();
        assert_int_equal(pl_fdclass_get(f.files[0], &class), 0);
        testing_assert_refusal(request_register(&f.state, &request, f.files[0], &class, &reply, &refusal),
                               &refusal,
                               PINLEASE_CODE_CHANGING);
        /* Other files are no matter of it. */
        (void)revoker_release(&f.revoker, reg(&f, 1), &refusal);
        release(a);
        turn();
        (void)others_are_done(0);
        assert_int_equal(n_let_go, 1);
        testing_assert_refusal(request_register(&f.state, &request, f.files[0], &class, &reply, &refusal),
                               &refusal,
                               PINLEASE_CODE_CHANGING);
        report(GUARD_ACTIVITY, 0, 0);
        release(reg(&f, 0));
        end_test();
}

/* Told afterwards: what the change has not touched stays. */
TEST(test_changed) {
        uint64_t a;

        begin_test();
        a = reg(&f, 0);
        report(GUARD_CHANGED, PAGE, UINT64_MAX);
        turn();
        expect_no_event();
        report(GUARD_CHANGED, PAGE / 2, 100);
        assert_int_equal(n_sent, 0);
        {
                struct pl_packet event = expect_event(PL_OP_REVOKING);

                assert_int_equal(event.body.revoking.offset, PAGE / 2);
                assert_int_equal(event.body.revoking.length, 100);
        }
        release(a);
        turn();
        (void)expect_event(PL_OP_SETTLED);
        end_test();
}

TEST(test_poisoned) {
        struct pl_packet event;
        static struct entry e;

        (void)journal_setup(NULL);
        begin_test();
        (void)reg(&f, 0);
        (void)reg(&f, 0);
        report(GUARD_POISONED, 512, 1024);
        /* To the administrator, and where. */
        assert_true(journal_receive(&e));
        expect_field(&e, "MESSAGE_ID", MEMORY_FAILURE);
        expect_field(&e, "PRIORITY", "3");
        assert_non_null(strstr(journal_field(&e, "MESSAGE"), " at byte 512, 1024 bytes"));
        turn();
        assert_int_equal(fake_live(), 0);
        for (unsigned int i = 0; i < 2; i++) {
                event = expect_event(PL_OP_REVOKED);
                assert_int_equal(event.body.revoked.reason, PL_REVOKED_MEMORY_FAILURE);
                assert_int_equal(event.body.revoked.offset, 512);
                assert_int_equal(event.body.revoked.length, 1024);
        }
        expect_no_event();
        assert_int_equal(n_let_go, 0);
        end_test();
        (void)journal_teardown(NULL);
}

TEST(test_notices) {
        struct pl_packet event;
        uint64_t a;

        begin_test();
        a = reg(&f, 0);
        report(GUARD_UNLINKED, 0, 0);
        event = expect_event(PL_OP_NOTICE);
        assert_int_equal(event.body.notice.kind, PL_NOTICE_UNLINKED);
        assert_int_equal(event.body.notice.id, a);
        /* Lost and back before it could be told: only the latter. */
        report(GUARD_LOST, 0, 0);
        report(GUARD_BACK, 0, 0);
        assert_int_equal(expect_event(PL_OP_NOTICE).body.notice.kind, PL_NOTICE_GUARD_BACK);
        expect_no_event();
        release(a);
        report(GUARD_UNLINKED, 0, 0);
        expect_no_event();
        end_test();
}

/* Nothing is registered here any more, but another session may have something: it gets the time that it was promised.
 */
TEST(test_lingering) {
        begin_test();
        release(reg(&f, 0));
        ask();
        assert_int_equal(sent[0].type, CONTROL_BREAK);
        assert_int_equal(sent[0].value, GRACE_MS);
        turn();
        assert_int_equal(n_let_go, 0);
        (void)others_are_done(0);
        assert_int_equal(n_let_go, 1);
        end_test();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_released),     CHECKED(test_others),
                CHECKED(test_others_never), CHECKED(test_forced),
                CHECKED(test_once),         CHECKED(test_lingering),
                CHECKED(test_changed),      CHECKED(test_changed_while_settling),
                CHECKED(test_poisoned),     CHECKED(test_notices),
        };

        return cmocka_run_group_tests_name("changes", tests, NULL, NULL);
}
