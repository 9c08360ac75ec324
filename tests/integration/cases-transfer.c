/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Registered memory is what RDMA reads and writes: every kind, every method, under its iova, byte by byte. */

#include <string.h>
#include <sys/mman.h>

#include <pinlease/pinlease.h>

#include "fixture.h"
#include "harness.h"
#include "process.h"

#define PAGE 4096

struct way {
        enum memory_kind kind;
        enum pinlease_method method;
        enum pinlease_backing backing;
};

static void run_way(const void *argument) {
        const struct way *w = argument;
        struct fixture f = fixture_open(NULL);
        struct memory memory = memory_new(w->kind, 48 * PAGE);
        struct pl_register request = fixture_request(&f, &memory, (uint32_t)w->method);
        struct pl_register_reply whole, part;
        uint64_t inside;

        rdma_connect(&f.rdma);
        whole = raw_register(&f.raw, &request, memory.fd);
        CHECK_EQUAL(whole.method, w->method);
        CHECK_EQUAL(whole.backing, w->backing);
        /* Nobody else has the file: what there is for it holds. */
        if (w->kind == MEMORY_DEVDAX) {
                CHECK_EQUAL(pl_guards_held(whole.guards), PINLEASE_GUARD_POISON);
        } else {
                CHECK(pl_guards_held(whole.guards) & PINLEASE_GUARD_MODIFY);
                CHECK(!(pl_guards_held(whole.guards) & PINLEASE_GUARD_SEALS));
        }
        /* ODP as well: nothing else is at that address in a fresh registrar. */
        CHECK_EQUAL(whole.iova, request.address);
        rdma_transfer(&f.rdma, whole.iova, whole.rkey, memory.start, memory.length, 1);

        /* Another view, which overlaps the first. Pinned, it neither begins nor ends at a page; ODP is for whole pages,
         * see cases-kernel.c. */
        inside = PAGE + (w->method == PINLEASE_METHOD_PINNED);
        request.offset = inside;
        request.address += inside;
        request.length = 3 * PAGE + (w->method == PINLEASE_METHOD_PINNED ? 5 : 0);
        part = raw_register(&f.raw, &request, memory.fd);
        CHECK_EQUAL(part.iova, request.address);
        rdma_transfer(&f.rdma, part.iova, part.rkey, memory.start + inside, request.length, 2);

        /* Not a byte more. Ends the queue pair's life. */
        raw_deregister(&f.raw, whole.id);
        rdma_transfer(&f.rdma, part.iova, part.rkey, memory.start + inside, request.length, 3);
        CHECK_EQUAL(rdma_try_transfer(&f.rdma, part.iova, part.rkey, NULL, request.length + 1, 4),
                    IBV_WC_REM_ACCESS_ERR);

        raw_deregister(&f.raw, part.id);
        memory_free(&memory);
        fixture_close(&f);
}

/* The keys work in this side's own work requests as well. */
static void run_local(const void *argument _unused_) {
        static const uint32_t methods[] = { PINLEASE_METHOD_ODP, PINLEASE_METHOD_PINNED };
        struct fixture f = fixture_open(NULL);
        struct memory from = memory_new(MEMORY_MEMFD, 4 * PAGE), to = memory_new(MEMORY_MEMFD, 4 * PAGE);

        rdma_connect(&f.rdma);
        for (size_t i = 0; i < ELEMENTSOF(methods); i++) {
                struct pl_register_reply source = fixture_register(&f, &from, methods[i]),
                                         target = fixture_register(&f, &to, methods[i]);

                memset(from.start, (int)('a' + i), from.length);
                CHECK_EQUAL(rdma_write_from(&f.rdma, source.iova, source.lkey, target.iova, target.rkey, 4 * PAGE),
                            IBV_WC_SUCCESS);
                CHECK(memcmp(from.start, to.start, from.length) == 0);
                raw_deregister(&f.raw, source.id);
                raw_deregister(&f.raw, target.id);
        }
        fixture_close(&f);
}

/* Read-only memory is read, and never written. */
static void run_read_only(const void *argument _unused_) {
        struct fixture f = fixture_open(NULL);
        struct memory memory = memory_new(MEMORY_MEMFD, 4 * PAGE);
        struct pl_register request = fixture_request(&f, &memory, PINLEASE_METHOD_ANY);
        struct pl_register_reply r;

        request.access = ACCESS_READ;
        r = raw_register(&f.raw, &request, memory.fd);
        rdma_connect(&f.rdma);
        CHECK_EQUAL(rdma_try_transfer(&f.rdma, r.iova, r.rkey, NULL, PAGE, 1), IBV_WC_REM_ACCESS_ERR);
        fixture_close(&f);
}

