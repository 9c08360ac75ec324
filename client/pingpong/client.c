/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pingpong.h"

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Few and small buffers that are used in turn: this side pins little, so that an ordinary memlock limit will do. */
#define SLOTS      4U
#define SLOT_SIZE  (UINT32_C(512) << 10)
#define TIMEOUT_MS 60000

struct buffers {
        uint8_t slots[SLOTS][SLOT_SIZE];
        struct message received[2]; /* in turn */
        struct message question, stopped;
};

struct client {
        const struct options *options;
        struct rdma_event_channel *events;
        struct connection connection;
        struct ibv_pd *pd;
        struct buffers *buffers;
        struct ibv_mr *mr;
        uint32_t chunk; /* bytes of one work request */

        struct offer offer; /* in this host's byte order */
        uint64_t rounds, bytes;

        unsigned int received;
        struct message answer;
        bool answered;
        bool stop; /* the server has asked us to; until it says GO */
};

static volatile sig_atomic_t interrupted;

static void on_signal(int signal) {
        (void)signal;
        interrupted = 1;
}

/* Waits for one event of the connection manager, which must be the expected one. *ret_offer may be filled from it. */
static int await_event(struct client *c, enum rdma_cm_event_type expected, struct offer *ret_offer) {
        struct rdma_cm_event *event;
        int r = 0;

        if (rdma_get_cm_event(c->events, &event) < 0) {
                warn("rdma_get_cm_event");
                return -1;
        }

        if (event->event != expected) {
                /* The status of a rejection is a reason of the connection manager's own, else it is an errno. */
                if (event->event == RDMA_CM_EVENT_REJECTED)
                        warnx("the server is not there, is busy with another client, or has nothing registered");
                else
                        warnx("%s%s%s", rdma_event_str(event->event), event->status ? ": " : "",
                              event->status ? strerror(abs(event->status)) : "");
                r = -1;
        } else if (ret_offer) {
                if (event->param.conn.private_data_len < sizeof *ret_offer) {
                        warnx("the server is none of ours: it offers no memory");
                        r = -1;
                } else
                        memcpy(ret_offer, event->param.conn.private_data, sizeof *ret_offer);
        }

        (void)rdma_ack_cm_event(event);
        return r;
}

static int resolve(struct client *c, struct rdma_cm_id **ret_id) {
        struct sockaddr_storage server, source;
        struct rdma_cm_id *id;

        if (address_resolve(c->options->address, c->options->port, false, &server) < 0 ||
            (c->options->source && address_resolve(c->options->source, NULL, false, &source) < 0))
                return -1;

        if (rdma_create_id(c->events, &id, NULL, RDMA_PS_TCP) < 0) {
                warn("rdma_create_id");
                return -1;
        }
        if (rdma_resolve_addr(id, c->options->source ? (struct sockaddr *)&source : NULL, (struct sockaddr *)&server,
                              2000) < 0) {
                warn("%s: no RDMA device leads there: rdma_resolve_addr", c->options->address);
                goto fail;
        }
        if (await_event(c, RDMA_CM_EVENT_ADDR_RESOLVED, NULL) < 0)
                goto fail;
        if (rdma_resolve_route(id, 2000) < 0) {
                warn("rdma_resolve_route");
                goto fail;
        }
        if (await_event(c, RDMA_CM_EVENT_ROUTE_RESOLVED, NULL) < 0)
                goto fail;

        *ret_id = id;
        return 0;

fail:
        (void)rdma_destroy_id(id);
        return -1;
}

/* Our own side is plain verbs: it is the server whose memory is registered through pinlease. */
static int allocate(struct client *c, struct rdma_cm_id *id) {
        struct ibv_port_attr port;

        errno = ibv_query_port(id->verbs, id->port_num, &port);
        if (errno != 0) {
                warn("ibv_query_port");
                return -1;
        }
        c->chunk = port.max_msg_sz < SLOT_SIZE ? port.max_msg_sz : SLOT_SIZE;

        c->pd = ibv_alloc_pd(id->verbs);
        c->buffers = aligned_alloc(4096, (sizeof *c->buffers + 4095) / 4096 * 4096);
        if (!c->pd || !c->buffers) {
                warn("ibv_alloc_pd");
                return -1;
        }
        c->mr = ibv_reg_mr(c->pd, c->buffers, sizeof *c->buffers, IBV_ACCESS_LOCAL_WRITE);
        if (!c->mr) {
                warn("ibv_reg_mr of %zu bytes (see ulimit -l)", sizeof *c->buffers);
                return -1;
        }
        return 0;
}

