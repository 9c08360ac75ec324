/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pinlease-session: one program, two processes. Becomes the keeper; its child is the registrar. */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "control.h"
#include "fds.h"
#include "freeze.h"
#include "keeper.h"
#include "log-limit.h"
#include "log.h"
#include "refusal.h"
#include "policy-share.h"
#include "registrar.h"
#include "sandbox.h"
#include "session-args.h"
#include "subject.h"
#include "wire.h"

static _Noreturn void be_registrar(const struct session_args *args, int control, struct ledger *ledger) {
        /* Of this process: that it has no privileges later, and cannot be traced, would keep it from its own. */
        int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
        const int keep[] = { 0, 1, 2, SESSION_FD_CLIENT, control, ledger->fd, log_fd(), pagemap };
        static struct subject subject;
        struct registrar_config config = {
                .client = SESSION_FD_CLIENT,
                .control = control,
                .session = args->session,
                .limits = args->limits,
                .credit = args->credit,
                .hello_timeout_ms = args->hello_timeout_ms,
                .pagemap = pagemap,
        };
        sigset_t signals;
        int r;

        /* None is for it, see bell.h; SIGBUS tells of memory failures, see guard-poison.c. */
        (void)sigfillset(&signals);
        (void)sigprocmask(SIG_SETMASK, &signals, NULL);
        r = policy_map(SESSION_FD_POLICY, &config.policy);
        if (r == 0)
                r = subject_get(SESSION_FD_CLIENT, args->app_pid, SESSION_FD_APP, &subject);
        config.subject = subject.policy;
        fds_close_except(keep, ELEMENTSOF(keep));
        if (r == 0)
                r = privileges_drop_registrar(&args->identity, args->credit.pinned);
        if (r == 0)
                r = sandbox_registrar();
        if (r < 0) {
                log_event(LOG_ERR, EVENT_CANNOT_START_SESSION, "cannot take its policy, or drop its privileges, and ends: %s", strerror(-r));
                _exit(EXIT_FAILURE);
        }
        registrar_run(&config, &uverbs_kernel, ledger);
}

static int start_registrar(const struct session_args *args, struct ledger *ledger, struct keeper_config *config) {
        int control[2], r;
        pid_t pid;

        r = control_pair(control);
        if (r < 0)
                return r;

        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0)
                be_registrar(args, control[1], ledger);

        pl_close(control[1]);
        pl_close(SESSION_FD_POLICY);
        config->control = control[0];
        config->introduction.registrar_pid = (uint32_t)pid;
        /* The child is not reaped before this, so the number is still its own. */
        config->registrar = pidfd_open(pid, 0);
        return config->registrar < 0 ? -errno : 0;
}

/* Nothing has been asked of the registrar yet, which may not be there: this is for the journal and for the app. */
static int give_up(const char *what, int error) {
        struct refusal refusal;
        struct pl_packet packet;

        log_event(LOG_ERR, EVENT_CANNOT_START_SESSION, "%s: %s", what, strerror(-error));
        (void)refuse(&refusal,
                     PINLEASE_CODE_NO_RESOURCES,
                     "The service could not start a session (%s). Try again; if it persists, the administrator finds "
                     "the reason in the journal of pinlease.service.",
                     strerror(-error));
        refusal_packet(&refusal, 0, 0, &packet);
        (void)pl_wire_send(SESSION_FD_CLIENT, MSG_DONTWAIT, &packet, -1);
        return EXIT_FAILURE;
}

static int run(const struct session_args *args) {
        struct keeper_config config = {
                .client = SESSION_FD_CLIENT,
                .supervisor = SESSION_FD_SUPERVISOR,
                .session_socket = args->session_socket[0] ? args->session_socket : NULL,
                .introduction = {
                        .magic = CONTROL_MAGIC,
                        .version = CONTROL_VERSION,
                        .session = args->session,
                        .app_pid = (uint32_t)args->app_pid,
                        .uid = args->identity.fsuid,
                        .gid = args->identity.fsgid,
                        .started_ms = pl_boottime_ms(),
                        .credit = args->credit,
                },
                .app = fcntl(SESSION_FD_APP, F_GETFD) < 0 ? -1 : SESSION_FD_APP,
                .pins_private = policy_pins_private(SESSION_FD_POLICY),
                .heartbeat_ms = args->heartbeat_ms,
                .hang_ms = args->hang_ms,
        };
        struct ledger ledger;
        int r;

        r = ledger_create((uint32_t)args->limits.registrations, &ledger);
        if (r < 0)
                return give_up("cannot create its ledger", r);

        r = start_registrar(args, &ledger, &config);
        if (r < 0)
                return give_up("cannot start its registrar", r);

        config.app_state = freeze_open_state(args->app_pid, config.app);
        r = ledger_keep_from_children(&ledger);
        if (r == 0)
                r = privileges_drop_keeper();
        if (r == 0)
                r = sandbox_keeper();
        if (r < 0) {
                log_event(LOG_ERR, EVENT_CANNOT_START_SESSION, "cannot drop its privileges and ends: %s", strerror(-r));
                return EXIT_FAILURE;
        }

        r = keeper_run(&config, &uverbs_kernel, &ledger);
        ledger_done(&ledger);
        return r;
}

/* Sessions end by the supervisor's word or the app's end, not by a Ctrl-C at the daemon's terminal or a `systemctl kill`
 * that means the daemon: keeper and registrar gone at once would leave memory registered. */
static void detach_from_terminal(void) {
        static const int signals[] = { SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE, SIGUSR1, SIGUSR2 };
        _cleanup_(pl_closep) int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        (void)setsid();
        for (size_t i = 0; i < ELEMENTSOF(signals); i++)
                (void)signal(signals[i], SIG_IGN);
        if (null >= 0) {
                (void)dup2(null, STDIN_FILENO);
                (void)dup2(null, STDOUT_FILENO);
        }
}

int main(int argc, char *argv[]) {
        struct session_args args;

        if (session_args_parse(argc, argv, &args) < 0 || fcntl(SESSION_FD_CLIENT, F_GETFD) < 0 ||
            fcntl(SESSION_FD_SUPERVISOR, F_GETFD) < 0) {
                (void)fprintf(stderr, "pinlease-session is a part of pinleased(8), which starts it; it has no use by itself.\n");
                return 2;
        }

        /* Descriptors that were handed over must not leak into what a later version may execute. */
        for (int fd = SESSION_FD_CLIENT; fd < SESSION_FD_CLIENT + SESSION_N_FDS; fd++)
                (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
        /* Executed by descriptor, whose number would be the name. */
        (void)prctl(PR_SET_NAME, "pinlease-session");
        detach_from_terminal();
        log_open("pinlease-session", LOG_JOURNAL_SOCKET);
        log_set_session(args.session, args.app_pid, args.identity.fsuid);
        (void)log_limit_use(SESSION_FD_LOG_LIMIT);
        pl_close(SESSION_FD_LOG_LIMIT);
        return run(&args);
}
