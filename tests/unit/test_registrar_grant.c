/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rawclient.h"

#include <fcntl.h>
#include <infiniband/verbs.h>
#include <stdlib.h>

#include "fake_uverbs.h"
#include "policy-share.h"
#include "testing_policy.h"
#include "wraps.h"

/* Private memory, by packets. */

#define PAGE RAWCLIENT_PAGE
#define HOUR 3600000
#define ADDRESS UINT64_C(0x7f0000001000)

static struct rawclient c;
static int null;

static void begin_test(void) {
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        assert_true(null >= 0);
        rawclient_start(&c, HOUR);
        rawclient_hello(&c);
        assert_int_equal(rawclient_attach(&c, "/dev/null"), 0);
}

/* The app hangs up. */
static void end_test(void) {
        c.app = pl_close(c.app);
        rawclient_end(&c);
        null = pl_close(null);
}

static void ask_for(struct pl_packet *ret_answer) {
        struct pl_packet request;

        pl_packet_init(&request, PL_OP_GRANT, 0);
        request.body.grant = (struct pl_grant) {
                .pd = 1,
                .address = ADDRESS,
                .length = PAGE,
                .access = IBV_ACCESS_LOCAL_WRITE,
                .methods = PINLEASE_METHOD_ANY,
        };
        rawclient_ask(&c, &request, -1, ret_answer);
}

static void ping(void) {
        struct pl_packet request, answer;

        pl_packet_init(&request, PL_OP_PING, 0);
        rawclient_ask(&c, &request, -1, &answer);
        assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_PING);
        rawclient_keep(&c);
}

static uint64_t grant(void) {
        struct pl_packet answer;

        ask_for(&answer);
        assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_GRANT);
        assert_int_equal(answer.body.grant_reply.iova, ADDRESS);
        assert_int_equal(answer.body.grant_reply.method, PINLEASE_METHOD_ODP);
        assert_in_range(answer.body.grant_reply.lapse_ms, 1000, 60000);
        return answer.body.grant_reply.id;
}

static void commit(uint64_t id, const struct fake_mr *mr, struct pl_packet *ret_answer) {
        struct pl_packet request;

        pl_packet_init(&request, PL_OP_GRANT_COMMIT, 0);
        request.body.grant_commit =
                (struct pl_grant_commit) { .id = id, .handle = mr->handle, .lkey = mr->lkey, .rkey = mr->rkey };
        rawclient_ask(&c, &request, -1, ret_answer);
}

static uint64_t must_have(struct fake_mr **ret_mr) {
        struct pl_packet answer;
        uint64_t id = grant();

        *ret_mr = fake_app_reg(null, PAGE, ADDRESS);
        commit(id, *ret_mr, &answer);
        assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_GRANT_COMMIT);
        assert_int_equal(answer.body.grant_commit_reply.backing, PINLEASE_BACKING_ANON);
        return id;
}

static void give_back(uint64_t id) {
        struct pl_packet request, answer;

        pl_packet_init(&request, PL_OP_DEREGISTER, 0);
        request.body.deregister.id = id;
        rawclient_ask(&c, &request, -1, &answer);
        assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_DEREGISTER);
}

static uint64_t live(void) {
        return atomic_load(&c.ledger.header->stats.live[STATS_ODP].registrations);
}

TEST(test_session) {
        struct pl_packet answer;
        struct fake_mr *mr, *left;
        uint64_t id;

        begin_test();
        id = must_have(&mr);
        assert_int_equal(live(), 1);
        commit(id, mr, &answer);
        rawclient_assert_refused(&answer, PL_OP_GRANT_COMMIT, PINLEASE_CODE_NO_SUCH_GRANT);
        give_back(id);
        assert_int_equal(live(), 0);
        assert_false(mr->live);

        /* Given back before. */
        give_back(grant());

        /* At the end: what is committed goes, what is only granted is not known. */
        (void)must_have(&left);
        (void)grant();
        mr = fake_app_reg(null, PAGE, ADDRESS);
        end_test();
        assert_false(left->live);
        assert_true(mr->live);
}

