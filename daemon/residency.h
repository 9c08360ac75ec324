/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_RESIDENCY_H
#define PL_RESIDENCY_H

/*
 * Are the pages of a file in memory already? Pinning pages that are not would make this process allocate them, and so be
 * charged for the app's memory. Racy against a hole punch, hence the limits on top.
 */

#include <stdint.h>

/*
 * [offset, offset + length) of the file, which is mapped at start. Returns 1, 0, or a negative errno; -EPERM: the kernel
 * does not tell this process, which neither owns nor may write the file. Not for hugetlb, where neither call has an answer.
 */
int residency_check(int fd, uint64_t offset, uint64_t start, uint64_t length);

/* Is anything of the range there? 0: no; 1: yes, or mincore() is to be asked; -EPERM as above, and mincore() would say that
 * everything is there. */
int residency_any(int fd, uint64_t offset, uint64_t length);

/*
 * Is every page of a range in this process's page tables? `pagemap` is /proc/self/pagemap; `page` is the size of the file's pages.
 * Right after it has been pinned it is: the kernel takes what a file loses out of all page tables, and brings back only what is
 * touched. Returns 1, 0, or a negative errno.
 */
int residency_mapped(int pagemap, uint64_t start, uint64_t length, uint64_t page);

#endif
