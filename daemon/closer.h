/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_CLOSER_H
#define PL_CLOSER_H

/*
 * Closes descriptors in a throw-away process. The last close of a verbs command fd tears down the whole context, in
 * whoever does it: 150 ms for 256 MiB of memory regions, 50 s with an old memory window. The last close of a Unix socket
 * closes what is in flight to it, which may be anything. The caller's own close comes first and is therefore never the last.
 *
 * Sets the at most CLOSER_MAX descriptors to -1. Returns 0, or a negative errno if no process could be had: then the caller
 * has closed them itself.
 */
#define CLOSER_MAX 256

int closer_close(int *fds, unsigned int n_fds);

/* The same, but if no process can be had the descriptors stay open and the caller's. */
int closer_try(int *fds, unsigned int n_fds);

#endif
