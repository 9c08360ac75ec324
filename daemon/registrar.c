/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "registrar.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "closer.h"
#include "fds.h"
#include "log.h"
#include "wire.h"

/* How long after the last work credit that is not needed is given back. */
#define IDLE_MS 1000

/* How often at least it says that it is at work while it waits for the keeper. */
#define TEND_MS 1000

/* Loop functions return 0 to go on, or a negative errno with which the session ends. */

static int send_packet(struct registrar *r, const struct pl_packet *packet) {
        int k = -EAGAIN;

        if (r->n_waiting == 0)
                k = pl_wire_send(r->client, MSG_DONTWAIT, packet, -1);
        if (k != -EAGAIN)
                return k;

        if (r->n_waiting >= REGISTRAR_MAX_WAITING)
                return -ENOBUFS;
        r->waiting[r->n_waiting++] = *packet;
        return 0;
}

static int flush_waiting(struct registrar *r) {
        while (r->n_waiting > 0) {
                int k = pl_wire_send(r->client, MSG_DONTWAIT, r->waiting, -1);

                if (k < 0)
                        return k == -EAGAIN ? 0 : k;
                memmove(r->waiting, r->waiting + 1, --r->n_waiting * sizeof r->waiting[0]);
        }
        return 0;
}

static int send_refusal(struct registrar *r, const struct pl_header *request, const struct refusal *refusal) {
        struct pl_packet packet;

        stats_refused(&r->state.ledger.header->stats, refusal->code);
        pl_packet_init(&packet, PL_OP_REFUSED, request->seq);
        packet.body.refused.code = (uint32_t)refusal->code;
        packet.body.refused.error = refusal->error;
        packet.body.refused.opcode = request->opcode;
        memcpy(packet.body.refused.rule, refusal->rule, sizeof refusal->rule);
        memcpy(packet.body.refused.sentence, refusal->sentence, sizeof refusal->sentence);
        return send_packet(r, &packet);
}

static int send_going_away(struct registrar *r, enum pl_going_away_reason reason, uint32_t grace_ms, const char *sentence) {
        struct pl_packet packet;

        pl_packet_init(&packet, PL_OP_GOING_AWAY, 0);
        packet.body.going_away.reason = (uint32_t)reason;
        packet.body.going_away.grace_ms = grace_ms;
        (void)snprintf(packet.body.going_away.sentence, sizeof packet.body.going_away.sentence, "%s", sentence);
        return send_packet(r, &packet);
}

/* Owns the descriptor from here on. */
static void dispose(struct registrar *r, int fd, const struct pl_fdclass *class) {
        switch (class->kind) {
        case PL_FD_HANGING:
                assert(r->n_hanging < ELEMENTSOF(r->hanging));
                r->hanging[r->n_hanging++] = fd;
                return;
        case PL_FD_CHARDEV:
                /* Ours may be the last copy of a verbs context. */
                (void)closer_close(&fd, 1);
                return;
        default:
                pl_close(fd);
        }
}

static void dispose_all(struct registrar *r, struct pl_received *received) {
        for (unsigned int i = 0; i < received->n_fds; i++) {
                struct pl_fdclass class;

                if (pl_fdclass_get(received->fds[i], &class) < 0)
                        class.kind = PL_FD_HANGING;
                dispose(r, received->fds[i], &class);
        }
        received->n_fds = 0;
}

/* The protocol is broken, or the descriptor may hang: say so and end. The sentence goes to the journal as well: whoever
 * writes a client wants to know. */
static int violate(struct registrar *r, const struct pl_header *request, const struct refusal *refusal) {
        const struct log_subject subject = { .code = pl_code_name(refusal->code) };

        log_subject_event(&subject,
                          LOG_NOTICE,
                          EVENT_PROTOCOL_VIOLATION,
                          "ends, the app sent what it must not (%s): %s",
                          subject.code,
                          refusal->sentence);
        (void)send_refusal(r, request, refusal);
        return -EPROTO;
}

