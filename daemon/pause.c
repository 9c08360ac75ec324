/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pause.h"

#include <string.h>

#include "log.h"
#include "timer.h"
#include "util.h"

#define PAUSE_MS 200

static int on_timer(sd_event_source *timer _unused_, uint64_t usec _unused_, void *userdata) {
        struct pause *pause = userdata;

        return sd_event_source_set_enabled(pause->source, SD_EVENT_ON);
}

bool pause_is_for(int error) {
        return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

void pause_listening(struct pause *pause, sd_event_source *source, int error) {
        log_event(LOG_ERR,
                  EVENT_CANNOT_START_SESSION,
                  "cannot accept a connection: %s; tries again in %d ms",
                  strerror(error),
                  PAUSE_MS);
        pause->source = source;
        if (sd_event_source_set_enabled(source, SD_EVENT_OFF) < 0)
                return;
        /* Rather work than a socket that nobody looks at any more. */
        if (timer_start(sd_event_source_get_event(source), &pause->timer, PAUSE_MS, on_timer, pause) < 0)
                (void)sd_event_source_set_enabled(source, SD_EVENT_ON);
}

void pause_end(struct pause *pause) {
        pause->timer = sd_event_source_disable_unref(pause->timer);
}
