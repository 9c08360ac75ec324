/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "admin.h"
#include "harness.h"
#include "schema.h"

#define MAX_ARGUMENTS 16

static int new_output(void) {
        return CHECK_CALL(memfd_create("output", MFD_CLOEXEC));
}

static char *read_output(int fd) {
        struct stat st;
        char *text;

        CHECK_CALL(fstat(fd, &st));
        text = malloc((size_t)st.st_size + 1);
        CHECK(text);
        CHECK(pread(fd, text, (size_t)st.st_size, 0) == st.st_size);
        text[st.st_size] = 0;
        /* Whatever names there are: no NUL among it. */
        CHECK_EQUAL(strlen(text), st.st_size);
        close(fd);
        return text;
}

static struct ctl_job begin(const char *program, const char *user, const char *const arguments[]) {
        struct ctl_job job = { .out = new_output(), .err = new_output() };

        job.pid = CHECK_CALL(fork());
        if (job.pid == 0) {
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (user)
                        become(user);
                (void)dup2(job.out, STDOUT_FILENO);
                (void)dup2(job.err, STDERR_FILENO);
                (void)execvp(program, (char **)(uintptr_t)arguments);
                FAIL("%s: %m", program);
        }
        job.pidfd = CHECK_CALL(pidfd_open(job.pid, 0));
        return job;
}

struct ctl_answer ctl_end(struct ctl_job *job) {
        struct ctl_answer answer;
        int status;

        await_readable(job->pidfd, "the end of a program");
        CHECK_CALL(waitpid(job->pid, &status, 0));
        CHECK(WIFEXITED(status));
        close(job->pidfd);
        answer = (struct ctl_answer) {
                .status = WEXITSTATUS(status),
                .out = read_output(job->out),
                .err = read_output(job->err),
        };
        return answer;
}

struct ctl_job ctl_begin(const struct ctl *ctl, const char *const arguments[]) {
        const char *argv[MAX_ARGUMENTS + 4] = { "pinleasectl" };
        char path[128];
        size_t n = 1;

        if (ctl && ctl->directory) {
                (void)snprintf(path, sizeof path, "%s/admin.sock", ctl->directory);
                argv[n++] = "--socket";
                argv[n++] = path;
        }
        while (*arguments && n < ELEMENTSOF(argv) - 1)
                argv[n++] = *arguments++;
        return begin(PINLEASECTL, ctl ? ctl->user : NULL, argv);
}

struct ctl_answer ctl_run_array(const struct ctl *ctl, const char *const arguments[]) {
        struct ctl_job job = ctl_begin(ctl, arguments);

        return ctl_end(&job);
}

static void collect(const char *argv[static MAX_ARGUMENTS], va_list ap) {
        size_t n = 0;

        while (n < MAX_ARGUMENTS - 1 && (argv[n] = va_arg(ap, const char *)))
                n++;
        argv[n] = NULL;
}

struct ctl_answer ctl_run(const struct ctl *ctl, ...) {
        const char *argv[MAX_ARGUMENTS];
        va_list ap;

        va_start(ap, ctl);
        collect(argv, ap);
        va_end(ap);
        return ctl_run_array(ctl, argv);
}

void ctl_done(struct ctl_answer *answer) {
        free(answer->out);
        free(answer->err);
        *answer = (struct ctl_answer) { 0 };
}

void ctl_expect(const struct ctl_answer *answer, int status) {
        if (answer->status != status)
                FAIL("status %d, should be %d; it said: %s%s", answer->status, status, answer->err, answer->out);
}

static struct json_object *parse_lines(const char *text) {
        struct json_object *documents = json_object_new_array();
        struct json_tokener *tokener = json_tokener_new();

        json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
        for (const char *line = text, *end; *line; line = end + 1) {
                struct json_object *object;

                end = strchr(line, '\n');
                if (!end)
                        FAIL("the last line has no end: %.200s", line);
                json_tokener_reset(tokener);
                object = json_tokener_parse_ex(tokener, line, (int)(end - line) + 1);
                if (!json_object_is_type(object, json_type_object))
                        FAIL("not a JSON object: %.200s", line);
                CHECK_EQUAL(json_object_array_add(documents, object), 0);
        }
        json_tokener_free(tokener);
        return documents;
}

struct json_object *ctl_documents(const char *command, struct ctl_answer *answer) {
        struct json_object *documents = parse_lines(answer->out);

        schema_check(command, documents);
        ctl_done(answer);
        return documents;
}

struct json_object *ctl_json(const struct ctl *ctl, ...) {
        const char *argv[MAX_ARGUMENTS + 1] = { "--json" };
        struct ctl_answer answer;
        va_list ap;

        va_start(ap, ctl);
        collect(argv + 1, ap);
        va_end(ap);
        answer = ctl_run_array(ctl, argv);
        ctl_expect(&answer, CTL_DONE);
        CHECK_EQUAL(strlen(answer.err), 0);
        /* The command comes first, by the tests' own custom. */
        return ctl_documents(argv[1], &answer);
}

int ctl_try_connect(const struct ctl *ctl) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int error, sock = CHECK_CALL(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));

        (void)snprintf(address.sun_path,
                       sizeof address.sun_path,
                       "%s/admin.sock",
                       ctl && ctl->directory ? ctl->directory : "/run/pinlease");
        if (connect(sock, (const struct sockaddr *)&address, sizeof address) == 0)
                return sock;
        error = errno;
        close(sock);
        return -error;
}

