/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Registrations that are given back by somebody else, a second time, or with something bound to them. */

#include <stdlib.h>
#include <string.h>

#include "fixture.h"
#include "harness.h"
#include "process.h"

#define PAGE 4096

static void expect_no_registration(struct raw *raw, uint64_t id) {
        struct pl_packet request, reply;

        pl_packet_init(&request, PL_OP_DEREGISTER, 0);
        request.body.deregister.id = id;
        expect_code(raw_call(raw, &request, -1, &reply), PINLEASE_CODE_NO_SUCH_REGISTRATION);
}

static void run_deregister(const void *argument _unused_) {
        struct fixture f = fixture_open(NULL);
        struct memory memory = memory_new(MEMORY_MEMFD, 4 * PAGE);
        struct raw other = raw_open(NULL);
        struct pl_register_reply first, second;

        expect_no_registration(&f.raw, 0);
        expect_no_registration(&f.raw, 1);
        expect_no_registration(&f.raw, UINT64_MAX);
        first = fixture_register(&f, &memory, PINLEASE_METHOD_PINNED);
        /* Another session's is unknown there. */
        expect_no_registration(&other, first.id);
        expect_no_registration(&f.raw, first.id + 1);
        raw_deregister(&f.raw, first.id);
        expect_no_registration(&f.raw, first.id);
        /* An id does not come back, though its place does. */
        second = fixture_register(&f, &memory, PINLEASE_METHOD_PINNED);
        CHECK(second.id != first.id);
        expect_no_registration(&f.raw, first.id);
        raw_deregister(&f.raw, second.id);

        raw_close(&other);
        memory_free(&memory);
        fixture_close(&f);
}

static bool has_no_session(const void *argument _unused_) {
        struct session session;

        (void)session_find(getpid(), &session);
        return !session.keeper && !session.registrar;
}

/* The app deregisters the service's MR itself: its own loss, and its next MR with the same handle is not touched. */
static void run_self_deregistered(const void *argument _unused_) {
        struct fixture f = fixture_open(NULL);
        struct memory memory = memory_new(MEMORY_MEMFD, 4 * PAGE);
        struct pl_register_reply r = fixture_register(&f, &memory, PINLEASE_METHOD_PINNED);
        struct ibv_mr mr = { .context = f.rdma.context, .pd = f.rdma.pd, .handle = r.handle }, *own;
        struct ibv_mr *stolen = malloc(sizeof(struct ibv_mr) + 64);

        /* ibv_dereg_mr() frees what it is given. */
        CHECK(stolen);
        memset(stolen, 0, sizeof(struct ibv_mr) + 64);
        *stolen = mr;
        CHECK_EQUAL(ibv_dereg_mr(stolen), 0);
        own = ibv_reg_mr(f.rdma.pd, memory.start, memory.length, IBV_ACCESS_LOCAL_WRITE);
        CHECK(own);

        /* The session ends with the entry still in its ledger. */
        raw_close(&f.raw);
        CHECK(eventually(has_no_session, NULL));
        CHECK_EQUAL(ibv_dereg_mr(own), 0);
        memory_free(&memory);
        rdma_close(&f.rdma);
}

/* A bound memory window keeps its memory region from being deregistered (the kernel says EINVAL, the service says what it
 * is), and not from being taken away. */
static void run_window(const void *argument) {
        bool session_ends_first = argument != NULL;
        struct fixture f = fixture_open(NULL);
        struct memory memory = memory_new(MEMORY_MEMFD, 4 * PAGE);
        struct pl_register request = fixture_request(&f, &memory, PINLEASE_METHOD_PINNED);
        struct pl_register_reply r;
        struct pl_packet packet, reply;
        struct ibv_mw *mw;

        request.access |= IBV_ACCESS_MW_BIND;
        r = raw_register(&f.raw, &request, memory.fd);
        rdma_connect(&f.rdma);
        mw = rdma_bind_window(&f.rdma, r.handle, r.lkey, r.rkey, r.iova, r.length);

        pl_packet_init(&packet, PL_OP_DEREGISTER, 0);
        packet.body.deregister.id = r.id;
        expect_code(raw_call(&f.raw, &packet, -1, &reply), PINLEASE_CODE_BUSY);
        raw_ping(&f.raw);

        if (session_ends_first) {
                raw_close(&f.raw);
                CHECK_EQUAL(ibv_dealloc_mw(mw), ENOENT);
                CHECK_EQUAL(rdma_try_transfer(&f.rdma, r.iova, r.rkey, NULL, PAGE, 1), IBV_WC_REM_ACCESS_ERR);
                memory_free(&memory);
                rdma_close(&f.rdma);
                return;
        }
        CHECK_EQUAL(ibv_dealloc_mw(mw), 0);
        raw_deregister(&f.raw, r.id);
        memory_free(&memory);
        fixture_close(&f);
}

const struct test_case cases_deregister[] = {
        { "memory: deregistering what is not one's own", run_deregister, NULL, 0 },
        { "memory: the app deregisters by itself", run_self_deregistered, NULL, 0 },
        { "memory: a bound memory window", run_window, NULL, 0 },
        { "memory: a memory window ends with its session", run_window, "first", 0 },
        { 0 },
};
