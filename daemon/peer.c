/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "peer.h"

#include <sys/pidfd.h>
#include <sys/socket.h>

#include "util.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

int peer_get(int sock, struct peer *ret_peer) {
        socklen_t size = sizeof(struct ucred);
        struct ucred credentials;
        int pidfd = -1;

        if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
                return -errno;

        /* The pidfd of the process that connected, whatever has become of its number since. */
        size = sizeof pidfd;
        if (getsockopt(sock, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) < 0) {
                if (errno != ENOPROTOOPT)
                        return errno == ENODATA || errno == EINVAL ? -ESRCH : -errno;
                /* Before Linux 6.5 the number has to do. If it is somebody else's by now the session lasts too long, not
                 * too short, and the app's socket still tells its end. */
                pidfd = pidfd_open(credentials.pid, 0);
                if (pidfd < 0)
                        return -errno;
        }

        *ret_peer = (struct peer) {
                .pid = credentials.pid,
                .uid = credentials.uid,
                .gid = credentials.gid,
                .pidfd = pidfd,
        };
        return 0;
}

void peer_done(struct peer *peer) {
        peer->pidfd = pl_close(peer->pidfd);
}
