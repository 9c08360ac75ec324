/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pinleasectl explain says what the service then does, of the same file and access, with the devices that it finds by
 * itself; it needs nothing of the service, and breaks nobody's lease.
 */

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "ctl.h"
#include "fixture.h"
#include "harness.h"
#include "subject.h"

#define LENGTH (UINT64_C(2) << 20)

#define QUESTIONS 6

static const struct asked {
        const char *user; /* NULL: root */
        struct {
                const char *folder, *access, *methods; /* NULL: any */
        } questions[QUESTIONS];
} root = { .questions = { { "/mnt/tmpfs", "write", NULL },
                          { "/mnt/huge", "write", NULL },
                          { "/mnt/ext4-dax", "write", NULL },
                          { "/mnt/xfs-dax", "write", "pinned" },
                          { "/mnt/ext4", "write", NULL },
                          { "/mnt/ext4", "read", "pinned" } } },
  alice = { "alice",
            { { "/mnt/tmpfs", "write", "odp" },
              { "/mnt/huge", "read", "odp" },
              { "/mnt/ext4-dax", "read", "pinned" },
              { "/mnt/xfs-dax", "write", "odp" },
              { "/mnt/ext4", "write", "pinned" },
              { "/mnt/xfs", "read", NULL } } };

struct question {
        const char *access, *methods;
        char path[64];
        struct memory memory;
        struct ctl_job job;
};

static void ask(struct question *q) {
        const char *argv[] = { "explain", "--json", "--access", q->access, q->path, "--methods", q->methods, NULL };

        if (!q->methods)
                argv[5] = NULL;
        q->job = ctl_begin(NULL, argv);
}

static struct json_object *read_answer(struct question *q) {
        struct ctl_answer answer = ctl_end(&q->job);
        struct json_object *object = json_tokener_parse(answer.out);

        if (!object)
                FAIL("explain %s: status %d: %s%s", q->path, answer.status, answer.err, answer.out);
        CHECK_EQUAL(answer.status, json_object_get_boolean(ctl_get(object, "allowed")) ? CTL_DONE : CTL_FAILED);
        CHECK(strcmp(ctl_text(ctl_get(object, "device"), "name"), "rxe_a") == 0);
        ctl_done(&answer);
        return object;
}

static uint32_t methods_of(const char *methods) {
        if (!methods)
                return PINLEASE_METHOD_ANY;
        return strcmp(methods, "odp") == 0 ? PINLEASE_METHOD_ODP : PINLEASE_METHOD_PINNED;
}

static void compare(struct question *q, struct fixture *f) {
        struct pl_register request = fixture_request(f, &q->memory, methods_of(q->methods));
        struct json_object *explained = read_answer(q);
        struct pl_register_reply reply;
        enum pinlease_code code;

        if (strcmp(q->access, "read") == 0)
                request.access = ACCESS_READ;
        code = fixture_try(f, &request, q->memory.fd, &reply);
        if (code == PINLEASE_CODE_NONE) {
                const char *method;

                if (!json_object_get_boolean(ctl_get(explained, "allowed")))
                        FAIL("%s: registered, explained: %s", q->path, json_object_to_json_string(explained));
                method = json_object_get_string(json_object_array_get_idx(ctl_get(explained, "methods"), 0));
                if (strcmp(method, pl_method_name((enum pinlease_method)reply.method)) != 0)
                        FAIL("%s: by method %u, explained: %s", q->path, reply.method, method);
                if (strcmp(ctl_text(ctl_get(explained, "memory"), "backing"),
                           pl_backing_name((enum pinlease_backing)reply.backing)) != 0)
                        FAIL("%s: backing %u, explained: %s",
                             q->path,
                             reply.backing,
                             json_object_to_json_string(explained));
                raw_deregister(&f->raw, reply.id);
        } else {
                if (json_object_get_boolean(ctl_get(explained, "allowed")))
                        FAIL("%s: refused: %s, explained: %s",
                             q->path,
                             pl_code_name(code),
                             json_object_to_json_string(explained));
                if (strcmp(ctl_text(ctl_get(explained, "refusal"), "code"), pl_code_name(code)) != 0)
                        FAIL("%s: refused: %s, explained: %s",
                             q->path,
                             pl_code_name(code),
                             json_object_to_json_string(explained));
        }
        json_object_put(explained);
}

/* No socket of the service is in sight: whoever asks has found out by itself. */
static void hide_service(void) {
        CHECK_CALL(unshare(CLONE_NEWNS));
        CHECK_CALL(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
        CHECK_CALL(mount("none", "/run/pinlease", "tmpfs", 0, NULL));
}

/* The owner's own, which goes if anybody opens the file. There are none on huge pages. */
static bool can_lease(const struct question *q) {
        return strncmp(q->path, "/mnt/huge/", strlen("/mnt/huge/")) != 0;
}

static void questions(int channel _unused_, const void *argument) {
        const struct asked *asked = argument;
        struct question q[QUESTIONS] = { 0 };
        struct fixture f;

        if (asked->user)
                become(asked->user);
        f = fixture_open(NULL);
        if (!asked->user)
                hide_service();
        for (size_t i = 0; i < QUESTIONS; i++) {
                q[i].access = asked->questions[i].access;
                q[i].methods = asked->questions[i].methods;
                q[i].memory = subject_file(asked->questions[i].folder, q[i].path, LENGTH);
                if (can_lease(q + i))
                        CHECK_CALL(fcntl(q[i].memory.fd, F_SETLEASE, F_WRLCK));
                ask(q + i);
        }
        for (size_t i = 0; i < QUESTIONS; i++) {
                await_readable(q[i].job.pidfd, "the end of explain");
                if (can_lease(q + i)) {
                        CHECK_EQUAL(fcntl(q[i].memory.fd, F_GETLEASE), F_WRLCK);
                        CHECK_CALL(fcntl(q[i].memory.fd, F_SETLEASE, F_UNLCK));
                }
                compare(q + i, &f);
                memory_free(&q[i].memory);
                (void)unlink(q[i].path);
        }
        fixture_close(&f);
}

static void run_explain(const void *argument) {
        struct app app;

        /* Of a lease that is broken. */
        CHECK(signal(SIGIO, SIG_DFL) != SIG_ERR);
        app = app_start(questions, argument);
        app_finish(&app);
}

const struct test_case cases_explain[] = {
        { "explain: as the service then answers, root", run_explain, &root, 0 },
        { "explain: as the service then answers, a user", run_explain, &alice, 0 },
        { 0 },
};
