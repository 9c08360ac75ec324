/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rawclient.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "fake_uverbs.h"
#include "testing_policy.h"
#include "serve.h"
#include "wraps.h"

/* How a registrar ends, by its keeper's word or without it; and the character devices, which may be verbs contexts, that the keeper
 * closes for it. */

#define PAGE RAWCLIENT_PAGE
#define HOUR 3600000

/* The service stops while an app does not read: the session ends at its time all the same. */
TEST(test_away_without_reader) {
        struct pl_packet request;
        struct rawclient c;

        rawclient_start(&c, HOUR);
        rawclient_hello(&c);
        pl_packet_init(&request, PL_OP_PING, 1);
        for (unsigned int full = 0; full < 3;) {
                full += rawclient_send(&c, &request, request.header.length, NULL, 0) < 0;
                rawclient_tell(&c, CONTROL_PING, 0);
                rawclient_expect_control(&c, CONTROL_PONG);
        }
        rawclient_tell(&c, CONTROL_GOING_AWAY, 50);
        rawclient_end(&c);
}

TEST(test_going_away) {
        struct pl_packet request, packet;
        int memory = testing_memfd(PAGE);
        struct rawclient c;
        uint64_t id;

        rawclient_start(&c, HOUR);
        rawclient_hello(&c);
        (void)rawclient_attach(&c, "/dev/null");
        id = rawclient_register(&c, 0, memory);
        (void)rawclient_register(&c, 0, memory);

        /* The app learns it, again when its time becomes shorter, and is served until that is over. */
        rawclient_tell(&c, CONTROL_GOING_AWAY, HOUR);
        rawclient_tell(&c, CONTROL_GOING_AWAY, 2 * HOUR);
        rawclient_tell(&c, CONTROL_GOING_AWAY, HOUR / 2);
        for (uint32_t part = 1; part <= 2; part++) {
                assert_int_equal(rawclient_recv(&c, &packet), 0);
                assert_int_equal(packet.header.opcode, PL_OP_GOING_AWAY);
                assert_int_equal(packet.header.seq, 0);
                assert_int_equal(packet.body.going_away.reason, PL_AWAY_SHUTDOWN);
                assert_int_equal(packet.body.going_away.grace_ms, HOUR / part);
                assert_true(strlen(packet.body.going_away.sentence) > 10);
        }
        pl_packet_init(&request, PL_OP_DEREGISTER, 0);
        request.body.deregister.id = id;
        rawclient_ask(&c, &request, -1, &packet);
        assert_int_equal(packet.header.opcode, PL_OP_REPLY | PL_OP_DEREGISTER);
        c.app = pl_close(c.app);
        rawclient_end(&c);

        for (uint32_t grace = 0; grace <= 50; grace += 50) {
                rawclient_start(&c, HOUR);
                rawclient_hello(&c);
                (void)rawclient_attach(&c, "/dev/null");
                (void)rawclient_register(&c, 0, memory);
                rawclient_tell(&c, CONTROL_GOING_AWAY, grace);
                assert_int_equal(rawclient_recv(&c, &packet), 0);
                assert_int_equal(packet.header.opcode, PL_OP_GOING_AWAY);
                rawclient_expect_end(&c);
        }
        pl_close(memory);
}

/* Without its keeper nobody would clean up behind it. */
TEST(test_keeper_gone) {
        int memory = testing_memfd(PAGE);
        struct pl_packet packet;
        struct rawclient c;

        rawclient_start(&c, HOUR);
        rawclient_hello(&c);
        (void)rawclient_attach(&c, "/dev/null");
        (void)rawclient_register(&c, 0, memory);
        c.keeper = pl_close(c.keeper);
        assert_int_equal(rawclient_recv(&c, &packet), -ECONNRESET);
        c.n_byes = 1;
        rawclient_end(&c);
        pl_close(memory);
}

