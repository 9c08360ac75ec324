/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_POLICY_JUDGE_H
#define PL_POLICY_JUDGE_H

/* What can be said when all files have been read: what rules take over from the defaults, and how rules go together. */

#include "policy-rules.h"

struct policy_judge {
        struct policy_whole *whole;
        struct policy_problems *problems;
        const char *const *files; /* by their source */
        const char *data;         /* of the block in the making: texts */
        uint32_t lease_break_ms;
};

/* Fills in what rules have not said, and says which grace does not fit, and which names are there twice. Returns 0 or
 * -ENOMEM. */
int policy_judge(const struct policy_judge *judge);

/* Warns of rules that no request gets to. In a long policy only of some: what it takes is limited. */
void policy_judge_order(const struct policy_judge *judge);

#endif
