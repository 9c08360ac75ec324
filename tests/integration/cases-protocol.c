/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Packets that break the protocol: a typed refusal, the end of that session, and of that session only. */

#include <string.h>
#include <sys/mman.h>

#include "harness.h"
#include "raw.h"

#define MAX_TEST_FDS 253

struct malformed {
        uint16_t opcode;
        void (*twist)(struct pl_packet *packet);
        int more; /* bytes sent beyond the packet's own length; negative: fewer */
        unsigned int n_fds;
        bool before_hello;
        enum pinlease_code code;
};

static void run_malformed(const void *argument) {
        const struct malformed *m = argument;
        uint8_t bytes[4 * PL_MAX_PACKET] = { 0 };
        int memory, fds[MAX_TEST_FDS];
        struct pl_packet packet;
        struct raw other = raw_open(NULL), raw = m->before_hello ? raw_connect(NULL) : raw_open(NULL);
        size_t size;

        memory = CHECK_CALL(memfd_create("pl-test", MFD_CLOEXEC));
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                fds[i] = memory;

        pl_packet_init(&packet, m->opcode, 77);
        size = (size_t)((int)packet.header.length + m->more);
        if (m->twist)
                m->twist(&packet);
        memcpy(bytes, &packet, sizeof packet);
        CHECK_EQUAL(raw_send(&raw, bytes, size, fds, m->n_fds), 0);
        raw_expect_refusal(&raw, m->code);
        raw_expect_end(&raw);

        raw_ping(&other);
}

static void wrong_magic(struct pl_packet *p) {
        p->header.magic ^= 1;
}
static void wrong_version(struct pl_packet *p) {
        p->header.version = PL_VERSION + 1;
}
static void longer_length(struct pl_packet *p) {
        p->header.length += 8;
}
static void shorter_length(struct pl_packet *p) {
        p->header.length -= 8;
}
static void length_zero(struct pl_packet *p) {
        p->header.length = 0;
}
static void length_huge(struct pl_packet *p) {
        p->header.length = UINT32_MAX;
}
static void unknown_opcode(struct pl_packet *p) {
        p->header.opcode = 99;
}
static void reply_opcode(struct pl_packet *p) {
        p->header.opcode = PL_OP_REPLY | PL_OP_PING;
}
static void event_opcode(struct pl_packet *p) {
        p->header.opcode = PL_OP_GOING_AWAY;
        p->header.length = sizeof p->header + sizeof p->body.going_away;
}
static void unknown_flag(struct pl_packet *p) {
        p->header.flags = 1U << 31;
}
static void header_reserved(struct pl_packet *p) {
        p->header.reserved = 1;
}
static void no_seq(struct pl_packet *p) {
        p->header.seq = 0;
}
static void attach_reserved(struct pl_packet *p) {
        p->body.attach.reserved = 1;
}
static void detach_reserved(struct pl_packet *p) {
        p->body.detach.reserved = 1;
}

/* An empty packet cannot be told from the end of the connection, and is taken for that. */
static void run_empty(const void *argument _unused_) {
        struct raw raw = raw_open(NULL);

        CHECK_EQUAL(raw_send(&raw, NULL, 0, NULL, 0), 0);
        raw_expect_end(&raw);
}

/* Descriptors make it a packet. */
static void run_empty_with_fd(const void *argument _unused_) {
        struct raw raw = raw_open(NULL);
        int memory = CHECK_CALL(memfd_create("pl-test", MFD_CLOEXEC));

        CHECK_EQUAL(raw_send(&raw, NULL, 0, &memory, 1), 0);
        raw_expect_refusal(&raw, PINLEASE_CODE_BAD_LENGTH);
        raw_expect_end(&raw);
}

static void run_good(const void *argument _unused_) {
        struct raw raw = raw_open(NULL);
        struct pl_packet request, reply;

        for (int i = 0; i < 10; i++)
                raw_ping(&raw);
        pl_packet_init(&request, PL_OP_DETACH, 0);
        expect_code(raw_call(&raw, &request, -1, &reply), PINLEASE_CODE_NO_SUCH_CONTEXT);
        raw_ping(&raw);
        raw_close(&raw);
}

#define BAD(...) run_malformed, &(const struct malformed) { __VA_ARGS__ }, 0

