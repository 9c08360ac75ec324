/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * An upgrade: the sessions of a pinleased of another version go on under this one. The older programs are those of this tree,
 * built with other version numbers.
 */

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "fixture.h"
#include "harness.h"
#include "instance.h"
#include "process.h"
#include "service.h"
#include "view.h"

#define PAGE UINT64_C(4096)

static const char *const old_sessions[] = { "--session-program", TEST_PROGRAMS "/pinlease-session-old", NULL };
static const char *const other_ledgers[] = { "--session-program", TEST_PROGRAMS "/pinlease-session-ledger", NULL };

/* Registers, and transfers when told to, until the channel ends, or the service takes it away. */
static void old_app(int channel, const void *argument) {
        struct fixture f = fixture_open(argument);
        struct memory memory = memory_new(MEMORY_MEMFD, 8 * PAGE);
        struct pl_register_reply lasting, r;
        struct pl_packet packet;

        rdma_connect(&f.rdma);
        lasting = fixture_register(&f, &memory, PINLEASE_METHOD_PINNED);
        tell(channel);
        while (await_value(channel) == 0) {
                rdma_transfer(&f.rdma, lasting.iova, lasting.rkey, memory.start, memory.length, 1);
                r = fixture_register(&f, &memory, PINLEASE_METHOD_ODP);
                rdma_transfer(&f.rdma, r.iova, r.rkey, memory.start, memory.length, 2);
                raw_deregister(&f.raw, r.id);
                raw_ping(&f.raw);
                tell(channel);
        }
        packet = raw_expect_event(&f.raw, PL_OP_GOING_AWAY);
        CHECK_EQUAL(packet.body.going_away.grace_ms, 200);
        raw_expect_end(&f.raw);
        CHECK_EQUAL(rdma_try_transfer(&f.rdma, lasting.iova, lasting.rkey, NULL, PAGE, 1), IBV_WC_REM_ACCESS_ERR);
        fixture_close(&f);
}

static void works(struct app *app) {
        tell(app->channel);
        await(app->channel);
}

static void drain(const struct instance *instance) {
        char text[256];

        (void)snprintf(text, sizeof text, "pinleasectl --socket %s/admin.sock drain --grace 200ms", instance->directory);
        command(text);
}

static bool is_alone(const void *argument) {
        static struct view view;

        view_list(argument, &view);
        return view.n == 1;
}

static void run_session(const void *argument _unused_) {
        struct instance instance = instance_start_program(TEST_PROGRAMS "/pinleased-old", old_sessions);
        struct app ends = app_start(old_app, instance.path), stays = app_start(old_app, instance.path), fresh;
        static struct view before, view;
        const struct view_session *session;
        struct session processes;
        struct status status;

        await(ends.channel);
        await(stays.channel);
        works(&stays);
        processes = session_of(ends.pid);
        view_list(instance.directory, &before);
        CHECK(strcmp(view_of(&before, stays.pid)->state, "serving") == 0);
        CHECK_EQUAL(view_of(&before, stays.pid)->n_registrations, 1);

        instance_leave(&instance);
        works(&stays);
        instance_succeed(&instance, NULL);
        works(&stays);
        fresh = app_start(old_app, instance.path);
        await(fresh.channel);
        works(&fresh);

        view_list(instance.directory, &view);
        CHECK_EQUAL(view.n, 3);
        session = view_of(&view, stays.pid);
        CHECK(strcmp(session->state, "other-version") == 0);
        CHECK_EQUAL(session->n_registrations, 0);
        CHECK(session->resumed);
        CHECK(amount_equal(&session->credit, &view_of(&before, stays.pid)->credit));
        CHECK(strcmp(view_of(&view, fresh.pid)->state, "serving") == 0);
        view_status(instance.directory, &status);
        CHECK_EQUAL(status.other_version, 2);

        /* Its app ends; the others are drained. */
        app_kill(&ends);
        session_await_end(&processes);
        works(&stays);
        tell_value(stays.channel, 1);
        app_kill(&fresh);
        if (!eventually(is_alone, instance.directory))
                FAIL("sessions whose apps are gone are listed");
        drain(&instance);
        app_finish(&stays);
        view_expect_nothing(instance.directory);
        instance_stop(&instance);
}

/* What is in a ledger of another version nobody can tell, but the session is one like any other. */
static void run_ledger(const void *argument _unused_) {
        struct instance instance = instance_start(other_ledgers);
        struct app app = app_start(old_app, instance.path);
        static struct view view;
        const struct view_session *session;

        await(app.channel);
        for (unsigned int i = 0; i < 2; i++) {
                works(&app);
                view_list(instance.directory, &view);
                session = view_of(&view, app.pid);
                CHECK(strcmp(session->state, "serving") == 0);
                CHECK_EQUAL(session->n_registrations, 0);
                CHECK_EQUAL(session->in_use.registrations, 0);
                CHECK(session->credit.pinned > 0);
                instance_kill(&instance);
                instance_succeed(&instance, NULL);
        }
        works(&app);
        tell_value(app.channel, 1);
        drain(&instance);
        app_finish(&app);
        view_expect_nothing(instance.directory);
        instance_stop(&instance);
}

/* It has set its signals up. */
static bool listens_to_signals(const void *argument) {
        const struct instance *instance = argument;
        char value[32];

        return process_status(instance->pid, "SigBlk", value, sizeof value) &&
               strtoull(value, NULL, 16) & UINT64_C(1) << (SIGINT - 1);
}

/* Told to end all sessions before they have come: a keeper that stands still delays it, but is not forgotten. */
static void run_told_early(const void *argument _unused_) {
        struct instance instance = instance_start(NULL);
        struct fixture f = fixture_open(instance.path);
        struct session session = session_of(getpid());

        CHECK_CALL(pidfd_send_signal(session.keeper_fd, SIGSTOP, NULL, 0));
        instance_kill(&instance);
        instance_succeed_soon(&instance, NULL);
        if (!eventually(listens_to_signals, &instance))
                FAIL("pinleased does not come up");
        CHECK_CALL(kill(instance.pid, SIGINT));
        CHECK_CALL(pidfd_send_signal(session.keeper_fd, SIGCONT, NULL, 0));
        (void)raw_expect_event(&f.raw, PL_OP_GOING_AWAY);
        raw_expect_end(&f.raw);
        instance_stop(&instance);
        session_await_end(&session);
        fixture_close(&f);
}

const struct test_case cases_version[] = {
        { "restart: told to end before sessions have come", run_told_early, NULL, 0 },
        { "restart: sessions of another version", run_session, NULL, 0 },
        { "restart: a ledger of another version", run_ledger, NULL, 0 },
        { 0 },
};
