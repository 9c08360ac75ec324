/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the other program does to the file, see matrix.h. */

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "harness.h"
#include "matrix.h"

/* What ran in between may not touch it. */
#define TRY(call)                                                                                                      \
        ({                                                                                                             \
                long result_ = (long)(call);                                                                           \
                result_ < 0 ? -errno : 0;                                                                              \
        })

/* The descriptor that it has had all along, or one that it gets now. */
static int writer(struct target *t) {
        if (t->fd < 0)
                t->fd = open(t->path, O_RDWR | O_CLOEXEC);
        return t->fd < 0 ? -errno : t->fd;
}

/* --- opening --- */

static int open_to_read(struct target *t) {
        return TRY(open(t->path, O_RDONLY | O_CLOEXEC));
}

static int open_to_write(struct target *t) {
        return TRY(open(t->path, O_RDWR | O_CLOEXEC));
}

static int open_empty(struct target *t) {
        int fd = open(t->path, O_WRONLY | O_TRUNC | O_CLOEXEC);

        return fd < 0 ? -errno : close(fd);
}

/* --- sizes and ranges --- */

static int truncate_path(struct target *t) {
        return TRY(truncate(t->path, (off_t)t->unit));
}

static int truncate_fd(struct target *t) {
        int fd = writer(t);

        return fd < 0 ? fd : TRY(ftruncate(fd, (off_t)t->unit));
}

static int allocate(struct target *t, int mode, uint64_t offset) {
        int fd = writer(t);

        return fd < 0 ? fd : TRY(fallocate(fd, mode, (off_t)offset, (off_t)t->unit));
}

static int extend(struct target *t) {
        return allocate(t, 0, t->length);
}

static int punch(struct target *t) {
        return allocate(t, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, t->unit);
}

static int collapse(struct target *t) {
        return allocate(t, FALLOC_FL_COLLAPSE_RANGE, t->length / 2);
}

static int zero(struct target *t) {
        return allocate(t, FALLOC_FL_ZERO_RANGE, t->unit);
}

static int insert(struct target *t) {
        return allocate(t, FALLOC_FL_INSERT_RANGE, t->unit);
}

static int append(struct target *t) {
        static const char page[4096] = "x";
        int fd = writer(t);

        return fd < 0 ? fd : TRY(pwrite(fd, page, sizeof page, (off_t)t->length));
}

/* --- names, attributes --- */

/* Another one, of the same length, that has its own blocks. */
static int other_file(const struct target *t, char *path) {
        int fd;

        if (t->kind == MEMORY_MEMFD) {
                fd = CHECK_CALL(memfd_create("pl-other", MFD_CLOEXEC));
                CHECK_CALL(ftruncate(fd, (off_t)t->length));
                return fd;
        }
        fd = memory_file(t->folder, path, t->length);
        if (t->kind != MEMORY_HUGETLB)
                for (uint64_t at = 0; at < t->length; at += sizeof(char[4096])) {
                        static const char page[4096] = "other";

                        CHECK_EQUAL(pwrite(fd, page, sizeof page, (off_t)at), sizeof page);
                }
        CHECK_CALL(fsync(fd));
        return fd;
}

static int unlink_path(struct target *t) {
        return TRY(unlink(t->path));
}

static int rename_over(struct target *t) {
        char path[80];

        close(other_file(t, path));
        return TRY(rename(path, t->path));
}

static int change_mode(struct target *t) {
        return TRY(chmod(t->path, 0640));
}

/* --- blocks of other files --- */

static int with_other(struct target *t, int (*function)(const struct target *t, int fd, int other)) {
        char path[80] = "";
        int other = other_file(t, path), fd, r;

        if (path[0])
                CHECK_CALL(unlink(path));
        fd = writer(t);
        r = fd < 0 ? fd : function(t, fd, other);
        close(other);
        return r;
}

static int clone(const struct target *t _unused_, int fd, int other) {
        return TRY(ioctl(fd, FICLONE, other));
}

static int reflink(struct target *t) {
        return with_other(t, clone);
}

static int copy(const struct target *t, int fd, int other) {
        off_t from = 0, to = 0;

        while ((uint64_t)to < t->length) {
                ssize_t n = copy_file_range(other, &from, fd, &to, t->length - (uint64_t)to, 0);

                if (n < 0)
                        return -errno;
                CHECK(n > 0);
        }
        return 0;
}

static int copy_range(struct target *t) {
        return with_other(t, copy);
}

/* Of ext4's and xfs's own headers, which are not there everywhere. */
struct move_extent {
        uint32_t reserved, donor_fd;
        uint64_t orig_start, donor_start, len, moved_len;
};
#define EXT4_IOC_MOVE_EXT _IOWR('f', 15, struct move_extent)

struct xfs_exchange_range {
        int32_t file1_fd;
        uint32_t pad;
        uint64_t file1_offset, file2_offset, length, flags;
};
#define XFS_IOC_EXCHANGE_RANGE _IOW('X', 129, struct xfs_exchange_range)

