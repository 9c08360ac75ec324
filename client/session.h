/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_SESSION_H
#define PL_SESSION_H

/*
 * The app's end of a session: requests, answers told from events, the end of the session found out once.
 *
 * Two locks. `io` belongs to whoever talks on the socket and is held over a whole request, which may take long. `state`
 * guards what pinlease_dispatch() needs and is held for moments, so that dispatching never waits for another thread's
 * request. Order: io, then state. Neither is held while a callback runs.
 */

#include <pthread.h>
#include <stdatomic.h>

#include "pinlease/pinlease.h"
#include "wire.h"

#define PL_EVENTS_MAX 8U

/* How often a connection is made when the service is being replaced in that instant, and how long after the first failure the
 * second attempt comes; the pause doubles up to a maximum. */
#define PL_CONNECT_ATTEMPTS     12U
#define PL_CONNECT_PAUSE_MS     20U
#define PL_CONNECT_PAUSE_MAX_MS 250U

/* Part of the ABI: everything else is hidden by -fvisibility=hidden, and by libpinlease.sym. */
#define _public_ __attribute__((visibility("default")))

/* A verbs context that the service knows. */
struct pl_context {
        struct pl_context *next;
        struct ibv_context *verbs;
        uint32_t id;
        uint32_t driver; /* enum rdma_driver_id, once it was asked for */
        bool driver_known;
};

/* What is to be told of a registration, a set: of the first two the latest alone; SETTLED comes after them. */
enum pl_pending { PL_PENDING_REVOKING = 1 << 0, PL_PENDING_REVOKED = 1 << 1, PL_PENDING_SETTLED = 1 << 2 };

/* What stands around the registration that the caller sees. */
struct pl_registration {
        struct pinlease_mr public; /* first: the caller's pointer is ours */

        /* Guarded by `io`: see registry.h. */
        struct pl_registration *previous, *next, *bucket_next;
        uint64_t id;
        uint32_t context;
        dev_t device; /* the file */
        uint64_t inode;
        bool revoked;  /* given back or taken away: the id is no more, but for SETTLED */
        bool settles;  /* SETTLED of it will come */
        bool released; /* the caller has it no more: it is here for SETTLED alone */

        /* Guarded by `state`: see events.h. */
        struct pl_registration *pending_previous, *pending_next;
        unsigned int pending;
        uint64_t pending_deadline; /* CLOCK_MONOTONIC, ms */
        uint64_t pending_offset, pending_length;
        uint32_t pending_reason;
        char *pending_sentence;
        uint64_t settled_size;
        char *settled_sentence;
        unsigned int deliveries; /* callbacks that have it now */
        bool gone;               /* the last of them frees it */
};

/* A notice that waits for its delivery. */
struct pl_waiting_notice;

struct pinlease {
        uint64_t serial; /* never used again in this process; 0 until pinlease_connect() has succeeded */
        pid_t pid; /* whose session this is: a forked child has a copy of all this and must not touch the socket */
        int sock;
        int poll_fd;  /* epoll over the socket and event_fd */
        int event_fd; /* readable while pinlease_dispatch() has something to do that is not in the socket */
        struct pinlease_listener listener;
        void *userdata;
        uint64_t features; /* what both sides have */

        /* pinlease_disconnect() may be called by a callback: pinlease_dispatch() then holds the last reference. */
        atomic_uint references;
        atomic_bool closed;

        pthread_mutex_t io;
        uint32_t seq;
        struct pl_context *contexts;
        struct pl_registration *registrations, **buckets;
        size_t n_registrations, n_buckets;
        char last_words[PL_SENTENCE_MAX]; /* of the last GOING_AWAY */

        pthread_mutex_t state;
        struct pl_going_away events[PL_EVENTS_MAX];
        unsigned int n_events;
        struct pl_registration *pending_first, *pending_last;
        struct pl_waiting_notice *notices;
        bool ended;        /* no packet goes in or out any more */
        bool end_notified; /* `disconnected` has been called */
        char why_ended[PL_SENTENCE_MAX];
};

/* Connects to `path` and makes the descriptors. Returns 0 or a negative errno, recorded as a refusal. */
int pl_session_open(const char *path, struct pinlease **ret_p);

/* Drops a reference; the last one closes the descriptors and frees everything. Returns NULL. */
struct pinlease *pl_session_unref(struct pinlease *p);

/* Are we the process that has connected? Returns 0 or -EOWNERDEAD, recorded as a refusal. */
int pl_session_check_owner(const struct pinlease *p);

/*
 * Begin and end of a request. After 0 the caller holds `io` and must call pl_session_leave(). -EOWNERDEAD and
 * -ECONNRESET (the session has ended) are recorded as refusals.
 */
int pl_session_enter(struct pinlease *p);
void pl_session_leave(struct pinlease *p);

/*
 * Sends the request, whose seq is filled in here, with at most one descriptor (-1: none) and waits for its answer. To
 * be called with `io` held. On 0 *ret_packet is the positive answer; else the negative errno of the refusal, recorded.
 */
int pl_session_call(struct pinlease *p, struct pl_packet *request, int fd, struct pl_packet *ret_packet);

/*
 * The two halves of that, for several small requests without a descriptor at a time, PL_REQUESTS_MAX at most: all of them fit into
 * the socket, so that sending never waits for a service that waits for us to read. Each request that was sent is to be awaited, in
 * order, unless the session has ended meanwhile.
 */
#define PL_REQUESTS_MAX 16U
int pl_session_send(struct pinlease *p, struct pl_packet *request, int fd);
int pl_session_await(struct pinlease *p, const struct pl_header *request, struct pl_packet *ret_packet);

/* Ends the session because of what came from the service makes no sense. Returns -EPROTO, recorded. With `io` held. */
int pl_session_protocol_error(struct pinlease *p, enum pinlease_code code, const char *what);

/* Records, as a refusal, that the session has ended and why. Returns -ECONNRESET. Only once it has. */
int pl_session_refuse_ended(const struct pinlease *p);

/* Takes what has come as events, without waiting. With `io` held. */
void pl_session_drain(struct pinlease *p);

#endif
