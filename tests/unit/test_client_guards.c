/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <string.h>

#include "fake_session.h"

/* Guards: insisted on, had or not, lost and back again. */

/* SEALS is not for this, MODIFY and POISON hold. */
#define WITHOUT(reason) (12U | PINLEASE_GUARD_NOT_FOR_THIS << 8 | (uint32_t)(reason) << 12)
#define WITH            (14U | PINLEASE_GUARD_NOT_FOR_THIS << 8)

struct seen {
        struct pinlease *p;
        unsigned int n;
        struct pinlease_mr *last;
        enum pinlease_notice notices[8];
        bool dereg;
};

static void on_notice(struct pinlease *p,
                      struct pinlease_mr *reg,
                      enum pinlease_notice notice,
                      uint64_t size,
                      const char *sentence,
                      void *userdata) {
        struct seen *seen = userdata;

        assert_ptr_equal(p, seen->p);
        assert_string_equal(sentence, FAKE_SENTENCE);
        assert_int_equal(size, PAGE);
        assert_true(seen->n < 8);
        seen->notices[seen->n++] = notice;
        seen->last = reg;
        if (seen->dereg)
                assert_int_equal(pinlease_dereg(p, reg), 0);
}

struct fixture {
        struct fake fake;
        struct seen seen;
        struct memory memory, other;
        struct fake_device device;
};

static void fixture_init(struct fixture *f, fake_script *script, const void *argument) {
        const struct pinlease_listener listener = { .notice = on_notice };

        *f = (struct fixture) { 0 };
        memory_open(&f->memory, 1);
        memory_open(&f->other, 1);
        fake_device_open(&f->device, 1);
        fake_start(&f->fake, script, argument);
        assert_int_equal(pinlease_connect(f->fake.path, &listener, &f->seen, &f->seen.p), 0);
}

static void fixture_done(struct fixture *f) {
        pinlease_disconnect(f->seen.p);
        fake_end(&f->fake);
        fake_device_close(&f->device);
        memory_close(&f->other);
        memory_close(&f->memory);
}

static int try_reg(struct fixture *f, const struct memory *m, unsigned int guards, struct pinlease_mr **ret_reg) {
        const struct pinlease_reg_options options = { .guards = guards };

        return pinlease_reg_fd_ex(f->seen.p, &f->device.pd, m->fd, 0, PAGE, m->at, WRITABLE, &options, ret_reg);
}

static struct pinlease_mr *reg(struct fixture *f, const struct memory *m) {
        struct pinlease_mr *r;

        assert_int_equal(try_reg(f, m, 0, &r), 0);
        return r;
}

/* --- scripts --- */

static void expect_register(struct fake *f, uint64_t id, uint16_t wished, uint32_t guards) {
        struct fake_request request;
        struct pl_packet reply;

        fake_expect(f, PL_OP_REGISTER, &request);
        FAKE_CHECK(request.packet.body.reg.guards == wished);
        FAKE_CHECK(request.packet.body.reg.methods == PINLEASE_METHOD_ANY);
        fake_make_reply(f, &reply, PL_OP_REGISTER, request.packet.body.reg.length);
        reply.body.register_reply.id = id;
        reply.body.register_reply.guards = guards;
        fake_send(f, &reply, reply.header.length, NULL, 0);
}

static void insisted(struct fake *f) {
        fake_greet(f);
        fake_expect_attach(f, 1);
        expect_register(f, 1, PINLEASE_GUARD_LEASE | PINLEASE_GUARD_POISON, WITH);
        fake_expect(f, PL_OP_REGISTER, NULL);
        fake_refuse(f, f->seq, PL_OP_REGISTER, PINLEASE_CODE_NO_GUARD, EBUSY);
        fake_serve_rest(f);
}

