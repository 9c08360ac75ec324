/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pingpong.h"

#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* --- one client --- */

/* Where the messages lie: at the beginning of a page each. Soft-RoCE's ODP (seen with Linux 7.3) takes every address
 * for that of the page's first byte. */
enum { RECEIVED_0_AT, RECEIVED_1_AT, ANSWER_AT, STOP_AT, GO_AT };

static uint64_t message_offset(const struct server *s, unsigned int page) {
        return page * (s->messages.length / MESSAGE_PAGES);
}

/* The address by which the device knows a byte of the page: not always the one by which we do. */
static uint64_t message_address(const struct server *s, unsigned int page) {
        return s->messages_reg->iova + message_offset(s, page);
}

static struct message *message_at(const struct server *s, unsigned int page) {
        return (struct message *)(s->messages.start + message_offset(s, page));
}

static int expect_message(struct server *s, unsigned int page) {
        return connection_post_recv(&s->connection, message_address(s, page), sizeof(struct message),
                                    s->messages_reg->mr.lkey);
}

int server_send(struct server *s, struct message message) {
        /* Of each the last has arrived by the time of the next: the client has said something to it. */
        unsigned int page = message.kind == MESSAGE_ANSWER ? ANSWER_AT : message.kind == MESSAGE_STOP ? STOP_AT : GO_AT;

        *message_at(s, page) = message_swap(message);
        return connection_post_send(&s->connection, IBV_WR_SEND, message_address(s, page), sizeof message,
                                    s->messages_reg->mr.lkey, 0, 0);
}

static int accept_client(struct server *s, struct rdma_cm_id *id, struct rdma_conn_param param) {
        const struct offer offer = {
                .magic = htobe32(OFFER_MAGIC),
                .flags = htobe32(s->options->read_only ? OFFER_READ_ONLY : 0),
                .iova = htobe64(s->memory_reg->iova),
                .length = htobe64(s->memory_reg->mr.length),
                .rkey = htobe32(s->memory_reg->mr.rkey),
        };

        param.private_data = &offer;
        param.private_data_len = sizeof offer;
        param.rnr_retry_count = 7;

        /* The receive is posted before the client can send. */
        s->received = 0;
        if (connection_open(&s->connection, id, s->pd) < 0 || expect_message(s, RECEIVED_0_AT) < 0 ||
            expect_message(s, RECEIVED_1_AT) < 0 || connection_limits(id->verbs, &param) < 0)
                return -1;
        if (rdma_accept(id, &param) < 0) {
                warn("rdma_accept");
                return -1;
        }
        s->connection.established = true;
        return 0;
}

static void on_connect_request(struct server *s, struct rdma_cm_id *id, const struct rdma_conn_param *param) {
        char text[128];
        int status;

        if (s->connection.id || (s->verbs && s->verbs != id->verbs) || s->keeping != KEEPING_SERVE) {
                warnx("%s: rejected, %s", address_format(rdma_get_peer_addr(id), text, sizeof text),
                      s->connection.id                   ? "another client is being served"
                              : s->keeping != KEEPING_SERVE ? "the file is just being changed"
                                                            : "it comes by another RDMA device");
                (void)rdma_reject(id, NULL, 0);
                (void)rdma_destroy_id(id);
                return;
        }

        if (!s->memory_reg) {
                status = registered_on(s, id->verbs);
                if (!s->memory_reg || status != STATUS_EQUAL) {
                        (void)rdma_reject(id, NULL, 0);
                        (void)rdma_destroy_id(id);
                        s->status = status;
                        s->stop = true;
                        return;
                }
        }

        printf("client %s\n", address_format(rdma_get_peer_addr(id), text, sizeof text));
        if (accept_client(s, id, *param) < 0) {
                s->status = STATUS_FAILED;
                connection_close(&s->connection);
        }
}

static void on_gone(struct server *s) {
        connection_close(&s->connection);
        s->served++;
        printf("client has disconnected\n");
        keeping_stopped(s);
        if (s->options->sessions > 0 && s->served >= s->options->sessions && !s->options->hold)
                s->stop = true;
}

