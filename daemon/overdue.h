/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_OVERDUE_H
#define PL_OVERDUE_H

/*
 * What the keeper knows of things that its registrar has to have done by some time: so many, and the latest of those
 * times. A registrar that says that it is busy has longer, but not for ever.
 */

#include "ledger.h"

struct overdue {
        unsigned int n;    /* not done */
        uint64_t deadline; /* CLOCK_MONOTONIC, ms; 0: none */
        uint64_t end;      /* the same, however busy the registrar says it is */
};

/* One more, to be done within so many ms. */
void overdue_begin(struct overdue *overdue, uint64_t ms);

/* One of them is done. Returns 0, or -EPROTO: there is none. */
int overdue_done(struct overdue *overdue);

/* Is the time over? margin_ms: how long after its deadline one that is busy is looked at again. Said once. */
bool overdue_check(struct overdue *overdue, const struct ledger *ledger, uint64_t now_ms, uint64_t margin_ms);

#endif
