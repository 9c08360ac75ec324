/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Many sessions, and SIGKILL at random instants under traffic. PINLEASE_SOAK=1 makes the numbers large;
 * PINLEASE_TEST_SEED repeats the choices of a run, though not its timing.
 */

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "chance.h"
#include "fixture.h"
#include "harness.h"
#include "leftovers.h"
#include "process.h"

#define PAGE UINT64_C(4096)
#define N_PAGES 16

/* --- kinds of memory, and how each may be registered --- */

static const struct {
        enum memory_kind kind;
        uint32_t method;
} ways[] = {
        { MEMORY_MEMFD, PINLEASE_METHOD_PINNED },   { MEMORY_EXT4_DAX, PINLEASE_METHOD_ODP },
        { MEMORY_MEMFD, PINLEASE_METHOD_ODP },      { MEMORY_TMPFS, PINLEASE_METHOD_PINNED },
        { MEMORY_HUGETLB, PINLEASE_METHOD_PINNED }, { MEMORY_XFS_DAX, PINLEASE_METHOD_ODP },
        { MEMORY_EXT4, PINLEASE_METHOD_ODP },       { MEMORY_TMPFS, PINLEASE_METHOD_ODP },
        { MEMORY_HUGETLB, PINLEASE_METHOD_ODP },
};

/* --- one after the other --- */

static void run_in_a_row(const void *argument _unused_) {
        unsigned int n = soak() ? 10000 : 100;
        struct rdma rdma;
        uint64_t seed = chance_begin();

        enter_host("hosta");
        rdma = rdma_open("rxe_a");
        rdma_connect(&rdma);
        for (unsigned int i = 0; i < n; i++) {
                struct memory memory = memory_new(ways[i % ELEMENTSOF(ways)].kind, N_PAGES * PAGE);
                struct fixture f = { .rdma = rdma, .raw = raw_open(NULL) };
                struct pl_register_reply r;

                f.context = raw_attach(&f.raw, rdma.context->cmd_fd);
                r = fixture_register(&f, &memory, ways[i % ELEMENTSOF(ways)].method);
                rdma_transfer(&rdma, r.iova, r.rkey, memory.start, N_PAGES * PAGE, seed + i);
                /* Some let go, some just leave. */
                if (i % 3)
                        raw_deregister(&f.raw, r.id);
                raw_close(&f.raw);
                memory_free(&memory);
        }
        rdma_close(&rdma);
}

/* --- at the same time --- */

struct one {
        unsigned int index;
        uint64_t seed;
};

static void one_of_many(int channel, const void *argument) {
        const struct one *o = argument;
        struct fixture f = fixture_open(NULL);
        struct memory memory = memory_new(ways[o->index % ELEMENTSOF(ways)].kind, N_PAGES * PAGE);
        struct pl_register_reply r;

        rdma_connect(&f.rdma);
        r = fixture_register(&f, &memory, ways[o->index % ELEMENTSOF(ways)].method);
        /* All are registered before any goes on. */
        tell(channel);
        await(channel);
        for (uint64_t i = 0; i < 4; i++)
                rdma_transfer(&f.rdma, r.iova, r.rkey, memory.start, N_PAGES * PAGE, o->seed + o->index * 10 + i);
        tell(channel);
        await(channel);
        fixture_close(&f);
}

static void run_at_the_same_time(const void *argument _unused_) {
        enum { N = 50 };
        static struct app apps[N];
        static struct one ones[N];
        uint64_t seed = chance_begin();

        for (unsigned int i = 0; i < N; i++) {
                ones[i] = (struct one) { i, seed };
                apps[i] = app_start(one_of_many, &ones[i]);
        }
        for (int phase = 0; phase < 2; phase++) {
                for (unsigned int i = 0; i < N; i++)
                        await(apps[i].channel);
                CHECK_EQUAL(process_count(PROCESS_WITH_LEDGER), 2 * N);
                for (unsigned int i = 0; i < N; i++)
                        tell(apps[i].channel);
        }
        for (unsigned int i = 0; i < N; i++)
                app_finish(&apps[i]);
}

/* --- traffic that somebody interrupts --- */

struct churn {
        unsigned int index;
        uint64_t seed;
};

#define MAX_LIVE 4

static bool told_to_stop(int channel) {
        struct pollfd p = { .fd = channel, .events = POLLIN };

        return poll(&p, 1, 0) > 0;
}

