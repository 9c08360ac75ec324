/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_PAUSE_H
#define PL_PAUSE_H

/*
 * A listening socket whose accept(2) fails for want of descriptors or memory stays readable: it would be looked at again at
 * once and for ever, and before everything whose turn comes later, what would give descriptors back included. So it is left
 * alone for a moment.
 */

#include <systemd/sd-event.h>

struct pause {
        sd_event_source *source; /* borrowed */
        sd_event_source *timer;
};

/* Call it when accept(2) on the source's descriptor has failed, with its errno. Does nothing for errors that are the
 * connection's own. The source must outlive pause_done(). */
void pause_listening(struct pause *pause, sd_event_source *source, int error);
void pause_done(struct pause *pause);

#endif
