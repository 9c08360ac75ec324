/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef EXPORTED_H
#define EXPORTED_H

#include <stdint.h>

/* Memory of an accelerator, exported as a dma-buf: all that pinlease wants to know of it. */
struct exported {
        int fd;           /* the dma-buf; whoever has got this closes it */
        uint64_t offset;  /* where in the dma-buf the memory begins */
        uint64_t length;  /* of the memory; the dma-buf may be larger at both ends */
        uint64_t address; /* of the memory as the accelerator's programs know it: becomes the iova */
};

/* exporters.c. Each returns 0 or a negative errno. The memory is [address, address + length), any part of an
 * allocation. */
int export_cuda(uint64_t address, uint64_t length, struct exported *ret);
int export_rocm(uint64_t address, uint64_t length, struct exported *ret);
int export_level_zero(void *context, uint64_t address, uint64_t length, struct exported *ret);
int export_gaudi(int device, uint64_t mapping, uint64_t address, uint64_t length, struct exported *ret);

#endif
