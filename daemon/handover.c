/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handover.h"

#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "fds.h"
#include "ledger-reader.h"
#include "log.h"
#include "peer.h"
#include "throwaway.h"
#include "util.h"

/* A keeper introduces itself at once. */
#define INTRODUCTION_MS 5000

/* Has connected, and not introduced itself yet. */
struct newcomer {
        struct handover *handover;
        struct newcomer *next;
        struct peer peer;
        int control;
        int relay; /* by which a receiver tells; -1: it is read here */
        sd_event_source *io, *timer;
};

static void newcomer_free(struct newcomer *newcomer) {
        struct newcomer **p = &newcomer->handover->newcomers;

        while (*p != newcomer)
                p = &(*p)->next;
        *p = newcomer->next;
        sd_event_source_disable_unref(newcomer->io);
        sd_event_source_disable_unref(newcomer->timer);
        peer_done(&newcomer->peer);
        pl_close(newcomer->relay);
        if (newcomer->control >= 0)
                disposal_close(newcomer->handover->disposal, newcomer->control);
        free(newcomer);
}

static int on_timeout(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        struct newcomer *newcomer = userdata;

        log_line(LOG_WARNING, "process %d connected as a keeper and did not introduce itself", (int)newcomer->peer.pid);
        newcomer_free(newcomer);
        return 0;
}

/*
 * Whoever has a descriptor of a file server that does not answer hangs when it closes it, in a copy as well. So what a process
 * sends that the roster does not know is received by a throw-away process, which passes a ledger on and ends with anything else.
 */
static _Noreturn void receive(int control, int relay) {
        struct pollfd p[] = { { .fd = control, .events = POLLIN }, { .fd = relay } };
        struct control_introduction introduction;
        int ledger;

        fds_close_except((const int[]) { control, relay }, 2);
        while (poll(p, ELEMENTSOF(p), 2 * INTRODUCTION_MS) < 0 && errno == EINTR)
                ;
        if (control_recv_introduction(control, &introduction, &ledger) == 0 && ledger_reader_is_safe(ledger))
                (void)control_send_introduction(relay, &introduction, ledger);
        /* Before the end, which may not come. */
        close(control);
        close(relay);
        _exit(0);
}

static int start_receiver(int control, int *ret_relay) {
        _cleanup_(pl_closep) int theirs = -1;
        int pair[2], r;

        r = control_pair(pair);
        if (r < 0)
                return r;
        theirs = pair[1];

        r = throwaway_fork();
        if (r == 0)
                receive(control, theirs);
        if (r < 0) {
                pl_close(pair[0]);
                return r;
        }
        *ret_relay = pair[0];
        return 0;
}

static const char *reason(int error) {
        switch (error) {
        case -EEXIST:
                return "the session has another keeper";
        case -ESRCH:
                return "it has ended meanwhile";
        case -EBADMSG:
        case -EPROTO:
                return "that is no introduction of a keeper with its ledger";
        default:
                return strerror(-error);
        }
}

static int on_introduction(sd_event_source *source _unused_, int fd _unused_, uint32_t revents _unused_, void *userdata) {
        struct newcomer *newcomer = userdata;
        struct handover *h = newcomer->handover;
        struct control_introduction introduction;
        int ledger, r;

        r = control_recv_introduction(newcomer->relay >= 0 ? newcomer->relay : newcomer->control, &introduction, &ledger);
        if (r == -EAGAIN)
                return 0;
        /* Its receiver had nothing to pass on. */
        if (r == -ECONNRESET && newcomer->relay >= 0)
                r = -EPROTO;
        /* One source at a time for a descriptor. */
        newcomer->io = sd_event_source_disable_unref(newcomer->io);
        if (r == 0)
                r = sessions_adopt(h->sessions,
                                   &introduction,
                                   newcomer->peer.pid,
                                   newcomer->control,
                                   ledger,
                                   newcomer->peer.pidfd);
        if (r == 0)
                newcomer->control = newcomer->peer.pidfd = -1;
        else {
                if (r != -ECONNRESET)
                        log_line(r == -ESRCH ? LOG_NOTICE : LOG_ERR,
                                 "process %d is not taken over as the keeper of a session: %s",
                                 (int)newcomer->peer.pid,
                                 reason(r));
                if (ledger >= 0)
                        disposal_close(h->disposal, ledger);
        }
        newcomer_free(newcomer);
        return 0;
}

/* Owns the connection from here on. */
static int welcome(struct handover *h, int control, struct peer *peer) {
        struct newcomer *newcomer = malloc(sizeof *newcomer);
        int r;

        if (!newcomer) {
                disposal_close(h->disposal, control);
                return -ENOMEM;
        }
        *newcomer = (struct newcomer) {
                .handover = h,
                .next = h->newcomers,
                .peer = *peer,
                .control = control,
                .relay = -1,
        };
        h->newcomers = newcomer;
        peer->pidfd = -1;

        r = roster_knows(h->sessions->roster, peer->pid) ? 0 : start_receiver(control, &newcomer->relay);
        if (r == 0)
                r = sd_event_add_io(h->event,
                                    &newcomer->io,
                                    newcomer->relay >= 0 ? newcomer->relay : control,
                                    EPOLLIN,
                                    on_introduction,
                                    newcomer);
        if (r == 0)
                r = sd_event_add_time_relative(h->event,
                                               &newcomer->timer,
                                               CLOCK_MONOTONIC,
                                               INTRODUCTION_MS * UINT64_C(1000),
                                               0,
                                               on_timeout,
                                               newcomer);
        if (r == 0)
                r = sd_event_source_set_priority(newcomer->io, SD_EVENT_PRIORITY_IMPORTANT);
        if (r < 0)
                newcomer_free(newcomer);
        return r;
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents _unused_, void *userdata) {
        _cleanup_(peer_done) struct peer peer = { .pidfd = -1 };
        struct handover *h = userdata;
        int control, r;

        control = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (control < 0) {
                if (pause_is_for(errno))
                        pause_listening(&h->pause, source, errno);
                return 0;
        }

        r = peer_get(control, &peer);
        if (r == 0 && peer.uid != geteuid()) {
                log_subject_event(&(const struct log_subject) { 0, peer.pid, peer.uid, NULL },
                                  LOG_WARNING,
                                  EVENT_TURNED_AWAY,
                                  "is turned away: the internal socket is for keepers only");
                r = -EPERM;
        }
        if (r < 0) {
                disposal_close(h->disposal, control);
                return 0;
        }
        r = welcome(h, control, &peer);
        if (r < 0)
                log_line(LOG_ERR, "cannot take a keeper over: %s", strerror(-r));
        return 0;
}

int handover_init(struct handover *h, sd_event *event, struct sessions *sessions, struct disposal *disposal, int fd) {
        int r;

        *h = (struct handover) { .event = event, .sessions = sessions, .disposal = disposal, .fd = fd };
        r = sd_event_add_io(event, &h->listener, fd, EPOLLIN, on_connection, h);
        if (r < 0)
                return r;
        return sd_event_source_set_priority(h->listener, SD_EVENT_PRIORITY_IMPORTANT);
}

void handover_done(struct handover *h) {
        while (h->newcomers)
                newcomer_free(h->newcomers);
        pause_end(&h->pause);
        h->listener = sd_event_source_disable_unref(h->listener);
        h->fd = pl_close(h->fd);
}