int ctl_connect(const struct ctl *ctl) {
        int sock = ctl_try_connect(ctl);

        if (sock < 0)
                FAIL("connect to admin.sock: %s", strerror(-sock));
        return sock;
}

int ctl_try_call(int sock, const char *json) {
        static struct pl_admin_packet packet;
        size_t size = sizeof packet.header + strlen(json);

        packet.header = (struct pl_header) {
                .magic = PL_MAGIC,
                .version = PL_VERSION,
                .opcode = PL_ADMIN_CALL,
                .seq = 1,
                .length = (uint32_t)size,
        };
        memcpy(packet.body, json, strlen(json));
        return send(sock, &packet, size, MSG_NOSIGNAL) == (ssize_t)size ? 0 : -errno;
}

void ctl_call(int sock, const char *json) {
        int r = ctl_try_call(sock, json);

        if (r < 0)
                FAIL("a call to admin.sock: %s", strerror(-r));
}

struct json_object *ctl_receive(int sock, bool *ret_end) {
        static struct pl_admin_packet packet;
        struct json_object *object;
        ssize_t n;

        await_readable(sock, "an answer to an administrator");
        n = recv(sock, &packet, sizeof packet - 1, 0);
        if (n <= 0)
                return NULL;
        CHECK(n >= (ssize_t)sizeof packet.header);
        CHECK_EQUAL(packet.header.length, n);
        packet.body[(size_t)n - sizeof packet.header] = 0;
        object = json_tokener_parse(packet.body);
        if (!object)
                FAIL("no JSON: %s", packet.body);
        *ret_end = packet.header.opcode == PL_ADMIN_END;
        return object;
}

struct json_object *ctl_last(struct json_object *documents) {
        size_t n = json_object_array_length(documents);

        CHECK(n > 0);
        return json_object_array_get_idx(documents, n - 1);
}

struct json_object *ctl_get(struct json_object *object, const char *name) {
        struct json_object *value;

        if (!json_object_object_get_ex(object, name, &value))
                FAIL("no %s in %s", name, json_object_to_json_string(object));
        return value;
}

long long ctl_number(struct json_object *object, const char *name) {
        return json_object_get_int64(ctl_get(object, name));
}

const char *ctl_text(struct json_object *object, const char *name) {
        return json_object_get_string(ctl_get(object, name));
}

static bool is_type(struct json_object *object, const char *type) {
        struct json_object *value;

        return json_object_object_get_ex(object, "type", &value) && strcmp(json_object_get_string(value), type) == 0;
}

struct json_object *ctl_find(struct json_object *documents, const char *type, const char *name, const char *value) {
        for (size_t i = 0; i < json_object_array_length(documents); i++) {
                struct json_object *object = json_object_array_get_idx(documents, i);

                if (is_type(object, type) && strcmp(ctl_text(object, name), value) == 0)
                        return object;
        }
        return NULL;
}

unsigned int ctl_count(struct json_object *documents, const char *type) {
        unsigned int n = 0;

        for (size_t i = 0; i < json_object_array_length(documents); i++)
                n += is_type(json_object_array_get_idx(documents, i), type);
        return n;
}

struct json_object *ctl_journal(const char *match, ...) {
        const char *argv[MAX_ARGUMENTS + 4] = { "journalctl", "--boot", "--output=json", match };
        struct ctl_answer answer;
        struct ctl_job job;
        struct json_object *lines;
        va_list ap;

        job = begin("journalctl", NULL, (const char *const[]) { "journalctl", "--sync", NULL });
        answer = ctl_end(&job);
        ctl_expect(&answer, 0);
        ctl_done(&answer);

        va_start(ap, match);
        collect(argv + 4, ap);
        va_end(ap);
        job = begin("journalctl", NULL, argv);
        answer = ctl_end(&job);
        /* 1: nothing matches. */
        if (answer.status != 1)
                ctl_expect(&answer, 0);
        lines = parse_lines(answer.out);
        ctl_done(&answer);
        return lines;
}

unsigned int ctl_said(const struct ctl_message *message, pid_t app) {
        char pid[48], identifier[64];
        struct json_object *lines;
        unsigned int n;

        (void)snprintf(pid, sizeof pid, "PINLEASE_PID=%d", (int)app);
        (void)snprintf(identifier, sizeof identifier, "SYSLOG_IDENTIFIER=%s", message->identifier);
        lines = ctl_journal(message->id, pid, "PINLEASE_UID=0", identifier, NULL);
        n = (unsigned int)json_object_array_length(lines);
        for (unsigned int i = 0; i < n; i++) {
                struct json_object *line = json_object_array_get_idx(lines, i);

                if (strcmp(ctl_text(line, "PRIORITY"), message->priority) != 0)
                        FAIL("%s: the priority is %s: %s",
                             message->id,
                             ctl_text(line, "PRIORITY"),
                             ctl_text(line, "MESSAGE"));
                CHECK(strtoull(ctl_text(line, "PINLEASE_SESSION"), NULL, 10) > 0);
        }
        json_object_put(lines);
        return n;
}

struct expected {
        const struct ctl_message *message;
        pid_t app;
        unsigned int times;
};

static bool is_said(const void *argument) {
        const struct expected *e = argument;

        return ctl_said(e->message, e->app) >= e->times;
}

void ctl_await_said(const struct ctl_message *message, pid_t app) {
        CHECK(eventually(is_said, &(const struct expected) { message, app, 1 }));
}

void ctl_expect_said(const struct ctl_message *message, pid_t app, unsigned int times) {
        (void)eventually(is_said, &(const struct expected) { message, app, times });
        CHECK_EQUAL(ctl_said(message, app), times);
}
