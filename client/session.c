/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "events.h"
#include "lastrefusal.h"
#include "registry.h"
#include "util.h"

/* How many packets one pinlease_dispatch() takes in at most. */
#define DRAIN_MAX 1024

static int refuse_connect(const char *path, int error) {
        const char *advice;

        switch (error) {
        case ENOENT:
        case ECONNREFUSED:
                advice = "The service does not run on this host: start pinlease.socket.";
                break;
        case EACCES:
        case EPERM:
                advice = "Only members of the group that owns the socket may use the service: add this user to it.";
                break;
        case EMFILE:
                advice = "This process has no file descriptor left (RLIMIT_NOFILE).";
                break;
        default:
                advice = "Nothing was registered.";
        }

        return pl_refuse(0, PINLEASE_CODE_NO_SERVICE, error, "Cannot connect to the pinlease service at %s: %m. %s",
                         path, advice);
}

static int connect_socket(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd, r;

        if (strlen(path) >= sizeof address.sun_path)
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, strlen(path));

        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -errno;

        /* A connection of this kind is made or it is not: an interrupted attempt is simply made again. */
        do
                r = connect(fd, (const struct sockaddr *)&address, sizeof address);
        while (r < 0 && errno == EINTR);
        if (r < 0) {
                r = -errno;
                close(fd);
                return r;
        }
        return fd;
}

static int open_poll_fds(struct pinlease *p) {
        struct epoll_event readable = { .events = EPOLLIN };

        p->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (p->event_fd < 0)
                return -errno;
        p->poll_fd = epoll_create1(EPOLL_CLOEXEC);
        if (p->poll_fd < 0)
                return -errno;
        if (epoll_ctl(p->poll_fd, EPOLL_CTL_ADD, p->event_fd, &readable) < 0 ||
            epoll_ctl(p->poll_fd, EPOLL_CTL_ADD, p->sock, &readable) < 0)
                return -errno;
        return 0;
}

int pl_session_open(const char *path, struct pinlease **ret_p) {
        struct pinlease *p;
        int r;

        p = calloc(1, sizeof *p);
        if (!p)
                return refuse_connect(path, ENOMEM);

        p->pid = getpid();
        p->sock = p->poll_fd = p->event_fd = -1;
        atomic_init(&p->references, 1);
        atomic_init(&p->closed, false);
        (void)pthread_mutex_init(&p->io, NULL);
        (void)pthread_mutex_init(&p->state, NULL);

        r = p->sock = connect_socket(path);
        if (r >= 0)
                r = open_poll_fds(p);
        if (r < 0) {
                pl_session_unref(p);
                return refuse_connect(path, -r);
        }

        *ret_p = p;
        return 0;
}

struct pinlease *pl_session_unref(struct pinlease *p) {
        if (!p || atomic_fetch_sub(&p->references, 1) > 1)
                return NULL;

        /* In a forked child only its copies are closed, and nothing that is shared with the parent is changed: no
         * shutdown, no EPOLL_CTL_DEL, no pthread_mutex_destroy() of a lock that another thread may have held. */
        pl_close(p->sock);
        pl_close(p->poll_fd);
        pl_close(p->event_fd);

        for (struct pl_context *next, *c = p->contexts; c; c = next) {
                next = c->next;
                free(c);
        }
        pl_events_free(p);
        free(p->buckets);
        free(p);
        return NULL;
}

int pl_session_check_owner(const struct pinlease *p) {
        if (p->pid == getpid())
                return 0;
        return pl_refuse(p->serial, PINLEASE_CODE_FORKED, EOWNERDEAD,
                         "The session belongs to process %d, of which this process is a fork. Memory registrations do "
                         "not follow a fork: connect a session of its own in this process.",
                         (int)p->pid);
}

int pl_session_refuse_ended(const struct pinlease *p) {
        return pl_refuse(p->serial, PINLEASE_CODE_DISCONNECTED, ECONNRESET,
                         "The session with the pinlease service has ended, and every registration with it. %s",
                         p->why_ended);
}

int pl_session_enter(struct pinlease *p) {
        int r;

        r = pl_session_check_owner(p);
        if (r < 0)
                return r;

        (void)pthread_mutex_lock(&p->io);
        /* Only the holder of `io` ends a session: no need for `state` to read these. */
        if (!p->ended)
                return 0;

        r = pl_session_refuse_ended(p);
        (void)pthread_mutex_unlock(&p->io);
        return r;
}