TEST(test_insisted) {
        struct pinlease_mr *r, *none = UNTOUCHED;
        struct fixture f;

        fixture_init(&f, insisted, NULL);
        assert_int_equal(try_reg(&f, &f.memory, PINLEASE_GUARD_LEASE | PINLEASE_GUARD_POISON, &r), 0);
        assert_int_equal(r->guards & PINLEASE_GUARD_ALL, PINLEASE_GUARD_LEASE | PINLEASE_GUARD_MODIFY | PINLEASE_GUARD_POISON);
        assert_null(r->cookie);
        assert_int_equal(try_reg(&f, &f.memory, PINLEASE_GUARD_SEALS, &none), -EBUSY);
        client_assert_told(f.seen.p, PINLEASE_CODE_NO_GUARD, EBUSY);
        assert_int_equal(try_reg(&f, &f.memory, PINLEASE_GUARD_ALL + 1, &none), -EBUSY);
        client_assert_refusal(f.seen.p, PINLEASE_CODE_NO_GUARD, EBUSY);
        assert_ptr_equal(none, UNTOUCHED);
        fixture_done(&f);
}

/* --- wishes: not insisted on --- */

static int try_wish(struct fixture *f, unsigned int flags, struct pinlease_mr **ret_reg) {
        const struct pinlease_reg_options options = { .flags = flags };

        return pinlease_reg_fd_ex(f->seen.p, &f->device.pd, f->memory.fd, 0, PAGE, f->memory.at, WRITABLE, &options, ret_reg);
}

static void expect_wish(struct fake *f, uint8_t wished, uint16_t granted) {
        struct fake_request request;
        struct pl_packet reply;

        fake_expect(f, PL_OP_REGISTER, &request);
        FAKE_CHECK(request.packet.body.reg.flags == wished);
        fake_make_reply(f, &reply, PL_OP_REGISTER, request.packet.body.reg.length);
        reply.body.register_reply.flags = granted;
        fake_send(f, &reply, reply.header.length, NULL, 0);
}

static void wished(struct fake *f) {
        fake_greet(f);
        fake_expect_attach(f, 1);
        expect_wish(f, PINLEASE_FLAG_PREFETCH, PINLEASE_FLAG_PREFETCH);
        expect_wish(f, PINLEASE_FLAG_PREFETCH, 0);
        expect_wish(f, 0, PINLEASE_FLAG_PREFETCH);
        fake_serve_rest(f);
}

TEST(test_wished) {
        struct pinlease_mr *r, *none = UNTOUCHED;
        struct fixture f;

        fixture_init(&f, wished, NULL);
        assert_int_equal(try_wish(&f, PINLEASE_FLAG_PREFETCH, &r), 0);
        assert_int_equal(r->flags, PINLEASE_FLAG_PREFETCH);
        assert_int_equal(try_wish(&f, PINLEASE_FLAG_PREFETCH, &r), 0);
        assert_int_equal(r->flags, 0);
        /* By a rule. */
        assert_int_equal(try_wish(&f, 0, &r), 0);
        assert_int_equal(r->flags, PINLEASE_FLAG_PREFETCH);
        assert_int_equal(try_wish(&f, PINLEASE_FLAG_ALL + 1, &none), -EINVAL);
        client_assert_refusal(f.seen.p, PINLEASE_CODE_BAD_FLAGS, EINVAL);
        assert_ptr_equal(none, UNTOUCHED);
        fixture_done(&f);
}

static void wished_of_old(struct fake *f) {
        fake_greet_with(f, PL_FEATURE_REVOCATION | PL_FEATURE_GUARDS);
        fake_expect_attach(f, 1);
        expect_wish(f, 0, 0);
        fake_serve_rest(f);
}

TEST(test_wished_of_old_service) {
        struct pinlease_mr *r;
        struct fixture f;

        fixture_init(&f, wished_of_old, NULL);
        assert_int_equal(try_wish(&f, PINLEASE_FLAG_PREFETCH, &r), 0);
        assert_int_equal(r->flags, 0);
        fixture_done(&f);
}

static void old(struct fake *f) {
        fake_greet_with(f, PL_FEATURE_REVOCATION);
        fake_expect_attach(f, 1);
        expect_register(f, 1, 0, 0);
        fake_serve_rest(f);
}

