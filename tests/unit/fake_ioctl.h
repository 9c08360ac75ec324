/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_FAKE_IOCTL_H
#define PL_FAKE_IOCTL_H

/* In place of the kernel, for what the library registers by itself: a device with one memory region. */

#include <rdma/ib_user_ioctl_verbs.h>
#include <rdma/ib_user_verbs.h>
#include <stdbool.h>
#include <stdint.h>

#include "uverbs.h"

#define PD 0xd0U
#define HANDLE 0x33U
#define LKEY 0x11U
#define RKEY 0x22U
#define DRIVER ((uint32_t)RDMA_DRIVER_MLX5)

struct fake_kernel {
        bool live;
        unsigned int n_registered, n_destroyed, n_busy, n_probes;
        int error;     /* of the registration */
        int probe_error; /* of looking for the driver; 0: it is found */
        uint32_t rkey; /* that the handle has by now */
        struct uverbs_command dmabuf; /* of the last registration of a dma-buf, as it came */
        unsigned int n_dmabufs;
        struct ib_uverbs_reg_mr reg; /* ends in room for drivers */
};
/* Anew for each test: all 0. */
extern struct fake_kernel kernel;

#endif
