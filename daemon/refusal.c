/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "refusal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fill(struct refusal *refusal,
                 enum pinlease_code code,
                 int error,
                 const char *rule,
                 const char *format,
                 va_list ap) {
        memset(refusal, 0, sizeof *refusal);
        refusal->code = code;
        refusal->error = error;
        (void)snprintf(refusal->rule, sizeof refusal->rule, "%s", rule);
        (void)vsnprintf(refusal->sentence, sizeof refusal->sentence, format, ap);
}

int refuse(struct refusal *ret_refusal, enum pinlease_code code, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        fill(ret_refusal, code, pl_code_errno(code), "", format, ap);
        va_end(ap);
        return REFUSED;
}

int refuse_errno(struct refusal *ret_refusal, enum pinlease_code code, int error, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        fill(ret_refusal, code, abs(error), "", format, ap);
        va_end(ap);
        return REFUSED;
}

int refuse_rule(struct refusal *ret_refusal, enum pinlease_code code, const char *rule, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        fill(ret_refusal, code, pl_code_errno(code), rule, format, ap);
        va_end(ap);
        return REFUSED;
}

void refusal_packet(const struct refusal *refusal, uint32_t seq, uint16_t opcode, struct pl_packet *ret_packet) {
        pl_packet_init(ret_packet, PL_OP_REFUSED, seq);
        ret_packet->body.refused.code = (uint32_t)refusal->code;
        ret_packet->body.refused.error = refusal->error;
        ret_packet->body.refused.opcode = opcode;
        memcpy(ret_packet->body.refused.rule, refusal->rule, sizeof refusal->rule);
        memcpy(ret_packet->body.refused.sentence, refusal->sentence, sizeof refusal->sentence);
}
