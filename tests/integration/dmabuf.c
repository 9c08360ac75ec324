/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dmabuf.h"

#include <fcntl.h>
#include <linux/dma-heap.h>
#include <linux/udmabuf.h>
#include <rdma/ib_user_ioctl_verbs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "harness.h"

#define MODULE "/sys/module/rxe_dmabuf"
#define MODULE_FILE "/run/vm/rxe_dmabuf.ko"
#define PAGE UINT64_C(4096)
#define BUFINFO "/sys/kernel/debug/dma_buf/bufinfo"

void dmabuf_need_module(void) {
        const char *required = getenv("PINLEASE_REQUIRE_KMOD"), *why = getenv("PINLEASE_KMOD_MISSING");

        /* After a case that has unloaded it, and failed. */
        if (access(MODULE, F_OK) < 0 && access(MODULE_FILE, F_OK) == 0)
                dmabuf_load();
        if (access(MODULE, F_OK) == 0)
                return;
        if (!why)
                why = "the guest was started without the kernel module of tests/kmod (PINLEASE_VM_KMOD)";
        if (required && *required && strcmp(required, "0") != 0 && strcmp(required, "no") != 0)
                FAIL("%s", why);
        skip("%s", why);
}

struct memory dmabuf_new_memfd(enum memory_kind kind, uint64_t length) {
        struct memory m = { .length = length };
        unsigned int flags = kind == MEMORY_HUGETLB ? MFD_HUGETLB : 0;

        m.fd = CHECK_CALL(memfd_create("pl-test", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags));
        CHECK_CALL(ftruncate(m.fd, (off_t)length));
        CHECK_CALL(fcntl(m.fd, F_ADD_SEALS, F_SEAL_SHRINK));
        m.start = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd, 0);
        CHECK(m.start != MAP_FAILED);
        return m;
}

int dmabuf_try_memfd(const struct memory *memory, uint64_t offset, uint64_t length) {
        _cleanup_(pl_closep) int device = CHECK_CALL(open("/dev/udmabuf", O_RDWR | O_CLOEXEC));
        struct udmabuf_create create = {
                .memfd = (uint32_t)memory->fd,
                .flags = UDMABUF_FLAGS_CLOEXEC,
                .offset = offset,
                .size = length,
        };

        return ioctl(device, UDMABUF_CREATE, &create);
}

int dmabuf_of_memfd(const struct memory *memory, uint64_t offset, uint64_t length) {
        return CHECK_CALL(dmabuf_try_memfd(memory, offset, length));
}

struct memory dmabuf_of_heap(uint64_t length) {
        _cleanup_(pl_closep) int heap = CHECK_CALL(open("/dev/dma_heap/system", O_RDWR | O_CLOEXEC));
        struct dma_heap_allocation_data data = { .len = length, .fd_flags = O_RDWR | O_CLOEXEC };
        struct memory m = { .length = length };

        CHECK_CALL(ioctl(heap, DMA_HEAP_IOCTL_ALLOC, &data));
        m.fd = (int)data.fd;
        m.start = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd, 0);
        CHECK(m.start != MAP_FAILED);
        return m;
}

struct buffer buffer_new(enum exporter exporter, uint64_t length) {
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

void buffer_close(struct buffer *b) {
        b->fd = pl_close(b->fd);
}

void buffer_free(struct buffer *b) {
        buffer_close(b);
        memory_free(&b->memory);
}

struct pl_register buffer_request(const struct fixture *f, uint64_t offset, uint64_t length, uint64_t iova) {
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

struct pl_register_reply buffer_register(struct fixture *f, const struct buffer *b) {
        const struct pl_register request = buffer_request(f, 0, b->length, DMABUF_IOVA);

        return raw_register(&f->raw, &request, b->fd);
}

unsigned int dmabuf_count(void) {
        FILE *f = fopen(BUFINFO, "re");
        unsigned int n = 0;
        bool found = false;
        char line[256];

        if (!f)
                FAIL(BUFINFO ": %m");
        while (fgets(line, sizeof line, f))
                found |= sscanf(line, "Total %u objects", &n) == 1;
        (void)fclose(f);
        CHECK(found);
        return n;
}

static bool are_so_many(const void *argument) {
        const unsigned int *n = argument;

        return dmabuf_count() == *n;
}

void dmabuf_await_count(unsigned int n) {
        if (!eventually(are_so_many, &n))
                FAIL("there are %u dma-bufs, should be %u", dmabuf_count(), n);
}

int dmabuf_try_register(const struct rdma *rdma,
                        int fd,
                        uint64_t offset,
                        uint64_t length,
                        uint64_t iova,
                        uint32_t access,
                        struct uverbs_mr_keys *ret_keys) {
        const struct uverbs_device device = { .fd = rdma->context->cmd_fd, .driver_id = RDMA_DRIVER_RXE };
        const struct uverbs_dmabuf range = { .fd = fd, .offset = offset, .length = length, .iova = iova };
        struct uverbs_command command;

        return uverbs_kernel.reg_dmabuf_mr(&device, rdma->pd->handle, &range, access, &command, ret_keys);
}

struct uverbs_mr_keys dmabuf_register(
        const struct rdma *rdma, int fd, uint64_t offset, uint64_t length, uint64_t iova, uint32_t access) {
        struct uverbs_mr_keys keys = { 0 };
        int r = dmabuf_try_register(rdma, fd, offset, length, iova, access, &keys);

        if (r < 0)
                FAIL("registration of a dma-buf: %s", strerror(-r));
        CHECK(keys.rkey != 0);
        return keys;
}

int dmabuf_try_deregister(const struct rdma *rdma, const struct uverbs_mr_keys *keys) {
        const struct uverbs_device device = { .fd = rdma->context->cmd_fd, .driver_id = RDMA_DRIVER_RXE };

        return uverbs_kernel.dereg_mr(&device, keys->handle);
}

void dmabuf_deregister(const struct rdma *rdma, const struct uverbs_mr_keys *keys) {
        CHECK_EQUAL(dmabuf_try_deregister(rdma, keys), 0);
}

int dmabuf_unload(void) {
        return syscall(SYS_delete_module, "rxe_dmabuf", O_NONBLOCK) < 0 ? -errno : 0;
}

void dmabuf_load(void) {
        _cleanup_(pl_closep) int fd = CHECK_CALL(open(MODULE_FILE, O_RDONLY | O_CLOEXEC));

        CHECK_CALL(syscall(SYS_finit_module, fd, "", 0));
}
