/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fstype.h"

#include <linux/magic.h>
#include <string.h>

#include "util.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

static const struct {
        const char *name;
        uint64_t magic;
} table[] = {
        { "ext2", EXT2_SUPER_MAGIC },       { "ext3", EXT3_SUPER_MAGIC },     { "ext4", EXT4_SUPER_MAGIC },
        { "xfs", XFS_SUPER_MAGIC },         { "btrfs", BTRFS_SUPER_MAGIC },   { "f2fs", F2FS_SUPER_MAGIC },
        { "tmpfs", TMPFS_MAGIC },           { "devtmpfs", TMPFS_MAGIC },      { "ramfs", RAMFS_MAGIC },
        { "hugetlbfs", HUGETLBFS_MAGIC },   { "proc", PROC_SUPER_MAGIC },     { "sysfs", SYSFS_MAGIC },
        { "cgroup2", CGROUP2_SUPER_MAGIC }, { "devpts", DEVPTS_SUPER_MAGIC }, { "squashfs", SQUASHFS_MAGIC },
        { "iso9660", ISOFS_SUPER_MAGIC },   { "vfat", MSDOS_SUPER_MAGIC },
};

int pl_fstype_magic(const char *name, uint64_t *ret_magic) {
        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (strcmp(name, table[i].name) == 0) {
                        *ret_magic = table[i].magic;
                        return 0;
                }
        return -ENOENT;
}

bool pl_fstype_is_local(uint64_t magic) {
        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (table[i].magic == magic)
                        return true;
        return false;
}

const char *pl_fstype_name(size_t i) {
        return i < ELEMENTSOF(table) ? table[i].name : NULL;
}
