/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Memory regions of dma-bufs on soft-RoCE, without the service: what the kernel's own interface does there by the
 * module of tests/kmod. What the service does with it is built on this.
 */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "calls.h"
#include "chance.h"
#include "dmabuf.h"
#include "fixture.h"
#include "harness.h"
#include "leftovers.h"
#include "process.h"
#include "service.h"

#define PAGE 4096

/* Two hosts: `from` writes and reads memory of `to`. */
struct pair {
        struct rdma from, to;
};

static struct pair pair_open(void) {
        struct pair p = { .from = rdma_open("rxe_a"), .to = rdma_open("rxe_b") };

        rdma_connect_two(&p.from, &p.to);
        return p;
}

static void pair_close(struct pair *p) {
        rdma_close(&p->from);
        rdma_close(&p->to);
}

/* What this process is charged for. */
static unsigned long pinned_kib(void) {
        char text[64];

        CHECK(process_status(getpid(), "VmPin", text, sizeof text));
        return strtoul(text, NULL, 10);
}

/* Ranges that begin and end anywhere. The dma-buf's descriptor is closed while it is registered. */
static void transfer_parts(int fd, const uint8_t *memory, uint64_t length) {
        const struct {
                uint64_t offset, length;
        } parts[] = { { 0, length }, { 0, PAGE }, { 3 * PAGE + 100, 5 * PAGE + 7 }, { length - 1, 1 } };
        struct uverbs_mr_keys keys[ELEMENTSOF(parts)];
        struct pair p = pair_open();
        unsigned int n = dmabuf_count();
        unsigned long pinned = pinned_kib();

        for (size_t i = 0; i < ELEMENTSOF(parts); i++)
                keys[i] = dmabuf_register(
                        &p.to, fd, parts[i].offset, parts[i].length, DMABUF_IOVA + parts[i].offset, ACCESS_READ_WRITE);
        close(fd);
        CHECK_EQUAL(dmabuf_count(), n);
        CHECK_EQUAL(pinned_kib(), pinned);
        for (size_t i = 0; i < ELEMENTSOF(parts); i++) {
                rdma_transfer(&p.from,
                              DMABUF_IOVA + parts[i].offset,
                              keys[i].rkey,
                              memory + parts[i].offset,
                              parts[i].length,
                              i + 1);
                CHECK_EQUAL(rdma_compare(&p.from,
                                         DMABUF_IOVA + parts[i].offset,
                                         keys[i].rkey,
                                         memory + parts[i].offset,
                                         parts[i].length),
                            IBV_WC_SUCCESS);
        }
        for (size_t i = 0; i < ELEMENTSOF(parts); i++)
                dmabuf_deregister(&p.to, keys + i);
        CHECK_EQUAL(pinned_kib(), pinned);
        pair_close(&p);
}

static void run_udmabuf(const void *argument _unused_) {
        struct memory memory;
        unsigned int n;

        dmabuf_need_module();
        n = dmabuf_count();
        memory = dmabuf_new_memfd(MEMORY_MEMFD, 64 * PAGE);
        /* Not from the memfd's beginning. */
        transfer_parts(dmabuf_of_memfd(&memory, 2 * PAGE, 60 * PAGE), memory.start + (size_t)2 * PAGE, 60 * PAGE);
        dmabuf_await_count(n);
        memory_free(&memory);
}

static void run_heap(const void *argument _unused_) {
        struct memory memory;
        unsigned int n;

        dmabuf_need_module();
        n = dmabuf_count();
        memory = dmabuf_of_heap(64 * PAGE);
        transfer_parts(memory.fd, memory.start, memory.length);
        (void)munmap(memory.start, memory.length);
        dmabuf_await_count(n);
}

static void run_large(const void *argument _unused_) {
        const uint64_t piece = 4 * PAGE;
        struct uverbs_mr_keys keys;
        struct memory memory;
        struct pair p;

        dmabuf_need_module();
        p = pair_open();
        memory = dmabuf_of_heap(UINT64_C(256) << 20);
        keys = dmabuf_register(&p.to, memory.fd, 0, memory.length, DMABUF_IOVA, ACCESS_READ_WRITE);
        for (uint64_t at = 0; at < memory.length; at += memory.length / 8 - piece / 8)
                rdma_transfer(&p.from,
                              DMABUF_IOVA + at,
                              keys.rkey,
                              memory.start + at,
                              at + piece <= memory.length ? piece : memory.length - at,
                              at + 1);
        dmabuf_deregister(&p.to, &keys);
        memory_free(&memory);
        pair_close(&p);
}

