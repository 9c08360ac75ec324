/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pinleasectl asks the service: what it shows is what apps have registered. */

#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "ctl.h"
#include "fixture.h"
#include "harness.h"
#include "instance.h"
#include "process.h"

#define PAGE 4096

/* Beginning and end within pages: two of them. */
#define OFFSET (PAGE + 10)
#define LENGTH PAGE

/* Of two small pages each, and one huge one. */
#define HUGE (2 << 20)
#define PINNED_BYTES (3 * 2 * PAGE + HUGE)

#define NAMED "/mnt/tmpfs/pl-admin named"

static const struct kind {
        enum memory_kind kind;
        bool named;
        uint32_t method;
        const char *backing, *method_name;
        const char *name; /* what it begins with */
} kinds[] = {
        { MEMORY_MEMFD, false, PINLEASE_METHOD_PINNED, "shmem", "pinned", "/memfd:pl-test (deleted)" },
        { MEMORY_MEMFD, false, PINLEASE_METHOD_ODP, "shmem", "odp", "/memfd:pl-test (deleted)" },
        { MEMORY_TMPFS, true, PINLEASE_METHOD_PINNED, "shmem", "pinned", NAMED },
        { MEMORY_TMPFS, false, PINLEASE_METHOD_ODP, "shmem", "odp", "/mnt/tmpfs/pl-test-" },
        { MEMORY_HUGETLB, false, PINLEASE_METHOD_PINNED, "hugetlb", "pinned", "/mnt/huge/pl-test-" },
        { MEMORY_EXT4_DAX, false, PINLEASE_METHOD_ODP, "fsdax", "odp", "/mnt/ext4-dax/pl-test-" },
        { MEMORY_XFS_DAX, false, PINLEASE_METHOD_ODP, "fsdax", "odp", "/mnt/xfs-dax/pl-test-" },
        { MEMORY_EXT4, false, PINLEASE_METHOD_ODP, "pagecache", "odp", "/mnt/ext4/pl-test-" },
        { MEMORY_XFS, false, PINLEASE_METHOD_ODP, "pagecache", "odp", "/mnt/xfs/pl-test-" },
        { MEMORY_DEVDAX, false, PINLEASE_METHOD_PINNED, "devdax", "pinned", "/dev/dax0.0" },
};

static struct memory named_memory(const char *path, uint64_t length) {
        struct memory m = { .length = length };

        (void)unlink(path);
        m.fd = CHECK_CALL(open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        CHECK_CALL(ftruncate(m.fd, (off_t)length));
        m.start = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, m.fd, 0);
        CHECK(m.start != MAP_FAILED);
        memset(m.start, 1, length);
        return m;
}

/* Registers one of every kind, and tells of each its id, device and inode. */
static void has_every_kind(int channel, const void *argument) {
        struct fixture f;

        become(argument);
        f = fixture_open(NULL);
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                struct memory m = kinds[i].named ? named_memory(NAMED, 4 * PAGE) : memory_new(kinds[i].kind, 4 * PAGE);
                struct pl_register request = fixture_request(&f, &m, kinds[i].method);
                struct stat st;

                request.offset = OFFSET;
                request.address += OFFSET;
                request.length = LENGTH;
                CHECK_CALL(fstat(m.fd, &st));
                tell_value(channel, raw_register(&f.raw, &request, m.fd).id >> 32);
                tell_value(channel, st.st_dev);
                tell_value(channel, st.st_ino);
        }
        await_end(channel);
        fixture_close(&f);
        (void)unlink(NAMED);
}

static void expect_text(struct json_object *object, const char *name, const char *should) {
        if (strcmp(ctl_text(object, name), should) != 0)
                FAIL("%s is not %s in %s", name, should, json_object_to_json_string(object));
}

