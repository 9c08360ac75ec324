/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <infiniband/verbs.h>
#include <poll.h>
#include <string.h>

#include "fake_uverbs.h"
#include "rawclient.h"
#include "wraps.h"

/* What a registrar does on its keeper's word, as an app and a keeper see it: credit and revocations. */

#define PAGE RAWCLIENT_PAGE
#define MANY 1000

static const struct credit_amount large = { .pinned = UINT64_C(1) << 40, .odp = UINT64_C(1) << 40, .registrations = MANY };

/* Against the pinned credit. */
static void make_register(struct pl_packet *packet) {
        rawclient_make_register(packet, 0);
        packet->body.reg.methods = PINLEASE_METHOD_PINNED;
}

static uint64_t must_register(struct rawclient *c, int fd) {
        struct pl_packet request, answer;

        make_register(&request);
        rawclient_ask(c, &request, fd, &answer);
        assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_REGISTER);
        return answer.body.register_reply.id;
}

static void must_deregister(struct rawclient *c, uint64_t id) {
        struct pl_packet request, answer;

        pl_packet_init(&request, PL_OP_DEREGISTER, 0);
        request.body.deregister.id = id;
        rawclient_ask(c, &request, -1, &answer);
        assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_DEREGISTER);
}

static void start(struct rawclient *c, const struct credit_amount *credit) {
        rawclient_start_with(c, &large, credit);
        rawclient_hello(c);
        (void)rawclient_attach(c, "/dev/null");
}

static void end(struct rawclient *c) {
        c->app = pl_close(c->app);
        rawclient_end(c);
}

static void say(struct rawclient *c, const struct control_message *message) {
        assert_int_equal(control_send(c->keeper, message, -1), 0);
}

static void order(struct rawclient *c, enum control_selector selector, uint64_t id, uint32_t grace_ms, uint64_t cookie) {
        say(c,
            &(struct control_message) {
                    .type = CONTROL_REVOKE,
                    .cookie = cookie,
                    .selector = selector,
                    .id = id,
                    .value = grace_ms,
            });
}

/* Waits for the next answer to a REVOKE. */
static void expect_revoked(struct rawclient *c, uint64_t cookie, uint32_t error, uint32_t released, uint32_t forced, uint32_t kept) {
        while (c->n_revoked == 0) {
                (void)testing_wait_fd(c->keeper, POLLIN);
                rawclient_keep(c);
        }
        assert_int_equal(c->revoked[0].cookie, cookie);
        assert_int_equal(c->revoked[0].value, error);
        assert_int_equal(c->revoked[0].counts[REVOCATION_RELEASED], released);
        assert_int_equal(c->revoked[0].counts[REVOCATION_FORCED], forced);
        assert_int_equal(c->revoked[0].counts[REVOCATION_KEPT], kept);
        memmove(c->revoked, c->revoked + 1, --c->n_revoked * sizeof c->revoked[0]);
}

/* The registrar has seen everything that was said before. */
static void turn_around(struct rawclient *c) {
        unsigned int n = c->n_pongs;

        say(c, &(struct control_message) { .type = CONTROL_PING });
        while (c->n_pongs == n) {
                (void)testing_wait_fd(c->keeper, POLLIN);
                rawclient_keep(c);
        }
}

static void expect_event(struct rawclient *c, uint16_t opcode, uint64_t id) {
        struct pl_packet packet;

        assert_int_equal(rawclient_recv(c, &packet), 0);
        assert_int_equal(packet.header.opcode, opcode);
        assert_int_equal(packet.header.seq, 0);
        assert_int_equal(opcode == PL_OP_REVOKED ? packet.body.revoked.id : packet.body.revoking.id, id);
}