/* Reads go, writes do not; nor does anything beyond the ends. */
static void run_access(const void *argument _unused_) {
        struct uverbs_mr_keys reads, part;
        struct memory memory;
        struct pair p;
        int fd;

        dmabuf_need_module();
        memory = dmabuf_new_memfd(MEMORY_MEMFD, 4 * PAGE);
        memset(memory.start, 'm', memory.length);
        p = pair_open();
        fd = dmabuf_of_memfd(&memory, 0, memory.length);
        reads = dmabuf_register(&p.to, fd, 0, memory.length, DMABUF_IOVA, ACCESS_READ);
        part = dmabuf_register(&p.to, fd, PAGE, 2 * PAGE, DMABUF_IOVA + PAGE, ACCESS_READ_WRITE);
        CHECK_EQUAL(rdma_compare(&p.from, DMABUF_IOVA, reads.rkey, memory.start, memory.length), IBV_WC_SUCCESS);
        rdma_transfer(&p.from, DMABUF_IOVA + PAGE, part.rkey, memory.start + PAGE, 2 * PAGE, 1);
        memset(p.from.buffer, 'w', PAGE);
        CHECK_EQUAL(rdma_write_from(&p.from, (uintptr_t)p.from.buffer, p.from.buffer_mr->lkey, DMABUF_IOVA, reads.rkey, 1),
                    IBV_WC_REM_ACCESS_ERR);
        dmabuf_deregister(&p.to, &reads);
        dmabuf_deregister(&p.to, &part);
        pair_close(&p);

        for (unsigned int i = 0; i < 2; i++) {
                p = pair_open();
                part = dmabuf_register(&p.to, fd, PAGE, 2 * PAGE, DMABUF_IOVA + PAGE, ACCESS_READ_WRITE);
                CHECK_EQUAL(rdma_write_from(&p.from,
                                            (uintptr_t)p.from.buffer,
                                            p.from.buffer_mr->lkey,
                                            DMABUF_IOVA + (i ? 3 * PAGE - 1 : PAGE - 1),
                                            part.rkey,
                                            2),
                            IBV_WC_REM_ACCESS_ERR);
                dmabuf_deregister(&p.to, &part);
                pair_close(&p);
        }
        close(fd);
        CHECK(memory.start[0] == 'm' && memory.start[PAGE - 1] == 'm' && memory.start[3 * PAGE] == 'm');
        memory_free(&memory);
}

static void run_refusals(const void *argument _unused_) {
        struct memory memory, huge;
        struct rdma rdma;
        unsigned int n;
        long long pinned;
        int fd, other;

        dmabuf_need_module();
        memory = dmabuf_new_memfd(MEMORY_MEMFD, 4 * PAGE);
        huge = dmabuf_new_memfd(MEMORY_HUGETLB, UINT64_C(2) << 20);
        rdma = rdma_open("rxe_a");
        fd = dmabuf_of_memfd(&memory, 0, memory.length);
        other = dmabuf_try_memfd(&huge, 0, huge.length);
        n = dmabuf_count();
        /* Those of the udmabufs themselves. */
        pinned = leftovers_pinned();
        {
                const struct {
                        int fd;
                        uint64_t offset, length, iova;
                        uint32_t access;
                        int error;
                } refused[] = {
                        /* Beyond the end; of nothing; round the end of all numbers. */
                        { fd, 0, 4 * PAGE + 1, 0, ACCESS_READ, EINVAL },
                        { fd, 4 * PAGE, 1, 0, ACCESS_READ, EINVAL },
                        { fd, 4 * PAGE - 1, 2, PAGE - 1, ACCESS_READ, EINVAL },
                        { fd, 0, 0, 0, ACCESS_READ, EINVAL },
                        { fd, PAGE, UINT64_MAX - PAGE + 1, 0, ACCESS_READ, EINVAL },
                        { fd, UINT64_MAX - PAGE + 1, PAGE, 0, ACCESS_READ, EINVAL },
                        { fd, UINT64_MAX - PAGE + 1, 2 * PAGE, 0, ACCESS_READ, EINVAL },
                        /* Another place in the page than the address has. */
                        { fd, 0, PAGE, 1, ACCESS_READ, EINVAL },
                        { fd, 1, PAGE, 0, ACCESS_READ, EINVAL },
                        /* No dma-buf, and none at all. */
                        { memory.fd, 0, PAGE, 0, ACCESS_READ, EINVAL },
                        { 99999, 0, PAGE, 0, ACCESS_READ, EBADF },
                        /* Access that such memory does not have. */
                        { fd, 0, PAGE, 0, ACCESS_READ | IBV_ACCESS_ON_DEMAND, EINVAL },
                        { fd, 0, PAGE, 0, ACCESS_READ | IBV_ACCESS_MW_BIND, EINVAL },
                        { fd, 0, PAGE, 0, IBV_ACCESS_REMOTE_WRITE, EINVAL },
                        /* Pages that cannot be shown singly. */
                        { other, 0, PAGE, 0, ACCESS_READ, EINVAL },
                };
                struct uverbs_mr_keys keys;

                CHECK(other >= 0);
                for (size_t i = 0; i < ELEMENTSOF(refused); i++) {
                        int r = dmabuf_try_register(&rdma,
                                                    refused[i].fd,
                                                    refused[i].offset,
                                                    refused[i].length,
                                                    refused[i].iova,
                                                    refused[i].access,
                                                    &keys);

                        if (r != -refused[i].error)
                                FAIL("refusal %zu: answered with %d, should be %d", i, r, -refused[i].error);
                }
        }
        CHECK_EQUAL(dmabuf_count(), n);
        CHECK_EQUAL(leftovers_pinned(), pinned);
        close(fd);
        close(other);
        dmabuf_await_count(n - 2);
        rdma_close(&rdma);
        memory_free(&memory);
        memory_free(&huge);
}

