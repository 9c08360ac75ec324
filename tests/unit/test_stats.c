/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <string.h>

#include "stats.h"

/* What is shared, as plain numbers. */
static struct stats_totals totals_of(const struct stats *stats) {
        struct stats_totals totals;

        memcpy(&totals, stats, sizeof totals);
        return totals;
}

TEST(test_counting) {
        struct stats stats = { 0 };
        struct stats_totals expected = { 0 }, totals;

        stats_registered(&stats, PINLEASE_METHOD_PINNED, 8192);
        stats_registered(&stats, PINLEASE_METHOD_PINNED, 4096);
        stats_registered(&stats, PINLEASE_METHOD_ODP, UINT64_C(1) << 40);
        stats_registered(&stats, PINLEASE_METHOD_DMABUF, 20480);
        stats_registered(&stats, PINLEASE_METHOD_DMABUF, 4096);
        expected.registered[STATS_PINNED] = 2;
        expected.registered[STATS_ODP] = 1;
        expected.live[STATS_PINNED].registrations = 2;
        expected.live[STATS_PINNED].bytes = 12288;
        expected.live[STATS_ODP].registrations = 1;
        expected.live[STATS_ODP].bytes = UINT64_C(1) << 40;
        expected.registered[STATS_DMABUF] = 2;
        expected.live[STATS_DMABUF].registrations = 2;
        expected.live[STATS_DMABUF].bytes = 24576;
        totals = totals_of(&stats);
        assert_memory_equal(&totals, &expected, sizeof totals);

        stats_deregistered(&stats, PINLEASE_METHOD_PINNED, 8192);
        stats_deregistered(&stats, PINLEASE_METHOD_ODP, UINT64_C(1) << 40);
        stats_deregistered(&stats, PINLEASE_METHOD_DMABUF, 20480);
        memset(expected.live, 0, sizeof expected.live);
        expected.live[STATS_PINNED].registrations = 1;
        expected.live[STATS_PINNED].bytes = 4096;
        expected.live[STATS_DMABUF].registrations = 1;
        expected.live[STATS_DMABUF].bytes = 4096;
        expected.deregistered = 3;
        totals = totals_of(&stats);
        assert_memory_equal(&totals, &expected, sizeof totals);

        /* What cannot be does not become a large number. */
        stats_deregistered(&stats, PINLEASE_METHOD_ODP, 1);
        totals = totals_of(&stats);
        assert_int_equal(totals.live[STATS_ODP].registrations, 0);
        assert_int_equal(totals.live[STATS_ODP].bytes, 0);
        assert_int_equal(totals.deregistered, 4);
}

TEST(test_refusals) {
        struct stats stats = { 0 };
        struct stats_totals totals;

        for (int code = 1; code < STATS_N_CODES; code++)
                for (int i = 0; i < code; i++)
                        stats_refused(&stats, (enum pinlease_code)code);
        stats_refused(&stats, (enum pinlease_code)STATS_N_CODES);
        stats_refused(&stats, (enum pinlease_code)-1);
        stats_refused(&stats, (enum pinlease_code)INT32_MAX);
        totals = totals_of(&stats);
        assert_int_equal(totals.refusals[0], 3);
        for (unsigned int code = 1; code < STATS_N_CODES; code++)
                assert_int_equal(totals.refusals[code], code);
        memset(totals.refusals, 0, sizeof totals.refusals);
        assert_memory_equal(&totals, &(struct stats_totals) { 0 }, sizeof totals);
}

TEST(test_revocations) {
        struct stats stats = { 0 };
        struct stats_totals totals;

        stats_revoked(&stats, REVOCATION_RELEASED);
        stats_revoked(&stats, REVOCATION_FORCED);
        stats_revoked(&stats, REVOCATION_FORCED);
        stats_revoked(&stats, REVOCATION_KEPT);
        stats_revoked(&stats, N_REVOCATION_OUTCOMES);
        stats_revoked(&stats, (enum revocation_outcome)-1);
        totals = totals_of(&stats);
        assert_int_equal(totals.revocations[REVOCATION_RELEASED], 1);
        assert_int_equal(totals.revocations[REVOCATION_FORCED], 2);
        assert_int_equal(totals.revocations[REVOCATION_KEPT], 1);
        memset(totals.revocations, 0, REVOCATION_KEPT * sizeof totals.revocations[0] + sizeof totals.revocations[0]);
        assert_memory_equal(&totals, &(struct stats_totals) { 0 }, sizeof totals);
}

/* The bucket as it is defined: the first whose bound is not smaller. */
static unsigned int bucket_of(uint64_t us) {
        unsigned int i = 0;

        while (i < STATS_N_BOUNDS && us > stats_bound_us(i))
                i++;
        return i;
}

static void check_latency(uint64_t us) {
        struct stats_totals totals;

        for (enum stats_op op = 0; op < N_STATS_OPS; op++) {
                struct stats stats = { 0 };

                stats_latency(&stats, op, us);
                totals = totals_of(&stats);
                if (totals.latency[op].counts[bucket_of(us)] != 1)
                        fail_msg("%llu us are not in bucket %u", (unsigned long long)us, bucket_of(us));
                assert_int_equal(totals.latency[op].sum_us, us);
                memset(totals.latency + op, 0, sizeof totals.latency[op].counts + sizeof totals.latency[op].sum_us);
                totals.latency[op].counts[bucket_of(us)] = 0;
                assert_memory_equal(&totals, &(struct stats_totals) { 0 }, sizeof totals);
        }
}

TEST(test_latency) {
        struct testing_random random;
        unsigned int rounds = testing_rounds(20000);

        assert_int_equal(stats_bound_us(0), 16);
        assert_in_range(stats_bound_us(STATS_N_BOUNDS - 1), 8000000, 9000000);
        for (unsigned int i = 0; i < STATS_N_BOUNDS; i++)
                for (int d = -1; d <= 1; d++)
                        check_latency(stats_bound_us(i) + (uint64_t)d);
        for (uint64_t us = 0; us < 100; us++)
                check_latency(us);
        check_latency(UINT64_MAX);

        testing_seed(&random, "latency");
        for (unsigned int i = 0; i < rounds; i++)
                check_latency(testing_random(&random) >> testing_below(&random, 64));
}

TEST(test_sums) {
        uint64_t numbers[sizeof(struct stats_totals) / sizeof(uint64_t)];
        struct stats_totals sum = { 0 }, more;

        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                numbers[i] = i + 1;
        memcpy(&more, numbers, sizeof more);
        for (unsigned int round = 0; round < 3; round++)
                stats_totals_add(&sum, &more);
        memcpy(numbers, &sum, sizeof numbers);
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                assert_int_equal(numbers[i], 3 * (i + 1));

        /* Full is full. */
        memset(&more, 0xff, sizeof more);
        stats_totals_add(&sum, &more);
        assert_memory_equal(&sum, &more, sizeof sum);
        stats_totals_add(&sum, &more);
        assert_memory_equal(&sum, &more, sizeof sum);
        stats_totals_add(&sum, &(struct stats_totals) { 0 });
        assert_memory_equal(&sum, &more, sizeof sum);

        /* A session that has ended holds nothing, but has done what it did. */
        stats_totals_end(&sum);
        memset(more.live, 0, sizeof more.live);
        assert_memory_equal(&sum, &more, sizeof sum);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_counting),
                CHECKED(test_refusals),
                CHECKED(test_revocations),
                CHECKED(test_latency),
                CHECKED(test_sums),
        };

        return cmocka_run_group_tests_name("stats", tests, NULL, NULL);
}
