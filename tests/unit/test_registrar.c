/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rawclient.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "fake_uverbs.h"
#include "testing_policy.h"
#include "fdclass.h"

/* What an app says to its registrar, and is answered. */

#define PAGE RAWCLIENT_PAGE
#define HOUR 3600000

/* An ordinary session, by every request there is. */
TEST(test_session) {
        struct pl_packet request, answer;
        int fd = testing_memfd(PAGE);
        uint32_t null, zero;
        struct rawclient c;
        uint64_t id;

        rawclient_start(&c, HOUR);
        rawclient_hello(&c);
        pl_packet_init(&request, PL_OP_PING, 0);
        rawclient_ask(&c, &request, -1, &answer);
        null = rawclient_attach(&c, "/dev/null");
        zero = rawclient_attach(&c, "/dev/zero");
        assert_int_equal(c.n_contexts, 2);
        id = rawclient_register(&c, null, fd);
        rawclient_register(&c, zero, fd);
        rawclient_register(&c, zero, fd);
        assert_int_equal(fake_live(), 3);

        pl_packet_init(&request, PL_OP_DEREGISTER, 0);
        request.body.deregister.id = id;
        rawclient_ask(&c, &request, -1, &answer);
        assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_DEREGISTER);
        rawclient_ask(&c, &request, -1, &answer);
        rawclient_assert_refused(&answer, PL_OP_DEREGISTER, PINLEASE_CODE_NO_SUCH_REGISTRATION);

        pl_packet_init(&request, PL_OP_DETACH, 0);
        request.body.detach.context = zero;
        rawclient_ask(&c, &request, -1, &answer);
        assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_DETACH);
        assert_int_equal(c.n_contexts, 1);
        assert_int_equal(fake_live(), 0);
        rawclient_ask(&c, &request, -1, &answer);
        rawclient_assert_refused(&answer, PL_OP_DETACH, PINLEASE_CODE_NO_SUCH_CONTEXT);

        rawclient_register(&c, null, fd);
        c.app = pl_close(c.app);
        rawclient_end(&c);
        pl_close(fd);
}

