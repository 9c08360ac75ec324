/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_DMABUF_MR_H
#define PL_DMABUF_MR_H

/*
 * Memory regions of dma-bufs. Their memory is no memory of a process: nothing is mapped, looked for or pinned here; the exporter
 * maps it for the device, and the kernel holds it as long as the region lives, also when every descriptor has been closed.
 */

#include "state.h"

/*
 * Finds out, once for a verbs context, whether its device registers dma-bufs, and says so in context->methods. Nothing but a try
 * tells, and a try needs a protection domain. Returns 0, REFUSED, or -ENOENT: there is no such one.
 */
int dmabuf_probe(const struct uverbs_ops *uverbs, struct context *context, uint32_t pd, struct refusal *ret_refusal);

/*
 * What a registration is called, by who has made the dma-buf (PL_DMABUF_NAME_PREFIX), for rules and lists. Filled up with NULs. An
 * exporter that cannot be known leaves it out; but if it could not be looked at, by want of descriptors or memory, that is REFUSED:
 * whoever uses up what his session has would be out of reach of rules that refuse.
 */
int dmabuf_name(int fd, char ret_name[LEDGER_NAME_MAX], struct refusal *ret_refusal);

/* The errno of the ioctl, other than ENOENT, in words. Returns REFUSED. */
int dmabuf_explain(const struct ledger_record *record, int error, struct refusal *ret_refusal);

#endif