static void on_cm_event(struct server *s) {
        struct rdma_cm_event *event, copy;

        if (rdma_get_cm_event(s->events, &event) < 0) {
                warn("rdma_get_cm_event");
                s->status = STATUS_FAILED;
                s->stop = true;
                return;
        }

        /* Acknowledged first: an id cannot be destroyed while one of its events is not. */
        copy = *event;
        copy.param.conn.private_data = NULL;
        copy.param.conn.private_data_len = 0;
        (void)rdma_ack_cm_event(event);

        switch (copy.event) {
        case RDMA_CM_EVENT_CONNECT_REQUEST:
                on_connect_request(s, copy.id, &copy.param.conn);
                break;
        case RDMA_CM_EVENT_DISCONNECTED:
        case RDMA_CM_EVENT_CONNECT_ERROR:
        case RDMA_CM_EVENT_UNREACHABLE:
                if (copy.id == s->connection.id)
                        on_gone(s);
                break;
        case RDMA_CM_EVENT_DEVICE_REMOVAL:
                warnx("the RDMA device is being removed");
                s->status = STATUS_FAILED;
                s->stop = true;
                break;
        default:
                break;
        }
}

/* Looks with the CPU at what the client has written by RDMA. The client is a stranger: its numbers are checked. */
static struct message judge(const struct server *s, const struct message *q) {
        uint64_t offset = q->offset, length = q->length;
        const uint8_t *bytes = s->memory.start + offset;
        struct message answer = { .kind = MESSAGE_ANSWER };

        if (!s->memory_reg || length > s->memory.length || offset > s->memory.length - length) {
                warnx("the client asks for bytes that are not in the memory");
                return answer;
        }
        if (!memory_is_there(bytes, length)) {
                struct pollfd event = { .fd = pinlease_get_fd(s->session), .events = POLLIN };

                /* The service says why, in a moment; before the client goes. */
                warnx("%" PRIu64 " bytes at %" PRIu64 " cannot be read any more", length, offset);
                (void)poll(&event, 1, 2000);
                return answer;
        }

        if (s->options->read_only)
                answer.length = pattern_digest(DIGEST_START, bytes, (size_t)length) == q->value ? length : 0;
        else
                answer.length = pattern_compare(bytes, (size_t)length, q->value, 0);
        answer.value = answer.length == length;
        if (!answer.value)
                warnx("DIFFERENT: of %" PRIu64 " bytes at %" PRIu64 ", byte %" PRIu64 " is 0x%02x here", length, offset,
                      answer.length, bytes[answer.length]);
        else if (s->options->chatter)
                printf("%" PRIu64 " bytes at %" PRIu64 " equal here\n", length, offset);
        return answer;
}

static int on_message(struct server *s, struct message message) {
        struct message answer;

        switch (message.kind) {
        case MESSAGE_QUESTION:
                answer = judge(s, &message);
                if (answer.value != 1)
                        s->status = STATUS_FAILED;
                return server_send(s, answer);
        case MESSAGE_STOPPED:
                keeping_stopped(s);
                return 0;
        default:
                warnx("the client has sent something that is not for a server");
                return -1;
        }
}

static int on_completion(struct server *s) {
        struct ibv_wc wc;
        int r;

        while ((r = connection_poll(&s->connection, &wc)) > 0) {
                struct message message;
                unsigned int page;

                if (wc.opcode != IBV_WC_RECV)
                        continue; /* what we have sent has arrived */
                if (wc.byte_len != sizeof message) {
                        warnx("the client has sent something that is not a message");
                        return -1;
                }

                page = s->received++ % 2 == 0 ? RECEIVED_0_AT : RECEIVED_1_AT;
                message = message_swap(*message_at(s, page));
                if (expect_message(s, page) < 0 || on_message(s, message) < 0)
                        return -1;
        }
        return r;
}

/* --- the loop --- */

/* Tells whoever has started us that clients may come. The file may be a FIFO. */
static int say_ready(const struct server *s) {
        char text[128];
        FILE *f;

        printf("listening on %s\n", address_format(rdma_get_local_addr(s->listener), text, sizeof text));
        if (!s->options->ready_file)
                return 0;

        f = fopen(s->options->ready_file, "we");
        if (!f || fprintf(f, "%s\n", text) < 0 || fclose(f) != 0) {
                warn("%s", s->options->ready_file);
                return -1;
        }
        return 0;
}

