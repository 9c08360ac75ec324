/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_FDS_H
#define PL_FDS_H

#include <stddef.h>

/* Closes every descriptor of the process but these. Nothing that is closed may block whoever closes it. */
void fds_close_except(const int *keep, size_t n_keep);

/* Moves descriptors to 3, 4, 5 … in this order, for a program that is about to be executed; they survive exec, and
 * everything above is closed. -1 leaves its number unused. Returns 0 or a negative errno. */
int fds_arrange(const int *fds, size_t n_fds);

#endif
