/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "serve.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "grant.h"
#include "log.h"

static int send_refusal(struct registrar *r, const struct pl_header *request, const struct refusal *refusal) {
        struct pl_packet packet;

        stats_refused(&r->state.ledger.header->stats, refusal->code);
        refusal_packet(refusal, request->seq, request->opcode, &packet);
        return registrar_send(r, &packet);
}

/* Owns the descriptor; the session must end. */
static void leave_open(struct registrar *r, int fd) {
        assert(r->n_hanging < ELEMENTSOF(r->hanging));
        r->hanging[r->n_hanging++] = fd;
}

/*
 * Ours may be the last copy of a verbs context. The keeper holds one until it has heard that ours is closed, so that ours is
 * not; a process of its own would be another way, but the registrar has none. Owns the descriptor.
 */
static int hand_over(struct registrar *r, int fd) {
        int k;

        k = line_tell(&r->line, &(struct control_message) { .type = CONTROL_DISPOSE }, fd);
        if (k < 0) {
                if (k != -ECONNRESET)
                        log_line(LOG_ERR, "ends, its keeper does not take over a descriptor to close: %s", strerror(-k));
                leave_open(r, fd);
                return k;
        }
        pl_close(fd);
        return line_send(&r->line, &(struct control_message) { .type = CONTROL_CLOSED });
}

/* Owns the descriptor from here on. Returns 0, or a negative errno that ends the session. One that may hang does so too, by
 * whoever has found out; the descriptor waits for that. */
static int dispose(struct registrar *r, int fd, const struct pl_fdclass *class) {
        switch (class->kind) {
        case PL_FD_HANGING:
                leave_open(r, fd);
                return 0;
        case PL_FD_CHARDEV:
                return hand_over(r, fd);
        default:
                pl_close(fd);
                return 0;
        }
}

/* The session must end. A keeper that has not taken one is not asked again. */
static void dispose_all(struct registrar *r, struct pl_received *received) {
        bool taken = true;

        for (unsigned int i = 0; i < received->n_fds; i++) {
                struct pl_fdclass class;

                if (pl_fdclass_get(received->fds[i], &class) < 0 || (class.kind == PL_FD_CHARDEV && !taken))
                        class.kind = PL_FD_HANGING;
                if (dispose(r, received->fds[i], &class) < 0)
                        taken = false;
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

static int handle_hello(struct registrar *r, const struct pl_packet *request) {
        const struct credit_amount *limits = &r->state.credit.limits;
        struct pl_packet reply;

        r->greeted = true;
        r->hello_deadline = 0;
        r->revoker.tells = request->body.hello.features & PL_FEATURE_REVOCATION;
        r->revoker.settles = request->body.hello.features & PL_FEATURE_GUARDS;
        r->knows_flags = request->body.hello.features & PL_FEATURE_PREFETCH;

        pl_packet_init(&reply, PL_OP_REPLY | PL_OP_HELLO, request->header.seq);
        reply.body.hello_reply = (struct pl_hello_reply) {
                .features = request->body.hello.features & PL_FEATURES_KNOWN,
                .session = r->session,
                .pinned_limit = limits->pinned,
                .odp_limit = limits->odp,
                .registration_limit = (uint32_t)limits->registrations,
                .context_limit = MAX_CONTEXTS,
        };
        return registrar_send(r, &reply);
}

static int handle_attach(struct registrar *r, const struct pl_packet *request, int fd, const struct pl_fdclass *class) {
        struct refusal refusal;
        struct pl_packet reply;
        uint32_t index;
        int k;

        k = request_attach(&r->state, fd, class, &index, &refusal);
        if (k < 0) {
                k = dispose(r, fd, class);
                return k < 0 ? k : send_refusal(r, &request->header, &refusal);
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
                /* Contexts are closed before everything is given up; this one's close may be the last. */
                r->state.contexts[index].device.fd = -1;
                leave_open(r, fd);
                return k;
        }

        pl_packet_init(&reply, PL_OP_REPLY | PL_OP_ATTACH, request->header.seq);
        reply.body.attach_reply.context = index;
        reply.body.attach_reply.methods = r->state.contexts[index].methods;
        return registrar_send(r, &reply);
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
        return registrar_send(r, &reply);
}

static void refuse_away(struct refusal *ret_refusal) {
        (void)refuse(ret_refusal,
                     PINLEASE_CODE_GOING_AWAY,
                     "The session is being ended, as was announced, and what is registered will be taken away: nothing new is "
                     "registered. Connect again later.");
}

static int handle_register(struct registrar *r, const struct pl_packet *request, int fd, const struct pl_fdclass *class) {
        struct refusal refusal;
        struct pl_packet reply;
        int k, disposed;

        if (r->away_deadline) {
                k = dispose(r, fd, class);
                if (k < 0)
                        return k;
                refuse_away(&refusal);
                return send_refusal(r, &request->header, &refusal);
        }

        pl_packet_init(&reply, PL_OP_REPLY | PL_OP_REGISTER, request->header.seq);
        k = request_register(&r->state, &request->body.reg, fd, class, &reply.body.register_reply, &refusal);
        disposed = dispose(r, fd, class);
        if (disposed < 0)
                return disposed;
        if (k == REFUSED)
                return send_refusal(r, &request->header, &refusal);
        if (!r->knows_flags)
                reply.body.register_reply.flags = 0;
        return k < 0 ? k : registrar_send(r, &reply);
}

static int handle_grant(struct registrar *r, const struct pl_packet *request) {
        struct refusal refusal;
        struct pl_packet reply;
        int k;

        if (r->away_deadline) {
                refuse_away(&refusal);
                return send_refusal(r, &request->header, &refusal);
        }
        pl_packet_init(&reply, PL_OP_REPLY | PL_OP_GRANT, request->header.seq);
        k = grant_make(&r->state, &request->body.grant, &reply.body.grant_reply, &refusal);
        if (k == REFUSED)
                return send_refusal(r, &request->header, &refusal);
        return k < 0 ? k : registrar_send(r, &reply);
}

static int handle_commit(struct registrar *r, const struct pl_packet *request) {
        struct refusal refusal;
        struct pl_packet reply;

        pl_packet_init(&reply, PL_OP_REPLY | PL_OP_GRANT_COMMIT, request->header.seq);
        if (grant_commit(&r->state, &request->body.grant_commit, &reply.body.grant_commit_reply, &refusal) < 0)
                return send_refusal(r, &request->header, &refusal);
        return registrar_send(r, &reply);
}

/* DEREGISTER, or RELEASE. */
static int handle_deregister(struct registrar *r, const struct pl_packet *request) {
        bool release = request->header.opcode == PL_OP_RELEASE;
        uint64_t id = release ? request->body.release.id : request->body.deregister.id;
        struct refusal refusal;
        struct pl_packet reply;
        int k = 0;

        if (!revoker_dismiss(&r->revoker, id, release))
                k = release ? revoker_release(&r->revoker, id, &refusal) : request_deregister(&r->state, id, &refusal);
        if (k < 0)
                return send_refusal(r, &request->header, &refusal);

        pl_packet_init(&reply, (uint16_t)(PL_OP_REPLY | request->header.opcode), request->header.seq);
        if (release)
                reply.body.release_reply.settles = revoker_will_settle(&r->revoker, id);
        return registrar_send(r, &reply);
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
        return registrar_send(r, &reply);
}

int serve_packet(struct registrar *r, struct pl_received *received) {
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
        case PL_OP_GRANT:
                return handle_grant(r, request);
        case PL_OP_GRANT_COMMIT:
                return handle_commit(r, request);
        default:
                return handle_deregister(r, request);
        }
}