TEST(test_revoke) {
        int memory = testing_memfd(PAGE);
        struct pl_packet request, answer;
        uint64_t a, b;
        struct rawclient c;

        start(&c, &large);
        order(&c, CONTROL_SELECT_ALL, 0, 60000, 1);
        expect_revoked(&c, 1, 0, 0, 0, 0);
        order(&c, (enum control_selector)9, 0, 60000, 2);
        expect_revoked(&c, 2, EINVAL, 0, 0, 0);

        a = must_register(&c, memory);
        b = must_register(&c, memory);
        order(&c, CONTROL_SELECT_ALL, 0, 60000, UINT64_MAX);
        expect_event(&c, PL_OP_REVOKING, a);
        expect_event(&c, PL_OP_REVOKING, b);
        must_deregister(&c, a);
        assert_int_equal(c.n_revoked, 0);
        must_deregister(&c, b);
        expect_revoked(&c, UINT64_MAX, 0, 2, 0, 0);

        /* Not in time. The id is no more; the session goes on. */
        a = must_register(&c, memory);
        order(&c, CONTROL_SELECT_ID, a, 20, 7);
        expect_event(&c, PL_OP_REVOKING, a);
        expect_event(&c, PL_OP_REVOKED, a);
        expect_revoked(&c, 7, 0, 0, 1, 0);
        assert_int_equal(fake_live(), 0);
        pl_packet_init(&request, PL_OP_DEREGISTER, 0);
        request.body.deregister.id = a;
        rawclient_ask(&c, &request, -1, &answer);
        rawclient_assert_refused(&answer, PL_OP_DEREGISTER, PINLEASE_CODE_NO_SUCH_REGISTRATION);

        /* By its detaching. */
        a = must_register(&c, memory);
        order(&c, CONTROL_SELECT_ID, a, 60000, 8);
        expect_event(&c, PL_OP_REVOKING, a);
        pl_packet_init(&request, PL_OP_DETACH, 0);
        rawclient_ask(&c, &request, -1, &answer);
        expect_revoked(&c, 8, 0, 1, 0, 0);
        end(&c);
        pl_close(memory);
}

TEST(test_too_many_revocations) {
        int memory = testing_memfd(PAGE);
        struct rawclient c;

        start(&c, &large);
        (void)must_register(&c, memory);
        for (unsigned int i = 0; i < REVOKE_MAX; i++)
                order(&c, CONTROL_SELECT_ALL, 0, 60000, i);
        order(&c, CONTROL_SELECT_ALL, 0, 0, 100);
        expect_revoked(&c, 100, EBUSY, 0, 0, 0);
        wraps_clock->jumped_ms += 60000;
        turn_around(&c);
        for (unsigned int i = 0; i < REVOKE_MAX; i++)
                expect_revoked(&c, i, 0, 0, 1, 0);
        end(&c);
        pl_close(memory);
}

/* A thousand at once: they are gone at their time, and the keeper is answered all the while. What the app is to be told waits
 * nowhere, and is all there once it reads. */
TEST(test_app_does_not_read) {
        int memory = testing_memfd(PAGE);
        struct pl_packet request, packet;
        unsigned int n_revoking = 0, n_revoked = 0;
        struct rawclient c;
        uint64_t ids[MANY];

        start(&c, &large);
        for (unsigned int i = 0; i < MANY; i++)
                ids[i] = must_register(&c, memory);
        order(&c, CONTROL_SELECT_ALL, 0, 60000, 1);
        /* The first event is there; the keeper's questions, as fast as they are answered, come before the others. */
        (void)testing_wait_fd(c.app, POLLIN);
        for (unsigned int i = 0; i < 100; i++)
                turn_around(&c);
        assert_int_equal(fake_live(), MANY);

        /* It asks, and is not served as long as it does not read. */
        pl_packet_init(&request, PL_OP_DEREGISTER, 0);
        request.body.deregister.id = ids[0];
        request.header.seq = ++c.seq;
        assert_int_equal(rawclient_send(&c, &request, request.header.length, NULL, 0), 0);
        wraps_clock->jumped_ms += 60000;
        turn_around(&c);
        expect_revoked(&c, 1, 0, 0, MANY, 0);
        assert_int_equal(fake_live(), 0);

        for (bool answered = false; n_revoked + answered < MANY || !answered;) {
                assert_int_equal(rawclient_recv(&c, &packet), 0);
                if (packet.header.opcode == PL_OP_REVOKING)
                        n_revoking++;
                else if (packet.header.opcode == PL_OP_REVOKED)
                        n_revoked++;
                else {
                        /* Either it was told before, or it may let go of what is gone. */
                        assert_int_equal(packet.header.seq, c.seq);
                        answered = true;
                        if (packet.header.opcode == PL_OP_REFUSED)
                                assert_in_range(n_revoked, 1, MANY);
                        if (packet.header.opcode == PL_OP_REFUSED && n_revoked == MANY)
                                break;
                }
        }
        print_message("%u REVOKING, %u REVOKED\n", n_revoking, n_revoked);
        assert_in_range(n_revoking, 1, MANY - 1);
        (void)must_register(&c, memory);
        end(&c);
        pl_close(memory);
}

