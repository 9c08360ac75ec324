/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_PRIVILEGES_H
#define PL_PRIVILEGES_H

/* What a process gives up. Each function returns 0 or a negative errno; after a failure the process must end. */

#include <stdint.h>
#include <sys/types.h>

struct registrar_identity {
        uid_t uid; /* the service's own user: the client can neither signal nor trace it */
        gid_t gid;
        uid_t fsuid; /* the client: the kernel decides by it whose files these are (F_SETLEASE, mincore) */
        gid_t fsgid;
};

/*
 * For good: user, groups, file-system user, all capabilities, core dumps, ptrace, new privileges by exec; and a ceiling of
 * pinned bytes that the kernel enforces.
 */
int privileges_drop_registrar(const struct registrar_identity *identity, uint64_t pin_ceiling);

/* The keeper may signal the registrar and the app, set the registrar's limits (another user's process), and give leases up that
 * the registrar has taken (another user's file). Nothing else. */
int privileges_drop_keeper(void);

/* A child of the keeper's has none. */
int privileges_drop_capabilities(void);

#endif
