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
        enum pl_fsuse use;
} table[] = {
        { "ext2", EXT2_SUPER_MAGIC, PL_FS_PAGECACHE },
        { "ext3", EXT3_SUPER_MAGIC, PL_FS_PAGECACHE },
        { "ext4", EXT4_SUPER_MAGIC, PL_FS_PAGECACHE },
        { "xfs", XFS_SUPER_MAGIC, PL_FS_PAGECACHE },
        { "btrfs", BTRFS_SUPER_MAGIC, PL_FS_PAGECACHE },
        { "f2fs", F2FS_SUPER_MAGIC, PL_FS_PAGECACHE },
        { "vfat", MSDOS_SUPER_MAGIC, PL_FS_PAGECACHE },
        { "exfat", 0x2011bab0, PL_FS_PAGECACHE },
        /* Never written to. */
        { "squashfs", SQUASHFS_MAGIC, PL_FS_PAGECACHE },
        { "iso9660", ISOFS_SUPER_MAGIC, PL_FS_PAGECACHE },

        { "tmpfs", TMPFS_MAGIC, PL_FS_OTHER },
        { "devtmpfs", TMPFS_MAGIC, PL_FS_OTHER },
        { "hugetlbfs", HUGETLBFS_MAGIC, PL_FS_OTHER },
        { "ramfs", RAMFS_MAGIC, PL_FS_OTHER },
        { "bcachefs", 0xca451a4e, PL_FS_OTHER },
        { "hfsplus", 0x482b, PL_FS_OTHER },
        { "jfs", 0x3153464a, PL_FS_OTHER },
        { "nilfs2", 0x3434, PL_FS_OTHER },
        { "ntfs3", 0x7366746e, PL_FS_OTHER },
        { "udf", 0x15013346, PL_FS_OTHER },
        { "zonefs", 0x5a4f4653, PL_FS_OTHER },

        { "proc", PROC_SUPER_MAGIC, PL_FS_NO_MEMORY },
        { "sysfs", SYSFS_MAGIC, PL_FS_NO_MEMORY },
        { "cgroup2", CGROUP2_SUPER_MAGIC, PL_FS_NO_MEMORY },
        { "devpts", DEVPTS_SUPER_MAGIC, PL_FS_NO_MEMORY },
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

enum pl_fsuse pl_fstype_use(uint64_t magic) {
        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (table[i].magic == magic)
                        return table[i].use;
        return PL_FS_NO_MEMORY;
}

const char *pl_fstype_name(size_t i) {
        return i < ELEMENTSOF(table) ? table[i].name : NULL;
}
