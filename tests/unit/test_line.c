/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <string.h>

#include "line.h"
#include "wraps.h"

#define ODP    PINLEASE_METHOD_ODP
#define PINNED PINLEASE_METHOD_PINNED

/* A line whose other end is the test: as the keeper, it acts when the line tends to other things. */
struct fixture {
        struct line line;
        struct credit credit;
        int keeper, app, client;
        int (*keep)(struct fixture *f);
        unsigned int n_tended, n_wants, n_pongs;
        struct control_message want, other;
        struct credit_amount offer;
        int handled; /* what `handle` answers */
};

static int handle(void *userdata, const struct control_message *message) {
        struct fixture *f = userdata;

        f->other = *message;
        return f->handled;
}

static int tend(void *userdata, int *ret_timeout_ms) {
        struct fixture *f = userdata;

        f->n_tended++;
        *ret_timeout_ms = -1;
        return f->keep ? f->keep(f) : 0;
}

static const struct line_ops ops = { .handle = handle, .tend = tend };

static void fixture_init(struct fixture *f) {
        int control[2], client[2];

        wraps_reset();
        *f = (struct fixture) {
                .credit = { .limits = { .pinned = 1 << 30, .odp = 1 << 30, .registrations = 1000 } },
        };
        assert_int_equal(control_pair(control), 0);
        assert_int_equal(control_pair(client), 0);
        f->keeper = control[0];
        f->app = client[0];
        f->client = client[1];
        line_init(&f->line, control[1], client[1], &f->credit, &ops, f);
}

static void fixture_done(struct fixture *f) {
        pl_close(f->keeper);
        pl_close(f->app);
        pl_close(f->client);
        pl_close(f->line.fd);
        wraps_reset();
}

static void say(const struct fixture *f, const struct control_message *message) {
        assert_int_equal(control_send(f->keeper, message, -1), 0);
}

static void say_type(const struct fixture *f, uint32_t type, uint32_t value) {
        say(f, &(struct control_message) { .type = type, .value = value });
}

static bool hear(const struct fixture *f, struct control_message *ret_message) {
        int fd, r = control_recv(f->keeper, ret_message, &fd);

        if (r == -EAGAIN)
                return false;
        assert_int_equal(r, 0);
        pl_close(fd);
        return true;
}

/* Notes what the registrar has said. */
static void listen_to(struct fixture *f) {
        struct control_message message;

        while (hear(f, &message))
                if (message.type == CONTROL_WANT) {
                        f->n_wants++;
                        f->want = message;
                } else {
                        assert_int_equal(message.type, CONTROL_PONG);
                        f->n_pongs++;
                }
}

/* Keepers. */

static int silent(struct fixture *f) {
        listen_to(f);
        return 0;
}

static int generous(struct fixture *f) {
        unsigned int before = f->n_wants;

        listen_to(f);
        if (f->n_wants > before) {
                say_type(f, CONTROL_PING, 0);
                say(f, &(struct control_message) { .type = CONTROL_CREDIT, .credit = f->want.credit });
        }
        return 0;
}

static int offering(struct fixture *f) {
        unsigned int before = f->n_wants;

        listen_to(f);
        if (f->n_wants > before)
                say(f, &(struct control_message) {
                               .type = CONTROL_CREDIT,
                               .value = f->other.value,
                               .credit = f->offer,
                               .limit = 1000,
                               .use = 990,
                       });
        return 0;
}

static int acknowledging(struct fixture *f) {
        struct control_message message;

        if (hear(f, &message)) {
                say_type(f, CONTROL_PING, 0);
                say_type(f, CONTROL_GOING_AWAY, 5);
                say_type(f, CONTROL_ACK, f->other.value);
        }
        return 0;
}

static void expect(const struct fixture *f, uint32_t type) {
        struct control_message message;

        assert_true(hear(f, &message));
        assert_int_equal(message.type, type);
}

TEST(test_drain) {
        struct fixture f;

        fixture_init(&f);
        assert_int_equal(line_drain(&f.line), 0);
        say_type(&f, CONTROL_PING, 0);
        say_type(&f, CONTROL_REVOKE, 7);
        say_type(&f, CONTROL_PING, 0);
        assert_int_equal(line_drain(&f.line), 0);
        expect(&f, CONTROL_PONG);
        expect(&f, CONTROL_PONG);
        assert_int_equal(f.other.type, CONTROL_REVOKE);
        assert_int_equal(f.other.value, 7);

        /* What the registrar does not take ends the session, and so does an ACK of nothing. */
        f.handled = -EPROTO;
        say_type(&f, 99, 0);
        assert_int_equal(line_drain(&f.line), -EPROTO);
        say_type(&f, CONTROL_ACK, 0);
        assert_int_equal(line_drain(&f.line), -EPROTO);
        assert_int_equal(f.other.type, 99);
        f.keeper = pl_close(f.keeper);
        assert_int_equal(line_drain(&f.line), -ECONNRESET);
        fixture_done(&f);
}

