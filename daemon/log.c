/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>

static char prefix[64];

void log_set_prefix(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(prefix, sizeof prefix, format, ap);
        va_end(ap);
}

void log_line(int priority, const char *format, ...) {
        int saved = errno;
        char text[512];
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(text, sizeof text, format, ap);
        va_end(ap);
        /* One write: lines of several processes do not mix. */
        (void)dprintf(STDERR_FILENO, "<%d>%s%s\n", priority, prefix, text);
        errno = saved;
}
