/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "linger.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>

#include "harness.h"

static int lingering_socket(void) {
        const struct linger linger = { .l_onoff = 1, .l_linger = 60 };
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t size = sizeof address;
        static const char data[65536];
        int listener = CHECK_CALL(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), sock;
        uint64_t sent = 0;

        CHECK_CALL(bind(listener, (const struct sockaddr *)&address, sizeof address));
        CHECK_CALL(listen(listener, 1));
        CHECK_CALL(getsockname(listener, (struct sockaddr *)&address, &size));
        sock = CHECK_CALL(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        CHECK_CALL(connect(sock, (const struct sockaddr *)&address, sizeof address));
        CHECK_CALL(fcntl(sock, F_SETFL, O_NONBLOCK));
        for (ssize_t n; (n = send(sock, data, sizeof data, MSG_NOSIGNAL)) > 0;)
                sent += (uint64_t)n;
        /* Else there is nothing that anybody would wait for. */
        CHECK(sent > 0 && errno == EAGAIN);
        CHECK_CALL(fcntl(sock, F_SETFL, 0));
        CHECK_CALL(setsockopt(sock, SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
        /* The listener, and with it the peer, stays open until the process ends. */
        return sock;
}

int linger_socket(const char *user) {
        int host = CHECK_CALL(open("/run/netns/hosta", O_RDONLY | O_CLOEXEC));

        CHECK_CALL(setns(host, CLONE_NEWNET));
        close(host);
        become(user);
        return lingering_socket();
}
