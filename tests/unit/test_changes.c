/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What is made of the reports of guards: by guards that only do what the test wants. */

#include <stdio.h>
#include <string.h>

#include "changes.h"
#include "codec.h"
#include "fake_uverbs.h"
#include "journal.h"
#include "revoke_fixture.h"
#include "wraps.h"

#define GRACE_MS 3000 /* of the built-in policy */

#define BREAK_FAILED "ef88e3d433a54278ae03177264e419b2"
#define MEMORY_FAILURE "48704f47a5b740859271ddddeac17e02"

static struct fixture f;
static struct guards guards;
static struct changes changes;
static struct control_message sent[64];
static unsigned int n_sent, n_let_go;
static bool lease_back;

/* --- a guard that asks --- */

static int fake_arm(struct guards *g _unused_, struct guarded *file _unused_) {
        return PINLEASE_GUARD_HOLDS;
}

static int fake_look(struct guards *g _unused_, struct guarded *file _unused_) {
        return lease_back ? PINLEASE_GUARD_HOLDS : PINLEASE_GUARD_OPEN_ELSEWHERE;
}

/* Nothing of the file may be registered then. */
static void fake_let_go(struct guards *g _unused_, struct guarded *file _unused_) {
        n_let_go++;
        assert_int_equal(fake_live(), 0);
}

static const struct guard_ops other = { .name = "other", .arm = fake_arm };
static const struct guard_ops asking = { .name = "asking", .arm = fake_arm, .look = fake_look, .let_go = fake_let_go };
static const struct guard_ops *const table[N_GUARDS] = {
        [GUARD_SEALS] = &other, [GUARD_LEASE] = &asking, [GUARD_MODIFY] = &other, [GUARD_POISON] = &other,
};

/* --- the rest --- */

static int on_send(void *userdata _unused_, const struct control_message *message) {
        assert_true(n_sent < ELEMENTSOF(sent));
        sent[n_sent++] = *message;
        return 0;
}

static void begin_test(void) {
        fixture_init(&f);
        f.revoker.settles = true;
        n_sent = n_let_go = 0;
        lease_back = true;
        guards_init(&guards, &(const struct guards_config) { .report = changes_report, .userdata = &changes });
        guards.ops = table;
        f.state.guards = &guards;
        changes_init(&changes,
                     &(const struct changes_config) { .send = on_send },
                     &guards,
                     &f.revoker,
                     &f.state);
}

static void end_test(void) {
        fixture_done(&f);
        guards_done(&guards);
}

static struct guarded *the_file(void) {
        struct pl_fdclass class;

        assert_int_equal(pl_fdclass_get(f.files[0], &class), 0);
        return guards_find(&guards, class.dev, class.inode);
}

static void report(enum guard_report_kind kind, uint64_t offset, uint64_t length) {
        changes_report(&changes,
                       the_file(),
                       &(const struct guard_report) {
                               .kind = kind, .guard = GUARD_LEASE, .offset = offset, .length = length });
}

static void ask(void) {
        report(GUARD_ASKS, 0, UINT64_MAX);
}

/* As the registrar does: results, and what is due. */
static void turn(void) {
        struct revocation *revocation;

        work(&f);
        while ((revocation = revoker_result(&f.revoker))) {
                struct revocation over = *revocation;

                revoker_forget(&f.revoker, revocation);
                assert_true(over.here);
                changes_revoked(&changes, &over);
        }
        assert_int_equal(changes_work(&changes), 0);
}

static void expect_sent(enum control_type type) {
        assert_true(n_sent > 0);
        assert_int_equal(sent[0].type, type);
        memmove(sent, sent + 1, --n_sent * sizeof sent[0]);
}

static struct pl_packet expect_event(enum pl_opcode opcode) {
        struct pl_packet packet;

        if (revoker_next_event(&f.revoker, &packet)) {
                revoker_told(&f.revoker);
        } else {
                assert_true(changes_next_event(&changes, &packet));
                changes_told(&changes, &packet);
        }
        assert_string_equal(pl_opcode_name(packet.header.opcode), pl_opcode_name((uint16_t)opcode));
        return packet;
}

static void expect_no_event(void) {
        struct pl_packet packet;

        assert_false(revoker_next_event(&f.revoker, &packet));
        assert_false(changes_next_event(&changes, &packet));
}

static void release(uint64_t id) {
        struct refusal refusal;

        assert_int_equal(revoker_release(&f.revoker, id, &refusal), 0);
}

static uint64_t others_are_done(unsigned int error) {
        static uint64_t cookie;

        if (n_sent > 0 && sent[0].type == CONTROL_BREAK) {
                cookie = sent[0].cookie;
                expect_sent(CONTROL_BREAK);
        }
        changes_break_over(&changes, cookie, error);
        return cookie;
}

/* --- tests --- */

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
        const struct pl_register request = { .pd = 1, .length = PAGE, .address = 0x700000000000, .access = 1, .methods = PINLEASE_METHOD_PINNED };
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

#define N_BROKEN 20

/* Every other page of many has failed, at the same instant, and there is no room for more orders: exactly what covers
 * those goes, at once. */
TEST(test_many_failures) {
        uint64_t ids[2 * N_BROKEN];

        begin_test();
        pl_close(f.files[0]);
        f.files[0] = testing_memfd(2 * N_BROKEN * PAGE);
        for (unsigned int i = 0; i < 2 * N_BROKEN; i++)
                ids[i] = reg_page(&f, 0, i);
        for (unsigned int i = 0; i < REVOKE_MAX; i++)
                assert_int_equal(begin(&f, CONTROL_SELECT_ID, ids[1], 60000, i), 0);
        assert_int_equal(begin(&f, CONTROL_SELECT_ID, ids[1], 60000, REVOKE_MAX), -EBUSY);
        (void)expect_event(PL_OP_REVOKING);
        expect_no_event();

        for (unsigned int i = 0; i < N_BROKEN; i++) {
                report(GUARD_POISONED, 2 * i * PAGE, PAGE);
                /* Some of them are heard of later, when the first are gone. */
                if (i % 7 == 6)
                        turn();
        }
        turn();
        assert_int_equal(fake_live(), N_BROKEN);
        for (unsigned int i = 0; i < N_BROKEN; i++) {
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
        assert_int_equal(fake_live(), N_BROKEN - 1);
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

/* Nothing is registered here any more, but another session may have something: it gets the time that it was promised. */
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
                CHECKED(test_released), CHECKED(test_others),        CHECKED(test_others_never),
                CHECKED(test_forced),   CHECKED(test_once),          CHECKED(test_lingering),
                CHECKED(test_changed),  CHECKED(test_many_changes),  CHECKED(test_changed_while_settling),
                CHECKED(test_poisoned), CHECKED(test_many_failures), CHECKED(test_failure_in_a_change),
                CHECKED(test_notices),
        };

        return cmocka_run_group_tests_name("changes", tests, NULL, NULL);
}
