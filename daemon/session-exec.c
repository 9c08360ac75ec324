/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-exec.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "fds.h"
#include "log.h"
#include "util.h"

/* Where the program's own descriptor goes: behind those that it finds. */
#define PROGRAM_FD (SESSION_FD_CLIENT + SESSION_N_FDS)

/* In the child of fork(): descriptors to their places, signals as a program expects them, and off. */
static _Noreturn void execute(int program, const struct session_args *args, const int *fds) {
        struct session_argv argv;
        int all[SESSION_N_FDS + 1], r;
        sigset_t none;

        log_close();
        session_args_format(args, &argv);
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);

        memcpy(all, fds, SESSION_N_FDS * sizeof *fds);
        all[SESSION_N_FDS] = program;
        r = fds_arrange(all, SESSION_N_FDS + 1);
        if (r == 0) {
                (void)fcntl(PROGRAM_FD, F_SETFD, FD_CLOEXEC);
                (void)execveat(PROGRAM_FD, "", argv.argv, environ, AT_EMPTY_PATH);
                r = -errno;
        }
        log_event(LOG_ERR, EVENT_CANNOT_START_SESSION, "cannot execute %s: %s", argv.argv[0], strerror(-r));
        _exit(EXIT_FAILURE);
}

pid_t session_exec(int program, const struct session_args *args, const int fds[static SESSION_N_FDS]) {
        pid_t pid;

        if (program < 0)
                return -ENOENT;
        pid = fork();
        if (pid == 0)
                execute(program, args, fds);
        return pid < 0 ? -errno : pid;
}