/* The app's address is taken in the registrar: pinned, that does not matter; by ODP, the reply says what to use. */
static void run_occupied(const void *argument _unused_) {
        struct fixture f = fixture_open(NULL);
        struct session session = session_of(getpid());
        struct memory memory = { .length = 4 * PAGE };
        struct pl_register_reply pinned, odp;
        uint64_t taken, room;

        taken = process_mapped_address(session.registrar, "pinlease-ledger", &room);
        CHECK(taken != 0 && room >= memory.length);
        memory.fd = CHECK_CALL(memfd_create("pl-test", MFD_CLOEXEC));
        CHECK_CALL(ftruncate(memory.fd, (off_t)memory.length));
        memory.start = mmap((void *)(uintptr_t)taken,
                            memory.length,
                            PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_FIXED_NOREPLACE | MAP_POPULATE,
                            memory.fd,
                            0);
        if (memory.start == MAP_FAILED)
                FAIL("the address 0x%llx is taken here too: %m", (unsigned long long)taken);
        memset(memory.start, 1, memory.length);

        rdma_connect(&f.rdma);
        pinned = fixture_register(&f, &memory, PINLEASE_METHOD_PINNED);
        CHECK_EQUAL(pinned.iova, taken);
        rdma_transfer(&f.rdma, pinned.iova, pinned.rkey, memory.start, memory.length, 1);

        odp = fixture_register(&f, &memory, PINLEASE_METHOD_ODP);
        CHECK(odp.iova != taken);
        CHECK_EQUAL(odp.iova % PAGE, taken % PAGE);
        rdma_transfer(&f.rdma, odp.iova, odp.rkey, memory.start, memory.length, 2);
        fixture_close(&f);
}

/* From one device to the other, over the wire between them. */
static void run_two_devices(const void *argument _unused_) {
        struct rdma a = rdma_open("rxe_a"), b = rdma_open("rxe_b");
        struct memory memory = memory_new(MEMORY_MEMFD, 16 * PAGE);
        struct raw raw = raw_open(NULL);
        struct pl_register request = {
                .context = raw_attach(&raw, b.context->cmd_fd),
                .pd = b.pd->handle,
                .length = memory.length,
                .address = (uintptr_t)memory.start,
                .access = ACCESS_READ_WRITE,
                .methods = PINLEASE_METHOD_ANY,
        };
        struct pl_register_reply r = raw_register(&raw, &request, memory.fd);

        rdma_connect_two(&a, &b);
        rdma_transfer(&a, r.iova, r.rkey, memory.start, memory.length, 1);
        raw_close(&raw);
        rdma_close(&a);
        rdma_close(&b);
}

/* The same by the library. */
static void run_library(const void *argument _unused_) {
        struct memory memory = memory_new(MEMORY_MEMFD, 16 * PAGE);
        struct pinlease *p;
        struct pinlease_mr *mr;
        struct rdma rdma;

        enter_host("hosta");
        rdma = rdma_open("rxe_a");
        rdma_connect(&rdma);
        CHECK_EQUAL(pinlease_connect(NULL, NULL, NULL, &p), 0);
        for (unsigned int method = PINLEASE_METHOD_ODP; method <= PINLEASE_METHOD_PINNED; method++) {
                if (pinlease_reg_fd(
                            p, rdma.pd, memory.fd, 0, memory.length, memory.start, ACCESS_READ_WRITE, method, &mr) < 0)
                        FAIL("pinlease_reg_fd: %s", pinlease_refusal(p)->sentence);
                CHECK_EQUAL(mr->method, method);
                CHECK_EQUAL(mr->mr.length, memory.length);
                rdma_transfer(&rdma, mr->iova, mr->mr.rkey, memory.start, memory.length, method);
                CHECK_EQUAL(pinlease_dereg(p, mr), 0);
        }
        (void)pinlease_disconnect(p);
        rdma_close(&rdma);
        memory_free(&memory);
}

/* It faults holes in before it asks, in the app: what the raw protocol is refused for. */
static void run_library_hole(const void *argument _unused_) {
        int fd = CHECK_CALL(memfd_create("pl-test", MFD_CLOEXEC));
        struct rdma rdma = rdma_open("rxe_a");
        struct pinlease_mr *mr;
        struct pinlease *p;
        void *start;

        CHECK_CALL(ftruncate(fd, 16 * PAGE));
        start = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        CHECK(start != MAP_FAILED);
        CHECK_EQUAL(pinlease_connect(NULL, NULL, NULL, &p), 0);
        if (pinlease_reg_fd(p, rdma.pd, fd, 0, 16 * PAGE, start, ACCESS_READ_WRITE, PINLEASE_METHOD_PINNED, &mr) < 0)
                FAIL("pinlease_reg_fd: %s", pinlease_refusal(p)->sentence);
        (void)pinlease_disconnect(p);
        rdma_close(&rdma);
}

