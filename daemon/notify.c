/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "notify.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "timer.h"

static int take_spare(struct notify *n) {
        if (n->spare < 0)
                n->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
        return n->spare < 0 ? -errno : 0;
}

static void say(struct notify *n, const char *text) {
        n->spare = pl_close(n->spare);
        (void)sd_notify(0, text);
        /* Somebody else may have it by now, if the whole machine is out of them; then the next time. */
        (void)take_spare(n);
}

void notify_say(struct notify *n, const char *format, ...) {
        char text[256];
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(text, sizeof text, format, ap);
        va_end(ap);
        say(n, text);
}

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        struct notify *n = userdata;

        say(n, "WATCHDOG=1");
        return timer_start(n->event, &n->timer, n->interval_ms, on_timer, n);
}

int notify_init(struct notify *n, sd_event *event) {
        uint64_t usec = 0;
        int r;

        *n = (struct notify) { .event = event, .spare = -1 };
        r = take_spare(n);
        if (r < 0 || sd_watchdog_enabled(0, &usec) <= 0)
                return r;
        /* Late by a half is early enough. */
        n->interval_ms = usec / 1000 / 4 + 1;
        return timer_start(event, &n->timer, n->interval_ms, on_timer, n);
}

void notify_done(struct notify *n) {
        n->timer = sd_event_source_disable_unref(n->timer);
        n->spare = pl_close(n->spare);
}
