/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_MR_H
#define PL_MR_H

/* Destroying a memory region that the ledger names, and nothing else. */

#include "ledger.h"
#include "uverbs.h"

enum mr_outcome {
        MR_DESTROYED,
        MR_FOREIGN, /* the handle is gone, or belongs to something else by now */
        MR_KEPT,    /* the kernel would not let it go (bound memory window, EBUSY to the end) */
};

/*
 * One try: MR_DESTROYED, MR_FOREIGN, or a negative errno as the kernel gave it (-EBUSY: another call is on the handle
 * at this instant; -EINVAL: a memory window is bound).
 */
int mr_try(const struct uverbs_ops *uverbs,
           const struct uverbs_device *device,
           const struct ledger_record *record,
           const struct uverbs_mr_keys *keys);

/*
 * Handles are used again at once, also for what the app registers by itself: the MR is destroyed only if the kernel's
 * own description of the handle (keys, length, iova) is what was recorded. EBUSY is waited out for two seconds; it has
 * always passed in under one. This is for an app that wants it: against one that does not, see force.h.
 */
enum mr_outcome mr_destroy(const struct uverbs_ops *uverbs,
                           const struct uverbs_device *device,
                           const struct ledger_record *record,
                           const struct uverbs_mr_keys *keys);

#endif
