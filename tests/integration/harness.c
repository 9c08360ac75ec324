/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "harness.h"

#include <fnmatch.h>
#include <grp.h>
#include <inttypes.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "kernels.h"
#include "leftovers.h"
#include "matrix.h"

/* A case that hangs is killed. */
#define CASE_TIMEOUT_MS 60000
#define LONG_TIMEOUT_MS (5 * 60000)
#define SOAK_TIMEOUT_MS (4 * 3600000)

#define STATUS_FAILED 1
#define STATUS_SKIPPED 77

static const struct test_case *const all_cases[] = {
        cases_protocol,     cases_attach,         cases_memory,       cases_kernel,      cases_hanging,
        cases_limits,       cases_policy,         cases_flood,        cases_identity,    cases_transfer,
        cases_ending,       cases_drain,          cases_version,      cases_credit,      cases_model,
        cases_restart,      cases_campaign,       cases_lease,        cases_admin,       cases_ctl,
        cases_revoke,       cases_container,      cases_stranger,     cases_hostile,     cases_exhaust,
        cases_guard_modify, cases_poison,         cases_force,        cases_force_kill,  cases_lease_owner,
        cases_remount,      cases_notify,         cases_lease_many,   cases_lease_shared, cases_lease_ending,
        cases_lease_model,  cases_poison_session, cases_changed,      cases_explain, cases_table,
        cases_grant,        cases_deregister,     cases_memlock,      cases_policy_exporter,
        cases_dmabuf,       cases_dmabuf_session, cases_dmabuf_ends,
};

static void (*failure_hook)(void);

void at_failure(void (*function)(void)) {
        failure_hook = function;
}

void fail_at(const char *file, int line, const char *format, ...) {
        const char *base = strrchr(file, '/');
        char text[1024];
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(text, sizeof text, format, ap);
        va_end(ap);
        /* One write, so that two processes of a case do not mix their words. */
        (void)dprintf(STDOUT_FILENO, "%s:%d: %s\n", base ? base + 1 : file, line, text);
        if (failure_hook)
                failure_hook();
        _exit(STATUS_FAILED);
}

void skip(const char *format, ...) {
        char text[512];
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(text, sizeof text, format, ap);
        va_end(ap);
        (void)dprintf(STDOUT_FILENO, "%s\n", text);
        _exit(STATUS_SKIPPED);
}

bool netns_exclusive(void) {
        const char *mode = getenv("PINLEASE_VM_NETNS");

        return !mode || strcmp(mode, "shared") != 0;
}

struct app app_start(void (*function)(int channel, const void *argument), const void *argument) {
        struct app app;
        int pair[2];

        CHECK_CALL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair));
        app.pid = CHECK_CALL(fork());
        if (app.pid == 0) {
                /* A case that dies takes its apps along. */
                (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
                close(pair[0]);
                function(pair[1], argument);
                _exit(0);
        }
        close(pair[1]);
        app.channel = pair[0];
        app.pidfd = CHECK_CALL(pidfd_open(app.pid, 0));
        return app;
}

static int reap(struct app *app) {
        int status;

        await_readable(app->pidfd, "the end of an app");
        CHECK_CALL(waitpid(app->pid, &status, 0));
        close(app->pidfd);
        if (app->channel >= 0)
                close(app->channel);
        *app = (struct app) { .pid = -1, .pidfd = -1, .channel = -1 };
        return status;
}

void app_finish(struct app *app) {
        int status = reap(app);

        if (WIFEXITED(status) && WEXITSTATUS(status) == STATUS_SKIPPED)
                _exit(STATUS_SKIPPED);
        /* Why it failed it has said itself. */
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                FAIL("an app ended with wait status 0x%x", (unsigned int)status);
}

/* Not by closing: other children of the case have copies. */
void app_hang_up(struct app *app) {
        (void)shutdown(app->channel, SHUT_RDWR);
}

void app_kill(struct app *app) {
        CHECK_CALL(kill(app->pid, SIGKILL));
        (void)reap(app);
}

void app_reap(struct app *app) {
        (void)reap(app);
}

void tell_value(int channel, uint64_t value) {
        if (send(channel, &value, sizeof value, MSG_NOSIGNAL) != sizeof value)
                FAIL("the process at the other end is gone");
}

void await_packet(int channel, const char *what, void *packet, size_t size) {
        await_readable(channel, what);
        if (recv(channel, packet, size, 0) != (ssize_t)size)
                FAIL("the process at the other end, which was to send %s, is gone", what);
}