/* A user who may lock no memory at all. */
static void registers_without_limit(int channel _unused_, const void *argument) {
        const int *fd = argument;
        const struct rlimit none = { 0, 0 };
        struct uverbs_mr_keys keys;
        struct rdma rdma;
        uint8_t *own;

        become("alice");
        CHECK_CALL(setrlimit(RLIMIT_MEMLOCK, &none));
        rdma = rdma_open("rxe_a");
        own = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(own != MAP_FAILED);
        CHECK(!ibv_reg_mr(rdma.pd, own, PAGE, IBV_ACCESS_LOCAL_WRITE));
        keys = dmabuf_register(&rdma, *fd, 0, 16 * PAGE, DMABUF_IOVA, ACCESS_READ_WRITE);
        CHECK_EQUAL(pinned_kib(), 0);
        dmabuf_deregister(&rdma, &keys);
        CHECK_EQUAL(pinned_kib(), 0);
        /* Nor has it got the right to lock by that. */
        CHECK(!ibv_reg_mr(rdma.pd, own, PAGE, IBV_ACCESS_LOCAL_WRITE));
        rdma_close(&rdma);
}

static void run_limit(const void *argument _unused_) {
        struct memory memory;
        struct app app;

        dmabuf_need_module();
        memory = dmabuf_of_heap(16 * PAGE);
        app = app_start(registers_without_limit, &memory.fd);
        app_finish(&app);
        memory_free(&memory);
}

struct shared {
        const struct rdma *rdma;
        int fd;
};

/* By another process' context. */
static void registers_and_waits(int channel, const void *argument) {
        const struct shared *shared = argument;
        struct uverbs_mr_keys keys = dmabuf_register(shared->rdma, shared->fd, 0, 16 * PAGE, DMABUF_IOVA, ACCESS_READ_WRITE);

        tell_value(channel, keys.handle);
        tell_value(channel, keys.rkey);
        await_end(channel);
}

/* What it registered outlives the process that registered, and the context's owner can end it. */
static void run_killed(const void *argument _unused_) {
        struct uverbs_mr_keys keys = { 0 };
        struct memory memory;
        struct shared shared;
        struct pair p;
        struct app app;
        unsigned int n;

        dmabuf_need_module();
        n = dmabuf_count();
        p = pair_open();
        memory = dmabuf_of_heap(16 * PAGE);
        shared = (struct shared) { &p.to, memory.fd };
        app = app_start(registers_and_waits, &shared);
        keys.handle = (uint32_t)await_value(app.channel);
        keys.rkey = (uint32_t)await_value(app.channel);
        rdma_transfer(&p.from, DMABUF_IOVA, keys.rkey, memory.start, memory.length, 1);
        app_kill(&app);
        rdma_transfer(&p.from, DMABUF_IOVA, keys.rkey, memory.start, memory.length, 2);
        memory_free(&memory);
        CHECK_EQUAL(dmabuf_count(), n + 1);
        rdma_transfer(&p.from, DMABUF_IOVA, keys.rkey, NULL, 16 * PAGE, 3);
        dmabuf_deregister(&p.to, &keys);
        dmabuf_await_count(n);
        CHECK_EQUAL(rdma_try_transfer(&p.from, DMABUF_IOVA, keys.rkey, NULL, PAGE, 4), IBV_WC_REM_ACCESS_ERR);
        pair_close(&p);
}

