/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An administrator's rules, against the kernel: what they allow is registered and carries bytes, what they refuse is
 * not, and what they refuse from now on is taken back. By a pinleased of the case's own. */

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#include "fixture.h"
#include "harness.h"
#include "instance.h"

#define PAGE UINT64_C(4096)
#define HEAD "{\"version\": 1, \"rules\": ["
#define TAIL "]}"
#define READ_ONLY ((uint32_t)IBV_ACCESS_REMOTE_READ)

struct ruled {
        char folder[32], path[64];
        struct instance instance;
};

static void write_policy(const struct ruled *ruled, const char *text) {
        FILE *f = fopen(ruled->path, "we");

        CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0);
}

static struct ruled ruled_start(const char *text) {
        struct ruled ruled = { .folder = "/tmp/policy-XXXXXX" };

        CHECK(mkdtemp(ruled.folder) != NULL);
        (void)snprintf(ruled.path, sizeof ruled.path, "%s/policy.json", ruled.folder);
        write_policy(&ruled, text);
        ruled.instance = instance_start((const char *const[]) { "--policy", ruled.folder, "--grace", "60000", NULL });
        return ruled;
}

static void ruled_reload(const struct ruled *ruled, const char *text) {
        write_policy(ruled, text);
        CHECK_CALL(pidfd_send_signal(ruled->instance.pidfd, SIGHUP, NULL, 0));
}

static void ruled_stop(struct ruled *ruled) {
        instance_stop(&ruled->instance);
        (void)unlink(ruled->path);
        (void)rmdir(ruled->folder);
}

/* A file of a folder, for reading. */
static enum pinlease_code try_file(
        struct fixture *f, const char *path, uint32_t access, uint32_t methods, struct pl_register_reply *ret_reply) {
        struct memory memory = { .fd = CHECK_CALL(
                                         open(path, (access & IBV_ACCESS_LOCAL_WRITE ? O_RDWR : O_RDONLY) | O_CLOEXEC)),
                                 .length = PAGE };
        struct pl_register request = fixture_request(f, &memory, methods);
        enum pinlease_code code;

        request.access = access;
        request.address = 0x700000000000;
        code = fixture_try(f, &request, memory.fd, ret_reply);
        close(memory.fd);
        return code;
}

static void make_file(const char *path) {
        int fd = CHECK_CALL(open(path, O_CREAT | O_RDWR | O_TRUNC | O_CLOEXEC, 0600));
        static const char page[PAGE];

        CHECK_EQUAL(write(fd, page, PAGE), PAGE);
        close(fd);
}

/* --- reload
 * ---------------------------------------------------------------------------------------------------------------- */

static void run_reload(const void *argument _unused_) {
        struct ruled ruled = ruled_start(HEAD TAIL);
        struct fixture f = fixture_open(ruled.instance.path);
        struct memory large = memory_new(MEMORY_MEMFD, 4 * PAGE), small = memory_new(MEMORY_MEMFD, PAGE);
        struct pl_register_reply refused, stays;
        struct pl_register request;
        struct pl_packet event;

        rdma_connect(&f.rdma);
        refused = fixture_register(&f, &large, PINLEASE_METHOD_PINNED);
        stays = fixture_register(&f, &small, PINLEASE_METHOD_PINNED);

        /* A file that is wrong: all goes on, and one that comes is judged by the old one. */
        ruled_reload(&ruled, HEAD "{\"match\": {\"size\": {\"min\": 4097}}, \"allow\": no}" TAIL);
        rdma_transfer(&f.rdma, refused.iova, refused.rkey, large.start, large.length, 1);
        ruled_reload(&ruled,
                     HEAD "{\"name\": \"small\", \"match\": {\"size\": {\"min\": 4097}}, \"allow\": false, "
                          "\"message\": \"A page at most.\"}" TAIL);
        event = raw_expect_event(&f.raw, PL_OP_REVOKING);
        CHECK_EQUAL(event.body.revoking.id, refused.id);
        CHECK_EQUAL(event.body.revoking.reason, PL_REVOKED_BY_POLICY);
        /* What it was promised when it was registered. The lease-break-time of the guest bounds it. */
        CHECK(event.body.revoking.grace_ms > 1000);
        rdma_transfer(&f.rdma, refused.iova, refused.rkey, large.start, large.length, 2);
        raw_deregister(&f.raw, refused.id);
        CHECK(rdma_try_transfer(&f.rdma, refused.iova, refused.rkey, NULL, PAGE, 3) != IBV_WC_SUCCESS);
        rdma_reconnect(&f.rdma);
        rdma_transfer(&f.rdma, stays.iova, stays.rkey, small.start, small.length, 4);
        request = fixture_request(&f, &large, PINLEASE_METHOD_PINNED);
        expect_code(fixture_try(&f, &request, large.fd, NULL), PINLEASE_CODE_POLICY);

        ruled_reload(&ruled, HEAD TAIL);
        raw_ping(&f.raw);
        rdma_transfer(&f.rdma, stays.iova, stays.rkey, small.start, small.length, 5);
        fixture_close(&f);
        memory_free(&large);
        memory_free(&small);
        ruled_stop(&ruled);
}

