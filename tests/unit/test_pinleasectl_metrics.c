/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake_admin.h"
#include "kernel.h"
#include "openmetrics_check.h"

#include <fcntl.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* pinleasectl metrics: right by the grammar, whatever the service says; and what it reads of /proc. */

static void answer(struct fake_admin *f) {
        fake_admin_accept(f);
        fake_admin_expect(f, "{\"method\":\"metrics\"}");
        if (f->argument)
                fake_admin_item(f, f->argument);
        fake_admin_result(f, "{}");
        fake_admin_expect_end(f);
}

static void get_metrics(struct ctl *ctl, const char *item) {
        struct fake_admin f;

        fake_admin_start(&f, answer, item);
        CTL_RUN(ctl, &f, "metrics");
        fake_admin_end(&f);
}

static void assert_grammar(const struct ctl *ctl) {
        unsigned int line;
        const char *wrong = openmetrics_check(ctl->out, &line);

        if (wrong)
                fail_msg("line %u: %s:\n%s", line, wrong, ctl->out);
}

static void assert_near(double value, double expected) {
        if (fabs(value - expected) > 1e-12)
                fail_msg("%g instead of %g", value, expected);
}

/* The checker finds what it is for. */
TEST(test_checker) {
        static const char *const wrong[] = {
                "",
                "# TYPE a gauge\n# HELP a b.\na 1\n",
                "# TYPE a gauge\n# HELP a b.\na 1\n# EOF",
                "# TYPE a gauge\n# HELP a b.\na 1\n# EOF\n\n",
                "# TYPE a gauge\na 1\n# EOF\n",
                "# HELP a b.\n# TYPE a gauge\na 1\n# EOF\n",
                "# TYPE a counter\n# HELP a b.\na 1\n# EOF\n",
                "# TYPE a_total counter\n# HELP a_total b.\na_total 1\n# EOF\n",
                "# TYPE a gauge\n# HELP a b.\na 1\na 2\n# EOF\n",
                "# TYPE a gauge\n# HELP a b.\na{b=\"1} 1\n# EOF\n",
                "# TYPE a gauge\n# HELP a b.\na{b=\"\\x\"} 1\n# EOF\n",
                "# TYPE a gauge\n# HELP a b.\na -\n# EOF\n",
                "# TYPE a gauge\n# UNIT a bytes\n# HELP a b.\na 1\n# EOF\n",
                "# TYPE a gauge\n# HELP a b.\na 1\n# TYPE b gauge\n# HELP b b.\nb 1\n# TYPE a gauge\n# HELP a b.\n# EOF\n",
                "# TYPE a histogram\n# HELP a b.\na_bucket{le=\"1.0\"} 1\na_count 1\na_sum 1\n# EOF\n",
                "# TYPE a histogram\n# HELP a b.\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 1\na_count 1\na_sum 1\n# EOF\n",
                "# TYPE a histogram\n# HELP a b.\na_bucket{le=\"1.0\"} 2\na_bucket{le=\"+Inf\"} 1\na_count 1\na_sum 1\n# EOF\n",
                "# TYPE a histogram\n# HELP a b.\na_bucket{le=\"+Inf\"} 2\na_count 1\na_sum 1\n# EOF\n",
                "# TYPE a histogram\n# HELP a b.\na_bucket{le=\"+Inf\"} 2\na_count 2\n# EOF\n",
        };
        unsigned int line;

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                if (!openmetrics_check(wrong[i], &line))
                        fail_msg("the checker takes %s", wrong[i]);
        assert_null(openmetrics_check("# TYPE a histogram\n# HELP a b.\na_bucket{x=\"\\\"\",le=\"1.0\"} 1\n"
                                      "a_bucket{x=\"\\\"\",le=\"+Inf\"} 1\na_count{x=\"\\\"\"} 1\na_sum{x=\"\\\"\"} 1\n# EOF\n",
                                      &line));
}

