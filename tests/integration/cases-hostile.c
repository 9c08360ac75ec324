/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Ledgers that lie, apps that take no notice, users that want everything: whoever else there is goes on. */

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "ctl.h"
#include "fixture.h"
#include "harness.h"
#include "holder.h"
#include "instance.h"
#include "process.h"

#define PAGE 4096

/* --- a ledger that lies --- */

/* The keeper's own, which a registrar that is out of control can write as well. */
static int open_ledger(pid_t keeper) {
        char folder[64], path[384], target[128];
        struct dirent *e;
        int fd = -1;
        DIR *d;

        (void)snprintf(folder, sizeof folder, "/proc/%d/fd", (int)keeper);
        d = opendir(folder);
        CHECK(d);
        while (fd < 0 && (e = readdir(d))) {
                ssize_t n = readlinkat(dirfd(d), e->d_name, target, sizeof target - 1);

                if (n < 0)
                        continue;
                target[n] = 0;
                if (!strstr(target, "pinlease-ledger"))
                        continue;
                (void)snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
                fd = CHECK_CALL(open(path, O_RDWR | O_CLOEXEC));
        }
        (void)closedir(d);
        CHECK(fd >= 0);
        return fd;
}

/* Magic, version and capacity; what comes after them is believed less. */
#define LEDGER_BEGINNING 16

static void scribble(int fd, off_t from) {
        static uint8_t bytes[1 << 16];
        struct stat st;

        CHECK_CALL(fstat(fd, &st));
        for (off_t at = from; at < st.st_size;) {
                size_t n = (size_t)(st.st_size - at) < sizeof bytes ? (size_t)(st.st_size - at) : sizeof bytes;
                ssize_t written;

                CHECK_CALL(getrandom(bytes, 256, 0));
                for (size_t i = 256; i < n; i++)
                        bytes[i] = (uint8_t)(bytes[i - 256] + bytes[i - 1] + 1);
                written = CHECK_CALL(pwrite(fd, bytes, n, at));
                at += written;
        }
}

/* Until it is killed. */
static void scribbles(int channel _unused_, const void *argument) {
        for (;;)
                scribble(*(const int *)argument, LEDGER_BEGINNING);
}

static void expect_truth(const struct ctl *ctl, const struct app *app) {
        struct json_object *documents;
        char pid[16];

        (void)snprintf(pid, sizeof pid, "%d", (int)app->pid);
        documents = ctl_json(ctl, "list", "--pid", pid, NULL);
        CHECK_EQUAL(ctl_number(ctl_last(documents), "registrations"), 2);
        CHECK_EQUAL(ctl_number(ctl_get(ctl_find(documents, "session", "pid", pid), "in_use"), "pinned_bytes"),
                    8 * PAGE);
        json_object_put(documents);
        CHECK_EQUAL(holder_ask(app, HOLDER_TRANSFER), IBV_WC_SUCCESS);
}

static void expect_answers(const struct ctl *ctl, const struct app *honest) {
        struct ctl_answer answer;

        json_object_put(ctl_json(ctl, "list", NULL));
        json_object_put(ctl_json(ctl, "status", NULL));
        json_object_put(ctl_json(ctl, "metrics", NULL));
        answer = ctl_run(ctl, "list", NULL);
        ctl_expect(&answer, CTL_DONE);
        ctl_done(&answer);
        answer = ctl_run(ctl, "metrics", NULL);
        ctl_expect(&answer, CTL_DONE);
        ctl_done(&answer);
        expect_truth(ctl, honest);
}

