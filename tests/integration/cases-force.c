/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Apps that do what they can so that a registration cannot be taken away from them. It is, in time, and nothing else
 * is. */

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#include "calls.h"
#include "ctl.h"
#include "fixture.h"
#include "harness.h"
#include "holder.h"
#include "process.h"

#define PAGE 4096
#define GRACE_MS 100

/* From the deadline on. The ladder takes 300 ms on a machine that works; this one may stand still for as long. */
#define BOUND_MS 3000

/* The ladder may be climbed again a second later, against threads that are many. Well inside lease-break-time, 45 s. */
#define BOUND_AGAIN_MS 15000

struct adversary {
        enum ibv_mw_type window; /* one of this type is bound; 0: none */
        bool binds;              /* a thread binds windows again and again */
        unsigned int queries;    /* so many threads query the MR, */
        unsigned int changes;    /* re-register it, */
        unsigned int writes;     /* write to it by RDMA */
        bool stopped;            /* it has been stopped by its user */
};

enum word {
        WRITE,        /* by the registration's key: answers the work's status */
        WRITE_WINDOW, /* by the window's */
        TRANSFER,     /* by the other registration's, and compares the bytes */
        PING,
        DEREGISTER,  /* answers errno: a registration that is to be taken away is not taken away by that alone */
        N_CONTINUED, /* how often it has gone on again after having been stopped */
        REST,        /* the threads end */
};

/* The app's, for its threads. */
static struct app_state {
        const struct adversary *adversary;
        struct fixture f;
        struct memory memories[2];
        struct pl_register_reply replies[2];
        struct ibv_mw *window;
        pthread_t threads[16];
        unsigned int n_threads;
        atomic_bool over;
        atomic_uint n_rounds;
} state;

static volatile sig_atomic_t n_continued;

static void on_continued(int number _unused_) {
        n_continued++;
}

/* --- windows --- */

static enum ibv_wc_status wait_for(struct ibv_cq *cq) {
        struct ibv_wc wc;

        while (ibv_poll_cq(cq, 1, &wc) == 0)
                if (atomic_load(&state.over))
                        return IBV_WC_SUCCESS;
        return wc.status;
}

static struct ibv_mw *bind_window(struct rdma *rdma, const struct pl_register_reply *r, enum ibv_mw_type type) {
        return (type == IBV_MW_TYPE_2 ? rdma_bind_second_window
                                      : rdma_bind_window)(rdma, r->handle, r->lkey, r->rkey, r->iova, r->length);
}

/* --- threads --- */

/* Queue pairs of its own, on the same context and protection domain. They go with the process. */
static struct rdma own_connection(void) {
        struct rdma rdma = { .context = state.f.rdma.context, .pd = state.f.rdma.pd };

        rdma_connect(&rdma);
        return rdma;
}

static void *queries(void *unused _unused_) {
        while (!atomic_load(&state.over)) {
                (void)call_query_mr(state.f.rdma.context->cmd_fd, state.replies[0].handle);
                state.n_rounds++;
        }
        return NULL;
}

static void *changes(void *unused _unused_) {
        while (!atomic_load(&state.over)) {
                (void)call_change_access(
                        state.f.rdma.context->cmd_fd, state.replies[0].handle, ACCESS_READ_WRITE | IBV_ACCESS_MW_BIND);
                state.n_rounds++;
        }
        return NULL;
}

static void *writes(void *unused _unused_) {
        const struct pl_register_reply *r = state.replies;
        struct rdma rdma = own_connection();

        state.n_rounds++;
        while (!atomic_load(&state.over))
                if (rdma_write_from(&rdma,
                                    (uintptr_t)rdma.buffer,
                                    rdma.buffer_mr->lkey,
                                    r->iova,
                                    r->rkey,
                                    (uint32_t)r->length) != IBV_WC_SUCCESS)
                        rdma_reconnect(&rdma);
        return NULL;
}