TEST(test_old_service) {
        struct pinlease_mr *none = UNTOUCHED, *r;
        struct fixture f;

        fixture_init(&f, old, NULL);
        assert_int_equal(try_reg(&f, &f.memory, PINLEASE_GUARD_SEALS, &none), -EBUSY);
        client_assert_refusal(f.seen.p, PINLEASE_CODE_NO_GUARD, EBUSY);
        assert_ptr_equal(none, UNTOUCHED);
        r = reg(&f, &f.memory);
        assert_int_equal(r->guards, 0);
        fixture_done(&f);
}

static void lie(struct fake *f) {
        fake_greet(f);
        fake_expect_attach(f, 1);
        expect_register(f, 1, PINLEASE_GUARD_LEASE, WITHOUT(PINLEASE_GUARD_NOT_OWNER));
        fake_expect_end(f);
}

/* A service that says yes and has not done it. */
TEST(test_lie) {
        struct pinlease_mr *none = UNTOUCHED;
        struct fixture f;

        fixture_init(&f, lie, NULL);
        assert_int_equal(try_reg(&f, &f.memory, PINLEASE_GUARD_LEASE, &none), -EPROTO);
        assert_ptr_equal(none, UNTOUCHED);
        fixture_done(&f);
}

static void four_registered(struct fake *f) {
        fake_greet(f);
        fake_expect_attach(f, 1);
        for (uint64_t id = 1; id <= 4; id++)
                expect_register(f, id, 0, WITH);
        fake_expect(f, PL_OP_PING, NULL);
}

static void lose(struct fake *f) {
        four_registered(f);
        fake_revoked(f, 4);
        fake_notice(f, 1, PL_NOTICE_GUARD_LOST, WITHOUT(PINLEASE_GUARD_READER));
        fake_notice(f, 99, PL_NOTICE_UNLINKED, 0);
        fake_notice(f, 2, 7, WITHOUT(PINLEASE_GUARD_MEDDLED));
        fake_notice(f, 2, 0, WITHOUT(PINLEASE_GUARD_MEDDLED));
        fake_reply(f, PL_OP_PING);
        fake_expect(f, PL_OP_PING, NULL);
        fake_notice(f, 4, PL_NOTICE_GUARD_BACK, WITH);
        fake_reply(f, PL_OP_PING);
        fake_serve_rest(f);
}

/* 1, 2 and 4 are of one file, and 4 has been taken away. */
TEST(test_lost_and_back) {
        struct pinlease_mr *r[4];
        struct fixture f;

        fixture_init(&f, lose, NULL);
        for (unsigned int i = 0; i < 4; i++)
                r[i] = reg(&f, i == 2 ? &f.other : &f.memory);
        for (unsigned int i = 0; i < 4; i++)
                assert_int_equal(pinlease_guard_reason(r[i], PINLEASE_GUARD_LEASE), PINLEASE_GUARD_HOLDS);
        assert_int_equal(pinlease_ping(f.seen.p), 0);
        assert_int_equal(pinlease_dispatch(f.seen.p), 2);
        assert_int_equal(f.seen.n, 1);
        assert_int_equal(f.seen.notices[0], PINLEASE_NOTICE_GUARD_LOST);
        assert_ptr_equal(f.seen.last, r[0]);
        for (unsigned int i = 0; i < 4; i++) {
                bool lost = i < 2;

                assert_int_equal(!(r[i]->guards & PINLEASE_GUARD_LEASE), lost);
                assert_int_equal(pinlease_guard_reason(r[i], PINLEASE_GUARD_LEASE),
                                 lost ? PINLEASE_GUARD_MEDDLED : PINLEASE_GUARD_HOLDS);
                assert_int_equal(pinlease_guard_reason(r[i], PINLEASE_GUARD_SEALS), PINLEASE_GUARD_NOT_FOR_THIS);
                assert_int_equal(pinlease_guard_reason(r[i], PINLEASE_GUARD_POISON), PINLEASE_GUARD_HOLDS);
                assert_int_equal(pinlease_guard_reason(r[i], PINLEASE_GUARD_ALL), PINLEASE_GUARD_NOT_FOR_THIS);
        }
        assert_int_equal(pinlease_ping(f.seen.p), 0);
        assert_int_equal(pinlease_dispatch(f.seen.p), 1);
        assert_int_equal(f.seen.notices[1], PINLEASE_NOTICE_GUARD_BACK);
        assert_true(f.seen.last == r[0] || f.seen.last == r[1]);
        assert_int_equal(r[0]->guards, WITH);
        assert_int_equal(r[1]->guards, WITH);
        fixture_done(&f);
}

