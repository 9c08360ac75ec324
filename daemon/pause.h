/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_PAUSE_H
#define PL_PAUSE_H

/*
 * A listening socket whose accept(2) fails for want of descriptors or memory stays readable: it would be looked at again at
 * once and for ever, and before everything whose turn comes later, what would give descriptors back included. So connections
 * are left in the backlog for a moment.
 */

#include <stdbool.h>
#include <systemd/sd-event.h>

struct pause {
        sd_event_source *source; /* borrowed */
        sd_event_source *timer;
};

/* Is accept(2)'s errno such a want? Others are the connection's own. */
bool pause_is_for(int error);

/* Leaves the listening socket of this source alone, and says in the journal why. */
void pause_listening(struct pause *pause, sd_event_source *source, int error);

/* The source is not turned on again by itself; it may be turned off for good, or freed. */
void pause_end(struct pause *pause);

#endif
