/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

_Noreturn void die_refused(const struct pinlease *p) {
        (void)fprintf(stderr, "%s: %s\n", program_invocation_short_name, pinlease_refusal(p)->sentence);
        exit(EXIT_FAILURE);
}

struct file file_make(const char *folder, const char *name, size_t length) {
        struct file file = { .length = length };
        int r;

        (void)snprintf(file.path, sizeof file.path, "%s/%s", folder, name);
        file.fd = open(file.path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (file.fd < 0)
                die(file.path, errno);
        r = posix_fallocate(file.fd, 0, (off_t)length);
        if (r != 0)
                die(file.path, r);
        file.memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd, 0);
        if (file.memory == MAP_FAILED)
                die("mmap", errno);
        memset(file.memory, 1, length);
        if (fsync(file.fd) < 0)
                die(file.path, errno);
        return file;
}

void file_free(struct file *file) {
        (void)munmap(file->memory, file->length);
        file->fd = pl_close(file->fd);
        (void)unlink(file->path);
}

struct pinlease_mr *file_register(const struct file *file,
                                  struct pinlease *session,
                                  struct ibv_pd *pd,
                                  size_t offset,
                                  size_t length,
                                  enum pinlease_method method,
                                  unsigned int guards) {
        const struct pinlease_reg_options options = { .methods = (unsigned int)method, .guards = guards };
        struct pinlease_mr *mr;

        if (pinlease_reg_fd_ex(
                    session, pd, file->fd, offset, length, file->memory + offset, ACCESS_READ_WRITE, &options, &mr) < 0)
                die_refused(session);
        return mr;
}
