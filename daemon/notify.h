/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_NOTIFY_H
#define PL_NOTIFY_H

/*
 * What the service manager is told, sd_notify(3): among it, as long as the loop turns, that it does (WatchdogSec=).
 *
 * Each message takes a socket. When clients have used up all descriptors there must still be one: a pinleased that turns but
 * cannot say so would be killed. So one is kept for that.
 */

#include <systemd/sd-event.h>

#include "util.h"

struct notify {
        sd_event *event;
        sd_event_source *timer;
        uint64_t interval_ms; /* 0: nobody watches */
        int spare;
};

/* Returns 0 or a negative errno. */
int notify_init(struct notify *notify, sd_event *event);
void notify_done(struct notify *notify);

/* Who does not listen is not told. */
void notify_say(struct notify *notify, const char *format, ...) _printf_(2, 3);

#endif
