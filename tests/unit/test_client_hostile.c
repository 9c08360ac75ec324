/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>

#include "fake_session.h"

/* A service that sends what makes no sense, or what could harm: the call that finds out says so, and nothing goes on.
 */

/* A packet to come instead of an answer, made from the right one. */
struct nonsense {
        const char *name;
        void (*spoil)(struct pl_packet *packet);
        size_t size; /* of what is sent; 0: as the header says */
        unsigned int n_fds;
        enum pinlease_code code;
};

static void do_nothing(_unused_ struct pl_packet *packet) {
}

static void spoil_magic(struct pl_packet *packet) {
        packet->header.magic ^= 1;
}

static void spoil_flags(struct pl_packet *packet) {
        packet->header.flags = 1;
}

static void spoil_reserved(struct pl_packet *packet) {
        packet->header.reserved = 1;
}

static void spoil_length(struct pl_packet *packet) {
        packet->header.length++;
}

static void lengthen(struct pl_packet *packet) {
        packet->header.length += 8;
}

static void spoil_opcode(struct pl_packet *packet) {
        packet->header.opcode = PL_OP_REPLY | 0x77;
}

/* Only the app may send that. */
static void make_request(struct pl_packet *packet) {
        packet->header.opcode = PL_OP_PING;
}

static void answer_other(struct pl_packet *packet) {
        packet->header.opcode = PL_OP_REPLY | PL_OP_DETACH;
}

static void answer_earlier(struct pl_packet *packet) {
        packet->header.seq--;
}

static void answer_later(struct pl_packet *packet) {
        packet->header.seq++;
}

static void answer_nobody(struct pl_packet *packet) {
        packet->header.seq = 0;
}

static void make_refusal(struct pl_packet *packet) {
        pl_packet_init(packet, PL_OP_REFUSED, packet->header.seq);
        packet->body.refused = (struct pl_refused) {
                .code = PINLEASE_CODE_BUSY,
                .error = EBUSY,
                .opcode = PL_OP_PING,
                .rule = FAKE_RULE,
                .sentence = FAKE_SENTENCE,
        };
}

static void refuse_other(struct pl_packet *packet) {
        make_refusal(packet);
        packet->body.refused.opcode = PL_OP_DETACH;
}

static void refuse_later(struct pl_packet *packet) {
        make_refusal(packet);
        packet->header.seq++;
}

static void refuse_without_code(struct pl_packet *packet) {
        make_refusal(packet);
        packet->body.refused.code = PINLEASE_CODE_NONE;
}

static void refuse_without_error(struct pl_packet *packet) {
        make_refusal(packet);
        packet->body.refused.error = 0;
}

static void refuse_with_negative_error(struct pl_packet *packet) {
        make_refusal(packet);
        packet->body.refused.error = INT32_MIN;
}

static void refuse_with_large_error(struct pl_packet *packet) {
        make_refusal(packet);
        packet->body.refused.error = 4096;
}

static void refuse_without_end(struct pl_packet *packet) {
        make_refusal(packet);
        memset(packet->body.refused.sentence, 'x', sizeof packet->body.refused.sentence);
}

static void refuse_by_rule_without_end(struct pl_packet *packet) {
        make_refusal(packet);
        memset(packet->body.refused.rule, 'x', sizeof packet->body.refused.rule);
}

static void go_without_end(struct pl_packet *packet) {
        pl_packet_init(packet, PL_OP_GOING_AWAY, 0);
        memset(packet->body.going_away.sentence, 'x', sizeof packet->body.going_away.sentence);
}