uint64_t await_value(int channel) {
        uint64_t value;

        await_packet(channel, "a word of another process", &value, sizeof value);
        return value;
}

void tell(int channel) {
        tell_value(channel, 0);
}

void await(int channel) {
        (void)await_value(channel);
}

bool round_done(int channel, uint64_t round, int pause_ms) {
        struct pollfd p = { .fd = channel, .events = POLLIN };

        /* Who asks is not kept waiting by the pause. */
        for (; poll(&p, 1, pause_ms) > 0; pause_ms = 0) {
                uint64_t question;

                if (recv(channel, &question, sizeof question, 0) <= 0)
                        return false;
                tell_value(channel, round);
        }
        return true;
}

void await_rounds(const struct app *app, uint64_t n) {
        uint64_t from, to;

        tell(app->channel);
        from = await_value(app->channel);
        do {
                tell(app->channel);
                to = await_value(app->channel);
        } while (to < from + n);
}

void await_end(int channel) {
        uint64_t value;

        await_readable(channel, "another process to end");
        if (recv(channel, &value, sizeof value, 0) > 0)
                FAIL("a word where an end was expected");
}

void become(const char *user) {
        const struct passwd *pw = getpwnam(user);

        if (!pw)
                FAIL("there is no user %s", user);
        CHECK_CALL(initgroups(user, pw->pw_gid));
        CHECK_CALL(setresgid(pw->pw_gid, pw->pw_gid, pw->pw_gid));
        CHECK_CALL(setresuid(pw->pw_uid, pw->pw_uid, pw->pw_uid));
}

void await_readable(int fd, const char *what) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        int r;

        do
                r = poll(&p, 1, PATIENCE_MS);
        while (r < 0 && errno == EINTR);
        if (r < 0)
                FAIL("poll: %m");
        if (r == 0)
                FAIL("waited %d ms in vain for %s", PATIENCE_MS, what);
}

bool eventually(bool (*is_so)(const void *argument), const void *argument) {
        uint64_t deadline = pl_now_ms() + PATIENCE_MS;

        while (!is_so(argument)) {
                if (pl_now_ms() > deadline)
                        return false;
                (void)nanosleep(&(struct timespec) { .tv_nsec = 10 * 1000 * 1000 }, NULL);
        }
        return true;
}

struct totals {
        unsigned int passed, failed, skipped;
};

/* The length of the line that begins at `from`, without its end. */
static size_t line_length(const char *text, size_t length, size_t from) {
        const char *end = memchr(text + from, '\n', length - from);

        return end ? (size_t)(end - text) - from : length - from;
}

/* The first line of what the case said is the reason, all of it goes below if there is more. What an instance of the
 * daemon logs begins with its level. */
static void report(const char *verdict, const char *name, const char *text, size_t length) {
        size_t reason = 0, n, lines = 0;

        while (reason < length && text[reason] == '<')
                reason += line_length(text, length, reason) + 1;
        if (reason >= length)
                reason = 0;
        printf("%s - %s%s%.*s\n",
               verdict,
               name,
               length ? ": " : "",
               (int)line_length(text, length, reason),
               text + reason);
        for (size_t from = 0; from < length; from += n + 1) {
                n = line_length(text, length, from);
                if (lines++ > 0 || from + n + 1 < length)
                        printf("#   %.*s\n", (int)n, text + from);
        }
        (void)fflush(stdout);
}

static int timeout_of(const struct test_case *c) {
        if (!(c->flags & CASE_LONG))
                return CASE_TIMEOUT_MS;
        return getenv("PINLEASE_SOAK") ? SOAK_TIMEOUT_MS : LONG_TIMEOUT_MS;
}

static int run_in_child(const struct test_case *c, int output) {
        _cleanup_(pl_closep) int pidfd = -1;
        struct pollfd p = { .events = POLLIN };
        int status;
        pid_t pid;

        pid = fork();
        if (pid < 0) {
                perror("fork");
                exit(2);
        }
        if (pid == 0) {
                (void)setpgid(0, 0);
                (void)dup2(output, STDOUT_FILENO);
                c->run(c->argument);
                (void)fflush(stdout);
                _exit(0);
        }
        (void)setpgid(pid, pid);

        p.fd = pidfd = pidfd_open(pid, 0);
        if (poll(&p, 1, timeout_of(c)) == 0) {
                (void)dprintf(output, "no end after %d ms\n", timeout_of(c));
                (void)kill(-pid, SIGKILL);
        }
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        /* What a failed case left of its own must not disturb the next. */
        if (status != 0)
                (void)kill(-pid, SIGKILL);
        return status;
}