TEST(test_keeper_refuses) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        struct pl_packet request;
        struct rawclient c;

        rawclient_start(&c, HOUR);
        rawclient_hello(&c);
        pl_packet_init(&request, PL_OP_ATTACH, 5);
        rawclient_tell(&c, CONTROL_PING, 0);
        rawclient_expect_control(&c, CONTROL_PONG);
        assert_int_equal(rawclient_send(&c, &request, request.header.length, &null, 1), 0);
        (void)testing_wait_fd(c.keeper, POLLIN);
        {
                struct control_message message;
                int fd;

                assert_int_equal(control_recv(c.keeper, &message, &fd), 0);
                assert_int_equal(message.type, CONTROL_CONTEXT_ADD);
                pl_close(fd);
        }
        rawclient_tell(&c, CONTROL_ACK, EMFILE);
        rawclient_expect_end(&c);
        pl_close(null);
}

/* What the registrar hands over to be closed: it has n_fds then, with its own copy. */
static void dispose_for(struct rawclient *c, unsigned int n_fds) {
        struct control_message message;
        int fd;

        (void)testing_wait_fd(c->keeper, POLLIN);
        assert_int_equal(control_recv(c->keeper, &message, &fd), 0);
        assert_int_equal(message.type, CONTROL_DISPOSE);
        assert_true(fd >= 0);
        assert_int_equal(testing_count_fds(c->pid), n_fds);
        rawclient_tell(c, CONTROL_ACK, 0);
        rawclient_expect_control(c, CONTROL_CLOSED);
        pl_close(fd);
}

TEST(test_disposal) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC), nulls[PL_MAX_FDS] = { null, null, null, null };
        struct pl_packet request, answer;
        unsigned int before;
        struct rawclient c;

        rawclient_start(&c, HOUR);
        rawclient_hello(&c);
        (void)rawclient_attach(&c, "/dev/null");
        before = testing_count_fds(c.pid);

        /* No memory. */
        rawclient_make_register(&request, 0);
        request.header.seq = ++c.seq;
        assert_int_equal(rawclient_send(&c, &request, request.header.length, &null, 1), 0);
        dispose_for(&c, before + 1);
        assert_int_equal(testing_count_fds(c.pid), before);
        assert_int_equal(rawclient_recv(&c, &answer), 0);
        rawclient_assert_refused(&answer, PL_OP_REGISTER, PINLEASE_CODE_NOT_MEMORY);

        /* One context too many, and a verbs device that is no context. */
        for (unsigned int i = 1; i < MAX_CONTEXTS; i++)
                (void)rawclient_attach(&c, "/dev/null");
        pl_packet_init(&request, PL_OP_ATTACH, 0);
        rawclient_ask(&c, &request, null, &answer);
        rawclient_assert_refused(&answer, PL_OP_ATTACH, PINLEASE_CODE_TOO_MANY_CONTEXTS);
        assert_int_equal(c.n_disposals, 1);
        pl_packet_init(&request, PL_OP_DETACH, 0);
        rawclient_ask(&c, &request, -1, &answer);
        fake->fail_at = fake->n_calls + 1;
        fake->fail_error = -ENOTTY;
        pl_packet_init(&request, PL_OP_ATTACH, 0);
        rawclient_ask(&c, &request, null, &answer);
        rawclient_assert_refused(&answer, PL_OP_ATTACH, PINLEASE_CODE_NOT_VERBS);
        assert_int_equal(c.n_disposals, 2);
        assert_int_equal(testing_count_fds(c.pid), before + MAX_CONTEXTS - 2);

        /* Nothing new is registered in the end. */
        rawclient_tell(&c, CONTROL_GOING_AWAY, HOUR);
        assert_int_equal(rawclient_recv(&c, &answer), 0);
        assert_int_equal(answer.header.opcode, PL_OP_GOING_AWAY);
        rawclient_make_register(&request, 1);
        rawclient_ask(&c, &request, null, &answer);
        rawclient_assert_refused(&answer, PL_OP_REGISTER, PINLEASE_CODE_GOING_AWAY);
        assert_int_equal(c.n_disposals, 3);

        /* As many as can come at all, with a packet that is wrong. */
        pl_packet_init(&request, PL_OP_PING, 99);
        assert_int_equal(rawclient_send(&c, &request, request.header.length, nulls, PL_MAX_FDS), 0);
        for (unsigned int i = PL_MAX_FDS; i > 0; i--)
                dispose_for(&c, before + MAX_CONTEXTS - 2 + i);
        assert_int_equal(rawclient_recv(&c, &answer), 0);
        rawclient_assert_refused(&answer, PL_OP_PING, PINLEASE_CODE_BAD_FD_COUNT);
        rawclient_expect_end(&c);
        pl_close(null);
}

