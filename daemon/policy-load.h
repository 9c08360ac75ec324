/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_POLICY_LOAD_H
#define PL_POLICY_LOAD_H

/*
 * From files to a policy. All of it or nothing: with one error in one file there is no block, and every error of every file is in
 * the list. Bounded in time and memory, whatever the files are; nothing here waits for anybody (a FIFO, a device), as long as the
 * file system does not. See pinlease-policy(5) for what is read.
 */

#include <sys/types.h>

#include "policy-block.h"
#include "policy-problems.h"

#define POLICY_MAX_TEXT  (4U << 20)  /* bytes of one file */
#define POLICY_MAX_TEXTS (16U << 20) /* of all */
#define POLICY_MAX_FILES 1000        /* in policy.d */

/* What holds where no file says otherwise. */
struct policy_base {
        struct policy_limits limits;
        uint32_t grace_ms;
        enum policy_layout_change on_layout_change;
        enum policy_force force;
};

struct policy_source {
        /* NULL: that of policy-default.json. */
        const struct policy_base *base;

        /* policy.json, and what ends with .json in policy.d, in this folder; each may be missing. NULL: the built-in policy alone. */
        const char *folder;
        /* Or these, in this order, which have to be there. */
        const char *const *files;
        size_t n_files;

        /* Whose the files and the folders have to be, and nobody else's to write. */
        bool check_owner;
        uid_t owner;

        /* /proc/sys/fs/lease-break-time in milliseconds: a grace for revoking has to fit in half of it. 0: leases are never broken
         * by time, and any grace fits. */
        uint32_t lease_break_ms;

        uint64_t generation; /* for the block */
};

/*
 * Returns 0 and a block, which is the caller's to free, perhaps with warnings in the list; -EBADMSG: there are errors in the list;
 * -ENOMEM. The list is begun by the caller ({ 0 }), added to, sorted, and the caller's to end.
 */
int policy_load(const struct policy_source *source, struct policy_problems *problems, struct policy_block **ret_block);

/* The built-in policy alone: returns 0 or -ENOMEM. */
int policy_load_builtin(uint32_t lease_break_ms, uint64_t generation, struct policy_block **ret_block);

/* What this kernel has: for lease_break_ms. */
uint32_t policy_lease_break_ms(void);

/*
 * The grace time of a policy that sets none. Who waits for a lease waits lease_break_ms at most (0: for ever), and then
 * goes on whatever is registered: so that, and what force takes after it, have to end well before. At most half of it.
 */
uint32_t policy_fit_grace(uint32_t grace_ms, uint32_t lease_break_ms);

/* policy-default.json, as it was when this was built. */
extern const char policy_default_text[];

#endif
