/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rawclient.h"

#include <fcntl.h>
#include <infiniband/verbs.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "fake_uverbs.h"
#include "fds.h"
#include "log.h"
#include "testing_policy.h"
#include "wire.h"
#include "wraps.h"

static _Noreturn void be_registrar(struct rawclient *c,
                                   int client,
                                   int control,
                                   const struct credit_amount *credit,
                                   unsigned int hello_timeout_ms) {
        struct ledger *ledger = &c->ledger;
        const int keep[] = { 0, 1, 2, client, control, ledger->fd, log_fd() };
        const struct registrar_config config = {
                .client = client,
                .control = control,
                .session = 77,
                .limits = c->limits,
                .credit = *credit,
                .policy = testing_policy_mapped(),
                .pagemap = -1,
                .hello_timeout_ms = hello_timeout_ms,
        };

        fds_close_except(keep, ELEMENTSOF(keep));
        wraps_in_a_hurry = true;
        registrar_run(&config, &fake_ops, ledger);
}

static void start(struct rawclient *c,
                  const struct credit_amount *limits,
                  const struct credit_amount *credit,
                  unsigned int hello_timeout_ms) {
        int client[2], control[2];

        *c = (struct rawclient) { .disposed = -1, .limits = *limits };
        fake_reset();
        wraps_reset();
        assert_int_equal(ledger_create((uint32_t)limits->registrations, &c->ledger), 0);
        assert_int_equal(control_pair(client), 0);
        assert_int_equal(control_pair(control), 0);
        c->pid = testing_fork();
        assert_true(c->pid >= 0);
        if (c->pid == 0)
                be_registrar(c, client[1], control[1], credit, hello_timeout_ms);
        pl_close(client[1]);
        pl_close(control[1]);
        c->app = client[0];
        c->keeper = control[0];
}

void rawclient_start(struct rawclient *c, unsigned int hello_timeout_ms) {
        static const struct credit_amount limits = { .pinned = 1 << 20, .odp = 1 << 20, .registrations = 16 };

        start(c, &limits, &limits, hello_timeout_ms);
}

void rawclient_start_with(struct rawclient *c, const struct credit_amount *limits, const struct credit_amount *credit) {
        start(c, limits, credit, 1U << 30);
}

static void freeze(struct rawclient *c, uint32_t what) {
        struct control_message answer = { .type = CONTROL_ACK };

        if (what == CONTROL_FREEZE_RELEASE) {
                c->n_releases++;
                return;
        }
        assert_int_equal(what, CONTROL_FREEZE_STOP);
        c->n_stops++;
        answer.value = c->stop_error;
        if (c->stop_helps)
                fake->dereg_error = 0;
        if (c->stop_mute)
                return;
        (void)control_send(c->keeper, &answer, -1);
}

void rawclient_keep(struct rawclient *c) {
        for (;;) {
                struct control_message message;
                int fd;

                if (control_recv(c->keeper, &message, &fd) < 0)
                        return;
                switch (message.type) {
                case CONTROL_CONTEXT_ADD:
                        assert_true(fd >= 0);
                        assert_int_equal(message.value, FAKE_DRIVER_ID);
                        c->n_contexts++;
                        break;
                case CONTROL_CONTEXT_DROP:
                        assert_int_equal(fd, -1);
                        c->n_contexts--;
                        break;
                case CONTROL_DISPOSE:
                        assert_true(fd >= 0);
                        assert_int_equal(c->disposed, -1);
                        c->disposed = fd;
                        fd = -1;
                        break;
                case CONTROL_CLOSED:
                        assert_true(c->disposed >= 0);
                        c->disposed = pl_close(c->disposed);
                        c->n_disposals++;
                        continue;
                case CONTROL_FREEZE:
                        freeze(c, message.value);
                        continue;
                case CONTROL_MEMLOCK_RAISE:
                        c->n_raises++;
                        c->private_pinned = message.length;
                        /* So that it waits, and does what is due meanwhile. */
                        (void)poll(NULL, 0, 20);
                        (void)control_send(
                                c->keeper,
                                &(struct control_message) { .type = CONTROL_ACK, .value = c->raise_error },
                                -1);
                        continue;
                case CONTROL_MEMLOCK_LOWER:
                        c->n_lowers++;
                        c->private_pinned = message.length;
                        continue;
                case CONTROL_BYE:
                        c->n_byes++;
                        continue;
                case CONTROL_PONG:
                        c->n_pongs++;
                        continue;
                case CONTROL_WANT:
                        c->n_wants++;
                        c->want = message.credit;
                        message.type = CONTROL_CREDIT;
                        if (!c->miser)
                                (void)control_send(c->keeper, &message, -1);
                        continue;
                case CONTROL_RETURN:
                        c->n_returns++;
                        c->returned = message.credit;
                        continue;
                case CONTROL_REVOKED:
                        assert_true(c->n_revoked < ELEMENTSOF(c->revoked));
                        c->revoked[c->n_revoked++] = message;
                        continue;
                default:
                        fail_msg("the registrar says %u to its keeper", message.type);
                }
                pl_close(fd);
                (void)control_send(c->keeper, &(struct control_message) { .type = CONTROL_ACK }, -1);
        }
}

void rawclient_end(struct rawclient *c) {
        assert_int_equal(testing_wait_child(c->pid), 0);
        rawclient_keep(c);
        assert_int_equal(c->n_byes, 1);
        assert_int_equal(fake_live(), 0);
        for (uint32_t i = 0; i < c->limits.registrations; i++)
                assert_int_equal(atomic_load(&c->ledger.entries[i].state), LEDGER_FREE);
        pl_close(c->disposed);
        pl_close(c->app);
        pl_close(c->keeper);
        ledger_done(&c->ledger);
}

