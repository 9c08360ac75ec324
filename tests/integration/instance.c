/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "instance.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "harness.h"

#define MAX_OPTIONS 16

static _Noreturn void become_pinleased(const struct instance *instance,
                                       const char *const *options,
                                       const char *notify,
                                       void (*prepare)(void)) {
        char *argv[MAX_OPTIONS + 4] = { (char *)"pinleased", (char *)"--runtime-directory", (char *)instance->directory };
        size_t n = 3;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (prepare)
                prepare();
        (void)dup2(STDOUT_FILENO, STDERR_FILENO);
        CHECK_CALL(setenv("NOTIFY_SOCKET", notify, 1));
        while (options && *options && n < ELEMENTSOF(argv) - 1)
                argv[n++] = (char *)*options++;
        (void)execv(PINLEASED, argv);
        FAIL("%s: %m", PINLEASED);
}

struct instance instance_start(const char *const *options) {
        return instance_start_prepared(options, NULL);
}

struct instance instance_start_prepared(const char *const *options, void (*prepare)(void)) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        struct instance instance = { 0 };
        char message[256] = "";
        int notify;

        (void)snprintf(instance.directory, sizeof instance.directory, "/run/pinlease-test-%d", (int)getpid());
        (void)snprintf(instance.path, sizeof instance.path, "%s/client.sock", instance.directory);
        (void)snprintf(address.sun_path, sizeof address.sun_path, "/run/pinlease-test-%d.notify", (int)getpid());
        (void)unlink(address.sun_path);
        notify = CHECK_CALL(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        CHECK_CALL(bind(notify, (const struct sockaddr *)&address, sizeof address));

        instance.pid = CHECK_CALL(fork());
        if (instance.pid == 0)
                become_pinleased(&instance, options, address.sun_path, prepare);
        instance.pidfd = CHECK_CALL(pidfd_open(instance.pid, 0));

        while (!strstr(message, "READY=1")) {
                await_readable(notify, "pinleased to be ready");
                memset(message, 0, sizeof message);
                CHECK_CALL(recv(notify, message, sizeof message - 1, 0));
        }
        close(notify);
        (void)unlink(address.sun_path);
        return instance;
}

void instance_stop(struct instance *instance) {
        int status;

        CHECK_CALL(kill(instance->pid, SIGINT));
        await_readable(instance->pidfd, "pinleased to stop");
        CHECK_CALL(waitpid(instance->pid, &status, 0));
        CHECK_EQUAL(status, 0);
        close(instance->pidfd);
        /* It made the sockets' files, so it removes them. */
        CHECK(access(instance->path, F_OK) < 0);
}
