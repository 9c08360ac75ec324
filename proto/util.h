/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_UTIL_H
#define PL_UTIL_H

/* Small things that every part uses: clean-up attributes, checked arithmetic, time. */

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define _cleanup_(f)      __attribute__((cleanup(f)))
#define _printf_(a, b)    __attribute__((format(printf, a, b)))
#define _unused_          __attribute__((unused))
#define ELEMENTSOF(array) (sizeof(array) / sizeof((array)[0]))

/* Closes and returns -1; errno is left as it was. Never for a descriptor whose close may block: see fdclass.h. */
static inline int pl_close(int fd) {
        if (fd >= 0) {
                int saved = errno;

                close(fd);
                errno = saved;
        }
        return -1;
}

static inline void pl_closep(int *fd) {
        *fd = pl_close(*fd);
}

static inline int pl_steal_fd(int *fd) {
        int r = *fd;

        *fd = -1;
        return r;
}

static inline void pl_freep(void *p) {
        free(*(void **)p);
}

/* Has a + b no place in 64 bits? */
static inline bool pl_overflows(uint64_t a, uint64_t b) {
        uint64_t sum;

        return __builtin_add_overflow(a, b, &sum);
}

/* Where a range ends; UINT64_MAX: nowhere. */
static inline uint64_t pl_range_end(uint64_t offset, uint64_t length) {
        uint64_t end;

        return __builtin_add_overflow(offset, length, &end) ? UINT64_MAX : end;
}

/* The earlier of two instants; 0 is never. */
static inline uint64_t pl_earlier(uint64_t a, uint64_t b) {
        return !a || (b && b < a) ? b : a;
}

/* For poll(2): how long it is from now to an instant, in ms; -1: for ever. */
static inline int pl_time_until(uint64_t instant, uint64_t now) {
        if (!instant)
                return -1;
        if (instant <= now)
                return 0;
        return instant - now > INT_MAX ? INT_MAX : (int)(instant - now);
}

/* Since boot, suspended times included: by which processes tell each other when something was. */
static inline uint64_t pl_boottime_ms(void) {
        struct timespec ts;

        (void)clock_gettime(CLOCK_BOOTTIME, &ts);
        return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static inline uint64_t pl_now_us(void) {
        struct timespec ts;

        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static inline uint64_t pl_now_ms(void) {
        return pl_now_us() / 1000;
}

#endif