/* Who does not let go loses it. */
static void run_forced(const void *argument _unused_) {
        struct ruled ruled = ruled_start("{\"version\": 1, \"defaults\": {\"grace\": \"200ms\"}}");
        struct fixture f = fixture_open(ruled.instance.path);
        struct memory memory = memory_new(MEMORY_MEMFD, PAGE);
        struct pl_register_reply reply = fixture_register(&f, &memory, PINLEASE_METHOD_PINNED);

        rdma_connect(&f.rdma);
        rdma_transfer(&f.rdma, reply.iova, reply.rkey, memory.start, PAGE, 1);
        ruled_reload(&ruled, HEAD "{\"match\": {\"backing\": \"shmem\"}, \"allow\": false}" TAIL);
        (void)raw_expect_event(&f.raw, PL_OP_REVOKING);
        CHECK_EQUAL(raw_expect_event(&f.raw, PL_OP_REVOKED).body.revoked.reason, PL_REVOKED_BY_POLICY);
        CHECK(rdma_try_transfer(&f.rdma, reply.iova, reply.rkey, NULL, PAGE, 2) == IBV_WC_REM_ACCESS_ERR);
        fixture_close(&f);
        memory_free(&memory);
        ruled_stop(&ruled);
}

/* A session that a former pinleased has started hears of the successor's policy. */
static void run_successor(const void *argument _unused_) {
        struct ruled ruled = ruled_start(HEAD TAIL);
        struct fixture f = fixture_open(ruled.instance.path);
        struct memory memory = memory_new(MEMORY_MEMFD, PAGE);
        struct pl_register_reply reply = fixture_register(&f, &memory, PINLEASE_METHOD_PINNED);

        instance_kill(&ruled.instance);
        write_policy(&ruled, HEAD "{\"match\": {\"backing\": \"shmem\"}, \"allow\": false}" TAIL);
        instance_succeed(&ruled.instance, (const char *const[]) { "--policy", ruled.folder, NULL });
        CHECK_EQUAL(raw_expect_event(&f.raw, PL_OP_REVOKING).body.revoking.id, reply.id);
        raw_deregister(&f.raw, reply.id);
        fixture_close(&f);
        memory_free(&memory);
        ruled_stop(&ruled);
}

/* --- what a rule can allow
 * --------------------------------------------------------------------------------------------------- */

/* The kernel pins a file for reading; the built-in rules do not, a rule may. For writing it does not, whatever a rule
 * says. */
static void run_pin_file(const void *argument) {
        struct ruled ruled = ruled_start(HEAD "{\"match\": {}, \"allow\": true, \"methods\": [\"pinned\"]}" TAIL);
        struct fixture f = fixture_open(ruled.instance.path);
        struct pl_register_reply reply;
        char path[64];

        close(memory_file(argument, path, PAGE));
        make_file(path);
        rdma_connect(&f.rdma);
        expect_code(try_file(&f, path, READ_ONLY, PINLEASE_METHOD_ANY, &reply), PINLEASE_CODE_NONE);
        CHECK_EQUAL(reply.method, PINLEASE_METHOD_PINNED);
        raw_deregister(&f.raw, reply.id);
        expect_code(try_file(&f, path, READ_ONLY | IBV_ACCESS_LOCAL_WRITE, PINLEASE_METHOD_PINNED, NULL),
                    PINLEASE_CODE_PAGECACHE_WRITE_PIN);
        fixture_close(&f);
        (void)unlink(path);
        ruled_stop(&ruled);
}

/* --- games with paths
 * ---------------------------------------------------------------------------------------------------------- */

#define PLACE "/mnt/ext4/allowed"
#define ELSEWHERE "/mnt/ext4/elsewhere"

static const char place_policy[] =
        HEAD "{\"match\": {\"path\": \"" PLACE "/**\"}, \"allow\": true, \"methods\": [\"pinned\"]}" TAIL;

struct player {
        struct ruled ruled;
        struct fixture f;
};

