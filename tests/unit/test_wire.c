/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "control.h"
#include "wire.h"

static void make_pair(int pair[2]) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static void close_pair(int pair[2]) {
        pl_close(pair[0]);
        pl_close(pair[1]);
}

/* Any bytes with any number of descriptors, as a hostile app would send them. */
static void send_raw(int sock, const void *data, size_t size, unsigned int n_fds) {
        int fds[64], null;

        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        assert_true(null >= 0 && n_fds <= ELEMENTSOF(fds));
        for (unsigned int i = 0; i < n_fds; i++)
                fds[i] = null;
        assert_int_equal(testing_send(sock, 0, data, size, fds, n_fds), 0);
        pl_close(null);
}

static void close_received(struct pl_received *received) {
        for (unsigned int i = 0; i < received->n_fds; i++)
                pl_close(received->fds[i]);
}

TEST(test_round_trip) {
        struct pl_received received;
        struct pl_packet packet;
        int pair[2];

        make_pair(pair);
        pl_packet_init(&packet, PL_OP_PING, 42);
        assert_int_equal(pl_wire_send(pair[0], 0, &packet, -1), 0);
        assert_int_equal(pl_wire_recv(pair[1], MSG_DONTWAIT, &received), 0);
        assert_int_equal(received.size, packet.header.length);
        assert_int_equal(received.n_fds, 0);
        assert_false(received.truncated);
        assert_memory_equal(&received.packet, &packet, received.size);

        pl_packet_init(&packet, PL_OP_ATTACH, 43);
        assert_int_equal(pl_wire_send(pair[0], 0, &packet, pair[0]), 0);
        assert_int_equal(pl_wire_recv(pair[1], 0, &received), 0);
        assert_int_equal(received.n_fds, 1);
        assert_int_equal(fcntl(received.fds[0], F_GETFD), FD_CLOEXEC);
        close_received(&received);

        assert_int_equal(pl_wire_recv(pair[1], MSG_DONTWAIT, &received), -EAGAIN);
        close_pair(pair);
}

TEST(test_fds) {
        struct pl_packet packet;
        int pair[2];

        make_pair(pair);
        pl_packet_init(&packet, PL_OP_PING, 1);
        for (unsigned int n = 0; n <= 40; n++) {
                unsigned int before = testing_count_fds(0);
                struct pl_received received;

                send_raw(pair[0], &packet, packet.header.length, n);
                assert_int_equal(pl_wire_recv(pair[1], 0, &received), 0);
                assert_int_equal(received.n_fds, n < PL_MAX_FDS ? n : PL_MAX_FDS);
                assert_int_equal(received.fds_lost, n > PL_MAX_FDS);
                /* What did not fit was never installed. */
                assert_int_equal(testing_count_fds(0), before + received.n_fds);
                close_received(&received);
        }
        close_pair(pair);
}

TEST(test_oversize) {
        static const uint8_t bytes[4 * PL_MAX_PACKET];
        struct pl_received received;
        int pair[2];

        make_pair(pair);
        send_raw(pair[0], bytes, PL_MAX_PACKET, 0);
        send_raw(pair[0], bytes, PL_MAX_PACKET + 1, 0);
        send_raw(pair[0], bytes, sizeof bytes, 3);
        send_raw(pair[0], bytes, 1, 0);

        assert_int_equal(pl_wire_recv(pair[1], 0, &received), 0);
        assert_false(received.truncated);
        assert_int_equal(received.size, PL_MAX_PACKET);
        assert_int_equal(pl_wire_recv(pair[1], 0, &received), 0);
        assert_true(received.truncated);
        assert_int_equal(pl_wire_recv(pair[1], 0, &received), 0);
        assert_true(received.truncated);
        assert_int_equal(received.n_fds, 3);
        close_received(&received);
        /* The rest of a packet that was too long is not taken for the next one. */
        assert_int_equal(pl_wire_recv(pair[1], 0, &received), 0);
        assert_int_equal(received.size, 1);
        close_pair(pair);
}

TEST(test_end) {
        struct pl_received received;
        struct pl_packet packet;
        int pair[2];

        make_pair(pair);
        send_raw(pair[0], "", 0, 0);
        assert_int_equal(pl_wire_recv(pair[1], 0, &received), -ECONNRESET);
        /* Nothing but descriptors is a packet all the same. */
        send_raw(pair[0], "", 0, 2);
        assert_int_equal(pl_wire_recv(pair[1], 0, &received), 0);
        assert_int_equal(received.size, 0);
        assert_int_equal(received.n_fds, 2);
        close_received(&received);

        pair[0] = pl_close(pair[0]);
        assert_int_equal(pl_wire_recv(pair[1], 0, &received), -ECONNRESET);

        /* SIGPIPE would end the test. */
        assert_ptr_equal(signal(SIGPIPE, SIG_DFL), SIG_DFL);
        pl_packet_init(&packet, PL_OP_PING, 1);
        assert_int_equal(pl_wire_send(pair[1], 0, &packet, -1), -ECONNRESET);
        assert_int_equal(control_send(pair[1], &(struct control_message) { 0 }, -1), -ECONNRESET);
        close_pair(pair);
}

