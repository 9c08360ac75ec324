/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "raw.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "harness.h"
#include "wire.h"

#define SERVICE_SOCKET "/run/pinlease/client.sock"

/* What the kernel lets one packet carry. */
#define SCM_MAX_FD 253

struct raw raw_connect(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        struct raw raw = { 0 };

        if (!path)
                path = SERVICE_SOCKET;
        CHECK(strlen(path) < sizeof address.sun_path);
        memcpy(address.sun_path, path, strlen(path) + 1);
        raw.sock = CHECK_CALL(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
        if (connect(raw.sock, (const struct sockaddr *)&address, sizeof address) < 0)
                FAIL("connect to %s: %m", path);
        return raw;
}

struct raw raw_open(const char *path) {
        struct raw raw = raw_connect(path);
        struct pl_packet request, reply;

        pl_packet_init(&request, PL_OP_HELLO, 0);
        request.body.hello.features = PL_FEATURES_KNOWN;
        expect_code(raw_call(&raw, &request, -1, &reply), PINLEASE_CODE_NONE);
        CHECK(reply.body.hello_reply.session > 0);
        return raw;
}

bool raw_can_open(const void *path) {
        struct raw raw = raw_connect(path);
        struct pl_packet packet;
        bool ok;

        pl_packet_init(&packet, PL_OP_HELLO, 1);
        ok = raw_send(&raw, &packet, packet.header.length, NULL, 0) == 0 && raw_recv(&raw, &packet) == 0 &&
             packet.header.opcode == (PL_OP_REPLY | PL_OP_HELLO);
        raw_close(&raw);
        return ok;
}

void raw_close(struct raw *raw) {
        struct pl_packet packet;

        /* Half of it, so that the other side's end can be seen. */
        (void)shutdown(raw->sock, SHUT_WR);
        while (raw_recv(raw, &packet) == 0)
                ;
        raw->sock = pl_close(raw->sock);
}

int raw_send(const struct raw *raw, const void *packet, size_t size, const int *fds, size_t n_fds) {
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(SCM_MAX_FD * sizeof(int))];
        } control = { 0 };
        struct iovec iov = { .iov_base = (void *)packet, .iov_len = size };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

        CHECK(n_fds <= SCM_MAX_FD);
        if (n_fds > 0) {
                msg.msg_control = &control;
                msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = CMSG_LEN(n_fds * sizeof(int));
                memcpy(CMSG_DATA(&control.header), fds, n_fds * sizeof(int));
        }
        return sendmsg(raw->sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int raw_recv_any(const struct raw *raw, struct pl_packet *ret_packet) {
        struct pl_received received;
        int r;

        await_readable(raw->sock, "the service's answer");
        r = pl_wire_recv_last(raw->sock, 0, &received);
        if (r < 0)
                return r;
        CHECK(!received.truncated && !received.fds_lost);
        CHECK_EQUAL(received.n_fds, 0);
        CHECK_EQUAL(pl_packet_check(&received.packet, received.size, 0, PL_FROM_SESSION), PINLEASE_CODE_NONE);
        *ret_packet = received.packet;
        return 0;
}

int raw_recv(const struct raw *raw, struct pl_packet *ret_packet) {
        int r;

        do
                r = raw_recv_any(raw, ret_packet);
        while (r == 0 && ret_packet->header.opcode == PL_OP_NOTICE);
        return r;
}

struct pl_packet raw_expect_notice(const struct raw *raw, enum pl_notice_kind kind) {
        struct pl_packet packet;

        do {
                int r = raw_recv_any(raw, &packet);

                if (r < 0)
                        FAIL("a notice was to come: the session has ended: %s", strerror(-r));
                CHECK_EQUAL(packet.header.opcode, PL_OP_NOTICE);
        } while (packet.body.notice.kind != kind);
        return packet;
}

static enum pinlease_code check_refusal(const struct pl_packet *packet) {
        const struct pl_refused *refused = &packet->body.refused;
        enum pinlease_code code = (enum pinlease_code)refused->code;
        size_t n = strlen(refused->sentence);

        if (code != PINLEASE_CODE_KERNEL && code != PINLEASE_CODE_NO_MAP)
                CHECK_EQUAL(refused->error, pl_code_errno(code));
        CHECK(refused->error > 0);
        /* Whole sentences, not cut off. */
        if (n < 20 || !strchr(".?", refused->sentence[n - 1]))
                FAIL("the refusal %s says only: \"%s\"", pl_code_name(code), refused->sentence);
        return code;
}

void expect_code(enum pinlease_code is, enum pinlease_code code) {
        if (is != code)
                FAIL("answered with \"%s\", should be \"%s\"", pl_code_name(is), pl_code_name(code));
}

/* Asked for what is just being given back: once more, with less time, as another session has heard of the change earlier. */
static bool is_asked_again(const struct pl_packet *request, const struct pl_packet *packet) {
        return request->header.opcode == PL_OP_RELEASE && packet->header.opcode == PL_OP_REVOKING &&
               packet->body.revoking.id == request->body.release.id;
}

int raw_try_call(struct raw *raw, struct pl_packet *request, int fd, struct pl_packet *ret_reply) {
        int r;

        request->header.seq = ++raw->seq;
        r = raw_send(raw, request, request->header.length, &fd, fd >= 0);
        do
                if (r == 0)
                        r = raw_recv(raw, ret_reply);
        while (r == 0 && is_asked_again(request, ret_reply));
        if (r < 0)
                return r == -EPIPE ? -ECONNRESET : r;
        if (ret_reply->header.seq != raw->seq)
                FAIL("%s came in place of the answer to %s",
                     pl_opcode_name(ret_reply->header.opcode),
                     pl_opcode_name(request->header.opcode));
        if (ret_reply->header.opcode == PL_OP_REFUSED) {
                CHECK_EQUAL(ret_reply->body.refused.opcode, request->header.opcode);
                return (int)check_refusal(ret_reply);
        }
        CHECK_EQUAL(ret_reply->header.opcode, PL_OP_REPLY | request->header.opcode);
        return PINLEASE_CODE_NONE;
}

enum pinlease_code raw_call(struct raw *raw, struct pl_packet *request, int fd, struct pl_packet *ret_reply) {
        int r = raw_try_call(raw, request, fd, ret_reply);

        if (r < 0)
                FAIL("%s: the session has ended: %s", pl_opcode_name(request->header.opcode), strerror(-r));
        return (enum pinlease_code)r;
}

void raw_expect_refusal(const struct raw *raw, enum pinlease_code code) {
        struct pl_packet packet;

        if (raw_recv(raw, &packet) < 0)
                FAIL("the session has ended without a refusal (\"%s\")", pl_code_name(code));
        CHECK_EQUAL(packet.header.opcode, PL_OP_REFUSED);
        expect_code(check_refusal(&packet), code);
}

void raw_expect_end(const struct raw *raw) {
        struct pl_packet packet;
        int r = raw_recv(raw, &packet);

        if (r == 0)
                FAIL("the session goes on: %s came", pl_opcode_name(packet.header.opcode));
        CHECK_EQUAL(r, -ECONNRESET);
}

struct pl_packet raw_expect_event(const struct raw *raw, uint16_t opcode) {
        struct pl_packet packet;
        int r = raw_recv(raw, &packet);

        if (r < 0)
                FAIL("%s was to come: the session has ended: %s", pl_opcode_name(opcode), strerror(-r));
        if (packet.header.opcode != opcode)
                FAIL("%s came in place of %s", pl_opcode_name(packet.header.opcode), pl_opcode_name(opcode));
        CHECK_EQUAL(packet.header.seq, 0);
        return packet;
}

void raw_ping(struct raw *raw) {
        struct pl_packet request, reply;

        pl_packet_init(&request, PL_OP_PING, 0);
        expect_code(raw_call(raw, &request, -1, &reply), PINLEASE_CODE_NONE);
}

uint32_t raw_attach(struct raw *raw, int command_fd) {
        struct pl_packet request, reply;

        pl_packet_init(&request, PL_OP_ATTACH, 0);
        expect_code(raw_call(raw, &request, command_fd, &reply), PINLEASE_CODE_NONE);
        return reply.body.attach_reply.context;
}

void raw_detach(struct raw *raw, uint32_t context) {
        struct pl_packet request, reply;

        pl_packet_init(&request, PL_OP_DETACH, 0);
        request.body.detach.context = context;
        expect_code(raw_call(raw, &request, -1, &reply), PINLEASE_CODE_NONE);
}

struct pl_register_reply raw_register(struct raw *raw, const struct pl_register *request, int fd) {
        struct pl_packet packet, reply;

        pl_packet_init(&packet, PL_OP_REGISTER, 0);
        packet.body.reg = *request;
        expect_code(raw_call(raw, &packet, fd, &reply), PINLEASE_CODE_NONE);
        CHECK_EQUAL(reply.body.register_reply.length, request->length);
        return reply.body.register_reply;
}

void raw_release(struct raw *raw, uint64_t id) {
        struct pl_packet request, reply;

        pl_packet_init(&request, PL_OP_RELEASE, 0);
        request.body.release.id = id;
        expect_code(raw_call(raw, &request, -1, &reply), PINLEASE_CODE_NONE);
}

void raw_deregister(struct raw *raw, uint64_t id) {
        struct pl_packet request, reply;

        pl_packet_init(&request, PL_OP_DEREGISTER, 0);
        request.body.deregister.id = id;
        expect_code(raw_call(raw, &request, -1, &reply), PINLEASE_CODE_NONE);
}
