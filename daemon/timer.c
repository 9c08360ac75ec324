/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "timer.h"

#include "util.h"

#define USEC_PER_MS UINT64_C(1000)

int timer_start(sd_event *event, sd_event_source **timer, uint64_t ms, sd_event_time_handler_t handler, void *userdata) {
        int r;

        if (!*timer)
                /* An accuracy of 0 would be 250 ms. */
                return sd_event_add_time_relative(
                        event, timer, CLOCK_MONOTONIC, ms * USEC_PER_MS, USEC_PER_MS, handler, userdata);
        r = sd_event_source_set_time_relative(*timer, ms * USEC_PER_MS);
        return r < 0 ? r : sd_event_source_set_enabled(*timer, SD_EVENT_ONESHOT);
}