/* The newest two are there at any time. */
static void *binds(void *unused _unused_) {
        const struct pl_register_reply *r = state.replies;
        struct rdma rdma = own_connection();
        struct ibv_mr mr = {
                .context = rdma.context, .pd = rdma.pd, .handle = r->handle, .lkey = r->lkey, .rkey = r->rkey
        };
        struct ibv_mw_bind bind = {
                .bind_info = { .mr = &mr,
                               .addr = r->iova,
                               .length = r->length,
                               .mw_access_flags = IBV_ACCESS_REMOTE_WRITE },
        };
        struct ibv_mw *last = NULL;

        while (!atomic_load(&state.over)) {
                struct ibv_mw *mw = ibv_alloc_mw(rdma.pd, IBV_MW_TYPE_1);

                if (!mw)
                        continue;
                if (ibv_bind_mw(rdma.active, mw, &bind) != 0 || wait_for(rdma.cq) != IBV_WC_SUCCESS)
                        rdma_reconnect(&rdma);
                if (last)
                        (void)ibv_dealloc_mw(last);
                last = mw;
                state.n_rounds++;
        }
        return NULL;
}

static void start_threads(void *(*function)(void *), unsigned int n) {
        for (unsigned int i = 0; i < n; i++)
                CHECK_EQUAL(pthread_create(state.threads + state.n_threads++, NULL, function, NULL), 0);
}

static void rest(void) {
        atomic_store(&state.over, true);
        while (state.n_threads > 0)
                CHECK_EQUAL(pthread_join(state.threads[--state.n_threads], NULL), 0);
}

/* --- the app --- */

static enum ibv_wc_status write_to(uint32_t rkey) {
        struct rdma *rdma = &state.f.rdma;
        enum ibv_wc_status status;

        status = rdma_write_from(
                rdma, (uintptr_t)rdma->buffer, rdma->buffer_mr->lkey, state.replies[0].iova, rkey, PAGE);
        if (status != IBV_WC_SUCCESS)
                rdma_reconnect(rdma);
        return status;
}

static uint64_t obey(uint64_t word) {
        static uint64_t round;
        enum ibv_wc_status status;

        switch (word) {
        case WRITE:
                return write_to(state.replies[0].rkey);
        case WRITE_WINDOW:
                return write_to(state.window->rkey);
        case TRANSFER:
                status = rdma_try_transfer(&state.f.rdma,
                                           state.replies[1].iova,
                                           state.replies[1].rkey,
                                           state.memories[1].start,
                                           state.memories[1].length,
                                           ++round);
                if (status != IBV_WC_SUCCESS)
                        rdma_reconnect(&state.f.rdma);
                return status;
        case PING:
                (void)holder_read_events(&state.f.raw);
                raw_ping(&state.f.raw);
                return 0;
        case DEREGISTER:
                errno = 0;
                (void)call_deregister_mr(state.f.rdma.context->cmd_fd, state.replies[0].handle);
                return (uint64_t)errno;
        case N_CONTINUED:
                return (uint64_t)n_continued;
        default:
                rest();
                return 0;
        }
}

static void serve(int channel) {
        uint64_t word;

        while (recv(channel, &word, sizeof word, 0) == sizeof word)
                tell_value(channel, obey(word));
        rest();
}

static void adversary(int channel, const void *argument) {
        const struct adversary *a = argument;

        (void)signal(SIGCONT, on_continued);
        state.f = fixture_open(NULL);
        for (size_t i = 0; i < ELEMENTSOF(state.replies); i++) {
                state.memories[i] = memory_new(MEMORY_MEMFD, 16 * PAGE);
                state.replies[i] = fixture_register(&state.f, state.memories + i, PINLEASE_METHOD_PINNED);
        }
        rdma_connect(&state.f.rdma);
        if (a->window || a->binds)
                CHECK_CALL(call_change_access(
                        state.f.rdma.context->cmd_fd, state.replies[0].handle, ACCESS_READ_WRITE | IBV_ACCESS_MW_BIND));
        if (a->window)
                state.window = bind_window(&state.f.rdma, state.replies, a->window);

        start_threads(queries, a->queries);
        start_threads(changes, a->changes);
        start_threads(writes, a->writes);
        start_threads(binds, a->binds ? 1 : 0);
        tell_value(channel, state.replies[0].id >> 32);
        serve(channel);
}

