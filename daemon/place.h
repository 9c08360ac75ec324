/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_PLACE_H
#define PL_PLACE_H

/* Where a file is, for rules that ask for a path. */

#include <limits.h>
#include <stdbool.h>

#include "fdclass.h"

struct place {
        bool known;         /* there is a path at all; what has been deleted, and a memfd, have none */
        bool certain;       /* it is the file's only name, and leads this process to this file */
        char path[PATH_MAX];
};

/*
 * The kernel's name of an open file, looked up again. A name that leads elsewhere, or nowhere, is not certain: the file was renamed
 * meanwhile, it is of a mount that only another namespace has, or whose session this is may not go there. Nor is one of several: a
 * hard link can be made by whoever may write to a folder.
 *
 * Looking up may block, if somebody mounts a file server there at that moment; that is the matter of whose session it is.
 */
void place_find(int fd, const struct pl_fdclass *class, struct place *ret_place);

#endif
