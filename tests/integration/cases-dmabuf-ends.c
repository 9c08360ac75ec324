/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* dma-bufs that the service has registered, by the module of tests/kmod: their ends, and what is left of them. */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "calls.h"
#include "chance.h"
#include "ctl.h"
#include "dmabuf.h"
#include "harness.h"
#include "leftovers.h"
#include "process.h"
#include "ruled.h"
#include "service.h"

#define PAGE UINT64_C(4096)

/* --- what is left --- */

/* Has a dma-buf registered, and nothing else of it. */
static void registers_and_waits(int channel, const void *argument _unused_) {
        struct fixture f = fixture_open(NULL);
        struct buffer b = buffer_new(OF_HEAP, 16 * PAGE);
        struct pl_register_reply reply = buffer_register(&f, &b);

        rdma_connect(&f.rdma);
        rdma_transfer(&f.rdma, DMABUF_IOVA, reply.rkey, b.start, b.length, 1);
        buffer_free(&b);
        tell(channel);
        await_end(channel);
}

static void run_app_dies(const void *argument _unused_) {
        struct session session;
        unsigned int before;
        struct app app;

        dmabuf_need_module();
        before = dmabuf_count();
        app = app_start(registers_and_waits, NULL);
        await(app.channel);
        CHECK_EQUAL(dmabuf_count(), before + 1);
        CHECK_EQUAL(dmabuf_unload(), -EAGAIN);
        session = session_of(app.pid);
        app_kill(&app);
        session_await_end(&session);
        dmabuf_await_count(before);
        CHECK_EQUAL(leftovers_pinned(), 0);
        CHECK_EQUAL(dmabuf_unload(), 0);
        dmabuf_load();
}

/* Registers and deregisters until its session ends; then nothing may be left on its context, which it keeps. */
static void churns(int channel, const void *argument) {
        uint64_t state = *(const uint64_t *)argument;
        struct fixture f = fixture_open(NULL);
        struct buffer b = buffer_new(OF_HEAP, 16 * PAGE);
        uint64_t ids[4], n = 0;
        int r = 0;

        tell(channel);
        while (r >= 0) {
                struct pl_packet packet, reply;
                bool more = n == 0 || (n < ELEMENTSOF(ids) && chance(&state) % 2);

                pl_packet_init(&packet, more ? PL_OP_REGISTER : PL_OP_DEREGISTER, 0);
                if (more)
                        packet.body.reg = buffer_request(&f, 0, (1 + chance(&state) % 16) * PAGE, DMABUF_IOVA);
                else
                        packet.body.deregister.id = ids[--n];
                r = raw_try_call(&f.raw, &packet, more ? b.fd : -1, &reply);
                if (r >= 0)
                        expect_code((enum pinlease_code)r, PINLEASE_CODE_NONE);
                if (r >= 0 && more)
                        ids[n++] = reply.body.register_reply.id;
        }
        CHECK_EQUAL(r, -ECONNRESET);
        buffer_free(&b);
        tell(channel);
        await(channel);
        rdma_close(&f.rdma);
        tell(channel);
        await_end(channel);
}

/* The keeper finds each handle, wherever the kernel has left it. */
static void run_registrar_dies(const void *argument _unused_) {
        unsigned int rounds = soak_rounds(8, 300), before;
        uint64_t state;

        dmabuf_need_module();
        before = dmabuf_count();
        state = chance_begin();
        for (unsigned int round = 0; round < rounds; round++) {
                uint64_t seed = chance(&state);
                struct app app = app_start(churns, &seed);
                struct session session;

                await(app.channel);
                session = session_of(app.pid);
                chance_wait(&state, 50);
                CHECK_CALL(pidfd_send_signal(session.registrar_fd, SIGKILL, NULL, 0));
                await(app.channel);
                session_await_end(&session);
                /* The app has its context still: nobody but the keeper has ended what was registered. */
                dmabuf_await_count(before);
                CHECK_EQUAL(leftovers_pinned(), 0);
                tell(app.channel);
                await(app.channel);
                app_hang_up(&app);
                app_finish(&app);
        }
}

static void run_link_delete(const void *argument _unused_) {
        struct pl_register request;
        struct fixture f;
        unsigned int before;
        struct buffer b;

        dmabuf_need_module();
        before = dmabuf_count();
        command("ip link add pl-y type dummy && ip addr add 10.80.0.1/24 dev pl-y && ip link set pl-y up && "
                "rdma link add rxe_y type rxe netdev pl-y");
        f = (struct fixture) { .rdma = rdma_open("rxe_y"), .raw = raw_open(NULL) };
        f.context = raw_attach(&f.raw, f.rdma.context->cmd_fd);
        b = buffer_new(OF_HEAP, 16 * PAGE);
        (void)buffer_register(&f, &b);
        command("rdma link delete rxe_y");
        request = buffer_request(&f, 0, PAGE, DMABUF_IOVA);
        expect_code(fixture_try(&f, &request, b.fd, NULL), PINLEASE_CODE_KERNEL);
        buffer_free(&b);
        dmabuf_await_count(before);
        CHECK_EQUAL(leftovers_pinned(), 0);
        raw_close(&f.raw);
        command("ip link delete pl-y");
}

