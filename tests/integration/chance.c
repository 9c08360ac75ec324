/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "chance.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include "harness.h"

uint64_t chance(uint64_t *state) {
        uint64_t x = (*state += UINT64_C(0x9e3779b97f4a7c15));

        x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
        return x ^ (x >> 31);
}

uint64_t chance_begin(void) {
        const char *given = getenv("PINLEASE_TEST_SEED");
        uint64_t seed;

        if (given)
                seed = strtoull(given, NULL, 0);
        else if (getrandom(&seed, sizeof seed, 0) != sizeof seed)
                FAIL("getrandom: %m");
        else
                seed >>= 32;
        printf("PINLEASE_TEST_SEED=%" PRIu64 "\n", seed);
        (void)fflush(stdout);
        return seed;
}

void chance_wait(uint64_t *state, uint64_t max_ms) {
        uint64_t ns = chance(state) % (max_ms * 1000000);

        (void)nanosleep(&(struct timespec) { .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) },
                        NULL);
}

bool soak(void) {
        return getenv("PINLEASE_SOAK") != NULL;
}

unsigned int soak_rounds(unsigned int usually, unsigned int in_soak) {
        unsigned int n = soak() ? (unsigned int)strtoul(getenv("PINLEASE_SOAK"), NULL, 10) : 0;

        if (!soak())
                return usually;
        return n > 1 ? n : in_soak;
}