static void expect_kind(const struct kind *kind, struct json_object *r, uint64_t device, uint64_t inode) {
        expect_text(r, "state", "live");
        expect_text(r, "backing", kind->backing);
        expect_text(r, "method", kind->method_name);
        if (strncmp(ctl_text(r, "name"), kind->name, strlen(kind->name)) != 0)
                FAIL("the name is \"%s\", should begin with \"%s\"", ctl_text(r, "name"), kind->name);
        if (kind->named)
                expect_text(r, "name", NAMED);
        CHECK_EQUAL(ctl_number(r, "device"), device);
        CHECK_EQUAL(ctl_number(r, "inode"), inode);
        CHECK_EQUAL(ctl_number(r, "offset"), OFFSET);
        CHECK_EQUAL(ctl_number(r, "length"), LENGTH);
        CHECK_EQUAL(ctl_number(r, "bytes"), kind->kind == MEMORY_HUGETLB ? HUGE : 2 * PAGE);
        CHECK(strcmp(json_object_to_json_string_ext(ctl_get(r, "access"), JSON_C_TO_STRING_PLAIN),
                     "[\"local-write\",\"remote-write\",\"remote-read\"]") == 0);
}

/* The session of an app, of the service, by a question of its own. */
static struct json_object *session_item(struct json_object *documents, pid_t pid) {
        struct json_object *session;
        char text[16];

        (void)snprintf(text, sizeof text, "%d", (int)pid);
        session = ctl_find(documents, "session", "pid", text);
        if (!session)
                FAIL("process %d has no session in: %s", (int)pid, json_object_to_json_string(documents));
        return session;
}

static void run_kinds(const void *argument _unused_) {
        const struct passwd *alice = getpwnam("alice");
        struct app app = app_start(has_every_kind, "alice");
        struct json_object *documents, *session, *amount, *r;
        uint64_t numbers[ELEMENTSOF(kinds)], devices[ELEMENTSOF(kinds)], inodes[ELEMENTSOF(kinds)];
        struct session processes;
        struct ctl_answer answer;

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                numbers[i] = await_value(app.channel);
                devices[i] = await_value(app.channel);
                inodes[i] = await_value(app.channel);
        }
        processes = session_of(app.pid);
        documents = ctl_json(NULL, "list", NULL);
        session = session_item(documents, app.pid);
        CHECK_EQUAL(ctl_number(session, "uid"), alice->pw_uid);
        CHECK_EQUAL(ctl_number(session, "gid"), alice->pw_gid);
        CHECK_EQUAL(ctl_number(session, "keeper_pid"), processes.keeper);
        CHECK_EQUAL(ctl_number(session, "registrar_pid"), processes.registrar);
        expect_text(session, "state", "serving");
        amount = ctl_get(session, "in_use");
        CHECK_EQUAL(ctl_number(amount, "registrations"), ELEMENTSOF(kinds));
        CHECK_EQUAL(ctl_number(amount, "pinned_bytes"), PINNED_BYTES);
        CHECK_EQUAL(ctl_number(amount, "odp_bytes"), 6 * 2 * PAGE);

        CHECK_EQUAL(ctl_count(documents, "registration"), ELEMENTSOF(kinds));
        CHECK_EQUAL(ctl_number(ctl_last(documents), "registrations"), ELEMENTSOF(kinds));
        CHECK_EQUAL(ctl_number(ctl_last(documents), "sessions"), 1);
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                struct json_object *one;
                char id[64];

                (void)snprintf(id, sizeof id, "%s.%" PRIu64, ctl_text(session, "id"), numbers[i]);
                r = ctl_find(documents, "registration", "id", id);
                if (!r)
                        FAIL("%s is not there", id);
                expect_kind(kinds + i, r, devices[i], inodes[i]);
                if (i > 1)
                        continue;
                /* Alone, with its session. */
                one = ctl_json(NULL, "show", id, NULL);
                CHECK_EQUAL(json_object_array_length(one), 3);
                expect_kind(kinds + i, ctl_find(one, "registration", "id", id), devices[i], inodes[i]);
                json_object_put(one);
        }
        json_object_put(documents);

        /* In words. */
        answer = ctl_run(NULL, "list", NULL);
        ctl_expect(&answer, CTL_DONE);
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                CHECK(strstr(answer.out, kinds[i].backing));
        CHECK(strstr(answer.out, "pl-raw") && strstr(answer.out, "pl-test") && strstr(answer.out, "pl-admin named"));
        ctl_done(&answer);

        app_hang_up(&app);
        app_finish(&app);
        session_await_end(&processes);
}