void pl_session_leave(struct pinlease *p) {
        (void)pthread_mutex_unlock(&p->io);
}

/* Ends the session once. The last thing that is read or written on the socket was before. */
static void end(struct pinlease *p, const char *format, ...) _printf_(2, 3);
static void end(struct pinlease *p, const char *format, ...) {
        int saved = errno; /* for "%m" */
        va_list ap;

        /* Told at once, even while a forked child has a copy of the socket. From here on the socket would poll readable
         * for ever, so it leaves the poll set and event_fd speaks for it. */
        (void)shutdown(p->sock, SHUT_RDWR);
        (void)epoll_ctl(p->poll_fd, EPOLL_CTL_DEL, p->sock, NULL);

        (void)pthread_mutex_lock(&p->state);
        va_start(ap, format);
        errno = saved;
        (void)vsnprintf(p->why_ended, sizeof p->why_ended, format, ap);
        va_end(ap);
        p->ended = true;
        pl_events_wake(p);
        (void)pthread_mutex_unlock(&p->state);
}

int pl_session_protocol_error(struct pinlease *p, enum pinlease_code code, const char *what) {
        end(p,
            "The pinlease service has sent what this library does not understand (%s); library and service may be of "
            "different versions.",
            what);
        return pl_refuse(p->serial, code, code == PINLEASE_CODE_BAD_VERSION ? EPROTONOSUPPORT : EPROTO, "%s",
                         p->why_ended);
}

static int end_of_connection(struct pinlease *p, int error) {
        errno = error;
        if (error != ECONNRESET)
                end(p, "The connection failed: %m.");
        else if (p->last_words[0])
                end(p, "The service has closed the session, and said before: %s", p->last_words);
        else
                end(p, "The service has closed the session: its log says why (journalctl -u pinlease).");

        return pl_refuse(p->serial, PINLEASE_CODE_DISCONNECTED, ECONNRESET, "%s", p->why_ended);
}

static void on_revoked(struct pinlease *p, const struct pl_revoked *event) {
        struct pl_registration *reg = pl_registry_find(p, event->id);

        if (!reg || reg->revoked)
                return;
        reg->revoked = true;
        reg->settles = p->features & PL_FEATURE_GUARDS && event->reason == PL_REVOKED_LAYOUT_CHANGE;
        pl_events_revoked(p, reg, event);
}

static void on_settled(struct pinlease *p, const struct pl_settled *event) {
        struct pl_registration *reg = pl_registry_find(p, event->id);

        if (!reg || !reg->settles)
                return;
        reg->settles = false;
        if (reg->released)
                pl_registry_unlink(p, reg);
        pl_events_settled(p, reg, event);
}

/* It is about a file, of which there may be several registrations; which of them it names does not matter. */
static void on_notice(struct pinlease *p, const struct pl_notice *event) {
        struct pl_registration *reg = pl_registry_find(p, event->id), *live = NULL;

        if (!reg)
                return;
        for (struct pl_registration *other = p->registrations; other; other = other->next)
                if (!other->revoked && other->device == reg->device && other->inode == reg->inode) {
                        /* Another thread may be looking. */
                        __atomic_store_n(&other->public.guards, event->guards, __ATOMIC_RELAXED);
                        if (!live || other == reg)
                                live = other;
                }
        if (live && event->kind >= PL_NOTICE_UNLINKED && event->kind <= PL_NOTICE_CHANGED)
                pl_events_notice(p, live, event);
}

/* Takes an event. Returns false if the packet is none. */
static bool take_event(struct pinlease *p, const struct pl_packet *packet) {
        struct pl_registration *reg;

        switch (packet->header.opcode) {
        case PL_OP_GOING_AWAY:
                memcpy(p->last_words, packet->body.going_away.sentence, sizeof p->last_words);
                pl_events_going_away(p, &packet->body.going_away);
                return true;
        case PL_OP_REVOKING:
                /* Of one that has been deregistered meanwhile nobody wants to hear. */
                reg = pl_registry_find(p, packet->body.revoking.id);
                if (reg && !reg->revoked)
                        pl_events_revoking(p, reg, &packet->body.revoking);
                return true;
        case PL_OP_REVOKED:
                on_revoked(p, &packet->body.revoked);
                return true;
        case PL_OP_SETTLED:
                on_settled(p, &packet->body.settled);
                return true;
        case PL_OP_NOTICE:
                on_notice(p, &packet->body.notice);
                return true;
        default:
                return false;
        }
}