/* Many are taken away, each taking its time: the app's own requests are answered in between. */
static void dawdle(enum fake_instant instant) {
        if (instant == FAKE_AFTER)
                wraps_clock->jumped_ms += 3;
}

TEST(test_served_meanwhile) {
        int client[2], control[2], memory = testing_memfd(PAGE), null = open("/dev/null", O_RDWR | O_CLOEXEC);
        struct rawclient c = { 0 };
        static struct registrar r;
        struct pl_fdclass class;
        struct refusal refusal;
        struct pl_packet packet;
        unsigned int turns = 0;
        uint32_t context;

        /* In this process, to see every turn. */
        fake_reset();
        wraps_reset();
        assert_int_equal(ledger_create(MANY, &c.ledger), 0);
        assert_int_equal(control_pair(client), 0);
        assert_int_equal(control_pair(control), 0);
        registrar_init(&r,
                       &(struct registrar_config) {
                               .client = client[1],
                               .control = control[1],
                               .limits = large,
                               .credit = large,
                               .hello_timeout_ms = 1U << 30,
                       },
                       &fake_ops,
                       &c.ledger);
        c.app = client[0];
        c.keeper = control[0];
        r.greeted = true;
        assert_int_equal(pl_fdclass_get(null, &class), 0);
        assert_int_equal(request_attach(&r.state, null, &class, &context, &refusal), 0);
        assert_int_equal(pl_fdclass_get(memory, &class), 0);
        make_register(&packet);
        for (unsigned int i = 0; i < 500; i++) {
                struct pl_register_reply reply;

                assert_int_equal(request_register(&r.state, &packet.body.reg, memory, &class, &reply, &refusal), 0);
        }

        fake->instant = dawdle;
        order(&c, CONTROL_SELECT_ALL, 0, 0, 1);
        while (c.n_revoked == 0) {
                pl_packet_init(&packet, PL_OP_PING, ++c.seq);
                assert_int_equal(rawclient_send(&c, &packet, packet.header.length, NULL, 0), 0);
                assert_int_equal(registrar_turn(&r), 0);
                turns++;
                do
                        assert_int_equal(rawclient_recv(&c, &packet), 0);
                while (packet.header.seq == 0);
                assert_int_equal(packet.header.seq, c.seq);
        }
        assert_in_range(turns, 100, 500);
        fake->instant = NULL;
        expect_revoked(&c, 1, 0, 0, 500, 0);
        assert_int_equal(registrar_done(&r), 0);
        for (size_t i = 0; i < 2; i++) {
                pl_close(client[i]);
                pl_close(control[i]);
        }
        pl_close(memory);
}

/* An app of before the events is not told, and loses its registrations all the same. */
TEST(test_without_feature) {
        int memory = testing_memfd(PAGE);
        struct pl_packet request, answer;
        struct rawclient c;

        rawclient_start_with(&c, &large, &large);
        pl_packet_init(&request, PL_OP_HELLO, 0);
        rawclient_ask(&c, &request, -1, &answer);
        assert_int_equal(answer.body.hello_reply.features, 0);
        (void)rawclient_attach(&c, "/dev/null");
        (void)must_register(&c, memory);
        order(&c, CONTROL_SELECT_ALL, 0, 0, 1);
        expect_revoked(&c, 1, 0, 0, 1, 0);
        pl_packet_init(&request, PL_OP_PING, 0);
        rawclient_ask(&c, &request, -1, &answer);
        assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_PING);
        end(&c);
        pl_close(memory);
}

