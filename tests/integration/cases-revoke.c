/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Administrators take registrations back: of apps that let go, of apps that do not, of some that cannot. */

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#include <pinlease/pinlease.h>

#include "ctl.h"
#include "fixture.h"
#include "harness.h"
#include "holder.h"
#include "process.h"

#define PAGE 4096

struct outcome {
        unsigned int sessions, released, forced, kept, lost;
};

static void expect_outcome(struct json_object *documents, struct outcome should) {
        struct json_object *result = ctl_last(documents);
        char text[128], is[128];

        (void)snprintf(is,
                       sizeof is,
                       "%lld sessions, %lld released, %lld forced, %lld kept, %lld lost",
                       ctl_number(result, "sessions"),
                       ctl_number(result, "released"),
                       ctl_number(result, "forced"),
                       ctl_number(result, "kept"),
                       ctl_number(result, "lost"));
        (void)snprintf(text,
                       sizeof text,
                       "%u sessions, %u released, %u forced, %u kept, %u lost",
                       should.sessions,
                       should.released,
                       should.forced,
                       should.kept,
                       should.lost);
        if (strcmp(is, text) != 0)
                FAIL("the outcome is: %s; should be: %s", is, text);
        json_object_put(documents);
}

/* Starts it; writes the ID of its first registration. */
static struct app start(const struct holder *h, char id[static 64]) {
        struct json_object *documents;
        unsigned int number;
        struct app app = holder_start(h, &number);
        char pid[16];

        (void)snprintf(pid, sizeof pid, "%d", (int)app.pid);
        documents = ctl_json(NULL, "list", "--pid", pid, NULL);
        (void)snprintf(id, 64, "%s.%u", ctl_text(ctl_find(documents, "session", "pid", pid), "id"), number);
        json_object_put(documents);
        return app;
}

/* --- cases ----------------------------------------------------------------------------------------------------------
 */

static void run_ignored(const void *argument _unused_) {
        struct app other = bystander_start(NULL), app;
        char id[64];

        app = start(&(const struct holder) { .user = "alice" }, id);
        CHECK_EQUAL(holder_ask(&app, HOLDER_TRANSFER), IBV_WC_SUCCESS);
        expect_outcome(ctl_json(NULL, "revoke", id, "--grace", "300ms", NULL),
                       (struct outcome) { .sessions = 1, .forced = 1 });
        CHECK_EQUAL(holder_ask(&app, HOLDER_TRANSFER), IBV_WC_REM_ACCESS_ERR);
        /* Only that one. */
        CHECK_EQUAL(holder_ask(&app, HOLDER_TRANSFER_2), IBV_WC_SUCCESS);
        CHECK_EQUAL(holder_ask(&app, HOLDER_READ_EVENTS), 101);
        CHECK_EQUAL(holder_ask(&app, HOLDER_DEREGISTER), PINLEASE_CODE_NO_SUCH_REGISTRATION);
        CHECK_EQUAL(holder_ask(&app, HOLDER_ANEW), IBV_WC_SUCCESS);
        CHECK_EQUAL(holder_ask(&app, HOLDER_TRANSFER_2), IBV_WC_SUCCESS);
        {
                struct ctl_answer answer = ctl_run(NULL, "revoke", id, NULL);

                ctl_expect(&answer, CTL_NOT_FOUND);
                ctl_done(&answer);
        }
        bystander_proves(&other);
        holder_stop(&app);
        bystander_stop(&other);
}

