/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guard.h"

static int poison_arm(struct guards *guards, struct guarded *file) {
        (void)guards;
        (void)file;
        return PINLEASE_GUARD_UNSUPPORTED;
}

const struct guard_ops guard_poison = {
        .name = "poison",
        .arm = poison_arm,
};