TEST(test_metrics) {
        static const char duration[] = "pinlease_operation_duration_seconds";
        char sample[128];
        struct ctl ctl;

        get_metrics(&ctl, fake_admin_metrics);
        ctl_assert_ok(&ctl);
        assert_grammar(&ctl);
        assert_near(openmetrics_value(ctl.out, "pinlease_sessions"), 2);
        assert_near(openmetrics_value(ctl.out, "pinlease_sessions_started_total"), 17);
        assert_near(openmetrics_value(ctl.out, "pinlease_live_bytes{method=\"pinned\"}"), 1048576);
        assert_near(openmetrics_value(ctl.out, "pinlease_live_bytes{method=\"dmabuf\"}"), 8192);
        assert_near(openmetrics_value(ctl.out, "pinlease_live_registrations{method=\"dmabuf\"}"), 2);
        assert_near(openmetrics_value(ctl.out, "pinlease_registrations_total{method=\"odp\"}"), 2);
        assert_near(openmetrics_value(ctl.out, "pinlease_registrations_total{method=\"dmabuf\"}"), 5);
        assert_near(openmetrics_value(ctl.out, "pinlease_deregistrations_total"), 41);
        assert_near(openmetrics_value(ctl.out, "pinlease_refusals_total{code=\"fsdax-pin\"}"), 3);
        assert_near(openmetrics_value(ctl.out, "pinlease_revocations_total{outcome=\"forced\"}"), 1);
        assert_near(openmetrics_value(ctl.out, "pinlease_ledger_pinned_bytes"), 1048576);
        /* The registrar is a process that cannot be. */
        assert_near(openmetrics_value(ctl.out, "pinlease_kernel_pinned_bytes"), 0);

        (void)snprintf(sample, sizeof sample, "%s_bucket{operation=\"register\",le=\"1.6e-05\"}", duration);
        assert_near(openmetrics_value(ctl.out, sample), 0);
        (void)snprintf(sample, sizeof sample, "%s_bucket{operation=\"register\",le=\"3.2e-05\"}", duration);
        assert_near(openmetrics_value(ctl.out, sample), 12);
        (void)snprintf(sample, sizeof sample, "%s_bucket{operation=\"register\",le=\"+Inf\"}", duration);
        assert_near(openmetrics_value(ctl.out, sample), 42);
        (void)snprintf(sample, sizeof sample, "%s_sum{operation=\"register\"}", duration);
        assert_near(openmetrics_value(ctl.out, sample), 0.009);
        (void)snprintf(sample, sizeof sample, "%s_count{operation=\"deregister\"}", duration);
        assert_near(openmetrics_value(ctl.out, sample), 41);
        ctl_free(&ctl);
}

TEST(test_without_item) {
        struct ctl ctl;

        get_metrics(&ctl, NULL);
        ctl_assert_failed(&ctl, 1, "without any");
        assert_string_equal(ctl.out, "");
        ctl_free(&ctl);
}

/* Members of other types, histograms that are none, names that would end a label: the rest is still right. */
TEST(test_odd_metrics) {
        static const char *const items[] = {
                "{}",
                "{\"sessions\":\"2\",\"sessions_started\":-1,\"live\":[],\"registered\":7,\"refusals\":[],\"latency\":7,\"registrars\":{}}",
                "{\"live\":{\"pinned\":7,\"odp\":{\"bytes\":1}},\"registrars\":[1,\"x\"]}",
                "{\"refusals\":{\"a\\\"} 1\\nb\":1,\"\\u001b[2J\":2,\"\":3,\"other\":4,\"A\":5,\"no-odp\":18446744073709551615,\"x\":\"y\"}}",
                "{\"refusals\":{\"A\":18446744073709551615,\"B\":1},\"registrars\":[0,1,18446744073709551615]}",
        };
        static const char *const histograms[] = {
                "{\"bounds_us\":[16],\"counts\":[1],\"sum_us\":1}",
                "{\"bounds_us\":[16],\"counts\":[1,2,3],\"sum_us\":1}",
                "{\"bounds_us\":[16,16],\"counts\":[1,2,3],\"sum_us\":1}",
                "{\"bounds_us\":[32,16],\"counts\":[1,2,3],\"sum_us\":1}",
                "{\"bounds_us\":[16,-1],\"counts\":[1,2,3],\"sum_us\":1}",
                "{\"bounds_us\":[16],\"counts\":[1,18446744073709551615],\"sum_us\":1}",
                "{\"bounds_us\":[16],\"counts\":[1,null],\"sum_us\":1}",
                "{\"bounds_us\":[16],\"counts\":[1,1]}",
                "{\"bounds_us\":[18446744073709551614,18446744073709551615],\"counts\":[1,1,1],\"sum_us\":1}",
                "{\"counts\":[1]}",
                "{}",
        };
        struct ctl ctl;
        char item[512];

        for (size_t i = 0; i < ELEMENTSOF(items); i++) {
                get_metrics(&ctl, items[i]);
                assert_int_equal(ctl.status, 0);
                assert_grammar(&ctl);
                if (i == 3)
                        assert_near(openmetrics_value(ctl.out, "pinlease_refusals_total{code=\"other\"}"), 15);
                ctl_free(&ctl);
        }
        for (size_t i = 0; i < ELEMENTSOF(histograms); i++) {
                (void)snprintf(item,
                               sizeof item,
                               "{\"latency\":{\"register\":%s,\"deregister\":{\"bounds_us\":[],\"counts\":[3],\"sum_us\":1000000}}}",
                               histograms[i]);
                get_metrics(&ctl, item);
                ctl_assert_failed(&ctl, 0, "the latency of register is left out");
                assert_grammar(&ctl);
                assert_null(strstr(ctl.out, "operation=\"register\""));
                assert_near(openmetrics_value(ctl.out, "pinlease_operation_duration_seconds_sum{operation=\"deregister\"}"), 1);
                ctl_free(&ctl);
        }
}

