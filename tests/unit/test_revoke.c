/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <infiniband/verbs.h>
#include <string.h>

#include "fake_uverbs.h"
#include "revoke.h"
#include "wraps.h"

#define PAGE     UINT64_C(4096)
#define CAPACITY 64

struct fixture {
        struct registrar_state state;
        struct revoker revoker;
        int files[2];
};

static void fixture_init(struct fixture *f) {
        static const struct credit_amount limits = { .pinned = 1 << 30, .odp = 1 << 30, .registrations = CAPACITY };
        struct pl_fdclass class;
        struct refusal refusal;
        struct ledger ledger;
        uint32_t index;
        int fd;

        fake_reset();
        wraps_reset();
        assert_int_equal(ledger_create(CAPACITY, &ledger), 0);
        state_init(&f->state, &fake_ops, &ledger, &limits);
        revoker_init(&f->revoker, &f->state);
        f->revoker.tells = true;
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        assert_int_equal(pl_fdclass_get(fd, &class), 0);
        assert_int_equal(request_attach(&f->state, fd, &class, &index, &refusal), 0);
        for (size_t i = 0; i < ELEMENTSOF(f->files); i++)
                f->files[i] = testing_memfd(PAGE);
}

static void fixture_done(struct fixture *f) {
        revoker_done(&f->revoker);
        assert_int_equal(state_done(&f->state), 0);
        assert_int_equal(fake_live(), 0);
        assert_true(credit_is_zero(&f->state.credit));
        for (size_t i = 0; i < ELEMENTSOF(f->files); i++)
                pl_close(f->files[i]);
}

static uint64_t reg(struct fixture *f, unsigned int file) {
        const struct pl_register request = {
                .pd = 1,
                .length = PAGE,
                .address = 0x700000000000,
                .access = IBV_ACCESS_LOCAL_WRITE,
                .methods = PINLEASE_METHOD_PINNED,
        };
        struct pl_register_reply reply;
        struct pl_fdclass class;
        struct refusal refusal;

        assert_int_equal(pl_fdclass_get(f->files[file], &class), 0);
        assert_int_equal(request_register(&f->state, &request, f->files[file], &class, &reply, &refusal), 0);
        return reply.id;
}

static void dereg(struct fixture *f, uint64_t id) {
        struct refusal refusal;

        assert_int_equal(request_deregister(&f->state, id, &refusal), 0);
}

static unsigned int entry_state(const struct fixture *f, uint64_t id) {
        return atomic_load(&f->state.ledger.entries[(uint32_t)id].state);
}

static int begin(struct fixture *f, enum control_selector selector, uint64_t id, uint32_t grace_ms, uint64_t cookie) {
        return revoker_begin(&f->revoker,
                             &(struct revocation_order) {
                                     .reason = PL_REVOKED_BY_ADMINISTRATOR,
                                     .selector = selector,
                                     .id = id,
                                     .grace_ms = grace_ms,
                                     .cookie = cookie,
                             });
}

static void pass(unsigned int ms) {
        wraps_clock->jumped_ms += ms;
}