static int start_listening(struct server *s) {
        struct sockaddr_storage address;
        int status;

        if (address_resolve(s->options->address, s->options->port, true, &address) < 0)
                return STATUS_USAGE;

        s->events = rdma_create_event_channel();
        if (!s->events || rdma_create_id(s->events, &s->listener, NULL, RDMA_PS_TCP) < 0) {
                warn("librdmacm: is there an RDMA device, and rdma_ucm loaded?");
                return STATUS_FAILED;
        }
        if (rdma_bind_addr(s->listener, (struct sockaddr *)&address) < 0) {
                warn("rdma_bind_addr: %s", s->options->address ? s->options->address : "any address");
                return STATUS_USAGE;
        }

        /* Bound to one address we know the device now. Bound to any, the first client will show it. */
        if (s->listener->verbs) {
                status = registered_on(s, s->listener->verbs);
                if (status != STATUS_EQUAL || !s->memory_reg)
                        return status;
        }

        if (rdma_listen(s->listener, 8) < 0) {
                warn("rdma_listen");
                return STATUS_FAILED;
        }
        return say_ready(s) < 0 ? STATUS_FAILED : STATUS_EQUAL;
}

static void serve(struct server *s) {
        while (!s->stop) {
                struct pollfd fds[] = {
                        { .fd = s->events->fd, .events = POLLIN },
                        /* --deaf is how not to do it: nobody hears that the memory is asked back. */
                        { .fd = s->options->deaf ? -1 : pinlease_get_fd(s->session), .events = POLLIN },
                        { .fd = s->signal_fd, .events = POLLIN },
                        { .fd = s->connection.id ? s->connection.channel->fd : -1, .events = POLLIN },
                };

                /* Completions first: asking for them arms the channel for the next. */
                if (s->connection.id && on_completion(s) < 0) {
                        s->status = STATUS_FAILED;
                        on_gone(s);
                        continue;
                }
                if (s->stop)
                        break;
                if (poll(fds, 4, s->keeping == KEEPING_RETRY ? KEEPING_RETRY_MS : -1) < 0 && errno != EINTR) {
                        warn("poll");
                        s->status = STATUS_FAILED;
                        return;
                }
                if (s->keeping == KEEPING_RETRY)
                        keeping_settled(s, s->file_size);
                if (fds[3].revents)
                        connection_notified(&s->connection);
                if (fds[1].revents)
                        (void)pinlease_dispatch(s->session); /* its callbacks say what there is to do */
                if (fds[2].revents)
                        s->stop = true;
                if (!s->stop && fds[0].revents)
                        on_cm_event(s);
        }
}

int server_run(const struct options *options) {
        struct server s = { .options = options, .memory = MEMORY_NONE, .messages = MEMORY_NONE, .signal_fd = -1 };
        sigset_t signals;

        if (memory_open(options, &s.memory) < 0 || memory_open_messages(&s.messages) < 0) {
                s.status = STATUS_USAGE;
                goto finish;
        }

        /* Taken from a descriptor, so that the memory is given back in good order. */
        (void)sigemptyset(&signals);
        (void)sigaddset(&signals, SIGINT);
        (void)sigaddset(&signals, SIGTERM);
        (void)sigprocmask(SIG_BLOCK, &signals, NULL);
        s.signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
        if (s.signal_fd < 0) {
                warn("signalfd");
                s.status = STATUS_FAILED;
                goto finish;
        }

        s.status = registered_connect(&s);
        if (!s.session)
                goto finish;

        s.status = start_listening(&s);
        if (s.status == STATUS_EQUAL && !(options->expect_refusal && s.verbs))
                serve(&s);

        registered_let_go(&s);
finish:
        if (s.listener)
                (void)rdma_destroy_id(s.listener);
        if (s.events)
                rdma_destroy_event_channel(s.events);
        (void)pinlease_disconnect(s.session);
        if (s.signal_fd >= 0)
                close(s.signal_fd);
        memory_close(&s.messages);
        memory_close(&s.memory);
        return s.status;
}
