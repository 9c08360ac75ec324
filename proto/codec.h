/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_CODEC_H
#define PL_CODEC_H

/*
 * Packets to messages and back. Pure: no system call, no allocation. What comes from the other side is hostile.
 */

#include "proto.h"

/* A whole packet, header first. */
struct pl_packet {
        struct pl_header header;
        union {
                struct pl_hello hello;
                struct pl_hello_reply hello_reply;
                struct pl_attach attach;
                struct pl_attach_reply attach_reply;
                struct pl_detach detach;
                struct pl_register reg;
                struct pl_register_reply register_reply;
                struct pl_deregister deregister;
                struct pl_release release;
                struct pl_release_reply release_reply;
                struct pl_grant grant;
                struct pl_grant_reply grant_reply;
                struct pl_grant_commit grant_commit;
                struct pl_grant_commit_reply grant_commit_reply;
                struct pl_refused refused;
                struct pl_going_away going_away;
                struct pl_revoking revoking;
                struct pl_revoked revoked;
                struct pl_settled settled;
                struct pl_notice notice;
                uint8_t bytes[PL_MAX_PACKET - sizeof(struct pl_header)];
        } body;
};

/* Who has sent the packet that is to be judged. */
enum pl_side {
        PL_FROM_APP,
        PL_FROM_SESSION,
};

/* Sets the header of a packet; the body is filled in by the caller. The packet's length is the opcode's own. */
void pl_packet_init(struct pl_packet *packet, uint16_t opcode, uint32_t seq);

/*
 * Judges a received packet of `size` bytes that came with n_fds descriptors: magic, version, opcode (may that side send
 * it?), flags, reserved fields, sets of which all members are known, the exact length, the exact number of descriptors,
 * NUL at the end of strings. Returns PINLEASE_CODE_NONE or one of the protocol codes.
 */
enum pinlease_code pl_packet_check(const struct pl_packet *packet, size_t size, unsigned int n_fds, enum pl_side from);

/* "REGISTER", "REPLY to REGISTER", … for messages and logs. */
const char *pl_opcode_name(uint16_t opcode);

/* The errno and the name that belong to a code. */
int pl_code_errno(enum pinlease_code code);
const char *pl_code_name(enum pinlease_code code);
const char *pl_method_name(enum pinlease_method method);
const char *pl_backing_name(enum pinlease_backing backing);

/* One guard; "unknown" for none, and for a set of them. */
const char *pl_guard_name(enum pinlease_guard guard);
const char *pl_guard_reason_name(enum pinlease_guard_reason reason);

#endif
