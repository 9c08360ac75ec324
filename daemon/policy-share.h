/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_POLICY_SHARE_H
#define PL_POLICY_SHARE_H

/* One policy for all sessions: a sealed memfd, written by pinleased, mapped by every registrar. */

#include "policy-block.h"

/* Returns a descriptor or a negative errno. */
int policy_share(const struct policy_block *block);

/*
 * Maps it, whole and for reading. The descriptor stays the caller's, and is needed no more. Returns 0; -EPERM if it could still be
 * changed; -EBADMSG if it is no policy of this version; or another negative errno.
 */
int policy_map(int fd, const struct policy_block **ret_block);

/* Has some rule of it private memory pinned? Of one that comes from pinleased: only its head is read. False also if it is none. */
bool policy_pins_private(int fd);

/* NULL is accepted. Returns NULL. */
const struct policy_block *policy_unmap(const struct policy_block *block);

#endif
