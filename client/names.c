/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "codec.h"
#include "session.h"
#include "util.h"

/* What the numbers of the public headers are called, and that they are those of the wire. */

_Static_assert(PINLEASE_REVOKED_ADMINISTRATOR == (int)PL_REVOKED_BY_ADMINISTRATOR, "administrator");
_Static_assert(PINLEASE_REVOKED_LAYOUT_CHANGE == (int)PL_REVOKED_LAYOUT_CHANGE, "layout change");
_Static_assert(PINLEASE_REVOKED_MEMORY_FAILURE == (int)PL_REVOKED_MEMORY_FAILURE, "memory failure");
_Static_assert(PINLEASE_REVOKED_POLICY == (int)PL_REVOKED_BY_POLICY, "policy");
_Static_assert(PINLEASE_NOTICE_UNLINKED == (int)PL_NOTICE_UNLINKED, "unlinked");
_Static_assert(PINLEASE_NOTICE_UNMOUNTED == (int)PL_NOTICE_UNMOUNTED, "unmounted");
_Static_assert(PINLEASE_NOTICE_READ_ONLY == (int)PL_NOTICE_READ_ONLY, "read-only");
_Static_assert(PINLEASE_NOTICE_GUARD_LOST == (int)PL_NOTICE_GUARD_LOST, "guard lost");
_Static_assert(PINLEASE_NOTICE_GUARD_BACK == (int)PL_NOTICE_GUARD_BACK, "guard back");
_Static_assert(PINLEASE_NOTICE_CHANGED == (int)PL_NOTICE_CHANGED, "changed");

_public_ const char *pinlease_strcode(enum pinlease_code code) {
        return pl_code_name(code);
}

_public_ const char *pinlease_strmethod(enum pinlease_method method) {
        return pl_method_name(method);
}

_public_ const char *pinlease_strbacking(enum pinlease_backing backing) {
        return pl_backing_name(backing);
}

_public_ const char *pinlease_strguard(enum pinlease_guard guard) {
        return pl_guard_name(guard);
}

_public_ const char *pinlease_strguardreason(enum pinlease_guard_reason reason) {
        return pl_guard_reason_name(reason);
}

_public_ const char *pinlease_strrevocation(enum pinlease_revocation_reason reason) {
        static const char *const names[] = {
                [PINLEASE_REVOKED_ADMINISTRATOR] = "administrator",
                [PINLEASE_REVOKED_LAYOUT_CHANGE] = "layout-change",
                [PINLEASE_REVOKED_MEMORY_FAILURE] = "memory-failure",
                [PINLEASE_REVOKED_POLICY] = "policy",
        };

        return (unsigned int)reason < ELEMENTSOF(names) && names[reason] ? names[reason] : "unknown";
}

_public_ const char *pinlease_strnotice(enum pinlease_notice notice) {
        static const char *const names[] = {
                [PINLEASE_NOTICE_UNLINKED] = "unlinked",     [PINLEASE_NOTICE_UNMOUNTED] = "unmounted",
                [PINLEASE_NOTICE_READ_ONLY] = "read-only",   [PINLEASE_NOTICE_GUARD_LOST] = "guard-lost",
                [PINLEASE_NOTICE_GUARD_BACK] = "guard-back", [PINLEASE_NOTICE_CHANGED] = "changed",
        };

        return (unsigned int)notice < ELEMENTSOF(names) && names[notice] ? names[notice] : "unknown";
}

_public_ enum pinlease_guard_reason pinlease_guard_reason(const struct pinlease_mr *reg, enum pinlease_guard guard) {
        /* Another thread may be taking in a notice that changes it. */
        uint32_t guards = __atomic_load_n(&reg->guards, __ATOMIC_RELAXED);

        for (unsigned int i = 0; i < PL_N_GUARDS; i++)
                if (guard == 1U << i)
                        return guards & 1U << i ? PINLEASE_GUARD_HOLDS
                                                : (enum pinlease_guard_reason)pl_guard_reason(guards, i);
        return PINLEASE_GUARD_NOT_FOR_THIS;
}