static void run_ledger(const void *argument _unused_) {
        struct instance instance = instance_start((const char *const[]) { "--registration-limit", "200", NULL });
        const struct ctl ctl = { instance.directory, NULL };
        struct app honest, liar, writer;
        struct session session;
        struct ctl_answer answer;
        char pid[16];
        unsigned int number;
        int ledger;

        honest = holder_start(&(const struct holder) { .user = "alice", .path = instance.path }, &number);
        liar = holder_start(&(const struct holder) { .path = instance.path }, &number);
        session = session_of(liar.pid);
        ledger = open_ledger(session.keeper);

        scribble(ledger, LEDGER_BEGINNING);
        expect_answers(&ctl, &honest);
        writer = app_start(scribbles, &ledger);
        expect_answers(&ctl, &honest);
        /* Whatever becomes of it: it is over in time, and nobody else's. */
        (void)snprintf(pid, sizeof pid, "%d", (int)liar.pid);
        answer = ctl_run(&ctl, "revoke", "--pid", pid, "--grace", "0", NULL);
        printf("revoke of a session whose ledger lies: status %d: %s\n", answer.status, answer.err);
        ctl_done(&answer);
        app_kill(&writer);
        scribble(ledger, 0);
        expect_answers(&ctl, &honest);

        app_kill(&liar);
        session_await_end(&session);
        close(ledger);
        expect_answers(&ctl, &honest);
        holder_stop(&honest);
        instance_stop(&instance);
}

/* --- revocations ----------------------------------------------------------------------------------------------------
 */

#define UNREAD 600

static void reads_nothing(int channel, const void *argument _unused_) {
        struct fixture f = fixture_open(NULL);
        struct memory m = memory_new(MEMORY_MEMFD, PAGE);
        struct pl_register request = fixture_request(&f, &m, PINLEASE_METHOD_PINNED);

        for (unsigned int i = 0; i < UNREAD; i++)
                (void)raw_register(&f.raw, &request, m.fd);
        tell(channel);
        /* Events are waiting now, more than the socket takes. */
        await(channel);
        /* The rest is told when it is read; 600 are gone, none is told twice. */
        while (holder_read_events(&f.raw) == 0)
                await_readable(f.raw.sock, "an event");
        await_end(channel);
        fixture_close(&f);
}

static void run_unread(const void *argument _unused_) {
        struct app other = bystander_start(NULL), app = app_start(reads_nothing, NULL);
        struct json_object *documents;
        char pid[16];

        await(app.channel);
        (void)snprintf(pid, sizeof pid, "%d", (int)app.pid);
        documents = ctl_json(NULL, "revoke", "--pid", pid, "--grace", "200ms", NULL);
        CHECK_EQUAL(ctl_number(ctl_last(documents), "forced"), UNREAD);
        json_object_put(documents);
        bystander_proves(&other);
        documents = ctl_json(NULL, "list", "--pid", pid, NULL);
        CHECK_EQUAL(ctl_number(ctl_last(documents), "registrations"), 0);
        json_object_put(documents);
        tell(app.channel);
        app_hang_up(&app);
        app_finish(&app);
        bystander_stop(&other);
}

#define MAX_ORDERS 16

static bool revoke_is_refused(const void *argument) {
        struct ctl_answer answer = ctl_run(NULL, "revoke", argument, "--grace", "10min", NULL);
        bool refused = answer.status == CTL_FAILED && strstr(answer.err, "revocations");

        if (!refused)
                FAIL("status %d: %s", answer.status, answer.err);
        ctl_done(&answer);
        return refused;
}

