/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_DISPOSAL_H
#define PL_DISPOSAL_H

/*
 * Closes connections of strangers and of apps that did not become sessions: whatever they have put in flight is closed with
 * them. Gathers them for a moment, so that one throw-away process closes many; when there is no process to be had, they wait.
 * The other side sees the end of its connection at once all the same.
 */

#include <systemd/sd-event.h>

#include "closer.h"

struct disposal {
        sd_event *event;
        sd_event_source *timer;
        int *fds;
        size_t n_fds, size;
};

/* The event loop is borrowed. */
void disposal_init(struct disposal *disposal, sd_event *event);

/* Takes the descriptor over. */
void disposal_close(struct disposal *disposal, int fd);

/* Does not wait for more. Returns 0, or a negative errno: there was no process for some of them. */
int disposal_flush(struct disposal *disposal);

/* How many wait. */
size_t disposal_waiting(const struct disposal *disposal);

/* Hands over what still waits; at the end of the process. */
void disposal_done(struct disposal *disposal);

#endif