static int handle_control(void *userdata, const struct control_message *message) {
        struct registrar *r = userdata;

        switch (message->type) {
        case CONTROL_GOING_AWAY:
                if (r->away_deadline)
                        return 0;
                r->away_deadline = pl_now_ms() + message->value;
                return send_going_away(r,
                                       PL_AWAY_SHUTDOWN,
                                       message->value,
                                       "The service is being stopped. Deregister now; what is left after the grace time is "
                                       "taken away, and RDMA to it fails.");
        default:
                return -EPROTO;
        }
}

/* The earlier of two instants; 0 is never. */
static uint64_t earlier(uint64_t a, uint64_t b) {
        return !a || (b && b < a) ? b : a;
}

/* What cannot wait until the keeper has answered. */
static int tend(void *userdata, int *ret_timeout_ms) {
        struct registrar *r = userdata;
        uint64_t now = pl_now_ms();

        if (r->away_deadline && now >= r->away_deadline)
                return -ETIMEDOUT;
        /* It waits, and does not hang. */
        state_busy(&r->state, 0);
        *ret_timeout_ms = (int)(earlier(r->away_deadline, now + TEND_MS) - now);
        return 0;
}

static const struct line_ops line_ops = { .handle = handle_control, .tend = tend };

static int handle_hello(struct registrar *r, const struct pl_packet *request) {
        const struct credit_amount *limits = &r->state.credit.limits;
        struct pl_packet reply;

        r->greeted = true;
        r->hello_deadline = 0;

        pl_packet_init(&reply, PL_OP_REPLY | PL_OP_HELLO, request->header.seq);
        reply.body.hello_reply = (struct pl_hello_reply) {
                .features = request->body.hello.features & PL_FEATURES_KNOWN,
                .session = r->session,
                .pinned_limit = limits->pinned,
                .odp_limit = limits->odp,
                .registration_limit = (uint32_t)limits->registrations,
                .context_limit = MAX_CONTEXTS,
        };
        return send_packet(r, &reply);
}

static int handle_attach(struct registrar *r, const struct pl_packet *request, int fd, const struct pl_fdclass *class) {
        struct refusal refusal;
        struct pl_packet reply;
        uint32_t index;
        int k;

        k = request_attach(&r->state, fd, class, &index, &refusal);
        if (k < 0) {
                dispose(r, fd, class);
                return send_refusal(r, &request->header, &refusal);
        }

        /* The keeper has its copy before anything can be registered on the context. */
        k = line_tell(&r->line,
                      &(struct control_message) {
                                .type = CONTROL_CONTEXT_ADD,
                              .context = index,
                              .value = r->state.contexts[index].device.driver_id,
                      },
                      fd);
        if (k < 0) {
                log_line(LOG_ERR, "ends, its keeper does not take a verbs context over: %s", strerror(-k));
                return k;
        }

        pl_packet_init(&reply, PL_OP_REPLY | PL_OP_ATTACH, request->header.seq);
        reply.body.attach_reply.context = index;
        reply.body.attach_reply.methods = r->state.contexts[index].methods;
        return send_packet(r, &reply);
}

static int handle_detach(struct registrar *r, const struct pl_packet *request) {
        uint32_t index = request->body.detach.context;
        struct refusal refusal;
        struct pl_packet reply;
        int k;

        k = request_detach(&r->state, index, &refusal);
        if (k < 0)
                return send_refusal(r, &request->header, &refusal);

        k = line_tell(&r->line, &(struct control_message) { .type = CONTROL_CONTEXT_DROP, .context = index }, -1);
        if (k < 0)
                return k;

        pl_packet_init(&reply, PL_OP_REPLY | PL_OP_DETACH, request->header.seq);
        return send_packet(r, &reply);
}

static int handle_register(struct registrar *r, const struct pl_packet *request, int fd, const struct pl_fdclass *class) {
        struct refusal refusal;
        struct pl_packet reply;
        int k;

        pl_packet_init(&reply, PL_OP_REPLY | PL_OP_REGISTER, request->header.seq);
        k = request_register(&r->state, &request->body.reg, fd, class, &reply.body.register_reply, &refusal);
        dispose(r, fd, class);
        if (k == REFUSED)
                return send_refusal(r, &request->header, &refusal);
        return k < 0 ? k : send_packet(r, &reply);
}

