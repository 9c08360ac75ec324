/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy-share.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "util.h"

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static int write_all(int fd, const void *data, size_t size) {
        const uint8_t *p = data;

        while (size > 0) {
                ssize_t n = write(fd, p, size);

                if (n < 0)
                        return -errno;
                p += n;
                size -= (size_t)n;
        }
        return 0;
}

int policy_share(const struct policy_block *block) {
        _cleanup_(pl_closep) int fd = memfd_create("pinlease-policy", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        int r;

        if (fd < 0)
                return -errno;
        r = write_all(fd, block, block->size);
        if (r < 0)
                return r;
        if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
                return -errno;
        return pl_steal_fd(&fd);
}

int policy_map(int fd, const struct policy_block **ret_block) {
        const struct policy_block *block;
        struct stat st;
        int r;

        if ((fcntl(fd, F_GET_SEALS) & SEALS) != SEALS)
                return -EPERM;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (st.st_size < (off_t)sizeof *block || st.st_size > POLICY_MAX_SIZE)
                return -EBADMSG;
        block = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (block == MAP_FAILED)
                return -errno;
        r = policy_block_check(block, (size_t)st.st_size);
        if (r < 0) {
                (void)munmap((void *)(uintptr_t)block, (size_t)st.st_size);
                return r;
        }
        *ret_block = block;
        return 0;
}

bool policy_pins_private(int fd) {
        struct policy_block head;

        return pread(fd, &head, sizeof head, 0) == (ssize_t)sizeof head && head.magic == POLICY_MAGIC &&
               head.version == POLICY_VERSION && head.pins_private;
}

const struct policy_block *policy_unmap(const struct policy_block *block) {
        if (block)
                (void)munmap((void *)(uintptr_t)block, block->size);
        return NULL;
}
