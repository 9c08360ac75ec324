/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_MRS_H
#define TEST_MRS_H

/*
 * The memory regions of an RDMA device, as the kernel lists them to root (netlink, what `rdma resource show mr` asks):
 * of all processes, without a descriptor of any. In one call of a process, so that it can be the first thing after
 * another one. For where devices are shared by the network namespaces. Failures end the case.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mr_entry {
        uint32_t lkey, rkey;
        uint64_t length;
};

/* Writes up to n; returns how many there are. device: its name. */
size_t mrs_list(const char *device, struct mr_entry *ret_entries, size_t n);

#endif
