/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <infiniband/verbs.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "fake_uverbs.h"
#include "journal.h"
#include "orders.h"
#include "policy-share.h"
#include "testing_policy.h"
#include "wraps.h"

/* What a registrar does on its keeper's word, as an app and a keeper see it: credit and revocations. */

#define PAGE RAWCLIENT_PAGE

TEST(test_revoke) {
        int memory = testing_memfd(PAGE);
        struct pl_packet request, answer;
        uint64_t a, b;
        struct rawclient c;

        orders_start(&c, &orders_large);
        orders_order(&c, CONTROL_SELECT_ALL, 0, 60000, 1);
        orders_expect_revoked(&c, 1, 0, 0, 0, 0);
        orders_order(&c, (enum control_selector)9, 0, 60000, 2);
        orders_expect_revoked(&c, 2, EINVAL, 0, 0, 0);

        a = orders_register(&c, memory);
        b = orders_register(&c, memory);
        orders_order(&c, CONTROL_SELECT_ALL, 0, 60000, UINT64_MAX);
        orders_expect_event(&c, PL_OP_REVOKING, a);
        orders_expect_event(&c, PL_OP_REVOKING, b);
        orders_deregister(&c, a);
        assert_int_equal(c.n_revoked, 0);
        orders_deregister(&c, b);
        orders_expect_revoked(&c, UINT64_MAX, 0, 2, 0, 0);

        /* Not in time. The id is no more; the session goes on. */
        a = orders_register(&c, memory);
        orders_order(&c, CONTROL_SELECT_ID, a, 20, 7);
        orders_expect_event(&c, PL_OP_REVOKING, a);
        orders_expect_event(&c, PL_OP_REVOKED, a);
        orders_expect_revoked(&c, 7, 0, 0, 1, 0);
        assert_int_equal(fake_live(), 0);
        pl_packet_init(&request, PL_OP_DEREGISTER, 0);
        request.body.deregister.id = a;
        rawclient_ask(&c, &request, -1, &answer);
        rawclient_assert_refused(&answer, PL_OP_DEREGISTER, PINLEASE_CODE_NO_SUCH_REGISTRATION);

        /* By its detaching. */
        a = orders_register(&c, memory);
        orders_order(&c, CONTROL_SELECT_ID, a, 60000, 8);
        orders_expect_event(&c, PL_OP_REVOKING, a);
        pl_packet_init(&request, PL_OP_DETACH, 0);
        rawclient_ask(&c, &request, -1, &answer);
        orders_expect_revoked(&c, 8, 0, 1, 0, 0);
        orders_end(&c);
        pl_close(memory);
}

static void send_release(struct rawclient *c, uint64_t id) {
        struct pl_packet request;

        pl_packet_init(&request, PL_OP_RELEASE, ++c->seq);
        request.body.release.id = id;
        assert_int_equal(rawclient_send(c, &request, request.header.length, NULL, 0), 0);
}

static void expect_answer(struct rawclient *c, uint32_t seq, uint16_t opcode) {
        struct pl_packet packet;

        assert_int_equal(rawclient_recv(c, &packet), 0);
        assert_int_equal(packet.header.opcode, opcode);
        assert_int_equal(packet.header.seq, seq);
}

/* What is sent without waiting for answers is answered in order, also what comes after it, and what is wrong. */
TEST(test_many_releases) {
        int memory = testing_memfd(PAGE);
        uint64_t ids[3 * REGISTRAR_RELEASES + 2];
        struct pl_packet request;
        struct rawclient c;
        uint32_t first;

        orders_start(&c, &orders_large);
        for (size_t i = 0; i < ELEMENTSOF(ids); i++)
                ids[i] = orders_register(&c, memory);
        orders_order(&c, CONTROL_SELECT_ALL, 0, 60000, 1);
        for (size_t i = 0; i < ELEMENTSOF(ids); i++)
                orders_expect_event(&c, PL_OP_REVOKING, ids[i]);

        /* The last one is left, or no revocation would be under way. */
        first = c.seq + 1;
        for (size_t i = 0; i + 1 < ELEMENTSOF(ids); i++)
                send_release(&c, ids[i]);
        send_release(&c, ids[0]);
        pl_packet_init(&request, PL_OP_PING, ++c.seq);
        assert_int_equal(rawclient_send(&c, &request, request.header.length, NULL, 0), 0);
        for (uint32_t i = 0; i + 1 < ELEMENTSOF(ids); i++)
                expect_answer(&c, first + i, PL_OP_REPLY | PL_OP_RELEASE);
        expect_answer(&c, c.seq - 1, PL_OP_REFUSED);
        expect_answer(&c, c.seq, PL_OP_REPLY | PL_OP_PING);
        assert_int_equal(fake_live(), 1);

        request.header.seq = ++c.seq;
        send_release(&c, ids[ELEMENTSOF(ids) - 1]);
        assert_int_equal(rawclient_send(&c, &request, request.header.length - 1, NULL, 0), 0);
        expect_answer(&c, c.seq, PL_OP_REPLY | PL_OP_RELEASE);
        expect_answer(&c, c.seq - 1, PL_OP_REFUSED);
        rawclient_expect_end(&c);
        pl_close(memory);
}

