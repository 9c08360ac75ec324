/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who may use the service, and as whom its processes run. */

#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include "fixture.h"
#include "harness.h"
#include "process.h"

#define PAGE 4096
#define SERVICE "pinlease"

static uid_t uid_of(const char *user) {
        const struct passwd *pw = getpwnam(user);

        if (!pw)
                FAIL("there is no user %s", user);
        return pw->pw_uid;
}

/* A session with something registered, until the channel ends. */
static void user_app(int channel, const void *argument) {
        struct memory memory;
        struct fixture f;

        become(argument);
        f = fixture_open(NULL);
        memory = memory_new(MEMORY_MEMFD, 16 * PAGE);
        (void)fixture_register(&f, &memory, PINLEASE_METHOD_PINNED);
        (void)fixture_register(&f, &memory, PINLEASE_METHOD_ODP);
        tell(channel);
        await_end(channel);
        fixture_close(&f);
}

static void run_stranger(const void *argument _unused_) {
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/run/pinlease/client.sock" };
        int sock;

        become("mallory");
        sock = CHECK_CALL(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
        CHECK(connect(sock, (const struct sockaddr *)&address, sizeof address) < 0);
        CHECK_EQUAL(errno, EACCES);
}

/* 1 GiB pinned for a user whose own limit is 8 MiB is what the service is for; 16 MiB show it. */
static void run_member(const void *argument _unused_) {
        struct rlimit rl;
        struct memory memory;
        struct pl_register_reply r;
        struct fixture f;

        enter_host("hosta");
        become("alice");
        CHECK_CALL(getrlimit(RLIMIT_MEMLOCK, &rl));
        CHECK(rl.rlim_max <= 8 << 20);
        f = fixture_open(NULL);
        memory = memory_new(MEMORY_MEMFD, 16 << 20);
        CHECK(!ibv_reg_mr(f.rdma.pd, memory.start, memory.length, IBV_ACCESS_LOCAL_WRITE));
        CHECK_EQUAL(errno, ENOMEM);
        r = fixture_register(&f, &memory, PINLEASE_METHOD_PINNED);
        rdma_connect(&f.rdma);
        rdma_transfer(&f.rdma, r.iova, r.rkey, memory.start, 2 << 20, 1);
        fixture_close(&f);
        memory_free(&memory);
}

static void expect_status(pid_t pid, const char *name, const char *should) {
        char value[256];

        if (!process_status(pid, name, value, sizeof value))
                FAIL("/proc/%d/status has no %s", (int)pid, name);
        if (strcmp(value, should) != 0)
                FAIL("%s is \"%s\", should be \"%s\"", name, value, should);
}

/* They are not what to kill first when memory is short, and not never (pinlease.service). */
static void expect_badness(pid_t pid) {
        char path[64], line[16] = "";
        FILE *f;

        (void)snprintf(path, sizeof path, "/proc/%d/oom_score_adj", (int)pid);
        f = fopen(path, "re");
        CHECK(f && fgets(line, sizeof line, f));
        (void)fclose(f);
        CHECK_EQUAL(atoi(line), -500);
}

/* Filters of system calls: those of the unit, which pinleased has, and one of its own. */
static void expect_own_filter(pid_t pid) {
        char unit[16], own[16];

        CHECK(process_status(process_daemon(), "Seccomp_filters", unit, sizeof unit));
        CHECK(process_status(pid, "Seccomp_filters", own, sizeof own));
        CHECK(atoi(unit) > 0);
        CHECK_EQUAL(atoi(own), atoi(unit) + 1);
}

static void run_registrar(const void *argument _unused_) {
        struct app app = app_start(user_app, "alice");
        unsigned int service = uid_of(SERVICE), alice = uid_of("alice");
        char text[128], path[64];
        struct session session;
        struct stat st;

        await(app.channel);
        session = session_of(app.pid);

        /* real, effective, saved, file system */
        (void)snprintf(text, sizeof text, "%u\t%u\t%u\t%u", service, service, service, alice);
        expect_status(session.registrar, "Uid", text);
        expect_status(session.registrar, "Groups", "");
        expect_status(session.registrar, "CapInh", "0000000000000000");
        expect_status(session.registrar, "CapPrm", "0000000000000000");
        expect_status(session.registrar, "CapEff", "0000000000000000");
        expect_status(session.registrar, "CapAmb", "0000000000000000");
        expect_status(session.registrar, "NoNewPrivs", "1");
        expect_status(session.registrar, "Threads", "1");
        CHECK_EQUAL(process_fds(session.registrar, "/uverbs"), 1);
        /* Mapped, and open once, for its guards. */
        CHECK_EQUAL(process_fds(session.registrar, "pl-test"), 1);
        CHECK(process_maps(session.registrar, "pl-test") > 0);

        /* Undumpable: what is its own in /proc belongs to root. */
        (void)snprintf(path, sizeof path, "/proc/%d/mem", (int)session.registrar);
        CHECK_CALL(stat(path, &st));
        CHECK_EQUAL(st.st_uid, 0);

        /* The keeper: root's number, and of root's power only to kill. */
        expect_status(session.keeper, "Uid", "0\t0\t0\t0");
        expect_status(session.keeper, "CapEff", "0000000011000020");
        expect_status(session.keeper, "CapPrm", "0000000011000020");
        expect_status(session.keeper, "NoNewPrivs", "1");
        CHECK_EQUAL(process_fds(session.keeper, "/uverbs"), 1);
        CHECK_EQUAL(process_fds(session.keeper, "pl-test"), 0);
        CHECK_EQUAL(process_maps(session.keeper, "pl-test"), 0);

        expect_own_filter(session.registrar);
        expect_own_filter(session.keeper);
        expect_badness(session.registrar);
        expect_badness(session.keeper);

        app_hang_up(&app);
        app_finish(&app);
        session_await_end(&session);
}

struct victim {
        const struct session *session;
        const char *user;
};

static void expect_error(const char *what, long result, int error) {
        if (result >= 0)
                FAIL("%s succeeds", what);
        if (errno != error)
                FAIL("%s: %m", what);
}

/* Everything that one process can do to another. */
static void attack(int channel _unused_, const void *argument) {
        const struct victim *v = argument;
        const pid_t pids[] = { v->session->registrar, v->session->keeper };
        const struct rlimit rl = { 0, 0 };
        /* Killing is a matter of user numbers, all the rest of being dumpable. */
        bool same = strcmp(v->user, SERVICE) == 0;

        become(v->user);
        for (size_t i = 0; i < ELEMENTSOF(pids); i++) {
                char path[64];
                int pidfd;

                if (!same || i > 0) {
                        expect_error("kill 0", kill(pids[i], 0), EPERM);
                        expect_error("SIGSTOP", kill(pids[i], SIGSTOP), EPERM);
                        expect_error("SIGKILL", kill(pids[i], SIGKILL), EPERM);
                }
                expect_error("ptrace", ptrace(PTRACE_ATTACH, pids[i], 0, 0), EPERM);
                expect_error("ptrace (seize)", ptrace(PTRACE_SEIZE, pids[i], 0, 0), EPERM);
                if (!same || i > 0)
                        expect_error("prlimit", prlimit(pids[i], RLIMIT_MEMLOCK, &rl, NULL), EPERM);
                (void)snprintf(path, sizeof path, "/proc/%d/mem", (int)pids[i]);
                expect_error(path, open(path, O_RDWR), EACCES);
                (void)snprintf(path, sizeof path, "/proc/%d/fd", (int)pids[i]);
                expect_error(path, open(path, O_RDONLY | O_DIRECTORY), EACCES);
                (void)snprintf(path, sizeof path, "/proc/%d/maps", (int)pids[i]);
                expect_error(path, open(path, O_RDONLY), EACCES);
                pidfd = CHECK_CALL(pidfd_open(pids[i], 0));
                expect_error("pidfd_getfd", pidfd_getfd(pidfd, 3, 0), EPERM);
                close(pidfd);
        }
}

static void run_attack(const void *argument) {
        struct app app = app_start(user_app, "alice"), attacker;
        struct session session;
        struct victim victim = { .user = argument };

        await(app.channel);
        session = session_of(app.pid);
        victim.session = &session;
        attacker = app_start(attack, &victim);
        app_finish(&attacker);

        app_hang_up(&app);
        app_finish(&app);
        session_await_end(&session);
}

/* pinleased has sockets, timers and the like, and memory of its own making, whatever apps send to their sessions. */
static void run_daemon(const void *argument _unused_) {
        static const char *const harmless[] = { "socket:",
                                                "/memfd:pinlease-policy",
                                                "anon_inode:[eventpoll]",
                                                "anon_inode:[signalfd]",
                                                "anon_inode:[timerfd]",
                                                "pidfd",
                                                "/dev/null",
                                                "pipe:",
                                                "/memfd:pinlease-limits",
                                                "/memfd:pinlease-ledger",
                                                "/pinlease-session" };
        struct app app = app_start(user_app, "alice"), other = bystander_start(NULL);
        unsigned int known = 0;
        char line[32] = "";
        FILE *f;
        pid_t pid;

        await(app.channel);
        bystander_proves(&other);
        f = popen("systemctl show -P MainPID pinlease.service", "re");
        CHECK(f && fgets(line, sizeof line, f));
        (void)pclose(f);
        pid = atoi(line);
        CHECK(pid > 1);

        CHECK_EQUAL(process_fds(pid, "uverbs"), 0);
        CHECK_EQUAL(process_fds(pid, "memfd"),
                    process_fds(pid, "/memfd:pinlease-limits") + process_fds(pid, "/memfd:pinlease-ledger") +
                            process_fds(pid, "/memfd:pinlease-policy"));
        CHECK_EQUAL(process_maps(pid, "memfd"), process_maps(pid, "/memfd:pinlease-limits"));
        for (size_t i = 0; i < ELEMENTSOF(harmless); i++)
                known += process_fds(pid, harmless[i]);
        CHECK_EQUAL(process_fds(pid, NULL), known);

        app_hang_up(&app);
        app_finish(&app);
        bystander_stop(&other);
}

const struct test_case cases_identity[] = {
        { "identity: a stranger cannot connect", run_stranger, NULL, 0 },
        { "identity: a member can, and pins more than its own limit", run_member, NULL, CASE_ANYWHERE },
        { "identity: what registrar and keeper are", run_registrar, NULL, 0 },
        { "identity: the client cannot touch them", run_attack, "alice", 0 },
        { "identity: neither can a registrar's user", run_attack, SERVICE, 0 },
        { "identity: pinleased has no descriptor of an app", run_daemon, NULL, 0 },
        { 0 },
};
