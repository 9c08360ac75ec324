/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake_session.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

void fake_start(struct fake *f, fake_script *script, const void *argument) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        *f = (struct fake) { .app = -1, .argument = argument };
        (void)snprintf(f->folder, sizeof f->folder, "/tmp/pinlease-test-XXXXXX");
        assert_non_null(mkdtemp(f->folder));
        (void)snprintf(f->path, sizeof f->path, "%s/client.sock", f->folder);
        (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", f->path);
        f->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_true(f->listener >= 0);
        assert_int_equal(bind(f->listener, (const struct sockaddr *)&address, sizeof address), 0);
        assert_int_equal(listen(f->listener, 64), 0);

        f->pid = testing_fork();
        if (f->pid == 0) {
                script(f);
                /* Not exit(): what the test program has for its end is not the child's to do. */
                _exit(0);
        }
        f->listener = pl_close(f->listener);
}

void fake_end(struct fake *f) {
        assert_int_equal(testing_wait_child(f->pid), 0);
        assert_int_equal(unlink(f->path), 0);
        assert_int_equal(rmdir(f->folder), 0);
}

void fake_device_open(struct fake_device *device, uint32_t pd) {
        *device = (struct fake_device) { .context = { .cmd_fd = open("/dev/null", O_RDWR | O_CLOEXEC) } };
        assert_true(device->context.cmd_fd >= 0);
        device->pd = (struct ibv_pd) { .context = &device->context, .handle = pd };
}

void fake_device_close(struct fake_device *device) {
        device->context.cmd_fd = pl_close(device->context.cmd_fd);
}

struct pinlease *client_connect(const struct fake *f) {
        struct pinlease *p;

        assert_int_equal(pinlease_connect(f->path, NULL, NULL, &p), 0);
        return p;
}

void client_assert_refusal(const struct pinlease *p, enum pinlease_code code, int error) {
        const struct pinlease_refusal *refusal = pinlease_refusal(p);

        if (refusal->code != code)
                fail_msg("%s instead of %s: %s",
                         pinlease_strcode(refusal->code),
                         pinlease_strcode(code),
                         refusal->sentence);
        assert_int_equal(refusal->error, error);
        assert_in_range(strlen(refusal->sentence), 10, PL_SENTENCE_MAX - 2);
        assert_int_equal(refusal->sentence[strlen(refusal->sentence) - 1], '.');
}

void client_assert_told(const struct pinlease *p, enum pinlease_code code, int error) {
        client_assert_refusal(p, code, error);
        assert_string_equal(pinlease_refusal(p)->rule, FAKE_RULE);
        assert_string_equal(pinlease_refusal(p)->sentence, FAKE_SENTENCE);
}

void memory_open(struct memory *m, size_t pages) {
        *m = (struct memory) { .fd = memfd_create("pinlease-test", MFD_CLOEXEC | MFD_ALLOW_SEALING),
                               .size = pages * PAGE };
        assert_true(m->fd >= 0);
        assert_int_equal(ftruncate(m->fd, (off_t)m->size), 0);
        m->at = mmap(NULL, m->size, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd, 0);
        assert_true(m->at != MAP_FAILED);
        /* What counts here is which pages come, so they come one by one. */
        (void)madvise(m->at, m->size, MADV_NOHUGEPAGE);
}

void memory_close(struct memory *m) {
        assert_int_equal(munmap(m->at, m->size), 0);
        m->fd = pl_close(m->fd);
}

void memory_assert_resident(const struct memory *m, size_t first, size_t after) {
        unsigned char pages[64];

        assert_true(m->size / PAGE <= sizeof pages);
        assert_int_equal(mincore(m->at, m->size, pages), 0);
        for (size_t i = 0; i < m->size / PAGE; i++)
                if ((pages[i] & 1) != (i >= first && i < after))
                        fail_msg("page %zu is %s", i, pages[i] & 1 ? "resident" : "not resident");
}

void fake_fail(const char *file, int line, const char *what) {
        (void)fprintf(stderr, "%s:%d: the fake session does not find: %s\n", file, line, what);
        _exit(1);
}

static void wait_readable(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        int r;

        do
                r = poll(&p, 1, TESTING_PATIENCE_MS);
        while (r < 0 && errno == EINTR);
        FAKE_CHECK(r > 0);
}

void fake_accept(struct fake *f) {
        pl_close(f->app);
        wait_readable(f->listener);
        f->app = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
        FAKE_CHECK(f->app >= 0);
        f->seq = 0;
}

