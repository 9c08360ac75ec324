/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* An administrator's rules, against the kernel: what they allow is registered and carries bytes, what they refuse is
 * not, and what they refuse from now on is taken back. By a pinleased of the case's own. */

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "fixture.h"
#include "harness.h"
#include "process.h"
#include "ruled.h"
#include "service.h"
#include "subject.h"

#define PAGE UINT64_C(4096)
#define HEAD "{\"version\": 1, \"rules\": ["
#define TAIL "]}"
#define READ_ONLY ((uint32_t)IBV_ACCESS_REMOTE_READ)

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

/* --- reload --- */

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
        ruled_write(&ruled, HEAD "{\"match\": {\"backing\": \"shmem\"}, \"allow\": false}" TAIL);
        instance_succeed(&ruled.instance, (const char *const[]) { "--policy", ruled.folder, NULL });
        CHECK_EQUAL(raw_expect_event(&f.raw, PL_OP_REVOKING).body.revoking.id, reply.id);
        raw_deregister(&f.raw, reply.id);
        fixture_close(&f);
        memory_free(&memory);
        ruled_stop(&ruled);
}

/* --- prefetch --- */

#define TRACING "/sys/kernel/tracing/"

/* How often the kernel has looked pages up for a device, since it was asked to count that. */
static unsigned int lookups(void) {
        FILE *f = fopen(TRACING "kprobe_profile", "re");
        char name[64];
        unsigned int n, missed;
        bool found = false;

        CHECK(f);
        while (!found && fscanf(f, "%63s %u %u", name, &n, &missed) == 3)
                found = strcmp(name, "odp_lookup") == 0;
        (void)fclose(f);
        CHECK(found && missed == 0);
        return n;
}

static void count_lookups(bool begin) {
        if (begin)
                write_file(TRACING "kprobe_events", "p:pinlease/odp_lookup ib_umem_odp_map_dma_and_lock");
        write_file(TRACING "events/pinlease/odp_lookup/enable", begin ? "1" : "0");
        if (!begin)
                write_file(TRACING "kprobe_events", "-:pinlease/odp_lookup");
}

/* Registers, and has a peer write and read all of it: how many pages, or groups of them, had to be looked up for that? */
static unsigned int lookups_of_transfer(struct fixture *f, enum memory_kind kind, uint8_t wish, bool expected) {
        struct memory memory = memory_new(kind, 8 * PAGE);
        struct pl_register request = fixture_request(f, &memory, PINLEASE_METHOD_ODP);
        struct pl_register_reply reply;
        unsigned int before;

        request.flags = wish;
        expect_code(fixture_try(f, &request, memory.fd, &reply), PINLEASE_CODE_NONE);
        CHECK_EQUAL(reply.flags, expected ? PINLEASE_FLAG_PREFETCH : 0);
        before = lookups();
        rdma_transfer(&f->rdma, reply.iova, reply.rkey, memory.start, 8 * PAGE, 1);
        before = lookups() - before;
        raw_deregister(&f->raw, reply.id);
        memory_free(&memory);
        return before;
}

/* What nobody has touched is not allocated for it. */
static void expect_hole_stays(struct fixture *f, uint8_t wish) {
        struct memory memory = memory_new(MEMORY_MEMFD, 8 * PAGE);
        struct pl_register request = fixture_request(f, &memory, PINLEASE_METHOD_ODP);
        struct pl_register_reply reply;
        struct stat st;

        CHECK_CALL(ftruncate(memory.fd, 0));
        CHECK_CALL(ftruncate(memory.fd, 8 * PAGE));
        request.flags = wish;
        expect_code(fixture_try(f, &request, memory.fd, &reply), PINLEASE_CODE_NONE);
        CHECK_EQUAL(reply.flags, 0);
        CHECK_CALL(fstat(memory.fd, &st));
        CHECK_EQUAL(st.st_blocks, 0);
        raw_deregister(&f->raw, reply.id);
        memory_free(&memory);
}

/* The first access from remote finds all pages known to the device, and without it does not. */
static void run_prefetch(const void *argument) {
        static const enum memory_kind kinds[] = { MEMORY_MEMFD, MEMORY_HUGETLB, MEMORY_EXT4_DAX, MEMORY_XFS };
        bool rule = argument;
        struct ruled ruled = ruled_start(
                HEAD "{\"match\": {\"size\": {\"min\": 1}}, \"allow\": true, \"methods\": [\"odp\"], \"prefetch\": true}" TAIL);
        struct fixture plain = fixture_open(NULL), f = fixture_open(rule ? ruled.instance.path : NULL);
        uint8_t wish = rule ? 0 : PINLEASE_FLAG_PREFETCH;

        count_lookups(true);
        rdma_connect(&plain.rdma);
        rdma_connect(&f.rdma);
        for (size_t i = 0; i < (rule ? 1 : ELEMENTSOF(kinds)); i++) {
                unsigned int n = lookups_of_transfer(&plain, kinds[i], 0, false);

                if (n == 0)
                        FAIL("%s: no lookup is counted for ODP without prefetch", memory_name(kinds[i]));
                n = lookups_of_transfer(&f, kinds[i], wish, true);
                if (n > 0)
                        FAIL("%s: %u lookups in spite of prefetch", memory_name(kinds[i]), n);
        }
        expect_hole_stays(&f, wish);
        fixture_close(&f);
        fixture_close(&plain);
        count_lookups(false);
        ruled_stop(&ruled);
}

/* --- what a rule can allow --- */

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

/* --- games with paths --- */

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

/* --- file systems --- */