/* --- the case --- */

static uint64_t ask(const struct app *app, enum word word) {
        tell_value(app->channel, word);
        return await_value(app->channel);
}

static char run_state(pid_t pid) {
        char text[32] = "";

        (void)process_status(pid, "State", text, sizeof text);
        return text[0];
}

static bool is_stopped(const void *app) {
        return run_state(((const struct app *)app)->pid) == 'T';
}

/* Takes the first registration away. Returns how long after the deadline the answer came, in ms, and what it was. */
static uint64_t take_away(const struct app *app, unsigned int number, long long *ret_forced) {
        struct json_object *documents, *result;
        uint64_t began, took;
        char pid[16], call[160];
        bool end = false;
        int sock;

        (void)snprintf(pid, sizeof pid, "%d", (int)app->pid);
        documents = ctl_json(NULL, "list", "--pid", pid, NULL);
        (void)snprintf(call,
                       sizeof call,
                       "{\"method\":\"revoke\",\"parameters\":{\"id\":\"%s.%u\",\"grace_ms\":%u}}",
                       ctl_text(ctl_find(documents, "session", "pid", pid), "id"),
                       number,
                       GRACE_MS);
        json_object_put(documents);

        sock = ctl_connect(NULL);
        began = pl_now_ms();
        ctl_call(sock, call);
        result = ctl_receive(sock, &end);
        took = pl_now_ms() - began;
        CHECK(result != NULL && end);
        *ret_forced = ctl_number(result, "forced");
        CHECK_EQUAL(ctl_number(result, "forced") + ctl_number(result, "kept"), 1);
        json_object_put(result);
        close(sock);
        return took > GRACE_MS ? took - GRACE_MS : 0;
}

static bool is_gone(const void *app) {
        return ask(app, WRITE) == IBV_WC_REM_ACCESS_ERR;
}

/*
 * Which rungs of the ladder it takes. Against windows the first is not enough, whatever the machine does, and the third
 * is where they stay as they are; who stands still already is not stopped. Against threads that keep the region busy it
 * is chance which attempt comes between two of their calls, the first or one with the app stopped: that the ladder goes
 * on to that is known of an app that is always busy (tests/unit/test_force.c, test_freeze.c).
 */
static void expect_rungs(const struct adversary *a, long long forced, uint64_t stops) {
        bool is_busy = a->queries + a->changes + a->writes > 0;

        if (a->window && !a->binds && !is_busy) {
                CHECK_EQUAL(forced, 1);
                CHECK_EQUAL(stops, 0);
        }
        if (a->stopped)
                CHECK_EQUAL(stops, 0);
}

