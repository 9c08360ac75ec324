/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef ALONE_H
#define ALONE_H

/* One guard without the others and without a session: in place of guards.c stands what the case gives. */

#include "guards.h"

extern struct guarded *(*alone_find)(uint64_t device, uint64_t inode);
extern void (*alone_report)(struct guarded *file, const struct guard_report *report);

#endif