/* An app that never commits. */
TEST(test_lapse) {
        uint64_t ids[MAX_GRANTS];
        struct pl_packet answer;
        struct fake_mr *mr;

        begin_test();
        for (unsigned int i = 0; i < MAX_GRANTS - 1; i++)
                ids[i] = grant();
        mr = fake_app_reg(null, PAGE, ADDRESS);
        commit(ids[0], mr, &answer);
        assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_GRANT_COMMIT);
        ids[0] = grant();

        wraps_clock->jumped_ms += 60000;
        commit(ids[1], mr, &answer);
        rawclient_assert_refused(&answer, PL_OP_GRANT_COMMIT, PINLEASE_CODE_NO_SUCH_GRANT);
        /* There is room for as many again; and nothing else has lapsed. */
        assert_int_equal(live(), 1);
        for (unsigned int i = 0; i < MAX_GRANTS - 1; i++)
                (void)grant();
        end_test();
        assert_false(mr->live);
}

TEST(test_going_away) {
        struct pl_packet answer;
        struct fake_mr *mr;
        uint64_t id;

        begin_test();
        id = grant();
        rawclient_tell(&c, CONTROL_GOING_AWAY, HOUR);
        assert_int_equal(rawclient_recv(&c, &answer), 0);
        assert_int_equal(answer.header.opcode, PL_OP_GOING_AWAY);
        ask_for(&answer);
        rawclient_assert_refused(&answer, PL_OP_GRANT, PINLEASE_CODE_GOING_AWAY);
        /* What was promised before holds until the end. */
        mr = fake_app_reg(null, PAGE, ADDRESS);
        commit(id, mr, &answer);
        assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_GRANT_COMMIT);
        assert_int_equal(live(), 1);
        end_test();
        assert_false(mr->live);
}

/* A limit, and its refusal; by the keeper's credit as for all registrations. */
TEST(test_credit) {
        struct pl_packet answer;

        begin_test();
        for (unsigned int i = 0; i < c.limits.registrations; i++) {
                struct fake_mr *mr;

                (void)must_have(&mr);
        }
        ask_for(&answer);
        rawclient_assert_refused(&answer, PL_OP_GRANT, PINLEASE_CODE_REGISTRATION_LIMIT);
        end_test();
}

/* By a rule: the keeper is asked before the answer, and told of what is not needed any more. */
TEST(test_pinned) {
        struct policy_block *policy =
                testing_policy_of("{\"version\": 1, \"rules\": [{\"match\": {\"backing\": \"anon\"}, "
                                  "\"allow\": true, \"methods\": [\"pinned\"]}]}");
        int fd = policy_share(policy);
        struct pl_packet answer;
        struct fake_mr *mr;
        uint64_t id, other;

        begin_test();
        assert_int_equal(control_send(c.keeper, &(struct control_message) { .type = CONTROL_POLICY }, fd), 0);
        pl_close(fd);
        free(policy);
        ask_for(&answer);
        assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_GRANT);
        assert_int_equal(answer.body.grant_reply.method, PINLEASE_METHOD_PINNED);
        assert_int_equal(c.n_raises, 1);
        assert_int_equal(c.private_pinned, PAGE);
        id = answer.body.grant_reply.id;
        mr = fake_app_reg(null, PAGE, ADDRESS);
        commit(id, mr, &answer);
        assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_GRANT_COMMIT);

        ask_for(&answer);
        other = answer.body.grant_reply.id;
        assert_int_equal(c.private_pinned, 2 * PAGE);
        assert_int_equal(c.n_lowers, 0);
        give_back(id);
        assert_false(mr->live);
        /* What is said after it is heard after it. */
        ping();
        assert_int_equal(c.n_lowers, 1);
        assert_int_equal(c.private_pinned, PAGE);

        /* The keeper refuses, and what was asked for is not needed. */
        c.raise_error = EACCES;
        ask_for(&answer);
        rawclient_assert_refused(&answer, PL_OP_GRANT, PINLEASE_CODE_ANON_PIN);
        ping();
        assert_int_equal(c.n_raises, 3);
        assert_int_equal(c.private_pinned, PAGE);
        c.raise_error = EPERM;
        ask_for(&answer);
        rawclient_assert_refused(&answer, PL_OP_GRANT, PINLEASE_CODE_KERNEL);
        c.raise_error = 0;

        /* The app lets the other lapse. */
        wraps_clock->jumped_ms += 60000;
        ping();
        ping();
        commit(other, mr, &answer);
        rawclient_assert_refused(&answer, PL_OP_GRANT_COMMIT, PINLEASE_CODE_NO_SUCH_GRANT);
        ping();
        assert_int_equal(c.private_pinned, 0);
        end_test();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_session),
                CHECKED(test_lapse),
                CHECKED(test_going_away),
                CHECKED(test_credit),
                CHECKED(test_pinned),
        };

        return cmocka_run_group_tests_name("registrar: private memory", tests, NULL, NULL);
}