static void fs_mount(const char *folder, const char *text) {
        CHECK_CALL(mkdir(folder, 0755));
        command(text);
}

static bool is_unmounted(const void *folder) {
        return umount(folder) == 0;
}

/* The keeper may still have a file open that its registrar had a lease on. */
static void fs_unmount(const char *folder) {
        if (!eventually(is_unmounted, folder))
                FAIL("umount of %s: %m", folder);
        CHECK_CALL(rmdir(folder));
}

/* Registered by ODP, not by a pin, neither here nor by the kernel. */
static void expect_page_cache(struct subject *s, enum pinlease_backing backing) {
        struct pl_register request = fixture_request(&s->f, &s->memory, PINLEASE_METHOD_PINNED);
        struct ibv_mr *mr = ibv_reg_mr(s->f.rdma.pd, s->memory.start, s->memory.length, ACCESS_READ_WRITE);

        CHECK(!mr && errno == EFAULT);
        CHECK_EQUAL(s->reply.backing, backing);
        CHECK(pl_guards_held(s->reply.guards) & PINLEASE_GUARD_MODIFY);
        rdma_transfer(&s->f.rdma, s->reply.iova, s->reply.rkey, s->memory.start, SUBJECT_LENGTH, 1);
        expect_code(fixture_try(&s->f, &request, s->memory.fd, NULL), PINLEASE_CODE_PAGECACHE_WRITE_PIN);
}

/* Nobody waits: it is cut off when it is heard of. */
static void expect_told(struct subject *s, int changed) {
        struct pl_packet event;

        CHECK_EQUAL(changed, 0);
        event = raw_expect_event(&s->f.raw, PL_OP_REVOKING);
        CHECK_EQUAL(event.body.revoking.id, s->reply.id);
        CHECK_EQUAL(event.body.revoking.reason, PL_REVOKED_LAYOUT_CHANGE);
        raw_deregister(&s->f.raw, s->reply.id);
}

struct fs {
        const char *folder, *mount;
};

/* One that is known as page cache by its number. What the app cuts off itself is heard of afterwards. */
static void run_fs(const void *argument) {
        const struct fs *fs = argument;
        struct subject s;

        fs_mount(fs->folder, fs->mount);
        s = subject_new(fs->folder, NULL);
        expect_page_cache(&s, PINLEASE_BACKING_PAGECACHE);
        subject_expect_waits(&s);
        CHECK_CALL(ftruncate(s.memory.fd, SUBJECT_LENGTH));
        s.reply = fixture_register(&s.f, &s.memory, PINLEASE_METHOD_ODP);
        expect_told(&s, ftruncate(s.memory.fd, SUBJECT_CUT));
        subject_free(&s);
        fs_unmount(fs->folder);
}

/* One that only a rule allows, by its number. */
static void run_named_fs(const void *argument _unused_) {
        struct ruled ruled = ruled_start(HEAD "{\"match\": {\"backing\": \"pagecache\"}, \"allow\": false}, "
                                              "{\"match\": {\"fs_type\": \"0x858458f6\"}, \"allow\": true}" TAIL);
        struct subject s = { 0 };
        struct fixture f = fixture_open(NULL);
        struct pl_register request;

        s.f = fixture_open(ruled.instance.path);
        s.memory.length = SUBJECT_LENGTH;
        s.memory.fd = memory_file("/mnt/ramfs", s.path, SUBJECT_LENGTH);
        subject_map(&s.memory);
        rdma_connect(&s.f.rdma);
        s.reply = fixture_register(&s.f, &s.memory, PINLEASE_METHOD_ODP);
        expect_page_cache(&s, PINLEASE_BACKING_OTHER);
        /* There are no leases. */
        expect_told(&s, truncate(s.path, SUBJECT_CUT));

        request = fixture_request(&f, &s.memory, PINLEASE_METHOD_ANY);
        request.length = SUBJECT_CUT;
        expect_code(fixture_try(&f, &request, s.memory.fd, NULL), PINLEASE_CODE_BAD_FS);
        fixture_close(&f);
        subject_free(&s);
        ruled_stop(&ruled);
}

static const struct fs btrfs = { "/mnt/btrfs",
                                 "mkfs.btrfs -q -f /dev/ram2 >/dev/null 2>&1 && mount -t btrfs /dev/ram2 /mnt/btrfs" };
static const struct fs ext3 = { "/mnt/ext3", "mkfs.ext3 -q -F /dev/ram3 16M && mount -t ext3 /dev/ram3 /mnt/ext3" };

const struct test_case cases_policy[] = {
        { "policy: loaded anew while registrations live", run_reload, NULL, 0 },
        { "policy: loaded anew, an app that does not let go", run_forced, NULL, 0 },
        { "policy: a successor with another one", run_successor, NULL, 0 },
        { "policy: prefetch, by a rule", run_prefetch, "", 0 },
        { "policy: prefetch, by the app's wish", run_prefetch, NULL, 0 },
        { "policy: a rule that pins files, ext4", run_pin_file, "/mnt/ext4", 0 },
        { "policy: a rule that pins files, xfs", run_pin_file, "/mnt/xfs", 0 },
        { "policy: btrfs is page cache", run_fs, &btrfs, 0 },
        { "policy: ext3 is page cache", run_fs, &ext3, 0 },
        { "policy: a file system that only a rule names", run_named_fs, NULL, 0 },
        { "policy: a place, and names that lead there", run_place, NULL, 0 },
        { "policy: a place, and what is deleted", run_deleted, NULL, 0 },
        { "policy: a place, mounted over in another namespace", run_bind_mount, NULL, 0 },
        { 0 },
};
