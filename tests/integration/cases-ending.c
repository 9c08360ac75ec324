/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* How sessions end: by whoever stops, dies or hangs. Whatever it is, the memory regions go, and the app hears of it. */

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "fixture.h"
#include "harness.h"
#include "instance.h"
#include "leftovers.h"
#include "process.h"

#define PAGE 4096

/* --- a session with traffic on a pinned and an ODP registration --- */

struct live {
        struct fixture f;
        struct session session;
        struct memory memory;
        struct pl_register_reply pinned, odp;
        long long own_pins; /* of the transfer's buffer, which the service has nothing to do with */
};

static void check_traffic(struct live *l, uint64_t seed) {
        rdma_transfer(&l->f.rdma, l->pinned.iova, l->pinned.rkey, l->memory.start, l->memory.length, seed);
        rdma_transfer(&l->f.rdma, l->odp.iova, l->odp.rkey, l->memory.start, l->memory.length, seed + 1);
}

static struct live live_open(const char *path) {
        struct live l = { .f = fixture_open(path), .memory = memory_new(MEMORY_MEMFD, 16 * PAGE) };

        l.session = session_of(getpid());
        rdma_connect(&l.f.rdma);
        l.own_pins = leftovers_pinned();
        l.pinned = fixture_register(&l.f, &l.memory, PINLEASE_METHOD_PINNED);
        l.odp = fixture_register(&l.f, &l.memory, PINLEASE_METHOD_ODP);
        CHECK_EQUAL(leftovers_pinned(), l.own_pins + 16);
        check_traffic(&l, 1);
        return l;
}

static bool pins_are_gone(const void *argument) {
        return leftovers_pinned() <= *(const long long *)argument;
}

/* The service has given everything up, while this app and its verbs context live on. */
static void live_expect_taken(struct live *l) {
        raw_expect_end(&l->f.raw);
        session_await_end(&l->session);
        if (!eventually(pins_are_gone, &l->own_pins))
                FAIL("%lld pages are pinned still, %lld of them the app's own", leftovers_pinned(), l->own_pins);
        CHECK_EQUAL(rdma_try_transfer(&l->f.rdma, l->pinned.iova, l->pinned.rkey, NULL, PAGE, 1),
                    IBV_WC_REM_ACCESS_ERR);
}

static void live_close(struct live *l) {
        memory_free(&l->memory);
        fixture_close(&l->f);
}

/* --- the processes of a session --- */

static void run_registrar_killed(const void *argument _unused_) {
        struct live l = live_open(NULL);

        CHECK_CALL(pidfd_send_signal(l.session.registrar_fd, SIGKILL, NULL, 0));
        live_expect_taken(&l);
        live_close(&l);
}

static void run_keeper_killed(const void *argument _unused_) {
        struct live l = live_open(NULL);

        CHECK_CALL(pidfd_send_signal(l.session.keeper_fd, SIGKILL, NULL, 0));
        live_expect_taken(&l);
        live_close(&l);
}

static void run_registrar_stopped(const void *argument _unused_) {
        struct instance instance =
                instance_start((const char *const[]) { "--heartbeat", "200", "--hang", "500", NULL });
        struct live l = live_open(instance.path);
        struct pl_packet ping;

        /* Neither its pidfd nor its sockets say anything. As long as the app wants nothing, nobody misses it. */
        CHECK_CALL(pidfd_send_signal(l.session.registrar_fd, SIGSTOP, NULL, 0));
        pl_packet_init(&ping, PL_OP_PING, ++l.f.raw.seq);
        CHECK_EQUAL(raw_send(&l.f.raw, &ping, ping.header.length, NULL, 0), 0);
        live_expect_taken(&l);
        live_close(&l);
        instance_stop(&instance);
}

/* Stopped for less than that it goes on. */
static void run_registrar_pauses(const void *argument _unused_) {
        struct live l = live_open(NULL);

        CHECK_CALL(pidfd_send_signal(l.session.registrar_fd, SIGSTOP, NULL, 0));
        check_traffic(&l, 3);
        CHECK_CALL(pidfd_send_signal(l.session.registrar_fd, SIGCONT, NULL, 0));
        raw_ping(&l.f.raw);
        check_traffic(&l, 5);
        live_close(&l);
}

/* --- the app --- */

static void live_app(int channel, const void *argument) {
        struct live l = live_open(argument);

        tell_value(channel, (uint64_t)l.own_pins);
        for (uint64_t i = 0;; i++)
                check_traffic(&l, i);
}

static void run_app_killed(const void *argument _unused_) {
        struct app app = app_start(live_app, NULL);
        struct session session;

        await(app.channel);
        session = session_of(app.pid);
        app_kill(&app);
        session_await_end(&session);
}

static void forking_app(int channel, const void *argument) {
        struct live l _unused_ = live_open(argument);
        pid_t child = CHECK_CALL(fork());

        if (child == 0) {
                /* Holds socket, verbs context and mapping, and outlives its parent. */
                tell(channel);
                await_end(channel);
                _exit(0);
        }
        tell_value(channel, (uint64_t)child);
        for (;;)
                (void)pause();
}

