/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* dma-bufs that the service registers: their bytes, their ends, who may not, and what is left of them, by the module of
 * tests/kmod. */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>

#include "calls.h"
#include "chance.h"
#include "ctl.h"
#include "dmabuf.h"
#include "fixture.h"
#include "harness.h"
#include "leftovers.h"
#include "process.h"
#include "ruled.h"
#include "service.h"

#define PAGE UINT64_C(4096)
/* Not an address of anything here, as nobody needs one. */
#define IOVA UINT64_C(0x5000000000)

/* --- a session that has a dma-buf, and what is behind it --- */

enum exporter {
        OF_MEMFD, /* a udmabuf; not from the memfd's beginning */
        OF_HEAP,
};

struct buffer {
        struct memory memory; /* what is behind it, mapped */
        uint8_t *start;       /* of the dma-buf, in there */
        uint64_t length;
        int fd; /* the dma-buf */
};

static struct buffer buffer_new(enum exporter exporter, uint64_t length) {
        struct buffer b = { .length = length };

        if (exporter == OF_HEAP) {
                b.memory = dmabuf_of_heap(length);
                b.start = b.memory.start;
                b.fd = b.memory.fd;
                b.memory.fd = -1;
        } else {
                b.memory = dmabuf_new_memfd(MEMORY_MEMFD, length + 2 * PAGE);
                memset(b.memory.start, 0, b.memory.length);
                b.start = b.memory.start + PAGE;
                b.fd = dmabuf_of_memfd(&b.memory, PAGE, length);
        }
        return b;
}

static void buffer_close(struct buffer *b) {
        b->fd = pl_close(b->fd);
}

static void buffer_free(struct buffer *b) {
        buffer_close(b);
        memory_free(&b->memory);
}

static struct pl_register request_of(const struct fixture *f, uint64_t offset, uint64_t length, uint64_t iova) {
        return (struct pl_register) {
                .context = f->context,
                .pd = f->rdma.pd->handle,
                .offset = offset,
                .length = length,
                .address = iova,
                .access = ACCESS_READ_WRITE,
                .methods = PINLEASE_METHOD_ANY,
        };
}

static struct pl_register_reply register_whole(struct fixture *f, const struct buffer *b) {
        const struct pl_register request = request_of(f, 0, b->length, IOVA);

        return raw_register(&f->raw, &request, b->fd);
}

/* --- bytes --- */

static void expect_reply(const struct pl_register_reply *r, const struct pl_register *request) {
        CHECK_EQUAL(r->method, PINLEASE_METHOD_DMABUF);
        CHECK_EQUAL(r->backing, PINLEASE_BACKING_DMABUF);
        CHECK_EQUAL(r->iova, request->address);
        CHECK_EQUAL(r->length, request->length);
        for (unsigned int i = 0; i < PL_N_GUARDS; i++)
                CHECK_EQUAL(pl_guard_reason(r->guards, i), PINLEASE_GUARD_NOT_FOR_THIS);
}

/* Between two hosts: ranges that begin and end anywhere, any of them at iova 0. Nobody has a descriptor of it any more. */
static void run_bytes(const void *argument) {
        static const uint64_t n = 60 * PAGE;
        static const struct {
                uint64_t offset, length, iova;
        } parts[] = {
                { 0, n, IOVA }, { 0, PAGE, 0 }, { 3 * PAGE + 100, 5 * PAGE + 7, IOVA + 100 }, { n - 1, 1, PAGE - 1 },
        };
        struct pl_register_reply replies[ELEMENTSOF(parts)];
        unsigned int before;
        struct fixture f;
        struct rdma from;
        struct buffer b;

        dmabuf_need_module();
        before = dmabuf_count();
        f = fixture_open(NULL);
        from = rdma_open("rxe_b");
        rdma_connect_two(&from, &f.rdma);
        b = buffer_new(*(const enum exporter *)argument, n);
        for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                const struct pl_register request = request_of(&f, parts[i].offset, parts[i].length, parts[i].iova);

                replies[i] = raw_register(&f.raw, &request, b.fd);
                expect_reply(replies + i, &request);
        }
        buffer_close(&b);
        for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                const uint8_t *bytes = b.start + parts[i].offset;

                rdma_transfer(&from, parts[i].iova, replies[i].rkey, bytes, parts[i].length, i + 1);
                CHECK_EQUAL(rdma_compare(&from, parts[i].iova, replies[i].rkey, bytes, parts[i].length), IBV_WC_SUCCESS);
        }
        CHECK_EQUAL(dmabuf_count(), before + 1);
        for (size_t i = 0; i < ELEMENTSOF(parts); i++)
                raw_deregister(&f.raw, replies[i].id);
        buffer_free(&b);
        dmabuf_await_count(before);
        CHECK_EQUAL(rdma_try_transfer(&from, IOVA, replies[0].rkey, NULL, PAGE, 9), IBV_WC_REM_ACCESS_ERR);
        rdma_close(&from);
        fixture_close(&f);
}

