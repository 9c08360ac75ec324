/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_PROC_H
#define TEST_PROC_H

/* /proc, for the integration tests and for the benchmarks. */

#include <stdbool.h>
#include <sys/types.h>

/* A file of /proc/PID as text, as much of it as there is room for. Returns its length; 0: empty, or it cannot be read. */
size_t proc_read(pid_t pid, const char *name, char *text, size_t size);

/* Calls the function for every process. False: there is no /proc (errno). */
bool proc_each(void (*function)(pid_t pid, void *userdata), void *userdata);

#endif
