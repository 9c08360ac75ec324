/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Private memory that a rule has pinned: the app pins, and the service raises its limit of locked memory for that. */

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "leftovers.h"
#include "private.h"
#include "process.h"
#include "ruled.h"

#define MIB (UINT64_C(1) << 20)
#define LENGTH (8 * MIB)
#define HELD MIB
#define PART (64U << 10)
#define OWN (64U << 10) /* what the app may lock by itself, on top of the test's own buffers */

static const char rule[] = "{\"version\": 1, \"rules\": [{\"name\": \"pins\", \"match\": {\"backing\": \"anon\"}, "
                           "\"allow\": true, \"methods\": [\"pinned\"]}]}";

static uint64_t pinned_of(pid_t pid) {
        char value[32];

        CHECK(process_status(pid, "VmPin", value, sizeof value));
        return strtoull(value, NULL, 10) << 10;
}

static bool limit_is(const void *argument) {
        const struct rlimit *should = argument;
        struct rlimit limit;

        CHECK_CALL(getrlimit(RLIMIT_MEMLOCK, &limit));
        return limit.rlim_cur == should->rlim_cur && limit.rlim_max == should->rlim_max;
}

static void await_limit(uint64_t soft, uint64_t hard) {
        const struct rlimit should = { soft, hard };
        struct rlimit limit;

        if (eventually(limit_is, &should))
                return;
        CHECK_CALL(getrlimit(RLIMIT_MEMLOCK, &limit));
        CHECK_EQUAL(limit.rlim_cur, soft);
        CHECK_EQUAL(limit.rlim_max, hard);
}

static void set_limit(uint64_t soft, uint64_t hard) {
        const struct rlimit limit = { soft, hard };

        CHECK_CALL(setrlimit(RLIMIT_MEMLOCK, &limit));
}

/* A user who may not lock much, nor raise that. *ret_limit: what it may. */
static struct user user_of_little(const char *path, uint64_t length, uint64_t *ret_limit) {
        struct user u;

        become("alice");
        u = user_open(path, length, NULL, NULL);
        *ret_limit = pinned_of(getpid()) + OWN;
        set_limit(*ret_limit, *ret_limit);
        return u;
}

static void expect_bytes(struct user *u, const struct pinlease_mr *mr, uint64_t seed) {
        rdma_transfer(&u->rdma, mr->iova, mr->mr.rkey, u->memory, PART, seed);
        rdma_transfer(&u->rdma, mr->iova + LENGTH - PART, mr->mr.rkey, u->memory + LENGTH - PART, PART, seed + 1);
}

static void expect_own(struct user *u) {
        struct ibv_mr *mr;

        CHECK(!ibv_reg_mr(u->rdma.pd, u->memory, OWN + 1, IBV_ACCESS_LOCAL_WRITE));
        CHECK_EQUAL(errno, ENOMEM);
        mr = ibv_reg_mr(u->rdma.pd, u->memory, OWN, IBV_ACCESS_LOCAL_WRITE);
        CHECK(mr != NULL);
        CHECK_EQUAL(ibv_dereg_mr(mr), 0);
}

static void follows(int channel _unused_, const void *path) {
        struct pinlease_mr *mr, *other;
        uint64_t limit, before;
        struct user u = user_of_little(path, LENGTH, &limit), refused = u;

        /* The service itself has no such rule. */
        CHECK_EQUAL(pinlease_connect(NULL, NULL, NULL, &refused.p), 0);
        user_expect_refusal(&refused, u.memory, PINLEASE_METHOD_PINNED, PINLEASE_CODE_ANON_PIN);
        pinlease_disconnect(refused.p);
        await_limit(limit, limit);

        before = pinned_of(getpid());
        expect_own(&u);
        mr = user_reg(&u, PINLEASE_METHOD_PINNED);
        CHECK_EQUAL(mr->method, PINLEASE_METHOD_PINNED);
        CHECK_EQUAL(mr->backing, PINLEASE_BACKING_ANON);
        CHECK_EQUAL(pinned_of(getpid()), before + LENGTH);
        await_limit(limit + LENGTH, limit + LENGTH);
        expect_bytes(&u, mr, 1);
        expect_own(&u);

        CHECK_EQUAL(user_try_reg(&u, u.memory, MIB, PINLEASE_METHOD_ANY, &other), 0);
        CHECK_EQUAL(pinned_of(getpid()), before + LENGTH + MIB);
        await_limit(limit + LENGTH + MIB, limit + LENGTH + MIB);
        CHECK_EQUAL(pinlease_dereg(u.p, other), 0);
        await_limit(limit + LENGTH, limit + LENGTH);
        CHECK_EQUAL(pinned_of(getpid()), before + LENGTH);
        expect_bytes(&u, mr, 3);
        CHECK_EQUAL(pinlease_dereg(u.p, mr), 0);
        await_limit(limit, limit);
        CHECK_EQUAL(pinned_of(getpid()), before);

        /* What the app has made smaller by itself stays so; the hard limit it does not get by that. */
        CHECK_EQUAL(user_try_reg(&u, u.memory, MIB, PINLEASE_METHOD_PINNED, &other), 0);
        set_limit(OWN / 2, limit + MIB);
        CHECK_EQUAL(pinlease_dereg(u.p, other), 0);
        await_limit(OWN / 2, limit);
        set_limit(limit, limit);
        CHECK_EQUAL(user_try_reg(&u, u.memory, MIB, PINLEASE_METHOD_PINNED, &other), 0);
        user_close(&u);
        await_limit(limit, limit);
}

static void run_follows(const void *argument _unused_) {
        struct ruled ruled = ruled_start(rule);
        struct app app = app_start(follows, ruled.instance.path);

        app_finish(&app);
        ruled_stop(&ruled);
}

static void holds(int channel, const void *path) {
        uint64_t limit;
        struct user u = user_of_little(path, HELD, &limit);

        (void)user_reg(&u, PINLEASE_METHOD_PINNED);
        tell_value(channel, limit);
        await(channel);
        CHECK_EQUAL(pinlease_ping(u.p), -ECONNRESET);
        CHECK_EQUAL(pinned_of(getpid()), limit - OWN);
        user_close(&u);
}

static void run_killed(const void *argument _unused_) {
        struct ruled ruled = ruled_start(rule);
        struct app apps[2] = { app_start(holds, ruled.instance.path), app_start(holds, ruled.instance.path) };
        struct session sessions[2];
        uint64_t limits[2];

        for (unsigned int i = 0; i < 2; i++) {
                limits[i] = await_value(apps[i].channel);
                sessions[i] = session_of(apps[i].pid);
                CHECK_EQUAL(process_memlock(apps[i].pid), limits[i] + HELD);
                CHECK_EQUAL(pinned_of(apps[i].pid), limits[i] - OWN + HELD);
        }
        CHECK_CALL(pidfd_send_signal(sessions[0].registrar_fd, SIGKILL, NULL, 0));
        session_await_end(&sessions[0]);
        CHECK_EQUAL(process_memlock(apps[0].pid), limits[0]);
        tell(apps[0].channel);
        app_finish(&apps[0]);

        CHECK_EQUAL(process_memlock(apps[1].pid), limits[1] + HELD);
        app_kill(&apps[1]);
        session_await_end(&sessions[1]);
        ruled_stop(&ruled);
}

const struct test_case cases_memlock[] = {
        { "memlock: private memory is pinned by a rule, and the app's limit follows", run_follows, NULL, 0 },
        { "memlock: the registrar is killed, or the app", run_killed, NULL, 0 },
        { 0 },
};
