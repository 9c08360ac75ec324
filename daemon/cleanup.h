/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_CLEANUP_H
#define PL_CLEANUP_H

/* What the keeper does when the registrar is gone: destroy every live MR of the ledger, and nothing else. */

#include <stdbool.h>

#include "force.h"

struct cleanup_context {
        struct uverbs_device device; /* fd -1: not attached */
};

struct cleanup_result {
        unsigned int destroyed, foreign, kept; /* enum mr_outcome */
};

/* Goes once through the ledger, by force: what the app is doing with a memory region does not count any more. */
struct cleanup_result cleanup_ledger(const struct ledger *ledger,
                                     struct force *force,
                                     const struct cleanup_context *contexts,
                                     unsigned int n_contexts);

#endif