/* More orders than a session keeps: administrators come, ask and go. */
static void run_orders(const void *argument _unused_) {
        struct app app;
        struct json_object *documents, *session;
        unsigned int number;
        char call[128], id[32];
        int socks[MAX_ORDERS];

        app = holder_start(&(const struct holder) { .user = "alice" }, &number);
        documents = ctl_json(NULL, "list", "--uid", "alice", NULL);
        session = json_object_array_get_idx(documents, 0);
        (void)snprintf(id, sizeof id, "%s.%u", ctl_text(session, "id"), number);
        json_object_put(documents);
        (void)snprintf(
                call, sizeof call, "{\"method\":\"revoke\",\"parameters\":{\"id\":\"%s\",\"grace_ms\":600000}}", id);
        for (size_t i = 0; i < ELEMENTSOF(socks); i++) {
                socks[i] = ctl_connect(NULL);
                ctl_call(socks[i], call);
        }
        {
                /* They are all in use now. */
                bool end;
                int sock = ctl_connect(NULL);
                struct json_object *refusal = ctl_receive(sock, &end);

                CHECK(refusal && end && strcmp(ctl_text(ctl_get(refusal, "error"), "code"), "busy") == 0);
                json_object_put(refusal);
                close(sock);
        }
        /* The orders stay when who gave them has gone. */
        for (size_t i = 0; i < ELEMENTSOF(socks); i++)
                close(socks[i]);
        CHECK(revoke_is_refused(id));
        CHECK_EQUAL(holder_ask(&app, HOLDER_TRANSFER), IBV_WC_SUCCESS);
        (void)holder_ask(&app, HOLDER_READ_EVENTS);
        CHECK_EQUAL(holder_ask(&app, HOLDER_DEREGISTER), PINLEASE_CODE_NONE);
        holder_stop(&app);
}

/* --- administrators that do not read --- */

static void run_deaf_administrators(const void *argument _unused_) {
        struct app other = bystander_start(NULL), app = app_start(reads_nothing, NULL);
        int socks[8];

        await(app.channel);
        for (size_t i = 0; i < ELEMENTSOF(socks); i++) {
                socks[i] = ctl_connect(NULL);
                for (unsigned int k = 0; k < 4; k++)
                        ctl_call(socks[i], "{\"method\":\"list\"}");
        }
        /* Others are answered, and the service sleeps meanwhile. */
        json_object_put(ctl_json(NULL, "list", NULL));
        bystander_proves(&other);
        for (size_t i = 0; i < ELEMENTSOF(socks); i++)
                close(socks[i]);
        json_object_put(ctl_json(NULL, "status", NULL));
        app_kill(&app);
        bystander_stop(&other);
}

/* --- connections, more than enough --- */

#define SILENT 1000
#define SILENT_PLACES 64 /* --silent-per-user */

static void is_silent(int channel, const void *argument _unused_) {
        static struct raw raws[SILENT];
        unsigned int refused = 0, ended = 0;

        CHECK_CALL(setrlimit(RLIMIT_NOFILE, &(const struct rlimit) { SILENT + 50, SILENT + 50 }));
        become("alice");
        for (size_t i = 0; i < SILENT; i++)
                raws[i] = raw_connect(NULL);
        tell(channel);
        for (size_t i = 0; i < SILENT; i++) {
                struct pl_packet packet;
                int r = raw_recv(&raws[i], &packet);

                if (r == 0) {
                        CHECK_EQUAL(packet.header.opcode, PL_OP_REFUSED);
                        expect_code((enum pinlease_code)packet.body.refused.code, PINLEASE_CODE_SESSION_LIMIT);
                        raw_expect_end(&raws[i]);
                        refused++;
                } else
                        ended++;
                close(raws[i].sock);
        }
        /* Some places may have been used twice, but not many. */
        CHECK_EQUAL(ended, SILENT_PLACES);
        CHECK_EQUAL(refused, SILENT - SILENT_PLACES);
}

static void run_silent(const void *argument _unused_) {
        struct app app = app_start(is_silent, NULL), other;
        uint64_t began = pl_now_ms();

        await(app.channel);
        other = bystander_start(NULL);
        bystander_proves(&other);
        printf("another user is served within %" PRIu64 " ms\n", pl_now_ms() - began);
        CHECK(pl_now_ms() - began < 8000);
        app_finish(&app);
        bystander_stop(&other);
}

/* Everybody of a large job at once. */
#define CROWD 16

