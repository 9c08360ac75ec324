/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Several sessions that have the same file registered, while somebody changes it. */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "calls.h"
#include "instance.h"
#include "subject.h"

enum conduct { LETS_GO, DOES_NOT };

struct second {
        const char *user; /* NULL: root */
        const char *path; /* opened anew; NULL: the description is the first one's */
        const char *socket_path;
        struct memory memory;
        enum conduct conduct;
        bool untouched; /* nobody asks it */
};

static struct pl_register request_of(const struct fixture *f, const struct memory *memory, bool writable) {
        struct pl_register request = fixture_request(f, memory, PINLEASE_METHOD_ODP);

        if (!writable)
                request.access = ACCESS_READ;
        return request;
}

/*
 * Another app: registers, says what came of the lease, waits to be asked, says so, and lets go when it is told; or is
 * taken from. It has verbs of its own.
 */
static void second_app(int channel, const void *argument) {
        const struct second *second = argument;
        struct memory memory = second->memory;
        struct pl_register_reply reply;
        struct pl_register request;
        struct pl_packet event;
        struct fixture f;

        if (second->user)
                become(second->user);
        if (second->path) {
                memory.fd = CHECK_CALL(open(second->path, O_RDONLY | O_CLOEXEC));
                memory.start = mmap(NULL, memory.length, PROT_READ, MAP_SHARED, memory.fd, 0);
                CHECK(memory.start != MAP_FAILED);
        }
        await(channel);
        f = fixture_open(second->socket_path);
        request = request_of(&f, &memory, !second->path);
        reply = raw_register(&f.raw, &request, memory.fd);
        tell_value(channel, reply.guards);
        if (!second->untouched) {
                event = raw_expect_event(&f.raw, PL_OP_REVOKING);
                CHECK_EQUAL(event.body.revoking.id, reply.id);
                CHECK_EQUAL(event.body.revoking.reason, PL_REVOKED_LAYOUT_CHANGE);
                tell(channel);
                if (second->conduct == LETS_GO) {
                        await(channel);
                        CHECK(call_mr_is_there(f.rdma.context->cmd_fd, reply.handle));
                        raw_release(&f.raw, reply.id);
                } else {
                        event = raw_expect_event(&f.raw, PL_OP_REVOKED);
                        CHECK_EQUAL(event.body.revoked.id, reply.id);
                }
                CHECK(!call_mr_is_there(f.rdma.context->cmd_fd, reply.handle));
                event = raw_expect_event(&f.raw, PL_OP_SETTLED);
                CHECK_EQUAL(event.body.settled.id, reply.id);
                tell_value(channel, event.body.settled.size);
        }
        await(channel);
        if (second->untouched)
                CHECK(call_mr_is_there(f.rdma.context->cmd_fd, reply.handle));
        raw_ping(&f.raw);
        fixture_close(&f);
}

static unsigned int lease_of(uint32_t guards) {
        return pl_guard_reason(guards, 1);
}

/* One description: the second's registration has no lease of its own, and is protected by the first's. Somebody truncates the
 * file, and both have been asked. */
static void both_asked(struct subject *s, struct second *second, struct app *ret_app, struct app *ret_breaker) {
        s->memory = subject_file("/mnt/ext4-dax", s->path, SUBJECT_LENGTH);
        second->memory = s->memory;
        *ret_app = app_start(second_app, second);
        s->f = fixture_open(second->socket_path);
        s->reply = fixture_register(&s->f, &s->memory, PINLEASE_METHOD_ODP);
        subject_expect_lease(&s->reply);
        tell(ret_app->channel);
        CHECK_EQUAL(lease_of((uint32_t)await_value(ret_app->channel)), PINLEASE_GUARD_OTHER_LEASE);

        *ret_breaker = subject_breaker(subject_truncates, s->path);
        (void)subject_expect_revoking(s);
        await(ret_app->channel);
}

static void run_same_description(const void *argument) {
        static const char *const options[] = { "--grace", "700", NULL };
        const enum conduct conduct = argument ? DOES_NOT : LETS_GO;
        struct instance instance = { 0 };
        struct second second = { .conduct = conduct };
        struct subject s = { 0 };
        struct app app, breaker;

        if (conduct == DOES_NOT)
                instance = instance_start(options);
        second.socket_path = conduct == DOES_NOT ? instance.path : NULL;
        both_asked(&s, &second, &app, &breaker);
        raw_release(&s.f.raw, s.reply.id);
        /* The first has given back, the second not yet. */
        raw_ping(&s.f.raw);
        CHECK_EQUAL(subject_size(s.path), SUBJECT_LENGTH);
        if (conduct == LETS_GO) {
                (void)nanosleep(&(struct timespec) { .tv_nsec = 200 * 1000 * 1000 }, NULL);
                CHECK_EQUAL(subject_size(s.path), SUBJECT_LENGTH);
                tell(app.channel);
        }
        await(breaker.channel);
        CHECK_EQUAL(subject_size(s.path), SUBJECT_CUT);
        CHECK_EQUAL(await_value(app.channel), SUBJECT_CUT);
        CHECK_EQUAL(raw_expect_event(&s.f.raw, PL_OP_SETTLED).body.settled.size, SUBJECT_CUT);
        tell(app.channel);
        app_finish(&app);
        app_finish(&breaker);
        subject_free(&s);
        if (conduct == DOES_NOT)
                instance_stop(&instance);
}