/* After the announcement nothing new is registered; what is there may be revoked and let go. */
TEST(test_nothing_new) {
        int memory = testing_memfd(PAGE);
        struct pl_packet request, answer;
        struct rawclient c;
        uint64_t a;

        start(&c, &large);
        a = must_register(&c, memory);
        say(&c, &(struct control_message) { .type = CONTROL_GOING_AWAY, .value = 3600000 });
        assert_int_equal(rawclient_recv(&c, &answer), 0);
        assert_int_equal(answer.header.opcode, PL_OP_GOING_AWAY);
        make_register(&request);
        rawclient_ask(&c, &request, memory, &answer);
        rawclient_assert_refused(&answer, PL_OP_REGISTER, PINLEASE_CODE_GOING_AWAY);
        order(&c, CONTROL_SELECT_ALL, 0, 60000, 1);
        expect_event(&c, PL_OP_REVOKING, a);
        must_deregister(&c, a);
        expect_revoked(&c, 1, 0, 1, 0, 0);
        end(&c);
        pl_close(memory);
}

TEST(test_credit) {
        static const struct credit_amount none = { 0 };
        int memory = testing_memfd(PAGE);
        struct rawclient c;
        uint64_t a;

        start(&c, &none);
        a = must_register(&c, memory);
        assert_int_equal(c.n_wants, 1);
        assert_int_equal(c.want.pinned, PAGE);
        assert_int_equal(c.want.registrations, 1);
        must_deregister(&c, a);
        a = must_register(&c, memory);
        assert_int_equal(c.n_wants, 1);
        end(&c);
        pl_close(memory);
}

/* While a request waits for credit that does not come, the keeper is answered, the app is told of a revocation, and loses at the
 * deadline what is revoked. */
TEST(test_waits_for_credit) {
        static const struct credit_amount one = { .pinned = PAGE, .registrations = 1 };
        int memory = testing_memfd(PAGE);
        struct pl_packet request, answer;
        struct rawclient c;
        uint64_t a;

        start(&c, &one);
        a = must_register(&c, memory);
        c.miser = true;
        make_register(&request);
        request.header.seq = ++c.seq;
        assert_int_equal(rawclient_send(&c, &request, request.header.length, &memory, 1), 0);
        while (c.n_wants == 0) {
                (void)testing_wait_fd(c.keeper, POLLIN);
                rawclient_keep(&c);
        }
        assert_true(ledger_is_busy(&c.ledger, pl_now_ms()));
        turn_around(&c);
        order(&c, CONTROL_SELECT_ALL, 0, 30, 1);
        expect_event(&c, PL_OP_REVOKING, a);
        expect_event(&c, PL_OP_REVOKED, a);
        expect_revoked(&c, 1, 0, 0, 1, 0);
        assert_true(ledger_is_busy(&c.ledger, pl_now_ms()));

        wraps_clock->jumped_ms += CREDIT_TIMEOUT_MS;
        turn_around(&c);
        assert_int_equal(rawclient_recv(&c, &answer), 0);
        rawclient_assert_refused(&answer, PL_OP_REGISTER, PINLEASE_CODE_RESTARTING);
        assert_int_equal(answer.header.seq, c.seq);
        assert_int_equal(answer.body.refused.error, EAGAIN);

        /* There is room by now; the answer that is due does no harm. */
        a = must_register(&c, memory);
        say(&c, &(struct control_message) { .type = CONTROL_CREDIT, .credit = c.want });
        (void)must_register(&c, memory);
        assert_int_equal(c.n_wants, 1);

        /* It hangs up while it waits. */
        make_register(&request);
        request.header.seq = ++c.seq;
        assert_int_equal(rawclient_send(&c, &request, request.header.length, &memory, 1), 0);
        while (c.n_wants == 1) {
                (void)testing_wait_fd(c.keeper, POLLIN);
                rawclient_keep(&c);
        }
        end(&c);
        pl_close(memory);
}

