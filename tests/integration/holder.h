/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_HOLDER_H
#define TEST_HOLDER_H

/* An app that has two things registered and queue pairs, does what it is told by the case, and nothing by itself. */

#include <stdbool.h>

#include "harness.h"
#include "raw.h"

struct holder {
        const char *user; /* NULL: root */
        const char *file; /* what the second is; NULL: another memfd */
        bool window;      /* one is bound to the first */
        const char *path; /* of the service's socket; NULL: the real one */
};

enum holder_word {
        HOLDER_TRANSFER,    /* by the first registration's key: answers the work's status */
        HOLDER_TRANSFER_2,  /* the second's */
        HOLDER_READ_EVENTS, /* see below */
        HOLDER_ANEW,        /* registers something else, transfers, deregisters: answers the work's status */
        HOLDER_DEREGISTER,  /* the first: answers the refusal's code */
        HOLDER_PING,        /* fails if the session has ended */
};

/* Starts it; writes the number of its first registration, as it stands behind the point of an ID. */
struct app holder_start(const struct holder *holder, unsigned int *ret_number);
uint64_t holder_ask(const struct app *app, enum holder_word word);
/* It ends its session, and then itself. */
void holder_stop(struct app *app);

/* Takes the events that have come: REVOKING count as 1, REVOKED as 100. */
uint64_t holder_read_events(struct raw *raw);

#endif
