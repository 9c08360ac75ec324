/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_HANDOVER_H
#define PL_HANDOVER_H

/*
 * The internal socket: keepers whose pinleased is gone come here and introduce themselves. Only root may, by the file's mode
 * and by the peer's credentials; and who comes has to be the process that the session is known by. Of processes that it does
 * not know, pinleased receives no descriptor itself before it is known to be a ledger.
 */

#include "disposal.h"
#include "pause.h"
#include "sessions.h"

struct newcomer;

struct handover {
        sd_event *event;
        struct sessions *sessions;
        struct disposal *disposal;
        struct newcomer *newcomers;
        sd_event_source *listener;
        struct pause pause;
        int fd;
};

/* Event loop, sessions and disposal are borrowed, the listening socket is taken over. */
int handover_init(struct handover *handover, sd_event *event, struct sessions *sessions, struct disposal *disposal, int fd);
void handover_done(struct handover *handover);

#endif
