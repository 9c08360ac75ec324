/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "instance.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "harness.h"

#define MAX_OPTIONS 16

static _Noreturn void become_pinleased(const struct instance *instance,
                                       const char *program,
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
        (void)execv(program, argv);
        FAIL("%s: %m", program);
}

/* Returns where it says that it is ready. */
static int launch(struct instance *instance, const char *program, const char *const *options, void (*prepare)(void)) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int notify;

        (void)snprintf(address.sun_path, sizeof address.sun_path, "%s.notify", instance->directory);
        (void)unlink(address.sun_path);
        notify = CHECK_CALL(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        CHECK_CALL(bind(notify, (const struct sockaddr *)&address, sizeof address));

        instance->pid = CHECK_CALL(fork());
        if (instance->pid == 0)
                become_pinleased(instance, program, options, address.sun_path, prepare);
        instance->pidfd = CHECK_CALL(pidfd_open(instance->pid, 0));
        return notify;
}

static void await_ready(const struct instance *instance, int notify) {
        char message[256] = "", path[80];

        while (!strstr(message, "READY=1")) {
                await_readable(notify, "pinleased to be ready");
                memset(message, 0, sizeof message);
                CHECK_CALL(recv(notify, message, sizeof message - 1, 0));
        }
        close(notify);
        (void)snprintf(path, sizeof path, "%s.notify", instance->directory);
        (void)unlink(path);
}

static struct instance start(const char *program, const char *const *options, void (*prepare)(void)) {
        struct instance instance = { 0 };

        (void)snprintf(instance.directory, sizeof instance.directory, "/run/pinlease-test-%d", (int)getpid());
        (void)snprintf(instance.path, sizeof instance.path, "%s/client.sock", instance.directory);
        await_ready(&instance, launch(&instance, program, options, prepare));
        return instance;
}

struct instance instance_start(const char *const *options) {
        return start(PINLEASED, options, NULL);
}

struct instance instance_start_prepared(const char *const *options, void (*prepare)(void)) {
        return start(PINLEASED, options, prepare);
}

void instance_to_journal(void) {
        char stream[64];
        struct stat st;

        /* What is to be its standard error. */
        CHECK_CALL(fstat(STDOUT_FILENO, &st));
        (void)snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
        CHECK_CALL(setenv("JOURNAL_STREAM", stream, 1));
}

struct instance instance_start_program(const char *program, const char *const *options) {
        return start(program, options, NULL);
}

void instance_succeed(struct instance *instance, const char *const *options) {
        await_ready(instance, launch(instance, PINLEASED, options, NULL));
}

void instance_succeed_soon(struct instance *instance, const char *const *options) {
        close(launch(instance, PINLEASED, options, NULL));
}

static int end(struct instance *instance, int signal) {
        int status;

        CHECK_CALL(kill(instance->pid, signal));
        await_readable(instance->pidfd, "pinleased to stop");
        CHECK_CALL(waitpid(instance->pid, &status, 0));
        instance->pidfd = pl_close(instance->pidfd);
        return status;
}

void instance_kill(struct instance *instance) {
        (void)end(instance, SIGKILL);
}

void instance_leave(struct instance *instance) {
        CHECK_EQUAL(end(instance, SIGTERM), 0);
}

void instance_stop(struct instance *instance) {
        CHECK_EQUAL(end(instance, SIGINT), 0);
        /* It made the sockets' files, so it removes them. */
        CHECK(access(instance->path, F_OK) < 0);
}