/* Registers, transfers, deregisters, by chance. Returns 0 when told to stop, -ECONNRESET when the session has ended. */
static int churn_on(struct fixture *f, const struct churn *c, const struct memory *memory, int channel) {
        struct pl_register_reply live[MAX_LIVE];
        uint64_t state = c->seed + c->index * 1000003ULL;
        unsigned int n = 0;

        for (uint64_t round = 0; !told_to_stop(channel); round++) {
                struct pl_register request = fixture_request(f, memory, ways[c->index % ELEMENTSOF(ways)].method);
                struct pl_packet packet, reply;
                enum ibv_wc_status status;
                int r;

                if (n == MAX_LIVE || (n > 0 && chance(&state) % 3 == 0)) {
                        pl_packet_init(&packet, PL_OP_DEREGISTER, 0);
                        packet.body.deregister.id = live[--n].id;
                        r = raw_try_call(&f->raw, &packet, -1, &reply);
                        if (r < 0)
                                return r;
                        expect_code((enum pinlease_code)r, PINLEASE_CODE_NONE);
                        continue;
                }

                request.offset = chance(&state) % (N_PAGES / 2) * PAGE;
                request.address += request.offset;
                request.length = (1 + chance(&state) % (N_PAGES / 2)) * PAGE;
                pl_packet_init(&packet, PL_OP_REGISTER, 0);
                packet.body.reg = request;
                r = raw_try_call(&f->raw, &packet, memory->fd, &reply);
                if (r < 0)
                        return r;
                expect_code((enum pinlease_code)r, PINLEASE_CODE_NONE);
                live[n++] = reply.body.register_reply;

                status = rdma_try_transfer(&f->rdma,
                                           live[n - 1].iova,
                                           live[n - 1].rkey,
                                           memory->start + request.offset,
                                           request.length,
                                           round);
                if (status == IBV_WC_REM_ACCESS_ERR) {
                        /* The only thing that takes memory away. */
                        raw_expect_end(&f->raw);
                        return -ECONNRESET;
                }
                if (status != IBV_WC_SUCCESS)
                        FAIL("RDMA: %s", ibv_wc_status_str(status));
                if (round == 0)
                        tell(channel);
        }
        return 0;
}

static void churn(int channel, const void *argument) {
        const struct churn *c = argument;
        struct fixture f = fixture_open(NULL);
        struct memory memory = memory_new(ways[c->index % ELEMENTSOF(ways)].kind, N_PAGES * PAGE);

        rdma_connect(&f.rdma);
        if (churn_on(&f, c, &memory, channel) == 0)
                FAIL("the session goes on");
        memory_free(&memory);
        /* The socket's end comes after the last memory region has gone, though the app lives: its PD is free. */
        fixture_close(&f);
}

enum victim { VICTIM_APP, VICTIM_REGISTRAR, VICTIM_KEEPER };

#define BATCH 5

static void expect_nothing_left(unsigned int done) {
        static const struct leftovers none;
        char left[512];

        if (!leftovers_none(&none, left, sizeof left))
                FAIL("after %u kills: left behind: %s", done, left);
}

static void run_kills(const void *argument) {
        const enum victim *victim = argument;
        unsigned int n = soak() ? 300 : 20;
        uint64_t state = chance_begin();

        for (unsigned int done = 0; done < n; done += BATCH) {
                struct session sessions[BATCH];
                struct app apps[BATCH];
                struct churn churns[BATCH];

                for (unsigned int i = 0; i < BATCH; i++) {
                        churns[i] = (struct churn) { .index = done + i, .seed = chance(&state) };
                        apps[i] = app_start(churn, &churns[i]);
                }
                for (unsigned int i = 0; i < BATCH; i++) {
                        await(apps[i].channel);
                        sessions[i] = session_of(apps[i].pid);
                }
                for (unsigned int i = 0; i < BATCH; i++) {
                        chance_wait(&state, 60);
                        CHECK_CALL(pidfd_send_signal(*victim == VICTIM_APP         ? apps[i].pidfd
                                                     : *victim == VICTIM_REGISTRAR ? sessions[i].registrar_fd
                                                                                   : sessions[i].keeper_fd,
                                                     SIGKILL,
                                                     NULL,
                                                     0));
                }
                for (unsigned int i = 0; i < BATCH; i++) {
                        if (*victim == VICTIM_APP)
                                app_reap(&apps[i]);
                        else
                                app_finish(&apps[i]);
                        session_await_end(&sessions[i]);
                }
                expect_nothing_left(done + BATCH);
        }
}

static const enum victim app_victim = VICTIM_APP, registrar_victim = VICTIM_REGISTRAR, keeper_victim = VICTIM_KEEPER;

const struct test_case cases_campaign[] = {
        { "campaign: sessions in a row", run_in_a_row, NULL, CASE_LONG },
        { "campaign: 50 sessions at the same time", run_at_the_same_time, NULL, CASE_LONG },
        { "campaign: apps killed", run_kills, &app_victim, CASE_LONG },
        { "campaign: registrars killed", run_kills, &registrar_victim, CASE_LONG },
        { "campaign: keepers killed", run_kills, &keeper_victim, CASE_LONG },
        { 0 },
};