static void run_status(const void *argument _unused_) {
        const struct passwd *alice = getpwnam("alice");
        struct app app = app_start(has_every_kind, "alice");
        struct json_object *documents, *status, *user = NULL;
        struct ctl_answer answer;

        for (size_t i = 0; i < 3 * ELEMENTSOF(kinds); i++)
                (void)await_value(app.channel);
        documents = ctl_json(NULL, "status", NULL);
        status = json_object_array_get_idx(documents, 0);
        expect_text(status, "state", "serving");
        expect_text(status, "version", PACKAGE_VERSION);
        CHECK_EQUAL(ctl_number(status, "sessions"), 1);
        CHECK_EQUAL(ctl_number(status, "silent"), 0);
        CHECK_EQUAL(ctl_number(status, "other_version"), 0);
        CHECK(process_fds((pid_t)ctl_number(status, "pid"), "/run/pinlease/roster") + 1 > 0);
        CHECK_EQUAL(ctl_number(ctl_get(status, "in_use"), "pinned_bytes"), PINNED_BYTES);
        CHECK_EQUAL(ctl_number(ctl_get(status, "in_use"), "odp_bytes"), 6 * 2 * PAGE);
        CHECK_EQUAL(ctl_number(ctl_get(status, "in_use"), "registrations"), ELEMENTSOF(kinds));
        CHECK(ctl_number(ctl_get(status, "credit"), "pinned_bytes") >= PINNED_BYTES);
        CHECK_EQUAL(ctl_number(ctl_get(ctl_get(status, "limits"), "session"), "pinned_bytes"), 1 << 30);
        user = json_object_array_get_idx(ctl_get(status, "users"), 0);
        CHECK_EQUAL(json_object_array_length(ctl_get(status, "users")), 1);
        CHECK_EQUAL(ctl_number(user, "uid"), alice->pw_uid);
        CHECK_EQUAL(ctl_number(user, "sessions"), 1);
        json_object_put(documents);

        answer = ctl_run(NULL, "status", NULL);
        ctl_expect(&answer, CTL_DONE);
        CHECK(strstr(answer.out, "serving"));
        ctl_done(&answer);
        app_hang_up(&app);
        app_finish(&app);
}

struct owner {
        const char *user, *path;
};

static void owns_a_file(int channel, const void *argument) {
        const struct owner *o = argument;
        struct memory m, other;
        struct fixture f;

        if (o->user)
                become(o->user);
        f = fixture_open(NULL);
        m = named_memory(o->path, PAGE);
        other = memory_new(MEMORY_MEMFD, PAGE);
        (void)fixture_register(&f, &m, PINLEASE_METHOD_PINNED);
        (void)fixture_register(&f, &other, PINLEASE_METHOD_PINNED);
        tell(channel);
        await_end(channel);
        fixture_close(&f);
        (void)unlink(o->path);
}

static void expect_counts(struct json_object *documents, unsigned int sessions, unsigned int registrations) {
        CHECK_EQUAL(ctl_count(documents, "session"), sessions);
        CHECK_EQUAL(ctl_count(documents, "registration"), registrations);
        CHECK_EQUAL(ctl_number(ctl_last(documents), "sessions"), sessions);
        CHECK_EQUAL(ctl_number(ctl_last(documents), "registrations"), registrations);
        json_object_put(documents);
}

