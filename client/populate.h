/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_POPULATE_H
#define PL_POPULATE_H

/*
 * Faults memory in before it is registered, in the process that owns it: then it is that process's cgroup that pays for
 * the pages, and the service has only to find them.
 */

#include "fdclass.h"
#include "pinlease/pinlease.h"

/* Does this access let the device or a peer change the memory? */
bool pl_access_is_writable(unsigned int access);

/*
 * Faults in the pages of [address, address + length), which maps [offset, offset + length) of fd. Leaves alone what the
 * service is going to refuse in better words than are known here: ranges past the end of the file, descriptors that are
 * not memory or not open for the access. Returns 0 or a negative errno, recorded as a refusal of session `serial`.
 */
int pl_populate(uint64_t serial,
                int fd,
                const struct pl_fdclass *class,
                uint64_t offset,
                uint64_t length,
                void *address,
                bool writable);

#endif