/* What is not needed goes back when the app has been idle, once. */
TEST(test_returns) {
        static const struct credit_amount chunk = CREDIT_CHUNK;
        struct credit_amount much = { .pinned = chunk.pinned + 5, .odp = 1, .registrations = 1 };
        int memory = testing_memfd(PAGE);
        struct rawclient c;
        uint64_t a;

        start(&c, &much);
        a = must_register(&c, memory);
        must_deregister(&c, a);
        assert_int_equal(c.n_returns, 0);
        while (c.n_returns == 0) {
                (void)testing_wait_fd(c.keeper, POLLIN);
                rawclient_keep(&c);
        }
        assert_int_equal(c.returned.pinned, 5);
        assert_int_equal(c.returned.odp, 0);
        end(&c);
        assert_int_equal(c.n_returns, 1);
        pl_close(memory);
}

/* What an app holds on to is taken from it while it stands still, all at once. */
TEST(test_stops_the_app) {
        int memory = testing_memfd(PAGE);
        struct rawclient c;

        start(&c, &large);
        for (unsigned int i = 0; i < 5; i++)
                (void)must_register(&c, memory);
        c.stop_helps = true;
        fake->dereg_error = -EBUSY;
        order(&c, CONTROL_SELECT_ALL, 0, 0, 1);
        expect_revoked(&c, 1, 0, 0, 5, 0);
        assert_int_equal(fake_live(), 0);
        assert_int_equal(c.n_stops, 1);
        assert_int_equal(c.n_releases, 1);
        end(&c);
        pl_close(memory);
}

/* Stopping is refused, or does not help: it is told, and the session goes on. */
TEST(test_force_fails) {
        static const uint32_t errors[] = { 0, ESRCH, EPERM };

        for (size_t i = 0; i < ELEMENTSOF(errors); i++) {
                int memory = testing_memfd(PAGE);
                struct pl_packet packet;
                struct rawclient c;
                uint64_t id;

                start(&c, &large);
                id = must_register(&c, memory);
                c.stop_error = errors[i];
                fake->dereg_error = -EBUSY;
                order(&c, CONTROL_SELECT_ALL, 0, 0, 1);
                expect_revoked(&c, 1, 0, 0, 0, 1);
                assert_int_equal(c.n_stops, 1);
                assert_int_equal(c.n_releases, errors[i] ? 0 : 1);
                expect_event(&c, PL_OP_REVOKING, id);

                fake->dereg_error = 0;
                wraps_clock->jumped_ms += 1000;
                assert_int_equal(rawclient_recv(&c, &packet), 0);
                assert_int_equal(packet.header.opcode, PL_OP_REVOKED);
                assert_int_equal(c.n_stops, 1);
                end(&c);
                pl_close(memory);
        }
}

/* A keeper that does not answer is none: the session ends, in order. */
TEST(test_stop_unanswered) {
        int memory = testing_memfd(PAGE);
        struct rawclient c;

        start(&c, &large);
        (void)must_register(&c, memory);
        c.stop_mute = true;
        fake->dereg_error = -EBUSY;
        order(&c, CONTROL_SELECT_ALL, 0, 0, 1);
        while (c.n_stops == 0) {
                (void)testing_wait_fd(c.keeper, POLLIN);
                rawclient_keep(&c);
        }
        /* It answers meanwhile. */
        turn_around(&c);
        fake->dereg_error = 0;
        wraps_clock->jumped_ms += KEEPER_TIMEOUT_MS;
        rawclient_end(&c);
        pl_close(memory);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_revoke),
                CHECKED(test_too_many_revocations),
                CHECKED(test_app_does_not_read),
                CHECKED(test_served_meanwhile),
                CHECKED(test_without_feature),
                CHECKED(test_nothing_new),
                CHECKED(test_credit),
                CHECKED(test_waits_for_credit),
                CHECKED(test_returns),
                CHECKED(test_stops_the_app),
                CHECKED(test_force_fails),
                CHECKED(test_stop_unanswered),
        };

        return cmocka_run_group_tests_name("registrar and keeper", tests, NULL, NULL);
}