TEST(test_too_many_revocations) {
        int memory = testing_memfd(PAGE);
        struct rawclient c;

        orders_start(&c, &orders_large);
        (void)orders_register(&c, memory);
        for (unsigned int i = 0; i < REVOKE_MAX; i++)
                orders_order(&c, CONTROL_SELECT_ALL, 0, 60000, i);
        orders_order(&c, CONTROL_SELECT_ALL, 0, 0, 100);
        orders_expect_revoked(&c, 100, EBUSY, 0, 0, 0);
        wraps_clock->jumped_ms += 60000;
        orders_turn_around(&c);
        for (unsigned int i = 0; i < REVOKE_MAX; i++)
                orders_expect_revoked(&c, i, 0, 0, 1, 0);
        orders_end(&c);
        pl_close(memory);
}

/* A thousand at once: they are gone at their time, and the keeper is answered all the while. What the app is to be told waits
 * nowhere, and is all there once it reads. */
TEST(test_app_does_not_read) {
        int memory = testing_memfd(PAGE);
        struct pl_packet request, packet;
        unsigned int n_revoking = 0, n_revoked = 0;
        struct rawclient c;
        uint64_t ids[ORDERS_MANY];

        orders_start(&c, &orders_large);
        for (unsigned int i = 0; i < ORDERS_MANY; i++)
                ids[i] = orders_register(&c, memory);
        orders_order(&c, CONTROL_SELECT_ALL, 0, 60000, 1);
        /* The first event is there; the keeper's questions, as fast as they are answered, come before the others. */
        (void)testing_wait_fd(c.app, POLLIN);
        for (unsigned int i = 0; i < 100; i++)
                orders_turn_around(&c);
        assert_int_equal(fake_live(), ORDERS_MANY);

        /* It asks, and is not served as long as it does not read. */
        pl_packet_init(&request, PL_OP_DEREGISTER, 0);
        request.body.deregister.id = ids[0];
        request.header.seq = ++c.seq;
        assert_int_equal(rawclient_send(&c, &request, request.header.length, NULL, 0), 0);
        wraps_clock->jumped_ms += 60000;
        orders_turn_around(&c);
        orders_expect_revoked(&c, 1, 0, 0, ORDERS_MANY, 0);
        assert_int_equal(fake_live(), 0);

        for (bool answered = false; n_revoked + answered < ORDERS_MANY || !answered;) {
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
                                assert_in_range(n_revoked, 1, ORDERS_MANY);
                        if (packet.header.opcode == PL_OP_REFUSED && n_revoked == ORDERS_MANY)
                                break;
                }
        }
        print_message("%u REVOKING, %u REVOKED\n", n_revoking, n_revoked);
        assert_in_range(n_revoking, 1, ORDERS_MANY - 1);
        (void)orders_register(&c, memory);
        orders_end(&c);
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
        assert_int_equal(ledger_create(ORDERS_MANY, &c.ledger), 0);
        assert_int_equal(control_pair(client), 0);
        assert_int_equal(control_pair(control), 0);
        registrar_init(&r,
                       &(struct registrar_config) {
                               .client = client[1],
                               .control = control[1],
                               .limits = orders_large,
                               .credit = orders_large,
                               .policy = testing_policy_mapped(),
                               .pagemap = -1,
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
        orders_make_register(&packet);
        for (unsigned int i = 0; i < 500; i++) {
                struct pl_register_reply reply;

                assert_int_equal(request_register(&r.state, &packet.body.reg, memory, &class, &reply, &refusal), 0);
        }

        fake->instant = dawdle;
        orders_order(&c, CONTROL_SELECT_ALL, 0, 0, 1);
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
        orders_expect_revoked(&c, 1, 0, 0, 500, 0);
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

        rawclient_start_with(&c, &orders_large, &orders_large);
        pl_packet_init(&request, PL_OP_HELLO, 0);
        rawclient_ask(&c, &request, -1, &answer);
        assert_int_equal(answer.body.hello_reply.features, 0);
        (void)rawclient_attach(&c, "/dev/null");
        (void)orders_register(&c, memory);
        orders_order(&c, CONTROL_SELECT_ALL, 0, 0, 1);
        orders_expect_revoked(&c, 1, 0, 0, 1, 0);
        pl_packet_init(&request, PL_OP_PING, 0);
        rawclient_ask(&c, &request, -1, &answer);
        assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_PING);
        orders_end(&c);
        pl_close(memory);
}

