/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "waiting.h"

#include <inttypes.h>
#include <sys/epoll.h>

#include "log.h"
#include "util.h"

struct waiting_connection {
        struct waiting *waiting;
        struct waiting_connection *next, *previous;
        struct account *account;
        struct peer peer;
        int client;
        bool spoken;
        uint64_t deadline; /* CLOCK_MONOTONIC, µs */
        sd_event_source *io;
};

static int reset_timer(struct waiting *w);

static struct waiting_list *list_of(struct waiting_connection *c) {
        return c->spoken ? &c->waiting->spoken : &c->waiting->silent;
}

static void append(struct waiting_connection *c) {
        struct waiting_list *list = list_of(c);

        c->next = NULL;
        c->previous = list->last;
        *(list->last ? &list->last->next : &list->first) = c;
        list->last = c;
        (c->spoken ? account_waiting : account_silent)(c->waiting->accounts, c->account, 1);
}

static void detach(struct waiting_connection *c) {
        struct waiting_list *list = list_of(c);

        *(c->previous ? &c->previous->next : &list->first) = c->next;
        *(c->next ? &c->next->previous : &list->last) = c->previous;
        (c->spoken ? account_waiting : account_silent)(c->waiting->accounts, c->account, -1);
}

static void unlink_connection(struct waiting_connection *c) {
        struct waiting *w = c->waiting;

        detach(c);
        account_put(w->accounts, c->account);
        sd_event_source_disable_unref(c->io);
        peer_done(&c->peer);
        if (c->client >= 0)
                disposal_close(w->disposal, c->client);
        free(c);
}

static int on_timer(sd_event_source *source _unused_, uint64_t usec, void *userdata) {
        struct waiting *w = userdata;

        while (w->silent.first && w->silent.first->deadline <= usec) {
                const struct peer *peer = &w->silent.first->peer;

                log_subject_event(&(const struct log_subject) { 0, peer->pid, peer->uid, NULL },
                                  LOG_NOTICE,
                                  EVENT_SILENT_APP,
                                  "connected and said nothing for %" PRIu64 " ms",
                                  w->timeout_usec / 1000);
                unlink_connection(w->silent.first);
        }
        return reset_timer(w);
}

static int set_timer(struct waiting *w, uint64_t usec) {
        int r;

        if (!w->timer)
                return sd_event_add_time(w->event, &w->timer, CLOCK_MONOTONIC, usec, 0, on_timer, w);
        r = sd_event_source_set_time(w->timer, usec);
        return r < 0 ? r : sd_event_source_set_enabled(w->timer, SD_EVENT_ONESHOT);
}

/* For the one that came first. */
static int reset_timer(struct waiting *w) {
        if (w->silent.first)
                return set_timer(w, w->silent.first->deadline);
        return w->timer ? sd_event_source_set_enabled(w->timer, SD_EVENT_OFF) : 0;
}

static int on_io(sd_event_source *source, int fd _unused_, uint32_t revents, void *userdata) {
        struct waiting_connection *c = userdata;
        struct waiting *w = c->waiting;

        if (!(revents & (EPOLLHUP | EPOLLRDHUP | EPOLLERR))) {
                int r;

                if (!c->spoken) {
                        detach(c);
                        c->spoken = true;
                        append(c);
                        r = reset_timer(w);
                        if (r < 0)
                                return r;
                }
                /* Before it is anybody else's: the epoll goes on for what is closed here, but open in a session. */
                r = sd_event_source_set_enabled(source, SD_EVENT_OFF);
                if (r < 0 || !w->ready(w->userdata, c->client, &c->peer))
                        return r;
                c->client = -1;
        }
        unlink_connection(c);
        return reset_timer(w);
}

void waiting_init(struct waiting *w,
                  sd_event *event,
                  struct accounts *accounts,
                  struct disposal *disposal,
                  unsigned int timeout_ms,
                  waiting_ready_t ready,
                  void *userdata) {
        *w = (struct waiting) {
                .event = event,
                .accounts = accounts,
                .disposal = disposal,
                .timeout_usec = timeout_ms * UINT64_C(1000),
                .ready = ready,
                .userdata = userdata,
        };
}

void waiting_done(struct waiting *w) {
        while (w->silent.first)
                unlink_connection(w->silent.first);
        while (w->spoken.first)
                unlink_connection(w->spoken.first);
        w->timer = sd_event_source_disable_unref(w->timer);
}

int waiting_add(struct waiting *w, int client, struct peer *peer, struct account *account) {
        struct waiting_connection *c;
        uint64_t now;
        int r;

        c = malloc(sizeof *c);
        if (!c)
                return -ENOMEM;
        r = sd_event_now(w->event, CLOCK_MONOTONIC, &now);
        if (r < 0) {
                free(c);
                return r;
        }
        *c = (struct waiting_connection) {
                .waiting = w,
                .account = account,
                .client = client,
                .deadline = now + w->timeout_usec,
        };
        r = sd_event_add_io(w->event, &c->io, client, EPOLLIN | EPOLLRDHUP, on_io, c);
        if (r < 0) {
                free(c);
                return r;
        }
        /* For the first; the others come later. */
        if (!w->silent.first) {
                r = set_timer(w, c->deadline);
                if (r < 0) {
                        sd_event_source_disable_unref(c->io);
                        free(c);
                        return r;
                }
        }
        c->peer = *peer;
        peer->pidfd = -1;

        append(c);
        return 0;
}

void waiting_resume(struct waiting *w, const struct account *account) {
        for (struct waiting_connection *c = w->spoken.first; c; c = c->next)
                if (!account || c->account == account)
                        (void)sd_event_source_set_enabled(c->io, SD_EVENT_ON);
}
