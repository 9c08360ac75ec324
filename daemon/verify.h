/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_VERIFY_H
#define PL_VERIFY_H

/*
 * A second look at a file of which something has just been registered: is it still what it was when the request was
 * decided? Between the two, any program may have truncated, punched or sealed it.
 *
 * What can change, and who looks at it: the size; seals; the pages behind a range that is as long as before, because it
 * was cut off and grown again, or punched and filled again (of what is pinned only: by ODP the device follows). What
 * cannot: a descriptor's inode; its access mode, which F_SETFL does not set; whether the file has DAX, which is decided
 * when the inode is read into memory and stays while it is open (FS_XFLAG_DAX counts from the next time on).
 */

#include <stdbool.h>

#include "fdclass.h"
#include "refusal.h"

struct verify {
        int fd;
        const struct pl_fdclass *class; /* as it was */
        const struct pl_register *request;
        uint64_t pinned_at; /* where this process has what is pinned; 0: it is not */
        int pagemap; /* /proc/self/pagemap; -1: there is none (CONFIG_PROC_PAGE_MONITOR), and pages are not looked at */
};

/*
 * Returns 0 or REFUSED: CHANGED. What is sealed against shrinking needs no look at its size and pages, what is sealed
 * against seals none at these.
 *
 * Pages are looked at only if something has happened to the file, by its ctime: that tells exactly where it is counted
 * finely (Linux 6.13: ext4, xfs, btrfs, tmpfs), elsewhere to a tick of the clock. Stores to mapped memory do not count,
 * but for the first to a page: so what had to be faulted in to be pinned is always looked at.
 */
int verify_registered(const struct verify *v, struct refusal *ret_refusal);

/* Mapping or registering has been refused for what it has met. If the file has changed, that says more. */
void verify_explain(const struct verify *v, struct refusal *refusal);

#endif
