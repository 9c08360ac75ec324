/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Private memory: granted by the service, registered in the app, and the service's from then on. */

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "calls.h"
#include "ctl.h"
#include "fixture.h"
#include "harness.h"
#include "instance.h"
#include "leftovers.h"
#include "private.h"
#include "process.h"

#define PAGE UINT64_C(4096)
#define LENGTH (16 * PAGE)

static struct pinlease_mr *reg(struct user *u) {
        return user_reg(u, PINLEASE_METHOD_ODP);
}

static enum ibv_wc_status transfer(struct user *u, const struct pinlease_mr *mr, uint64_t seed) {
        return rdma_try_transfer(&u->rdma, mr->iova, mr->mr.rkey, u->memory, LENGTH, seed);
}

static void run_transfer(const void *argument _unused_) {
        struct user u = user_open(NULL, LENGTH, NULL, NULL);
        long long pins = leftovers_pinned();
        struct pinlease_mr *mr = reg(&u), *part, *heap;
        uint8_t *at = NULL;

        CHECK_EQUAL(mr->method, PINLEASE_METHOD_ODP);
        CHECK_EQUAL(mr->backing, PINLEASE_BACKING_ANON);
        CHECK_EQUAL(mr->iova, (uintptr_t)u.memory);
        CHECK_EQUAL(pl_guards_held(mr->guards), 0);
        CHECK_EQUAL(transfer(&u, mr, 1), IBV_WC_SUCCESS);
        /* The device follows: pages that are given back come anew. */
        CHECK_CALL(madvise(u.memory, LENGTH, MADV_DONTNEED));
        CHECK_EQUAL(transfer(&u, mr, 2), IBV_WC_SUCCESS);
        CHECK_EQUAL(leftovers_pinned(), pins);

        /* Several at a time, of memory that overlaps; and what malloc() has. */
        CHECK_EQUAL(user_try_reg(&u, u.memory + PAGE, 2 * PAGE, PINLEASE_METHOD_ODP, &part), 0);
        rdma_transfer(&u.rdma, part->iova, part->mr.rkey, u.memory + PAGE, 2 * PAGE, 3);
        CHECK_EQUAL(posix_memalign((void **)&at, PAGE, PAGE), 0);
        CHECK_EQUAL(user_try_reg(&u, at, PAGE, PINLEASE_METHOD_ODP, &heap), 0);
        rdma_transfer(&u.rdma, heap->iova, heap->mr.rkey, at, PAGE, 4);
        CHECK_EQUAL(pinlease_dereg(u.p, mr), 0);
        rdma_transfer(&u.rdma, part->iova, part->mr.rkey, u.memory + PAGE, 2 * PAGE, 5);
        CHECK_EQUAL(rdma_try_transfer(&u.rdma, part->iova, part->mr.rkey, NULL, 2 * PAGE + 1, 6),
                    IBV_WC_REM_ACCESS_ERR);
        free(at);

        /* rxe's ODP misplaces bytes: it is for who asks for nothing else. And only a rule has a limit raised for a pin. */
        user_expect_refusal(&u, u.memory, PINLEASE_METHOD_ANY, PINLEASE_CODE_ODP_UNSOUND);
        user_expect_refusal(&u, u.memory, PINLEASE_METHOD_PINNED, PINLEASE_CODE_ANON_PIN);
        user_close(&u);
}

