/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "changes_fixture.h"

#include <string.h>

#include "codec.h"
#include "fake_uverbs.h"
#include "wraps.h"

struct fixture f;
struct guards guards;
struct changes changes;
struct control_message sent[64];
unsigned int n_sent, n_let_go;
bool lease_back;

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
        [GUARD_SEALS] = &other,
        [GUARD_LEASE] = &asking,
        [GUARD_MODIFY] = &other,
        [GUARD_POISON] = &other,
};

/* --- the rest --- */

static int on_send(void *userdata _unused_, const struct control_message *message) {
        assert_true(n_sent < ELEMENTSOF(sent));
        sent[n_sent++] = *message;
        return 0;
}

void begin_test(void) {
        fixture_init(&f);
        wraps_clock->stands = true;
        f.revoker.settles = true;
        n_sent = n_let_go = 0;
        lease_back = true;
        guards_init(&guards, &(const struct guards_config) { .report = changes_report, .userdata = &changes });
        guards.ops = table;
        f.state.guards = &guards;
        changes_init(&changes, &(const struct changes_config) { .send = on_send }, &guards, &f.revoker, &f.state);
}

void end_test(void) {
        fixture_done(&f);
        guards_done(&guards);
}

struct guarded *the_file(void) {
        struct pl_fdclass class;

        assert_int_equal(pl_fdclass_get(f.files[0], &class), 0);
        return guards_find(&guards, class.dev, class.inode);
}

void report(enum guard_report_kind kind, uint64_t offset, uint64_t length) {
        changes_report(&changes,
                       the_file(),
                       &(const struct guard_report) {
                               .kind = kind, .guard = GUARD_LEASE, .offset = offset, .length = length });
}

void ask(void) {
        report(GUARD_ASKS, 0, UINT64_MAX);
}

/* As the registrar does: results, and what is due. */
void turn(void) {
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

void expect_sent(enum control_type type) {
        assert_true(n_sent > 0);
        assert_int_equal(sent[0].type, type);
        memmove(sent, sent + 1, --n_sent * sizeof sent[0]);
}

struct pl_packet expect_event(enum pl_opcode opcode) {
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

void expect_no_event(void) {
        struct pl_packet packet;

        assert_false(revoker_next_event(&f.revoker, &packet));
        assert_false(changes_next_event(&changes, &packet));
}

void release(uint64_t id) {
        struct refusal refusal;

        assert_int_equal(revoker_release(&f.revoker, id, &refusal), 0);
}

uint64_t others_are_done(unsigned int error) {
        static uint64_t cookie;

        if (n_sent > 0 && sent[0].type == CONTROL_BREAK) {
                cookie = sent[0].cookie;
                expect_sent(CONTROL_BREAK);
        }
        changes_break_over(&changes, cookie, error);
        return cookie;
}
