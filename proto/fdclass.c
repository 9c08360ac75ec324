/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fdclass.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "chardev.h"
#include "fstype.h"
#include "mountinfo.h"
#include "util.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif
#ifndef SYS_statmount
#define SYS_statmount 457
#endif

/*
 * statmount(2) by descriptor: "statmount: accept fd as a parameter", Linux 7.0. Looks at the mount only, so the file's
 * server is not asked; needs no capability and works for a mount of another namespace. The headers of the distribution
 * may be older than the kernel, so the two structures are written out as far as they are used.
 */
#define STATMOUNT_BY_FD_FLAG 0x1U
#define STATMOUNT_SB_BASIC_BIT 0x1U
#define STATMOUNT_NS_ID_BIT 0x40U

struct statmount_request {
        uint32_t size;
        uint32_t fd;
        uint64_t mnt_id;
        uint64_t param;
        uint64_t mnt_ns_id;
};

struct statmount_result {
        uint32_t size;
        uint32_t mnt_opts;
        uint64_t mask;
        uint32_t sb_dev_major, sb_dev_minor;
        uint64_t sb_magic;
        uint8_t rest[480];
};

static int statmount_by_fd(int fd, uint64_t param, struct statmount_result *ret_result) {
        struct statmount_request request = {
                .size = sizeof request,
                .fd = (uint32_t)fd,
                .param = param,
        };

        if (syscall(SYS_statmount, &request, ret_result, sizeof *ret_result, STATMOUNT_BY_FD_FLAG) < 0)
                return -errno;
        return ret_result->mask & STATMOUNT_SB_BASIC_BIT ? 0 : -ENODATA;
}

/* EINVAL is the answer of a kernel that does not know the flag, and of one that does when the descriptor is of a mount
 * inside the kernel (memfd, pipe, anonymous inode, dma-buf). The root directory tells which. */
static bool have_statmount_by_fd(void) {
        struct statmount_result result;
        _cleanup_(pl_closep) int root = -1;

        root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        return root >= 0 && statmount_by_fd(root, STATMOUNT_SB_BASIC_BIT, &result) == 0;
}

/* -ENXIO: on no file system that anybody could have mounted. -EOPNOTSUPP: this kernel cannot tell. */
static int magic_by_statmount(int fd, uint64_t *ret_magic) {
        struct statmount_result result;
        int r;

        r = statmount_by_fd(fd, STATMOUNT_SB_BASIC_BIT, &result);
        if (r == 0)
                *ret_magic = result.sb_magic;
        else if (have_statmount_by_fd())
                r = -ENXIO;
        else
                r = -EOPNOTSUPP;
        return r;
}

/*
 * For kernels without statmount by descriptor: the superblock's device number looked up among our own mounts. A file of
 * a mount that is only in the other side's namespace is not found, and counts as hanging.
 */
static int magic_by_mountinfo(dev_t dev, uint64_t *ret_magic) {
        _cleanup_(pl_freep) char *line = NULL;
        size_t allocated = 0;
        FILE *f;
        int r = -ENODATA;

        f = fopen("/proc/self/mountinfo", "re");
        if (!f)
                return -errno;

        while (r < 0 && getline(&line, &allocated, f) >= 0) {
                struct pl_mount mount;

                if (pl_mountinfo_parse(line, &mount) == 0 && mount.dev == dev && pl_fstype_magic(mount.type, ret_magic) == 0)
                        r = 0;
        }

        (void)fclose(f);
        return r;
}

/* What statx(2) tells of any file without asking its server. */
static void note_identity(const struct statx *sx, struct pl_fdclass *class) {
        class->dax = sx->stx_attributes & STATX_ATTR_DAX;
        class->dev = makedev(sx->stx_dev_major, sx->stx_dev_minor);
        class->inode = sx->stx_ino;
}

static int look_again(int fd, struct pl_fdclass *class) {
        struct statx sx;

        if (statx(fd, "", AT_EMPTY_PATH, STATX_SIZE | STATX_CTIME, &sx) < 0)
                return -errno;
        note_identity(&sx, class);
        class->size = sx.stx_size;
        class->changed_s = sx.stx_ctime.tv_sec;
        class->changed_ns = sx.stx_ctime.tv_nsec;
        return 0;
}

#ifndef DMA_BUF_MAGIC
#define DMA_BUF_MAGIC 0x444d4142
#endif

/*
 * On no file system that anybody could have mounted. What has no type either is an object of the kernel's own: no file
 * server can have such, so fstatfs cannot block. Its name in /proc/self/fd proves nothing: anybody may call a file
 * "/dmabuf:", and a dma-buf as he likes. The size of a dma-buf is its inode's (Linux 5.3), so its exporter is not
 * asked.
 */