static void run_selectors(const void *argument _unused_) {
        static const char *const file = "/mnt/tmpfs/shared/pl-shared";
        struct app a, b, c;
        char a_id[64], b_id[64], c_id[64], pid[16], other_file[] = "/mnt/tmpfs/pl-other";
        struct ctl_answer answer;

        /* One that alice does not own: who opens it after her has to wait for nobody. */
        CHECK_CALL(mkdir("/mnt/tmpfs/shared", 0777));
        CHECK_CALL(chmod("/mnt/tmpfs/shared", 0777));
        {
                int fd = CHECK_CALL(open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0666));

                CHECK_CALL(fchmod(fd, 0666));
                close(fd);
        }
        a = start(&(const struct holder) { "alice", file, false, NULL }, a_id);
        b = start(&(const struct holder) { "alice", other_file, false, NULL }, b_id);
        c = start(&(const struct holder) { NULL, file, false, NULL }, c_id);

        expect_outcome(ctl_json(NULL, "revoke", "--path", file, "--grace", "100ms", NULL),
                       (struct outcome) { .sessions = 2, .forced = 2 });
        CHECK_EQUAL(holder_ask(&a, HOLDER_TRANSFER_2), IBV_WC_REM_ACCESS_ERR);
        CHECK_EQUAL(holder_ask(&b, HOLDER_TRANSFER_2), IBV_WC_SUCCESS);
        CHECK_EQUAL(holder_ask(&c, HOLDER_TRANSFER_2), IBV_WC_REM_ACCESS_ERR);
        CHECK_EQUAL(holder_ask(&a, HOLDER_TRANSFER), IBV_WC_SUCCESS);

        expect_outcome(ctl_json(NULL, "revoke", "--uid", "alice", "--grace", "0", NULL),
                       (struct outcome) { .sessions = 2, .forced = 3 });
        CHECK_EQUAL(holder_ask(&a, HOLDER_TRANSFER), IBV_WC_REM_ACCESS_ERR);
        CHECK_EQUAL(holder_ask(&b, HOLDER_TRANSFER), IBV_WC_REM_ACCESS_ERR);
        CHECK_EQUAL(holder_ask(&b, HOLDER_TRANSFER_2), IBV_WC_REM_ACCESS_ERR);
        CHECK_EQUAL(holder_ask(&c, HOLDER_TRANSFER), IBV_WC_SUCCESS);

        (void)snprintf(pid, sizeof pid, "%d", (int)c.pid);
        expect_outcome(ctl_json(NULL, "revoke", "--pid", pid, "--grace", "0", NULL),
                       (struct outcome) { .sessions = 1, .forced = 1 });
        CHECK_EQUAL(holder_ask(&c, HOLDER_TRANSFER), IBV_WC_REM_ACCESS_ERR);
        answer = ctl_run(NULL, "revoke", "--pid", pid, "--grace", "0", NULL);
        ctl_expect(&answer, CTL_NOT_FOUND);
        ctl_done(&answer);
        answer = ctl_run(NULL, "revoke", "--path", file, "--grace", "0", NULL);
        ctl_expect(&answer, CTL_NOT_FOUND);
        ctl_done(&answer);

        /* All go on. */
        (void)holder_ask(&a, HOLDER_READ_EVENTS);
        (void)holder_ask(&c, HOLDER_READ_EVENTS);
        CHECK_EQUAL(holder_ask(&a, HOLDER_ANEW), IBV_WC_SUCCESS);
        CHECK_EQUAL(holder_ask(&c, HOLDER_ANEW), IBV_WC_SUCCESS);
        holder_stop(&a);
        holder_stop(&b);
        holder_stop(&c);
        (void)unlink(file);
        (void)rmdir("/mnt/tmpfs/shared");
        (void)unlink(other_file);
}

/* The documents of a job that has ended with this status. */
static struct json_object *end_job(struct ctl_job *job, int status) {
        struct ctl_answer answer = ctl_end(job);

        ctl_expect(&answer, status);
        return ctl_documents("revoke", &answer);
}

static struct ctl_job begin_revoke(const char *id, const char *grace) {
        return ctl_begin(NULL, (const char *const[]) { "--json", "revoke", id, "--grace", grace, NULL });
}

static bool is_revoking(const void *id) {
        struct json_object *documents = ctl_json(NULL, "show", id, NULL);
        bool revoking = strcmp(ctl_text(ctl_find(documents, "registration", "id", id), "state"), "revoking") == 0;

        json_object_put(documents);
        return revoking;
}

static void run_two_administrators(const void *argument _unused_) {
        struct ctl_job slow, quick;
        struct app app;
        char id[64];

        app = start(&(const struct holder) { 0 }, id);
        slow = begin_revoke(id, "10min");
        CHECK(eventually(is_revoking, id));
        /* Live until then. */
        CHECK_EQUAL(holder_ask(&app, HOLDER_TRANSFER), IBV_WC_SUCCESS);
        quick = begin_revoke(id, "100ms");
        expect_outcome(end_job(&quick, CTL_DONE), (struct outcome) { .sessions = 1, .forced = 1 });
        expect_outcome(end_job(&slow, CTL_DONE), (struct outcome) { .sessions = 1, .forced = 1 });
        /* Told twice, as the time has become shorter. */
        CHECK_EQUAL(holder_ask(&app, HOLDER_READ_EVENTS), 102);
        holder_stop(&app);
}

