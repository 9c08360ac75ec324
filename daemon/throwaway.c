/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "throwaway.h"

#include <sys/wait.h>

#include "util.h"

int throwaway_fork(void) {
        int status = 0;
        pid_t pid;

        pid = fork();
        if (pid == 0) {
                pid = fork();
                if (pid == 0)
                        return 0;
                _exit(pid < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
        }
        if (pid < 0)
                return -errno;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        return status == 0 ? 1 : -EAGAIN;
}
