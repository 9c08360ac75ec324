/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pause.h"

#include "util.h"

#define PAUSE_MS 200

static int on_timer(sd_event_source *timer _unused_, uint64_t usec _unused_, void *userdata) {
        struct pause *pause = userdata;

        return sd_event_source_set_enabled(pause->source, SD_EVENT_ON);
}

static int start_timer(struct pause *pause) {
        int r;

        if (!pause->timer)
                return sd_event_add_time_relative(sd_event_source_get_event(pause->source),
                                                  &pause->timer,
                                                  CLOCK_MONOTONIC,
                                                  PAUSE_MS * UINT64_C(1000),
                                                  0,
                                                  on_timer,
                                                  pause);
        r = sd_event_source_set_time_relative(pause->timer, PAUSE_MS * UINT64_C(1000));
        return r < 0 ? r : sd_event_source_set_enabled(pause->timer, SD_EVENT_ONESHOT);
}

void pause_listening(struct pause *pause, sd_event_source *source, int error) {
        if (error != EMFILE && error != ENFILE && error != ENOMEM && error != ENOBUFS)
                return;
        pause->source = source;
        if (sd_event_source_set_enabled(source, SD_EVENT_OFF) < 0)
                return;
        /* Rather work than a socket that nobody looks at any more. */
        if (start_timer(pause) < 0)
                (void)sd_event_source_set_enabled(source, SD_EVENT_ON);
}

void pause_done(struct pause *pause) {
        pause->timer = sd_event_source_disable_unref(pause->timer);
}
