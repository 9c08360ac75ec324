/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The internal socket, at which keepers introduce themselves, and who else comes there. */

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "control.h"
#include "ctl.h"
#include "fixture.h"
#include "fuse.h"
#include "harness.h"
#include "holder.h"
#include "ledger.h"
#include "process.h"

#define NOBODYS_SESSION UINT64_C(1000000)

static struct raw connect_as_keeper(const char *directory) {
        char path[128];

        (void)snprintf(path, sizeof path, "%s/session.sock", directory ? directory : "/run/pinlease");
        return raw_connect(path);
}

static void run_not_root(const void *argument _unused_) {
        struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/run/pinlease/session.sock" };
        int sock;

        become("alice");
        sock = CHECK_CALL(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
        CHECK(connect(sock, (const struct sockaddr *)&address, sizeof address) < 0);
        CHECK_EQUAL(errno, EACCES);
}

/* What a keeper would hand over: of no registrations. */
static int new_ledger(bool sealed) {
        const struct ledger_header header = { .magic = LEDGER_MAGIC, .version = LEDGER_VERSION };
        int fd = CHECK_CALL(memfd_create("pl-test-ledger", MFD_CLOEXEC | MFD_ALLOW_SEALING));

        CHECK(write(fd, &header, sizeof header) == sizeof header);
        if (sealed)
                CHECK_CALL(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
        return fd;
}

/* Somebody's session, whose number and user strangers know. */
struct victim {
        struct app app;
        uint64_t session;
        char pid[16];
};

static struct victim victim_start(void) {
        struct victim v;
        unsigned int number;
        struct json_object *documents;

        v.app = holder_start(&(const struct holder) { .user = "alice" }, &number);
        (void)snprintf(v.pid, sizeof v.pid, "%d", (int)v.app.pid);
        documents = ctl_json(NULL, "list", "--pid", v.pid, NULL);
        v.session = (uint64_t)ctl_number(ctl_find(documents, "session", "pid", v.pid), "id");
        json_object_put(documents);
        return v;
}

static void victim_proves(const struct victim *v) {
        struct json_object *documents = ctl_json(NULL, "list", "--pid", v->pid, NULL);

        CHECK_EQUAL(ctl_number(ctl_last(documents), "registrations"), 2);
        CHECK_EQUAL(ctl_number(ctl_find(documents, "session", "pid", v->pid), "id"), v->session);
        CHECK_EQUAL(ctl_number(ctl_get(ctl_find(documents, "session", "pid", v->pid), "in_use"), "registrations"), 2);
        json_object_put(documents);
        CHECK_EQUAL(holder_ask(&v->app, HOLDER_TRANSFER), IBV_WC_SUCCESS);
        CHECK_EQUAL(holder_ask(&v->app, HOLDER_ANEW), IBV_WC_SUCCESS);
}

static struct control_introduction introduction_of(uint64_t session) {
        return (struct control_introduction) {
                .magic = CONTROL_MAGIC,
                .version = CONTROL_VERSION,
                .session = session,
                .app_pid = (uint32_t)getpid(),
                .registrar_pid = (uint32_t)getpid(),
                .uid = 1001,
                .gid = 1001,
                .started_ms = 1,
        };
}

/* A process that introduces itself, and is turned away; a process of its own for each, so that the journal says which.
 */
struct stranger {
        bool victims; /* with the number of another's session */
        bool nonsense;
        enum { NO_LEDGER, LEDGER, UNSEALED, FUSE_FILE, SOCKET } ledger;
};

struct visit {
        const struct stranger *stranger;
        uint64_t session;
        struct fuse *fuse;
};

static void introduce(int channel, const void *argument) {
        const struct visit *v = argument;
        const struct stranger *s = v->stranger;
        struct control_introduction introduction = introduction_of(s->victims ? v->session : NOBODYS_SESSION);
        struct raw raw = connect_as_keeper(NULL);
        int fd = -1, pair[2];

        switch (s->ledger) {
        case LEDGER:
        case UNSEALED:
                fd = new_ledger(s->ledger == LEDGER);
                break;
        case FUSE_FILE:
                fuse_open(v->fuse);
                fd = v->fuse->fd;
                break;
        case SOCKET:
                CHECK_CALL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
                fd = pair[0];
                break;
        default:
                break;
        }
        if (s->nonsense)
                memset(&introduction, 'x', sizeof introduction / 2);
        CHECK_EQUAL(raw_send(&raw, &introduction, sizeof introduction, &fd, fd >= 0), 0);
        /* The end, with nothing before it. */
        {
                char byte;

                await_readable(raw.sock, "the end of the connection");
                CHECK(recv(raw.sock, &byte, 1, 0) <= 0);
        }
        tell(channel);
        await_end(channel);
        close(raw.sock);
}

static struct json_object *lines_of_pinleased(void) {
        return ctl_journal("SYSLOG_IDENTIFIER=pinleased", NULL);
}

static void expect_line(struct json_object *lines, pid_t pid, const char *says) {
        char what[64];

        (void)snprintf(what, sizeof what, "process %d ", (int)pid);
        for (size_t i = 0; i < json_object_array_length(lines); i++) {
                const char *message = ctl_text(json_object_array_get_idx(lines, i), "MESSAGE");

                if (message && strstr(message, what) && strstr(message, says))
                        return;
        }
        FAIL("the journal does not say of process %d: %s", (int)pid, says);
}

static void run_introductions(const void *argument _unused_) {
        static const struct stranger strangers[] = {
                { .nonsense = true, .ledger = LEDGER },  { .victims = true, .ledger = NO_LEDGER },
                { .victims = true, .ledger = LEDGER },   { .ledger = UNSEALED },
                { .victims = true, .ledger = UNSEALED }, { .ledger = SOCKET },
        };
        struct victim victim = victim_start();
        struct app other = bystander_start(NULL);
        pid_t pids[ELEMENTSOF(strangers)];
        struct json_object *lines;

        for (size_t i = 0; i < ELEMENTSOF(strangers); i++) {
                struct visit visit = { strangers + i, victim.session, NULL };
                struct app app = app_start(introduce, &visit);

                await(app.channel);
                pids[i] = app.pid;
                app_hang_up(&app);
                app_finish(&app);
        }
        lines = lines_of_pinleased();
        for (size_t i = 0; i < ELEMENTSOF(pids); i++)
                expect_line(lines, pids[i], "is not taken over");
        json_object_put(lines);
        bystander_proves(&other);
        victim_proves(&victim);
        holder_stop(&victim.app);
        bystander_stop(&other);
}

/* Whoever closes it hangs; so pinleased does not. */
static void run_fuse(const void *argument) {
        bool victims = argument != NULL;
        const struct stranger stranger = { .victims = victims, .ledger = FUSE_FILE };
        struct fuse fuse = fuse_start(true);
        struct visit visit = { .stranger = &stranger, .fuse = &fuse, .session = NOBODYS_SESSION };
        struct json_object *lines;
        struct app app, other;
        struct victim victim;

        if (victims) {
                /* Before there is a verbs context that the stranger could inherit. */
                victim = victim_start();
                visit.session = victim.session;
        }
        app = app_start(introduce, &visit);
        other = bystander_start(NULL);
        await(app.channel);
        lines = lines_of_pinleased();
        expect_line(lines, app.pid, "is not taken over");
        json_object_put(lines);
        json_object_put(ctl_json(NULL, "list", NULL));
        bystander_proves(&other);
        if (victims) {
                victim_proves(&victim);
                holder_stop(&victim.app);
        }
        bystander_stop(&other);
        json_object_put(ctl_json(NULL, "status", NULL));
        app_hang_up(&app);
        fuse_abort(&fuse);
        app_reap(&app);
}

/* Connections that come and say nothing, or the half of it. */
static void says_nothing(int channel, const void *argument _unused_) {
        struct raw raws[4];

        for (size_t i = 0; i < ELEMENTSOF(raws); i++) {
                raws[i] = connect_as_keeper(NULL);
                /* Half of it, too. */
                if (i == 1)
                        CHECK_EQUAL(raw_send(&raws[i], "half", 4, NULL, 0), 0);
        }
        for (size_t i = 0; i < ELEMENTSOF(raws); i++) {
                char byte;

                await_readable(raws[i].sock, "the end of the connection");
                CHECK(recv(raws[i].sock, &byte, 1, 0) <= 0);
                close(raws[i].sock);
        }
        tell(channel);
        await_end(channel);
}

static void run_silent(const void *argument _unused_) {
        struct victim victim = victim_start();
        struct app other = bystander_start(NULL), app = app_start(says_nothing, NULL);
        struct json_object *lines;

        victim_proves(&victim);
        await(app.channel);
        lines = lines_of_pinleased();
        expect_line(lines, app.pid, "did not introduce itself");
        expect_line(lines, app.pid, "is not taken over");
        json_object_put(lines);
        app_hang_up(&app);
        app_finish(&app);
        bystander_proves(&other);
        victim_proves(&victim);
        holder_stop(&victim.app);
        bystander_stop(&other);
}

const struct test_case cases_stranger[] = {
        { "stranger: only root comes to the internal socket", run_not_root, NULL, 0 },
        { "stranger: introductions that are none", run_introductions, NULL, 0 },
        { "stranger: a file that hangs for a ledger", run_fuse, NULL, 0 },
        { "stranger: a file that hangs, for another's ledger", run_fuse, "another's", 0 },
        { "stranger: says nothing", run_silent, NULL, 0 },
        { 0 },
};
