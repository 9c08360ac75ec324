/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_LOG_H
#define PL_LOG_H

/*
 * One line on standard error, with the priority as a prefix that the journal understands (sd-daemon(3)). Used where an
 * error is decided, not where it occurs. The session does not link libsystemd: that alone would be more private memory
 * than a session may have.
 */

#include <syslog.h>

#include "util.h"

void log_set_prefix(const char *format, ...) _printf_(1, 2);
void log_line(int priority, const char *format, ...) _printf_(2, 3);

#endif