static void run_app_with_child_killed(const void *argument _unused_) {
        struct app app = app_start(forking_app, NULL);
        int channel = app.channel, child_fd;
        uint64_t first = await_value(channel), second = await_value(channel);
        struct session session = session_of(app.pid);
        long long zero = 0;

        child_fd = CHECK_CALL(pidfd_open((pid_t)(first ? first : second), 0));
        app.channel = -1;
        app_kill(&app);
        session_await_end(&session);
        /* The transfer's own buffer is the child's by now; the service's pins are gone with the session. */
        zero = 2 * RDMA_BUFFER / PAGE;
        if (!eventually(pins_are_gone, &zero))
                FAIL("%lld pages are pinned still", leftovers_pinned());
        close(channel);
        await_readable(child_fd, "the child to end");
        close(child_fd);
}

/* Its memory regions do not need the app's memory: unmapped and closed there, they work. */
static void run_unmapped(const void *argument _unused_) {
        struct live l = live_open(NULL);

        memory_free(&l.memory);
        rdma_transfer(&l.f.rdma, l.pinned.iova, l.pinned.rkey, NULL, 16 * PAGE, 3);
        rdma_transfer(&l.f.rdma, l.odp.iova, l.odp.rkey, NULL, 16 * PAGE, 4);
        fixture_close(&l.f);
}

/* Closes its verbs context without detaching: the session holds the context, and lets it go at its end. */
static void run_context_closed_first(const void *argument _unused_) {
        struct fixture f = fixture_open(NULL);
        struct memory memory = memory_new(MEMORY_MEMFD, 4 * PAGE);

        (void)fixture_register(&f, &memory, PINLEASE_METHOD_PINNED);
        CHECK_EQUAL(ibv_dealloc_pd(f.rdma.pd), EBUSY);
        CHECK_EQUAL(ibv_close_device(f.rdma.context), 0);
        raw_ping(&f.raw);
        raw_close(&f.raw);
}

/* --- the daemon --- */

static void run_stop(const void *argument _unused_) {
        struct live l = live_open(NULL);
        struct pl_packet packet;
        struct raw again;
        pid_t stop;
        int status;

        stop = CHECK_CALL(fork());
        if (stop == 0) {
                (void)execlp("systemctl", "systemctl", "stop", "pinlease.service", (char *)NULL);
                _exit(127);
        }
        CHECK_EQUAL(raw_recv(&l.f.raw, &packet), 0);
        CHECK_EQUAL(packet.header.opcode, PL_OP_GOING_AWAY);
        CHECK_EQUAL(packet.body.going_away.reason, PL_AWAY_SHUTDOWN);
        CHECK_EQUAL(packet.body.going_away.grace_ms, 3000);
        /* Within the grace all works as before. */
        raw_ping(&l.f.raw);
        check_traffic(&l, 3);
        live_expect_taken(&l);
        CHECK_CALL(waitpid(stop, &status, 0));
        CHECK_EQUAL(status, 0);

        /* The socket is still systemd's: who connects starts the service again. */
        again = raw_open(NULL);
        raw_ping(&again);
        raw_close(&again);
        live_close(&l);
}

/* Who lets go when told holds nobody up. */
static void run_stop_heeded(const void *argument _unused_) {
        struct instance instance = instance_start((const char *const[]) { "--grace", "600000", NULL });
        struct live l = live_open(instance.path);
        struct pl_packet packet;

        CHECK_CALL(kill(instance.pid, SIGINT));
        CHECK_EQUAL(raw_recv(&l.f.raw, &packet), 0);
        CHECK_EQUAL(packet.header.opcode, PL_OP_GOING_AWAY);
        CHECK_EQUAL(packet.body.going_away.grace_ms, 600000);
        raw_deregister(&l.f.raw, l.pinned.id);
        raw_deregister(&l.f.raw, l.odp.id);
        raw_close(&l.f.raw);
        /* A second signal changes nothing. */
        instance_stop(&instance);
        session_await_end(&l.session);
        rdma_close(&l.f.rdma);
}

const struct test_case cases_ending[] = {
        { "ending: the registrar is killed", run_registrar_killed, NULL, CASE_ANYWHERE },
        { "ending: the keeper is killed", run_keeper_killed, NULL, CASE_ANYWHERE },
        { "ending: the registrar is stopped", run_registrar_stopped, NULL, 0 },
        { "ending: the registrar pauses", run_registrar_pauses, NULL, 0 },
        { "ending: the app is killed", run_app_killed, NULL, CASE_ANYWHERE },
        { "ending: the app is killed, its child lives", run_app_with_child_killed, NULL, 0 },
        { "ending: the app unmaps its memory", run_unmapped, NULL, 0 },
        { "ending: the app closes its verbs context first", run_context_closed_first, NULL, 0 },
        { "ending: the service is stopped", run_stop, NULL, 0 },
        { "ending: the service is stopped, the app lets go", run_stop_heeded, NULL, 0 },
        { 0 },
};
