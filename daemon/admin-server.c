/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "admin-server.h"

#include <grp.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "log.h"
#include "peer.h"
#include "admin.h"
#include "supervisor.h"
#include "timer.h"
#include "util.h"

/* How long a connection's calls are worked on before somebody else's turn comes, and then how long they rest: registrars are of
 * the same control group and share its processor time, and a list can be long, and asked for without end. */
#define TURN_US 2000
#define REST_MS 2

struct admin_connection {
        struct admin *admin;
        struct admin_connection *next;
        int fd;
        sd_event_source *io, *timer, *rest;
        uint64_t worked_us; /* since the last rest */
        bool resting;
        struct admin_call call;
        char *unsent; /* a packet for which there was no room */
        size_t unsent_size;
        bool closing; /* when that is through */
};

static void connection_free(struct admin_connection *c) {
        struct admin_connection **p = &c->admin->connections;

        while (*p != c)
                p = &(*p)->next;
        *p = c->next;
        c->admin->n_connections--;
        admin_call_end(&c->call);
        sd_event_source_disable_unref(c->io);
        sd_event_source_disable_unref(c->timer);
        sd_event_source_disable_unref(c->rest);
        disposal_close(&c->admin->supervisor->disposal, c->fd);
        free(c->unsent);
        free(c);
}