/* The session that has the lease ends while somebody waits: who waits goes on when the other one has given back as well. */
static void run_holder_ends(const void *argument _unused_) {
        struct second second = { .conduct = LETS_GO };
        struct subject s = { 0 };
        struct app app, breaker;

        both_asked(&s, &second, &app, &breaker);
        raw_close(&s.f.raw);
        (void)nanosleep(&(struct timespec) { .tv_nsec = 300 * 1000 * 1000 }, NULL);
        CHECK_EQUAL(subject_size(s.path), SUBJECT_LENGTH);
        tell(app.channel);
        await(breaker.channel);
        CHECK_EQUAL(subject_size(s.path), SUBJECT_CUT);
        CHECK_EQUAL(await_value(app.channel), SUBJECT_CUT);
        tell(app.channel);
        app_finish(&app);
        app_finish(&breaker);
        subject_abandon(&s);
}

/* Each has opened the file for reading only, and has a lease of its own; somebody opens it for writing. */
static void run_read_only(const void *argument _unused_) {
        struct second second = { .conduct = LETS_GO };
        struct app apps[2], breaker;
        char path[64];

        second.memory = subject_file("/mnt/ext4-dax", path, SUBJECT_LENGTH);
        memory_free(&second.memory);
        second.memory.length = SUBJECT_LENGTH;
        second.path = path;
        for (unsigned int i = 0; i < ELEMENTSOF(apps); i++) {
                apps[i] = app_start(second_app, &second);
                tell(apps[i].channel);
                CHECK_EQUAL(lease_of((uint32_t)await_value(apps[i].channel)), PINLEASE_GUARD_HOLDS);
        }
        breaker = subject_breaker(subject_opens_and_truncates, path);
        for (unsigned int i = 0; i < ELEMENTSOF(apps); i++) {
                await(apps[i].channel);
                CHECK_EQUAL(subject_size(path), SUBJECT_LENGTH);
                tell(apps[i].channel);
        }
        await(breaker.channel);
        app_finish(&breaker);
        for (unsigned int i = 0; i < ELEMENTSOF(apps); i++) {
                CHECK_EQUAL(await_value(apps[i].channel), 0);
                tell(apps[i].channel);
                app_finish(&apps[i]);
        }
        (void)unlink(path);
}

/* Of a file of root's, which she may read: her registration has no lease. The owner's has, and when it is broken hers
 * goes too. */
static void run_not_the_owner(const void *argument _unused_) {
        struct second second = { .user = "alice", .conduct = LETS_GO };
        struct app owner, other, breaker;
        struct second first = { .conduct = LETS_GO };
        char path[64];

        second.memory = subject_file("/mnt/ext4-dax", path, SUBJECT_LENGTH);
        memory_free(&second.memory);
        CHECK_CALL(chmod(path, 0644));
        second.memory.length = first.memory.length = SUBJECT_LENGTH;
        first.path = second.path = path;
        other = app_start(second_app, &second);
        tell(other.channel);
        CHECK_EQUAL(lease_of((uint32_t)await_value(other.channel)), PINLEASE_GUARD_NOT_OWNER);
        owner = app_start(second_app, &first);
        tell(owner.channel);
        CHECK_EQUAL(lease_of((uint32_t)await_value(owner.channel)), PINLEASE_GUARD_HOLDS);

        breaker = subject_breaker(subject_truncates, path);
        await(owner.channel);
        await(other.channel);
        tell(owner.channel);
        (void)nanosleep(&(struct timespec) { .tv_nsec = 200 * 1000 * 1000 }, NULL);
        CHECK_EQUAL(subject_size(path), SUBJECT_LENGTH);
        tell(other.channel);
        await(breaker.channel);
        app_finish(&breaker);
        CHECK_EQUAL(await_value(owner.channel), SUBJECT_CUT);
        CHECK_EQUAL(await_value(other.channel), SUBJECT_CUT);
        tell(owner.channel);
        tell(other.channel);
        app_finish(&owner);
        app_finish(&other);
        (void)unlink(path);
}

const struct test_case cases_lease_shared[] = {
        { "lease: two apps, one description", run_same_description, NULL, 0 },
        { "lease: two apps, one description, one does not let go", run_same_description, "", 0 },
        { "lease: two apps, one description, the one with the lease ends", run_holder_ends, NULL, 0 },
        { "lease: two readers, one writes", run_read_only, NULL, 0 },
        { "lease: an owner and another user", run_not_the_owner, NULL, 0 },
        { 0 },
};
