/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "disposal.h"

#include <string.h>
#include <sys/socket.h>

#include "util.h"

#define GATHER_MS 20
#define RETRY_MS  500

static int flush(struct disposal *d) {
        while (d->n_fds > 0) {
                unsigned int n = d->n_fds < CLOSER_MAX ? (unsigned int)d->n_fds : CLOSER_MAX;
                int r;

                r = closer_try(d->fds + d->n_fds - n, n);
                if (r < 0)
                        return r;
                d->n_fds -= n;
        }
        return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec _unused_, void *userdata) {
        struct disposal *d = userdata;
        int r;

        if (flush(d) == 0)
                return 0;
        r = sd_event_source_set_time_relative(source, RETRY_MS * UINT64_C(1000));
        return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

static int start_timer(struct disposal *d) {
        int r;

        if (!d->timer)
                return sd_event_add_time_relative(
                        d->event, &d->timer, CLOCK_MONOTONIC, GATHER_MS * UINT64_C(1000), 0, on_timer, d);
        r = sd_event_source_set_time_relative(d->timer, GATHER_MS * UINT64_C(1000));
        return r < 0 ? r : sd_event_source_set_enabled(d->timer, SD_EVENT_ONESHOT);
}

void disposal_init(struct disposal *d, sd_event *event) {
        *d = (struct disposal) { .event = event };
}

void disposal_close(struct disposal *d, int fd) {
        /* Closes nothing that is in flight. */
        (void)shutdown(fd, SHUT_RDWR);

        if (d->n_fds == d->size) {
                size_t size = d->size ? d->size * 2 : CLOSER_MAX;
                int *fds = realloc(d->fds, size * sizeof *fds);

                if (!fds) {
                        (void)closer_close(&fd, 1);
                        return;
                }
                d->fds = fds;
                d->size = size;
        }
        d->fds[d->n_fds++] = fd;
        if (d->n_fds == 1 && start_timer(d) < 0)
                (void)flush(d);
}

size_t disposal_waiting(const struct disposal *d) {
        return d->n_fds;
}

void disposal_done(struct disposal *d) {
        (void)flush(d);
        /* The end of the process closes the rest. */
        d->timer = sd_event_source_disable_unref(d->timer);
        free(d->fds);
        *d = (struct disposal) { 0 };
}
