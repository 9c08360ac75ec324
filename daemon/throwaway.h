/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_THROWAWAY_H
#define PL_THROWAWAY_H

/*
 * A process for something that may take long, or never come back. It is forked twice, so that it is nobody's to wait for:
 * SIGCHLD is for who else has children.
 *
 * Returns 0 in the new process, which ends with _exit(); 1 in the caller; or a negative errno: there is none.
 */
int throwaway_fork(void);

#endif