/* Returns false at the end of the connection. */
static bool next(struct fake *f, struct fake_request *ret_request) {
        struct pl_received received;

        wait_readable(f->app);
        if (pl_wire_recv(f->app, MSG_DONTWAIT, &received) < 0)
                return false;
        FAKE_CHECK(!received.truncated && !received.fds_lost);
        FAKE_CHECK(pl_packet_check(&received.packet, received.size, received.n_fds, PL_FROM_APP) == PINLEASE_CODE_NONE);
        FAKE_CHECK(received.packet.header.seq > f->seq);
        f->seq = received.packet.header.seq;

        *ret_request = (struct fake_request) { .packet = received.packet };
        if (received.n_fds > 0) {
                struct stat st;

                FAKE_CHECK(fstat(received.fds[0], &st) == 0);
                ret_request->device = S_ISCHR(st.st_mode) ? st.st_rdev : st.st_dev;
                ret_request->inode = st.st_ino;
                pl_close(received.fds[0]);
        }
        return true;
}

void fake_expect(struct fake *f, uint16_t opcode, struct fake_request *ret_request) {
        struct fake_request request;

        FAKE_CHECK(next(f, &request));
        if (opcode && request.packet.header.opcode != opcode)
                fake_fail(pl_opcode_name(opcode), 0, pl_opcode_name(request.packet.header.opcode));
        if (ret_request)
                *ret_request = request;
}

void fake_expect_end(struct fake *f) {
        struct fake_request request;

        if (next(f, &request))
                fake_fail("the end", 0, pl_opcode_name(request.packet.header.opcode));
        f->app = pl_close(f->app);
}

void fake_serve_rest(struct fake *f) {
        struct fake_request request;

        do {
                fake_expect(f, 0, &request);
                fake_reply(f, request.packet.header.opcode);
        } while (request.packet.header.opcode != PL_OP_DETACH);
        fake_expect_end(f);
}

void fake_send(struct fake *f, const void *data, size_t size, const int *fds, unsigned int n_fds) {
        FAKE_CHECK(testing_send(f->app, 0, data, size, fds, n_fds) == 0);
}

static void send_packet(struct fake *f, const struct pl_packet *packet) {
        fake_send(f, packet, packet->header.length, NULL, 0);
}

void fake_make_reply(const struct fake *f, struct pl_packet *packet, uint16_t opcode, uint64_t length) {
        pl_packet_init(packet, PL_OP_REPLY | opcode, f->seq);
        if (opcode == PL_OP_REGISTER)
                packet->body.register_reply = (struct pl_register_reply) {
                        .id = 1,
                        .iova = 0x5000,
                        .length = length,
                        .lkey = 0x11,
                        .rkey = 0x22,
                        .handle = 0x33,
                        .method = PINLEASE_METHOD_ODP,
                        .backing = PINLEASE_BACKING_SHMEM,
                };
}

void fake_reply(struct fake *f, uint16_t opcode) {
        struct pl_packet packet;

        fake_make_reply(f, &packet, opcode, 0);
        send_packet(f, &packet);
}

void fake_reply_attach(struct fake *f, uint32_t context) {
        struct pl_packet packet;

        fake_make_reply(f, &packet, PL_OP_ATTACH, 0);
        packet.body.attach_reply = (struct pl_attach_reply) { .context = context, .methods = PINLEASE_METHOD_ANY };
        send_packet(f, &packet);
}

void fake_expect_ping(struct fake *f) {
        fake_expect(f, PL_OP_PING, NULL);
        fake_reply(f, PL_OP_PING);
}

void fake_expect_attach(struct fake *f, uint32_t context) {
        struct fake_request request;

        fake_expect(f, PL_OP_ATTACH, &request);
        FAKE_CHECK(request.device == makedev(1, 3));
        fake_reply_attach(f, context);
}

void fake_expect_detach(struct fake *f, uint32_t context) {
        struct fake_request request;

        fake_expect(f, PL_OP_DETACH, &request);
        FAKE_CHECK(request.packet.body.detach.context == context);
        fake_reply(f, PL_OP_DETACH);
}

void fake_expect_register(struct fake *f, uint32_t context, uint64_t id) {
        struct fake_request request;
        struct pl_packet reply;

        fake_expect(f, PL_OP_REGISTER, &request);
        FAKE_CHECK(request.packet.body.reg.context == context);
        fake_make_reply(f, &reply, PL_OP_REGISTER, request.packet.body.reg.length);
        reply.body.register_reply.id = id;
        fake_send(f, &reply, reply.header.length, NULL, 0);
}

