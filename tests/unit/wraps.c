/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "wraps.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

unsigned int wraps_fail_at, wraps_n_allocations, wraps_n_sleeps;
bool wraps_verbs_devices, wraps_in_a_hurry;
struct wraps_clock *wraps_clock;

void wraps_reset(void) {
        wraps_fail_at = wraps_n_allocations = wraps_n_sleeps = 0;
        wraps_verbs_devices = true;
        if (!wraps_clock) {
                void *p = mmap(NULL, sizeof *wraps_clock, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

                if (p == MAP_FAILED)
                        abort();
                wraps_clock = p;
        }
        wraps_clock->fast = wraps_clock->stands = wraps_clock->sleeps = false;
        wraps_clock->jumped_ms = 0;
        wraps_in_a_hurry = false;
}

static bool fails(void) {
        if (wraps_fail_at == 0 || ++wraps_n_allocations != wraps_fail_at)
                return false;
        errno = ENOMEM;
        return true;
}

#define WRAP(type, name, ...)               \
        type __real_##name(__VA_ARGS__);    \
        type __wrap_##name(__VA_ARGS__);    \
        type __wrap_##name(__VA_ARGS__)

WRAP(void *, malloc, size_t size) {
        return fails() ? NULL : __real_malloc(size);
}

WRAP(void *, realloc, void *p, size_t size) {
        return fails() ? NULL : __real_realloc(p, size);
}

WRAP(void *, tsearch, const void *key, void **root, int (*compare)(const void *, const void *)) {
        return fails() ? NULL : __real_tsearch(key, root, compare);
}

WRAP(void *, mmap, void *address, size_t length, int prot, int flags, int fd, off_t offset) {
        return fails() ? MAP_FAILED : __real_mmap(address, length, prot, flags, fd, offset);
}

WRAP(int, memfd_create, const char *name, unsigned int flags) {
        return fails() ? -1 : __real_memfd_create(name, flags);
}

WRAP(int, nanosleep, const struct timespec *duration, struct timespec *remaining) {
        static long slept_ns;

        (void)remaining;
        (void)__real_nanosleep;
        wraps_n_sleeps++;
        if (wraps_clock && wraps_clock->sleeps) {
                slept_ns += duration->tv_nsec;
                wraps_clock->jumped_ms += (unsigned int)(duration->tv_sec * 1000 + slept_ns / 1000000);
                slept_ns %= 1000000;
        }
        return 0;
}

WRAP(FILE *, fopen, const char *path, const char *mode) {
        static char devices[] = "Character devices:\n  1 infiniband_verbs\n  5 tty\n\nBlock devices:\n  7 loop\n";

        if (wraps_verbs_devices && strcmp(path, "/proc/devices") == 0)
                return fmemopen(devices, sizeof devices - 1, "r");
        return __real_fopen(path, mode);
}

WRAP(int, clock_gettime, clockid_t clock, struct timespec *now) {
        static struct timespec stood[CLOCK_BOOTTIME + 1];
        unsigned int ms = wraps_clock ? wraps_clock->jumped_ms : 0;
        int r = __real_clock_gettime(clock, now);

        if (wraps_clock && clock >= 0 && clock <= CLOCK_BOOTTIME) {
                if (!wraps_clock->stands || stood[clock].tv_sec == 0)
                        stood[clock] = *now;
                *now = stood[clock];
        }
        now->tv_sec += ms / 1000;
        now->tv_nsec += ms % 1000 * 1000000L;
        if (now->tv_nsec >= 1000000000L) {
                now->tv_sec++;
                now->tv_nsec -= 1000000000L;
        }
        return r;
}

/* In slices: the clock may become fast in the middle. */
WRAP(int, poll, struct pollfd *fds, nfds_t n, int timeout) {
        while (wraps_in_a_hurry && timeout > WRAPS_REAL_MS) {
                int r = __real_poll(fds, n, WRAPS_REAL_MS);

                if (r != 0)
                        return r;
                timeout -= WRAPS_REAL_MS;
                if (wraps_clock->fast) {
                        wraps_clock->jumped_ms += (unsigned int)timeout;
                        return 0;
                }
        }
        return __real_poll(fds, n, timeout);
}