/* The app hangs up while the keeper is still to answer: the session ends with the descriptor open. */
TEST(test_disposal_without_app) {
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        struct pl_packet request;
        struct rawclient c;

        rawclient_start(&c, HOUR);
        rawclient_hello(&c);
        rawclient_make_register(&request, 0);
        request.header.seq = ++c.seq;
        assert_int_equal(rawclient_send(&c, &request, request.header.length, &null, 1), 0);
        (void)testing_wait_fd(c.keeper, POLLIN);
        c.app = pl_close(c.app);
        assert_int_equal(testing_wait_child(c.pid), 0);
        rawclient_keep(&c);
        assert_true(c.disposed >= 0);
        assert_int_equal(c.n_disposals, 0);
        c.pid = testing_fork();
        if (c.pid == 0)
                _exit(0);
        rawclient_end(&c);
        pl_close(null);
}

/* One registrar in this process, whose keeper is gone. Returns what the packet ends the session with. */
static int serve_without_keeper(uint16_t opcode, unsigned int n_fds, unsigned int n_left) {
        static const struct credit_amount limits = { .pinned = PAGE, .odp = PAGE, .registrations = 1 };
        struct pl_received received = { .n_fds = n_fds };
        int client[2], control[2], served;
        struct ledger ledger;
        static struct registrar r;

        fake_reset();
        wraps_reset();
        assert_int_equal(ledger_create(1, &ledger), 0);
        assert_int_equal(control_pair(client), 0);
        assert_int_equal(control_pair(control), 0);
        pl_close(control[0]);
        registrar_init(&r,
                       &(struct registrar_config) {
                               .client = client[1],
                               .control = control[1],
                               .limits = limits,
                               .credit = limits,
                               .policy = testing_policy_mapped(),
                               .pagemap = -1,
                       },
                       &fake_ops,
                       &ledger);
        r.greeted = true;
        if (opcode == PL_OP_REGISTER)
                rawclient_make_register(&received.packet, 0);
        else
                pl_packet_init(&received.packet, opcode, 0);
        received.packet.header.seq = 1;
        received.size = received.packet.header.length;
        for (unsigned int i = 0; i < n_fds; i++)
                received.fds[i] = open("/dev/null", O_RDWR | O_CLOEXEC);
        served = serve_packet(&r, &received);

        /* Not closed before everything is given up, and not twice. */
        assert_int_equal(registrar_done(&r), 0);
        assert_int_equal(r.n_hanging, n_left);
        for (unsigned int i = 0; i < n_left; i++) {
                assert_true(fcntl(r.hanging[i], F_GETFD) >= 0);
                pl_close(r.hanging[i]);
        }
        pl_close(client[0]);
        pl_close(client[1]);
        pl_close(control[1]);
        return served;
}

TEST(test_disposal_without_keeper) {
        assert_int_equal(serve_without_keeper(PL_OP_REGISTER, 1, 1), -ECONNRESET);
        assert_int_equal(serve_without_keeper(PL_OP_ATTACH, 1, 1), -ECONNRESET);
        assert_int_equal(serve_without_keeper(PL_OP_PING, PL_MAX_FDS, PL_MAX_FDS), -EPROTO);
}

/* What only the registrar itself may say, or nobody. */
TEST(test_keeper_broken) {
        static const uint32_t types[] = { 0, CONTROL_PONG, CONTROL_CONTEXT_ADD, CONTROL_CONTEXT_DROP, CONTROL_ACK, CONTROL_BYE,
                                          CONTROL_DISPOSE, CONTROL_CLOSED, 99 };

        for (size_t i = 0; i < ELEMENTSOF(types); i++) {
                struct rawclient c;

                rawclient_start(&c, HOUR);
                rawclient_hello(&c);
                rawclient_tell(&c, types[i], 0);
                rawclient_expect_end(&c);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_away_without_reader),
                CHECKED(test_going_away),
                CHECKED(test_keeper_gone),
                CHECKED(test_keeper_refuses),
                CHECKED(test_disposal),
                CHECKED(test_disposal_without_app),
                CHECKED(test_disposal_without_keeper),
                CHECKED(test_keeper_broken),
        };

        return cmocka_run_group_tests_name("registrar, ends", tests, NULL, NULL);
}
