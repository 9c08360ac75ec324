/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backing.h"

#include <fcntl.h>
#include <infiniband/verbs.h>
#include <inttypes.h>

#include "fstype.h"

#define ACCESS_WRITABLE (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_MW_BIND)
#define ACCESS_ALLOWED                                                                                                 \
        (ACCESS_WRITABLE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_RELAXED_ORDERING | ACCESS_FLUSH_GLOBAL |                \
         ACCESS_FLUSH_PERSISTENT)

/* IBV_ACCESS_FLUSH_GLOBAL and _PERSISTENT came with rdma-core 44; the numbers are the kernel's. */
#define ACCESS_FLUSH_GLOBAL     (1U << 8)
#define ACCESS_FLUSH_PERSISTENT (1U << 9)

/* REG_DMABUF_MR knows no other. */
#define ACCESS_DMABUF                                                                                    \
        (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC | \
         IBV_ACCESS_RELAXED_ORDERING)

bool backing_access_writable(uint32_t access) {
        return access & ACCESS_WRITABLE;
}

static int identify_file(const struct pl_fdclass *class,
                         enum pinlease_backing *ret_backing,
                         struct refusal *ret_refusal) {
        switch (pl_fstype_use(class->fs_magic)) {
        case PL_FS_PAGECACHE:
                *ret_backing = class->dax ? PINLEASE_BACKING_FSDAX : PINLEASE_BACKING_PAGECACHE;
                return 0;
        case PL_FS_OTHER:
                *ret_backing = PINLEASE_BACKING_OTHER;
                return 0;
        case PL_FS_NO_MEMORY:
                break;
        }
        return refuse_rule(
                ret_refusal,
                PINLEASE_CODE_BAD_FS,
                "builtin:other-fs",
                "The descriptor is %s (type 0x%" PRIx64
                "), which no rule allows to be registered. Use a memfd, tmpfs, huge pages, or a file on ext4 or xfs.",
                pl_fdclass_name(class),
                class->fs_magic);
}

int backing_identify(const struct pl_fdclass *class, enum pinlease_backing *ret_backing, struct refusal *ret_refusal) {
        switch (class->kind) {
        case PL_FD_SHMEM:
                *ret_backing = PINLEASE_BACKING_SHMEM;
                return 0;
        case PL_FD_HUGETLB:
                *ret_backing = PINLEASE_BACKING_HUGETLB;
                return 0;
        case PL_FD_DEVDAX:
                *ret_backing = PINLEASE_BACKING_DEVDAX;
                return 0;
        case PL_FD_DMABUF:
                *ret_backing = PINLEASE_BACKING_DMABUF;
                return 0;
        case PL_FD_FILE:
                return identify_file(class, ret_backing, ret_refusal);
        case PL_FD_PATH:
                return refuse(ret_refusal,
                              PINLEASE_CODE_PATH_FD,
                              "The descriptor was opened with O_PATH and gives no access to the memory. Open the file "
                              "for reading, and for writing too where the access is writable.");
        case PL_FD_CHARDEV:
        case PL_FD_OTHER:
        case PL_FD_HANGING:
                break;
        }

        return refuse(ret_refusal,
                      PINLEASE_CODE_NOT_MEMORY,
                      "The descriptor is %s, not memory that can be registered. Use a memfd, tmpfs, huge pages, or a file "
                      "on ext4 or xfs.",
                      pl_fdclass_name(class));
}

