/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "stats.h"

#include <string.h>

#include "util.h"

/* The layout is read by other processes. */
_Static_assert(sizeof(struct stats) == 186 * 8, "numbers");
_Static_assert(sizeof(struct stats_totals) == sizeof(struct stats), "one layout");
_Static_assert((unsigned int)N_REVOCATION_OUTCOMES <= STATS_N_OUTCOMES, "outcomes");
_Static_assert(PINLEASE_CODE_NO_MEMORY < STATS_N_CODES, "codes");

#define N_NUMBERS (sizeof(struct stats_totals) / sizeof(uint64_t))

static void count(_Atomic uint64_t *number, uint64_t more) {
        atomic_store_explicit(number, atomic_load_explicit(number, memory_order_relaxed) + more, memory_order_relaxed);
}

static void discount(_Atomic uint64_t *number, uint64_t less) {
        uint64_t n = atomic_load_explicit(number, memory_order_relaxed);

        atomic_store_explicit(number, n > less ? n - less : 0, memory_order_relaxed);
}

static enum stats_method index_of(enum pinlease_method method) {
        switch (method) {
        case PINLEASE_METHOD_PINNED:
                return STATS_PINNED;
        case PINLEASE_METHOD_DMABUF:
                return STATS_DMABUF;
        default:
                return STATS_ODP;
        }
}

void stats_registered(struct stats *stats, enum pinlease_method method, uint64_t bytes) {
        enum stats_method i = index_of(method);

        count(&stats->registered[i], 1);
        count(&stats->live[i].registrations, 1);
        count(&stats->live[i].bytes, bytes);
}

void stats_deregistered(struct stats *stats, enum pinlease_method method, uint64_t bytes) {
        enum stats_method i = index_of(method);

        count(&stats->deregistered, 1);
        discount(&stats->live[i].registrations, 1);
        discount(&stats->live[i].bytes, bytes);
}

void stats_refused(struct stats *stats, enum pinlease_code code) {
        unsigned int i = (unsigned int)code;

        count(&stats->refusals[i < STATS_N_CODES ? i : 0], 1);
}

void stats_revoked(struct stats *stats, enum revocation_outcome outcome) {
        unsigned int i = (unsigned int)outcome;

        if (i < N_REVOCATION_OUTCOMES)
                count(&stats->revocations[i], 1);
}

void stats_latency(struct stats *stats, enum stats_op op, uint64_t us) {
        /* How many times 16 µs, rounded up, must be halved. */
        uint64_t times = us ? (us - 1) / stats_bound_us(0) : 0;
        unsigned int bucket = times ? 64 - (unsigned int)__builtin_clzll(times) : 0;

        count(&stats->latency[op].counts[bucket < STATS_N_BOUNDS ? bucket : STATS_N_BOUNDS], 1);
        count(&stats->latency[op].sum_us, us);
}

void stats_totals_add(struct stats_totals *sum, const struct stats_totals *more) {
        uint64_t a[N_NUMBERS], b[N_NUMBERS];

        memcpy(a, sum, sizeof a);
        memcpy(b, more, sizeof b);
        for (size_t i = 0; i < N_NUMBERS; i++)
                if (__builtin_add_overflow(a[i], b[i], &a[i]))
                        a[i] = UINT64_MAX;
        memcpy(sum, a, sizeof a);
}

void stats_totals_end(struct stats_totals *totals) {
        memset(totals->live, 0, sizeof totals->live);
}
