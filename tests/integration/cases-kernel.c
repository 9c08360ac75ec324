/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the kernel itself does. The service's rules are built on it: if it changes, a rule has to be thought over. What it
 * answers to which memory is in cases-table.c. */

#include "fixture.h"
#include "harness.h"

#define PAGE 4096

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

const struct test_case cases_kernel[] = {
        { "kernel: ODP on rxe misplaces bytes", run_misplaced, NULL, 0 },
        { 0 },
};
