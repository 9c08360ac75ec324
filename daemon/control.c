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

int control_send(int sock, const struct control_message *message, int fd) {
        union one_fd control = { 0 };
        struct iovec iov = { .iov_base = (void *)message, .iov_len = sizeof *message };
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

int control_recv(int sock, struct control_message *ret_message, int *ret_fd) {
        union one_fd control;
        struct iovec iov = { .iov_base = ret_message, .iov_len = sizeof *ret_message };
        struct msghdr msg = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                /* Not the whole buffer: its padding has room for a second descriptor, which nobody would own. */
                .msg_controllen = CMSG_LEN(sizeof(int)),
        };
        struct cmsghdr *c;
        ssize_t n;
        int fd = -1;

        *ret_fd = -1;
        do
                n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return errno == EWOULDBLOCK ? -EAGAIN : -errno;

        c = CMSG_FIRSTHDR(&msg);
        if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
                memcpy(&fd, CMSG_DATA(c), sizeof(int));

        *ret_fd = fd;
        return n != (ssize_t)sizeof *ret_message || (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ? -ECONNRESET : 0;
}