static void run_large(const void *argument _unused_) {
        const uint64_t length = UINT64_C(256) << 20, piece = 4 * PAGE;
        struct pl_register_reply reply;
        struct fixture f;
        struct rdma from;
        struct buffer b;

        dmabuf_need_module();
        f = fixture_open(NULL);
        from = rdma_open("rxe_b");
        rdma_connect_two(&from, &f.rdma);
        b = buffer_new(OF_HEAP, length);
        reply = register_whole(&f, &b);
        for (uint64_t at = 0; at <= length - piece; at += (length - piece) / 8)
                rdma_transfer(&from, IOVA + at, reply.rkey, b.start + at, piece, at + 1);
        raw_deregister(&f.raw, reply.id);
        buffer_free(&b);
        rdma_close(&from);
        fixture_close(&f);
}

static void run_read_only(const void *argument _unused_) {
        struct pl_register_reply reply;
        struct pl_register request;
        struct fixture f;
        struct buffer b;

        dmabuf_need_module();
        f = fixture_open(NULL);
        b = buffer_new(OF_MEMFD, 4 * PAGE);
        memset(b.start, 'm', b.length);
        request = request_of(&f, 0, b.length, IOVA);
        request.access = ACCESS_READ;
        rdma_connect(&f.rdma);
        reply = raw_register(&f.raw, &request, b.fd);
        CHECK_EQUAL(rdma_compare(&f.rdma, IOVA, reply.rkey, b.start, b.length), IBV_WC_SUCCESS);
        CHECK_EQUAL(rdma_try_transfer(&f.rdma, IOVA, reply.rkey, NULL, PAGE, 1), IBV_WC_REM_ACCESS_ERR);
        CHECK(b.start[0] == 'm' && b.start[PAGE - 1] == 'm');
        buffer_free(&b);
        fixture_close(&f);
}

/* --- refusals --- */

/* The dma-buf is of 4 pages; `other`: a memfd, a dma-buf that cannot be attached to. */
enum other {
        THIS,
        MEMFD,
        HUGE,
};

static const struct {
        enum other fd;
        uint64_t offset, length, iova;
        uint32_t access, methods;
        enum pinlease_code code;
} refusals[] = {
        { THIS, 0, 4 * PAGE + 1, IOVA, ACCESS_READ, PINLEASE_METHOD_ANY, PINLEASE_CODE_BEYOND_END },
        { THIS, 4 * PAGE, 1, IOVA, ACCESS_READ, PINLEASE_METHOD_ANY, PINLEASE_CODE_BEYOND_END },
        { THIS, 0, 0, IOVA, ACCESS_READ, PINLEASE_METHOD_ANY, PINLEASE_CODE_ZERO_LENGTH },
        { THIS, UINT64_MAX - PAGE + 1, 2 * PAGE, 0, ACCESS_READ, PINLEASE_METHOD_ANY, PINLEASE_CODE_RANGE_OVERFLOW },
        { THIS, 0, PAGE, UINT64_MAX - PAGE + 1, ACCESS_READ, PINLEASE_METHOD_ANY, PINLEASE_CODE_RANGE_OVERFLOW },
        { THIS, 0, PAGE, IOVA + 1, ACCESS_READ, PINLEASE_METHOD_ANY, PINLEASE_CODE_MISALIGNED },
        { THIS, 1, PAGE, 0, ACCESS_READ, PINLEASE_METHOD_ANY, PINLEASE_CODE_MISALIGNED },
        { MEMFD, 0, PAGE, IOVA, ACCESS_READ, PINLEASE_METHOD_DMABUF, PINLEASE_CODE_NO_DMABUF },
        { THIS, 0, PAGE, IOVA, ACCESS_READ | IBV_ACCESS_ON_DEMAND, PINLEASE_METHOD_ANY, PINLEASE_CODE_BAD_ACCESS },
        { THIS, 0, PAGE, IOVA, ACCESS_READ | IBV_ACCESS_MW_BIND, PINLEASE_METHOD_ANY, PINLEASE_CODE_BAD_ACCESS },
        { THIS, 0, PAGE, IOVA, IBV_ACCESS_REMOTE_WRITE, PINLEASE_METHOD_ANY, PINLEASE_CODE_BAD_ACCESS },
        { THIS, 0, PAGE, IOVA, ACCESS_READ, PINLEASE_METHOD_ODP, PINLEASE_CODE_NO_DMABUF },
        { THIS, 0, PAGE, IOVA, ACCESS_READ, PINLEASE_METHOD_PINNED, PINLEASE_CODE_NO_DMABUF },
        /* Huge pages that the module cannot show singly: it stands for what a driver cannot reach. */
        { HUGE, 0, PAGE, IOVA, ACCESS_READ, PINLEASE_METHOD_ANY, PINLEASE_CODE_NO_DMABUF },
};