static void run_cycles(const void *argument _unused_) {
        unsigned int rounds = soak_rounds(1000, 100000), before;
        struct buffer heap;
        struct fixture f;

        dmabuf_need_module();
        before = dmabuf_count();
        f = fixture_open(NULL);
        rdma_connect(&f.rdma);
        heap = buffer_new(OF_HEAP, 16 * PAGE);
        for (unsigned int round = 0; round < rounds; round++) {
                /* A new dma-buf each time, and one that stays. */
                struct buffer new = round % 2 ? heap : buffer_new(OF_MEMFD, 4 * PAGE);
                struct pl_register_reply reply = buffer_register(&f, &new);

                if (round % 2 == 0)
                        buffer_close(&new);
                if (round % 50 < 2)
                        rdma_transfer(&f.rdma, DMABUF_IOVA, reply.rkey, new.start, new.length, round);
                raw_deregister(&f.raw, reply.id);
                if (round % 2 == 0)
                        buffer_free(&new);
        }
        dmabuf_await_count(before + 1);
        buffer_free(&heap);
        dmabuf_await_count(before);
        fixture_close(&f);
}

/* --- taken back --- */

/* By its owner's own list, and by an administrator; a window that the app has bound does not hold it. */
static void run_revoked(const void *argument _unused_) {
        struct json_object *documents, *listed;
        struct pl_register_reply reply;
        struct fixture f;
        struct buffer b;
        unsigned int before;
        char pid[16];

        dmabuf_need_module();
        before = dmabuf_count();
        f = fixture_open(NULL);
        rdma_connect(&f.rdma);
        b = buffer_new(OF_MEMFD, 4 * PAGE);
        reply = buffer_register(&f, &b);
        buffer_close(&b);
        (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
        documents = ctl_json(NULL, "list", "--pid", pid, NULL);
        listed = ctl_find(documents, "registration", "method", "dmabuf");
        CHECK(listed);
        CHECK(strcmp(ctl_text(listed, "backing"), "dmabuf") == 0);
        CHECK(strcmp(ctl_text(listed, "name"), "dmabuf:udmabuf") == 0);
        CHECK_EQUAL(ctl_number(listed, "bytes"), (long long)(4 * PAGE));
        json_object_put(documents);

        CHECK_EQUAL(call_change_access(f.rdma.context->cmd_fd, reply.handle, ACCESS_READ_WRITE | IBV_ACCESS_MW_BIND), 0);
        (void)rdma_bind_window(&f.rdma, reply.handle, reply.lkey, reply.rkey, DMABUF_IOVA, 4 * PAGE);
        rdma_transfer(&f.rdma, DMABUF_IOVA, reply.rkey, b.start, b.length, 1);
        documents = ctl_json(NULL, "revoke", "--pid", pid, "--grace", "0", NULL);
        CHECK_EQUAL(ctl_number(ctl_last(documents), "forced"), 1);
        json_object_put(documents);
        CHECK_EQUAL(raw_expect_event(&f.raw, PL_OP_REVOKED).body.revoked.id, reply.id);
        CHECK_EQUAL(rdma_try_transfer(&f.rdma, DMABUF_IOVA, reply.rkey, NULL, PAGE, 2), IBV_WC_REM_ACCESS_ERR);
        buffer_free(&b);
        dmabuf_await_count(before);
        fixture_close(&f);
}

/* By the policy: whose exporter is not wanted any more. And limits are those of pins. */
static void run_policy(const void *argument _unused_) {
        static const char allows[] = "{\"version\": 1, \"limits\": {\"session\": {\"pinned\": \"64K\"}}}";
        static const char no_heaps[] =
                "{\"version\": 1, \"rules\": [{\"name\": \"no heaps\", \"match\": {\"backing\": \"dmabuf\", \"exporter\": "
                "\"sys*\"}, \"allow\": false}]}";
        struct pl_register_reply of_heap, of_memfd;
        struct pl_register request;
        struct ruled ruled;
        struct fixture f;
        struct buffer heap, memfd, large;

        dmabuf_need_module();
        ruled = ruled_start(allows);
        f = fixture_open(ruled.instance.path);
        rdma_connect(&f.rdma);
        heap = buffer_new(OF_HEAP, 4 * PAGE);
        memfd = buffer_new(OF_MEMFD, 4 * PAGE);
        large = buffer_new(OF_HEAP, 32 * PAGE);
        request = buffer_request(&f, 0, large.length, DMABUF_IOVA);
        expect_code(fixture_try(&f, &request, large.fd, NULL), PINLEASE_CODE_PINNED_LIMIT);
        of_heap = buffer_register(&f, &heap);
        of_memfd = buffer_register(&f, &memfd);
        buffer_close(&heap);

        ruled_reload(&ruled, no_heaps);
        CHECK_EQUAL(raw_expect_event(&f.raw, PL_OP_REVOKING).body.revoking.id, of_heap.id);
        raw_deregister(&f.raw, of_heap.id);
        rdma_transfer(&f.rdma, DMABUF_IOVA, of_memfd.rkey, memfd.start, memfd.length, 1);
        request = buffer_request(&f, 0, PAGE, DMABUF_IOVA);
        expect_code(fixture_try(&f, &request, large.fd, NULL), PINLEASE_CODE_POLICY);
        raw_deregister(&f.raw, of_memfd.id);
        buffer_free(&heap);
        buffer_free(&memfd);
        buffer_free(&large);
        fixture_close(&f);
        ruled_stop(&ruled);
}

const struct test_case cases_dmabuf_ends[] = {
        { "dmabuf: the app dies", run_app_dies, NULL, 0 },
        { "dmabuf: the registrar dies at some instant", run_registrar_dies, NULL, CASE_SHARED | CASE_LONG },
        { "dmabuf: the device is deleted", run_link_delete, NULL, 0 },
        { "dmabuf: again and again", run_cycles, NULL, CASE_SHARED | CASE_LONG },
        { "dmabuf: taken back, with a window bound", run_revoked, NULL, 0 },
        { "dmabuf: taken back by the policy", run_policy, NULL, 0 },
        { 0 },
};