static void run_against(const void *argument) {
        const struct adversary *a = argument;
        struct app other = bystander_start(NULL), app = app_start(adversary, a);
        unsigned int number = (unsigned int)await_value(app.channel);
        uint64_t began, took, stops, bound = a->queries + a->changes > 1 ? BOUND_AGAIN_MS : BOUND_MS;
        long long forced;

        CHECK_EQUAL(ask(&app, WRITE), IBV_WC_SUCCESS);
        CHECK_EQUAL(ask(&app, TRANSFER), IBV_WC_SUCCESS);
        if (a->window)
                CHECK_EQUAL(ask(&app, WRITE_WINDOW), IBV_WC_SUCCESS);
        if (a->window && a->queries + a->changes == 0)
                CHECK_EQUAL(ask(&app, DEREGISTER), EINVAL);
        if (a->stopped) {
                CHECK_CALL(kill(app.pid, SIGSTOP));
                CHECK(eventually(is_stopped, &app));
        }

        began = pl_now_ms();
        took = take_away(&app, number, &forced);
        if (a->stopped) {
                CHECK_EQUAL(run_state(app.pid), 'T');
                CHECK_EQUAL(forced, 1);
                CHECK_CALL(kill(app.pid, SIGCONT));
        }
        if (forced)
                CHECK_EQUAL(ask(&app, WRITE), IBV_WC_REM_ACCESS_ERR);
        else
                CHECK(eventually(is_gone, &app));
        stops = ask(&app, N_CONTINUED) - a->stopped;
        (void)printf("# answered %" PRIu64 " ms after the deadline, forced: %lld, gone after %" PRIu64
                     " ms, stopped %" PRIu64 " times\n",
                     took,
                     forced,
                     pl_now_ms() - began,
                     stops);
        (void)fflush(stdout);
        expect_rungs(a, forced, stops);
        CHECK(took < BOUND_MS && pl_now_ms() - began < bound + GRACE_MS);
        if (a->window)
                CHECK_EQUAL(ask(&app, WRITE_WINDOW), IBV_WC_REM_ACCESS_ERR);

        /* Nothing else is gone, while it goes on as before, and afterwards. */
        CHECK_EQUAL(ask(&app, TRANSFER), IBV_WC_SUCCESS);
        CHECK(run_state(app.pid) != 'T');
        (void)ask(&app, REST);
        CHECK_EQUAL(ask(&app, TRANSFER), IBV_WC_SUCCESS);
        (void)ask(&app, PING);
        bystander_proves(&other);
        app_hang_up(&app);
        app_finish(&app);
        bystander_stop(&other);
}

static bool has_no_session(const void *app) {
        struct session session;

        return !session_find(((const struct app *)app)->pid, &session);
}

/* Nobody but the keeper is left to take all away. */
static void run_by_keeper(const void *argument) {
        struct app other = bystander_start(NULL), app = app_start(adversary, argument);
        struct session session;

        (void)await_value(app.channel);
        session = session_of(app.pid);
        CHECK_EQUAL(ask(&app, WRITE_WINDOW), IBV_WC_SUCCESS);
        CHECK_CALL(pidfd_send_signal(session.registrar_fd, SIGKILL, NULL, 0));
        session_await_end(&session);
        CHECK_EQUAL(ask(&app, WRITE), IBV_WC_REM_ACCESS_ERR);
        CHECK_EQUAL(ask(&app, WRITE_WINDOW), IBV_WC_REM_ACCESS_ERR);
        CHECK_EQUAL(ask(&app, TRANSFER), IBV_WC_REM_ACCESS_ERR);
        CHECK(run_state(app.pid) != 'T');
        bystander_proves(&other);
        app_hang_up(&app);
        app_finish(&app);
        bystander_stop(&other);
}

/* --- an app that ends, and leaves others with all that it had --- */

/* The app: has a verbs context that its parent has opened, and a child that keeps context and session. */
static _Noreturn void leave_child(int line, int childs_line, const struct rdma *target) {
        struct fixture *f = &state.f;

        *f = (struct fixture) { .rdma = *target, .raw = raw_open(NULL) };
        f->context = raw_attach(&f->raw, target->context->cmd_fd);
        for (size_t i = 0; i < ELEMENTSOF(state.replies); i++) {
                state.memories[i] = memory_new(MEMORY_MEMFD, 16 * PAGE);
                state.replies[i] = fixture_register(f, state.memories + i, PINLEASE_METHOD_PINNED);
        }
        if (CHECK_CALL(fork()) == 0) {
                close(line);
                await_end(childs_line);
                _exit(0);
        }
        CHECK_EQUAL(send(line, state.replies, sizeof state.replies, 0), sizeof state.replies);
        (void)await_value(line);
        _exit(0);
}

/* A connection anew: one error is the end of a queue pair. */
static enum ibv_wc_status write_by_peer(struct rdma *peer, struct rdma *target, uint64_t iova, uint32_t rkey) {
        rdma_connect_two(peer, target);
        return rdma_write_from(peer, (uintptr_t)peer->buffer, peer->buffer_mr->lkey, iova, rkey, PAGE);
}

