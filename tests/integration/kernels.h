/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_KERNELS_H
#define TEST_KERNELS_H

/* What this kernel answers, one "what | answer" a line: compared with the tables of doc/KERNELS.md. Returns the exit status. */
int kernels_print(void);

#endif
