/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guard.h"

static int modify_arm(struct guards *guards, struct guarded *file) {
        (void)guards;
        (void)file;
        return PINLEASE_GUARD_UNSUPPORTED;
}

const struct guard_ops guard_modify = {
        .name = "modify",
        .arm = modify_arm,
};
