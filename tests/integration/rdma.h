/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_RDMA_H
#define TEST_RDMA_H

/* Verbs, without connection management: a device, and two queue pairs of one process that talk to each other. */

#include <infiniband/verbs.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What transfer moves at a time, at most. */
#define RDMA_BUFFER (128U << 10)

struct rdma {
        struct ibv_context *context;
        struct ibv_pd *pd;

        /* After rdma_connect() */
        struct ibv_comp_channel *channel;
        struct ibv_cq *cq;
        struct ibv_qp *active, *passive; /* a writes, p owns the memory; both on this device and PD */
        uint8_t *buffer;                 /* RDMA_BUFFER bytes to write from, as many to read into */
        struct ibv_mr *buffer_mr;
};

/* The device by name, a context and a PD on it. */
struct rdma rdma_open(const char *name);
/* The first device that this network namespace has. */
struct rdma rdma_open_any(void);
struct ibv_context *rdma_open_context(const char *name);
void rdma_connect(struct rdma *rdma);
/* After work that failed, which put the queue pairs into the error state. */
void rdma_reconnect(struct rdma *rdma);
/* Two devices: the queue pair of `from` writes into memory of `to`. Both get a pair of queue pairs. */
void rdma_connect_two(struct rdma *from, struct rdma *to);
void rdma_close(struct rdma *rdma);

/*
 * Writes a pattern to [iova, iova + length) of the remote memory, in pieces, reads it back, compares, and compares what
 * `memory` (the same bytes in this process; may be NULL) shows. Failures end the case.
 */
void rdma_transfer(
        struct rdma *rdma, uint64_t iova, uint32_t rkey, const uint8_t *memory, uint64_t length, uint64_t seed);

/*
 * The same, but the remote side may be taken away meanwhile. Returns the status of the first work that failed;
 * IBV_WC_SUCCESS if all was well, bytes included.
 */
enum ibv_wc_status rdma_try_transfer(
        struct rdma *rdma, uint64_t iova, uint32_t rkey, const uint8_t *memory, uint64_t length, uint64_t seed);

/* Reads the remote memory, and compares it with `memory`, which may show the same bytes. */
enum ibv_wc_status rdma_compare(
        struct rdma *rdma, uint64_t iova, uint32_t rkey, const uint8_t *memory, uint64_t length);

/* One RDMA write from memory of this side that is not the transfer's own buffer. */
enum ibv_wc_status rdma_write_from(
        struct rdma *rdma, uint64_t local, uint32_t lkey, uint64_t remote, uint32_t rkey, uint32_t length);

/* One RDMA read, into the buffer. */
enum ibv_wc_status rdma_read(struct rdma *rdma, uint64_t remote, uint32_t rkey, uint32_t length);

/* A memory window on [iova, iova + length) of an MR that the service registered, bound by the active queue pair. */
struct ibv_mw *rdma_bind_window(
        struct rdma *rdma, uint32_t handle, uint32_t lkey, uint32_t rkey, uint64_t iova, uint64_t length);
/* The same of type 2, bound by the passive queue pair, whose peer may use it. */
struct ibv_mw *rdma_bind_second_window(
        struct rdma *rdma, uint32_t handle, uint32_t lkey, uint32_t rkey, uint64_t iova, uint64_t length);

#endif
