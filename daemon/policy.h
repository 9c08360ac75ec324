/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_POLICY_H
#define PL_POLICY_H

/*
 * Which ways of registering are right for this memory, best first. A pure function of the question: no system call, no
 * state. What it holds are the built-in rules, which say what the kernel allows to be pinned for long:
 *
 *   file-system DAX      never          "vfio/type1, dax: disallow long-term file-system-DAX pins", get_user_pages_longterm()
 *   page cache, writable never          "mm/gup: disallow FOLL_LONGTERM writing to file-backed mappings" (Linux 6.5);
 *                                       older kernels would let it through and lose data at writeback, so it is refused here
 *   page cache, read     only by rule   the kernel allows it, but the file can be truncated under the pin
 *   shmem, hugetlb       yes            no dirty tracking, no write-protection by writeback
 */

#include "pinlease/types.h"
#include "refusal.h"

struct policy_question {
        enum pinlease_backing backing;
        bool writable;
        unsigned int accepted; /* enum pinlease_method: what the app would take */
        unsigned int offered;  /* enum pinlease_method: what the device has */
        unsigned int unsound;  /* enum pinlease_method: what it has but does wrong; only for an app that accepts nothing else */
};

#define POLICY_MAX_METHODS 2

struct policy_decision {
        const char *rule;
        unsigned int n_methods;
        enum pinlease_method methods[POLICY_MAX_METHODS]; /* to be tried in this order */
};

/* Returns 0 or REFUSED. */
int policy_decide(const struct policy_question *question, struct policy_decision *ret_decision, struct refusal *ret_refusal);

#endif
