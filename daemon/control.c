/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "control.h"

#include <string.h>
#include <sys/socket.h>

#include "util.h"

int control_pair(int ret_fds[2]) {
        return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_fds) < 0 ? -errno : 0;
}

union one_fd {
        struct cmsghdr header;
        uint8_t space[CMSG_SPACE(sizeof(int))];
};

static int send_bytes(int sock, const void *bytes, size_t size, int fd) {
        union one_fd control = { 0 };
        struct iovec iov = { .iov_base = (void *)bytes, .iov_len = size };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
        ssize_t n;

        if (fd >= 0) {
                msg.msg_control = &control;
                msg.msg_controllen = sizeof control;
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = CMSG_LEN(sizeof(int));
                memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
        }

        do
                n = sendmsg(sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        if (n >= 0)
                return 0;
        return errno == EPIPE ? -ECONNRESET : -errno;
}

/* -EPROTO: what came is not exactly `size` bytes and at most one descriptor. */
static int recv_bytes(int sock, void *ret_bytes, size_t size, int *ret_fd) {
        union one_fd control;
        struct iovec iov = { .iov_base = ret_bytes, .iov_len = size };
        struct msghdr msg = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                /* Not the whole buffer: its padding has room for a second descriptor, which nobody would own. */
                .msg_controllen = CMSG_LEN(sizeof(int)),
        };
        struct cmsghdr *c;
        ssize_t n;

        *ret_fd = -1;
        do
                n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return errno == EWOULDBLOCK ? -EAGAIN : -errno;

        c = CMSG_FIRSTHDR(&msg);
        if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
                memcpy(ret_fd, CMSG_DATA(c), sizeof(int));

        if (n == 0)
                return -ECONNRESET;
        return n != (ssize_t)size || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ? -EPROTO : 0;
}

int control_send(int sock, const struct control_message *message, int fd) {
        return send_bytes(sock, message, sizeof *message, fd);
}

int control_send_introduction(int sock, const struct control_introduction *introduction, int ledger) {
        return send_bytes(sock, introduction, sizeof *introduction, ledger);
}

int control_recv(int sock, struct control_message *ret_message, int *ret_fd) {
        return recv_bytes(sock, ret_message, sizeof *ret_message, ret_fd);
}

int control_recv_introduction(int sock, struct control_introduction *ret_introduction, int *ret_fd) {
        int r = recv_bytes(sock, ret_introduction, sizeof *ret_introduction, ret_fd);

        return r == 0 && (ret_introduction->magic != CONTROL_MAGIC || *ret_fd < 0) ? -EPROTO : r;
}