/* While a memory window is bound, rdma_rxe refuses: the memory region goes on, and ends later. Also of a device that
 * has moved to another network namespace, after the module had seen it. */
static void run_window(const void *argument _unused_) {
        struct uverbs_mr_keys keys;
        struct memory memory;
        struct rdma rdma;
        struct ibv_mw *mw;
        unsigned int n;

        dmabuf_need_module();
        n = dmabuf_count();
        enter_host("hosta");
        rdma = rdma_open("rxe_a");
        rdma_connect(&rdma);
        memory = dmabuf_of_heap(4 * PAGE);
        keys = dmabuf_register(&rdma, memory.fd, 0, memory.length, DMABUF_IOVA, ACCESS_READ_WRITE);
        CHECK_EQUAL(call_change_access(rdma.context->cmd_fd, keys.handle, ACCESS_READ_WRITE | IBV_ACCESS_MW_BIND), 0);
        mw = rdma_bind_window(&rdma, keys.handle, keys.lkey, keys.rkey, DMABUF_IOVA, memory.length);
        for (unsigned int i = 0; i < 2; i++)
                CHECK_EQUAL(dmabuf_try_deregister(&rdma, &keys), -EINVAL);
        rdma_transfer(&rdma, DMABUF_IOVA, keys.rkey, memory.start, memory.length, 1);
        CHECK_EQUAL(ibv_dealloc_mw(mw), 0);
        dmabuf_deregister(&rdma, &keys);
        CHECK_EQUAL(pinned_kib(), 2 * RDMA_BUFFER / 1024);
        memory_free(&memory);
        dmabuf_await_count(n);
        rdma_close(&rdma);
}

/* --- the module --- */

/* Not while it is in use; and then devices are as if it had never been there. Devices that are there get it again. */
static void run_unload(const void *argument _unused_) {
        struct uverbs_mr_keys keys;
        struct memory memory;
        struct ibv_mr *mr;
        struct rdma rdma;

        dmabuf_need_module();
        rdma = rdma_open("rxe_a");
        rdma_connect(&rdma);
        memory = dmabuf_of_heap(4 * PAGE);
        keys = dmabuf_register(&rdma, memory.fd, 0, memory.length, DMABUF_IOVA, ACCESS_READ_WRITE);
        CHECK_EQUAL(dmabuf_unload(), -EAGAIN);
        rdma_transfer(&rdma, DMABUF_IOVA, keys.rkey, memory.start, memory.length, 1);
        dmabuf_deregister(&rdma, &keys);

        /* Registered with it, deregistered without. */
        mr = ibv_reg_mr(rdma.pd, rdma.buffer, PAGE, IBV_ACCESS_LOCAL_WRITE);
        CHECK(mr);
        CHECK_EQUAL(dmabuf_unload(), 0);
        CHECK_EQUAL(dmabuf_try_register(&rdma, memory.fd, 0, PAGE, DMABUF_IOVA, ACCESS_READ_WRITE, &keys), -EOPNOTSUPP);
        CHECK_EQUAL(ibv_dereg_mr(mr), 0);
        mr = ibv_reg_mr(rdma.pd, rdma.buffer, PAGE, IBV_ACCESS_LOCAL_WRITE);
        CHECK(mr);
        dmabuf_load();
        CHECK_EQUAL(ibv_dereg_mr(mr), 0);
        keys = dmabuf_register(&rdma, memory.fd, 0, memory.length, DMABUF_IOVA, ACCESS_READ_WRITE);
        rdma_transfer(&rdma, DMABUF_IOVA, keys.rkey, memory.start, memory.length, 2);
        dmabuf_deregister(&rdma, &keys);
        memory_free(&memory);
        rdma_close(&rdma);
}

