/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "revoke_fixture.h"

#include <string.h>

#include "fake_uverbs.h"

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
                CHECKED(test_model),
        };

        return cmocka_run_group_tests_name("revoke, model", tests, NULL, NULL);
}
