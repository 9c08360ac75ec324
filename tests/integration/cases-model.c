/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * By chance several sessions register and deregister, apps, registrars, keepers and pinleased are killed; after each step what
 * pinleased says, what the kernel says, and what should be are compared. PINLEASE_TEST_SEED repeats a run.
 */

#include <signal.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#include "audit.h"
#include "chance.h"
#include "fixture.h"
#include "harness.h"
#include "process.h"
#include "view.h"

#define PAGE     UINT64_C(4096)
#define MEMORY   (UINT64_C(4) << 20)
#define N_APPS   4
#define MAX_LIVE 20

/* --- apps that do what they are told, and say when it is done --- */

enum order { ORDER_REGISTER, ORDER_DEREGISTER, ORDER_REOPEN };

struct instruction {
        enum order order;
        uint32_t method;
        uint64_t offset, length;
        unsigned int which; /* of those registered: the last one takes its place */
};

static void obey(struct fixture *f, struct memory *memory, uint64_t *ids, unsigned int *n, const struct instruction *i) {
        struct pl_register request;

        switch (i->order) {
        case ORDER_REGISTER:
                request = fixture_request(f, memory, i->method);
                request.offset = i->offset;
                request.address += i->offset;
                request.length = i->length;
                ids[(*n)++] = raw_register(&f->raw, &request, memory->fd).id;
                return;
        case ORDER_DEREGISTER:
                raw_deregister(&f->raw, ids[i->which]);
                ids[i->which] = ids[--*n];
                return;
        case ORDER_REOPEN:
                raw_expect_end(&f->raw);
                close(f->raw.sock);
                f->raw = raw_open(NULL);
                f->context = raw_attach(&f->raw, f->rdma.context->cmd_fd);
                *n = 0;
                return;
        }
}

static void puppet(int channel, const void *argument _unused_) {
        struct fixture f = fixture_open(NULL);
        struct memory memory = memory_new(MEMORY_MEMFD, MEMORY);
        struct instruction instruction;
        uint64_t ids[MAX_LIVE];
        unsigned int n = 0;

        tell(channel);
        while (recv(channel, &instruction, sizeof instruction, 0) > 0) {
                obey(&f, &memory, ids, &n, &instruction);
                tell(channel);
        }
        memory_free(&memory);
        fixture_close(&f);
}

/* --- the model --- */

struct live {
        uint32_t method;
        uint64_t bytes;
};

struct model_app {
        struct app app;
        struct live live[MAX_LIVE];
        unsigned int n;
};

struct model {
        struct model_app apps[N_APPS];
        uint64_t state;
        char problem[256];
};

static void order(struct model_app *a, const struct instruction *instruction) {
        if (send(a->app.channel, instruction, sizeof *instruction, MSG_NOSIGNAL) != sizeof *instruction)
                FAIL("an app is gone");
        await(a->app.channel);
}

static void start(struct model_app *a) {
        a->app = app_start(puppet, NULL);
        a->n = 0;
        await(a->app.channel);
}

static void step_register(struct model *m, struct model_app *a) {
        /* Mostly small; now and then more than is held at first. */
        uint64_t pages = 1 + chance(&m->state) % (chance(&m->state) % 8 ? 32 : 600);
        struct instruction i = {
                .order = ORDER_REGISTER,
                .method = chance(&m->state) % 3 ? PINLEASE_METHOD_PINNED : PINLEASE_METHOD_ODP,
                .offset = chance(&m->state) % (MEMORY / PAGE - pages) * PAGE,
                .length = pages * PAGE,
        };

        order(a, &i);
        a->live[a->n++] = (struct live) { i.method, i.length };
}

static void step_deregister(struct model *m, struct model_app *a) {
        struct instruction i = { .order = ORDER_DEREGISTER, .which = (unsigned int)(chance(&m->state) % a->n) };

        order(a, &i);
        a->live[i.which] = a->live[--a->n];
}

static void step_kill_session(struct model_app *a, bool keeper) {
        struct session session = session_of(a->app.pid);

        CHECK_CALL(pidfd_send_signal(keeper ? session.keeper_fd : session.registrar_fd, SIGKILL, NULL, 0));
        session_await_end(&session);
        order(a, &(const struct instruction) { .order = ORDER_REOPEN });
        a->n = 0;
}

static void step_kill_daemon(void) {
        struct status status;

        view_status(NULL, &status);
        CHECK_CALL(kill(status.pid, SIGKILL));
}

static const char *step(struct model *m) {
        struct model_app *a = m->apps + chance(&m->state) % N_APPS;

        switch (chance(&m->state) % 24) {
        case 0:
                app_kill(&a->app);
                start(a);
                return "an app killed";
        case 1:
                step_kill_session(a, false);
                return "a registrar killed";
        case 2:
                step_kill_session(a, true);
                return "a keeper killed";
        case 3:
        case 4:
                step_kill_daemon();
                return "pinleased killed";
        default:
                if (a->n == MAX_LIVE || (a->n > 0 && chance(&m->state) % 3 == 0)) {
                        step_deregister(m, a);
                        return "a deregistration";
                }
                step_register(m, a);
                return "a registration";
        }
}

/* --- is it so? --- */

static struct amount sum_of(const struct model_app *a) {
        struct amount sum = { .registrations = a->n };

        for (unsigned int i = 0; i < a->n; i++)
                *(a->live[i].method == PINLEASE_METHOD_PINNED ? &sum.pinned : &sum.odp) += a->live[i].bytes;
        return sum;
}

static bool is_right(const void *argument) {
        struct model *m = *(struct model *const *)argument;
        static struct audited apps[N_APPS];

        for (unsigned int i = 0; i < N_APPS; i++)
                apps[i] = (struct audited) { .app = m->apps[i].app.pid, .should = sum_of(m->apps + i) };
        return audit_is_right(NULL, apps, N_APPS, m->problem, sizeof m->problem);
}

static void run_model(const void *argument _unused_) {
        static struct model m, *const where = &m;
        unsigned int n = soak() ? 20000 : 60;
        unsigned int done;

        m.state = chance_begin();
        view_expect_nothing(NULL);
        for (unsigned int i = 0; i < N_APPS; i++)
                start(m.apps + i);
        for (done = 1; done <= n; done++) {
                const char *what = step(&m);

                if (!eventually(is_right, &where))
                        FAIL("step %u, %s: %s", done, what, m.problem);
        }
        for (unsigned int i = 0; i < N_APPS; i++) {
                app_hang_up(&m.apps[i].app);
                app_finish(&m.apps[i].app);
        }
        view_expect_nothing(NULL);
}

const struct test_case cases_model[] = {
        { "credit: chance against the kernel", run_model, NULL, CASE_LONG },
        { 0 },
};
