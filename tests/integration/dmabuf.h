/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_DMABUF_H
#define TEST_DMABUF_H

/* dma-bufs of memory that can be looked at, and memory regions of them on soft-RoCE by the kernel module of tests/kmod.
 * Failures end the case. */

#include <stdint.h>

#include "fixture.h"
#include "memory.h"
#include "rdma.h"
#include "uverbs.h"

/* The module goes, 0; -EAGAIN: it is in use, -ENOENT: it is not here. And comes again, for the devices that are there. */
int dmabuf_unload(void);
void dmabuf_load(void);

/* Where is the module? Without it the case is skipped; or fails, if PINLEASE_REQUIRE_KMOD says that it must be here. */
void dmabuf_need_module(void);

/* A dma-buf of a memfd, mapped: the memory is that of the memfd. */
int dmabuf_of_memfd(const struct memory *memory, uint64_t offset, uint64_t length);
/* The same for /dev/udmabuf's own answer: -1 and errno. */
int dmabuf_try_memfd(const struct memory *memory, uint64_t offset, uint64_t length);
/* A memfd that may not shrink, as a udmabuf wants it. */
struct memory dmabuf_new_memfd(enum memory_kind kind, uint64_t length);
/* One of /dev/dma_heap/system, mapped. */
struct memory dmabuf_of_heap(uint64_t length);

/* One of either kind, and what is behind it. */
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

struct buffer buffer_new(enum exporter exporter, uint64_t length);
/* Its descriptor. */
void buffer_close(struct buffer *b);
void buffer_free(struct buffer *b);

/* Not an address of anything here, as nobody needs one. */
#define DMABUF_IOVA UINT64_C(0x5000000000)

/* A request to the service for some of it, by any method. */
struct pl_register buffer_request(const struct fixture *f, uint64_t offset, uint64_t length, uint64_t iova);
/* For all of it, at DMABUF_IOVA; it has to be granted. */
struct pl_register_reply buffer_register(struct fixture *f, const struct buffer *b);

/* How many dma-bufs the system has. */
unsigned int dmabuf_count(void);
/* Waits until there are so many. */
void dmabuf_await_count(unsigned int n);

/* What the kernel says, which libibverbs does not ask on soft-RoCE. 0 or a negative errno. */
int dmabuf_try_register(const struct rdma *rdma,
                        int fd,
                        uint64_t offset,
                        uint64_t length,
                        uint64_t iova,
                        uint32_t access,
                        struct uverbs_mr_keys *ret_keys);
/* Of memory at some address for both sides to read and write; it has to be granted. */
struct uverbs_mr_keys dmabuf_register(
        const struct rdma *rdma, int fd, uint64_t offset, uint64_t length, uint64_t iova, uint32_t access);
/* The kernel's answer. */
int dmabuf_try_deregister(const struct rdma *rdma, const struct uverbs_mr_keys *keys);
void dmabuf_deregister(const struct rdma *rdma, const struct uverbs_mr_keys *keys);

#endif
