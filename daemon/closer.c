/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "closer.h"

#include <assert.h>
#include <fcntl.h>
#include <string.h>

#include "fds.h"
#include "throwaway.h"
#include "util.h"

/* Waits for the parent to have closed its copies; then the end of the process is the last close. */
static _Noreturn void child(int pipe_read, const int *fds, unsigned int n_fds) {
        int keep[CLOSER_MAX + 1] = { pipe_read };
        char byte;

        memcpy(keep + 1, fds, n_fds * sizeof *fds);
        fds_close_except(keep, n_fds + 1);
        while (read(pipe_read, &byte, 1) < 0 && errno == EINTR)
                ;
        _exit(0);
}

static void close_all(int *fds, unsigned int n_fds) {
        for (unsigned int i = 0; i < n_fds; i++)
                fds[i] = pl_close(fds[i]);
}

int closer_try(int *fds, unsigned int n_fds) {
        _cleanup_(pl_closep) int pipe_read = -1, pipe_write = -1;
        int p[2], r;

        assert(n_fds <= CLOSER_MAX);

        if (pipe2(p, O_CLOEXEC) < 0)
                return -errno;
        pipe_read = p[0];
        pipe_write = p[1];

        r = throwaway_fork();
        if (r < 0)
                return r;
        if (r == 0)
                child(pipe_read, fds, n_fds);
        close_all(fds, n_fds);
        return 0;
}

int closer_close(int *fds, unsigned int n_fds) {
        int r = closer_try(fds, n_fds);

        if (r < 0)
                close_all(fds, n_fds);
        return r;
}