static void run_filters(const void *argument _unused_) {
        static const struct owner owners[] = { { "alice", "/mnt/tmpfs/pl-a" }, { NULL, "/mnt/tmpfs/pl-b" } };
        struct app a = app_start(owns_a_file, owners), b = app_start(owns_a_file, owners + 1);
        struct json_object *documents;
        char a_pid[16], b_id[32], id[64];

        await(a.channel);
        await(b.channel);
        (void)snprintf(a_pid, sizeof a_pid, "%d", (int)a.pid);

        expect_counts(ctl_json(NULL, "list", NULL), 2, 4);
        expect_counts(ctl_json(NULL, "list", "--pid", a_pid, NULL), 1, 2);
        expect_counts(ctl_json(NULL, "list", "--uid", "alice", NULL), 1, 2);
        expect_counts(ctl_json(NULL, "list", "--uid", "0", "--pid", a_pid, NULL), 0, 0);
        expect_counts(ctl_json(NULL, "list", "--path", owners[0].path, NULL), 1, 1);
        expect_counts(ctl_json(NULL, "list", "--path", owners[1].path, "--uid", "alice", NULL), 0, 0);
        expect_counts(ctl_json(NULL, "list", "--uid", "mallory", NULL), 0, 0);

        documents = ctl_json(NULL, "list", "--path", owners[1].path, NULL);
        CHECK_EQUAL(ctl_number(session_item(documents, b.pid), "uid"), 0);
        (void)snprintf(b_id, sizeof b_id, "%s", ctl_text(session_item(documents, b.pid), "id"));
        json_object_put(documents);
        expect_counts(ctl_json(NULL, "show", b_id, NULL), 1, 2);
        (void)snprintf(id, sizeof id, "%s.99", b_id);
        {
                struct ctl_answer answer = ctl_run(NULL, "show", id, NULL);

                ctl_expect(&answer, CTL_NOT_FOUND);
                CHECK(strlen(answer.out) == 0 && strlen(answer.err) > 0);
                ctl_done(&answer);
                answer = ctl_run(NULL, "list", "--path", "/mnt/tmpfs/pl-nothing", NULL);
                ctl_expect(&answer, CTL_NOT_FOUND);
                ctl_done(&answer);
        }
        app_hang_up(&a);
        app_hang_up(&b);
        app_finish(&a);
        app_finish(&b);
}

#define MANY 10000

static void registers_many(int channel, const void *argument _unused_) {
        struct fixture f = fixture_open(NULL);
        struct memory m = memory_new(MEMORY_MEMFD, PAGE);
        struct pl_register request = fixture_request(&f, &m, PINLEASE_METHOD_PINNED);

        struct pl_packet packet, reply;
        unsigned int sent = 0;

        /* Some of them under way all the time. */
        for (unsigned int received = 0; received < MANY; received++) {
                for (; sent < MANY && sent < received + 8; sent++) {
                        pl_packet_init(&packet, PL_OP_REGISTER, sent + 1);
                        packet.body.reg = request;
                        CHECK_EQUAL(raw_send(&f.raw, &packet, packet.header.length, &m.fd, 1), 0);
                }
                CHECK_EQUAL(raw_recv(&f.raw, &reply), 0);
                CHECK_EQUAL(reply.header.opcode, PL_OP_REPLY | PL_OP_REGISTER);
        }
        tell(channel);
        await_end(channel);
        fixture_close(&f);
}

static void run_many(const void *argument _unused_) {
        uint64_t began = pl_now_ms(), registered, listed;
        struct app app = app_start(registers_many, NULL), other;
        struct json_object *documents;
        char pid[16];

        await(app.channel);
        registered = pl_now_ms();
        other = bystander_start(NULL);
        (void)snprintf(pid, sizeof pid, "%d", (int)app.pid);
        documents = ctl_json(NULL, "list", "--pid", pid, NULL);
        expect_counts(documents, 1, MANY);
        listed = pl_now_ms();
        printf("registered in %" PRIu64 " ms, listed in %" PRIu64 " ms\n", registered - began, listed - registered);
        bystander_proves(&other);
        app_hang_up(&app);
        app_finish(&app);
        bystander_stop(&other);
}

const struct test_case cases_admin[] = {
        { "admin: status", run_status, NULL, 0 },
        { "admin: every kind of memory is listed as what it is", run_kinds, NULL, 0 },
        { "admin: list by process, user and file, show by ID", run_filters, NULL, 0 },
        { "admin: 10 000 registrations", run_many, NULL, 0 },
        { 0 },
};
