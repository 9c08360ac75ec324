/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which ends of pinleased end its sessions, and which do not; draining by the administrator. */

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "fixture.h"
#include "harness.h"
#include "process.h"
#include "service.h"
#include "traffic.h"
#include "view.h"

#define PAGE 4096

/* --- a session with something registered --- */

struct holder {
        struct fixture f;
        struct session session;
        struct memory memory;
        struct pl_register_reply reply;
};

static struct holder holder_open(void) {
        struct holder h = { .f = fixture_open(NULL), .memory = memory_new(MEMORY_MEMFD, 8 * PAGE) };

        h.session = session_of(getpid());
        rdma_connect(&h.f.rdma);
        h.reply = fixture_register(&h.f, &h.memory, PINLEASE_METHOD_PINNED);
        return h;
}

static void holder_works(struct holder *h) {
        raw_ping(&h->f.raw);
        rdma_transfer(&h->f.rdma, h->reply.iova, h->reply.rkey, h->memory.start, h->memory.length, h->reply.id);
}

static bool holder_has_word(const struct holder *h) {
        struct pollfd p = { .fd = h->f.raw.sock, .events = POLLIN };

        return poll(&p, 1, 0) > 0;
}

static void holder_expect_told(struct holder *h, uint32_t grace_ms) {
        struct pl_packet packet = raw_expect_event(&h->f.raw, PL_OP_GOING_AWAY);

        CHECK_EQUAL(packet.body.going_away.grace_ms, grace_ms);
}

static void holder_expect_taken(struct holder *h) {
        raw_expect_end(&h->f.raw);
        session_await_end(&h->session);
        CHECK_EQUAL(rdma_try_transfer(&h->f.rdma, h->reply.iova, h->reply.rkey, NULL, PAGE, 1), IBV_WC_REM_ACCESS_ERR);
}

static void holder_close(struct holder *h) {
        memory_free(&h->memory);
        fixture_close(&h->f);
}

/* --- systemctl --- */

/* Also the sessions of a pinleased that has crashed since. */
static void run_stop_after_crash(const void *argument _unused_) {
        struct holder h = holder_open();
        struct status before, after;
        pid_t stop;

        view_status(NULL, &before);
        CHECK_CALL(kill(before.pid, SIGKILL));
        view_status(NULL, &after);
        CHECK(after.pid != before.pid);
        CHECK_EQUAL(after.resumed, 1);
        holder_works(&h);

        stop = command_start("systemctl stop pinlease.service");
        holder_expect_told(&h, 3000);
        holder_works(&h);
        holder_expect_taken(&h);
        command_finish(stop);
        CHECK_EQUAL(process_daemon(), 0);
        CHECK_EQUAL(process_count(PROCESS_SERVICE), 0);
        CHECK_EQUAL(process_count(PROCESS_WITH_LEDGER), 0);
        holder_close(&h);
}

static void run_replaced(const void *argument) {
        struct holder h = holder_open();
        struct status before, after;

        view_status(NULL, &before);
        command(argument);
        do
                view_status(NULL, &after);
        while (after.pid == before.pid);
        CHECK(strcmp(after.state, "serving") == 0);
        CHECK_EQUAL(after.sessions, 1);
        CHECK_EQUAL(after.resumed, 1);
        CHECK(!holder_has_word(&h));
        holder_works(&h);
        holder_close(&h);
        session_await_end(&h.session);
}

/* --- pinleasectl --- */

static void expect_state(const char *state, unsigned int sessions) {
        struct status status;

        view_status(NULL, &status);
        if (strcmp(status.state, state) != 0)
                FAIL("the state is %s, should be %s", status.state, state);
        CHECK_EQUAL(status.sessions, sessions);
}

static bool has_word(const struct app *app) {
        struct pollfd p = { .fd = app->channel, .events = POLLIN };

        return poll(&p, 1, 0) > 0;
}

