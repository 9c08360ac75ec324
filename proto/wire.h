/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_WIRE_H
#define PL_WIRE_H

/* The only place that touches a session's socket: packets and their descriptors, in and out. */

#include <stdbool.h>

#include "codec.h"

/* A received packet. The descriptors are the caller's from the moment pl_wire_recv() returns 0, whatever they are. */
struct pl_received {
        struct pl_packet packet;
        size_t size;
        unsigned int n_fds;
        int fds[PL_MAX_FDS];
        bool truncated; /* the packet was longer than any may be */
        bool fds_lost;  /* more descriptors came than may come, or than this process has room for; the kernel dropped them */
};

/*
 * Receives one packet. flags: MSG_DONTWAIT or 0. EINTR is retried.
 * Returns 0; -ECONNRESET when the other side has closed (an empty packet, which has no meaning here, counts as that);
 * -EAGAIN when there is nothing; another negative errno. The descriptors are close-on-exec.
 */
int pl_wire_recv(int sock, int flags, struct pl_received *ret_received);

/*
 * The same, by a client. A service that refuses a session sends REFUSED and closes without reading. If our HELLO was in its queue by
 * then, the kernel puts ECONNRESET before the packet that we have got: it is reported once, and what was sent can be read
 * after it.
 */
int pl_wire_recv_last(int sock, int flags, struct pl_received *ret_received);

/*
 * Sends a packet with at most one descriptor (-1: none). flags: MSG_DONTWAIT or 0. EINTR is retried.
 * Returns 0; -EAGAIN when the other side does not read; -ECONNRESET when it has closed (never SIGPIPE).
 */
int pl_wire_send(int sock, int flags, const struct pl_packet *packet, int fd);

#endif