static const struct nonsense nonsense[] = {
        { "magic", spoil_magic, 0, 0, PINLEASE_CODE_BAD_MAGIC },
        { "flags", spoil_flags, 0, 0, PINLEASE_CODE_BAD_FLAGS },
        { "reserved", spoil_reserved, 0, 0, PINLEASE_CODE_BAD_FLAGS },
        { "length", spoil_length, sizeof(struct pl_header), 0, PINLEASE_CODE_BAD_LENGTH },
        { "a longer body", lengthen, 0, 0, PINLEASE_CODE_BAD_LENGTH },
        { "no whole header", do_nothing, sizeof(struct pl_header) - 1, 0, PINLEASE_CODE_BAD_LENGTH },
        { "a byte", do_nothing, 1, 0, PINLEASE_CODE_BAD_LENGTH },
        { "a packet that is too long", do_nothing, PL_MAX_PACKET + 1, 0, PINLEASE_CODE_BAD_LENGTH },
        { "opcode", spoil_opcode, 0, 0, PINLEASE_CODE_BAD_OPCODE },
        { "a request", make_request, 0, 0, PINLEASE_CODE_BAD_OPCODE },
        { "another answer", answer_other, 0, 0, PINLEASE_CODE_BAD_ORDER },
        { "an old answer", answer_earlier, 0, 0, PINLEASE_CODE_BAD_ORDER },
        { "an answer too early", answer_later, 0, 0, PINLEASE_CODE_BAD_ORDER },
        { "an answer to nothing", answer_nobody, 0, 0, PINLEASE_CODE_BAD_ORDER },
        { "one descriptor", do_nothing, 0, 1, PINLEASE_CODE_BAD_FD_COUNT },
        { "four descriptors", do_nothing, 0, 4, PINLEASE_CODE_BAD_FD_COUNT },
        { "many descriptors", do_nothing, 0, 16, PINLEASE_CODE_BAD_FD_COUNT },
        { "descriptors with a byte", do_nothing, 1, 4, PINLEASE_CODE_BAD_LENGTH },
        { "refusal with descriptors", make_refusal, 0, 2, PINLEASE_CODE_BAD_FD_COUNT },
        { "refusal of another request", refuse_other, 0, 0, PINLEASE_CODE_BAD_ORDER },
        { "refusal too early", refuse_later, 0, 0, PINLEASE_CODE_BAD_ORDER },
        { "refusal without code", refuse_without_code, 0, 0, PINLEASE_CODE_BAD_FLAGS },
        { "refusal without error", refuse_without_error, 0, 0, PINLEASE_CODE_BAD_FLAGS },
        { "refusal with a negative error", refuse_with_negative_error, 0, 0, PINLEASE_CODE_BAD_FLAGS },
        { "refusal with a large error", refuse_with_large_error, 0, 0, PINLEASE_CODE_BAD_FLAGS },
        { "refusal without an end", refuse_without_end, 0, 0, PINLEASE_CODE_BAD_FLAGS },
        { "refusal by a rule without an end", refuse_by_rule_without_end, 0, 0, PINLEASE_CODE_BAD_FLAGS },
        { "event without an end", go_without_end, 0, 0, PINLEASE_CODE_BAD_FLAGS },
};

static void count_end(_unused_ struct pinlease *p, void *userdata) {
        ++*(unsigned int *)userdata;
}

static const struct pinlease_listener listener = { .disconnected = count_end };

static void assert_over(struct pinlease *p, const unsigned int *ends) {
        assert_int_equal(pinlease_ping(p), -ECONNRESET);
        client_assert_refusal(p, PINLEASE_CODE_DISCONNECTED, ECONNRESET);
        for (unsigned int i = 0; i < 2; i++) {
                assert_int_equal(pinlease_dispatch(p), -ECONNRESET);
                assert_int_equal(*ends, 1);
        }
}

static void send_nonsense(struct fake *f, const struct nonsense *what) {
        uint8_t bytes[PL_MAX_PACKET + 1] = { 0 };
        struct pl_packet packet;
        int fds[16], pair[2];

        fake_make_reply(f, &packet, PL_OP_PING, 0);
        what->spoil(&packet);
        memcpy(bytes, &packet, sizeof packet);
        FAKE_CHECK(pipe2(pair, O_CLOEXEC) == 0);
        for (unsigned int i = 0; i < what->n_fds; i++)
                fds[i] = pair[1];
        fake_send(f, bytes, what->size ? what->size : packet.header.length, fds, what->n_fds);
        pl_close(pair[1]);

        /* The app hangs up, and has no descriptor any more. */
        fake_expect_end(f);
        FAKE_CHECK(read(pair[0], bytes, 1) == 0);
        pl_close(pair[0]);
}

static void answer_nonsense(struct fake *f) {
        for (size_t i = 0; i < ELEMENTSOF(nonsense); i++) {
                fake_greet(f);
                fake_expect(f, PL_OP_PING, NULL);
                send_nonsense(f, nonsense + i);
        }
}

TEST(test_nonsense_for_answer) {
        struct fake f;

        fake_start(&f, answer_nonsense, NULL);
        for (size_t i = 0; i < ELEMENTSOF(nonsense); i++) {
                unsigned int ends = 0, fds;
                struct pinlease *p;
                int r;

                assert_int_equal(pinlease_connect(f.path, &listener, &ends, &p), 0);
                fds = testing_count_fds(0);
                r = pinlease_ping(p);
                if (r != -EPROTO)
                        fail_msg("%s: %d", nonsense[i].name, r);
                client_assert_refusal(p, nonsense[i].code, EPROTO);
                assert_int_equal(testing_count_fds(0), fds);
                assert_over(p, &ends);
                pinlease_disconnect(p);
        }
        fake_end(&f);
}

