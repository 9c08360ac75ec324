/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_SAMPLES_H
#define TEST_SAMPLES_H

/* What the guest has of each backing, and what the kernel itself says to it. Failures end the case. */

#include <stdbool.h>
#include <stddef.h>

#include "memory.h"
#include "pinlease/types.h"
#include "rdma.h"

struct sample {
        enum pinlease_backing backing;
        const char *name;
        struct memory (*make)(void); /* NULL: memory_new() of this kind */
        enum memory_kind kind;
        const char *device; /* that makes it; NULL: none is needed */
};

extern const struct sample samples[];
extern const size_t n_samples;

/* Can it be had with this kernel? */
bool sample_exists(const struct sample *sample);

/* Mapped for reading and writing, every page of it present. fd: -1 for private memory. */
struct memory sample_make(const struct sample *sample);
void sample_free(struct memory *memory);

/* ibv_reg_mr() by this process, and undone: 0 or an errno. */
int sample_register(const struct rdma *rdma, const struct memory *memory, uint32_t access);

#endif