static void run_case(const struct test_case *c, struct totals *totals) {
        int status, output = memfd_create("output", MFD_CLOEXEC);
        uint64_t began = pl_now_ms();
        struct leftovers before;
        char text[4096], left[512];
        bool clean;
        ssize_t n;

        if (output < 0) {
                perror("memfd_create");
                exit(2);
        }
        leftovers_note(&before);
        status = run_in_child(c, output);
        clean = leftovers_none(&before, left, sizeof left);
        n = pread(output, text, sizeof text, 0);
        close(output);
        if (n < 0)
                n = 0;

        if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && clean) {
                totals->passed++;
                printf("ok - %s\n", c->name);
                for (ssize_t i = 0, from = 0; i < n; i++)
                        if (text[i] == '\n') {
                                /* What an instance of the daemon logs is of interest after a failure. */
                                if (text[from] != '<')
                                        printf("#   %.*s\n", (int)(i - from), text + from);
                                from = i + 1;
                        }
                (void)fflush(stdout);
        } else if (WIFEXITED(status) && WEXITSTATUS(status) == STATUS_SKIPPED && clean && n > 0) {
                totals->skipped++;
                report("skip", c->name, text, (size_t)n);
        } else {
                totals->failed++;
                if (n == 0)
                        n = snprintf(text,
                                     sizeof text,
                                     status == 0 ? "leaves something behind\n" : "wait status 0x%x, without a word\n",
                                     (unsigned int)status);
                report("not ok", c->name, text, (size_t)n);
                if (!clean)
                        printf("#   left behind: %s\n", left);
        }
        if (getenv("PINLEASE_TEST_TIMES"))
                printf("#   %" PRIu64 " ms\n", pl_now_ms() - began);
        (void)fflush(stdout);
}

static bool wanted(const struct test_case *c, int n, char *const patterns[]) {
        unsigned int flags = c->flags & CASE_ANYWHERE ? c->flags : c->flags | CASE_SHARED;

        if (!(flags & (netns_exclusive() ? CASE_EXCLUSIVE : CASE_SHARED)))
                return false;
        if (n == 0)
                return true;
        for (int i = 0; i < n; i++)
                if (fnmatch(patterns[i], c->name, 0) == 0)
                        return true;
        return false;
}

/* PINLEASE_TEST_PART=K/N: every Nth of those that are wanted, the Kth first. */
static bool is_ours(void) {
        static unsigned int turn, part = 1, parts = 1;
        const char *text = getenv("PINLEASE_TEST_PART");

        if (turn++ == 0 && text && (sscanf(text, "%u/%u", &part, &parts) != 2 || part < 1 || part > parts)) {
                (void)fprintf(stderr, "PINLEASE_TEST_PART is '%s': give a part and their number, as 1/2\n", text);
                exit(2);
        }
        return turn % parts == part % parts;
}

int main(int argc, char *argv[]) {
        struct totals totals = { 0 };
        char left[512];

        (void)signal(SIGPIPE, SIG_IGN);
        if (argc == 2 && strcmp(argv[1], "matrix") == 0)
                return matrix_print();
        if (argc == 2 && strcmp(argv[1], "kernel") == 0)
                return kernels_print();
        if (argc == 2 && strcmp(argv[1], "leftovers") == 0) {
                /* For scripts: is anything there now that should not be? */
                const struct leftovers none = { 0 };

                if (leftovers_none(&none, left, sizeof left))
                        return 0;
                printf("left behind: %s\n", left);
                return 1;
        }

        for (size_t i = 0; i < ELEMENTSOF(all_cases); i++)
                for (const struct test_case *c = all_cases[i]; c->name; c++)
                        if (argc > 1 && strcmp(argv[1], "--list") == 0)
                                printf("%s\n", c->name);
                        else if (wanted(c, argc - 1, argv + 1) && is_ours())
                                run_case(c, &totals);

        if (argc > 1 && strcmp(argv[1], "--list") == 0)
                return 0;
        printf("%u passed, %u failed, %u skipped\n", totals.passed, totals.failed, totals.skipped);
        return totals.failed > 0;
}
