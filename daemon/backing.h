/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_BACKING_H
#define PL_BACKING_H

/* From what a descriptor is to what kind of memory it stands for, and whether the requested range and access fit it. */

#include "fdclass.h"
#include "refusal.h"

/* Access flags that let a device, or a peer, write: ib_access_writable() of the kernel. */
bool backing_access_writable(uint32_t access);

/* Does the descriptor let this process map the file for writing? */
bool backing_may_write(const struct pl_fdclass *class);

/* Returns 0 or REFUSED. The class must not be PL_FD_HANGING: that one is not refused, it ends the session. */
int backing_identify(const struct pl_fdclass *class, enum pinlease_backing *ret_backing, struct refusal *ret_refusal);

/* Does the request fit the file: range, alignment, open mode, seals, access flags? Returns 0 or REFUSED. */
int backing_check(const struct pl_fdclass *class, const struct pl_register *request, struct refusal *ret_refusal);

#endif