/* The device goes, with memory regions of both kinds alive; the process keeps its context for some time. */
static void run_link_delete(const void *argument _unused_) {
        struct uverbs_mr_keys keys[2];
        struct memory memory;
        struct rdma rdma;
        unsigned int n;
        uint8_t *own;

        dmabuf_need_module();
        n = dmabuf_count();
        command("ip link add pl-y type dummy && ip addr add 10.80.0.1/24 dev pl-y && ip link set pl-y up && "
                "rdma link add rxe_y type rxe netdev pl-y");
        rdma = rdma_open("rxe_y");
        memory = dmabuf_of_heap(16 * PAGE);
        own = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(own != MAP_FAILED && ibv_reg_mr(rdma.pd, own, PAGE, IBV_ACCESS_LOCAL_WRITE));
        for (unsigned int i = 0; i < 2; i++)
                keys[i] = dmabuf_register(&rdma, memory.fd, 0, memory.length, DMABUF_IOVA, ACCESS_READ_WRITE);
        memory_free(&memory);
        CHECK_EQUAL(dmabuf_count(), n + 1);
        command("rdma link delete rxe_y");
        dmabuf_await_count(n);
        CHECK_EQUAL(leftovers_pinned(), 0);
        CHECK_EQUAL(dmabuf_try_register(&rdma, -1, 0, PAGE, DMABUF_IOVA, ACCESS_READ_WRITE, keys), -EIO);
        /* Whoever ends what has ended is right. */
        CHECK_EQUAL(dmabuf_try_deregister(&rdma, keys), 0);
        /* Nothing of the device that has gone holds it. */
        CHECK_EQUAL(dmabuf_unload(), 0);
        dmabuf_load();
        command("ip link delete pl-y");
}

/* --- again and again --- */

static void run_cycles(const void *argument _unused_) {
        unsigned int rounds = soak_rounds(200, 100000), n;
        struct memory memory, heap;
        struct rdma rdma;

        dmabuf_need_module();
        n = dmabuf_count();
        rdma = rdma_open("rxe_a");
        rdma_connect(&rdma);
        memory = dmabuf_new_memfd(MEMORY_MEMFD, 16 * PAGE);
        heap = dmabuf_of_heap(16 * PAGE);
        for (unsigned int round = 0; round < rounds; round++) {
                /* A new dma-buf each time, and one that stays. */
                int fd = round % 2 ? heap.fd : dmabuf_of_memfd(&memory, 0, memory.length);
                const struct memory *m = round % 2 ? &heap : &memory;
                struct uverbs_mr_keys keys = dmabuf_register(&rdma, fd, 0, m->length, DMABUF_IOVA, ACCESS_READ_WRITE);

                if (m == &memory)
                        close(fd);
                if (round % 10 < 2)
                        rdma_transfer(&rdma, DMABUF_IOVA, keys.rkey, m->start, PAGE, round);
                dmabuf_deregister(&rdma, &keys);
        }
        dmabuf_await_count(n + 1);
        CHECK_EQUAL(pinned_kib(), 2 * RDMA_BUFFER / 1024);
        memory_free(&heap);
        memory_free(&memory);
        dmabuf_await_count(n);
        rdma_close(&rdma);
        CHECK_EQUAL(leftovers_pinned(), 0);
}

const struct test_case cases_dmabuf[] = {
        { "dmabuf kernel: udmabuf of a memfd, between two hosts", run_udmabuf, NULL, 0 },
        { "dmabuf kernel: dma-heap, between two hosts", run_heap, NULL, 0 },
        { "dmabuf kernel: 256 MiB", run_large, NULL, 0 },
        { "dmabuf kernel: access and ends", run_access, NULL, 0 },
        { "dmabuf kernel: refusals", run_refusals, NULL, 0 },
        { "dmabuf kernel: no limit of locked memory", run_limit, NULL, 0 },
        { "dmabuf kernel: by another process, which is killed", run_killed, NULL, 0 },
        { "dmabuf kernel: a bound memory window", run_window, NULL, CASE_ANYWHERE },
        { "dmabuf kernel: the module is unloaded", run_unload, NULL, 0 },
        { "dmabuf kernel: the device is deleted", run_link_delete, NULL, 0 },
        { "dmabuf kernel: again and again", run_cycles, NULL, CASE_SHARED | CASE_LONG },
        { 0 },
};