/* What is refused leaves no descriptor in the registrar; nor does what was done and undone. */
TEST(test_refusals_leave_nothing) {
        int fds[7], pair[2], memory = testing_memfd(PAGE);
        struct pl_packet request, answer;
        unsigned int before;
        struct rawclient c;
        size_t n = 0;

        assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
        fds[n++] = pair[0];
        fds[n++] = pair[1];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        fds[n++] = pair[0];
        fds[n++] = pair[1];
        fds[n++] = eventfd(0, EFD_CLOEXEC);
        fds[n++] = open("/dev/shm", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        fds[n++] = open("/dev/tty", O_PATH | O_CLOEXEC);

        rawclient_start(&c, HOUR);
        rawclient_hello(&c);
        (void)rawclient_attach(&c, "/dev/null");
        /* What is registered has its guards, and these their descriptors; one more registration has none of its own. */
        (void)rawclient_register(&c, 0, memory);
        before = testing_count_fds(c.pid);
        for (unsigned int round = 0; round < 10; round++)
                for (size_t i = 0; i < n; i++) {
                        pl_packet_init(&request, PL_OP_ATTACH, 0);
                        rawclient_ask(&c, &request, fds[i], &answer);
                        rawclient_assert_refused(&answer, PL_OP_ATTACH, PINLEASE_CODE_NOT_VERBS);
                        rawclient_make_register(&request, 0);
                        rawclient_ask(&c, &request, fds[i], &answer);
                        rawclient_assert_refused(&answer,
                                                 PL_OP_REGISTER,
                                                 i == n - 1 ? PINLEASE_CODE_PATH_FD : PINLEASE_CODE_NOT_MEMORY);
                }

        for (unsigned int round = 0; round < 40; round++) {
                pl_packet_init(&request, PL_OP_ATTACH, 0);
                rawclient_ask(&c, &request, memory, &answer);
                rawclient_assert_refused(&answer, PL_OP_ATTACH, PINLEASE_CODE_NOT_VERBS);
                rawclient_make_register(&request, 0);
                request.body.reg.length = PAGE + 1;
                rawclient_ask(&c, &request, memory, &answer);
                rawclient_assert_refused(&answer, PL_OP_REGISTER, PINLEASE_CODE_BEYOND_END);
                rawclient_make_register(&request, 99);
                rawclient_ask(&c, &request, memory, &answer);
                rawclient_assert_refused(&answer, PL_OP_REGISTER, PINLEASE_CODE_NO_SUCH_CONTEXT);
        }
        for (unsigned int i = 0; i < 15; i++)
                rawclient_register(&c, 0, memory);
        rawclient_make_register(&request, 0);
        rawclient_ask(&c, &request, memory, &answer);
        rawclient_assert_refused(&answer, PL_OP_REGISTER, PINLEASE_CODE_REGISTRATION_LIMIT);

        assert_int_equal(testing_count_fds(c.pid), before);
        c.app = pl_close(c.app);
        rawclient_end(&c);
        for (size_t i = 0; i < n; i++)
                pl_close(fds[i]);
        pl_close(memory);
}

/* Every way of breaking the protocol: its own refusal, then the end. What came with it is closed. */

enum when { FIRST, GREETED };

static void violate(enum when when, const void *data, size_t size, unsigned int n_fds, uint16_t opcode, enum pinlease_code code) {
        int pair[2], fds[64], memory = testing_memfd(PAGE);
        struct pl_packet answer;
        struct rawclient c;
        char byte;

        assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
        for (unsigned int i = 0; i < n_fds; i++)
                fds[i] = pair[1];
        rawclient_start(&c, HOUR);
        if (when == GREETED) {
                rawclient_hello(&c);
                (void)rawclient_attach(&c, "/dev/null");
                (void)rawclient_register(&c, 0, memory);
        }
        assert_int_equal(rawclient_send(&c, data, size, fds, n_fds), 0);
        pl_close(pair[1]);
        assert_int_equal(rawclient_recv(&c, &answer), 0);
        rawclient_assert_refused(&answer, opcode, code);
        assert_int_equal(answer.body.refused.error, pl_code_errno(code));
        rawclient_expect_end(&c);
        assert_int_equal(read(pair[0], &byte, 1), 0);
        pl_close(pair[0]);
        pl_close(memory);
}

TEST(test_violations) {
        static const uint8_t zeros[4096];
        struct pl_packet p;

        pl_packet_init(&p, PL_OP_PING, 9);
        violate(FIRST, &p, p.header.length, 0, PL_OP_PING, PINLEASE_CODE_BAD_ORDER);
        rawclient_make_register(&p, 0);
        p.header.seq = 9;
        violate(FIRST, &p, p.header.length, 1, PL_OP_REGISTER, PINLEASE_CODE_BAD_ORDER);
        pl_packet_init(&p, PL_OP_HELLO, 9);
        violate(GREETED, &p, p.header.length, 0, PL_OP_HELLO, PINLEASE_CODE_BAD_ORDER);

        p.header.magic++;
        violate(FIRST, &p, p.header.length, 0, PL_OP_HELLO, PINLEASE_CODE_BAD_MAGIC);
        pl_packet_init(&p, PL_OP_HELLO, 9);
        p.header.version = 2;
        violate(FIRST, &p, p.header.length, 0, PL_OP_HELLO, PINLEASE_CODE_BAD_VERSION);
        pl_packet_init(&p, PL_OP_PING, 9);
        p.header.flags = 1;
        violate(GREETED, &p, p.header.length, 0, PL_OP_PING, PINLEASE_CODE_BAD_FLAGS);
        pl_packet_init(&p, PL_OP_PING, 0);
        violate(GREETED, &p, p.header.length, 0, PL_OP_PING, PINLEASE_CODE_BAD_FLAGS);
        pl_packet_init(&p, PL_OP_PING, 9);
        p.header.opcode = 99;
        violate(GREETED, &p, p.header.length, 0, 99, PINLEASE_CODE_BAD_OPCODE);
        pl_packet_init(&p, PL_OP_REPLY | PL_OP_PING, 9);
        violate(GREETED, &p, p.header.length, 0, PL_OP_REPLY | PL_OP_PING, PINLEASE_CODE_BAD_OPCODE);

        /* Padded, cut off, lying about its length, far too long, next to nothing. */
        pl_packet_init(&p, PL_OP_PING, 9);
        p.header.length += 8;
        violate(GREETED, &p, p.header.length, 0, PL_OP_PING, PINLEASE_CODE_BAD_LENGTH);
        violate(GREETED, &p, p.header.length - 8, 0, PL_OP_PING, PINLEASE_CODE_BAD_LENGTH);
        violate(GREETED, &p, 16, 0, PL_OP_PING, PINLEASE_CODE_BAD_LENGTH);
        violate(GREETED, &p, 1, 0, 0, PINLEASE_CODE_BAD_LENGTH);
        violate(GREETED, &p, 0, 1, 0, PINLEASE_CODE_BAD_LENGTH);
        violate(GREETED, zeros, sizeof zeros, 0, 0, PINLEASE_CODE_BAD_LENGTH);
        violate(FIRST, zeros, PL_MAX_PACKET, 0, 0, PINLEASE_CODE_BAD_MAGIC);

        /* Too many descriptors and too few. */
        pl_packet_init(&p, PL_OP_PING, 9);
        violate(GREETED, &p, p.header.length, 1, PL_OP_PING, PINLEASE_CODE_BAD_FD_COUNT);
        violate(GREETED, &p, p.header.length, 4, PL_OP_PING, PINLEASE_CODE_BAD_FD_COUNT);
        violate(GREETED, &p, p.header.length, 5, PL_OP_PING, PINLEASE_CODE_BAD_FD_COUNT);
        violate(GREETED, &p, p.header.length, 64, PL_OP_PING, PINLEASE_CODE_BAD_FD_COUNT);
        rawclient_make_register(&p, 0);
        p.header.seq = 9;
        violate(GREETED, &p, p.header.length, 0, PL_OP_REGISTER, PINLEASE_CODE_BAD_FD_COUNT);
        violate(GREETED, &p, p.header.length, 2, PL_OP_REGISTER, PINLEASE_CODE_BAD_FD_COUNT);
        violate(GREETED, &p, p.header.length, 9, PL_OP_REGISTER, PINLEASE_CODE_BAD_FD_COUNT);
}

/* A file that might hang: not touched, and the session ends with everything given up. */
TEST(test_hanging_file) {
        int memory = testing_memfd(PAGE), hanging = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);
        struct pl_packet request, answer;
        struct pl_fdclass class;
        struct rawclient c;

        assert_int_equal(pl_fdclass_get(hanging, &class), 0);
        if (class.kind != PL_FD_HANGING) {
                pl_close(memory);
                pl_close(hanging);
                assert_true(testing_kernel_is(7, 0));
                testing_skip("this kernel tells that a namespace file cannot hang; a real one is tested in the guest\n");
        }
        for (unsigned int opcode = PL_OP_ATTACH; opcode <= PL_OP_REGISTER; opcode += PL_OP_REGISTER - PL_OP_ATTACH) {
                rawclient_start(&c, HOUR);
                rawclient_hello(&c);
                (void)rawclient_attach(&c, "/dev/null");
                (void)rawclient_register(&c, 0, memory);
                pl_packet_init(&request, (uint16_t)opcode, 0);
                rawclient_ask(&c, &request, hanging, &answer);
                rawclient_assert_refused(&answer, (uint16_t)opcode, PINLEASE_CODE_HANGING_FILE);
                rawclient_expect_end(&c);
        }
        pl_close(memory);
        pl_close(hanging);
}