/* Returns 0, -EAGAIN: there was no room, it is kept; or a negative errno. */
static int send_unsent(struct admin_connection *c) {
        ssize_t n;

        do
                n = send(c->fd, c->unsent, c->unsent_size, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        free(c->unsent);
        c->unsent = NULL;
        return 0;
}

/* Takes the object over. */
static int send_object(struct admin_connection *c, enum pl_admin_opcode opcode, uint32_t seq, struct json_object *object) {
        struct pl_header header = { .magic = PL_MAGIC, .version = PL_VERSION, .opcode = (uint16_t)opcode, .seq = seq };
        const char *text;
        size_t length;
        int r;

        if (!object)
                return -ENOMEM;
        text = json_object_to_json_string_length(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &length);
        if (!text || length > PL_ADMIN_MAX_PACKET - sizeof header) {
                json_object_put(object);
                return text ? -EMSGSIZE : -ENOMEM;
        }

        c->unsent_size = sizeof header + length;
        c->unsent = malloc(c->unsent_size);
        if (!c->unsent) {
                json_object_put(object);
                return -ENOMEM;
        }
        header.length = (uint32_t)c->unsent_size;
        memcpy(c->unsent, &header, sizeof header);
        memcpy(c->unsent + sizeof header, text, length);
        json_object_put(object);

        r = send_unsent(c);
        return r == -EAGAIN ? 0 : r;
}

/* Waits for what comes next: room to send, the next call, or only the end of the connection. */
static int await(struct admin_connection *c, bool more) {
        uint32_t events = 0;

        if (c->resting)
                events = 0;
        else if (c->unsent || more)
                events = EPOLLOUT;
        else if (c->call.method == ADMIN_NONE)
                events = EPOLLIN;
        return sd_event_source_set_io_events(c->io, events | EPOLLRDHUP);
}

static int on_rested(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        struct admin_connection *c = userdata;

        c->resting = false;
        c->worked_us = 0;
        return await(c, c->call.method != ADMIN_NONE);
}

static int on_deadline(sd_event_source *source, uint64_t usec, void *userdata);

/* Takes steps until the call is over, has to wait (*ret_wait), or has had its turn. */
static int take_steps(struct admin_connection *c, bool *ret_wait) {
        uint64_t begun = pl_now_us();

        while (c->call.method != ADMIN_NONE && !c->unsent && c->worked_us < TURN_US) {
                struct json_object *object = NULL;
                uint32_t seq = c->call.seq;
                uint64_t now;
                int r = 0;

                switch (admin_call_step(&c->call, &object)) {
                case ADMIN_STEP_ITEM:
                        r = send_object(c, PL_ADMIN_ITEM, seq, object);
                        break;
                case ADMIN_STEP_END:
                        admin_call_end(&c->call);
                        c->timer = sd_event_source_disable_unref(c->timer);
                        r = send_object(c, PL_ADMIN_END, seq, object);
                        break;
                case ADMIN_STEP_WAIT:
                        *ret_wait = true;
                        return 0;
                default:
                        break;
                }
                if (r < 0)
                        return r;
                now = pl_now_us();
                c->worked_us += now - begun;
                begun = now;
        }
        return 0;
}

static int work(struct admin_connection *c) {
        sd_event *event = c->admin->supervisor->event;
        bool wait = false;
        int r;

        if (c->resting)
                return 0;
        r = take_steps(c, &wait);
        if (r < 0)
                return r;
        if (wait && c->call.deadline_ms && !c->timer) {
                r = sd_event_add_time(event, &c->timer, CLOCK_MONOTONIC, c->call.deadline_ms * 1000, 0, on_deadline, c);
                if (r < 0)
                        return r;
        }
        if (c->worked_us >= TURN_US) {
                r = timer_start(event, &c->rest, REST_MS, on_rested, c);
                if (r < 0)
                        return r;
                c->resting = true;
        }
        return await(c, c->call.method != ADMIN_NONE && !wait);
}

static void work_or_free(struct admin_connection *c) {
        int r = work(c);

        if (r < 0) {
                if (r != -EPIPE && r != -ECONNRESET)
                        log_line(LOG_WARNING, "cannot answer an administrator: %s", strerror(-r));
                connection_free(c);
        }
}

static int on_deadline(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        work_or_free(userdata);
        return 0;
}

/* What cannot be understood ends the connection, when it has been said. */
static int refuse_call(struct admin_connection *c, uint32_t seq, const char *sentence) {
        int r = send_object(c, PL_ADMIN_END, seq, admin_error("bad-call", "%s", sentence));

        c->closing = true;
        if (r == 0 && c->unsent)
                return sd_event_source_set_io_events(c->io, EPOLLOUT | EPOLLRDHUP);
        return r < 0 ? r : -ECONNRESET;
}

static int receive(struct admin_connection *c) {
        static struct pl_admin_packet packet; /* one at a time, in one thread */
        const struct pl_header *header = &packet.header;
        ssize_t n;

        /* No room for descriptors: the kernel drops what comes with it. */
        n = recv(c->fd, &packet, sizeof packet, MSG_DONTWAIT | MSG_TRUNC);
        if (n < 0)
                return errno == EAGAIN || errno == EINTR ? 0 : -errno;
        if (n == 0)
                return -ECONNRESET;
        if ((size_t)n < sizeof *header || (size_t)n > sizeof packet || header->magic != PL_MAGIC ||
            header->version != PL_VERSION || header->opcode != PL_ADMIN_CALL || header->flags || header->reserved ||
            header->seq == 0 || header->length != (size_t)n)
                return refuse_call(c, 0, "The packet is not a call of this version of the protocol, see doc/ADMIN.md.");

        admin_call_begin(&c->call,
                         c->admin->supervisor,
                         ++c->admin->last_cookie,
                         header->seq,
                         packet.body,
                         (size_t)n - sizeof *header);
        return work(c);
}

static int on_io(sd_event_source *source _unused_, int fd _unused_, uint32_t revents, void *userdata) {
        struct admin_connection *c = userdata;
        int r = 0;

        if (revents & EPOLLOUT) {
                if (c->unsent)
                        r = send_unsent(c);
                if (r == 0)
                        r = c->closing ? -ECONNRESET : work(c);
        } else if (revents & EPOLLIN)
                r = receive(c);
        else if (revents & (EPOLLHUP | EPOLLRDHUP | EPOLLERR))
                r = -ECONNRESET;
        if (r < 0 && r != -EAGAIN)
                connection_free(c);
        return 0;
}

/* --- who may --- */

static bool in_group(int fd, gid_t group) {
        gid_t groups[1024];
        socklen_t size = sizeof groups;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0)
                return false;
        for (size_t i = 0; i < size / sizeof groups[0]; i++)
                if (groups[i] == group)
                        return true;
        return false;
}

static bool may_ask(const struct admin *admin, int fd, const struct peer *peer) {
        if (peer->uid == 0)
                return true;
        return admin->group != (gid_t)-1 && (peer->gid == admin->group || in_group(fd, admin->group));
}

/* Says no, and closes; nothing has been read, so whatever is in flight goes with it. */
static void turn_away(struct admin *admin, int fd, const char *code, const char *sentence) {
        struct admin_connection c = { .admin = admin, .fd = fd };

        (void)send_object(&c, PL_ADMIN_END, 0, admin_error(code, "%s", sentence));
        free(c.unsent);
        disposal_close(&admin->supervisor->disposal, fd);
}

