/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "samples.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "dmabuf.h"
#include "harness.h"

#define PAGE 4096

static struct memory map_whole(int fd, uint64_t length) {
        struct memory m = { .fd = fd, .length = length };

        m.start = mmap(NULL, length, PROT_READ | PROT_WRITE, fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
        if (m.start == MAP_FAILED)
                FAIL("mmap: %m");
        for (uint64_t i = 0; i < length; i += PAGE)
                m.start[i] = 1;
        return m;
}

static struct memory make_devdax(void) {
        return map_whole(CHECK_CALL(open("/dev/dax0.0", O_RDWR | O_CLOEXEC)), UINT64_C(2) << 20);
}

static struct memory make_dmabuf(void) {
        struct memory memory = dmabuf_new_memfd(MEMORY_MEMFD, 4 * PAGE);
        int fd = dmabuf_of_memfd(&memory, 0, memory.length);

        memory_free(&memory);
        return map_whole(fd, 4 * PAGE);
}

static struct memory make_ramfs(void) {
        char path[64];
        int fd = memory_file("/mnt/ramfs", path, 4 * PAGE);

        CHECK_CALL(unlink(path));
        return map_whole(fd, 4 * PAGE);
}

static struct memory make_anon(void) {
        return map_whole(-1, 4 * PAGE);
}

const struct sample samples[] = {
        { PINLEASE_BACKING_SHMEM, "memfd", NULL, MEMORY_MEMFD, NULL },
        { PINLEASE_BACKING_SHMEM, "tmpfs", NULL, MEMORY_TMPFS, NULL },
        { PINLEASE_BACKING_HUGETLB, "hugetlb", NULL, MEMORY_HUGETLB, NULL },
        { PINLEASE_BACKING_FSDAX, "ext4-dax", NULL, MEMORY_EXT4_DAX, NULL },
        { PINLEASE_BACKING_FSDAX, "xfs-dax", NULL, MEMORY_XFS_DAX, NULL },
        { PINLEASE_BACKING_PAGECACHE, "ext4", NULL, MEMORY_EXT4, NULL },
        { PINLEASE_BACKING_PAGECACHE, "xfs", NULL, MEMORY_XFS, NULL },
        { PINLEASE_BACKING_DEVDAX, "device-dax", make_devdax, 0, "/dev/dax0.0" },
        { PINLEASE_BACKING_DMABUF, "udmabuf", make_dmabuf, 0, "/dev/udmabuf" },
        { PINLEASE_BACKING_ANON, "private memory", make_anon, 0, NULL },
        { PINLEASE_BACKING_OTHER, "ramfs", make_ramfs, 0, NULL },
};
const size_t n_samples = ELEMENTSOF(samples);

bool sample_exists(const struct sample *sample) {
        return !sample->device || access(sample->device, F_OK) == 0;
}

struct memory sample_make(const struct sample *sample) {
        return sample->make ? sample->make() : memory_new(sample->kind, 4 * PAGE);
}

void sample_free(struct memory *memory) {
        (void)munmap(memory->start, memory->length);
        if (memory->fd >= 0)
                close(memory->fd);
        *memory = (struct memory) { .fd = -1 };
}

int sample_register(const struct rdma *rdma, const struct memory *memory, uint32_t access) {
        struct ibv_mr *mr = ibv_reg_mr(rdma->pd, memory->start, memory->length, access);
        int error = mr ? 0 : errno;

        if (mr)
                CHECK_EQUAL(ibv_dereg_mr(mr), 0);
        return error;
}