/* Whoever hangs up with packets unread resets the connection; what had been sent before can be read after that. */
TEST(test_reset) {
        struct pl_received received;
        struct pl_packet packet;
        int pair[2];

        make_pair(pair);
        pl_packet_init(&packet, PL_OP_PING, 1);
        assert_int_equal(pl_wire_send(pair[0], 0, &packet, -1), 0);
        assert_int_equal(pl_wire_send(pair[1], 0, &packet, -1), 0);
        pair[1] = pl_close(pair[1]);
        assert_int_equal(pl_wire_recv(pair[0], 0, &received), -ECONNRESET);
        assert_int_equal(pl_wire_recv_last(pair[0], 0, &received), 0);
        assert_int_equal(pl_wire_recv_last(pair[0], 0, &received), -ECONNRESET);
        close_pair(pair);

        make_pair(pair);
        assert_int_equal(pl_wire_send(pair[0], 0, &packet, -1), 0);
        assert_int_equal(pl_wire_send(pair[1], 0, &packet, -1), 0);
        pair[1] = pl_close(pair[1]);
        assert_int_equal(pl_wire_recv_last(pair[0], 0, &received), 0);
        assert_int_equal(pl_wire_recv_last(pair[0], 0, &received), -ECONNRESET);
        close_pair(pair);
}

TEST(test_peer_does_not_read) {
        struct pl_received received;
        struct pl_packet packet;
        unsigned int n = 0;
        int pair[2], r;

        make_pair(pair);
        pl_packet_init(&packet, PL_OP_REFUSED, 1);
        while ((r = pl_wire_send(pair[0], MSG_DONTWAIT, &packet, -1)) == 0)
                n++;
        assert_int_equal(r, -EAGAIN);
        assert_true(n > 0);

        /* Nothing is lost of what was taken. */
        for (unsigned int i = 0; i < n; i++) {
                assert_int_equal(pl_wire_recv(pair[1], MSG_DONTWAIT, &received), 0);
                assert_int_equal(received.size, packet.header.length);
        }
        assert_int_equal(pl_wire_recv(pair[1], MSG_DONTWAIT, &received), -EAGAIN);
        assert_int_equal(pl_wire_send(pair[0], MSG_DONTWAIT, &packet, -1), 0);
        close_pair(pair);
}

TEST(test_control) {
        struct control_message message = { .type = CONTROL_CONTEXT_ADD, .context = 3, .value = 4 }, got;
        int pair[2], fd;

        assert_int_equal(control_pair(pair), 0);
        assert_int_equal(control_recv(pair[1], &got, &fd), -EAGAIN);

        assert_int_equal(control_send(pair[0], &message, pair[0]), 0);
        assert_int_equal(control_recv(pair[1], &got, &fd), 0);
        assert_memory_equal(&got, &message, sizeof got);
        assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
        pl_close(fd);

        assert_int_equal(control_send(pair[0], &message, -1), 0);
        assert_int_equal(control_recv(pair[1], &got, &fd), 0);
        assert_int_equal(fd, -1);
        close_pair(pair);
}

/* A keeper must not be filled with descriptors by its registrar, which talks to hostile apps. */
TEST(test_control_broken) {
        struct control_message message[2] = { { .type = CONTROL_PONG } }, got;
        static const size_t sizes[] = { 1, sizeof message[0] - 1, sizeof message[0] + 1, sizeof message };
        int pair[2], fd = -1;

        assert_int_equal(control_pair(pair), 0);
        for (unsigned int n_fds = 0; n_fds <= 5; n_fds++) {
                unsigned int before = testing_count_fds(0);

                for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                        send_raw(pair[0], message, sizes[i], n_fds);
                        assert_int_equal(control_recv(pair[1], &got, &fd), -EPROTO);
                        /* What came with it is ours to close, and nothing else came. */
                        pl_close(fd);
                        assert_int_equal(testing_count_fds(0), before);
                }
                if (n_fds > 1) {
                        send_raw(pair[0], message, sizeof message[0], n_fds);
                        assert_int_equal(control_recv(pair[1], &got, &fd), -EPROTO);
                        pl_close(fd);
                        assert_int_equal(testing_count_fds(0), before);
                }
        }

        pair[0] = pl_close(pair[0]);
        assert_int_equal(control_recv(pair[1], &got, &fd), -ECONNRESET);
        close_pair(pair);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_round_trip),
                CHECKED(test_fds),
                CHECKED(test_oversize),
                CHECKED(test_end),
                CHECKED(test_reset),
                CHECKED(test_peer_does_not_read),
                CHECKED(test_control),
                CHECKED(test_control_broken),
        };

        return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