/* Device-dax, by somebody who may open the node and nothing else. */
static void uses_device(int channel _unused_, const void *argument) {
        struct memory memory;
        struct rdma rdma;
        struct pinlease_mr *mr[2], *none;
        struct pinlease *p;
        uint64_t half;

        become(argument);
        memory = memory_new(MEMORY_DEVDAX, UINT64_C(4) << 20);
        half = memory.length / 2;
        rdma = rdma_open("rxe_a");
        rdma_connect(&rdma);
        CHECK_EQUAL(pinlease_connect(NULL, NULL, NULL, &p), 0);
        for (unsigned int i = 0; i < 2; i++) {
                if (pinlease_reg_fd(p,
                                    rdma.pd,
                                    memory.fd,
                                    i * half,
                                    i ? PAGE : half,
                                    memory.start + i * half,
                                    ACCESS_READ_WRITE,
                                    i ? PINLEASE_METHOD_ODP : 0,
                                    mr + i) < 0)
                        FAIL("pinlease_reg_fd: %s", pinlease_refusal(p)->sentence);
                CHECK_EQUAL(mr[i]->backing, PINLEASE_BACKING_DEVDAX);
                CHECK_EQUAL(mr[i]->method, i ? PINLEASE_METHOD_ODP : PINLEASE_METHOD_PINNED);
        }
        rdma_transfer(&rdma, mr[0]->iova, mr[0]->mr.rkey, memory.start, 64 * PAGE, 1);
        rdma_transfer(&rdma, mr[1]->iova, mr[1]->mr.rkey, memory.start + half, PAGE, 2);

        /* Not mapped there, beyond the end. */
        CHECK_EQUAL(pinlease_reg_fd(
                            p, rdma.pd, memory.fd, half, half, memory.start + half + PAGE, ACCESS_READ_WRITE, 0, &none),
                    -EFAULT);
        CHECK_EQUAL(pinlease_refusal(p)->code, PINLEASE_CODE_NOT_POPULATED);
        CHECK_EQUAL(pinlease_reg_fd(
                            p, rdma.pd, memory.fd, UINT64_C(1) << 40, half, memory.start, ACCESS_READ_WRITE, 0, &none),
                    -ERANGE);
        CHECK_EQUAL(pinlease_refusal(p)->code, PINLEASE_CODE_BEYOND_END);
        CHECK_EQUAL(pinlease_dereg(p, mr[1]), 0);
        rdma_transfer(&rdma, mr[0]->iova + half - PAGE, mr[0]->mr.rkey, memory.start + half - PAGE, PAGE, 3);
        CHECK_EQUAL(pinlease_dereg(p, mr[0]), 0);
        (void)pinlease_disconnect(p);
        rdma_close(&rdma);
        memory_free(&memory);
}

static void run_device(const void *argument) {
        struct app app = app_start(uses_device, argument);

        app_finish(&app);
}

#define WAY(kind, method, backing)                                                                                     \
        run_way, &(const struct way) { MEMORY_##kind, PINLEASE_METHOD_##method, PINLEASE_BACKING_##backing },          \
                CASE_ANYWHERE

const struct test_case cases_transfer[] = {
        { "transfer: memfd, pinned", WAY(MEMFD, PINNED, SHMEM) },
        { "transfer: memfd, ODP", WAY(MEMFD, ODP, SHMEM) },
        { "transfer: tmpfs, pinned", WAY(TMPFS, PINNED, SHMEM) },
        { "transfer: tmpfs, ODP", WAY(TMPFS, ODP, SHMEM) },
        { "transfer: hugetlb, pinned", WAY(HUGETLB, PINNED, HUGETLB) },
        { "transfer: hugetlb, ODP", WAY(HUGETLB, ODP, HUGETLB) },
        { "transfer: ext4-dax, ODP", WAY(EXT4_DAX, ODP, FSDAX) },
        { "transfer: xfs-dax, ODP", WAY(XFS_DAX, ODP, FSDAX) },
        { "transfer: ext4, ODP", WAY(EXT4, ODP, PAGECACHE) },
        { "transfer: xfs, ODP", WAY(XFS, ODP, PAGECACHE) },
        { "transfer: device-dax, pinned", WAY(DEVDAX, PINNED, DEVDAX) },
        { "transfer: device-dax, ODP", WAY(DEVDAX, ODP, DEVDAX) },
        { "transfer: device-dax by the library, a user", run_device, "alice", 0 },
        { "transfer: keys in local work requests", run_local, NULL, CASE_ANYWHERE },
        { "transfer: read-only memory is not written", run_read_only, NULL, 0 },
        { "transfer: the app's address is taken in the registrar", run_occupied, NULL, CASE_ANYWHERE },
        { "transfer: from one device to the other", run_two_devices, NULL, 0 },
        { "transfer: by the library", run_library, NULL, CASE_ANYWHERE },
        { "transfer: the library fills holes first", run_library_hole, NULL, 0 },
        { 0 },
};
