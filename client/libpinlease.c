/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pinlease/pinlease.h"

#include <sys/socket.h>

#include "codec.h"
#include "events.h"
#include "lastrefusal.h"
#include "registration.h"
#include "release.h"
#include "session.h"
#include "util.h"

static int say_hello(struct pinlease *p) {
        struct pl_packet request, reply;
        int r;

        pl_packet_init(&request, PL_OP_HELLO, 0);
        request.body.hello.features = PL_FEATURES_KNOWN;
        r = pl_session_call(p, &request, -1, &reply);
        if (r < 0)
                return r;

        /* Features are what both sides have. */
        if (reply.body.hello_reply.features & ~PL_FEATURES_KNOWN)
                return pl_session_protocol_error(p, PINLEASE_CODE_BAD_FLAGS, "features that were not asked for");
        p->features = reply.body.hello_reply.features;
        return 0;
}

/* Nobody else knows of it yet: no lock. While its serial is 0, refusals count as those of pinlease_connect(). */
static int open_session(const char *path, struct pinlease **ret_p) {
        struct pinlease *p;
        int r;

        r = pl_session_open(path, &p);
        if (r < 0)
                return r;
        r = say_hello(p);
        if (r < 0) {
                pl_session_unref(p);
                return r;
        }
        *ret_p = p;
        return 0;
}

static void pause_for(unsigned int ms) {
        struct timespec rest = { .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 };

        while (nanosleep(&rest, &rest) < 0 && errno == EINTR)
                ;
}

/*
 * A connection that ends without a word before HELLO has been answered was one that a pinleased had accepted, but not yet
 * given a session when it was replaced or died. Nothing has happened: it is made again, and waits at the socket for the
 * successor. A service that has a reason not to serve says it, and is not asked again.
 */
_public_ int pinlease_connect(const char *path,
                              const struct pinlease_listener *listener,
                              void *userdata,
                              struct pinlease **ret_p) {
        static atomic_uint_fast64_t last_serial;
        unsigned int pause = PL_CONNECT_PAUSE_MS;
        struct pinlease *p;
        int r;

        if (!path)
                path = secure_getenv("PINLEASE_SOCKET");
        if (!path || !*path)
                path = PINLEASE_DEFAULT_SOCKET;

        for (unsigned int attempt = 1;; attempt++) {
                r = open_session(path, &p);
                if (r != -ECONNRESET || attempt == PL_CONNECT_ATTEMPTS)
                        break;
                pause_for(pause);
                pause = pause * 2 < PL_CONNECT_PAUSE_MAX_MS ? pause * 2 : PL_CONNECT_PAUSE_MAX_MS;
        }
        if (r < 0)
                return r;
        if (listener)
                p->listener = *listener;
        p->userdata = userdata;

        p->serial = atomic_fetch_add(&last_serial, 1) + 1;
        *ret_p = p;
        return 0;
}

_public_ struct pinlease *pinlease_disconnect(struct pinlease *p) {
        if (!p)
                return NULL;

        if (p->pid == getpid()) {
                (void)pthread_mutex_lock(&p->io);
                /* Answered when everything is deregistered: the caller may at once unmap, or close its device. */
                pl_registration_detach_all(p);
                /* A forked child may hold a copy of the socket: closing ours would not be noticed. */
                (void)shutdown(p->sock, SHUT_RDWR);
                (void)pthread_mutex_unlock(&p->io);
        }

        atomic_store(&p->closed, true);
        return pl_session_unref(p);
}

_public_ int pinlease_ping(struct pinlease *p) {
        struct pl_packet request, reply;
        int r;

        r = pl_session_enter(p);
        if (r < 0)
                return r;
        pl_packet_init(&request, PL_OP_PING, 0);
        r = pl_session_call(p, &request, -1, &reply);
        pl_session_leave(p);
        return r;
}

_public_ int pinlease_get_fd(struct pinlease *p) {
        int r;

        r = pl_session_check_owner(p);
        return r < 0 ? r : p->poll_fd;
}

static void deliver(struct pinlease *p, const struct pl_event *event) {
        const struct pinlease_listener *listener = &p->listener;
        const struct pinlease_revocation revocation = {
                .reason = (enum pinlease_revocation_reason)event->reason,
                .grace_ms = event->grace_ms,
                .offset = event->offset,
                .length = event->length,
                .sentence = event->sentence,
        };

        switch (event->kind) {
        case PL_EVENT_GOING_AWAY:
                if (listener->going_away)
                        listener->going_away(p, event->grace_ms, event->sentence, p->userdata);
                return;
        case PL_EVENT_REVOKING:
                if (listener->revoking)
                        listener->revoking(p, &event->reg->public, &revocation, p->userdata);
                return;
        case PL_EVENT_REVOKED:
                if (listener->revoked)
                        listener->revoked(p, &event->reg->public, &revocation, p->userdata);
                return;
        case PL_EVENT_SETTLED:
                if (listener->settled)
                        listener->settled(p, event->reg->public.cookie, event->size, event->sentence, p->userdata);
                return;
        case PL_EVENT_NOTICE:
                if (listener->notice)
                        listener->notice(p,
                                         &event->reg->public,
                                         (enum pinlease_notice)event->reason,
                                         event->size,
                                         event->sentence,
                                         p->userdata);
                return;
        }
}

/* And what else is asked for: another program may be waiting for all of it. Returns how many events that are. */
static int release_unasked(struct pinlease *p, const struct pl_event *first) {
        struct pl_event events[PL_REQUESTS_MAX] = { *first };
        size_t n = 1;

        while (n < ELEMENTSOF(events) && pl_events_pop_revoking(p, events + n))
                n++;
        pl_release_unasked(p, events, n);
        for (size_t i = 0; i < n; i++)
                pl_events_delivered(p, events + i);
        return (int)n;
}

_public_ int pinlease_dispatch(struct pinlease *p) {
        struct pl_event event;
        bool ended, notify;
        int n = 0, r;

        r = pl_session_check_owner(p);
        if (r < 0)
                return r;

        /* Another thread in the middle of a request reads the socket itself and queues what is not its answer. */
        if (pthread_mutex_trylock(&p->io) == 0) {
                pl_session_drain(p);
                (void)pthread_mutex_unlock(&p->io);
        }

        /* A callback may disconnect: the session's memory stays until we are done with it. */
        atomic_fetch_add(&p->references, 1);
        while (!atomic_load(&p->closed) && pl_events_pop(p, &event)) {
                if (event.kind == PL_EVENT_REVOKING && !p->listener.revoking) {
                        n += release_unasked(p, &event);
                        continue;
                }
                n++;
                deliver(p, &event);
                pl_events_delivered(p, &event);
        }

        r = n;
        pl_events_take_end(p, &ended, &notify);
        if (ended && !atomic_load(&p->closed)) {
                r = pl_session_refuse_ended(p);
                if (notify && p->listener.disconnected)
                        p->listener.disconnected(p, p->userdata);
        }
        pl_session_unref(p);
        return r;
}

_public_ const struct pinlease_refusal *pinlease_refusal(const struct pinlease *p) {
        return pl_refusal_get(p ? p->serial : 0);
}
