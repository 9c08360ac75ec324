/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_FAKE_UVERBS_H
#define PL_FAKE_UVERBS_H

/*
 * A stand-in for the kernel's verbs: keeps the memory regions of any number of contexts, hands out the lowest free handle
 * of a context (so handles are used again at once, and 0 is one), checks what the kernel checks, and fails on demand.
 *
 * It lives in shared memory: what a child does with it is seen by the test. Two descriptors are the same context if they
 * are the same file.
 */

#include "uverbs.h"

#include <stdbool.h>

#define FAKE_MAX_MRS   2048
#define FAKE_N_PDS     4
#define FAKE_DRIVER_ID 1 /* mlx5: what it offers is taken to work */

struct fake_mr {
        bool live;
        bool foreign; /* registered by the app itself */
        uint64_t context;
        uint32_t handle, pd, access, lkey, rkey;
        uint64_t start, length, iova; /* of a dma-buf: its offset */
        bool dmabuf;
};

/* Instants inside an ioctl at which something else may happen: the process dies, the app truncates its file. */
enum fake_instant {
        FAKE_BEFORE,  /* nothing is done yet */
        FAKE_WRITTEN, /* registration: handle and keys are written, the MR exists */
        FAKE_AFTER,   /* deregistration: the MR is gone */
};

struct fake_uverbs {
        uint32_t driver_id;
        unsigned int methods;  /* what query_methods answers */
        unsigned int n_calls;  /* of all operations */
        unsigned int fail_at;  /* the call, counted from 1, that fails; 0: none */
        int fail_error;        /* with this negative errno */
        int dmabuf_error;      /* what every registration of a dma-buf answers; 0: it works */
        bool sets_none;        /* of a dma-buf: length and iova, as some drivers */
        int odp_error;         /* what every registration with ON_DEMAND answers; 0: it works */
        int dereg_error;       /* what every deregistration answers; 0: it works */
        int query_error;
        unsigned int n_busy;   /* so many deregistrations and queries answer EBUSY */
        unsigned int n_windows; /* memory windows, with handles from 0: while there is one deregistrations answer EINVAL */
        unsigned int n_rebound; /* so many are bound again, one after each deallocation of the last */
        int window_error;      /* what every deallocation of a window answers; 0: it works */
        int prefetch_error;
        unsigned int n_prefetched; /* of the last registration, whole */
        enum uverbs_prefetch prefetched;
        unsigned int n_freed;  /* windows deallocated */
        uint32_t next_key;
        struct fake_mr last;   /* the last registration that worked */
        struct fake_mr mrs[FAKE_MAX_MRS];

        /* Called in the process that issues the ioctl. */
        void (*instant)(enum fake_instant instant);
};

extern struct fake_uverbs *fake;
extern const struct uverbs_ops fake_ops;

/* Begins anew: no MR, nothing fails, ODP and pins offered. */
void fake_reset(void);

unsigned int fake_live(void);

/* The MR of a context by handle; NULL if there is none. */
struct fake_mr *fake_find(int fd, uint32_t handle);

/* The app registers, and deregisters, by itself. */
struct fake_mr *fake_app_reg(int fd, uint64_t length, uint64_t iova);
void fake_app_dereg(int fd, uint32_t handle);

#endif
