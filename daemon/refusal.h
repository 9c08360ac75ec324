/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_REFUSAL_H
#define PL_REFUSAL_H

/* A typed "no": stable code, errno, the rule that decided, and a sentence that says what would work instead. */

#include "codec.h"
#include "util.h"

struct refusal {
        enum pinlease_code code;
        int error; /* positive errno */
        char rule[PL_RULE_MAX];
        char sentence[PL_SENTENCE_MAX];
};

/* Fills in the refusal with the code's own errno and an empty rule. Always returns -EREMOTEIO, "refused": no function
 * here returns that for any other reason. */
int refuse(struct refusal *ret_refusal, enum pinlease_code code, const char *format, ...) _printf_(3, 4);

/* The same with the kernel's errno (positive or negative) in place of the code's. */
int refuse_errno(struct refusal *ret_refusal, enum pinlease_code code, int error, const char *format, ...)
        _printf_(4, 5);

/* The same in a rule's name. */
int refuse_rule(struct refusal *ret_refusal, enum pinlease_code code, const char *rule, const char *format, ...)
        _printf_(4, 5);

/* As the app is told. seq and opcode: of the request; 0: the connection itself is refused. */
void refusal_packet(const struct refusal *refusal, uint32_t seq, uint16_t opcode, struct pl_packet *ret_packet);

#define REFUSED (-EREMOTEIO)

#endif
