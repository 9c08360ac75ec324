/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_AUDIT_H
#define TEST_AUDIT_H

/* What sessions have, as pinleased says it, as the kernel says it, and as it should be. */

#include <stddef.h>

#include "view.h"

struct audited {
        pid_t app;
        struct amount should;
        uint64_t own; /* bytes that it has pinned without the service */
};

/* These are all sessions that there are. Returns whether all is right; else what is not. directory: NULL: the
 * service's. */
bool audit_is_right(const char *directory, const struct audited *apps, size_t n, char *ret_problem, size_t size);

/* For other questions of that kind. */
bool audit_differs(char *ret_problem, size_t size, const char *what, uint64_t is, uint64_t should);

#endif
