/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * An app that nothing but its end makes let go of its memory: a query of it waits in the kernel for a page that never
 * comes (userfaultfd), and the kernel deregisters nothing meanwhile. A stopped process waits on; a killed one does not.
 */

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "calls.h"
#include "ctl.h"
#include "instance.h"
#include "process.h"
#include "subject.h"

#define PAGE 4096

struct adversary {
        bool child; /* it is not the app that waits there, but a child of it, which has the verbs context too */
        bool file;  /* what is registered has a name, and another program truncates it */
        bool dies;  /* it is killed for it */
        const char *options[5];
};

/* The verbs context is the case's as well: it looks on, and so does a peer. */
static struct {
        const struct adversary *adversary;
        struct instance instance;
        struct rdma target;
        struct memory memory;
        char path[64];
        struct pl_register_reply reply;
        int line[2]; /* the child lives as long as the case has this end */
} k;

/* --- the app --- */

static void *queries(void *argument) {
        (void)call_query_mr_into(k.target.context->cmd_fd, k.reply.handle, argument);
        return NULL;
}

/* Returns when the query waits. */
static void hold_by_query(void) {
        struct uffdio_api api = { .api = UFFD_API };
        struct uffdio_register range = { .mode = UFFDIO_REGISTER_MODE_MISSING };
        struct uffd_msg message;
        pthread_t thread;
        void *page;
        int fd;

        fd = (int)CHECK_CALL(syscall(SYS_userfaultfd, O_CLOEXEC));
        CHECK_CALL(ioctl(fd, UFFDIO_API, &api));
        page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(page != MAP_FAILED);
        range.range.start = (uintptr_t)page;
        range.range.len = PAGE;
        CHECK_CALL(ioctl(fd, UFFDIO_REGISTER, &range));
        CHECK_EQUAL(pthread_create(&thread, NULL, queries, page), 0);
        await_readable(fd, "the query to wait");
        CHECK_EQUAL(read(fd, &message, sizeof message), sizeof message);
        CHECK_EQUAL(message.event, UFFD_EVENT_PAGEFAULT);
}

static void on_continued(int number _unused_) {
}

static void be_child(int channel, const void *unused _unused_) {
        CHECK_CALL(prctl(PR_SET_PDEATHSIG, 0));
        hold_by_query();
        tell(channel);
        await_end(k.line[1]);
}

static void be_app(int channel, const void *argument _unused_) {
        struct fixture f = { .rdma = k.target, .raw = raw_open(k.instance.path) };

        close(k.line[0]);
        f.context = raw_attach(&f.raw, f.rdma.context->cmd_fd);
        k.reply = fixture_register(&f, &k.memory, k.adversary->file ? PINLEASE_METHOD_ODP : PINLEASE_METHOD_PINNED);
        if (k.adversary->file)
                subject_expect_lease(&k.reply);
        if (k.adversary->child) {
                struct app child = app_start(be_child, NULL);

                await(child.channel);
        } else
                hold_by_query();
        (void)signal(SIGCONT, on_continued);
        CHECK_EQUAL(send(channel, &k.reply, sizeof k.reply, 0), sizeof k.reply);
        for (;;) {
                (void)pause();
                tell(channel);
        }
}

/* --- the case --- */

static bool peer_reaches_it(void) {
        struct rdma peer = rdma_open("rxe_a");
        enum ibv_wc_status status;

        rdma_connect_two(&peer, &k.target);
        status = rdma_write_from(&peer, (uintptr_t)peer.buffer, peer.buffer_mr->lkey, k.reply.iova, k.reply.rkey, PAGE);
        CHECK(status == IBV_WC_SUCCESS || status == IBV_WC_REM_ACCESS_ERR);
        rdma_close(&peer);
        return status == IBV_WC_SUCCESS;
}

static bool is_there(void) {
        return call_mr_is_there(k.target.context->cmd_fd, k.reply.handle);
}

static bool is_gone(const void *unused _unused_) {
        return !is_there();
}

static struct app begin(const struct adversary *adversary) {
        struct app app;

        k.adversary = adversary;
        k.instance = instance_start_prepared(adversary->options, instance_to_journal);
        k.target = rdma_open("rxe_a");
        if (adversary->file)
                k.memory = subject_file("/mnt/ext4-dax", k.path, SUBJECT_LENGTH);
        else
                k.memory = memory_new(MEMORY_MEMFD, SUBJECT_LENGTH);
        CHECK_CALL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, k.line));
        app = app_start(be_app, NULL);
        await_readable(app.channel, "the app's registration");
        CHECK_EQUAL(recv(app.channel, &k.reply, sizeof k.reply, 0), sizeof k.reply);
        CHECK(peer_reaches_it());
        return app;
}

