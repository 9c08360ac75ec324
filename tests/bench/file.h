/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_FILE_H
#define BENCH_FILE_H

/* Files that an app registers by the library. Failures end the program. */

#include <pinlease/pinlease.h>

#include "bench.h"

#define ACCESS_READ_WRITE (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ)

/* The only descriptor that there is, so that a lease can be had. */
struct file {
        char path[96];
        int fd;
        char *memory; /* its mapping, populated */
        size_t length;
};

_Noreturn void die_refused(const struct pinlease *p);

/* A new file with this name, of blocks that are written. */
struct file file_make(const char *folder, const char *name, size_t length);
/* Removes it. */
void file_free(struct file *file);

/* A range of it. guards: enum pinlease_guard, those that it must have. */
struct pinlease_mr *file_register(const struct file *file,
                                  struct pinlease *session,
                                  struct ibv_pd *pd,
                                  size_t offset,
                                  size_t length,
                                  enum pinlease_method method,
                                  unsigned int guards);

#endif
