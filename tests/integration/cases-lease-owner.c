/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Files that are somebody else's, and that an app may write to all the same. The kernel gives leases to owners, and to
 * who has CAP_LEASE: a registrar has no capability and acts as the app's user, so not even root's app gets one. What is
 * changed is heard of afterwards.
 */

#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "calls.h"
#include "ctl.h"
#include "subject.h"

struct stranger {
        const char *folder;
        const char *user;  /* whose app it is; NULL: root's */
        const char *owner; /* NULL: root */
};

static char path[64];

static void app(int channel, const void *argument) {
        const struct stranger *stranger = argument;
        struct memory memory = { .length = SUBJECT_LENGTH };
        struct pl_register_reply reply;
        struct pl_register request;
        struct pl_packet event;
        struct fixture f;

        if (stranger->user)
                become(stranger->user);
        memory.fd = CHECK_CALL(open(path, O_RDWR | O_CLOEXEC));
        subject_map(&memory);
        f = fixture_open(NULL);
        request = fixture_request(&f, &memory, subject_method(stranger->folder));
        request.guards = PINLEASE_GUARD_LEASE;
        expect_code(fixture_try(&f, &request, memory.fd, NULL), PINLEASE_CODE_NO_GUARD);
        request.guards = PINLEASE_GUARD_MODIFY | PINLEASE_GUARD_POISON;
        reply = raw_register(&f.raw, &request, memory.fd);
        tell_value(channel, reply.guards);

        event = raw_expect_event(&f.raw, PL_OP_REVOKING);
        CHECK_EQUAL(event.body.revoking.id, reply.id);
        CHECK_EQUAL(event.body.revoking.reason, PL_REVOKED_LAYOUT_CHANGE);
        CHECK_EQUAL(subject_size(path), SUBJECT_CUT);
        raw_release(&f.raw, reply.id);
        CHECK(!call_mr_is_there(f.rdma.context->cmd_fd, reply.handle));
        CHECK_EQUAL(raw_expect_event(&f.raw, PL_OP_SETTLED).body.settled.size, SUBJECT_CUT);
        await(channel);
        raw_ping(&f.raw);
        memory_free(&memory);
        fixture_close(&f);
}

/* The same as the app was told, in names. */
static void expect_listed(void) {
        struct json_object *documents = ctl_json(NULL, "list", "--path", path, NULL), *item, *held, *missing;

        CHECK_EQUAL(ctl_count(documents, "registration"), 1);
        item = ctl_find(documents, "registration", "name", path);
        CHECK(item != NULL);
        held = ctl_get(item, "guards");
        CHECK_EQUAL(json_object_array_length(held), 2);
        CHECK(strcmp(json_object_get_string(json_object_array_get_idx(held, 0)), "modify") == 0);
        CHECK(strcmp(json_object_get_string(json_object_array_get_idx(held, 1)), "poison") == 0);
        missing = ctl_get(item, "guards_missing");
        CHECK(strcmp(ctl_text(missing, "lease"), "not-owner") == 0);
        json_object_put(documents);
}

/* Users of the guest have groups of the same number. */
static uid_t id_of(const char *user) {
        const struct passwd *entry = user ? getpwnam(user) : NULL;

        CHECK(!user || entry);
        return entry ? entry->pw_uid : 0;
}

static void run(const void *argument) {
        const struct stranger *stranger = argument;
        struct memory memory;
        struct app other, breaker;
        uint32_t guards;

        memory = subject_file(stranger->folder, path, SUBJECT_LENGTH);
        memory_free(&memory);
        CHECK_CALL(chown(path, id_of(stranger->owner), id_of(stranger->user)));
        CHECK_CALL(chmod(path, 0660));

        other = app_start(app, stranger);
        guards = (uint32_t)await_value(other.channel);
        CHECK_EQUAL(pl_guards_held(guards), PINLEASE_GUARD_MODIFY | PINLEASE_GUARD_POISON);
        CHECK_EQUAL(pl_guard_reason(guards, 1), PINLEASE_GUARD_NOT_OWNER);
        expect_listed();

        /* Nobody is waited for. */
        breaker = subject_breaker(subject_truncates, path);
        await(breaker.channel);
        app_finish(&breaker);
        tell(other.channel);
        app_finish(&other);
        (void)unlink(path);
}

#define STRANGER(...) run, &(const struct stranger) { __VA_ARGS__ }, 0

const struct test_case cases_lease_owner[] = {
        { "lease: a file of another user, ext4-dax", STRANGER("/mnt/ext4-dax", .user = "alice") },
        { "lease: a file of another user, xfs-dax", STRANGER("/mnt/xfs-dax", .user = "alice", .owner = "mallory") },
        { "lease: a file of another user, tmpfs, pinned", STRANGER("/mnt/tmpfs", .user = "alice", .owner = "mallory") },
        { "lease: a user's file, registered by root", STRANGER("/mnt/ext4-dax", .owner = "alice") },
        { 0 },
};