static int expect_message(struct client *c, unsigned int which) {
        return connection_post_recv(&c->connection, (uintptr_t)&c->buffers->received[which], sizeof(struct message),
                                    c->mr->lkey);
}

static int connect_to_server(struct client *c) {
        struct rdma_conn_param param = {
                .responder_resources = 1,
                .initiator_depth = SLOTS,
                .retry_count = 7,
                .rnr_retry_count = 7,
        };
        struct rdma_cm_id *id;
        struct offer offer;

        c->events = rdma_create_event_channel();
        if (!c->events) {
                warn("rdma_create_event_channel: is there an RDMA device, and rdma_ucm loaded?");
                return -1;
        }
        if (resolve(c, &id) < 0)
                return -1;
        c->connection.id = id; /* from here on connection_close() frees it */

        if (allocate(c, id) < 0 || connection_open(&c->connection, id, c->pd) < 0 ||
            expect_message(c, 0) < 0 || expect_message(c, 1) < 0 || connection_limits(id->verbs, &param) < 0)
                return -1;
        if (rdma_connect(id, &param) < 0) {
                warn("rdma_connect");
                return -1;
        }
        if (await_event(c, RDMA_CM_EVENT_ESTABLISHED, &offer) < 0)
                return -1;
        c->connection.established = true;

        c->offer = (struct offer) {
                .magic = be32toh(offer.magic),
                .flags = be32toh(offer.flags),
                .iova = be64toh(offer.iova),
                .length = be64toh(offer.length),
                .rkey = be32toh(offer.rkey),
        };
        if (c->offer.magic != OFFER_MAGIC || c->offer.length == 0) {
                warnx("the server is none of ours: it offers no memory");
                return -1;
        }
        return 0;
}

/* Waits for the next completion, and for bad news. */
static int await_completion(struct client *c, struct ibv_wc *ret_wc) {
        double deadline = clock_now() + TIMEOUT_MS / 1000.0;

        for (;;) {
                struct pollfd fds[] = {
                        { .fd = c->connection.channel->fd, .events = POLLIN },
                        { .fd = c->events->fd, .events = POLLIN },
                };
                int r;

                r = connection_poll(&c->connection, ret_wc);
                if (r != 0)
                        return r;
                if (clock_now() > deadline) {
                        warnx("nothing has completed within %d s", TIMEOUT_MS / 1000);
                        return -1;
                }

                r = poll(fds, 2, 1000);
                if (r < 0 && errno != EINTR) {
                        warn("poll");
                        return -1;
                }
                if (r > 0 && fds[0].revents)
                        connection_notified(&c->connection);
                else if (r > 0 && fds[1].revents) {
                        warnx("the server has ended the connection");
                        return -1;
                }
        }
}

/* Takes in what the server has sent. */
static int on_message(struct client *c) {
        unsigned int which = c->received++ % 2;
        struct message message = message_swap(c->buffers->received[which]);

        switch (message.kind) {
        case MESSAGE_ANSWER:
                c->answer = message;
                c->answered = true;
                break;
        case MESSAGE_STOP:
                c->stop = true;
                break;
        case MESSAGE_GO:
                c->offer.iova = message.offset;
                c->offer.length = message.length;
                c->offer.rkey = message.rkey;
                c->stop = false;
                break;
        default:
                warnx("the server has sent something that is not for a client");
                return -1;
        }
        return expect_message(c, which);
}

/* Waits until something has happened: a message, or one of our own work requests has completed, which *ret_own tells. */
static int advance(struct client *c, bool *ret_own) {
        struct ibv_wc wc;

        if (await_completion(c, &wc) < 0)
                return -1;
        *ret_own = wc.opcode != IBV_WC_RECV;
        return *ret_own ? 0 : on_message(c);
}

/* What is under way when the server asks us to stop is finished, nothing more is begun: then what it interrupts returns this,
 * and is begun anew when the server says GO. */
#define STOPPED 1

