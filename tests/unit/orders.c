/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "orders.h"

#include <poll.h>
#include <string.h>

const struct credit_amount orders_large = { .pinned = UINT64_C(1) << 40, .odp = UINT64_C(1) << 40, .registrations = ORDERS_MANY };

/* Against the pinned credit. */
void orders_make_register(struct pl_packet *packet) {
        rawclient_make_register(packet, 0);
        packet->body.reg.methods = PINLEASE_METHOD_PINNED;
}

uint64_t orders_register(struct rawclient *c, int fd) {
        struct pl_packet request, answer;

        orders_make_register(&request);
        rawclient_ask(c, &request, fd, &answer);
        assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_REGISTER);
        return answer.body.register_reply.id;
}

void orders_deregister(struct rawclient *c, uint64_t id) {
        struct pl_packet request, answer;

        pl_packet_init(&request, PL_OP_DEREGISTER, 0);
        request.body.deregister.id = id;
        rawclient_ask(c, &request, -1, &answer);
        assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_DEREGISTER);
}

void orders_start(struct rawclient *c, const struct credit_amount *credit) {
        rawclient_start_with(c, &orders_large, credit);
        rawclient_hello(c);
        (void)rawclient_attach(c, "/dev/null");
}

void orders_end(struct rawclient *c) {
        c->app = pl_close(c->app);
        rawclient_end(c);
}

void orders_say(struct rawclient *c, const struct control_message *message) {
        assert_int_equal(control_send(c->keeper, message, -1), 0);
}

void orders_order(struct rawclient *c, enum control_selector selector, uint64_t id, uint32_t grace_ms, uint64_t cookie) {
        orders_say(c,
            &(struct control_message) {
                    .type = CONTROL_REVOKE,
                    .cookie = cookie,
                    .selector = selector,
                    .id = id,
                    .value = grace_ms,
            });
}

/* Waits for the next answer to a REVOKE. */
void orders_expect_revoked(struct rawclient *c, uint64_t cookie, uint32_t error, uint32_t released, uint32_t forced, uint32_t kept) {
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
void orders_turn_around(struct rawclient *c) {
        unsigned int n = c->n_pongs;

        orders_say(c, &(struct control_message) { .type = CONTROL_PING });
        while (c->n_pongs == n) {
                (void)testing_wait_fd(c->keeper, POLLIN);
                rawclient_keep(c);
        }
}

void orders_expect_event(struct rawclient *c, uint16_t opcode, uint64_t id) {
        struct pl_packet packet;

        assert_int_equal(rawclient_recv(c, &packet), 0);
        assert_int_equal(packet.header.opcode, opcode);
        assert_int_equal(packet.header.seq, 0);
        assert_int_equal(opcode == PL_OP_REVOKED ? packet.body.revoked.id : packet.body.revoking.id, id);
}
