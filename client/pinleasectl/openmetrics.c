/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "openmetrics.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void openmetrics_family(const char *name, const char *type, const char *unit, const char *help) {
        (void)printf("# TYPE %s %s\n", name, type);
        if (unit)
                (void)printf("# UNIT %s %s\n", name, unit);
        (void)printf("# HELP %s %s\n", name, help);
}

/* {label="value",le="0.001"}; each of the two may be missing. */
static void print_labels(const char *label, const char *value, const char *le) {
        if (!label && !le)
                return;

        (void)putchar('{');
        if (label) {
                (void)printf("%s=\"", label);
                for (; *value; value++)
                        if (*value == '\n')
                                (void)fputs("\\n", stdout);
                        else
                                (void)printf(*value == '"' || *value == '\\' ? "\\%c" : "%c", *value);
                (void)putchar('"');
        }
        if (le)
                (void)printf("%sle=\"%s\"", label ? "," : "", le);
        (void)putchar('}');
}

void openmetrics_sample(const char *name, const char *suffix, const char *label, const char *label_value, uint64_t value) {
        (void)printf("%s%s", name, suffix);
        print_labels(label, label_value, NULL);
        (void)printf(" %" PRIu64 "\n", value);
}

/* Microseconds as seconds: the shortest digits that mean the same, with a point or an exponent, as Python writes them. */
static const char *format_seconds(char buffer[static 40], uint64_t us) {
        double seconds = (double)us / 1e6;

        for (int digits = 1; digits <= 17; digits++) {
                (void)snprintf(buffer, 40, "%.*g", digits, seconds);
                if (strtod(buffer, NULL) == seconds)
                        break;
        }
        if (!strpbrk(buffer, ".e"))
                strcat(buffer, ".0");
        return buffer;
}

int openmetrics_histogram(const char *name,
                          const char *label,
                          const char *label_value,
                          const uint64_t bounds_us[],
                          const uint64_t counts[],
                          size_t n_bounds,
                          uint64_t sum_us) {
        uint64_t cumulative = 0;
        char buffer[40], before[40] = "";

        for (size_t i = 0; i <= n_bounds; i++) {
                if (__builtin_add_overflow(cumulative, counts[i], &cumulative))
                        return -EINVAL;
                if (i == n_bounds)
                        break;
                /* Large ones may differ as numbers and not as text. */
                if ((i > 0 && bounds_us[i] <= bounds_us[i - 1]) || strcmp(format_seconds(buffer, bounds_us[i]), before) == 0)
                        return -EINVAL;
                memcpy(before, buffer, sizeof before);
        }

        cumulative = 0;
        for (size_t i = 0; i <= n_bounds; i++) {
                cumulative += counts[i];
                (void)printf("%s_bucket", name);
                print_labels(label, label_value, i < n_bounds ? format_seconds(buffer, bounds_us[i]) : "+Inf");
                (void)printf(" %" PRIu64 "\n", cumulative);
        }
        (void)printf("%s_count", name);
        print_labels(label, label_value, NULL);
        (void)printf(" %" PRIu64 "\n%s_sum", cumulative, name);
        print_labels(label, label_value, NULL);
        (void)printf(" %s\n", format_seconds(buffer, sum_us));
        return 0;
}

void openmetrics_end(void) {
        (void)puts("# EOF");
}
