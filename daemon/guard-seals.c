/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guard.h"

#include <fcntl.h>

/*
 * F_SEAL_SHRINK, memfd_create(2): nobody can cut off what is registered, and a seal is never taken off. There is nothing to watch,
 * and nobody to ask. A hole can still be punched, unless F_SEAL_WRITE is set as well: by who has the memory mapped for writing
 * or the descriptor, that is by the app or whom it gave it to.
 */

static int seals_arm(struct guards *guards, struct guarded *file) {
        (void)guards;
        if (file->class.kind != PL_FD_SHMEM && file->class.kind != PL_FD_HUGETLB)
                return PINLEASE_GUARD_NOT_FOR_THIS;
        return file->class.seals & F_SEAL_SHRINK ? PINLEASE_GUARD_HOLDS : PINLEASE_GUARD_NOT_SEALED;
}

const struct guard_ops guard_seals = {
        .name = "seals",
        .arm = seals_arm,
};