/* Returns what became of it: forced, or not. */
static bool take_away(const struct app *app) {
        const struct ctl ctl = { .directory = k.instance.directory };
        struct json_object *documents;
        struct ctl_answer answer;
        long long forced, kept;
        char pid[16];

        (void)snprintf(pid, sizeof pid, "%d", (int)app->pid);
        answer = ctl_run(&ctl, "--json", "revoke", "--pid", pid, "--grace", "100ms", NULL);
        documents = ctl_documents("revoke", &answer);
        forced = ctl_number(ctl_last(documents), "forced");
        kept = ctl_number(ctl_last(documents), "kept");
        CHECK_EQUAL(forced + kept, 1);
        json_object_put(documents);
        return forced == 1;
}

static void expect_killed(struct app *app) {
        siginfo_t info;

        await_readable(app->pidfd, "the app's end");
        CHECK_CALL(waitid(P_PIDFD, (id_t)app->pidfd, &info, WEXITED | WNOWAIT));
        CHECK_EQUAL(info.si_code, CLD_KILLED);
        CHECK_EQUAL(info.si_status, SIGKILL);
        app_reap(app);
}

static const struct ctl_message app_killed = { "MESSAGE_ID=7a07773230ce41a2982b30c2db6121cb", "pinlease-session", "4" };
static const struct ctl_message force_failed = { "MESSAGE_ID=e50c4829b60447bebd3b97551de49787",
                                                 "pinlease-session",
                                                 "3" };
static const struct ctl_message memory_kept = { "MESSAGE_ID=e7902cbf2b1945e4b81e5890b503ca55",
                                                "pinlease-session",
                                                "4" };
static const struct ctl_message break_failed = { "MESSAGE_ID=ef88e3d433a54278ae03177264e419b2",
                                                 "pinlease-session",
                                                 "3" };

static void end(void) {
        close(k.line[0]);
        memory_free(&k.memory);
        if (k.path[0])
                (void)unlink(k.path);
        instance_stop(&k.instance);
}

/* The administrator takes it away: killed if that may be, else the app keeps it until it ends. */
static void run_revoked(const void *argument) {
        const struct adversary *a = argument;
        struct app app = begin(a);
        struct session session = session_of(app.pid);
        pid_t pid = app.pid;

        CHECK_EQUAL(take_away(&app), a->dies && !a->child);
        ctl_expect_said(&app_killed, pid, a->dies);
        ctl_expect_said(&force_failed, pid, !a->dies || a->child);
        if (a->dies)
                expect_killed(&app);
        if (!a->dies) {
                /* It has been stopped, and goes on. */
                await(app.channel);
                /* Nobody but the keeper is left. */
                CHECK(is_there() && peer_reaches_it());
                CHECK_CALL(pidfd_send_signal(session.registrar_fd, SIGKILL, NULL, 0));
                await_readable(session.registrar_fd, "the registrar's end");
                ctl_expect_said(&memory_kept, pid, 1);
                CHECK(is_there() && peer_reaches_it());
                app_kill(&app);
        }
        session_await_end(&session);
        /* With its context in the hands of another process, the memory region stays. */
        CHECK_EQUAL(is_there(), a->child);
        CHECK_EQUAL(peer_reaches_it(), a->child);
        ctl_expect_said(&force_failed, pid, a->child ? 2 : !a->dies);
        end();
}

/* Another program waits to truncate its file. */
static void run_broken(const void *argument) {
        const struct adversary *a = argument;
        struct app app = begin(a), breaker;
        struct session session = session_of(app.pid);
        pid_t pid = app.pid;

        breaker = subject_breaker(subject_truncates, k.path);
        await(breaker.channel);
        CHECK_EQUAL(is_there(), !a->dies);
        CHECK_EQUAL(subject_size(k.path), SUBJECT_CUT);
        app_finish(&breaker);
        ctl_expect_said(&app_killed, pid, a->dies);
        ctl_expect_said(&break_failed, pid, !a->dies);
        if (a->dies)
                expect_killed(&app);
        else
                app_kill(&app);
        session_await_end(&session);
        CHECK(eventually(is_gone, NULL));
        end();
}

#define REVOKED(...) run_revoked, &(const struct adversary) { __VA_ARGS__ }, 0
#define BROKEN(...) run_broken, &(const struct adversary) { .file = true, __VA_ARGS__ }, 0

const struct test_case cases_force_kill[] = {
        { "force: nothing helps, and it may not be killed", REVOKED(.options = { NULL }) },
        { "force: nothing helps, it is killed", REVOKED(.dies = true, .options = { "--force", "kill" }) },
        { "force: nothing helps, it is killed, its child goes on",
          REVOKED(.dies = true, .child = true, .options = { "--force", "kill" }) },
        { "force: nothing helps, somebody waits for its file", BROKEN(.options = { "--grace", "300" }) },
        { "force: nothing helps, somebody waits for its file, it is killed",
          BROKEN(.dies = true, .options = { "--grace", "300", "--force", "kill" }) },
        { 0 },
};
