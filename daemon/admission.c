/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "admission.h"

#include <inttypes.h>

int admission_check(const struct admission_limits *limits,
                    const struct accounts *accounts,
                    const struct account *account,
                    struct refusal *ret_refusal) {
        unsigned int all = accounts->n_sessions + accounts->n_waiting + accounts->n_silent;
        unsigned int users = account->n_sessions + account->n_waiting + account->n_silent;

        if (users >= limits->sessions_per_user)
                return refuse(ret_refusal,
                              PINLEASE_CODE_SESSION_LIMIT,
                              "User %" PRIu32 " has %u sessions, the limit is %u. Use one session per process and end those "
                              "that are not needed.",
                              (uint32_t)account->uid,
                              users,
                              limits->sessions_per_user);
        if (account->n_silent >= limits->silent_per_user)
                return refuse(ret_refusal,
                              PINLEASE_CODE_SESSION_LIMIT,
                              "User %" PRIu32 " has %u connections that have not said anything yet, the limit is %u. Say HELLO "
                              "at once after connecting.",
                              (uint32_t)account->uid,
                              account->n_silent,
                              limits->silent_per_user);
        if (all >= limits->sessions)
                return refuse(ret_refusal,
                              PINLEASE_CODE_NO_RESOURCES,
                              "The service has %u sessions, its limit is %u. Try again later.",
                              all,
                              limits->sessions);
        return 0;
}