static int add_connection(struct admin *admin, int fd) {
        struct admin_connection *c = malloc(sizeof *c);
        int r;

        if (!c) {
                disposal_close(&admin->supervisor->disposal, fd);
                return -ENOMEM;
        }
        *c = (struct admin_connection) { .admin = admin, .next = admin->connections, .fd = fd };
        admin->connections = c;
        admin->n_connections++;
        r = sd_event_add_io(admin->supervisor->event, &c->io, fd, EPOLLIN | EPOLLRDHUP, on_io, c);
        /* An answer that is long is always ready to go on: in turn with new connections, and after what sessions want. */
        if (r >= 0)
                r = sd_event_source_set_priority(c->io, SD_EVENT_PRIORITY_IDLE);
        if (r < 0)
                connection_free(c);
        return r;
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents _unused_, void *userdata) {
        _cleanup_(peer_done) struct peer peer = { .pidfd = -1 };
        struct admin *admin = userdata;
        int client, r;

        client = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (client < 0) {
                if (pause_is_for(errno))
                        pause_listening(&admin->pause, source, errno);
                return 0;
        }
        r = peer_get(client, &peer);
        if (r < 0)
                disposal_close(&admin->supervisor->disposal, client);
        else if (!may_ask(admin, client, &peer)) {
                log_subject_event(&(const struct log_subject) { 0, peer.pid, peer.uid, NULL },
                                  LOG_NOTICE,
                                  EVENT_TURNED_AWAY,
                                  "may not administer the service");
                turn_away(admin,
                          client,
                          "not-permitted",
                          "Only root, and members of the group named by pinleased --admin-group, may administer the service.");
        } else if (admin->n_connections >= ADMIN_MAX_CONNECTIONS)
                turn_away(admin, client, "busy", "Too many administrators are connected. Try again later.");
        else {
                r = add_connection(admin, client);
                if (r < 0)
                        log_line(LOG_ERR, "cannot serve an administrator: %s", strerror(-r));
        }
        return 0;
}

/* --- for the supervisor --- */

void admin_init(struct admin *admin, struct supervisor *supervisor) {
        /* Keepers may still report what a former pinleased has asked for: its cookies are not used again. */
        *admin = (struct admin) { .supervisor = supervisor, .last_cookie = pl_now_ms() << 20 };
        admin_reload(admin);
}

void admin_done(struct admin *admin) {
        while (admin->connections)
                connection_free(admin->connections);
        pause_end(&admin->pause);
        admin->listener = sd_event_source_disable_unref(admin->listener);
}

int admin_listen(struct admin *admin, int fd) {
        int r;

        r = sd_event_add_io(admin->supervisor->event, &admin->listener, fd, EPOLLIN, on_connection, admin);
        /* Not before apps: see sessions.c. */
        return r < 0 ? r : sd_event_source_set_priority(admin->listener, SD_EVENT_PRIORITY_IDLE);
}

void admin_reload(struct admin *admin) {
        const char *name = admin->supervisor->config.admin_group;
        const struct group *group = name ? getgrnam(name) : NULL;

        admin->group = group ? group->gr_gid : (gid_t)-1;
        if (name && !group)
                log_line(LOG_WARNING, "there is no group \"%s\": only root may administer the service", name);
}

void admin_revoked(struct admin *admin, const struct session *session, const struct control_message *message) {
        for (struct admin_connection *c = admin->connections, *next; c; c = next) {
                next = c->next;
                if (admin_call_revoked(&c->call, session, message))
                        work_or_free(c);
        }
}

void admin_session_ended(struct admin *admin, const struct session *session) {
        struct ledger_reader reader;
        struct stats_totals totals;

        if (session->ledger >= 0 && ledger_reader_init(&reader, session->ledger) == 0 &&
            ledger_reader_stats(&reader, &totals) == 0) {
                stats_totals_end(&totals);
                stats_totals_add(&admin->ended, &totals);
                for (struct admin_connection *c = admin->connections; c; c = c->next)
                        admin_call_add_ended(&c->call, session, &totals);
        }

        for (struct admin_connection *c = admin->connections, *next; c; c = next) {
                next = c->next;
                if (admin_call_session_ended(&c->call, session))
                        work_or_free(c);
        }
}

void admin_drained(struct admin *admin, unsigned int left) {
        for (struct admin_connection *c = admin->connections, *next; c; c = next) {
                next = c->next;
                if (admin_call_drained(&c->call, left))
                        work_or_free(c);
        }
}
