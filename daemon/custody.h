/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_CUSTODY_H
#define PL_CUSTODY_H

/* Descriptors that a keeper has from its registrar. The last close of any of them may take long: closer.h. */

#include "cleanup.h"
#include "control.h"
#include "lent.h"
#include "state.h"

struct custody {
        struct cleanup_context contexts[MAX_CONTEXTS];
        struct lent lent;
        int disposed; /* what the registrar wants closed, until it has closed its own copy; -1: none */
};

void custody_init(struct custody *custody);

/* All take the descriptor over, and return 0 or -EPROTO: the registrar must not have said that. */

/* CONTEXT_ADD, CONTEXT_DROP */
int custody_add_context(struct custody *custody, const struct control_message *message, int fd);
int custody_drop_context(struct custody *custody, const struct control_message *message);

/* DISPOSE, CLOSED */
int custody_hold(struct custody *custody, int fd);
int custody_close(struct custody *custody);

/* LEND, UNLEND. The answer, the first with the bell, goes to `control`. Both may return another negative errno as well: it could not be
 * sent. */
int custody_lend(struct custody *custody, int control, const struct control_message *message, int fd);
int custody_unlend(struct custody *custody, const struct control_message *message);

/* Closes everything, and gives up the leases. */
void custody_done(struct custody *custody);

#endif
