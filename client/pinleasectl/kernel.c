/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "util.h"

static FILE *open_of(const char *proc, uint64_t pid, const char *name) {
        char path[256];

        (void)snprintf(path, sizeof path, "%s/%" PRIu64 "/%s", proc, pid, name);
        return fopen(path, "re");
}

size_t kernel_comm(const char *proc, uint64_t pid, char ret_comm[static 64]) {
        FILE *f = open_of(proc, pid, "comm");
        size_t n;

        if (!f)
                return 0;
        n = fread(ret_comm, 1, 64, f);
        (void)fclose(f);
        return n > 0 && ret_comm[n - 1] == '\n' ? n - 1 : n;
}

int kernel_pinned(const char *proc, uint64_t pid, uint64_t *ret_bytes) {
        FILE *f = open_of(proc, pid, "status");
        uint64_t kilobytes;
        char line[512];
        int r = -ENODATA; /* a kernel thread, or a process that is ending: it has no memory */

        if (!f)
                return errno == ENOENT ? -ESRCH : -errno;
        errno = 0;
        while (r < 0 && fgets(line, sizeof line, f))
                if (sscanf(line, "VmPin: %" SCNu64 " kB", &kilobytes) == 1) {
                        *ret_bytes = kilobytes * 1024;
                        r = 0;
                }
        if (r < 0 && ferror(f))
                r = errno ? -errno : -EIO;
        (void)fclose(f);
        return r == -ENODATA ? -ESRCH : r;
}

int kernel_vmstat(const char *proc, const char *name, uint64_t *ret_value) {
        size_t length = strlen(name);
        char path[256], line[256];
        int r = -ENOENT;
        FILE *f;

        (void)snprintf(path, sizeof path, "%s/vmstat", proc);
        f = fopen(path, "re");
        if (!f)
                return -errno;
        while (r < 0 && fgets(line, sizeof line, f))
                if (strncmp(line, name, length) == 0 && line[length] == ' ' && sscanf(line + length, " %" SCNu64, ret_value) == 1)
                        r = 0;
        (void)fclose(f);
        return r;
}

int kernel_mount(const char *path, uint64_t *ret_device) {
        struct statx stx;

        if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, 0, &stx) < 0)
                return -errno;
        /* Before Linux 5.8 it is not said. */
        if (stx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT && !(stx.stx_attributes & STATX_ATTR_MOUNT_ROOT))
                return -EINVAL;
        *ret_device = makedev(stx.stx_dev_major, stx.stx_dev_minor);
        return 0;
}

int kernel_file(const char *path, uint64_t *ret_device, uint64_t *ret_inode) {
        struct statx stx;

        if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_INO, &stx) < 0)
                return -errno;
        *ret_device = makedev(stx.stx_dev_major, stx.stx_dev_minor);
        *ret_inode = stx.stx_ino;
        return 0;
}
