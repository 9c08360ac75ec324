/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "process.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "harness.h"
#include "proc.h"

/* comm is cut to 15 characters. */
#define COMM "pinlease-sessio"

void write_file(const char *path, const char *text) {
        int fd = CHECK_CALL(open(path, O_WRONLY | O_CLOEXEC));

        if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
                FAIL("%s: %m", path);
        close(fd);
}

static bool is_service(pid_t pid) {
        char comm[32];

        return proc_read(pid, "comm", comm, sizeof comm) && strncmp(comm, COMM, strlen(COMM)) == 0;
}

static bool is_not_pinleased(pid_t pid) {
        char comm[32];

        return proc_read(pid, "comm", comm, sizeof comm) && strcmp(comm, "pinleased\n") != 0;
}

static void for_each(void (*function)(pid_t pid, void *userdata), void *userdata) {
        if (!proc_each(function, userdata))
                FAIL("/proc: %m");
}

unsigned int process_fds(pid_t pid, const char *what) {
        char path[64], target[256];
        unsigned int n = 0;
        struct dirent *e;
        DIR *d;

        (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
        d = opendir(path);
        if (!d)
                return 0;
        while ((e = readdir(d))) {
                ssize_t k;

                if (e->d_name[0] == '.')
                        continue;
                k = what ? readlinkat(dirfd(d), e->d_name, target, sizeof target - 1) : 0;
                if (k < 0)
                        continue;
                target[k] = 0;
                n += !what || strstr(target, what);
        }
        (void)closedir(d);
        return n;
}

static FILE *open_maps(pid_t pid) {
        char path[64];

        (void)snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
        return fopen(path, "re");
}

unsigned int process_maps(pid_t pid, const char *what) {
        unsigned int n = 0;
        char line[512];
        FILE *f = open_maps(pid);

        if (!f)
                return 0;
        while (fgets(line, sizeof line, f))
                n += strstr(line, what) != NULL;
        (void)fclose(f);
        return n;
}

uint64_t process_mapped_address(pid_t pid, const char *what, uint64_t *ret_length) {
        uint64_t from, to, found = 0;
        char line[512];
        FILE *f = open_maps(pid);

        if (!f)
                return 0;
        while (!found && fgets(line, sizeof line, f))
                if (strstr(line, what) && sscanf(line, "%" SCNx64 "-%" SCNx64, &from, &to) == 2) {
                        found = from;
                        *ret_length = to - from;
                }
        (void)fclose(f);
        return found;
}

struct counter {
        enum process_kind kind;
        unsigned int n;
};

static void count(pid_t pid, void *userdata) {
        struct counter *c = userdata;

        if (c->kind == PROCESS_SERVICE)
                c->n += is_service(pid);
        else
                c->n += is_not_pinleased(pid) &&
                        (process_fds(pid, "pinlease-ledger") > 0 || process_maps(pid, "pinlease-ledger") > 0);
}

unsigned int process_count(enum process_kind kind) {
        struct counter c = { .kind = kind };

        for_each(count, &c);
        return c.n;
}

bool process_status(pid_t pid, const char *name, char *ret_value, size_t size) {
        char text[4096], *line, *end;
        size_t n = strlen(name);

        if (!proc_read(pid, "status", text, sizeof text))
                return false;
        for (line = text; line; line = end ? end + 1 : NULL) {
                end = strchr(line, '\n');
                if (strncmp(line, name, n) != 0 || line[n] != ':')
                        continue;
                if (end)
                        *end = 0;
                (void)snprintf(ret_value, size, "%s", line + n + 1 + strspn(line + n + 1, "\t "));
                return true;
        }
        return false;
}

bool process_waits_for_lease(pid_t pid) {
        char where[64];

        return proc_read(pid, "wchan", where, sizeof where) && strstr(where, "break_lease");
}

uint64_t process_memlock(pid_t pid) {
        unsigned long long soft, hard;
        char text[4096], *line;

        if (!proc_read(pid, "limits", text, sizeof text) || !(line = strstr(text, "\nMax locked memory")) ||
            sscanf(line, " Max locked memory %llu %llu", &soft, &hard) != 2)
                FAIL("process %d: no limit of locked memory", (int)pid);
        CHECK_EQUAL(soft, hard);
        return soft;
}

static void match_daemon(pid_t pid, void *userdata) {
        char comm[32], value[32];

        /* Instances are children of cases. */
        if (proc_read(pid, "comm", comm, sizeof comm) && strcmp(comm, "pinleased\n") == 0 &&
            process_status(pid, "PPid", value, sizeof value) && strcmp(value, "1") == 0)
                *(pid_t *)userdata = pid;
}

pid_t process_daemon(void) {
        pid_t found = 0;

        for_each(match_daemon, &found);
        return found;
}

struct search {
        pid_t app;
        struct session found;
};

static void match(pid_t pid, void *userdata) {
        struct search *s = userdata;
        char cmdline[1024], value[64];
        int app = -1;

        if (!is_service(pid) || !proc_read(pid, "cmdline", cmdline, sizeof cmdline))
                return;
        /* The arguments are separated by NUL; the text ends at the third. */
        for (const char *p = cmdline; p < cmdline + sizeof cmdline - 16 && *p; p += strlen(p) + 1)
                if (sscanf(p, "--client-pid=%d", &app) == 1)
                        break;
        if (app != s->app || !process_status(pid, "Uid", value, sizeof value))
                return;

        /* The keeper stays root, without root's capabilities. Its throw-away children are its image, and live for a
         * moment: whoever has the app's socket is not one of them. */
        if (strtoul(value, NULL, 10) != 0)
                s->found.registrar = pid;
        else if (process_fds(pid, "socket:") > 1)
                s->found.keeper = pid;
}

bool session_find(pid_t app, struct session *ret_session) {
        struct search s = { .app = app };

        for_each(match, &s);
        *ret_session = s.found;
        return s.found.keeper && s.found.registrar;
}

static bool session_is_there(const void *argument) {
        struct session session;
        char value[64];

        /* NoNewPrivs is the last but one thing that it does to itself. */
        return session_find(*(const pid_t *)argument, &session) &&
               process_status(session.registrar, "NoNewPrivs", value, sizeof value) && strcmp(value, "1") == 0;
}

struct session session_of(pid_t app) {
        struct session session;

        if (!eventually(session_is_there, &app) || !session_find(app, &session))
                FAIL("process %d has no session", (int)app);
        session.keeper_fd = CHECK_CALL(pidfd_open(session.keeper, 0));
        session.registrar_fd = CHECK_CALL(pidfd_open(session.registrar, 0));
        return session;
}

void session_await_end(struct session *session) {
        await_readable(session->registrar_fd, "the registrar's end");
        await_readable(session->keeper_fd, "the keeper's end");
        close(session->registrar_fd);
        close(session->keeper_fd);
}