static int classify_internal(int fd, struct pl_fdclass *class) {
        struct statfs sfs;

        class->kind = PL_FD_OTHER;
        if (class->mode != 0)
                return 0;
        if (fstatfs(fd, &sfs) < 0)
                return -errno;
        if ((uint64_t)sfs.f_type != DMA_BUF_MAGIC)
                return 0;
        class->kind = PL_FD_DMABUF;
        return pl_fdclass_size(fd, &class->size);
}

/* Files on memory: F_GET_SEALS answers for nothing else. Their fstatfs cannot block. */
static int classify_memory(int fd, struct pl_fdclass *class) {
        struct statfs sfs;

        if (fstatfs(fd, &sfs) < 0)
                return -errno;

        class->fs_magic = (uint64_t)sfs.f_type;
        if (class->fs_magic == HUGETLBFS_MAGIC) {
                class->kind = PL_FD_HUGETLB;
                class->page_size = (uint64_t)sfs.f_bsize;
        } else
                class->kind = PL_FD_SHMEM;
        return look_again(fd, class);
}

static int classify_mounted(int fd, struct pl_fdclass *class) {
        int r;

        r = magic_by_statmount(fd, &class->fs_magic);
        if (r == -ENXIO || (r == -EOPNOTSUPP && class->mode == 0))
                return classify_internal(fd, class);
        if (r == -EOPNOTSUPP)
                r = magic_by_mountinfo(class->dev, &class->fs_magic);
        if (r < 0 || !pl_fstype_is_local(class->fs_magic)) {
                class->kind = PL_FD_HANGING;
                return 0;
        }

        if (class->mode != S_IFREG) {
                class->kind = PL_FD_OTHER;
                return 0;
        }
        class->kind = PL_FD_FILE;
        return look_again(fd, class);
}

/* What can be known of any descriptor. Returns whether there is more to ask. */
static bool identify(int fd, struct pl_fdclass *class) {
        struct statx sx;

        /* Asks for nothing and waits for nobody: type, device and attributes are filled in all the same. FUSE tells
         * whoever is not the mount's owner nothing, not even the type, and calls that success. */
        if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &sx) < 0 || !(sx.stx_mask & STATX_TYPE)) {
                class->kind = PL_FD_HANGING;
                return false;
        }
        note_identity(&sx, class);
        class->mode = sx.stx_mode & S_IFMT;
        class->rdev = makedev(sx.stx_rdev_major, sx.stx_rdev_minor);
        class->owner = sx.stx_uid;
        return true;
}

/* Where nobody tells how large it is, as in a container without /sys, it is a device like any other. */
static void classify_chardev(struct pl_fdclass *class) {
        class->kind = PL_FD_CHARDEV;
        if (pl_chardev_dax(class->rdev, &class->size, &class->align) < 0)
                return;
        class->kind = PL_FD_DEVDAX;
        class->dax = true;
}

/* Special files: operations are those of the device, pipe or socket, wherever the node lies. */
static bool classify_special(struct pl_fdclass *class) {
        if (class->mode == S_IFCHR)
                classify_chardev(class);
        else if (class->mode == S_IFBLK || class->mode == S_IFIFO || class->mode == S_IFSOCK)
                class->kind = PL_FD_OTHER;
        else
                return false;
        return true;
}

int pl_fdclass_get(int fd, struct pl_fdclass *ret_class) {
        struct pl_fdclass class = { .page_size = (uint64_t)sysconf(_SC_PAGESIZE) };
        int r, seals;

        class.flags = fcntl(fd, F_GETFL);
        if (class.flags < 0)
                return -EBADF;
        if (!identify(fd, &class))
                goto finish;
        if (class.flags & O_PATH) {
                /* Closing it never reaches the file system. */
                class.kind = PL_FD_PATH;
                goto finish;
        }
        if (classify_special(&class))
                goto finish;

        seals = fcntl(fd, F_GET_SEALS);
        if (seals >= 0 && class.mode == S_IFREG) {
                class.seals = seals;
                r = classify_memory(fd, &class);
        } else
                r = classify_mounted(fd, &class);
        if (r < 0)
                return r;

finish:
        *ret_class = class;
        return 0;
}

/* --- without a descriptor that is open --- */

static bool is_of_memfds(dev_t dev, unsigned int flags) {
        _cleanup_(pl_closep) int fd = memfd_create("pinlease", MFD_CLOEXEC | flags);
        struct stat st;

        return fd >= 0 && fstat(fd, &st) == 0 && st.st_dev == dev;
}