/* Does everything that is due by now. */
static void work(struct fixture *f) {
        for (unsigned int i = 0; i < 1000; i++) {
                uint64_t due = revoker_due(&f->revoker);

                if (!due || due > pl_now_ms())
                        return;
                revoker_work(&f->revoker);
        }
        fail_msg("always something to do");
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

/* A model: what the app knows, and what must be there. */

struct known {
        uint64_t id;
        uint64_t deadline; /* 0: not revoked */
};

static struct {
        struct testing_random random;
        struct known known[4096];
        unsigned int n;
        struct { uint64_t cookie, deadline; unsigned int n; bool answered; } orders[512];
        unsigned int n_orders;
        unsigned int n_forced, n_released, n_dismissed;
} model;

static struct known *known_by_id(uint64_t id) {
        for (unsigned int i = 0; i < model.n; i++)
                if (model.known[i].id == id)
                        return model.known + i;
        return NULL;
}

static void forget_known(struct known *known) {
        *known = model.known[--model.n];
}

static void model_order(struct fixture *f) {
        bool all = testing_below(&model.random, 4) == 0;
        uint32_t grace = testing_below(&model.random, 3000);
        uint64_t id = model.n ? model.known[testing_below(&model.random, model.n)].id : 1, deadline;
        unsigned int n = 0;

        if (begin(f, all ? CONTROL_SELECT_ALL : CONTROL_SELECT_ID, id, grace, model.n_orders + 1) < 0)
                return;
        deadline = pl_now_ms() + grace;
        for (unsigned int i = 0; i < model.n; i++) {
                struct known *known = model.known + i;
                uint32_t slot;

                if ((!all && known->id != id) || state_find(&f->state, known->id, &slot) < 0)
                        continue;
                known->deadline = pl_earlier(known->deadline, deadline);
                n++;
        }
        model.orders[model.n_orders].cookie = model.n_orders + 1;
        model.orders[model.n_orders].n = n;
        model.orders[model.n_orders++].answered = false;
}

static void model_dereg(struct fixture *f) {
        struct known *known = model.known + testing_below(&model.random, model.n);
        struct refusal refusal;

        if (revoker_dismiss(&f->revoker, known->id, false)) {
                assert_true(known->deadline && known->deadline <= pl_now_ms());
                model.n_dismissed++;
        } else {
                assert_int_equal(request_deregister(&f->state, known->id, &refusal), 0);
                model.n_released += known->deadline != 0;
        }
        forget_known(known);
}

static void model_event(struct fixture *f) {
        struct pl_packet packet;
        struct known *known;

        if (!revoker_next_event(&f->revoker, &packet))
                return;
        known = known_by_id(packet.header.opcode == PL_OP_REVOKED ? packet.body.revoked.id : packet.body.revoking.id);
        assert_non_null(known);
        assert_true(known->deadline > 0);
        if (packet.header.opcode == PL_OP_REVOKED) {
                assert_true(known->deadline <= pl_now_ms());
                model.n_forced++;
                forget_known(known);
        } else
                assert_true(packet.body.revoking.grace_ms <= 3000);
        revoker_told(&f->revoker);
}

static void model_check(struct fixture *f) {
        unsigned int live = 0, untold = 0, over = 0;
        struct revocation *result;

        for (uint32_t i = 0; i < f->state.n_registrations; i++) {
                const struct registration *r = f->state.registrations + i;

                live += r->id && !(r->flags & REGISTRATION_GONE);
                untold += r->id && (r->flags & ~(REGISTRATION_GONE | REGISTRATION_REVOKING)) != 0;
                if (r->id)
                        assert_non_null(known_by_id(r->id));
        }
        assert_int_equal(live, fake_live());
        assert_int_equal(live, f->state.credit.used.registrations);
        assert_int_equal(untold, f->revoker.n_untold);
        for (unsigned int i = 0; i < REVOKE_MAX; i++)
                over += f->revoker.revocations[i].active && f->revoker.revocations[i].waiting == 0;
        assert_int_equal(over, f->revoker.n_over);
        while ((result = revoker_result(&f->revoker))) {
                assert_false(model.orders[result->cookie - 1].answered);
                assert_int_equal(result->counts[0] + result->counts[1] + result->counts[2],
                                 model.orders[result->cookie - 1].n);
                model.orders[result->cookie - 1].answered = true;
                revoker_forget(&f->revoker, result);
        }
}

TEST(test_model) {
        unsigned int rounds = testing_rounds(4000);
        struct fixture f;

        memset(&model, 0, sizeof model);
        testing_seed(&model.random, "revoke");
        fixture_init(&f);
        for (unsigned int round = 0; round < rounds; round++) {
                unsigned int what = testing_below(&model.random, 16);

                if (what < 6 && f.state.credit.used.registrations + f.revoker.n_untold < CAPACITY)
                        model.known[model.n++] = (struct known) { .id = reg(&f, what % 2) };
                else if (what < 9 && model.n > 0)
                        model_dereg(&f);
                else if (what < 10 && model.n_orders < ELEMENTSOF(model.orders))
                        model_order(&f);
                else if (what < 14)
                        model_event(&f);
                else
                        pass(testing_below(&model.random, 500));
                if (testing_below(&model.random, 2))
                        work(&f);
                model_check(&f);
        }
        print_message("%u orders, %u released, %u forced, %u dismissed\n", model.n_orders, model.n_released, model.n_forced,
                      model.n_dismissed);

        /* In the end everything is answered and told. */
        pass(4000);
        work(&f);
        while (f.revoker.n_untold > 0)
                model_event(&f);
        model_check(&f);
        for (unsigned int i = 0; i < model.n_orders; i++)
                assert_true(model.orders[i].answered);
        assert_int_equal(fake_live(), model.n);
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
                CHECKED(test_model),
        };

        return cmocka_run_group_tests_name("revoke", tests, NULL, NULL);
}