/*
 * Writes the pattern to the server's memory, or reads it back and compares; piece by piece, some of them in flight at a
 * time. Work requests of one queue pair complete in order: so the slots are used and come free in turn.
 * With a digest, reads what is there and digests it.
 */
static int transfer(struct client *c, bool write, uint64_t offset, uint64_t size, uint64_t seed, uint64_t *digest) {
        uint64_t posted = 0, done = 0;

        for (unsigned int next = 0, oldest = 0; done < size;) {
                uint32_t length;
                uint8_t *slot;
                bool own;

                if (posted < size && next - oldest < SLOTS && !c->stop) {
                        slot = c->buffers->slots[next++ % SLOTS];
                        length = size - posted < c->chunk ? (uint32_t)(size - posted) : c->chunk;
                        if (write)
                                pattern_fill(slot, length, seed, posted);
                        if (connection_post_send(&c->connection, write ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_READ,
                                                 (uintptr_t)slot, length, c->mr->lkey, c->offer.iova + offset + posted,
                                                 c->offer.rkey) < 0)
                                return -1;
                        posted += length;
                        continue;
                }
                if (posted == done)
                        return STOPPED;

                if (advance(c, &own) < 0)
                        return -1;
                if (!own)
                        continue;
                slot = c->buffers->slots[oldest++ % SLOTS];
                length = size - done < c->chunk ? (uint32_t)(size - done) : c->chunk;
                if (digest)
                        *digest = pattern_digest(*digest, slot, length);
                else if (!write) {
                        size_t equal = pattern_compare(slot, length, seed, done);

                        if (equal < length) {
                                warnx("DIFFERENT: byte %" PRIu64 " of the memory came back as 0x%02x, of %" PRIu64
                                      " bytes written at %" PRIu64 " with seed %" PRIu64,
                                      offset + done + equal, slot[equal], size, offset, c->options->seed);
                                return -1;
                        }
                }
                done += length;
        }
        return 0;
}

static int send_message(struct client *c, struct message *place, struct message message) {
        *place = message_swap(message);
        return connection_post_send(&c->connection, IBV_WR_SEND, (uintptr_t)place, sizeof *place, c->mr->lkey, 0, 0);
}

/* Lets the server's CPU look at its own mapping. */
static int ask(struct client *c, uint64_t offset, uint64_t size, uint64_t value) {
        const struct message question = { .kind = MESSAGE_QUESTION, .offset = offset, .length = size, .value = value };

        if (c->stop)
                return STOPPED;
        c->answered = false;
        if (send_message(c, &c->buffers->question, question) < 0)
                return -1;

        /* The completion and the answer, which may come first. */
        for (bool sent = false, own; !sent || !c->answered; sent |= own)
                if (advance(c, &own) < 0)
                        return -1;
        if (c->answer.value == 1)
                return 0;

        warnx("DIFFERENT: the server finds %" PRIu64 " of %" PRIu64 " bytes at %" PRIu64 " equal, with seed %" PRIu64,
              c->answer.length, size, offset, c->options->seed);
        return -1;
}

/* The server's memory is being asked back: nothing of ours is under way, and it may let go. */
static int stop_and_go(struct client *c) {
        double start = clock_now();
        char text[64];

        printf("asked to stop after %" PRIu64 " rounds\n", c->rounds);
        if (send_message(c, &c->buffers->stopped, (struct message) { .kind = MESSAGE_STOPPED }) < 0)
                return -1;
        for (bool sent = false, own; !sent || c->stop; sent |= own)
                if (advance(c, &own) < 0)
                        return -1;
        printf("going on with %s, rkey 0x%" PRIx32 ", on the same connection, after %.2f s\n",
               size_format(c->offer.length, text, sizeof text), c->offer.rkey, clock_now() - start);
        return 0;
}