/* An app that does not know what flags are reads none. */
TEST(test_flags) {
        for (unsigned int knows = 0; knows < 2; knows++) {
                int memory = testing_memfd(PAGE);
                struct pl_packet request, answer;
                struct rawclient c;

                rawclient_start_with(&c, &orders_large, &orders_large);
                pl_packet_init(&request, PL_OP_HELLO, 0);
                request.body.hello.features = knows ? PL_FEATURE_PREFETCH : PL_FEATURE_GUARDS;
                rawclient_ask(&c, &request, -1, &answer);
                assert_int_equal(answer.body.hello_reply.features, request.body.hello.features);
                (void)rawclient_attach(&c, "/dev/null");
                orders_make_register(&request);
                request.body.reg.methods = PINLEASE_METHOD_ODP;
                request.body.reg.flags = PINLEASE_FLAG_PREFETCH;
                rawclient_ask(&c, &request, memory, &answer);
                assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_REGISTER);
                assert_int_equal(fake->n_prefetched, 1);
                assert_int_equal(answer.body.register_reply.flags, knows ? PINLEASE_FLAG_PREFETCH : 0);
                orders_end(&c);
                pl_close(memory);
        }
}

/* After the announcement nothing new is registered; what is there may be revoked and let go. */
TEST(test_nothing_new) {
        int memory = testing_memfd(PAGE);
        struct pl_packet request, answer;
        struct rawclient c;
        uint64_t a;

        orders_start(&c, &orders_large);
        a = orders_register(&c, memory);
        orders_say(&c, &(struct control_message) { .type = CONTROL_GOING_AWAY, .value = 3600000 });
        assert_int_equal(rawclient_recv(&c, &answer), 0);
        assert_int_equal(answer.header.opcode, PL_OP_GOING_AWAY);
        orders_make_register(&request);
        rawclient_ask(&c, &request, memory, &answer);
        rawclient_assert_refused(&answer, PL_OP_REGISTER, PINLEASE_CODE_GOING_AWAY);
        orders_order(&c, CONTROL_SELECT_ALL, 0, 60000, 1);
        orders_expect_event(&c, PL_OP_REVOKING, a);
        orders_deregister(&c, a);
        orders_expect_revoked(&c, 1, 0, 1, 0, 0);
        orders_end(&c);
        pl_close(memory);
}

TEST(test_credit) {
        static const struct credit_amount none = { 0 };
        int memory = testing_memfd(PAGE);
        struct rawclient c;
        uint64_t a;

        orders_start(&c, &none);
        a = orders_register(&c, memory);
        assert_int_equal(c.n_wants, 1);
        assert_int_equal(c.want.pinned, PAGE);
        assert_int_equal(c.want.registrations, 1);
        orders_deregister(&c, a);
        a = orders_register(&c, memory);
        assert_int_equal(c.n_wants, 1);
        orders_end(&c);
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

        orders_start(&c, &one);
        a = orders_register(&c, memory);
        c.miser = true;
        orders_make_register(&request);
        request.header.seq = ++c.seq;
        assert_int_equal(rawclient_send(&c, &request, request.header.length, &memory, 1), 0);
        while (c.n_wants == 0) {
                (void)testing_wait_fd(c.keeper, POLLIN);
                rawclient_keep(&c);
        }
        assert_true(ledger_is_busy(&c.ledger, pl_now_ms()));
        orders_turn_around(&c);
        orders_order(&c, CONTROL_SELECT_ALL, 0, 30, 1);
        orders_expect_event(&c, PL_OP_REVOKING, a);
        orders_expect_event(&c, PL_OP_REVOKED, a);
        orders_expect_revoked(&c, 1, 0, 0, 1, 0);
        assert_true(ledger_is_busy(&c.ledger, pl_now_ms()));

        wraps_clock->jumped_ms += CREDIT_TIMEOUT_MS;
        orders_turn_around(&c);
        assert_int_equal(rawclient_recv(&c, &answer), 0);
        rawclient_assert_refused(&answer, PL_OP_REGISTER, PINLEASE_CODE_RESTARTING);
        assert_int_equal(answer.header.seq, c.seq);
        assert_int_equal(answer.body.refused.error, EAGAIN);

        /* There is room by now; the answer that is due does no harm. */
        a = orders_register(&c, memory);
        orders_say(&c, &(struct control_message) { .type = CONTROL_CREDIT, .credit = c.want });
        (void)orders_register(&c, memory);
        assert_int_equal(c.n_wants, 1);

        /* It hangs up while it waits. */
        orders_make_register(&request);
        request.header.seq = ++c.seq;
        assert_int_equal(rawclient_send(&c, &request, request.header.length, &memory, 1), 0);
        while (c.n_wants == 1) {
                (void)testing_wait_fd(c.keeper, POLLIN);
                rawclient_keep(&c);
        }
        orders_end(&c);
        pl_close(memory);
}

