/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_CLEANUP_H
#define PL_CLEANUP_H

/* What the keeper does when the registrar is gone: destroy every live MR of the ledger, and nothing else. */

#include <stdbool.h>

#include "ledger.h"
#include "uverbs.h"

struct cleanup_context {
        struct uverbs_device device; /* fd -1: not attached */
};

struct cleanup_result {
        unsigned int destroyed;
        unsigned int foreign; /* the handle is gone, or belongs to something else by now */
        unsigned int kept;    /* the kernel would not let it go (bound memory window, EBUSY to the end) */
};

/*
 * Goes once through the ledger. An MR is destroyed only if the kernel's own description of the handle (rkey, length, iova)
 * is what the ledger recorded: handles are used again at once, also for what the app registers by itself.
 */
struct cleanup_result cleanup_ledger(const struct ledger *ledger,
                                     const struct uverbs_ops *uverbs,
                                     const struct cleanup_context *contexts,
                                     unsigned int n_contexts);

#endif