static int handle_deregister(struct registrar *r, const struct pl_packet *request) {
        struct refusal refusal;
        struct pl_packet reply;
        int k;

        k = request_deregister(&r->state, request->body.deregister.id, &refusal);
        if (k < 0)
                return send_refusal(r, &request->header, &refusal);

        pl_packet_init(&reply, PL_OP_REPLY | PL_OP_DEREGISTER, request->header.seq);
        return send_packet(r, &reply);
}

/* A request that carries a descriptor. What may hang is not touched any further. */
static int handle_with_fd(struct registrar *r, struct pl_received *received) {
        const struct pl_packet *request = &received->packet;
        struct pl_fdclass class;
        struct refusal refusal;
        int fd = received->fds[0];

        if (pl_fdclass_get(fd, &class) < 0)
                class = (struct pl_fdclass) { .kind = PL_FD_HANGING };
        if (class.kind == PL_FD_HANGING) {
                dispose_all(r, received);
                (void)refuse(&refusal,
                             PINLEASE_CODE_HANGING_FILE,
                             "The descriptor is %s, whose server may block the service for ever: it is not registered, and "
                             "the session ends. Use a memfd, tmpfs, huge pages, or a file on ext4 or xfs.",
                             pl_fdclass_name(&class));
                return violate(r, &request->header, &refusal);
        }

        received->n_fds = 0;
        if (request->header.opcode == PL_OP_ATTACH)
                return handle_attach(r, request, fd, &class);
        return handle_register(r, request, fd, &class);
}

static int handle_ping(struct registrar *r, const struct pl_packet *request) {
        struct pl_packet reply;

        pl_packet_init(&reply, PL_OP_REPLY | PL_OP_PING, request->header.seq);
        return send_packet(r, &reply);
}

static int handle_packet(struct registrar *r, struct pl_received *received) {
        const struct pl_packet *request = &received->packet;
        enum pinlease_code code;
        struct refusal refusal;

        if (received->truncated)
                code = PINLEASE_CODE_BAD_LENGTH;
        else if (received->fds_lost)
                code = PINLEASE_CODE_BAD_FD_COUNT;
        else
                code = pl_packet_check(request, received->size, received->n_fds, PL_FROM_APP);
        if (code == PINLEASE_CODE_NONE && r->greeted == (request->header.opcode == PL_OP_HELLO))
                code = PINLEASE_CODE_BAD_ORDER;
        if (code != PINLEASE_CODE_NONE) {
                struct pl_header header = { 0 };

                /* The header may not have come at all. */
                memcpy(&header, &request->header, received->size < sizeof header ? received->size : sizeof header);
                dispose_all(r, received);
                (void)refuse(&refusal,
                             code,
                             "The packet of %zu bytes with opcode %" PRIu16 " (%s) breaks the protocol: %s. See "
                             "doc/PROTOCOL.md; the session ends.",
                             received->size,
                             header.opcode,
                             pl_opcode_name(header.opcode),
                             pl_code_name(code));
                return violate(r, &header, &refusal);
        }

        switch (request->header.opcode) {
        case PL_OP_HELLO:
                return handle_hello(r, request);
        case PL_OP_PING:
                return handle_ping(r, request);
        case PL_OP_ATTACH:
        case PL_OP_REGISTER:
                return handle_with_fd(r, received);
        case PL_OP_DETACH:
                return handle_detach(r, request);
        default:
                return handle_deregister(r, request);
        }
}

/* A refusal takes its time as well; what broke the protocol was not a request. */
static void count_latency(struct registrar *r, uint16_t opcode, uint64_t us) {
        struct stats *stats = &r->state.ledger.header->stats;

        if (opcode == PL_OP_REGISTER)
                stats_latency(stats, STATS_REGISTER, us);
        else if (opcode == PL_OP_DEREGISTER)
                stats_latency(stats, STATS_DEREGISTER, us);
}

static int serve_client(struct registrar *r) {
        struct pl_received received;
        uint64_t began;
        int k;

        k = pl_wire_recv(r->client, MSG_DONTWAIT, &received);
        if (k < 0)
                return k == -EAGAIN ? 0 : k;

        state_busy(&r->state, 0);
        began = stats_now_us();
        k = handle_packet(r, &received);
        if (k == 0)
                count_latency(r, received.packet.header.opcode, stats_now_us() - began);
        state_idle(&r->state);
        r->worked = pl_now_ms();
        return k;
}