/* What is not needed goes back when the app has been idle, once. */
TEST(test_returns) {
        static const struct credit_amount chunk = CREDIT_CHUNK;
        struct credit_amount much = { .pinned = chunk.pinned + 5, .odp = 1, .registrations = 1 };
        int memory = testing_memfd(PAGE);
        struct rawclient c;
        uint64_t a;

        orders_start(&c, &much);
        a = orders_register(&c, memory);
        orders_deregister(&c, a);
        assert_int_equal(c.n_returns, 0);
        while (c.n_returns == 0) {
                (void)testing_wait_fd(c.keeper, POLLIN);
                rawclient_keep(&c);
        }
        assert_int_equal(c.returned.pinned, 5);
        assert_int_equal(c.returned.odp, 0);
        orders_end(&c);
        assert_int_equal(c.n_returns, 1);
        pl_close(memory);
}

static void send_policy(struct rawclient *c, int fd) {
        struct pl_packet request, answer;

        assert_int_equal(control_send(c->keeper, &(const struct control_message) { .type = CONTROL_POLICY }, fd), 0);
        /* What the app says is heard after that. */
        pl_packet_init(&request, PL_OP_PING, 0);
        rawclient_ask(c, &request, -1, &answer);
}

/* One that is none changes nothing; one that refuses what is registered has it given back. The administrator is told of
 * both. */
TEST(test_policies) {
        struct policy_block *block = testing_policy_of(
                "{\"version\": 1, \"rules\": [{\"match\": {\"access\": \"write\"}, \"allow\": false}]}");
        int memory = testing_memfd(PAGE), none = testing_memfd(PAGE), policy = policy_share(block);
        struct pl_packet request, answer;
        bool not_taken, refused;
        struct rawclient c;
        uint64_t id;

        assert_true(policy >= 0);
        journal_setup(NULL);
        orders_start(&c, &orders_large);
        id = orders_register(&c, memory);
        send_policy(&c, none);
        not_taken = journal_has("e368cef59d1744c68e7cc9c7c0765198", "3");
        orders_deregister(&c, id);

        /* With the one that it has. */
        id = orders_register(&c, memory);
        assert_int_equal(control_send(c.keeper, &(const struct control_message) { .type = CONTROL_POLICY }, policy), 0);
        orders_expect_event(&c, PL_OP_REVOKING, id);
        orders_deregister(&c, id);
        refused = journal_has("86f429e9543747bd910458767d29bafd", "5");
        rawclient_make_register(&request, 0);
        rawclient_ask(&c, &request, memory, &answer);
        rawclient_assert_refused(&answer, PL_OP_REGISTER, PINLEASE_CODE_POLICY);
        orders_end(&c);
        journal_teardown(NULL);
        assert_true(not_taken);
        assert_true(refused);
        pl_close(memory);
        pl_close(none);
        pl_close(policy);
        free(block);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_revoke),
                CHECKED(test_many_releases),
                CHECKED(test_too_many_revocations),
                CHECKED(test_app_does_not_read),
                CHECKED(test_served_meanwhile),
                CHECKED(test_without_feature),
                CHECKED(test_flags),
                CHECKED(test_nothing_new),
                CHECKED(test_credit),
                CHECKED(test_waits_for_credit),
                CHECKED(test_returns),
                CHECKED(test_policies),
        };

        return cmocka_run_group_tests_name("registrar and keeper", tests, NULL, NULL);
}
