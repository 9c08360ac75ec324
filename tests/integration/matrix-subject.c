/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The file that is registered, as the app has it, see matrix.h. */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "harness.h"
#include "matrix.h"

#define PAGE 4096
#define HUGE_PAGE (UINT64_C(2) << 20)

bool is_on_blocks(enum memory_kind kind) {
        return kind != MEMORY_MEMFD && kind != MEMORY_TMPFS && kind != MEMORY_HUGETLB;
}

/* With DAX the kernel drops entries of page tables in passing, and a hole stays one when it is read. Elsewhere nothing
 * is touched for it: that could bring back what has gone. */
static void touch(const struct subject *s) {
        for (uint64_t n = 0; n < UNITS && (s->target->kind == MEMORY_EXT4_DAX || s->target->kind == MEMORY_XFS_DAX);
             n++)
                (void)madvise(s->memory.start + n * s->target->unit, PAGE, 22 /* MADV_POPULATE_READ */);
}

static struct shape shape_of(const struct subject *s) {
        const uint64_t present = UINT64_C(1) << 63, frame = (UINT64_C(1) << 55) - 1;
        struct shape shape = { 0 };
        struct stat st;
        int fd;

        touch(s);
        CHECK_CALL(fstat(s->memory.fd, &st));
        shape.size = (uint64_t)st.st_size < s->memory.length ? (uint64_t)st.st_size : s->memory.length;
        fd = CHECK_CALL(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
        for (uint64_t n = 0; n < s->memory.length / s->target->unit; n++) {
                uint64_t page = ((uintptr_t)s->memory.start + n * s->target->unit) / PAGE, entry;

                CHECK_EQUAL(pread(fd, &entry, sizeof entry, (off_t)(page * sizeof entry)), sizeof entry);
                shape.frames[n] = entry & present ? entry & frame : 0;
        }
        close(fd);
        return shape;
}

bool subject_has_moved(const struct subject *s) {
        struct shape shape = shape_of(s);

        return memcmp(&shape, &s->shape, sizeof shape) != 0;
}

static void *map(const struct subject *s, int fd, int protection) {
        void *p = mmap(NULL, s->memory.length, protection, MAP_SHARED, fd, 0);

        CHECK(p != MAP_FAILED);
        return p;
}

/* A mount of the folder, and the same file by it. */
static void mount_new(struct subject *s) {
        (void)snprintf(s->mount, sizeof s->mount, "/run/pl-matrix-XXXXXX");
        CHECK(mkdtemp(s->mount));
        CHECK_CALL(mount(s->target->folder, s->mount, NULL, MS_BIND, NULL));
        (void)snprintf(s->target->folder, sizeof s->target->folder, "%s", s->mount);
}

/* The only descriptor that there is, as an app has it: a file that is open twice has no lease. */
static int reopen(const struct subject *s, int fd, int mode) {
        char path[192];

        if (s->target->kind == MEMORY_MEMFD)
                return fd;
        close(fd);
        (void)snprintf(path, sizeof path, "%s%s", s->target->folder, strrchr(s->file, '/'));
        return CHECK_CALL(open(path, mode | O_CLOEXEC));
}

struct subject matrix_subject_new(struct target *t, enum memory_kind kind, const char *folder, unsigned int flags) {
        struct subject s = { .target = t };
        bool reads = flags & OPERATION_READ_ONLY;
        void *p;
        int fd;

        *t = (struct target) { .kind = kind, .unit = kind == MEMORY_HUGETLB ? HUGE_PAGE : PAGE, .fd = -1 };
        s.memory.length = t->length = t->unit * (kind == MEMORY_HUGETLB ? 2 : UNITS);
        if (kind == MEMORY_MEMFD) {
                fd = CHECK_CALL(memfd_create("pl-matrix", MFD_CLOEXEC));
                CHECK_CALL(ftruncate(fd, (off_t)t->length));
                (void)snprintf(t->path, sizeof t->path, "/proc/%d/fd/%d", getpid(), fd);
        } else {
                fd = memory_file(folder, s.file, t->length);
                (void)snprintf(t->path, sizeof t->path, "%s", s.file);
                (void)snprintf(t->folder, sizeof t->folder, "%s", folder);
        }
        if (is_on_blocks(kind))
                CHECK_CALL(posix_fallocate(fd, 0, (off_t)t->length));
        p = map(&s, fd, PROT_READ | PROT_WRITE);
        memset(p, 1, t->length);
        CHECK_CALL(fsync(fd));
        CHECK_CALL(munmap(p, t->length));

        if (flags & OPERATION_MOUNT)
                mount_new(&s);
        s.memory.fd = reopen(&s, fd, reads ? O_RDONLY : O_RDWR);
        s.memory.start = map(&s, s.memory.fd, PROT_READ | (reads ? 0 : PROT_WRITE));
        CHECK_CALL(
                madvise(s.memory.start, t->length, reads ? 22 /* MADV_POPULATE_READ */ : 23 /* MADV_POPULATE_WRITE */));
        s.shape = shape_of(&s);
        for (uint64_t n = 0; n < t->length / t->unit; n++)
                CHECK(s.shape.frames[n]);
        return s;
}

void matrix_subject_free(struct subject *s) {
        if (!s->memory.start)
                return;
        memory_free(&s->memory);
        if (s->file[0])
                (void)unlink(s->file);
        if (s->mount[0]) {
                (void)umount2(s->mount, MNT_DETACH);
                CHECK_CALL(rmdir(s->mount));
        }
}
