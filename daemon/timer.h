/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_TIMER_H
#define PL_TIMER_H

#include <systemd/sd-event.h>

/* Once, in so many milliseconds from now, to the millisecond; a timer that is there already is started anew. */
int timer_start(sd_event *event, sd_event_source **timer, uint64_t ms, sd_event_time_handler_t handler, void *userdata);

#endif
