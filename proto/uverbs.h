/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_UVERBS_H
#define PL_UVERBS_H

/*
 * The only module that issues RDMA ioctls: memory regions of somebody else's verbs context, by its command fd.
 *
 * libibverbs cannot do this (ibv_import_device() exists in mlx5's provider only), the kernel can: RDMA_VERBS_IOCTL works
 * for whoever holds the descriptor, and takes the pages from the calling process. All functions return 0 or a negative
 * errno as the kernel gave it.
 */

#include <stdint.h>

/* A verbs context, as seen by an ioctl. The descriptor is borrowed. */
struct uverbs_device {
        int fd;
        uint32_t driver_id;
};

/* What the kernel writes when it registers: struct ib_uverbs_reg_mr_resp without the driver's part. */
struct uverbs_mr_keys {
        uint32_t handle;
        uint32_t lkey;
        uint32_t rkey;
};

struct uverbs_mr_info {
        uint32_t lkey;
        uint32_t rkey;
        uint64_t length;
        uint64_t iova;
};

/* A range of a dma-buf, and by which addresses the device shall know it. */
struct uverbs_dmabuf {
        int fd;
        uint64_t offset, length;
        uint64_t iova; /* differs from the offset by whole pages */
};

/* Room for a command into which the kernel writes: the handle of what it makes. */
struct uverbs_command {
        uint64_t words[21];
};

/* Which handle that is. Means something only if the command's answer has come. */
uint32_t uverbs_command_handle(const struct uverbs_command *command);

enum uverbs_prefetch {
        UVERBS_PREFETCH_MAPPED, /* those that are mapped in the registering process; no page is faulted in */
        UVERBS_PREFETCH_READ,   /* all, for reading: pages are faulted in as if that process had touched them */
        UVERBS_PREFETCH_WRITE,  /* all, for writing */
};

/* The operations, so that a test can put its own in their place. */
struct uverbs_ops {
        /*
         * Finds the driver id that belongs to a command fd. Asks the descriptor itself: netlink would not see a device
         * of another network namespace. -ENOTTY: not a verbs command fd. -ENODEV: no known driver answers.
         * Only for descriptors that are known to be character devices of the verbs class.
         */
        int (*probe)(int fd, uint32_t *ret_driver_id);

        /* Which enum pinlease_method the device offers for reliable connections. */
        int (*query_methods)(const struct uverbs_device *device, unsigned int *ret_methods);

        /*
         * Registers [start, start + length) of *this* process. The kernel writes the handle and the keys to *response
         * before the registration becomes effective, so the caller places it where it outlives the process.
         */
        int (*reg_mr)(const struct uverbs_device *device,
                      uint32_t pd,
                      uint64_t start,
                      uint64_t length,
                      uint64_t iova,
                      uint32_t access,
                      struct uverbs_mr_keys *response);

        /*
         * Can the device register dma-bufs? Tried with a descriptor that is none, on a protection domain of the app: nothing is
         * registered by that. 1, 0, or a negative errno: -ENOENT: no such protection domain.
         */
        int (*probe_dmabuf)(const struct uverbs_device *device, uint32_t pd);

        /*
         * Registers a range of a dma-buf (UVERBS_METHOD_REG_DMABUF_MR, Linux 5.12). Here the kernel writes the handle before the
         * driver is asked, and into *command; the keys when the registration is effective, to *response. So whoever finds
         * *response without a handle, but with keys, finds the handle in *command: the caller places both where they outlive the
         * process, and the keys are all ones before. On success the handle is in *response as well.
         *
         * -EBADF: fd is not open. -EINVAL: no dma-buf, or not so long, or the exporter did not want. -EOPNOTSUPP: not this
         * device, or not such memory.
         */
        int (*reg_dmabuf_mr)(const struct uverbs_device *device,
                             uint32_t pd,
                             const struct uverbs_dmabuf *range,
                             uint32_t access,
                             struct uverbs_command *command,
                             struct uverbs_mr_keys *response);

        /*
         * Makes the pages of an ODP registration known to the device ahead of its first access (ADVISE_MR), and returns when that is
         * done. Not all drivers do it (-EOPNOTSUPP), and nothing is lost then.
         */
        int (*prefetch)(const struct uverbs_device *device,
                        uint32_t pd,
                        uint32_t lkey,
                        uint64_t iova,
                        uint64_t length,
                        enum uverbs_prefetch how);

        /* -EBUSY: another call uses the handle just now. -EINVAL: a memory window is bound. -ENOENT: no such handle. */
        int (*dereg_mr)(const struct uverbs_device *device, uint32_t handle);

        /* Of a dma-buf some drivers leave length and iova 0: REG_DMABUF_MR does not set them. */
        int (*query_mr)(const struct uverbs_device *device, uint32_t handle, struct uverbs_mr_info *ret_info);

        /* The memory windows of the context, whichever way they were allocated: *ret_n handles of them, at most `max`, up to
         * 16000. */
        int (*list_windows)(const struct uverbs_device *device, uint32_t *ret_handles, uint32_t max, uint32_t *ret_n);

        /* Bound or not: a window that is bound is invalidated. -EBUSY, -ENOENT: as above. */
        int (*dealloc_window)(const struct uverbs_device *device, uint32_t handle);
};

extern const struct uverbs_ops uverbs_kernel;

/*
 * Which enum pinlease_method a driver offers but does wrong. rdma_rxe's ODP (Linux 6.15, "RDMA/rxe: Add support for
 * Send/Recv/Write/Read with ODP", up to 7.3 at least) ignores the offset within a page, and copies the beginning of a
 * packet again where it crosses into the next page: what does not start at a page, or has packets larger than one, is
 * written to and read from the wrong place, without an error.
 */
unsigned int uverbs_unsound_methods(uint32_t driver_id);

#endif