static int check_range(const struct pl_fdclass *class, const struct pl_register *request, struct refusal *ret_refusal) {
        uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), unit = pl_fdclass_map_unit(class);

        if (request->length == 0)
                return refuse(ret_refusal, PINLEASE_CODE_ZERO_LENGTH, "The range is empty. Register one byte at least.");

        /* Room for rounding up to what is mapped, so that nothing after this needs to check again. */
        if (pl_overflows(request->offset, request->length) || pl_overflows(request->address, request->length) ||
            pl_overflows(request->offset + request->length, unit) ||
            pl_overflows(request->address + request->length, unit) || request->offset + request->length > INT64_MAX)
                return refuse(ret_refusal,
                              PINLEASE_CODE_RANGE_OVERFLOW,
                              "Offset 0x%" PRIx64 " (address 0x%" PRIx64 ") plus length 0x%" PRIx64
                              " does not fit in an address.",
                              request->offset,
                              request->address,
                              request->length);

        if (request->offset + request->length > class->size)
                return refuse(ret_refusal,
                              PINLEASE_CODE_BEYOND_END,
                              "Bytes %" PRIu64 " to %" PRIu64 " were asked for, but the %s ends at %" PRIu64 ". %s.",
                              request->offset,
                              request->offset + request->length,
                              pl_fdclass_is_fixed(class) ? "memory" : "file",
                              class->size,
                              pl_fdclass_is_fixed(class) ? "Ask for less"
                                                         : "Extend it first (ftruncate, fallocate), or ask for less");

        /* Of a device no mapping can exist that is not aligned. */
        if (class->align && request->address % unit != request->offset % unit)
                return refuse(ret_refusal,
                              PINLEASE_CODE_MISALIGNED,
                              "Address 0x%" PRIx64 " cannot be where offset %" PRIu64
                              " of the device is mapped: mappings begin at "
                              "multiples of %" PRIu64
                              " bytes, in memory and in the device. Give the address at which that "
                              "offset lies.",
                              request->address,
                              request->offset,
                              unit);

        if (class->kind == PL_FD_DMABUF && request->address % page != request->offset % page)
                return refuse(ret_refusal,
                              PINLEASE_CODE_MISALIGNED,
                              "The iova 0x%" PRIx64 " cannot be that of offset %" PRIu64
                              " of the dma-buf: they differ within a page. Give an iova that is that offset plus whole pages.",
                              request->address,
                              request->offset);
        if (class->kind != PL_FD_DMABUF && (request->address == 0 || request->address % page != request->offset % page))
                return refuse(ret_refusal,
                              PINLEASE_CODE_MISALIGNED,
                              "Address 0x%" PRIx64 " cannot be where offset %" PRIu64
                              " is mapped: they differ within a page. Give the address at which that offset lies.",
                              request->address,
                              request->offset);
        return 0;
}

bool backing_may_write(const struct pl_fdclass *class) {
        return (class->flags & O_ACCMODE) == O_RDWR && !(class->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE));
}

static int check_access(const struct pl_fdclass *class, const struct pl_register *request, struct refusal *ret_refusal) {
        bool writable = backing_access_writable(request->access);
        int mode = class->flags & O_ACCMODE;

        if (request->access & ~(uint32_t)ACCESS_ALLOWED)
                return refuse(ret_refusal,
                              PINLEASE_CODE_BAD_ACCESS,
                              "Access flags 0x%x are not for this call. On-demand paging is asked for by methods; zero-based "
                              "and huge-page registrations are not offered.",
                              request->access & ~(uint32_t)ACCESS_ALLOWED);

        if (class->kind == PL_FD_DMABUF && (request->access & ~(uint32_t)ACCESS_DMABUF))
                return refuse(ret_refusal,
                              PINLEASE_CODE_BAD_ACCESS,
                              "Access flags 0x%x are not for dma-bufs: the kernel gives them local and remote access and relaxed "
                              "ordering, no memory windows and no flush.",
                              request->access & ~(uint32_t)ACCESS_DMABUF);

        /* ib_check_mr_access() of the kernel says the same with a bare EINVAL. */
        if ((request->access & (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)) &&
            !(request->access & IBV_ACCESS_LOCAL_WRITE))
                return refuse(ret_refusal,
                              PINLEASE_CODE_BAD_ACCESS,
                              "Remote write and atomic access need IBV_ACCESS_LOCAL_WRITE as well.");

        if (mode == O_WRONLY || (writable && mode != O_RDWR))
                return refuse(ret_refusal,
                              PINLEASE_CODE_FD_MODE,
                              "%s access was asked for, but the descriptor is open for %s only. %s %s.",
                              writable ? "Writable" : "Read",
                              mode == O_WRONLY ? "writing" : "reading",
                              class->kind == PL_FD_DMABUF ? "Have the dma-buf exported" : "Open the file",
                              writable ? "O_RDWR" : "O_RDONLY or O_RDWR");

        if (writable && (class->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)))
                return refuse(ret_refusal,
                              PINLEASE_CODE_SEALED,
                              "Writable access was asked for, but the memfd is sealed against writing. Register it for "
                              "reading, or before it is sealed.");
        return 0;
}

int backing_check(const struct pl_fdclass *class, const struct pl_register *request, struct refusal *ret_refusal) {
        int r;

        r = check_range(class, request, ret_refusal);
        if (r < 0)
                return r;
        return check_access(class, request, ret_refusal);
}