TEST(test_hello_timeout) {
        struct rawclient c;

        rawclient_start(&c, 50);
        rawclient_expect_end(&c);
}

/* Once the app has said HELLO there is no deadline any more, however long it is silent. */
TEST(test_hello_ends_timeout) {
        static const struct credit_amount limits = { .pinned = 1, .odp = 1, .registrations = 1 };
        struct rawclient c = { 0 };
        struct registrar r;
        struct pl_packet packet;
        int client[2], control[2];

        assert_int_equal(ledger_create(1, &c.ledger), 0);
        assert_int_equal(control_pair(client), 0);
        assert_int_equal(control_pair(control), 0);
        registrar_init(&r,
                       &(struct registrar_config) {
                               .client = client[1],
                               .control = control[1],
                               .limits = limits,
                               .credit = limits,
                               .policy = testing_policy_mapped(),
                               .pagemap = -1,
                               .hello_timeout_ms = HOUR,
                       },
                       &fake_ops,
                       &c.ledger);
        assert_true(r.hello_deadline > 0);
        c.app = client[0];
        pl_packet_init(&packet, PL_OP_HELLO, 1);
        assert_int_equal(rawclient_send(&c, &packet, packet.header.length, NULL, 0), 0);
        assert_int_equal(registrar_turn(&r), 0);
        assert_true(r.greeted);
        assert_int_equal(r.hello_deadline, 0);
        assert_int_equal(registrar_done(&r), 0);
        for (size_t i = 0; i < 2; i++) {
                pl_close(client[i]);
                pl_close(control[i]);
        }
}