static void run_refusals(const void *argument _unused_) {
        struct pl_register request;
        struct memory memory, huge;
        struct fixture f;
        struct buffer b;
        long long pinned;
        unsigned int n;
        int fds[3];

        dmabuf_need_module();
        f = fixture_open(NULL);
        b = buffer_new(OF_MEMFD, 4 * PAGE);
        memory = memory_new(MEMORY_MEMFD, 4 * PAGE);
        huge = dmabuf_new_memfd(MEMORY_HUGETLB, UINT64_C(2) << 20);
        fds[THIS] = b.fd;
        fds[MEMFD] = memory.fd;
        fds[HUGE] = dmabuf_of_memfd(&huge, 0, huge.length);
        n = dmabuf_count();
        pinned = leftovers_pinned();
        for (size_t i = 0; i < ELEMENTSOF(refusals); i++) {
                enum pinlease_code code;

                request = request_of(&f, refusals[i].offset, refusals[i].length, refusals[i].iova);
                request.access = refusals[i].access;
                request.methods = (uint16_t)refusals[i].methods;
                code = fixture_try(&f, &request, fds[refusals[i].fd], NULL);
                if (code != refusals[i].code)
                        FAIL("refusal %zu: %s, should be %s", i, pl_code_name(code), pl_code_name(refusals[i].code));
        }
        request = request_of(&f, 0, PAGE, IOVA);
        request.pd = 4711;
        expect_code(fixture_try(&f, &request, b.fd, NULL), PINLEASE_CODE_NO_SUCH_PD);
        request = request_of(&f, 0, PAGE, IOVA);
        request.guards = PINLEASE_GUARD_LEASE;
        expect_code(fixture_try(&f, &request, b.fd, NULL), PINLEASE_CODE_NO_GUARD);
        CHECK_EQUAL(leftovers_pinned(), pinned);
        CHECK_EQUAL(dmabuf_count(), n);
        raw_deregister(&f.raw, register_whole(&f, &b).id);
        close(fds[HUGE]);
        memory_free(&memory);
        memory_free(&huge);
        buffer_free(&b);
        dmabuf_await_count(n - 2);
        fixture_close(&f);
}

/* One that registers none: it says so, and the memfd behind the udmabuf can be registered. What a session has found out it
 * believes, and the kernel then has the last word. */
static void run_without(const void *argument _unused_) {
        struct pl_register_reply reply;
        struct fixture f, other;
        struct pl_register request;
        struct buffer b;

        dmabuf_need_module();
        b = buffer_new(OF_MEMFD, 4 * PAGE);
        f = fixture_open(NULL);
        raw_deregister(&f.raw, register_whole(&f, &b).id);
        CHECK_EQUAL(dmabuf_unload(), 0);
        request = request_of(&f, 0, b.length, IOVA);
        expect_code(fixture_try(&f, &request, b.fd, NULL), PINLEASE_CODE_NO_DMABUF);
        other = fixture_open(NULL);
        request = request_of(&other, 0, b.length, IOVA);
        expect_code(fixture_try(&other, &request, b.fd, NULL), PINLEASE_CODE_NO_DMABUF);
        rdma_connect(&other.rdma);
        reply = fixture_register(&other, &b.memory, PINLEASE_METHOD_PINNED);
        rdma_transfer(&other.rdma, reply.iova, reply.rkey, b.memory.start, b.memory.length, 1);
        dmabuf_load();
        fixture_close(&other);
        raw_deregister(&f.raw, register_whole(&f, &b).id);
        fixture_close(&f);
        buffer_free(&b);
}

