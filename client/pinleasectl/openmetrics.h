/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PINLEASECTL_OPENMETRICS_H
#define PINLEASECTL_OPENMETRICS_H

/*
 * The text format of OpenMetrics 1.0, on standard output. A family begins with openmetrics_family(); its samples follow,
 * nothing in between. Names and labels are ours; a label's value may be anything printable.
 */

#include <stddef.h>
#include <stdint.h>

/* type: "counter", "gauge", "info", "histogram". unit: NULL, or what the name ends with. */
void openmetrics_family(const char *name, const char *type, const char *unit, const char *help);

/* label: NULL, or the one label of this sample. suffix: "", "_total", … */
void openmetrics_sample(const char *name, const char *suffix, const char *label, const char *label_value, uint64_t value);

/*
 * One histogram of a family. Counts are of each bucket (n_bounds + 1 of them), the bounds microseconds, ascending.
 * Returns 0, or -EINVAL, and nothing is written, if they are not, or their sum does not fit.
 */
int openmetrics_histogram(const char *name,
                          const char *label,
                          const char *label_value,
                          const uint64_t bounds_us[],
                          const uint64_t counts[],
                          size_t n_bounds,
                          uint64_t sum_us);

void openmetrics_end(void);

#endif