static int round_at(struct client *c, uint64_t offset, uint64_t size, bool print) {
        /* Of its own for every round: what an earlier one has left in the memory is wrong now. */
        uint64_t seed = pattern_mix(c->options->seed, c->rounds), digest = DIGEST_START;
        bool read_only = c->offer.flags & OFFER_READ_ONLY;
        double start = clock_now();
        char text[64];
        int r;

        r = transfer(c, !read_only, offset, size, seed, read_only ? &digest : NULL);
        if (r == 0 && !read_only)
                r = transfer(c, false, offset, size, seed, NULL);
        if (r == 0)
                r = ask(c, offset, size, read_only ? digest : seed);
        if (r != 0)
                return r;

        c->rounds++;
        c->bytes += size;
        if (print)
                printf("%s%s: %s, %" PRIu64 " byte%s equal at both ends (%.2f s)\n",
                       size_format(size, text, sizeof text), offset ? " at an odd offset" : "",
                       read_only ? "read" : "written, read back", size, size == 1 ? "" : "s", clock_now() - start);
        return 0;
}

/* At the beginning, and, if there is room, at some odd offset. */
static int rounds_of(struct client *c, uint64_t size, bool print) {
        uint64_t room = c->offer.length - size, offset;
        int r;

        r = round_at(c, 0, size, print);
        if (r != 0 || room == 0 || c->options->aligned)
                return r;
        offset = pattern_mix(~c->options->seed, c->rounds) % room;
        return round_at(c, offset % 2 == 1 ? offset : offset + 1, size, print);
}

/* The memory may become smaller in the midst of it. */
static int size_or_less(struct client *c, uint64_t size, bool print) {
        char text[2][64];
        int r = STOPPED;

        while (r == STOPPED) {
                if (size > c->offer.length) {
                        if (print)
                                printf("%s: left out, the server offers %s\n", size_format(size, text[0], sizeof text[0]),
                                       size_format(c->offer.length, text[1], sizeof text[1]));
                        return 0;
                }
                r = rounds_of(c, size, print);
                if (r == STOPPED && stop_and_go(c) < 0)
                        r = -1;
        }
        return r;
}

static int all_loops(struct client *c) {
        const struct options *o = c->options;
        double end = clock_now() + (double)o->duration;

        for (uint64_t loop = 0; !interrupted && (o->loops == 0 || loop < o->loops); loop++) {
                uint64_t before = c->rounds;

                for (size_t i = 0; i < o->n_sizes && !interrupted; i++) {
                        if (o->duration > 0 && clock_now() > end)
                                return 0;
                        if (size_or_less(c, o->sizes[i], loop == 0 || o->chatter) < 0)
                                return -1;
                }
                if (c->rounds == before && !interrupted) {
                        warnx("no size of the list fits in the server's memory");
                        return -1;
                }
        }
        return 0;
}

/* Waits for the server to say that it has seen it too, so that it is free for the next client when we are gone. */
static void say_goodbye(struct client *c) {
        struct pollfd pollfd = { .fd = c->events->fd, .events = POLLIN };
        struct rdma_cm_event *event;

        if (rdma_disconnect(c->connection.id) < 0)
                return;
        c->connection.established = false;
        if (poll(&pollfd, 1, 2000) > 0 && rdma_get_cm_event(c->events, &event) == 0)
                (void)rdma_ack_cm_event(event);
}

static void clean_up(struct client *c) {
        connection_close(&c->connection);
        if (c->mr)
                (void)ibv_dereg_mr(c->mr);
        if (c->pd)
                (void)ibv_dealloc_pd(c->pd);
        if (c->events)
                rdma_destroy_event_channel(c->events);
        free(c->buffers);
}

int client_run(const struct options *options) {
        /* The second signal ends the program at once. */
        const struct sigaction action = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND };
        struct client c = { .options = options };
        int r = -1;

        (void)sigaction(SIGINT, &action, NULL);
        (void)sigaction(SIGTERM, &action, NULL);

        if (connect_to_server(&c) == 0) {
                char text[64];

                printf("%s of the server's memory, iova 0x%" PRIx64 ", rkey 0x%" PRIx32 "; --seed %" PRIu64
                       " repeats this\n",
                       size_format(c.offer.length, text, sizeof text), c.offer.iova, c.offer.rkey, options->seed);
                r = all_loops(&c);
                say_goodbye(&c);
        }

        if (r == 0)
                printf("all equal: %" PRIu64 " rounds, %" PRIu64 " bytes, seed %" PRIu64 "\n", c.rounds, c.bytes,
                       options->seed);
        clean_up(&c);
        return r == 0 ? STATUS_EQUAL : STATUS_FAILED;
}