TEST(test_tell) {
        static const struct control_message drop = { .type = CONTROL_CONTEXT_DROP };
        struct fixture f;

        fixture_init(&f);
        f.keep = acknowledging;
        assert_int_equal(line_tell(&f.line, &drop, -1), 0);
        expect(&f, CONTROL_PONG);
        assert_int_equal(f.other.type, CONTROL_GOING_AWAY);
        f.other.value = EMFILE;
        assert_int_equal(line_tell(&f.line, &drop, -1), -EMFILE);

        /* Nobody answers; the app hangs up; the keeper is gone. */
        f.keep = silent;
        wraps_in_a_hurry = wraps_clock->fast = true;
        expect(&f, CONTROL_PONG);
        f.keep = NULL;
        assert_int_equal(line_tell(&f.line, &drop, -1), -ETIMEDOUT);
        f.app = pl_close(f.app);
        f.line.telling = false;
        assert_int_equal(line_tell(&f.line, &drop, -1), -ECONNRESET);
        f.keeper = pl_close(f.keeper);
        assert_int_equal(line_tell(&f.line, &drop, -1), -ECONNRESET);
        fixture_done(&f);
}

static int charge(struct fixture *f, enum pinlease_method method, uint64_t bytes, struct refusal *ret_refusal) {
        return credit_charge(&f->credit, method, bytes, ret_refusal);
}

TEST(test_ask) {
        struct refusal refusal;
        struct fixture f;

        fixture_init(&f);
        f.keep = generous;
        assert_int_equal(charge(&f, PINNED, 4096, &refusal), 0);
        assert_int_equal(f.n_wants, 1);
        assert_int_equal(f.want.credit.pinned, 4096);
        assert_int_equal(f.want.credit.odp, 0);
        assert_int_equal(f.want.credit.registrations, 1);
        listen_to(&f);
        assert_int_equal(f.n_pongs, 1);

        /* What is there is used before anybody is asked. */
        credit_refund(&f.credit, PINNED, 4096);
        assert_int_equal(charge(&f, PINNED, 1000, &refusal), 0);
        assert_int_equal(f.n_wants, 1);
        assert_int_equal(charge(&f, PINNED, 4000, &refusal), 0);
        assert_int_equal(f.want.credit.pinned, 1000 + 4000 - 4096);
        assert_int_equal(charge(&f, ODP, 5, &refusal), 0);
        assert_int_equal(f.want.credit.pinned, 0);
        assert_int_equal(f.want.credit.odp, 5);
        fixture_done(&f);
}

/* The user has no more: the refusal says of what, how much, and how much is in use; a part that came is kept. */
TEST(test_used_up) {
        static const enum pinlease_code codes[] = {
                [CREDIT_NONE] = PINLEASE_CODE_RESTARTING,
                [CREDIT_PINNED] = PINLEASE_CODE_PINNED_LIMIT,
                [CREDIT_ODP] = PINLEASE_CODE_ODP_LIMIT,
                [CREDIT_REGISTRATIONS] = PINLEASE_CODE_REGISTRATION_LIMIT,
                [4] = PINLEASE_CODE_RESTARTING,
        };
        struct refusal refusal;
        struct fixture f;

        fixture_init(&f);
        f.keep = offering;
        for (uint32_t kind = 0; kind < ELEMENTSOF(codes); kind++) {
                f.other.value = kind;
                testing_assert_refusal(charge(&f, kind == CREDIT_ODP ? ODP : PINNED, 4096, &refusal), &refusal, codes[kind]);
                if (codes[kind] != PINLEASE_CODE_RESTARTING) {
                        assert_non_null(strstr(refusal.sentence, " 1000 "));
                        assert_non_null(strstr(refusal.sentence, " 990;"));
                } else
                        assert_int_equal(refusal.error, EAGAIN);
        }
        assert_true(credit_is_zero(&f.credit));

        f.other.value = CREDIT_PINNED;
        f.offer = (struct credit_amount) { .pinned = 4000, .registrations = 1 };
        testing_assert_refusal(charge(&f, PINNED, 4096, &refusal), &refusal, PINLEASE_CODE_PINNED_LIMIT);
        assert_non_null(strstr(refusal.sentence, " 96 more"));
        assert_int_equal(f.credit.held.pinned, 4000);
        assert_int_equal(f.credit.held.registrations, 1);
        assert_int_equal(charge(&f, PINNED, 4000, &refusal), 0);
        fixture_done(&f);
}

