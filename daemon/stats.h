/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_STATS_H
#define PL_STATS_H

/*
 * What a session has done, counted by its registrar in the first page of the ledger, where others can read it without
 * asking. One process writes, so counting is a load and a store; a reader sees every number whole, but not all of the same
 * instant. Cleaning up after a dead registrar does not count: the numbers of a session are worth reading while it lasts.
 */

#include <stdatomic.h>
#include <stdint.h>

#include "control.h"
#include "pinlease/types.h"

enum stats_method {
        STATS_ODP,
        STATS_PINNED,
        STATS_DMABUF,
        N_STATS_METHODS,
};

/* What takes time. */
enum stats_op {
        STATS_REGISTER,
        STATS_DEREGISTER,
        N_STATS_OPS,
};

/* Refusals are counted by their code; what is not below this counts as 0. */
#define STATS_N_CODES 128

/* Room for enum revocation_outcome. */
#define STATS_N_OUTCOMES 4

/* Bucket i holds what took at most stats_bound_us(i), the last what took longer: 16 µs, 32 µs … 8.4 s. */
#define STATS_N_BOUNDS  20
#define STATS_N_BUCKETS (STATS_N_BOUNDS + 1)

/* One layout, of numbers that are shared, and of plain ones. Part of the ledger's. */
#define STATS_LAYOUT(number)                                                      \
        {                                                                         \
                number registered[N_STATS_METHODS];                               \
                struct {                                                          \
                        number registrations, bytes;                              \
                } live[N_STATS_METHODS]; /* what there is now */                  \
                number deregistered;                                              \
                struct {                                                          \
                        number counts[STATS_N_BUCKETS], sum_us;                   \
                } latency[N_STATS_OPS];                                           \
                number revocations[STATS_N_OUTCOMES]; /* enum revocation_outcome */ \
                number refusals[STATS_N_CODES];       /* enum pinlease_code */    \
        }

struct stats STATS_LAYOUT(_Atomic uint64_t);
struct stats_totals STATS_LAYOUT(uint64_t);

/* The registrar's side. */
void stats_registered(struct stats *stats, enum pinlease_method method, uint64_t bytes);
void stats_deregistered(struct stats *stats, enum pinlease_method method, uint64_t bytes);
void stats_refused(struct stats *stats, enum pinlease_code code);
void stats_revoked(struct stats *stats, enum revocation_outcome outcome);
void stats_latency(struct stats *stats, enum stats_op op, uint64_t us);

static inline uint64_t stats_bound_us(unsigned int i) {
        return UINT64_C(16) << i;
}

/* The reader's side. Sums stop at the largest number. */
void stats_totals_add(struct stats_totals *sum, const struct stats_totals *more);

/* Of a session that has ended: what it had done stays, what it had registered is no more. */
void stats_totals_end(struct stats_totals *totals);

#endif