static void run_child(const void *argument _unused_) {
        struct app other = bystander_start(NULL), app = { 0 };
        struct rdma peer = rdma_open("rxe_a"), target = rdma_open("rxe_a");
        const struct pl_register_reply *r = state.replies;
        int line[2], childs_line[2];

        CHECK_CALL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, line));
        CHECK_CALL(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, childs_line));
        app.pid = CHECK_CALL(fork());
        if (app.pid == 0) {
                close(line[0]);
                close(childs_line[0]);
                leave_child(line[1], childs_line[1], &target);
        }
        close(line[1]);
        close(childs_line[1]);
        await_readable(line[0], "the app's registrations");
        CHECK_EQUAL(recv(line[0], state.replies, sizeof state.replies, 0), sizeof state.replies);

        state.f.rdma = target;
        CHECK_CALL(
                call_change_access(state.f.rdma.context->cmd_fd, r[0].handle, ACCESS_READ_WRITE | IBV_ACCESS_MW_BIND));
        CHECK_EQUAL(write_by_peer(&peer, &target, r[0].iova, r[0].rkey), IBV_WC_SUCCESS);
        CHECK_EQUAL(write_by_peer(&peer, &target, r[1].iova, r[1].rkey), IBV_WC_SUCCESS);
        rdma_connect_two(&peer, &target);
        state.window = bind_window(&target, r, IBV_MW_TYPE_2);
        CHECK_EQUAL(rdma_write_from(
                            &peer, (uintptr_t)peer.buffer, peer.buffer_mr->lkey, r[0].iova, state.window->rkey, PAGE),
                    IBV_WC_SUCCESS);

        tell_value(line[0], 0);
        CHECK(eventually(has_no_session, &app));
        CHECK_EQUAL(rdma_write_from(
                            &peer, (uintptr_t)peer.buffer, peer.buffer_mr->lkey, r[0].iova, state.window->rkey, PAGE),
                    IBV_WC_REM_ACCESS_ERR);
        CHECK_EQUAL(write_by_peer(&peer, &target, r[0].iova, r[0].rkey), IBV_WC_REM_ACCESS_ERR);
        CHECK_EQUAL(write_by_peer(&peer, &target, r[1].iova, r[1].rkey), IBV_WC_REM_ACCESS_ERR);
        /* The child has been there all the while: nobody else has that end. */
        CHECK_EQUAL(poll(&(struct pollfd) { .fd = childs_line[0] }, 1, 0), 0);
        close(childs_line[0]);
        close(line[0]);
        bystander_stop(&other);
}

#define AGAINST(...) run_against, &(const struct adversary) { __VA_ARGS__ }, 0

const struct test_case cases_force[] = {
        { "force: a memory window of type 1", AGAINST(.window = IBV_MW_TYPE_1) },
        { "force: a memory window of type 2", AGAINST(.window = IBV_MW_TYPE_2) },
        { "force: a thread that binds windows again and again", AGAINST(.window = IBV_MW_TYPE_1, .binds = true) },
        { "force: a thread that queries", AGAINST(.queries = 1) },
        { "force: eight threads that query", AGAINST(.queries = 8) },
        { "force: a thread that re-registers", AGAINST(.changes = 1) },
        { "force: eight threads that query and re-register", AGAINST(.queries = 4, .changes = 4) },
        { "force: under traffic", AGAINST(.writes = 2) },
        { "force: all at once",
          AGAINST(.window = IBV_MW_TYPE_1, .binds = true, .queries = 2, .changes = 2, .writes = 1) },
        { "force: an app that is stopped", AGAINST(.window = IBV_MW_TYPE_1, .stopped = true) },
        { "force: the registrar is killed meanwhile",
          run_by_keeper,
          &(const struct adversary) { .window = IBV_MW_TYPE_1, .binds = true, .queries = 4, .changes = 4 },
          0 },
        { "force: a child that keeps everything", run_child, NULL, 0 },
        { 0 },
};