/* No answer: the request is refused, in time, and the next one waits for the answer that is due instead of asking again. */
TEST(test_late) {
        struct control_message late = { .type = CONTROL_CREDIT, .credit = { .pinned = 100, .registrations = 2 } };
        struct refusal refusal;
        struct fixture f;

        fixture_init(&f);
        f.keep = silent;
        wraps_in_a_hurry = wraps_clock->fast = true;
        testing_assert_refusal(charge(&f, PINNED, 100, &refusal), &refusal, PINLEASE_CODE_RESTARTING);
        assert_int_equal(refusal.error, EAGAIN);
        testing_assert_refusal(charge(&f, ODP, 100, &refusal), &refusal, PINLEASE_CODE_RESTARTING);
        assert_int_equal(f.n_wants, 1);
        assert_true(credit_is_zero(&f.credit));

        /* It covers what is wanted by now. */
        say(&f, &late);
        assert_int_equal(charge(&f, PINNED, 100, &refusal), 0);
        assert_int_equal(f.n_wants, 1);

        /* It does not: the rest is asked for. */
        testing_assert_refusal(charge(&f, PINNED, 50, &refusal), &refusal, PINLEASE_CODE_RESTARTING);
        assert_int_equal(f.n_wants, 2);
        f.keep = generous;
        late.credit = (struct credit_amount) { .pinned = 30 };
        say(&f, &late);
        assert_int_equal(charge(&f, PINNED, 50, &refusal), 0);
        assert_int_equal(f.n_wants, 3);
        assert_int_equal(f.want.credit.pinned, 20);
        assert_int_equal(f.want.credit.registrations, 0);

        /* Unasked, between two requests. */
        assert_int_equal(line_drain(&f.line), 0);
        late.credit = (struct credit_amount) { .odp = 77, .registrations = 5 };
        say(&f, &late);
        assert_int_equal(line_drain(&f.line), 0);
        assert_int_equal(f.credit.held.odp, 77);
        assert_int_equal(charge(&f, ODP, 77, &refusal), 0);
        assert_int_equal(f.n_wants, 3);

        late.credit = (struct credit_amount) { .odp = UINT64_MAX };
        say(&f, &late);
        assert_int_equal(line_drain(&f.line), -EPROTO);
        assert_int_equal(f.credit.held.odp, 77);
        fixture_done(&f);
}

static int ending(struct fixture *f) {
        (void)f;
        return -ETIMEDOUT;
}

/* The keeper goes, the app goes, the session's time is over: not refusals, but the end. */
TEST(test_ask_end) {
        struct refusal refusal;
        struct fixture f;

        for (unsigned int i = 0; i < 3; i++) {
                fixture_init(&f);
                if (i == 0)
                        f.keeper = pl_close(f.keeper);
                if (i == 1)
                        f.app = pl_close(f.app);
                if (i == 2)
                        f.keep = ending;
                assert_int_equal(charge(&f, PINNED, 1, &refusal), i == 2 ? -ETIMEDOUT : -ECONNRESET);
                assert_true(credit_is_zero(&f.credit));
                fixture_done(&f);
        }
}

TEST(test_return) {
        static const struct credit_amount chunk = CREDIT_CHUNK;
        struct control_message message;
        struct fixture f;
        unsigned int n = 0;

        fixture_init(&f);
        assert_false(line_has_surplus(&f.line));
        assert_int_equal(line_return_surplus(&f.line), 0);
        assert_false(hear(&f, &message));

        f.credit.held = (struct credit_amount) { .pinned = chunk.pinned + 5 };
        assert_true(line_has_surplus(&f.line));
        f.line.asking = true;
        assert_false(line_has_surplus(&f.line));
        assert_int_equal(line_return_surplus(&f.line), 0);
        f.line.asking = false;
        assert_int_equal(line_return_surplus(&f.line), 0);
        assert_false(line_has_surplus(&f.line));
        assert_int_equal(f.credit.held.pinned, chunk.pinned);
        assert_true(hear(&f, &message));
        assert_int_equal(message.type, CONTROL_RETURN);
        assert_int_equal(message.credit.pinned, 5);

        /* The keeper does not read: it stays held, and goes later. */
        f.credit.held.odp = chunk.odp + 7;
        while (line_send(&f.line, &(struct control_message) { .type = CONTROL_PONG }) == 0)
                n++;
        assert_true(n > 0);
        assert_int_equal(line_return_surplus(&f.line), 0);
        assert_int_equal(f.credit.held.odp, chunk.odp + 7);
        assert_true(line_has_surplus(&f.line));
        while (hear(&f, &message))
                assert_int_equal(message.type, CONTROL_PONG);
        assert_int_equal(line_return_surplus(&f.line), 0);
        assert_true(hear(&f, &message));
        assert_int_equal(message.credit.odp, 7);
        f.credit.held.odp++;
        f.keeper = pl_close(f.keeper);
        assert_int_equal(line_return_surplus(&f.line), -ECONNRESET);
        fixture_done(&f);
}