/* What an administrator sees. */
static void run_listed(const void *argument _unused_) {
        struct user u = user_open(NULL, LENGTH, NULL, NULL);
        struct json_object *documents, *item;
        struct pinlease_mr *mr = reg(&u);
        char pid[16];

        (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
        documents = ctl_json(NULL, "list", "--pid", pid, NULL);
        item = ctl_find(documents, "registration", "backing", "anon");
        CHECK(item != NULL);
        CHECK_EQUAL(strcmp(ctl_text(item, "method"), "odp"), 0);
        CHECK_EQUAL(strcmp(ctl_text(item, "state"), "live"), 0);
        CHECK_EQUAL(strcmp(ctl_text(item, "name"), ""), 0);
        CHECK_EQUAL(ctl_number(item, "length"), LENGTH);
        CHECK_EQUAL(ctl_number(item, "bytes"), LENGTH);
        json_object_put(documents);
        CHECK_EQUAL(pinlease_dereg(u.p, mr), 0);
        user_close(&u);
}

/* --- taken back --- */

struct told {
        unsigned int revoking, revoked;
};

static void on_revoked(struct pinlease *p _unused_,
                       struct pinlease_mr *mr _unused_,
                       const struct pinlease_revocation *revocation,
                       void *userdata) {
        CHECK_EQUAL(revocation->reason, PINLEASE_REVOKED_ADMINISTRATOR);
        CHECK_EQUAL(revocation->offset, 0);
        CHECK_EQUAL(revocation->length, LENGTH);
        ((struct told *)userdata)->revoked++;
}

static void on_revoking(struct pinlease *p _unused_,
                        struct pinlease_mr *mr _unused_,
                        const struct pinlease_revocation *revocation _unused_,
                        void *userdata) {
        ((struct told *)userdata)->revoking++;
}

static void dispatch_until(struct user *u, const unsigned int *count) {
        while (*count == 0) {
                await_readable(pinlease_get_fd(u->p), "an event");
                CHECK(pinlease_dispatch(u->p) >= 0);
        }
}

static struct ctl_job order_back(const char *grace) {
        static char pid[16];

        (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
        return ctl_begin(NULL, (const char *const[]) { "revoke", "--pid", pid, "--grace", grace, NULL });
}

static void await_order(struct ctl_job *job) {
        struct ctl_answer answer = ctl_end(job);

        ctl_expect(&answer, CTL_DONE);
        ctl_done(&answer);
}

/* The app does not let go. Its own next memory region gets the handle, and nobody touches that. */
static void run_forced(const void *argument _unused_) {
        const struct pinlease_listener listener = { .revoking = on_revoking, .revoked = on_revoked };
        struct told told = { 0 };
        struct user u = user_open(NULL, LENGTH, &listener, &told);
        struct pinlease_mr *mr = reg(&u);
        struct ctl_job job = order_back("100ms");
        struct ibv_mr *own;

        dispatch_until(&u, &told.revoking);
        CHECK_EQUAL(transfer(&u, mr, 1), IBV_WC_SUCCESS);
        dispatch_until(&u, &told.revoked);
        await_order(&job);
        CHECK(!call_mr_is_there(u.rdma.context->cmd_fd, mr->mr.handle));
        CHECK_EQUAL(transfer(&u, mr, 2), IBV_WC_REM_ACCESS_ERR);

        own = ibv_reg_mr(u.rdma.pd, u.memory, LENGTH, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_ON_DEMAND);
        CHECK(own != NULL);
        CHECK_EQUAL(own->handle, mr->mr.handle);
        CHECK_EQUAL(pinlease_dereg(u.p, mr), 0);
        CHECK(call_mr_is_there(u.rdma.context->cmd_fd, own->handle));
        CHECK_EQUAL(ibv_dereg_mr(own), 0);
        CHECK_EQUAL(pinlease_dereg(u.p, reg(&u)), 0);
        user_close(&u);
}

/* A program that does not know of revocations: the library gives it back. */
static void run_default(const void *argument _unused_) {
        const struct pinlease_listener listener = { .revoked = on_revoked };
        struct told told = { 0 };
        struct user u = user_open(NULL, LENGTH, &listener, &told);
        struct pinlease_mr *mr = reg(&u);
        struct ctl_job job = order_back("20s");

        dispatch_until(&u, &told.revoked);
        await_order(&job);
        CHECK(!call_mr_is_there(u.rdma.context->cmd_fd, mr->mr.handle));
        CHECK_EQUAL(pinlease_dereg(u.p, mr), 0);
        user_close(&u);
}

static void run_registrar_killed(const void *argument _unused_) {
        struct user u = user_open(NULL, LENGTH, NULL, NULL);
        struct pinlease_mr *mr = reg(&u);
        struct session session = session_of(getpid());

        CHECK_EQUAL(transfer(&u, mr, 1), IBV_WC_SUCCESS);
        CHECK_CALL(pidfd_send_signal(session.registrar_fd, SIGKILL, NULL, 0));
        session_await_end(&session);
        CHECK(!call_mr_is_there(u.rdma.context->cmd_fd, mr->mr.handle));
        CHECK_EQUAL(transfer(&u, mr, 2), IBV_WC_REM_ACCESS_ERR);
        CHECK_EQUAL(pinlease_ping(u.p), -ECONNRESET);
        user_close(&u);
}

/* Reload, and drain: of a pinleased of the case's own. */
static void run_policy(const void *argument _unused_) {
        char folder[] = "/tmp/grant-XXXXXX", path[64];
        struct ctl_answer answer;
        struct instance instance;
        struct pinlease_mr *mr;
        struct user u;
        FILE *f;

        CHECK(mkdtemp(folder) != NULL);
        (void)snprintf(path, sizeof path, "%s/policy.json", folder);
        f = fopen(path, "we");
        CHECK(f && fputs("{\"version\": 1}", f) >= 0 && fclose(f) == 0);
        instance = instance_start((const char *const[]) { "--policy", folder, NULL });
        u = user_open(instance.path, LENGTH, NULL, NULL);
        mr = reg(&u);
        CHECK_EQUAL(transfer(&u, mr, 1), IBV_WC_SUCCESS);

        f = fopen(path, "we");
        CHECK(f &&
              fputs("{\"version\": 1, \"rules\": [{\"name\": \"none\", \"match\": {\"backing\": \"anon\"}, \"allow\": "
                    "false}]}",
                    f) >= 0 &&
              fclose(f) == 0);
        CHECK_CALL(pidfd_send_signal(instance.pidfd, SIGHUP, NULL, 0));
        /* Without a listener the library gives it back. */
        await_readable(pinlease_get_fd(u.p), "REVOKING");
        CHECK(pinlease_dispatch(u.p) >= 0);
        CHECK(!call_mr_is_there(u.rdma.context->cmd_fd, mr->mr.handle));
        CHECK_EQUAL(pinlease_dereg(u.p, mr), 0);
        user_expect_refusal(&u, u.memory, PINLEASE_METHOD_ODP, PINLEASE_CODE_POLICY);

        f = fopen(path, "we");
        CHECK(f && fputs("{\"version\": 1}", f) >= 0 && fclose(f) == 0);
        CHECK_CALL(pidfd_send_signal(instance.pidfd, SIGHUP, NULL, 0));
        while (user_try_reg(&u, u.memory, LENGTH, PINLEASE_METHOD_ODP, &mr) < 0)
                CHECK_EQUAL(pinlease_ping(u.p), 0);
        answer = ctl_run(&(const struct ctl) { .directory = instance.directory }, "drain", "--grace", "100ms", NULL);
        ctl_expect(&answer, CTL_DONE);
        ctl_done(&answer);
        CHECK(!call_mr_is_there(u.rdma.context->cmd_fd, mr->mr.handle));
        user_close(&u);
        instance_stop(&instance);
        (void)unlink(path);
        (void)rmdir(folder);
}

/* --- without the library --- */

static struct pl_grant request_of(const struct fixture *f, const uint8_t *memory) {
        return (struct pl_grant) {
                .context = f->context,
                .pd = f->rdma.pd->handle,
                .address = (uintptr_t)memory,
                .length = LENGTH,
                .access = ACCESS_READ_WRITE,
                .methods = PINLEASE_METHOD_ODP,
        };
}

static uint64_t grant(struct fixture *f, const uint8_t *memory) {
        struct pl_packet packet, reply;

        pl_packet_init(&packet, PL_OP_GRANT, 0);
        packet.body.grant = request_of(f, memory);
        expect_code(raw_call(&f->raw, &packet, -1, &reply), PINLEASE_CODE_NONE);
        return reply.body.grant_reply.id;
}

static enum pinlease_code commit(struct fixture *f, uint64_t id, uint32_t handle, uint32_t lkey, uint32_t rkey) {
        struct pl_packet packet, reply;

        pl_packet_init(&packet, PL_OP_GRANT_COMMIT, 0);
        packet.body.grant_commit = (struct pl_grant_commit) { .id = id, .handle = handle, .lkey = lkey, .rkey = rkey };
        return raw_call(&f->raw, &packet, -1, &reply);
}

static enum pinlease_code commit_mr(struct fixture *f, uint64_t id, const struct ibv_mr *mr) {
        return commit(f, id, mr->handle, mr->lkey, mr->rkey);
}

static struct ibv_mr *register_own(struct fixture *f, uint8_t *memory, uint64_t length) {
        struct ibv_mr *mr = ibv_reg_mr(f->rdma.pd, memory, length, (int)ACCESS_READ_WRITE | IBV_ACCESS_ON_DEMAND);

        CHECK(mr != NULL);
        return mr;
}

/* What is not what was granted is not taken, and not touched. */
static void run_hostile(const void *argument _unused_) {
        struct fixture f = fixture_open(NULL);
        uint8_t *memory = private_new(LENGTH);
        struct memory shared = memory_new(MEMORY_MEMFD, LENGTH);
        struct pl_register_reply brokered = fixture_register(&f, &shared, PINLEASE_METHOD_PINNED);
        struct ibv_mr *right = register_own(&f, memory, LENGTH), *shorter = register_own(&f, memory, LENGTH - 1),
                      *later = register_own(&f, memory + PAGE, LENGTH - PAGE);
        struct ibv_context *context = rdma_open_context("rxe_a");
        uint64_t id;

        expect_code(commit_mr(&f, 0, right), PINLEASE_CODE_NO_SUCH_GRANT);
        expect_code(commit_mr(&f, brokered.id, right), PINLEASE_CODE_NO_SUCH_GRANT);
        expect_code(commit_mr(&f, grant(&f, memory), shorter), PINLEASE_CODE_GRANT_MISMATCH);
        expect_code(commit_mr(&f, grant(&f, memory), later), PINLEASE_CODE_GRANT_MISMATCH);
        expect_code(commit(&f, grant(&f, memory), 12345, right->lkey, right->rkey), PINLEASE_CODE_GRANT_MISMATCH);
        expect_code(commit(&f, grant(&f, memory), UINT32_MAX, right->lkey, right->rkey), PINLEASE_CODE_GRANT_MISMATCH);
        expect_code(commit(&f, grant(&f, memory), right->handle, right->lkey, right->rkey ^ 1),
                    PINLEASE_CODE_GRANT_MISMATCH);
        expect_code(commit(&f, grant(&f, memory), right->handle, right->lkey ^ 1, right->rkey),
                    PINLEASE_CODE_GRANT_MISMATCH);
        expect_code(commit(&f, grant(&f, memory), brokered.handle, brokered.lkey, brokered.rkey),
                    PINLEASE_CODE_GRANT_MISMATCH);

        id = grant(&f, memory);
        expect_code(commit_mr(&f, id, right), PINLEASE_CODE_NONE);
        expect_code(commit_mr(&f, id, right), PINLEASE_CODE_NO_SUCH_GRANT);
        expect_code(commit_mr(&f, grant(&f, memory), right), PINLEASE_CODE_GRANT_MISMATCH);

        /* After its context: that is gone, and another one has its number. */
        id = grant(&f, memory);
        raw_detach(&f.raw, f.context);
        CHECK(!call_mr_is_there(f.rdma.context->cmd_fd, right->handle));
        CHECK_EQUAL(raw_attach(&f.raw, context->cmd_fd), f.context);
        expect_code(commit_mr(&f, id, shorter), PINLEASE_CODE_NO_SUCH_GRANT);
        expect_code(commit_mr(&f, grant(&f, memory), later), PINLEASE_CODE_GRANT_MISMATCH);

        /* Its own it has still. */
        CHECK(call_mr_is_there(f.rdma.context->cmd_fd, shorter->handle));
        CHECK(call_mr_is_there(f.rdma.context->cmd_fd, later->handle));
        CHECK_EQUAL(ibv_dereg_mr(shorter), 0);
        CHECK_EQUAL(ibv_dereg_mr(later), 0);
        raw_close(&f.raw);
        CHECK_CALL(ibv_close_device(context));
        rdma_close(&f.rdma);
        memory_free(&shared);
        CHECK_CALL(munmap(memory, LENGTH));
}

/* The app meddles with what it has committed. */
static void run_meddled(const void *argument _unused_) {
        struct fixture f = fixture_open(NULL);
        uint8_t *memory = private_new(LENGTH);
        struct ibv_mr *mr, *other;
        uint64_t id;

        id = grant(&f, memory);
        mr = register_own(&f, memory, LENGTH);
        expect_code(commit_mr(&f, id, mr), PINLEASE_CODE_NONE);
        CHECK_EQUAL(ibv_dereg_mr(mr), 0);
        raw_deregister(&f.raw, id);

        id = grant(&f, memory);
        mr = register_own(&f, memory, LENGTH);
        expect_code(commit_mr(&f, id, mr), PINLEASE_CODE_NONE);
        CHECK_EQUAL(ibv_dereg_mr(mr), 0);
        other = register_own(&f, memory, LENGTH);
        raw_deregister(&f.raw, id);
        CHECK(call_mr_is_there(f.rdma.context->cmd_fd, other->handle));
        CHECK_EQUAL(ibv_dereg_mr(other), 0);
        fixture_close(&f);
        CHECK_CALL(munmap(memory, LENGTH));
}

/* --- threads --- */

#define CHURN_ROUNDS 100

struct churn {
        struct user *u;
        atomic_bool stop;
        unsigned int n; /* of its own memory regions, each of which it has found as it left it */
};

/* Registers the same range on the same context by itself: its handles are those that the service has just let go. */
static void *churn(void *argument) {
        struct churn *c = argument;

        while (!atomic_load(&c->stop)) {
                struct ibv_mr *mr =
                        ibv_reg_mr(c->u->rdma.pd, c->u->memory, LENGTH, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_ON_DEMAND);
                int r;

                CHECK(mr != NULL);
                CHECK(call_mr_is_there(c->u->rdma.context->cmd_fd, mr->handle));
                /* The service may be looking at the handle just then. */
                do
                        r = ibv_dereg_mr(mr);
                while (r == EBUSY);
                CHECK_EQUAL(r, 0);
                c->n++;
        }
        return NULL;
}

static void run_threads(const void *argument _unused_) {
        struct user u = user_open(NULL, LENGTH, NULL, NULL);
        struct churn c = { .u = &u };
        pthread_t thread;

        CHECK_EQUAL(pthread_create(&thread, NULL, churn, &c), 0);
        for (unsigned int i = 0; i < CHURN_ROUNDS; i++) {
                struct pinlease_mr *mr = reg(&u);

                CHECK(call_mr_is_there(u.rdma.context->cmd_fd, mr->mr.handle));
                CHECK_EQUAL(pinlease_dereg(u.p, mr), 0);
        }
        atomic_store(&c.stop, true);
        CHECK_EQUAL(pthread_join(thread, NULL), 0);
        CHECK(c.n > 0);
        user_close(&u);
}

/* Killed once it has come so far. What is left is looked for after the case. */
static void die_at(int channel, const void *argument) {
        unsigned int stage = *(const unsigned int *)argument;
        struct fixture f = fixture_open(NULL);
        uint8_t *memory = private_new(LENGTH);
        struct ibv_mr *mr;
        uint64_t id;

        id = grant(&f, memory);
        if (stage >= 1)
                mr = register_own(&f, memory, LENGTH);
        if (stage >= 2)
                expect_code(commit_mr(&f, id, mr), PINLEASE_CODE_NONE);
        tell(channel);
        pause();
}

static void run_killed(const void *argument _unused_) {
        for (unsigned int stage = 0; stage < 3; stage++) {
                struct app app = app_start(die_at, &stage);
                struct session session;

                await(app.channel);
                session = session_of(app.pid);
                app_kill(&app);
                session_await_end(&session);
        }
}

const struct test_case cases_grant[] = {
        { "grant: private memory carries bytes", run_transfer, NULL, 0 },
        { "grant: private memory is listed", run_listed, NULL, 0 },
        { "grant: an app that does not let go loses it, and nothing else", run_forced, NULL, 0 },
        { "grant: the library lets go of it", run_default, NULL, 0 },
        { "grant: the registrar is killed", run_registrar_killed, NULL, 0 },
        { "grant: a new policy refuses it; the service is drained", run_policy, NULL, 0 },
        { "grant: what was not granted is not taken", run_hostile, NULL, CASE_ANYWHERE },
        { "grant: an app that meddles with what it has committed", run_meddled, NULL, 0 },
        { "grant: beside a thread that registers by itself", run_threads, NULL, 0 },
        { "grant: an app is killed at any stage", run_killed, NULL, CASE_ANYWHERE },
        { 0 },
};