static void run_lost(const void *argument _unused_) {
        struct ctl_job job;
        struct app app;
        char id[64];

        app = start(&(const struct holder) { 0 }, id);
        job = begin_revoke(id, "10min");
        CHECK(eventually(is_revoking, id));
        holder_stop(&app);
        expect_outcome(end_job(&job, CTL_DONE), (struct outcome) { .sessions = 1, .lost = 1 });
}

static bool is_not_there(const void *id) {
        struct ctl_answer answer = ctl_run(NULL, "show", id, NULL);
        bool gone = answer.status == CTL_NOT_FOUND;

        ctl_done(&answer);
        return gone;
}

static void run_window(const void *argument _unused_) {
        struct ctl_job job;
        struct app app;
        char id[64];

        app = start(&(const struct holder) { .window = true }, id);
        job = begin_revoke(id, "0");
        /* Windows hold nothing up: see cases-force.c. */
        expect_outcome(end_job(&job, CTL_DONE), (struct outcome) { .sessions = 1, .forced = 1 });
        CHECK(is_not_there(id));
        CHECK_EQUAL(holder_ask(&app, HOLDER_TRANSFER), IBV_WC_REM_ACCESS_ERR);
        CHECK_EQUAL(holder_ask(&app, HOLDER_TRANSFER_2), IBV_WC_SUCCESS);
        (void)holder_ask(&app, HOLDER_READ_EVENTS);
        CHECK_EQUAL(holder_ask(&app, HOLDER_ANEW), IBV_WC_SUCCESS);
        holder_stop(&app);
}

/* A registrar that does nothing is killed by its keeper, who then takes all away. */
static void run_stopped(const void *argument _unused_) {
        struct app other = bystander_start(NULL), app;
        struct session session;
        struct ctl_job job;
        char id[64];

        app = start(&(const struct holder) { 0 }, id);
        session = session_of(app.pid);
        CHECK_CALL(pidfd_send_signal(session.registrar_fd, SIGSTOP, NULL, 0));
        job = begin_revoke(id, "100ms");
        expect_outcome(end_job(&job, CTL_DONE), (struct outcome) { .sessions = 1, .lost = 1 });
        session_await_end(&session);
        CHECK_EQUAL(holder_ask(&app, HOLDER_TRANSFER), IBV_WC_REM_ACCESS_ERR);
        CHECK_EQUAL(holder_ask(&app, HOLDER_TRANSFER_2), IBV_WC_REM_ACCESS_ERR);
        bystander_proves(&other);
        holder_stop(&app);
        bystander_stop(&other);
}

/* --- apps that read -------------------------------------------------------------------------------------------------
 */

#define N_OBEDIENT 3

static void obeys(int channel, const void *argument _unused_) {
        struct fixture f = fixture_open(NULL);
        struct memory m = memory_new(MEMORY_MEMFD, PAGE);
        uint64_t ids[N_OBEDIENT];

        for (unsigned int i = 0; i < N_OBEDIENT; i++)
                (void)fixture_register(&f, &m, i % 2 ? PINLEASE_METHOD_ODP : PINLEASE_METHOD_PINNED);
        tell(channel);
        for (unsigned int i = 0; i < N_OBEDIENT; i++) {
                struct pl_packet packet = raw_expect_event(&f.raw, PL_OP_REVOKING);

                CHECK_EQUAL(packet.body.revoking.length, PAGE);
                CHECK_EQUAL(packet.body.revoking.reason, PL_REVOKED_BY_ADMINISTRATOR);
                CHECK(packet.body.revoking.grace_ms > 0 && packet.body.revoking.grace_ms <= 15000);
                ids[i] = packet.body.revoking.id;
        }
        for (unsigned int i = 0; i < N_OBEDIENT; i++)
                raw_deregister(&f.raw, ids[i]);
        raw_ping(&f.raw);
        CHECK_EQUAL(holder_read_events(&f.raw), 0);
        await_end(channel);
        fixture_close(&f);
}

static void run_obeyed(const void *argument _unused_) {
        struct app app = app_start(obeys, NULL);
        uint64_t began = pl_now_ms();
        char pid[16];

        await(app.channel);
        (void)snprintf(pid, sizeof pid, "%d", (int)app.pid);
        expect_outcome(ctl_json(NULL, "revoke", "--pid", pid, "--grace", "15s", NULL),
                       (struct outcome) { .sessions = 1, .released = N_OBEDIENT });
        /* Nobody waits for longer than it takes. */
        CHECK(pl_now_ms() - began < 15000);
        holder_stop(&app);
}

