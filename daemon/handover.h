/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_HANDOVER_H
#define PL_HANDOVER_H

/*
 * The internal socket: keepers whose pinleased is gone come here and introduce themselves. Only root may, by the file's mode
 * and by the peer's credentials; and who comes has to be the process that the session is known by.
 */

#include "disposal.h"
#include "sessions.h"
#include "pause.h"

struct newcomer;

struct handover {
        sd_event *event;
        struct sessions *sessions;
        struct disposal *disposal;
        struct newcomer *newcomers;
        sd_event_source *listener;
        int fd;
        struct pause pause;
};

/* Event loop, sessions and disposal are borrowed, the listening socket is taken over. */
int handover_init(struct handover *handover, sd_event *event, struct sessions *sessions, struct disposal *disposal, int fd);
void handover_done(struct handover *handover);

#endif