void fake_greet_with(struct fake *f, uint64_t features) {
        struct fake_request request;
        struct pl_packet reply;

        fake_accept(f);
        fake_expect(f, PL_OP_HELLO, &request);
        FAKE_CHECK(request.packet.body.hello.features == PL_FEATURES_KNOWN);
        fake_make_reply(f, &reply, PL_OP_HELLO, 0);
        reply.body.hello_reply.features = features;
        send_packet(f, &reply);
}

void fake_greet(struct fake *f) {
        fake_greet_with(f, PL_FEATURES_KNOWN);
}

void fake_refuse(struct fake *f, uint32_t seq, uint16_t opcode, enum pinlease_code code, int error) {
        struct pl_packet packet;

        pl_packet_init(&packet, PL_OP_REFUSED, seq);
        packet.body.refused = (struct pl_refused) {
                .code = (uint32_t)code,
                .error = error,
                .opcode = opcode,
                .rule = FAKE_RULE,
                .sentence = FAKE_SENTENCE,
        };
        send_packet(f, &packet);
}

void fake_going_away(struct fake *f, uint32_t grace_ms) {
        struct pl_packet packet;

        pl_packet_init(&packet, PL_OP_GOING_AWAY, 0);
        packet.body.going_away = (struct pl_going_away) {
                .reason = PL_AWAY_SHUTDOWN,
                .grace_ms = grace_ms,
                .sentence = FAKE_SENTENCE,
        };
        send_packet(f, &packet);
}

static void revoking(struct fake *f, uint64_t id, uint32_t grace_ms, enum pl_revocation_reason reason) {
        struct pl_packet packet;

        pl_packet_init(&packet, PL_OP_REVOKING, 0);
        packet.body.revoking = (struct pl_revoking) {
                .id = id,
                .length = PAGE,
                .reason = reason,
                .grace_ms = grace_ms,
                .sentence = FAKE_SENTENCE,
        };
        send_packet(f, &packet);
}

static void revoked(struct fake *f, uint64_t id, enum pl_revocation_reason reason) {
        struct pl_packet packet;

        pl_packet_init(&packet, PL_OP_REVOKED, 0);
        packet.body.revoked = (struct pl_revoked) {
                .id = id,
                .length = PAGE,
                .reason = reason,
                .sentence = FAKE_SENTENCE,
        };
        send_packet(f, &packet);
}

void fake_revoking(struct fake *f, uint64_t id, uint32_t grace_ms) {
        revoking(f, id, grace_ms, PL_REVOKED_BY_ADMINISTRATOR);
}

void fake_revoked(struct fake *f, uint64_t id) {
        revoked(f, id, PL_REVOKED_BY_ADMINISTRATOR);
}

void fake_change(struct fake *f, uint64_t id, uint32_t grace_ms) {
        revoking(f, id, grace_ms, PL_REVOKED_LAYOUT_CHANGE);
}

void fake_changed(struct fake *f, uint64_t id) {
        revoked(f, id, PL_REVOKED_LAYOUT_CHANGE);
}

void fake_settled(struct fake *f, uint64_t id, uint64_t size) {
        struct pl_packet packet;

        pl_packet_init(&packet, PL_OP_SETTLED, 0);
        packet.body.settled = (struct pl_settled) { .id = id, .size = size, .sentence = FAKE_SENTENCE };
        send_packet(f, &packet);
}

void fake_notice(struct fake *f, uint64_t id, uint32_t kind, uint32_t guards) {
        struct pl_packet packet;

        pl_packet_init(&packet, PL_OP_NOTICE, 0);
        packet.body.notice = (struct pl_notice) { .id = id, .size = PAGE, .kind = kind, .guards = guards, .sentence = FAKE_SENTENCE };
        send_packet(f, &packet);
}

void fake_serve(struct fake *f) {
        unsigned int attached = 0, detached = 0;
        struct fake_request request;

        while (next(f, &request)) {
                uint16_t opcode = request.packet.header.opcode;

                if (opcode == PL_OP_ATTACH)
                        fake_reply_attach(f, ++attached);
                else if (opcode == PL_OP_REGISTER) {
                        struct pl_packet packet;

                        fake_make_reply(f, &packet, opcode, request.packet.body.reg.length);
                        packet.body.register_reply.id = f->seq;
                        send_packet(f, &packet);
                } else {
                        detached += opcode == PL_OP_DETACH;
                        fake_reply(f, opcode);
                }
        }
        FAKE_CHECK(attached == detached);
        f->app = pl_close(f->app);
}

void fake_ordinary(struct fake *f) {
        fake_greet(f);
        fake_serve(f);
}
