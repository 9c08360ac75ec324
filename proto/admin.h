/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_ADMIN_H
#define PL_ADMIN_H

/*
 * The wire between pinleasectl and pinleased. doc/ADMIN.md says it in words, and what the bodies are; this file is the
 * framing: SOCK_SEQPACKET, one message one packet, the header of proto.h and then a JSON object without a NUL.
 */

#include "proto.h"

#define PL_ADMIN_SOCKET       "/run/pinlease/admin.sock"
#define PL_ADMIN_MAX_PACKET   65536 /* bytes, the header included */
#define PL_ADMIN_MAX_GRACE_MS 600000

enum pl_admin_opcode {
        PL_ADMIN_CALL = 0x400, /* to the daemon */
        PL_ADMIN_ITEM = 0x401, /* from the daemon, with the call's seq */
        PL_ADMIN_END  = 0x402, /* the same; seq 0 if it refuses the connection rather than a call */
};

struct pl_admin_packet {
        struct pl_header header;
        char body[PL_ADMIN_MAX_PACKET - sizeof(struct pl_header)]; /* header.length says how much of it is used */
};

_Static_assert(sizeof(struct pl_admin_packet) == PL_ADMIN_MAX_PACKET, "admin packet");

#endif
