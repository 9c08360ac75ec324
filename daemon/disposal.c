/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "disposal.h"

#include <string.h>
#include <sys/socket.h>

#include "timer.h"
#include "util.h"

#define GATHER_MS 20
#define RETRY_MS  500

int disposal_flush(struct disposal *d) {
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

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        struct disposal *d = userdata;

        return disposal_flush(d) == 0 ? 0 : timer_start(d->event, &d->timer, RETRY_MS, on_timer, d);
}

void disposal_init(struct disposal *d, sd_event *event) {
        *d = (struct disposal) { .event = event };
}

void disposal_close(struct disposal *d, int fd) {
        /* The peer learns of it now, not when whatever others have in flight has been closed. */
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
        /* As many as one process closes need not wait: who connects and is turned away without end shall not fill this. */
        if ((d->n_fds == 1 && timer_start(d->event, &d->timer, GATHER_MS, on_timer, d) < 0) || d->n_fds % CLOSER_MAX == 0)
                (void)disposal_flush(d);
}

size_t disposal_waiting(const struct disposal *d) {
        return d->n_fds;
}

void disposal_done(struct disposal *d) {
        (void)disposal_flush(d);
        /* The end of the process closes the rest. */
        d->timer = sd_event_source_disable_unref(d->timer);
        free(d->fds);
        *d = (struct disposal) { 0 };
}
