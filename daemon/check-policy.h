/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_CHECK_POLICY_H
#define PL_CHECK_POLICY_H

/* pinleased --check-policy: would this policy be taken? Needs no privileges, no device and no service. */

#include <stdbool.h>
#include <stddef.h>

struct check_policy {
        bool wanted;
        bool json;
        const char *const *files; /* none: what is installed, as the service would read it */
        size_t n_files;
};

/* Says what is wrong, on standard error, or all of it in JSON on standard output. Returns the exit status: 0, also if
 * there are warnings, or 1. */
int check_policy(const struct check_policy *check);

#endif
