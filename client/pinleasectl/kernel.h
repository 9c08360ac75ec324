/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PINLEASECTL_KERNEL_H
#define PINLEASECTL_KERNEL_H

/* What the kernel says of processes and of pinned memory. `proc` is "/proc", or stands for it in tests. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The name of a process as the kernel has it, bytes that may be anything; returns its length, 0 if there is none. */
size_t kernel_comm(const char *proc, uint64_t pid, char ret_comm[static 64]);

/* VmPin of a process, in bytes. Returns 0; -ESRCH if the process is gone; another negative errno. */
int kernel_pinned(const char *proc, uint64_t pid, uint64_t *ret_bytes);

/* A line of /proc/vmstat. Returns 0 or a negative errno: -ENOENT if the kernel does not count that. */
int kernel_vmstat(const char *proc, const char *name, uint64_t *ret_value);

/* Device and inode as the service compares them: st_dev and st_ino of stat(2). The file is not opened, and its server
 * is not asked. Returns 0 or a negative errno. */
int kernel_file(const char *path, uint64_t *ret_device, uint64_t *ret_inode);

/* Device of the file system that is mounted there, as above; nothing is mounted for that. -EINVAL: nothing is mounted
 * there. */
int kernel_mount(const char *path, uint64_t *ret_device);

#endif
