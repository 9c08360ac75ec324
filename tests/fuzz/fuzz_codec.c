/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A packet: one byte who sends it (bit 0) and how many descriptors it has (bits 1 to 3), then the packet itself. */

#include "fuzz.h"

#include <string.h>

#include "codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        enum pl_side from;
        struct pl_packet *packet;
        enum pinlease_code code;
        size_t room;

        if (size < 1)
                return 0;
        from = data[0] & 1 ? PL_FROM_SESSION : PL_FROM_APP;

        /* As pl_wire_recv() has it: a whole buffer, of which only the beginning was received. */
        packet = malloc(sizeof *packet);
        MUST(packet);
        memset(packet, 0xa5, sizeof *packet);
        room = size - 1 < sizeof *packet ? size - 1 : sizeof *packet;
        memcpy(packet, data + 1, room);

        code = pl_packet_check(packet, size - 1, data[0] >> 1 & 7, from);
        MUST(strcmp(pl_code_name(code), "unknown") != 0);
        if (code == PINLEASE_CODE_NONE) {
                struct pl_packet fresh;

                /* What is let through is as long as the protocol says, and its strings end. */
                pl_packet_init(&fresh, packet->header.opcode, packet->header.seq);
                MUST(fresh.header.length == size - 1);
                MUST(memcmp(&fresh.header, &packet->header, sizeof fresh.header) == 0);
                if (packet->header.opcode == PL_OP_REFUSED) {
                        MUST(strlen(packet->body.refused.rule) < PL_RULE_MAX);
                        MUST(strlen(packet->body.refused.sentence) < PL_SENTENCE_MAX);
                }
                if (packet->header.opcode == PL_OP_GOING_AWAY)
                        MUST(strlen(packet->body.going_away.sentence) < PL_SENTENCE_MAX);
                if (packet->header.opcode == PL_OP_SETTLED)
                        MUST(strlen(packet->body.settled.sentence) < PL_SENTENCE_MAX);
                if (packet->header.opcode == PL_OP_NOTICE)
                        MUST(strlen(packet->body.notice.sentence) < PL_SENTENCE_MAX);
                if (packet->header.opcode == PL_OP_REGISTER)
                        MUST(packet->body.reg.guards <= PINLEASE_GUARD_ALL);
        } else
                MUST(pl_code_errno(code) > 0);
        free(packet);
        return 0;
}