int rawclient_send(struct rawclient *c, const void *data, size_t size, const int *fds, unsigned int n_fds) {
        return testing_send(c->app, MSG_DONTWAIT, data, size, fds, n_fds);
}

int rawclient_recv(struct rawclient *c, struct pl_packet *ret_packet) {
        for (;;) {
                struct pollfd p[] = { { .fd = c->app, .events = POLLIN }, { .fd = c->keeper, .events = POLLIN } };
                struct pl_received received;
                int r;

                assert_true(poll(p, ELEMENTSOF(p), TESTING_PATIENCE_MS) > 0);
                if (p[1].revents & POLLIN)
                        rawclient_keep(c);
                if (!p[0].revents) {
                        /* The keeper's end may hang up first. */
                        if (p[1].revents & POLLHUP)
                                (void)testing_wait_fd(c->app, POLLIN);
                        continue;
                }
                r = pl_wire_recv(c->app, MSG_DONTWAIT, &received);
                /* A connection that was closed with requests unread says so first, whatever else is to be read. */
                if (r == -ECONNRESET && recv(c->app, NULL, 0, MSG_PEEK | MSG_DONTWAIT | MSG_TRUNC) > 0)
                        continue;
                if (r < 0)
                        return r;
                assert_int_equal(pl_packet_check(&received.packet, received.size, received.n_fds, PL_FROM_SESSION), 0);
                *ret_packet = received.packet;
                return 0;
        }
}

void rawclient_ask(struct rawclient *c, struct pl_packet *request, int fd, struct pl_packet *ret_answer) {
        request->header.seq = ++c->seq;
        assert_int_equal(rawclient_send(c, request, request->header.length, &fd, fd >= 0), 0);
        assert_int_equal(rawclient_recv(c, ret_answer), 0);
        assert_int_equal(ret_answer->header.seq, c->seq);
        if (ret_answer->header.opcode != PL_OP_REFUSED)
                assert_int_equal(ret_answer->header.opcode, PL_OP_REPLY | request->header.opcode);
}

void rawclient_assert_refused(const struct pl_packet *answer, uint16_t opcode, enum pinlease_code code) {
        const struct pl_refused *refused = &answer->body.refused;

        assert_int_equal(answer->header.opcode, PL_OP_REFUSED);
        if (refused->code != (uint32_t)code)
                fail_msg("refused by %s instead of %s: %s",
                         pl_code_name((enum pinlease_code)refused->code),
                         pl_code_name(code),
                         refused->sentence);
        assert_int_equal(refused->opcode, opcode);
        assert_true(refused->error > 0);
        assert_in_range(strlen(refused->sentence), 10, sizeof refused->sentence - 2);
}

void rawclient_hello(struct rawclient *c) {
        struct pl_packet request, answer;

        pl_packet_init(&request, PL_OP_HELLO, 0);
        request.body.hello.features = UINT64_MAX;
        rawclient_ask(c, &request, -1, &answer);
        assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_HELLO);
        assert_int_equal(answer.body.hello_reply.features, PL_FEATURES_KNOWN);
        assert_int_equal(answer.body.hello_reply.session, 77);
        assert_int_equal(answer.body.hello_reply.pinned_limit, c->limits.pinned);
        assert_int_equal(answer.body.hello_reply.odp_limit, c->limits.odp);
        assert_int_equal(answer.body.hello_reply.registration_limit, c->limits.registrations);
        assert_int_equal(answer.body.hello_reply.context_limit, MAX_CONTEXTS);
}

uint32_t rawclient_attach(struct rawclient *c, const char *device) {
        struct pl_packet request, answer;
        int fd = open(device, O_RDWR | O_CLOEXEC);

        assert_true(fd >= 0);
        pl_packet_init(&request, PL_OP_ATTACH, 0);
        rawclient_ask(c, &request, fd, &answer);
        pl_close(fd);
        assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_ATTACH);
        /* Dma-bufs are tried when there is one. */
        assert_int_equal(answer.body.attach_reply.methods, PINLEASE_METHOD_ODP | PINLEASE_METHOD_PINNED);
        return answer.body.attach_reply.context;
}

void rawclient_make_register(struct pl_packet *packet, uint32_t context) {
        pl_packet_init(packet, PL_OP_REGISTER, 0);
        packet->body.reg = (struct pl_register) {
                .context = context,
                .pd = 1,
                .length = RAWCLIENT_PAGE,
                .address = 0x700000000000,
                .access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE,
                .methods = PINLEASE_METHOD_ANY,
        };
}

uint64_t rawclient_register(struct rawclient *c, uint32_t context, int fd) {
        struct pl_packet request, answer;

        rawclient_make_register(&request, context);
        rawclient_ask(c, &request, fd, &answer);
        assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_REGISTER);
        return answer.body.register_reply.id;
}

void rawclient_expect_end(struct rawclient *c) {
        struct pl_packet packet;

        assert_int_equal(rawclient_recv(c, &packet), -ECONNRESET);
        rawclient_end(c);
}

void rawclient_expect_control(struct rawclient *c, uint32_t type) {
        struct control_message message;
        int fd;

        (void)testing_wait_fd(c->keeper, POLLIN);
        assert_int_equal(control_recv(c->keeper, &message, &fd), 0);
        assert_int_equal(message.type, type);
        assert_int_equal(fd, -1);
}

void rawclient_tell(struct rawclient *c, uint32_t type, uint32_t value) {
        assert_int_equal(control_send(c->keeper, &(struct control_message) { .type = type, .value = value }, -1), 0);
}
