/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "no_cachestat.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>

#include "util.h"

int no_cachestat_errno;

long __wrap_syscall(long number, ...);

long __wrap_syscall(long number, ...) {
        long args[4];
        va_list ap;

        va_start(ap, number);
        for (size_t i = 0; i < ELEMENTSOF(args); i++)
                args[i] = va_arg(ap, long);
        va_end(ap);

        if (no_cachestat_errno) {
                errno = no_cachestat_errno;
                return -1;
        }
        return __real_syscall(number, args[0], args[1], args[2], args[3]);
}
