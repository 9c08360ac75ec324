/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the kernel itself says to the same memory. The service's rules are built on these answers: if one changes, a
 * rule has to be thought over. */

#include <stdio.h>
#include <string.h>

#include "fixture.h"
#include "harness.h"

#define PAGE 4096

struct answers {
        enum memory_kind kind;
        int pinned_write, pinned_read, odp; /* errno, 0: registered */
};

static void expect(const struct rdma *rdma, const struct memory *memory, unsigned int access, int should) {
        struct ibv_mr *mr = ibv_reg_mr(rdma->pd, memory->start, memory->length, access);
        int is = mr ? 0 : errno;

        if (mr)
                CHECK_EQUAL(ibv_dereg_mr(mr), 0);
        if (is != should)
                FAIL("access 0x%x: the kernel says \"%s\", and said \"%s\" before",
                     access,
                     strerror(is),
                     strerror(should));
}

static void run_kernel(const void *argument) {
        const struct answers *a = argument;
        struct rdma rdma = rdma_open("rxe_a");
        struct memory memory = memory_new(a->kind, 4 * PAGE);

        expect(&rdma, &memory, ACCESS_READ_WRITE, a->pinned_write);
        expect(&rdma, &memory, ACCESS_READ, a->pinned_read);
        expect(&rdma, &memory, ACCESS_READ_WRITE | IBV_ACCESS_ON_DEMAND, a->odp);
        memory_free(&memory);
        rdma_close(&rdma);
}

/*
 * rdma_rxe copies by ODP from and to the beginning of the page, whatever the address (seen in Linux 7.3; the offset is
 * computed and then not added). The service knows the driver by its id: once the kernel is repaired,
 * uverbs_unsound_methods() can ask for its version. So this only says what it sees.
 */
static void run_misplaced(const void *argument _unused_) {
        struct rdma rdma = rdma_open("rxe_a");
        struct memory memory = memory_new(MEMORY_MEMFD, PAGE);
        struct ibv_mr *mr;

        rdma_connect(&rdma);
        mr = ibv_reg_mr(rdma.pd, memory.start, memory.length, ACCESS_READ_WRITE | IBV_ACCESS_ON_DEMAND);
        CHECK(mr);
        rdma.buffer[0] = 'x';
        CHECK_EQUAL(rdma_write_from(&rdma,
                                    (uintptr_t)rdma.buffer,
                                    rdma.buffer_mr->lkey,
                                    (uintptr_t)memory.start + 100,
                                    mr->rkey,
                                    1),
                    IBV_WC_SUCCESS);
        if (memory.start[100] == 'x')
                skip("this kernel's rdma_rxe does ODP right: uverbs_unsound_methods() should know from which version on");
        CHECK_EQUAL(memory.start[0], 'x');
        CHECK_EQUAL(ibv_dereg_mr(mr), 0);
        rdma_close(&rdma);
}

#define KERNEL(...) run_kernel, &(const struct answers) { __VA_ARGS__ }, 0

const struct test_case cases_kernel[] = {
        { "kernel: memfd", KERNEL(MEMORY_MEMFD, 0, 0, 0) },
        { "kernel: tmpfs", KERNEL(MEMORY_TMPFS, 0, 0, 0) },
        { "kernel: hugetlb", KERNEL(MEMORY_HUGETLB, 0, 0, 0) },
        { "kernel: ext4-dax", KERNEL(MEMORY_EXT4_DAX, EOPNOTSUPP, EOPNOTSUPP, 0) },
        { "kernel: xfs-dax", KERNEL(MEMORY_XFS_DAX, EOPNOTSUPP, EOPNOTSUPP, 0) },
        { "kernel: ext4", KERNEL(MEMORY_EXT4, EFAULT, 0, 0) },
        { "kernel: xfs", KERNEL(MEMORY_XFS, EFAULT, 0, 0) },
        { "kernel: ODP on rxe misplaces bytes", run_misplaced, NULL, 0 },
        { 0 },
};