static void run_drain(const void *argument _unused_) {
        struct app newcomer = newcomer_start();
        struct holder h = holder_open();
        pid_t drain = command_start("pinleasectl drain --grace 60s");

        /* The app lets go in time. */
        holder_expect_told(&h, 60000);
        expect_state("draining", 1);
        command("! pinleasectl undrain");
        newcomer_connect(&newcomer);
        holder_works(&h);
        raw_deregister(&h.f.raw, h.reply.id);
        holder_close(&h);
        command_finish(drain);
        session_await_end(&h.session);
        expect_state("drained", 0);

        /* Connections wait. */
        command("pinleasectl drain");
        command("pinleasectl status | grep -q drained");
        CHECK(!has_word(&newcomer));
        command("pinleasectl undrain");
        newcomer_served(&newcomer);
        view_expect_nothing(NULL);
        expect_state("serving", 0);

        /* The app does not let go. */
        h = holder_open();
        drain = command_start("pinleasectl drain --grace 200ms");
        holder_expect_told(&h, 200);
        holder_expect_taken(&h);
        command_finish(drain);
        expect_state("drained", 0);
        holder_close(&h);

        /* A restart forgets it. */
        newcomer_connect(&newcomer);
        command("pinleasectl status | grep -q drained");
        CHECK(!has_word(&newcomer));
        command("systemctl restart pinlease.service");
        newcomer_served(&newcomer);
        newcomer_stop(&newcomer);
        view_expect_nothing(NULL);
}

/* A session whose pinleased dies while it drains has been told, and goes on being the service's. */
static void run_drain_killed(const void *argument _unused_) {
        struct holder h = holder_open();
        struct status status;
        pid_t drain = command_start("pinleasectl drain --grace 60s; true");

        holder_expect_told(&h, 60000);
        view_status(NULL, &status);
        CHECK_CALL(kill(status.pid, SIGKILL));
        command_finish(drain);
        view_status(NULL, &status);
        CHECK_EQUAL(status.sessions, 1);
        holder_works(&h);
        drain = command_start("pinleasectl drain --grace 200ms");
        holder_expect_told(&h, 200);
        holder_expect_taken(&h);
        command_finish(drain);
        command("pinleasectl undrain");
        holder_close(&h);
}

static pid_t start_revoke(const struct pl_register_reply *reply) {
        static struct view view;
        char text[128];

        view_list(NULL, &view);
        (void)snprintf(text,
                       sizeof text,
                       "pinleasectl revoke %" PRIu64 ".%" PRIu64 " --grace 60s --json | grep '\"released\": *1'",
                       view_of(&view, getpid())->id,
                       reply->id >> 32);
        return command_start(text);
}

/* What a former pinleased has asked is still done, but is no answer to what its successor asks. */
static void run_revoke_killed(const void *argument _unused_) {
        struct holder h = holder_open();
        struct pl_register_reply other = fixture_register(&h.f, &h.memory, PINLEASE_METHOD_ODP);
        struct status status;
        int wait_status;
        pid_t first, second;

        first = start_revoke(&h.reply);
        CHECK_EQUAL(raw_expect_event(&h.f.raw, PL_OP_REVOKING).body.revoking.id, h.reply.id);
        view_status(NULL, &status);
        CHECK_CALL(kill(status.pid, SIGKILL));
        CHECK_CALL(waitpid(first, &wait_status, 0));
        CHECK(wait_status != 0);

        second = start_revoke(&other);
        CHECK_EQUAL(raw_expect_event(&h.f.raw, PL_OP_REVOKING).body.revoking.id, other.id);
        raw_deregister(&h.f.raw, h.reply.id);
        raw_ping(&h.f.raw);
        view_status(NULL, &status);
        CHECK_EQUAL(waitpid(second, &wait_status, WNOHANG), 0);
        raw_deregister(&h.f.raw, other.id);
        command_finish(second);
        holder_close(&h);
        session_await_end(&h.session);
}

const struct test_case cases_drain[] = {
        { "restart: pinleased is killed while it revokes", run_revoke_killed, NULL, 0 },
        { "restart: stop after a crash ends the former's sessions", run_stop_after_crash, NULL, 0 },
        { "restart: SIGKILL tells no app",
          run_replaced,
          "systemctl kill --kill-whom=main -s KILL pinlease.service",
          CASE_ANYWHERE },
        { "restart: systemctl restart tells no app", run_replaced, "systemctl restart pinlease.service", 0 },
        { "restart: systemctl try-restart tells no app", run_replaced, "systemctl try-restart pinlease.service", 0 },
        { "restart: SIGTERM tells no app", run_replaced, "systemctl kill --kill-whom=main -s TERM pinlease.service", 0 },
        { "restart: restart of the sockets tells no app", run_replaced, "systemctl restart pinlease.socket", 0 },
        { "drain: until undrain", run_drain, NULL, CASE_LONG },
        { "drain: pinleased is killed meanwhile", run_drain_killed, NULL, 0 },
        { 0 },
};