/* As the service sends a histogram of any shape. */
TEST(test_random_histograms) {
        struct testing_random random;

        testing_seed(&random, __func__);
        for (unsigned int i = 0; i < testing_rounds(20); i++) {
                char bounds[8192] = "", counts[8192] = "", item[20000];
                size_t n_bounds = testing_below(&random, 100), b = 0, c = 0;
                uint64_t bound = 0;
                struct ctl ctl;

                for (size_t k = 0; k <= n_bounds; k++) {
                        bound += 1 + testing_below(&random, 1U << testing_below(&random, 31));
                        if (k < n_bounds)
                                b += (size_t)snprintf(bounds + b, sizeof bounds - b, "%s%lu", k ? "," : "", (unsigned long)bound);
                        c += (size_t)snprintf(counts + c, sizeof counts - c, "%s%u", k ? "," : "", testing_below(&random, 1000));
                }
                (void)snprintf(item,
                               sizeof item,
                               "{\"latency\":{\"register\":{\"bounds_us\":[%s],\"counts\":[%s],\"sum_us\":%lu}}}",
                               bounds,
                               counts,
                               (unsigned long)(testing_random(&random) >> 1));
                get_metrics(&ctl, item);
                ctl_assert_ok(&ctl);
                assert_grammar(&ctl);
                ctl_free(&ctl);
        }
}

static void write_file(const char *folder, const char *name, const char *text) {
        char path[128];
        FILE *f;

        (void)snprintf(path, sizeof path, "%s/%s", folder, name);
        assert_non_null(f = fopen(path, "we"));
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
}

TEST(test_kernel) {
        char proc[] = "/tmp/pinlease-test-XXXXXX", folder[64], comm[64], command[128];
        uint64_t value = 7;

        assert_non_null(mkdtemp(proc));
        (void)snprintf(folder, sizeof folder, "%s/12", proc);
        assert_int_equal(mkdir(folder, 0700), 0);
        write_file(folder, "status", "Name:\tVmPin: 9 kB\nVmLck:\t       1 kB\nVmPin:\t    1024 kB\n");
        write_file(folder, "comm", "a b\x1b\n");
        write_file(proc, "vmstat", "nr_foll_pin_acquired_too 9\nnr_foll_pin_acquired 123456789012\nnr_foll_pin_released 5\n");
        (void)snprintf(folder, sizeof folder, "%s/13", proc);
        assert_int_equal(mkdir(folder, 0700), 0);
        write_file(folder, "status", "Name:\tkthreadd\n");

        assert_int_equal(kernel_pinned(proc, 12, &value), 0);
        assert_int_equal(value, 1048576);
        assert_int_equal(kernel_pinned(proc, 13, &value), -ESRCH);
        assert_int_equal(kernel_pinned(proc, 14, &value), -ESRCH);
        assert_int_equal(kernel_vmstat(proc, "nr_foll_pin_acquired", &value), 0);
        assert_int_equal(value, 123456789012);
        assert_int_equal(kernel_vmstat(proc, "nr_foll_pin", &value), -ENOENT);
        assert_int_equal(kernel_comm(proc, 12, comm), 4);
        assert_memory_equal(comm, "a b\x1b", 4);
        assert_int_equal(kernel_comm(proc, 14, comm), 0);

        (void)snprintf(command, sizeof command, "rm -r %s", proc);
        assert_int_equal(system(command), 0);

        /* Our own: whatever it is, it is there. */
        assert_int_equal(kernel_pinned("/proc", (uint64_t)getpid(), &value), 0);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                CHECKED(test_checker),     CHECKED(test_metrics),           CHECKED(test_without_item),
                CHECKED(test_odd_metrics), CHECKED(test_random_histograms), CHECKED(test_kernel),
        };

        (void)setlocale(LC_CTYPE, "C.UTF-8");
        (void)unsetenv("LC_ALL");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