static void comes_at_once(int channel, const void *argument) {
        struct raw raws[CROWD];
        struct pl_packet packet;

        become("alice");
        for (size_t i = 0; i < CROWD; i++) {
                raws[i] = raw_connect(argument);
                pl_packet_init(&packet, PL_OP_HELLO, 1);
                CHECK_EQUAL(raw_send(&raws[i], &packet, packet.header.length, NULL, 0), 0);
        }
        for (size_t i = 0; i < CROWD; i++) {
                CHECK_EQUAL(raw_recv(&raws[i], &packet), 0);
                if (packet.header.opcode == PL_OP_REFUSED)
                        FAIL("refused: %s", packet.body.refused.sentence);
                CHECK_EQUAL(packet.header.opcode, PL_OP_REPLY | PL_OP_HELLO);
        }
        tell(channel);
        await(channel);
        for (size_t i = 0; i < CROWD; i++)
                raw_close(&raws[i]);
}

/* Whoever has said something is not silent, and does not wait in vain. */
static void run_crowd(const void *argument _unused_) {
        struct instance instance =
                instance_start((const char *const[]) { "--silent-per-user", "4", "--hello-timeout", "1000", NULL });
        struct app app = app_start(comes_at_once, instance.path), other = bystander_start(instance.path);

        await(app.channel);
        bystander_proves(&other);
        tell(app.channel);
        app_finish(&app);
        bystander_stop(&other);
        instance_stop(&instance);
}

static void is_one_too_many(int channel _unused_, const void *argument) {
        struct raw raw;

        become("alice");
        raw = raw_connect(argument);
        raw_expect_refusal(&raw, PINLEASE_CODE_SESSION_LIMIT);
        raw_expect_end(&raw);
        raw.sock = pl_close(raw.sock);
}

/* As many sessions as one may have. */
static void run_all_sessions(const void *argument _unused_) {
        struct instance instance = instance_start((const char *const[]) { "--sessions-per-user", "16", NULL });
        const struct ctl ctl = { instance.directory, NULL };
        struct app app = app_start(comes_at_once, instance.path), more, other;
        struct json_object *documents;

        await(app.channel);
        more = app_start(is_one_too_many, instance.path);
        app_finish(&more);
        other = bystander_start(instance.path);
        documents = ctl_json(&ctl, "list", "--uid", "alice", NULL);
        CHECK_EQUAL(ctl_number(ctl_last(documents), "sessions"), CROWD);
        json_object_put(documents);
        bystander_proves(&other);
        tell(app.channel);
        app_finish(&app);
        bystander_stop(&other);
        instance_stop(&instance);
}

#define STORM 150

static void storms(int channel _unused_, const void *argument) {
        unsigned int seed = (unsigned int)(uintptr_t)argument;

        become("alice");
        for (unsigned int i = 0; i < STORM; i++) {
                struct raw raw = raw_connect(NULL);
                struct pl_packet packet;

                pl_packet_init(&packet, (i + seed) % 5 ? PL_OP_HELLO : PL_OP_PING, 1);
                if ((i + seed) % 3)
                        (void)raw_send(&raw, &packet, packet.header.length, NULL, 0);
                raw.sock = pl_close(raw.sock);
        }
}

static void run_storm(const void *argument _unused_) {
        struct app other = bystander_start(NULL), apps[3];

        for (size_t i = 0; i < ELEMENTSOF(apps); i++)
                apps[i] = app_start(storms, (const void *)i);
        for (size_t i = 0; i < ELEMENTSOF(apps); i++)
                app_finish(&apps[i]);
        json_object_put(ctl_json(NULL, "status", NULL));
        bystander_stop(&other);
}

const struct test_case cases_hostile[] = {
        { "hostile: a ledger that lies", run_ledger, NULL, 0 },
        { "hostile: events that nobody reads", run_unread, NULL, 0 },
        { "hostile: more revocations than a session keeps", run_orders, NULL, 0 },
        { "hostile: administrators that do not read", run_deaf_administrators, NULL, 0 },
        { "hostile: 1000 connections that say nothing", run_silent, NULL, 0 },
        { "hostile: a crowd that comes at once", run_crowd, NULL, 0 },
        { "hostile: all the sessions that one may have", run_all_sessions, NULL, 0 },
        { "hostile: a storm of connections", run_storm, NULL, 0 },
        { 0 },
};