/* --- what is left --- */

/* Has a dma-buf registered, and nothing else of it. */
static void registers_and_waits(int channel, const void *argument _unused_) {
        struct fixture f = fixture_open(NULL);
        struct buffer b = buffer_new(OF_HEAP, 16 * PAGE);
        struct pl_register_reply reply = register_whole(&f, &b);

        rdma_connect(&f.rdma);
        rdma_transfer(&f.rdma, IOVA, reply.rkey, b.start, b.length, 1);
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
                        packet.body.reg = request_of(&f, 0, (1 + chance(&state) % 16) * PAGE, IOVA);
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
        (void)register_whole(&f, &b);
        command("rdma link delete rxe_y");
        request = request_of(&f, 0, PAGE, IOVA);
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
                struct pl_register_reply reply = register_whole(&f, &new);

                if (round % 2 == 0)
                        buffer_close(&new);
                if (round % 50 < 2)
                        rdma_transfer(&f.rdma, IOVA, reply.rkey, new.start, new.length, round);
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
        reply = register_whole(&f, &b);
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
        (void)rdma_bind_window(&f.rdma, reply.handle, reply.lkey, reply.rkey, IOVA, 4 * PAGE);
        rdma_transfer(&f.rdma, IOVA, reply.rkey, b.start, b.length, 1);
        documents = ctl_json(NULL, "revoke", "--pid", pid, "--grace", "0", NULL);
        CHECK_EQUAL(ctl_number(ctl_last(documents), "forced"), 1);
        json_object_put(documents);
        CHECK_EQUAL(raw_expect_event(&f.raw, PL_OP_REVOKED).body.revoked.id, reply.id);
        CHECK_EQUAL(rdma_try_transfer(&f.rdma, IOVA, reply.rkey, NULL, PAGE, 2), IBV_WC_REM_ACCESS_ERR);
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
        request = request_of(&f, 0, large.length, IOVA);
        expect_code(fixture_try(&f, &request, large.fd, NULL), PINLEASE_CODE_PINNED_LIMIT);
        of_heap = register_whole(&f, &heap);
        of_memfd = register_whole(&f, &memfd);
        buffer_close(&heap);

        ruled_reload(&ruled, no_heaps);
        CHECK_EQUAL(raw_expect_event(&f.raw, PL_OP_REVOKING).body.revoking.id, of_heap.id);
        raw_deregister(&f.raw, of_heap.id);
        rdma_transfer(&f.rdma, IOVA, of_memfd.rkey, memfd.start, memfd.length, 1);
        request = request_of(&f, 0, PAGE, IOVA);
        expect_code(fixture_try(&f, &request, large.fd, NULL), PINLEASE_CODE_POLICY);
        raw_deregister(&f.raw, of_memfd.id);
        buffer_free(&heap);
        buffer_free(&memfd);
        buffer_free(&large);
        fixture_close(&f);
        ruled_stop(&ruled);
}

static const enum exporter of_memfd = OF_MEMFD, of_heap = OF_HEAP;

const struct test_case cases_dmabuf_session[] = {
        { "dmabuf: udmabuf of a memfd, between two hosts", run_bytes, &of_memfd, 0 },
        { "dmabuf: dma-heap, between two hosts", run_bytes, &of_heap, 0 },
        { "dmabuf: 256 MiB", run_large, NULL, 0 },
        { "dmabuf: read-only", run_read_only, NULL, CASE_ANYWHERE },
        { "dmabuf: refusals", run_refusals, NULL, 0 },
        { "dmabuf: a device without", run_without, NULL, 0 },
        { "dmabuf: the app dies", run_app_dies, NULL, 0 },
        { "dmabuf: the registrar dies at some instant", run_registrar_dies, NULL, CASE_SHARED | CASE_LONG },
        { "dmabuf: the device is deleted", run_link_delete, NULL, 0 },
        { "dmabuf: again and again", run_cycles, NULL, CASE_SHARED | CASE_LONG },
        { "dmabuf: taken back, with a window bound", run_revoked, NULL, 0 },
        { "dmabuf: taken back by the policy", run_policy, NULL, 0 },
        { 0 },
};
