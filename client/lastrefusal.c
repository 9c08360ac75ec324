/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lastrefusal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct slot {
        uint64_t serial;
        struct pinlease_refusal refusal;
        char rule[PL_RULE_MAX];
        char sentence[PL_SENTENCE_MAX];
};

/* By serial and not by address: a session may get the memory of an earlier one. */
static _Thread_local struct slot of_connect, of_session;

static struct slot *slot_fill(uint64_t serial, enum pinlease_code code, int error) {
        struct slot *slot = serial == 0 ? &of_connect : &of_session;

        slot->serial = serial;
        slot->rule[0] = slot->sentence[0] = 0;
        slot->refusal = (struct pinlease_refusal) {
                .code = code,
                .error = error,
                .rule = slot->rule,
                .sentence = slot->sentence,
        };
        return slot;
}

int pl_refuse(uint64_t serial, enum pinlease_code code, int error, const char *format, ...) {
        struct slot *slot = slot_fill(serial, code, error);
        int saved = errno;
        va_list ap;

        errno = error;
        va_start(ap, format);
        (void)vsnprintf(slot->sentence, sizeof slot->sentence, format, ap);
        va_end(ap);
        errno = saved;

        return -error;
}

int pl_refuse_as_told(uint64_t serial, const struct pl_refused *refused) {
        struct slot *slot = slot_fill(serial, (enum pinlease_code)refused->code, refused->error);

        _Static_assert(sizeof slot->rule == sizeof refused->rule, "rule");
        _Static_assert(sizeof slot->sentence == sizeof refused->sentence, "sentence");
        memcpy(slot->rule, refused->rule, sizeof slot->rule);
        memcpy(slot->sentence, refused->sentence, sizeof slot->sentence);

        return -refused->error;
}

const struct pinlease_refusal *pl_refusal_get(uint64_t serial) {
        static const struct pinlease_refusal nothing = { .rule = "", .sentence = "" };
        const struct slot *slot = serial == 0 ? &of_connect : &of_session;

        return slot->serial == serial && slot->refusal.sentence ? &slot->refusal : &nothing;
}