/* The same without a request: an answer that was right would be none here. */
static void say_nonsense(struct fake *f) {
        for (size_t i = 0; i < ELEMENTSOF(nonsense); i++) {
                fake_greet(f);
                send_nonsense(f, nonsense + i);
        }
        fake_greet(f);
        f->seq = 1;
        fake_reply(f, PL_OP_PING);
        fake_expect_end(f);
}

TEST(test_nonsense_unasked) {
        struct fake f;

        fake_start(&f, say_nonsense, NULL);
        for (size_t i = 0; i <= ELEMENTSOF(nonsense); i++) {
                unsigned int ends = 0, fds;
                struct pinlease *p;

                assert_int_equal(pinlease_connect(f.path, &listener, &ends, &p), 0);
                fds = testing_count_fds(0);
                (void)testing_wait_fd(pinlease_get_fd(p), POLLIN);
                assert_int_equal(pinlease_dispatch(p), -ECONNRESET);
                client_assert_refusal(p, PINLEASE_CODE_DISCONNECTED, ECONNRESET);
                assert_int_equal(testing_count_fds(0), fds);
                assert_over(p, &ends);
                pinlease_disconnect(p);
        }
        fake_end(&f);
}

/* Registrations that nobody has asked for. */
static void reply_shorter(struct pl_packet *packet) {
        packet->body.register_reply.length--;
}

static void reply_longer(struct pl_packet *packet) {
        packet->body.register_reply.length++;
}

static void reply_pinned(struct pl_packet *packet) {
        packet->body.register_reply.method = PINLEASE_METHOD_PINNED;
}

static void reply_both(struct pl_packet *packet) {
        packet->body.register_reply.method = PINLEASE_METHOD_ANY;
}

static void reply_none(struct pl_packet *packet) {
        packet->body.register_reply.method = 0;
}

static const struct nonsense registrations[] = {
        { "shorter", reply_shorter, 0, 0, PINLEASE_CODE_BAD_LENGTH },
        { "longer", reply_longer, 0, 0, PINLEASE_CODE_BAD_LENGTH },
        { "pinned", reply_pinned, 0, 0, PINLEASE_CODE_BAD_FLAGS },
        { "both", reply_both, 0, 0, PINLEASE_CODE_BAD_FLAGS },
        { "none", reply_none, 0, 0, PINLEASE_CODE_BAD_FLAGS },
};

static void register_wrongly(struct fake *f) {
        for (size_t i = 0; i < ELEMENTSOF(registrations); i++) {
                struct fake_request request;
                struct pl_packet reply;

                fake_greet(f);
                fake_expect_attach(f, 1);
                fake_expect(f, PL_OP_REGISTER, &request);
                fake_make_reply(f, &reply, PL_OP_REGISTER, request.packet.body.reg.length);
                registrations[i].spoil(&reply);
                fake_send(f, &reply, reply.header.length, NULL, 0);
                fake_expect_end(f);
        }
}

TEST(test_wrong_registrations) {
        struct fake_device device;
        struct memory m;
        struct fake f;

        memory_open(&m, 1);
        fake_device_open(&device, 1);
        fake_start(&f, register_wrongly, NULL);
        for (size_t i = 0; i < ELEMENTSOF(registrations); i++) {
                struct pinlease_mr *reg = UNTOUCHED;
                unsigned int ends = 0;
                struct pinlease *p;
                int r;

                assert_int_equal(pinlease_connect(f.path, &listener, &ends, &p), 0);
                r = pinlease_reg_fd(p, &device.pd, m.fd, 0, PAGE, m.at, WRITABLE, PINLEASE_METHOD_ODP, &reg);
                if (r != -EPROTO)
                        fail_msg("%s: %d", registrations[i].name, r);
                assert_ptr_equal(reg, UNTOUCHED);
                client_assert_refusal(p, registrations[i].code, EPROTO);
                assert_over(p, &ends);
                pinlease_disconnect(p);
        }
        fake_end(&f);
        fake_device_close(&device);
        memory_close(&m);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_nonsense_for_answer),
                CHECKED(test_nonsense_unasked),
                CHECKED(test_wrong_registrations),
        };

        return cmocka_run_group_tests_name("client_hostile", tests, NULL, NULL);
}