const struct test_case cases_protocol[] = {
        { "protocol: a good session", run_good, NULL, CASE_ANYWHERE },
        { "protocol: wrong magic", BAD(PL_OP_PING, wrong_magic, .code = PINLEASE_CODE_BAD_MAGIC) },
        { "protocol: wrong version", BAD(PL_OP_PING, wrong_version, .code = PINLEASE_CODE_BAD_VERSION) },
        { "protocol: wrong version in the first packet",
          BAD(PL_OP_HELLO, wrong_version, .before_hello = true, .code = PINLEASE_CODE_BAD_VERSION) },
        { "protocol: length too large", BAD(PL_OP_PING, longer_length, .code = PINLEASE_CODE_BAD_LENGTH) },
        { "protocol: length too small",
          BAD(PL_OP_REGISTER, shorter_length, .n_fds = 1, .code = PINLEASE_CODE_BAD_LENGTH) },
        { "protocol: length zero", BAD(PL_OP_PING, length_zero, .code = PINLEASE_CODE_BAD_LENGTH) },
        { "protocol: length 2^32-1", BAD(PL_OP_PING, length_huge, .code = PINLEASE_CODE_BAD_LENGTH) },
        { "protocol: five bytes", BAD(PL_OP_PING, NULL, -19, .code = PINLEASE_CODE_BAD_LENGTH) },
        { "protocol: body cut off", BAD(PL_OP_REGISTER, NULL, -8, 1, .code = PINLEASE_CODE_BAD_LENGTH) },
        { "protocol: padded message", BAD(PL_OP_PING, NULL, 8, .code = PINLEASE_CODE_BAD_LENGTH) },
        { "protocol: padded message that says so",
          BAD(PL_OP_PING, longer_length, 8, .code = PINLEASE_CODE_BAD_LENGTH) },
        { "protocol: padded beyond any message", BAD(PL_OP_PING, NULL, 3000, .code = PINLEASE_CODE_BAD_LENGTH) },
        { "protocol: an empty packet", run_empty, NULL, 0 },
        { "protocol: an empty packet with a descriptor", run_empty_with_fd, NULL, 0 },
        { "protocol: unknown opcode", BAD(PL_OP_PING, unknown_opcode, .code = PINLEASE_CODE_BAD_OPCODE) },
        { "protocol: a reply from the app", BAD(PL_OP_PING, reply_opcode, .code = PINLEASE_CODE_BAD_OPCODE) },
        { "protocol: an event from the app",
          BAD(PL_OP_PING, event_opcode, sizeof(struct pl_going_away), .code = PINLEASE_CODE_BAD_OPCODE) },
        { "protocol: unknown flag", BAD(PL_OP_PING, unknown_flag, .code = PINLEASE_CODE_BAD_FLAGS) },
        { "protocol: header's reserved field", BAD(PL_OP_PING, header_reserved, .code = PINLEASE_CODE_BAD_FLAGS) },
        { "protocol: seq 0", BAD(PL_OP_PING, no_seq, .code = PINLEASE_CODE_BAD_FLAGS) },
        { "protocol: ATTACH's reserved field",
          BAD(PL_OP_ATTACH, attach_reserved, .n_fds = 1, .code = PINLEASE_CODE_BAD_FLAGS) },
        { "protocol: DETACH's reserved field", BAD(PL_OP_DETACH, detach_reserved, .code = PINLEASE_CODE_BAD_FLAGS) },
        { "protocol: REGISTER with 0 descriptors",
          BAD(PL_OP_REGISTER, NULL, 0, 0, .code = PINLEASE_CODE_BAD_FD_COUNT) },
        { "protocol: REGISTER with 2 descriptors",
          BAD(PL_OP_REGISTER, NULL, 0, 2, .code = PINLEASE_CODE_BAD_FD_COUNT) },
        { "protocol: REGISTER with 4 descriptors",
          BAD(PL_OP_REGISTER, NULL, 0, 4, .code = PINLEASE_CODE_BAD_FD_COUNT) },
        { "protocol: REGISTER with 5 descriptors",
          BAD(PL_OP_REGISTER, NULL, 0, 5, .code = PINLEASE_CODE_BAD_FD_COUNT) },
        { "protocol: REGISTER with 253 descriptors",
          BAD(PL_OP_REGISTER, NULL, 0, MAX_TEST_FDS, .code = PINLEASE_CODE_BAD_FD_COUNT) },
        { "protocol: PING with a descriptor", BAD(PL_OP_PING, NULL, 0, 1, .code = PINLEASE_CODE_BAD_FD_COUNT) },
        { "protocol: ATTACH without a descriptor", BAD(PL_OP_ATTACH, NULL, 0, 0, .code = PINLEASE_CODE_BAD_FD_COUNT) },
        { "protocol: HELLO with a descriptor", BAD(PL_OP_HELLO, NULL, 0, 1, true, PINLEASE_CODE_BAD_FD_COUNT) },
        { "protocol: no HELLO", BAD(PL_OP_PING, NULL, 0, 0, true, PINLEASE_CODE_BAD_ORDER) },
        { "protocol: ATTACH before HELLO", BAD(PL_OP_ATTACH, NULL, 0, 1, true, PINLEASE_CODE_BAD_ORDER) },
        { "protocol: HELLO twice", BAD(PL_OP_HELLO, NULL, .code = PINLEASE_CODE_BAD_ORDER) },
        { 0 },
};
