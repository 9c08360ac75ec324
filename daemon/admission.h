/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_ADMISSION_H
#define PL_ADMISSION_H

/* May one more connection be taken? The limits of numbers, per user and in all. */

#include "account.h"

struct admission_limits {
        unsigned int sessions;
        unsigned int sessions_per_user;
        unsigned int silent_per_user;
};

/* Returns 0 or REFUSED. */
int admission_check(const struct admission_limits *limits,
                    const struct accounts *accounts,
                    const struct account *account,
                    struct refusal *ret_refusal);

#endif