/* An app that sends and never reads: it is not served any more, what it has sent waits in its own socket, and the keeper
 * gets its answers all the same. Once the app reads, nothing is lost. */
TEST(test_app_does_not_read) {
        int memory = testing_memfd(PAGE);
        struct pl_packet request, answer;
        uint32_t first, n = 0;
        unsigned int before;
        struct rawclient c;

        rawclient_start(&c, HOUR);
        rawclient_hello(&c);
        (void)rawclient_attach(&c, "/dev/null");
        before = testing_count_fds(c.pid);
        first = c.seq + 1;

        for (unsigned int full = 0; full < 3;) {
                /* Refused, with a long answer. */
                rawclient_make_register(&request, 99);
                request.header.seq = first + n;
                if (rawclient_send(&c, &request, request.header.length, &memory, 1) == 0)
                        n++;
                else
                        full++;
                rawclient_tell(&c, CONTROL_PING, 0);
                rawclient_expect_control(&c, CONTROL_PONG);
                assert_true(n < 100000);
        }
        print_message("%u requests taken\n", n);
        assert_true(n > 3);
        /* At most the one that is being handled. */
        assert_in_range(testing_count_fds(c.pid), before, before + 1);

        for (uint32_t i = 0; i < n; i++) {
                assert_int_equal(rawclient_recv(&c, &answer), 0);
                rawclient_assert_refused(&answer, PL_OP_REGISTER, PINLEASE_CODE_NO_SUCH_CONTEXT);
                assert_int_equal(answer.header.seq, first + i);
        }
        c.seq = first + n;
        pl_packet_init(&request, PL_OP_PING, 0);
        rawclient_ask(&c, &request, -1, &answer);
        assert_int_equal(testing_count_fds(c.pid), before);

        /* It hangs up in the middle of another flood. */
        rawclient_make_register(&request, 99);
        request.header.seq = 1;
        while (rawclient_send(&c, &request, request.header.length, &memory, 1) == 0)
                ;
        c.app = pl_close(c.app);
        rawclient_end(&c);
        pl_close(memory);
}

/* Random bytes and descriptors; whatever happens, everything is given back. */
TEST(test_random) {
        unsigned int rounds = testing_rounds(150);
        int memory = testing_memfd(PAGE);
        struct testing_random random;

        testing_seed(&random, "registrar, random packets");
        for (unsigned int round = 0; round < rounds; round++) {
                struct rawclient c;

                rawclient_start(&c, HOUR);
                rawclient_hello(&c);
                (void)rawclient_attach(&c, "/dev/null");
                for (unsigned int i = 0; i < 30; i++) {
                        struct pl_packet request, answer;

                        rawclient_make_register(&request, testing_below(&random, 2));
                        if (testing_below(&random, 3) == 0)
                                ((uint8_t *)&request.body)[testing_below(&random, sizeof request.body.reg)] =
                                        (uint8_t)testing_random(&random);
                        if (testing_below(&random, 100) == 0)
                                ((uint8_t *)&request.header)[testing_below(&random, sizeof request.header)] ^=
                                        (uint8_t)(1U << testing_below(&random, 8));
                        if (request.header.seq == 0)
                                request.header.seq = i + 1;
                        if (rawclient_send(&c, &request, sizeof request.header + sizeof request.body.reg, &memory, 1) < 0)
                                break;
                        if (rawclient_recv(&c, &answer) < 0)
                                break;
                        if (answer.header.opcode == (PL_OP_REPLY | PL_OP_REGISTER) && testing_below(&random, 2)) {
                                pl_packet_init(&request, PL_OP_DEREGISTER, 0);
                                request.body.deregister.id = answer.body.register_reply.id;
                                rawclient_ask(&c, &request, -1, &answer);
                                assert_int_equal(answer.header.opcode, PL_OP_REPLY | PL_OP_DEREGISTER);
                        }
                }
                c.app = pl_close(c.app);
                rawclient_end(&c);
        }
        pl_close(memory);
}