struct library_app {
        struct pinlease_mr *let_go, *kept;
        unsigned int n_revoking, n_revoked;
};

static void on_revoking(struct pinlease *p,
                        struct pinlease_mr *reg,
                        const struct pinlease_revocation *revocation,
                        void *userdata) {
        struct library_app *app = userdata;

        CHECK(revocation->grace_ms <= 2000 && strlen(revocation->sentence) > 20);
        CHECK_EQUAL(revocation->reason, PINLEASE_REVOKED_ADMINISTRATOR);
        CHECK_EQUAL(revocation->length, 4 * PAGE);
        app->n_revoking++;
        if (reg == app->let_go)
                CHECK_EQUAL(pinlease_dereg(p, reg), 0);
        else
                CHECK(reg == app->kept);
}

static void on_revoked(struct pinlease *p _unused_,
                       struct pinlease_mr *reg,
                       const struct pinlease_revocation *revocation,
                       void *userdata) {
        struct library_app *app = userdata;

        CHECK(reg == app->kept && strlen(revocation->sentence) > 20);
        app->n_revoked++;
}

static struct pinlease_mr *library_register(struct pinlease *p, struct ibv_pd *pd, const struct memory *m) {
        struct pinlease_mr *reg;

        if (pinlease_reg_fd(p, pd, m->fd, 0, m->length, m->start, ACCESS_READ_WRITE, PINLEASE_METHOD_PINNED, &reg) < 0)
                FAIL("%s", pinlease_refusal(p)->sentence);
        return reg;
}

static void uses_the_library(int channel, const void *argument _unused_) {
        const struct pinlease_listener listener = { .revoking = on_revoking, .revoked = on_revoked };
        struct library_app app = { 0 };
        struct rdma rdma = rdma_open("rxe_a");
        struct memory m = memory_new(MEMORY_MEMFD, 4 * PAGE);
        struct pinlease *p;

        CHECK_EQUAL(pinlease_connect(NULL, &listener, &app, &p), 0);
        app.let_go = library_register(p, rdma.pd, &m);
        app.kept = library_register(p, rdma.pd, &m);
        tell(channel);
        while (app.n_revoked == 0) {
                await_readable(pinlease_get_fd(p), "an event");
                CHECK(pinlease_dispatch(p) >= 0);
        }
        CHECK_EQUAL(app.n_revoking, 2);
        rdma_connect(&rdma);
        CHECK_EQUAL(rdma_try_transfer(&rdma, app.kept->iova, app.kept->mr.rkey, NULL, PAGE, 1), IBV_WC_REM_ACCESS_ERR);
        rdma_reconnect(&rdma);
        CHECK_EQUAL(pinlease_dereg(p, app.kept), 0);
        app.kept = library_register(p, rdma.pd, &m);
        rdma_transfer(&rdma, app.kept->iova, app.kept->mr.rkey, m.start, m.length, 2);
        CHECK_EQUAL(pinlease_ping(p), 0);
        pinlease_disconnect(p);
        rdma_close(&rdma);
}

static void run_library(const void *argument _unused_) {
        struct app app = app_start(uses_the_library, NULL);
        char pid[16];

        await(app.channel);
        (void)snprintf(pid, sizeof pid, "%d", (int)app.pid);
        expect_outcome(ctl_json(NULL, "revoke", "--pid", pid, "--grace", "2s", NULL),
                       (struct outcome) { .sessions = 1, .released = 1, .forced = 1 });
        app_finish(&app);
}

const struct test_case cases_revoke[] = {
        { "revoke: an app that lets go in time", run_obeyed, NULL, 0 },
        { "revoke: an app that does not, and goes on without", run_ignored, NULL, 0 },
        { "revoke: by path, user and process", run_selectors, NULL, 0 },
        { "revoke: two administrators, the same registration", run_two_administrators, NULL, 0 },
        { "revoke: a session that ends meanwhile", run_lost, NULL, 0 },
        { "revoke: a bound memory window", run_window, NULL, 0 },
        { "revoke: a registrar that has stopped", run_stopped, NULL, 0 },
        { "revoke: by the library's callbacks", run_library, NULL, 0 },
        { 0 },
};
