/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_OPENMETRICS_CHECK_H
#define PL_OPENMETRICS_CHECK_H

/*
 * Is a text OpenMetrics 1.0, as far as pinleasectl uses it? Stricter than the standard where that costs nothing: TYPE and
 * HELP must be there, TYPE first.
 */

#include <stddef.h>

/* Returns NULL, or what is wrong; *ret_line is the line, from 1. */
const char *openmetrics_check(const char *text, unsigned int *ret_line);

/* The value of a sample, by its name with labels as they are written; fails the test if there is not exactly one. */
double openmetrics_value(const char *text, const char *sample);

#endif