static void say_much(struct fake *f) {
        four_registered(f);
        for (unsigned int i = 0; i < 1000; i++) {
                fake_notice(f, 1, PL_NOTICE_GUARD_LOST, WITHOUT(PINLEASE_GUARD_READER));
                fake_notice(f, 1, PL_NOTICE_GUARD_BACK, WITH);
                fake_notice(f, 2, PL_NOTICE_UNLINKED, WITH);
                fake_notice(f, 3, PL_NOTICE_CHANGED, WITH);
        }
        fake_reply(f, PL_OP_PING);
        fake_serve_rest(f);
}

/* Of each kind the latest; of what has been deregistered, or released, nothing. */
TEST(test_many) {
        for (unsigned int how = 0; how < 4; how++) {
                struct pinlease_mr *r[4];
                struct fixture f;

                fixture_init(&f, say_much, NULL);
                for (unsigned int i = 0; i < 4; i++)
                        r[i] = reg(&f, i == 2 ? &f.other : &f.memory);
                assert_int_equal(pinlease_ping(f.seen.p), 0);
                if (how == 1)
                        assert_int_equal(pinlease_dereg(f.seen.p, r[0]), 0);
                if (how == 2)
                        assert_int_equal(pinlease_release(f.seen.p, r[0]), 0);
                f.seen.dereg = how == 3;
                if (how == 0)
                        assert_int_equal(pinlease_dispatch(f.seen.p), 4);
                else
                        assert_int_equal(pinlease_dispatch(f.seen.p), how == 3 ? 3 : 2);
                if (how == 0) {
                        assert_int_equal(f.seen.notices[0], PINLEASE_NOTICE_GUARD_LOST);
                        assert_int_equal(f.seen.notices[1], PINLEASE_NOTICE_GUARD_BACK);
                        assert_int_equal(f.seen.notices[2], PINLEASE_NOTICE_UNLINKED);
                        assert_int_equal(f.seen.notices[3], PINLEASE_NOTICE_CHANGED);
                        assert_ptr_equal(f.seen.last, r[2]);
                }
                fixture_done(&f);
        }
}

/* The session ends first. */
TEST(test_untold) {
        struct fixture f;

        fixture_init(&f, say_much, NULL);
        for (unsigned int i = 0; i < 4; i++)
                (void)reg(&f, i == 2 ? &f.other : &f.memory);
        assert_int_equal(pinlease_ping(f.seen.p), 0);
        fixture_done(&f);
}

TEST(test_names) {
        assert_string_equal(pinlease_strguard(PINLEASE_GUARD_LEASE), "lease");
        assert_string_equal(pinlease_strguard(PINLEASE_GUARD_ALL), "unknown");
        assert_string_equal(pinlease_strguardreason(PINLEASE_GUARD_OPEN_ELSEWHERE), "open-elsewhere");
        assert_string_equal(pinlease_strguardreason((enum pinlease_guard_reason)15), "unknown");
        assert_string_equal(pinlease_strrevocation(PINLEASE_REVOKED_LAYOUT_CHANGE), "layout-change");
        assert_string_equal(pinlease_strrevocation((enum pinlease_revocation_reason)0), "unknown");
        assert_string_equal(pinlease_strrevocation((enum pinlease_revocation_reason)5), "unknown");
        assert_string_equal(pinlease_strnotice(PINLEASE_NOTICE_CHANGED), "changed");
        assert_string_equal(pinlease_strnotice((enum pinlease_notice)0), "unknown");
        assert_string_equal(pinlease_strnotice((enum pinlease_notice)7), "unknown");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_insisted),
                CHECKED(test_wished),
                CHECKED(test_wished_of_old_service), CHECKED(test_old_service), CHECKED(test_lie),   CHECKED(test_lost_and_back),
                CHECKED(test_many),     CHECKED(test_untold),      CHECKED(test_names),
        };

        return cmocka_run_group_tests_name("client, guards", tests, NULL, NULL);
}
