/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* dma-bufs that the service registers, by the module of tests/kmod: their bytes, and what is refused. */

#include <string.h>
#include <unistd.h>

#include "dmabuf.h"
#include "harness.h"
#include "leftovers.h"

#define PAGE UINT64_C(4096)

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
                { 0, n, DMABUF_IOVA }, { 0, PAGE, 0 }, { 3 * PAGE + 100, 5 * PAGE + 7, DMABUF_IOVA + 100 }, { n - 1, 1, PAGE - 1 },
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
                const struct pl_register request = buffer_request(&f, parts[i].offset, parts[i].length, parts[i].iova);

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
        CHECK_EQUAL(rdma_try_transfer(&from, DMABUF_IOVA, replies[0].rkey, NULL, PAGE, 9), IBV_WC_REM_ACCESS_ERR);
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
        reply = buffer_register(&f, &b);
        for (uint64_t at = 0; at <= length - piece; at += (length - piece) / 8)
                rdma_transfer(&from, DMABUF_IOVA + at, reply.rkey, b.start + at, piece, at + 1);
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
        request = buffer_request(&f, 0, b.length, DMABUF_IOVA);
        request.access = ACCESS_READ;
        rdma_connect(&f.rdma);
        reply = raw_register(&f.raw, &request, b.fd);
        CHECK_EQUAL(rdma_compare(&f.rdma, DMABUF_IOVA, reply.rkey, b.start, b.length), IBV_WC_SUCCESS);
        CHECK_EQUAL(rdma_try_transfer(&f.rdma, DMABUF_IOVA, reply.rkey, NULL, PAGE, 1), IBV_WC_REM_ACCESS_ERR);
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
        { THIS, 0, 4 * PAGE + 1, DMABUF_IOVA, ACCESS_READ, PINLEASE_METHOD_ANY, PINLEASE_CODE_BEYOND_END },
        { THIS, 4 * PAGE, 1, DMABUF_IOVA, ACCESS_READ, PINLEASE_METHOD_ANY, PINLEASE_CODE_BEYOND_END },
        { THIS, 0, 0, DMABUF_IOVA, ACCESS_READ, PINLEASE_METHOD_ANY, PINLEASE_CODE_ZERO_LENGTH },
        { THIS, UINT64_MAX - PAGE + 1, 2 * PAGE, 0, ACCESS_READ, PINLEASE_METHOD_ANY, PINLEASE_CODE_RANGE_OVERFLOW },
        { THIS, 0, PAGE, UINT64_MAX - PAGE + 1, ACCESS_READ, PINLEASE_METHOD_ANY, PINLEASE_CODE_RANGE_OVERFLOW },
        { THIS, 0, PAGE, DMABUF_IOVA + 1, ACCESS_READ, PINLEASE_METHOD_ANY, PINLEASE_CODE_MISALIGNED },
        { THIS, 1, PAGE, 0, ACCESS_READ, PINLEASE_METHOD_ANY, PINLEASE_CODE_MISALIGNED },
        { MEMFD, 0, PAGE, DMABUF_IOVA, ACCESS_READ, PINLEASE_METHOD_DMABUF, PINLEASE_CODE_NO_DMABUF },
        { THIS, 0, PAGE, DMABUF_IOVA, ACCESS_READ | IBV_ACCESS_ON_DEMAND, PINLEASE_METHOD_ANY, PINLEASE_CODE_BAD_ACCESS },
        { THIS, 0, PAGE, DMABUF_IOVA, ACCESS_READ | IBV_ACCESS_MW_BIND, PINLEASE_METHOD_ANY, PINLEASE_CODE_BAD_ACCESS },
        { THIS, 0, PAGE, DMABUF_IOVA, IBV_ACCESS_REMOTE_WRITE, PINLEASE_METHOD_ANY, PINLEASE_CODE_BAD_ACCESS },
        { THIS, 0, PAGE, DMABUF_IOVA, ACCESS_READ, PINLEASE_METHOD_ODP, PINLEASE_CODE_NO_DMABUF },
        { THIS, 0, PAGE, DMABUF_IOVA, ACCESS_READ, PINLEASE_METHOD_PINNED, PINLEASE_CODE_NO_DMABUF },
        /* Huge pages that the module cannot show singly: it stands for what a driver cannot reach. */
        { HUGE, 0, PAGE, DMABUF_IOVA, ACCESS_READ, PINLEASE_METHOD_ANY, PINLEASE_CODE_NO_DMABUF },
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

                request = buffer_request(&f, refusals[i].offset, refusals[i].length, refusals[i].iova);
                request.access = refusals[i].access;
                request.methods = (uint16_t)refusals[i].methods;
                code = fixture_try(&f, &request, fds[refusals[i].fd], NULL);
                if (code != refusals[i].code)
                        FAIL("refusal %zu: %s, should be %s", i, pl_code_name(code), pl_code_name(refusals[i].code));
        }
        request = buffer_request(&f, 0, PAGE, DMABUF_IOVA);
        request.pd = 4711;
        expect_code(fixture_try(&f, &request, b.fd, NULL), PINLEASE_CODE_NO_SUCH_PD);
        request = buffer_request(&f, 0, PAGE, DMABUF_IOVA);
        request.guards = PINLEASE_GUARD_LEASE;
        expect_code(fixture_try(&f, &request, b.fd, NULL), PINLEASE_CODE_NO_GUARD);
        CHECK_EQUAL(leftovers_pinned(), pinned);
        CHECK_EQUAL(dmabuf_count(), n);
        raw_deregister(&f.raw, buffer_register(&f, &b).id);
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
        raw_deregister(&f.raw, buffer_register(&f, &b).id);
        CHECK_EQUAL(dmabuf_unload(), 0);
        request = buffer_request(&f, 0, b.length, DMABUF_IOVA);
        expect_code(fixture_try(&f, &request, b.fd, NULL), PINLEASE_CODE_NO_DMABUF);
        other = fixture_open(NULL);
        request = buffer_request(&other, 0, b.length, DMABUF_IOVA);
        expect_code(fixture_try(&other, &request, b.fd, NULL), PINLEASE_CODE_NO_DMABUF);
        rdma_connect(&other.rdma);
        reply = fixture_register(&other, &b.memory, PINLEASE_METHOD_PINNED);
        rdma_transfer(&other.rdma, reply.iova, reply.rkey, b.memory.start, b.memory.length, 1);
        dmabuf_load();
        fixture_close(&other);
        raw_deregister(&f.raw, buffer_register(&f, &b).id);
        fixture_close(&f);
        buffer_free(&b);
}

static const enum exporter of_memfd = OF_MEMFD, of_heap = OF_HEAP;

const struct test_case cases_dmabuf_session[] = {
        { "dmabuf: udmabuf of a memfd, between two hosts", run_bytes, &of_memfd, 0 },
        { "dmabuf: dma-heap, between two hosts", run_bytes, &of_heap, 0 },
        { "dmabuf: 256 MiB", run_large, NULL, 0 },
        { "dmabuf: read-only", run_read_only, NULL, CASE_ANYWHERE },
        { "dmabuf: refusals", run_refusals, NULL, 0 },
        { "dmabuf: a device without", run_without, NULL, 0 },
        { 0 },
};
