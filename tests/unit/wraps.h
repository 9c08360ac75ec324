/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_WRAPS_H
#define PL_WRAPS_H

/*
 * What a test puts in place of the C library's functions (ld's --wrap, see WRAPS in local.mk): allocations that fail,
 * waiting that takes no time, a clock that runs ahead, and a /proc/devices in which the devices of /dev/null and /dev/zero are verbs devices.
 */

#include <stdbool.h>

/* The allocation (malloc, realloc, mmap, tsearch, memfd_create), counted from 1, that fails; 0: none, and none is counted. */
extern unsigned int wraps_fail_at;
extern unsigned int wraps_n_allocations;

/* Called in place of nanosleep(). */
extern unsigned int wraps_n_sleeps;

/* Major number 1, the memory devices, is infiniband_verbs. */
extern bool wraps_verbs_devices;

/*
 * The clock, shared with children. While it is fast, a poll() of a process that takes part (wraps_in_a_hurry) and waits in vain for WRAPS_REAL_MS jumps to the end of its
 * time-out: deadlines of seconds pass at once, and whoever has something to do is given that long to do it.
 */
#define WRAPS_REAL_MS 50
struct wraps_clock {
        volatile bool fast;
        volatile bool stands; /* for processes that do not take part, too: only jumps move it */
        volatile bool sleeps; /* nanosleep() moves it, by whole milliseconds */
        volatile unsigned int jumped_ms;
};
extern struct wraps_clock *wraps_clock;
extern bool wraps_in_a_hurry;

void wraps_reset(void);

#endif