static uint64_t counted(const struct stats *stats, enum stats_op op) {
        uint64_t n = 0;

        for (unsigned int i = 0; i < STATS_N_BUCKETS; i++)
                n += atomic_load(&stats->latency[op].counts[i]);
        return n;
}

/* What is done and what is refused is counted, each once, where the keeper and pinleased can read it. */
TEST(test_counts) {
        struct pl_packet request, answer;
        int fd = testing_memfd(PAGE);
        const struct stats *stats;
        struct rawclient c;
        uint64_t id;

        rawclient_start(&c, HOUR);
        stats = &c.ledger.header->stats;
        rawclient_hello(&c);
        (void)rawclient_attach(&c, "/dev/null");
        rawclient_register(&c, 0, fd);
        id = rawclient_register(&c, 0, fd);
        rawclient_make_register(&request, 0);
        request.body.reg.methods = PINLEASE_METHOD_PINNED;
        rawclient_ask(&c, &request, fd, &answer);
        for (unsigned int i = 0; i < 3; i++) {
                rawclient_make_register(&request, 99);
                rawclient_ask(&c, &request, fd, &answer);
                rawclient_assert_refused(&answer, PL_OP_REGISTER, PINLEASE_CODE_NO_SUCH_CONTEXT);
        }
        pl_packet_init(&request, PL_OP_DEREGISTER, 0);
        request.body.deregister.id = id;
        rawclient_ask(&c, &request, -1, &answer);
        rawclient_ask(&c, &request, -1, &answer);
        rawclient_assert_refused(&answer, PL_OP_DEREGISTER, PINLEASE_CODE_NO_SUCH_REGISTRATION);

        /* The answer may be here before the time is taken; the answer to what comes next is not. */
        pl_packet_init(&request, PL_OP_PING, 0);
        rawclient_ask(&c, &request, -1, &answer);
        assert_int_equal(stats->registered[STATS_ODP], 2);
        assert_int_equal(stats->registered[STATS_PINNED], 1);
        assert_int_equal(stats->deregistered, 1);
        assert_int_equal(stats->live[STATS_ODP].registrations, 1);
        assert_int_equal(stats->live[STATS_PINNED].registrations, 1);
        assert_int_equal(stats->live[STATS_PINNED].bytes, PAGE);
        assert_int_equal(stats->refusals[PINLEASE_CODE_NO_SUCH_CONTEXT], 3);
        assert_int_equal(stats->refusals[PINLEASE_CODE_NO_SUCH_REGISTRATION], 1);
        assert_int_equal(counted(stats, STATS_REGISTER), 6);
        assert_int_equal(counted(stats, STATS_DEREGISTER), 2);
        assert_true(stats->latency[STATS_REGISTER].sum_us < TESTING_PATIENCE_MS * 1000ULL);

        /* What breaks the protocol is a refusal, but not a request. */
        rawclient_make_register(&request, 0);
        request.header.flags = 1;
        request.header.seq = 1000;
        assert_int_equal(rawclient_send(&c, &request, request.header.length, &fd, 1), 0);
        assert_int_equal(rawclient_recv(&c, &answer), 0);
        rawclient_assert_refused(&answer, PL_OP_REGISTER, PINLEASE_CODE_BAD_FLAGS);
        assert_int_equal(rawclient_recv(&c, &answer), -ECONNRESET);
        assert_int_equal(testing_wait_child(c.pid), 0);
        assert_int_equal(stats->refusals[PINLEASE_CODE_BAD_FLAGS], 1);
        assert_int_equal(counted(stats, STATS_REGISTER), 6);
        assert_int_equal(stats->live[STATS_ODP].registrations, 0);
        assert_int_equal(stats->live[STATS_PINNED].bytes, 0);
        assert_int_equal(stats->deregistered, 3);

        pl_close(c.app);
        pl_close(c.keeper);
        ledger_done(&c.ledger);
        pl_close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_session),
                CHECKED(test_refusals_leave_nothing),
                CHECKED(test_violations),
                CHECKED(test_hanging_file),
                CHECKED(test_hello_timeout),
                CHECKED(test_hello_ends_timeout),
                CHECKED(test_app_does_not_read),
                CHECKED(test_counts),
                CHECKED(test_random),
        };

        return cmocka_run_group_tests_name("registrar", tests, NULL, NULL);
}
