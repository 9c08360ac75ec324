/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_FDCLASS_H
#define PL_FDCLASS_H

/*
 * What is this descriptor? Answered without any call that the descriptor's server (FUSE, network) could hold up, so that
 * it can be asked of a stranger's descriptor by either side of the socket.
 *
 * An allow-list, never a deny-list: what is not known to answer at once counts as hanging. A hanging file blocks in
 * fstat, fstatfs, mmap'ed access, close and exit; a process that owns such a descriptor cannot even be killed.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum pl_fdkind {
        PL_FD_SHMEM,
        PL_FD_HUGETLB,
        PL_FD_FILE,    /* a regular file of a file system that is not kept in memory */
        PL_FD_DEVDAX,  /* /dev/daxX.Y: a character device that is memory */
        PL_FD_CHARDEV, /* any other */
        PL_FD_DMABUF,
        PL_FD_PATH,    /* O_PATH */
        PL_FD_OTHER,   /* pipe, socket, directory, block device, anonymous inode … */
        PL_FD_HANGING, /* may block in close: nothing more is known about it */
};

struct pl_fdclass {
        enum pl_fdkind kind;
        uint16_t mode;       /* S_IFMT bits */
        int flags;           /* F_GETFL */
        int seals;           /* F_GET_SEALS; 0 where there are none */
        bool dax;            /* no page cache: STATX_ATTR_DAX, or device-dax */
        uint64_t fs_magic;   /* file system, see statfs(2); 0 where it does not matter */
        uint64_t page_size;  /* of hugetlb, else the base page size */
        uint64_t align;      /* of device-dax: mappings begin and end at multiples of it; else 0 */
        uint64_t size;       /* bytes; regular files that do not hang, device-dax, dma-bufs */
        int64_t changed_s;   /* ctime, of regular files that do not hang */
        uint32_t changed_ns;
        dev_t dev, rdev;
        uint64_t inode;
        uid_t owner;
};

/* Returns 0, or -EBADF for a descriptor that is not open. */
int pl_fdclass_get(int fd, struct pl_fdclass *ret_class);

/*
 * The same of the file that an O_PATH descriptor leads to: what a descriptor would be by which it is opened. `flags` are those of
 * the O_PATH descriptor, `seals` are not known and 0. Nothing is opened, so nobody's lease is broken.
 */
int pl_fdclass_get_path(int fd, struct pl_fdclass *ret_class);

/* The same with what a second look finds: size, ctime, dax, dev, inode. Only for files that do not hang: one system call. Of device-dax
 * the size. */
int pl_fdclass_again(int fd, const struct pl_fdclass *class, struct pl_fdclass *ret_class);

/* Of what a mapping's beginning, in the file and in memory, and its length are multiples. */
static inline uint64_t pl_fdclass_map_unit(const struct pl_fdclass *class) {
        return class->align > class->page_size ? class->align : class->page_size;
}

/* Memory that is no file: nobody can make it larger or smaller. */
static inline bool pl_fdclass_is_fixed(const struct pl_fdclass *class) {
        return class->kind == PL_FD_DEVDAX || class->kind == PL_FD_DMABUF;
}

/* The present size of the file, or of the memory of a device. Only for descriptors that do not hang. */
int pl_fdclass_size(int fd, uint64_t *ret_size);

/* Is the descriptor's mount in any namespace still? 0: it has been unmounted lazily (MNT_DETACH). Returns 1, 0, or a negative errno where
 * nobody tells: memfd, or Linux before 7.0. */
int pl_fdclass_mounted(int fd);

/* "a pipe", "a socket", "a file on xfs" … for refusals; the text is static. */
const char *pl_fdclass_name(const struct pl_fdclass *class);

#endif
