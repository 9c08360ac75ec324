/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "wire.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "util.h"

/* Owns at once what came with the packet. Room for more than PL_MAX_FDS descriptors is never offered to the kernel, which
 * drops the rest itself and says so by MSG_CTRUNC. */
static void take_fds(struct msghdr *msg, struct pl_received *received) {
        for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
                size_t n;

                if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
                        continue;

                n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                for (size_t i = 0; i < n && received->n_fds < PL_MAX_FDS; i++)
                        memcpy(&received->fds[received->n_fds++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
        }
}

int pl_wire_recv(int sock, int flags, struct pl_received *ret_received) {
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(PL_MAX_FDS * sizeof(int))];
        } control;
        struct iovec iov = { .iov_base = &ret_received->packet, .iov_len = sizeof ret_received->packet };
        struct msghdr msg = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof control,
        };
        ssize_t n;

        do
                n = recvmsg(sock, &msg, flags | MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return errno == EWOULDBLOCK ? -EAGAIN : -errno;

        ret_received->size = (size_t)n;
        ret_received->n_fds = 0;
        ret_received->truncated = msg.msg_flags & MSG_TRUNC;
        ret_received->fds_lost = msg.msg_flags & MSG_CTRUNC;
        take_fds(&msg, ret_received);

        /* An empty packet and the end of the connection look alike. Descriptors tell them apart: those are a packet. */
        if (n == 0 && ret_received->n_fds == 0 && !ret_received->fds_lost)
                return -ECONNRESET;
        return 0;
}

int pl_wire_recv_last(int sock, int flags, struct pl_received *ret_received) {
        int r;

        r = pl_wire_recv(sock, flags, ret_received);
        if (r == -ECONNRESET) {
                r = pl_wire_recv(sock, MSG_DONTWAIT, ret_received);
                if (r == -EAGAIN)
                        r = -ECONNRESET;
        }
        return r;
}

int pl_wire_send(int sock, int flags, const struct pl_packet *packet, int fd) {
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(sizeof(int))];
        } control = { 0 };
        struct iovec iov = { .iov_base = (void *)packet, .iov_len = packet->header.length };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
        ssize_t n;

        if (fd >= 0) {
                struct cmsghdr *c;

                msg.msg_control = &control;
                msg.msg_controllen = sizeof control;
                c = CMSG_FIRSTHDR(&msg);
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(c), &fd, sizeof(int));
        }

        do
                n = sendmsg(sock, &msg, flags | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        if (n >= 0)
                return 0;

        switch (errno) {
        case EWOULDBLOCK:
                return -EAGAIN;
        case EPIPE:
        case ENOTCONN:
                return -ECONNRESET;
        default:
                return -errno;
        }
}
