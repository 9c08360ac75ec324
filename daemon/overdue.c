/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "overdue.h"

#include <errno.h>

#include "util.h"

void overdue_begin(struct overdue *o, uint64_t ms) {
        uint64_t deadline = pl_now_ms() + ms;

        o->n++;
        if (deadline > o->deadline) {
                o->deadline = deadline;
                o->end = deadline + LEDGER_BUSY_MAX_MS;
        }
}

int overdue_done(struct overdue *o) {
        if (o->n == 0)
                return -EPROTO;
        if (--o->n == 0)
                o->deadline = 0;
        return 0;
}

bool overdue_check(struct overdue *o, const struct ledger *ledger, uint64_t now_ms, uint64_t margin_ms) {
        if (!o->deadline || now_ms < o->deadline)
                return false;
        if (ledger_is_busy(ledger, now_ms) && now_ms < o->end) {
                o->deadline = now_ms + margin_ms;
                return false;
        }
        o->deadline = 0;
        return true;
}