static uint64_t deadline_of(const struct registrar *r) {
        uint64_t deadline = earlier(r->hello_deadline, r->away_deadline);

        return line_has_surplus(&r->line) ? earlier(deadline, r->worked + IDLE_MS) : deadline;
}

/* What has become due by itself. */
static int expire(struct registrar *r) {
        uint64_t now = pl_now_ms(), deadline = earlier(r->hello_deadline, r->away_deadline);

        if (deadline && now >= deadline)
                return -ETIMEDOUT;
        if (now < r->worked + IDLE_MS)
                return 0;
        /* If the keeper does not take it now, then later. */
        r->worked = now;
        return line_return_surplus(&r->line);
}

int registrar_prepare(const struct registrar *r, struct pollfd ret_fds[REGISTRAR_N_FDS]) {
        uint64_t now = pl_now_ms(), deadline = deadline_of(r);

        ret_fds[0] = (struct pollfd) { .fd = r->line.fd, .events = POLLIN };
        ret_fds[1] = (struct pollfd) { .fd = r->client, .events = r->n_waiting ? POLLOUT : POLLIN };
        if (!deadline)
                return -1;
        return deadline <= now ? 0 : (int)(deadline - now);
}

int registrar_turn(struct registrar *r) {
        struct pollfd p[REGISTRAR_N_FDS];
        int k, timeout = registrar_prepare(r, p);

        if (poll(p, ELEMENTSOF(p), timeout) < 0)
                return errno == EINTR ? 0 : -errno;
        k = expire(r);
        if (k < 0)
                return k;

        if (p[0].revents) {
                k = line_drain(&r->line);
                if (k < 0)
                        return k;
        }
        if (p[1].revents & POLLOUT)
                return flush_waiting(r);
        if (p[1].revents & POLLIN)
                return serve_client(r);
        if (p[1].revents & (POLLHUP | POLLERR))
                return -ECONNRESET;
        return 0;
}

void registrar_init(struct registrar *r,
                    const struct registrar_config *config,
                    const struct uverbs_ops *uverbs,
                    struct ledger *ledger) {
        *r = (struct registrar) {
                .client = config->client,
                .session = config->session,
                .worked = pl_now_ms(),
                .hello_deadline = pl_now_ms() + config->hello_timeout_ms,
        };
        state_init(&r->state, uverbs, ledger, &config->limits);
        r->state.credit.held = config->credit;
        line_init(&r->line, config->control, config->client, &r->state.credit, &line_ops, r);
}

/* Everything is deregistered, unmapped and closed before the process ends, because its end may block: a hanging file
 * is closed by the kernel on exit, and then what is left is a shell that cannot be killed but holds nothing. */
unsigned int registrar_done(struct registrar *r) {
        unsigned int left;

        left = state_done(&r->state);
        (void)shutdown(r->client, SHUT_RDWR);
        (void)line_send(&r->line, &(struct control_message) { .type = CONTROL_BYE });
        return left;
}

_Noreturn void registrar_run(const struct registrar_config *config, const struct uverbs_ops *uverbs, struct ledger *ledger) {
        static struct registrar r;
        unsigned int left;
        int k;

        registrar_init(&r, config, uverbs, ledger);
        do
                k = registrar_turn(&r);
        while (k >= 0);

        if (k == -ETIMEDOUT && !r.greeted)
                log_event(LOG_NOTICE, EVENT_SILENT_APP, "ends, the app said nothing for %u ms", config->hello_timeout_ms);
        else if (k != -ECONNRESET && k != -EPROTO && k != -ETIMEDOUT)
                log_line(LOG_ERR, "ends: %s", strerror(-k));

        left = registrar_done(&r);
        if (left > 0)
                log_event(LOG_WARNING, EVENT_MEMORY_KEPT, "leaves %u memory regions in use to its keeper", left);
        fds_close_except(r.hanging, r.n_hanging);
        _exit(0);
}