/* A model: a user's purse, and a service that answers, answers in part, or is away for a while. Nothing is ever lost or made. */

#define MAX 200

static struct {
        struct testing_random random;
        struct credit_amount purse;
        bool due; /* a question is not answered yet */
        unsigned int n_late;
} model;

static uint64_t hand_out(uint64_t *left, uint64_t need, uint64_t chunk) {
        uint64_t n = need == 0 ? 0 : need + chunk > *left ? (need > *left ? *left : need) : need + chunk;

        *left -= n;
        return n;
}

static void answer(struct fixture *f) {
        struct control_message m = { .type = CONTROL_CREDIT };

        m.value = f->want.credit.pinned > model.purse.pinned ? CREDIT_PINNED
                : f->want.credit.odp > model.purse.odp       ? CREDIT_ODP
                                                             : CREDIT_REGISTRATIONS;
        m.credit.pinned = hand_out(&model.purse.pinned, f->want.credit.pinned, 3000);
        m.credit.odp = hand_out(&model.purse.odp, f->want.credit.odp, 5000);
        m.credit.registrations = hand_out(&model.purse.registrations, f->want.credit.registrations, 3);
        model.due = false;
        say(f, &m);
}

static int moody(struct fixture *f) {
        struct control_message message;

        while (hear(f, &message)) {
                assert_int_equal(message.type, CONTROL_WANT);
                assert_false(model.due);
                model.due = true;
                f->want = message;
        }
        if (!model.due)
                return 0;
        if (testing_below(&model.random, 4) == 0) {
                wraps_clock->jumped_ms += CREDIT_TIMEOUT_MS;
                model.n_late++;
                if (testing_below(&model.random, 2))
                        return 0;
        }
        answer(f);
        return 0;
}

TEST(test_model) {
        struct { enum pinlease_method method; uint64_t bytes; } charges[MAX];
        unsigned int n = 0, rounds = testing_rounds(3000), refused = 0, busy = 0;
        const struct credit_amount all = { .pinned = 200000, .odp = 400000, .registrations = 40 };
        struct fixture f;

        fixture_init(&f);
        testing_seed(&model.random, "line, credit");
        model.purse = all;
        model.due = false;
        f.keep = moody;
        for (unsigned int round = 0; round < rounds; round++) {
                enum pinlease_method method = testing_below(&model.random, 2) ? ODP : PINNED;
                uint64_t bytes = 1 + testing_below(&model.random, 30000);
                const struct credit *c = &f.credit;
                struct refusal refusal;
                int r;

                if (model.due && testing_below(&model.random, 2))
                        answer(&f);
                assert_int_equal(line_drain(&f.line), 0);
                assert_true(c->held.pinned + model.purse.pinned == all.pinned);
                assert_true(c->held.odp + model.purse.odp == all.odp);
                assert_true(c->held.registrations + model.purse.registrations == all.registrations);
                assert_true(c->used.pinned <= c->held.pinned && c->used.odp <= c->held.odp);
                assert_true(c->used.registrations == n && n <= c->held.registrations);
                assert_int_equal(f.line.asking, model.due);

                if (n == MAX || (n > 0 && testing_below(&model.random, 5) < 2)) {
                        unsigned int i = testing_below(&model.random, n);

                        credit_refund(&f.credit, charges[i].method, charges[i].bytes);
                        charges[i] = charges[--n];
                        continue;
                }
                r = charge(&f, method, bytes, &refusal);
                if (r == 0) {
                        charges[n].method = method;
                        charges[n++].bytes = bytes;
                        continue;
                }
                assert_int_equal(r, REFUSED);
                refused++;
                busy += refusal.code == PINLEASE_CODE_RESTARTING;
        }
        print_message("%u refused, %u for want of an answer, %u late\n", refused, busy, model.n_late);
        assert_true(refused > busy);
        fixture_done(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_drain),
                CHECKED(test_tell),
                CHECKED(test_ask),
                CHECKED(test_used_up),
                CHECKED(test_late),
                CHECKED(test_ask_end),
                CHECKED(test_return),
                CHECKED(test_model),
        };

        return cmocka_run_group_tests_name("line", tests, NULL, NULL);
}
