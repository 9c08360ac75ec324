/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "service.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "harness.h"
#include "process.h"

#define DROP_IN "/run/systemd/system/pinlease.service.d"

pid_t command_start(const char *text) {
        pid_t pid = CHECK_CALL(fork());

        if (pid == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                (void)dup2(STDOUT_FILENO, STDERR_FILENO);
                (void)execl("/bin/sh", "sh", "-c", text, (char *)NULL);
                _exit(127);
        }
        return pid;
}

void command_finish(pid_t pid) {
        int status;

        CHECK_CALL(waitpid(pid, &status, 0));
        if (status != 0)
                FAIL("a command ended with wait status 0x%x", (unsigned int)status);
}

void command(const char *text) {
        int status;

        CHECK_CALL(waitpid(command_start(text), &status, 0));
        if (status != 0)
                FAIL("%s: wait status 0x%x", text, (unsigned int)status);
}

void command_line(const char *text, char *ret_line, size_t size) {
        FILE *f = popen(text, "re");

        CHECK(f);
        ret_line[0] = 0;
        if (fgets(ret_line, (int)size, f))
                ret_line[strcspn(ret_line, "\n")] = 0;
        (void)pclose(f);
}

struct search {
        pid_t old, *found;
};

static bool is_other(const void *argument) {
        const struct search *s = argument;

        *s->found = process_daemon();
        return *s->found > 0 && *s->found != s->old;
}

pid_t service_await_other(pid_t old) {
        pid_t found;

        if (!eventually(is_other, &(const struct search) { old, &found }))
                FAIL("systemd has started no new pinleased");
        return found;
}

void service_drop_in(const char *text) {
        FILE *f;

        (void)mkdir(DROP_IN, 0755);
        f = fopen(DROP_IN "/test.conf", "we");
        CHECK(f);
        (void)fputs(text, f);
        CHECK_EQUAL(fclose(f), 0);
        command("systemctl daemon-reload");
}

void service_drop_out(void) {
        CHECK_CALL(unlink(DROP_IN "/test.conf"));
        CHECK_CALL(rmdir(DROP_IN));
        command("systemctl daemon-reload");
}