/*
 * F_GET_SEALS is not for O_PATH. But what the kernel keeps in memory without a mount that anybody has made (memfd,
 * SysV, one file system for each size of huge pages) has the device number of a memfd of this process.
 */
static bool is_kernel_memory(dev_t dev) {
        const struct dirent *entry;
        bool found = is_of_memfds(dev, 0);
        DIR *sizes;

        sizes = found ? NULL : opendir("/sys/kernel/mm/hugepages");
        if (!sizes)
                return found;
        while (!found && (entry = readdir(sizes))) {
                unsigned long kib;

                if (sscanf(entry->d_name, "hugepages-%lukB", &kib) == 1 && kib > 0)
                        found = is_of_memfds(dev,
                                             MFD_HUGETLB | (unsigned int)(__builtin_ctzl(kib) + 10) << MFD_HUGE_SHIFT);
        }
        (void)closedir(sizes);
        return found;
}

int pl_fdclass_get_path(int fd, struct pl_fdclass *ret_class) {
        struct pl_fdclass class = { .page_size = (uint64_t)sysconf(_SC_PAGESIZE) };
        int r = 0;

        class.flags = fcntl(fd, F_GETFL);
        if (class.flags < 0)
                return -EBADF;
        if (identify(fd, &class) && !classify_special(&class)) {
                if (class.mode == S_IFREG && is_kernel_memory(class.dev))
                        r = classify_memory(fd, &class);
                else
                        r = classify_mounted(fd, &class);
                /* By what it lies on, where a descriptor would be asked for seals. */
                if (r == 0 && class.kind == PL_FD_FILE &&
                    (class.fs_magic == TMPFS_MAGIC || class.fs_magic == HUGETLBFS_MAGIC))
                        r = classify_memory(fd, &class);
        }
        if (r == 0)
                *ret_class = class;
        return r;
}

int pl_fdclass_again(int fd, const struct pl_fdclass *class, struct pl_fdclass *ret_class) {
        struct pl_fdclass now = *class;
        int r;

        r = class->kind == PL_FD_DEVDAX ? pl_fdclass_size(fd, &now.size) : look_again(fd, &now);
        if (r == 0)
                *ret_class = now;
        return r;
}

int pl_fdclass_size(int fd, uint64_t *ret_size) {
        struct statx sx;
        uint64_t align;

        if (statx(fd, "", AT_EMPTY_PATH, STATX_SIZE | STATX_TYPE, &sx) < 0)
                return -errno;
        if (S_ISCHR(sx.stx_mode))
                return pl_chardev_dax(makedev(sx.stx_rdev_major, sx.stx_rdev_minor), ret_size, &align);
        *ret_size = sx.stx_size;
        return 0;
}

int pl_fdclass_mounted(int fd) {
        struct statmount_result result;
        int r;

        r = statmount_by_fd(fd, STATMOUNT_SB_BASIC_BIT | STATMOUNT_NS_ID_BIT, &result);
        if (r < 0)
                return r;
        return (result.mask & STATMOUNT_NS_ID_BIT) != 0;
}

const char *pl_fdclass_name(const struct pl_fdclass *class) {
        switch (class->kind) {
        case PL_FD_SHMEM:
                return "shared memory (memfd or tmpfs)";
        case PL_FD_HUGETLB:
                return "huge-page memory (hugetlbfs)";
        case PL_FD_PATH:
                return "a descriptor opened with O_PATH";
        case PL_FD_HANGING:
                return "a file on FUSE, overlay, network or an unknown file system";
        case PL_FD_DEVDAX:
                return "device-dax memory";
        case PL_FD_CHARDEV:
                return "a character device";
        case PL_FD_DMABUF:
                return "a dma-buf";
        case PL_FD_FILE:
        case PL_FD_OTHER:
                break;
        }

        switch (class->mode) {
        case S_IFREG:
                switch (class->fs_magic) {
                case EXT4_SUPER_MAGIC:
                        return "a file on ext4";
                case XFS_SUPER_MAGIC:
                        return "a file on xfs";
                case BTRFS_SUPER_MAGIC:
                        return "a file on btrfs";
                case F2FS_SUPER_MAGIC:
                        return "a file on f2fs";
                case MSDOS_SUPER_MAGIC:
                        return "a file on vfat";
                default:
                        return "a file on another file system";
                }
        case S_IFDIR:
                return "a directory";
        case S_IFIFO:
                return "a pipe";
        case S_IFSOCK:
                return "a socket";
        case S_IFBLK:
                return "a block device";
        default:
                return "a kernel object that is not memory (event, timer, epoll descriptor …)";
        }
}