struct xfs_bstime {
        int64_t sec;
        int32_t nsec, pad;
};
struct xfs_bstat {
        uint64_t ino;
        uint16_t mode, nlink;
        uint32_t uid, gid, rdev;
        int32_t blksize, pad;
        int64_t size;
        struct xfs_bstime atime, mtime, ctime;
        int64_t blocks;
        uint32_t rest[10];
};
struct xfs_swapext {
        int64_t version, fdtarget, fdtmp, offset, length;
        uint8_t pad[16];
        struct xfs_bstat stat;
};
#define XFS_IOC_SWAPEXT _IOWR('X', 109, struct xfs_swapext)
_Static_assert(sizeof(struct xfs_bstat) == 136 && sizeof(struct xfs_swapext) == 192, "the kernel's layout");

/* As xfs_fsr(8) does: only if nobody has touched the file since. */
static int swap_extents(const struct target *t, int fd, int other) {
        struct xfs_swapext swap = { .fdtarget = fd, .fdtmp = other, .length = (int64_t)t->length };
        struct stat st;

        CHECK_CALL(fstat(fd, &st));
        swap.stat.ino = st.st_ino;
        swap.stat.size = st.st_size;
        swap.stat.mtime = (struct xfs_bstime) { .sec = st.st_mtim.tv_sec, .nsec = (int32_t)st.st_mtim.tv_nsec };
        swap.stat.ctime = (struct xfs_bstime) { .sec = st.st_ctim.tv_sec, .nsec = (int32_t)st.st_ctim.tv_nsec };
        return TRY(ioctl(fd, XFS_IOC_SWAPEXT, &swap));
}

static int exchange_ranges(const struct target *t, int fd, int other) {
        struct xfs_exchange_range range = { .file1_fd = other, .length = t->length };

        return TRY(ioctl(fd, XFS_IOC_EXCHANGE_RANGE, &range));
}

static int move_extents(const struct target *t, int fd, int other) {
        struct move_extent move = { .donor_fd = (uint32_t)other, .len = t->length / t->unit };
        int r = -EBUSY;

        /* What is still to be written is not moved (EBUSY). */
        for (int i = 0; i < 100 && r == -EBUSY; i++) {
                CHECK_CALL(fsync(fd));
                r = TRY(ioctl(fd, EXT4_IOC_MOVE_EXT, &move));
        }
        return r;
}

static int defragment(struct target *t) {
        if (t->kind == MEMORY_EXT4 || t->kind == MEMORY_EXT4_DAX)
                return with_other(t, move_extents);
        /* With DAX the kernel (7.3) warns about the pages that are in use, and refuses. */
        return with_other(t, t->kind == MEMORY_XFS ? swap_extents : exchange_ranges);
}

static int exchange(struct target *t) {
        return with_other(t, exchange_ranges);
}

/* --- mounts --- */

static int remount(struct target *t) {
        return TRY(mount(NULL, t->folder, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
}

static int unmount(struct target *t) {
        return TRY(umount2(t->folder, MNT_DETACH));
}

#define NO_MODE "no such fallocate(2)"

const struct operation operations[N_OPERATIONS] = {
        { "open for reading", open_to_read, 0, NULL },
        { "open for writing", open_to_write, 0, NULL },
        { "open with O_TRUNC", open_empty, 0, NULL },
        { "truncate, by name", truncate_path, 0, NULL },
        { "ftruncate, the app's own descriptor", truncate_fd, OPERATION_OWN, NULL },
        { "ftruncate, another's descriptor", truncate_fd, 0, NULL },
        { "fallocate: extend", extend, 0, NO_MODE },
        { "fallocate: punch a hole", punch, 0, NO_MODE },
        { "the same, the app's own descriptor", punch, OPERATION_OWN, NO_MODE },
        { "fallocate: collapse", collapse, 0, NO_MODE },
        { "fallocate: zero", zero, 0, NO_MODE },
        { "fallocate: insert", insert, 0, NO_MODE },
        { "write past the end", append, 0, "no write(2)" },
        { "unlink", unlink_path, OPERATION_NAME, NULL },
        { "rename over it", rename_over, OPERATION_NAME, NULL },
        { "chmod", change_mode, 0, NULL },
        { "reflink onto it", reflink, 0, "no reflink" },
        { "copy_file_range onto it", copy_range, 0, "no write(2)" },
        { "defragment", defragment, OPERATION_BLOCKS, "no exchange of blocks" },
        { "exchange with another file", exchange, OPERATION_BLOCKS, "no exchange of blocks" },
        { "remount read-only, the app may write", remount, OPERATION_NAME | OPERATION_MOUNT, "somebody may write" },
        { "remount read-only, the app only reads",
          remount,
          OPERATION_NAME | OPERATION_MOUNT | OPERATION_READ_ONLY,
          NULL },
        { "lazy unmount", unmount, OPERATION_NAME | OPERATION_MOUNT, NULL },
};
