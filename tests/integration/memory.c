/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "memory.h"

#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "harness.h"

#define HUGE_PAGE (UINT64_C(2) << 20)

static const struct {
        const char *name, *folder;
} kinds[N_MEMORY_KINDS] = {
        [MEMORY_MEMFD] = { "memfd", NULL },
        [MEMORY_TMPFS] = { "tmpfs", "/mnt/tmpfs" },
        [MEMORY_HUGETLB] = { "hugetlb", "/mnt/huge" },
        [MEMORY_EXT4_DAX] = { "ext4-dax", "/mnt/ext4-dax" },
        [MEMORY_XFS_DAX] = { "xfs-dax", "/mnt/xfs-dax" },
        [MEMORY_EXT4] = { "ext4", "/mnt/ext4" },
        [MEMORY_XFS] = { "xfs", "/mnt/xfs" },
        [MEMORY_DEVDAX] = { "devdax", NULL },
};

const char *memory_name(enum memory_kind kind) {
        return kinds[kind].name;
}

int memory_file(const char *folder, char *path, uint64_t size) {
        int fd;

        (void)sprintf(path, "%s/pl-test-XXXXXX", folder);
        fd = mkostemp(path, O_CLOEXEC);
        if (fd < 0)
                FAIL("%s: %m", path);
        CHECK_CALL(ftruncate(fd, (off_t)size));
        return fd;
}

struct memory memory_new(enum memory_kind kind, uint64_t length) {
        struct memory m = { .length = length };
        char path[64];

        if (kind == MEMORY_HUGETLB || kind == MEMORY_DEVDAX)
                m.length = (length + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
        if (kind == MEMORY_MEMFD) {
                m.fd = CHECK_CALL(memfd_create("pl-test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
                CHECK_CALL(ftruncate(m.fd, (off_t)m.length));
        } else if (kind == MEMORY_DEVDAX) {
                m.fd = CHECK_CALL(open("/dev/dax0.0", O_RDWR | O_CLOEXEC));
        } else {
                m.fd = memory_file(kinds[kind].folder, path, m.length);
                CHECK_CALL(unlink(path));
                /* Blocks first: memory that stands on a hole is another case. */
                if (kind != MEMORY_TMPFS && kind != MEMORY_HUGETLB)
                        CHECK_CALL(posix_fallocate(m.fd, 0, (off_t)m.length));
        }
        m.start = mmap(NULL, m.length, PROT_READ | PROT_WRITE, MAP_SHARED, m.fd, 0);
        if (m.start == MAP_FAILED)
                FAIL("mmap of %s: %m", kinds[kind].name);
        if (madvise(m.start, m.length, 23 /* MADV_POPULATE_WRITE */) < 0)
                FAIL("%s cannot be populated: %m", kinds[kind].name);
        return m;
}

void memory_free(struct memory *m) {
        (void)munmap(m->start, m->length);
        close(m->fd);
        *m = (struct memory) { .fd = -1 };
}

void memory_note_bad_blocks(int fd, uint64_t offset, uint64_t length) {
        union {
                struct fiemap map;
                uint8_t room[sizeof(struct fiemap) + sizeof(struct fiemap_extent)];
        } u = { .map = { .fm_start = offset, .fm_length = length, .fm_extent_count = 1 } };
        const struct fiemap_extent *extent = u.map.fm_extents;
        struct stat st;
        char path[64];
        int list;

        CHECK_CALL(ioctl(fd, FS_IOC_FIEMAP, &u.map));
        CHECK_EQUAL(u.map.fm_mapped_extents, 1);
        CHECK(extent->fe_logical <= offset && extent->fe_logical + extent->fe_length >= offset + length);
        CHECK_CALL(fstat(fd, &st));
        (void)snprintf(path, sizeof path, "/sys/dev/block/%u:%u/badblocks", major(st.st_dev), minor(st.st_dev));
        list = CHECK_CALL(open(path, O_WRONLY | O_CLOEXEC));
        (void)dprintf(list,
                      "%llu %llu\n",
                      (unsigned long long)(extent->fe_physical + (offset - extent->fe_logical)) / 512,
                      (unsigned long long)length / 512);
        close(list);
}
