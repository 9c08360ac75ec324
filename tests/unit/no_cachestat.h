/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_TEST_NO_CACHESTAT_H
#define PL_TEST_NO_CACHESTAT_H

/* cachestat(2), by syscall(), answers with this error; 0: as the kernel does. For programs linked with --wrap=syscall. */
extern int no_cachestat_errno;

/* Whatever that says. */
long __real_syscall(long number, ...);

#endif