static void player_start(struct player *p) {
        (void)mkdir(PLACE, 0755);
        (void)mkdir(ELSEWHERE, 0755);
        make_file(PLACE "/file");
        make_file(ELSEWHERE "/file");
        p->ruled = ruled_start(place_policy);
        p->f = fixture_open(p->ruled.instance.path);
}

static void player_stop(struct player *p) {
        fixture_close(&p->f);
        ruled_stop(&p->ruled);
        (void)unlink(PLACE "/file");
        (void)unlink(ELSEWHERE "/file");
        (void)rmdir(PLACE);
        (void)rmdir(ELSEWHERE);
}

static void expect_place(struct player *p, const char *path, bool granted) {
        struct pl_register_reply reply;
        enum pinlease_code code = try_file(&p->f, path, READ_ONLY, PINLEASE_METHOD_PINNED, &reply);

        expect_code(code, granted ? PINLEASE_CODE_NONE : PINLEASE_CODE_PAGECACHE_READ_PIN);
        if (granted)
                raw_deregister(&p->f.raw, reply.id);
}

static void run_place(const void *argument _unused_) {
        struct player p;

        player_start(&p);
        expect_place(&p, PLACE "/file", true);
        expect_place(&p, ELSEWHERE "/file", false);
        /* By whatever name it was opened. */
        CHECK_CALL(symlink(ELSEWHERE "/file", PLACE "/link"));
        expect_place(&p, PLACE "/link", false);
        CHECK_CALL(unlink(PLACE "/link"));
        /* It is where it is now. */
        CHECK_CALL(rename(PLACE "/file", PLACE "/other"));
        expect_place(&p, PLACE "/other", true);
        CHECK_CALL(rename(PLACE "/other", ELSEWHERE "/other"));
        expect_place(&p, ELSEWHERE "/other", false);
        CHECK_CALL(unlink(ELSEWHERE "/other"));
        /* In two places it is in none. */
        CHECK_CALL(link(ELSEWHERE "/file", PLACE "/hard"));
        expect_place(&p, PLACE "/hard", false);
        CHECK_CALL(unlink(PLACE "/hard"));
        player_stop(&p);
}

/* A name that looks as if it were deleted, and a file that is. */
static void run_deleted(const void *argument _unused_) {
        struct player p;
        struct memory memory = { .length = PAGE };
        struct pl_register request;

        player_start(&p);
        make_file(PLACE "/x (deleted)");
        expect_place(&p, PLACE "/x (deleted)", true);
        make_file(PLACE "/x");
        memory.fd = CHECK_CALL(open(PLACE "/x", O_RDWR | O_CLOEXEC));
        CHECK_CALL(unlink(PLACE "/x"));
        request = fixture_request(&p.f, &memory, PINLEASE_METHOD_PINNED);
        request.access = READ_ONLY;
        request.address = 0x700000000000;
        expect_code(fixture_try(&p.f, &request, memory.fd, NULL), PINLEASE_CODE_PAGECACHE_READ_PIN);
        close(memory.fd);
        CHECK_CALL(unlink(PLACE "/x (deleted)"));
        player_stop(&p);
}

/* In a mount namespace of its own, where the folder is another one. */
static void mounts(int channel, const void *argument) {
        struct player p = *(const struct player *)argument;

        CHECK_CALL(unshare(CLONE_NEWNS));
        CHECK_CALL(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
        CHECK_CALL(mount(ELSEWHERE, PLACE, NULL, MS_BIND, NULL));
        p.f = fixture_open(p.ruled.instance.path);
        expect_place(&p, PLACE "/file", false);
        fixture_close(&p.f);
        tell(channel);
}

static void run_bind_mount(const void *argument _unused_) {
        struct player p;
        struct app app;

        player_start(&p);
        app = app_start(mounts, &p);
        await(app.channel);
        app_finish(&app);
        expect_place(&p, PLACE "/file", true);
        player_stop(&p);
}

const struct test_case cases_policy[] = {
        { "policy: loaded anew while registrations live", run_reload, NULL, 0 },
        { "policy: loaded anew, an app that does not let go", run_forced, NULL, 0 },
        { "policy: a successor with another one", run_successor, NULL, 0 },
        { "policy: a rule that pins files, ext4", run_pin_file, "/mnt/ext4", 0 },
        { "policy: a rule that pins files, xfs", run_pin_file, "/mnt/xfs", 0 },
        { "policy: a place, and names that lead there", run_place, NULL, 0 },
        { "policy: a place, and what is deleted", run_deleted, NULL, 0 },
        { "policy: a place, mounted over in another namespace", run_bind_mount, NULL, 0 },
        { 0 },
};