/*
 * Receives until there is something other than an event: the answer to `seq`. Returns 0 with a positive answer, the
 * errno of a refusal, or, without MSG_DONTWAIT never, -EAGAIN. seq and opcode are 0 if no answer is expected.
 */
static int await(struct pinlease *p, int flags, uint32_t seq, uint16_t opcode, struct pl_received *received) {
        for (;;) {
                const struct pl_packet *packet = &received->packet;
                const struct pl_refused *refused = &packet->body.refused;
                enum pinlease_code code;
                int r;

                r = pl_wire_recv_last(p->sock, flags, received);
                if (r == -EAGAIN)
                        return r;
                if (r < 0)
                        return end_of_connection(p, -r);

                /* The service has no descriptor to give us; whatever came is closed. */
                for (unsigned int i = 0; i < received->n_fds; i++)
                        pl_close(received->fds[i]);

                if (received->truncated)
                        code = PINLEASE_CODE_BAD_LENGTH;
                else if (received->fds_lost)
                        code = PINLEASE_CODE_BAD_FD_COUNT;
                else
                        code = pl_packet_check(packet, received->size, received->n_fds, PL_FROM_SESSION);
                if (code != PINLEASE_CODE_NONE)
                        return pl_session_protocol_error(p, code, pl_code_name(code));

                if (take_event(p, packet)) {
                        if (flags & MSG_DONTWAIT)
                                return 0;
                        continue;
                }

                if (packet->header.opcode == PL_OP_REFUSED) {
                        if (refused->code == PINLEASE_CODE_NONE || refused->error <= 0 || refused->error > 4095)
                                return pl_session_protocol_error(p, PINLEASE_CODE_BAD_FLAGS,
                                                                 "a refusal without a reason");

                        /* Not of one request but of the session as such. Only pinlease_connect() returns the errno as
                         * it is: of a request it would mean that the session goes on, and a registration stays. */
                        if (packet->header.seq == 0) {
                                end(p, "%s", refused->sentence);
                                return p->serial == 0 ? pl_refuse_as_told(p->serial, refused)
                                                      : pl_session_refuse_ended(p);
                        }
                        if (packet->header.seq == seq && refused->opcode == opcode)
                                return pl_refuse_as_told(p->serial, refused);
                } else if (packet->header.seq == seq && packet->header.opcode == (PL_OP_REPLY | opcode))
                        return 0;

                return pl_session_protocol_error(p, PINLEASE_CODE_BAD_ORDER, "an answer that nothing was asked for");
        }
}

int pl_session_send(struct pinlease *p, struct pl_packet *request, int fd) {
        int r;

        if (++p->seq == 0)
                p->seq = 1;
        request->header.seq = p->seq;

        r = pl_wire_send(p->sock, 0, request, fd);
        if (r < 0 && r != -ECONNRESET) {
                /* Nothing has gone out, the session is as it was: too many descriptors in flight, or this one is not
                 * open (any more). */
                enum pinlease_code code = r == -EBADF ? PINLEASE_CODE_NOT_OPEN : PINLEASE_CODE_NO_RESOURCES;

                return pl_refuse(p->serial, code, -r,
                                 "The request (%s) could not be sent to the pinlease service: %m. Nothing was changed.",
                                 pl_opcode_name(request->header.opcode));
        }
        /* Also when the other side has hung up: it may have said why. */
        return 0;
}

int pl_session_await(struct pinlease *p, const struct pl_header *request, struct pl_packet *ret_packet) {
        struct pl_received received;
        int r;

        r = await(p, 0, request->seq, request->opcode, &received);
        if (r < 0)
                return r;

        *ret_packet = received.packet;
        return 0;
}

int pl_session_call(struct pinlease *p, struct pl_packet *request, int fd, struct pl_packet *ret_packet) {
        int r = pl_session_send(p, request, fd);

        return r < 0 ? r : pl_session_await(p, &request->header, ret_packet);
}

void pl_session_drain(struct pinlease *p) {
        struct pl_received received;

        /* No more than the queue holds, and not for ever: the rest stays in the socket, which goes on polling readable. Without
         * a request under way everything but an event ends the session. */
        for (unsigned int i = 0; i < DRAIN_MAX && !p->ended && !pl_events_full(p); i++)
                if (await(p, MSG_DONTWAIT, 0, 0, &received) < 0)
                        break;
}
