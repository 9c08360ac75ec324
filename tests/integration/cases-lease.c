/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Files that others open and truncate while they are registered: against the kernel's own leases. */

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "fixture.h"
#include "harness.h"
#include "instance.h"
#include "process.h"

#define LENGTH (64U << 10)
#define CUT    (16U << 10)

/* A file with a name, mapped and registered. */
struct subject {
        struct fixture f;
        struct memory memory;
        char path[64];
        struct pl_register_reply reply;
};

static uint32_t method_for(const char *folder) {
        return strcmp(folder, "/mnt/tmpfs") == 0 ? PINLEASE_METHOD_PINNED : PINLEASE_METHOD_ODP;
}

static void map(struct memory *memory) {
        memory->start = mmap(NULL, memory->length, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd, 0);
        CHECK(memory->start != MAP_FAILED);
        CHECK_CALL(madvise(memory->start, memory->length, 23 /* MADV_POPULATE_WRITE */));
}

static struct subject subject_new(const char *folder, const char *socket_path) {
        struct subject s = { .f = fixture_open(socket_path), .memory.length = LENGTH };

        s.memory.fd = memory_file(folder, s.path, LENGTH);
        if (strcmp(folder, "/mnt/tmpfs") != 0)
                CHECK_CALL(posix_fallocate(s.memory.fd, 0, LENGTH));
        map(&s.memory);
        rdma_connect(&s.f.rdma);
        s.reply = fixture_register(&s.f, &s.memory, method_for(folder));
        if (!(pl_guards_held(s.reply.guards) & PINLEASE_GUARD_LEASE))
                FAIL("no lease: %s", pl_guard_reason_name(pl_guard_reason(s.reply.guards, 1)));
        return s;
}

static void subject_free(struct subject *s) {
        memory_free(&s->memory);
        fixture_close(&s->f);
        (void)unlink(s->path);
}

static enum ibv_wc_status transfer(struct subject *s, uint64_t seed) {
        return rdma_try_transfer(&s->f.rdma, s->reply.iova, s->reply.rkey, NULL, CUT, seed);
}

static uint64_t size_of(const char *path) {
        struct stat st;

        CHECK_CALL(stat(path, &st));
        return (uint64_t)st.st_size;
}

/* --- the other program ------------------------------------------------------------------------------------------------- */

static void truncates(int channel, const void *argument) {
        tell(channel);
        CHECK_CALL(truncate(argument, CUT));
        tell(channel);
}

static void opens_and_truncates(int channel, const void *argument) {
        tell(channel);
        close(CHECK_CALL(open(argument, O_WRONLY | O_TRUNC | O_CLOEXEC)));
        tell(channel);
}

static void opens_for_writing(int channel, const void *argument) {
        int fd;

        tell(channel);
        fd = CHECK_CALL(open(argument, O_RDWR | O_CLOEXEC));
        tell(channel);
        await(channel);
        close(fd);
}

static void reads(int channel, const void *argument) {
        int fd;

        tell(channel);
        fd = CHECK_CALL(open(argument, O_RDONLY | O_CLOEXEC));
        tell(channel);
        await(channel);
        close(fd);
        tell(channel);
}

static struct app breaker_start(void (*breaker)(int channel, const void *argument), const char *path) {
        struct app app = app_start(breaker, path);

        await(app.channel);
        return app;
}

/* --- cases ------------------------------------------------------------------------------------------------------------- */

static struct pl_packet expect_revoking(struct subject *s) {
        struct pl_packet event = raw_expect_event(&s->f.raw, PL_OP_REVOKING);

        CHECK_EQUAL(event.body.revoking.id, s->reply.id);
        CHECK_EQUAL(event.body.revoking.reason, PL_REVOKED_LAYOUT_CHANGE);
        CHECK_EQUAL(event.body.revoking.offset, 0);
        CHECK_EQUAL(event.body.revoking.length, LENGTH);
        return event;
}

/* Asked, lets go, and goes on with what is left of the file on the same queue pairs. */
static void run_released(const void *argument) {
        struct subject s = subject_new(argument, NULL);
        struct pl_packet event;
        struct app breaker;

        CHECK_EQUAL(transfer(&s, 1), IBV_WC_SUCCESS);
        breaker = breaker_start(truncates, s.path);
        event = expect_revoking(&s);
        CHECK(event.body.revoking.grace_ms > 0 && event.body.revoking.grace_ms <= 3000);

        /* It waits, and all is as it was. */
        CHECK_EQUAL(size_of(s.path), LENGTH);
        CHECK_EQUAL(transfer(&s, 2), IBV_WC_SUCCESS);
        {
                struct pl_register request = fixture_request(&s.f, &s.memory, method_for(argument));

                expect_code(fixture_try(&s.f, &request, s.memory.fd, NULL), PINLEASE_CODE_CHANGING);
        }
        CHECK_EQUAL(size_of(s.path), LENGTH);
        raw_release(&s.f.raw, s.reply.id);
        await(breaker.channel);
        CHECK_EQUAL(size_of(s.path), CUT);
        app_finish(&breaker);

        event = raw_expect_event(&s.f.raw, PL_OP_SETTLED);
        CHECK_EQUAL(event.body.settled.id, s.reply.id);
        CHECK_EQUAL(event.body.settled.size, CUT);
        s.memory.length = CUT;
        s.reply = fixture_register(&s.f, &s.memory, method_for(argument));
        CHECK(pl_guards_held(s.reply.guards) & PINLEASE_GUARD_LEASE);
        CHECK_EQUAL(transfer(&s, 3), IBV_WC_SUCCESS);
        s.memory.length = LENGTH;
        subject_free(&s);
}

/* Nobody listens: it is taken away at the deadline, and not after the file has been changed. */
static void run_forced(const void *argument) {
        static const char *const options[] = { "--grace", "700", NULL };
        struct instance instance = instance_start(options);
        struct subject s = subject_new(argument, instance.path);
        unsigned int before = 0;
        struct app breaker;

        breaker = breaker_start(truncates, s.path);
        for (uint64_t seed = 1;; seed++) {
                uint64_t size = size_of(s.path);
                enum ibv_wc_status status = transfer(&s, seed);

                if (status != IBV_WC_SUCCESS)
                        break;
                if (size != LENGTH)
                        FAIL("the file has %llu bytes, and the registration still works", (unsigned long long)size);
                before++;
        }
        CHECK(before > 0);
        await(breaker.channel);
        app_finish(&breaker);
        (void)expect_revoking(&s);
        CHECK_EQUAL(raw_expect_event(&s.f.raw, PL_OP_REVOKED).body.revoked.reason, PL_REVOKED_LAYOUT_CHANGE);
        CHECK_EQUAL(raw_expect_event(&s.f.raw, PL_OP_SETTLED).body.settled.size, CUT);
        CHECK_EQUAL(size_of(s.path), CUT);
        subject_free(&s);
        instance_stop(&instance);
}

static const struct way {
        const char *folder;
        void (*breaker)(int channel, const void *argument);
        bool stays;
} ways[] = {
        { "/mnt/ext4-dax", opens_and_truncates, false }, { "/mnt/ext4-dax", opens_for_writing, true },
        { "/mnt/xfs-dax", opens_and_truncates, false },  { "/mnt/ext4", truncates, false },
        { "/mnt/xfs", truncates, false },                { "/mnt/tmpfs", opens_for_writing, true },
};

static void run_ways(const void *argument _unused_) {
        for (size_t i = 0; i < ELEMENTSOF(ways); i++) {
                struct subject s = subject_new(ways[i].folder, NULL);
                struct app breaker = breaker_start(ways[i].breaker, s.path);

                (void)expect_revoking(&s);
                raw_release(&s.f.raw, s.reply.id);
                await(breaker.channel);
                if (ways[i].stays) {
                        /* As long as it has the file open there is no lease, and that is said. */
                        (void)raw_expect_event(&s.f.raw, PL_OP_SETTLED);
                        s.reply = fixture_register(&s.f, &s.memory, method_for(ways[i].folder));
                        CHECK(!(pl_guards_held(s.reply.guards) & PINLEASE_GUARD_LEASE));
                        CHECK_EQUAL(pl_guard_reason(s.reply.guards, 1), PINLEASE_GUARD_OPEN_ELSEWHERE);
                        tell(breaker.channel);
                        (void)raw_expect_notice(&s.f.raw, PL_NOTICE_GUARD_BACK);
                } else
                        (void)raw_expect_event(&s.f.raw, PL_OP_SETTLED);
                app_finish(&breaker);
                subject_free(&s);
        }
}

/* Who only reads is let in at once, and nothing is taken back for it. */
static void run_reader(const void *argument) {
        struct subject s = subject_new(argument, NULL);
        struct app reader = breaker_start(reads, s.path);
        struct pl_packet notice;

        await(reader.channel);
        notice = raw_expect_notice(&s.f.raw, PL_NOTICE_GUARD_LOST);
        CHECK_EQUAL(pl_guard_reason(notice.body.notice.guards, 1), PINLEASE_GUARD_READER);
        CHECK_EQUAL(transfer(&s, 1), IBV_WC_SUCCESS);
        tell(reader.channel);
        await(reader.channel);
        notice = raw_expect_notice(&s.f.raw, PL_NOTICE_GUARD_BACK);
        CHECK(pl_guards_held(notice.body.notice.guards) & PINLEASE_GUARD_LEASE);
        CHECK_EQUAL(transfer(&s, 2), IBV_WC_SUCCESS);
        app_finish(&reader);

        /* And then it is asked again. */
        reader = breaker_start(truncates, s.path);
        (void)expect_revoking(&s);
        raw_release(&s.f.raw, s.reply.id);
        await(reader.channel);
        app_finish(&reader);
        subject_free(&s);
}

/* A registration that is gone holds up nobody for longer than a moment. */
static void run_idle(const void *argument) {
        struct subject s = subject_new(argument, NULL);
        struct app breaker;

        raw_deregister(&s.f.raw, s.reply.id);
        breaker = breaker_start(truncates, s.path);
        await(breaker.channel);
        app_finish(&breaker);
        raw_ping(&s.f.raw);
        subject_free(&s);
}

/* The registrar dies while somebody waits: the keeper takes the registration away, and that one goes on. */
static void run_registrar_killed(const void *argument) {
        struct subject s = subject_new(argument, NULL);
        struct session session = session_of(getpid());
        struct app breaker = breaker_start(truncates, s.path);

        (void)expect_revoking(&s);
        CHECK_CALL(kill(session.registrar, SIGKILL));
        await(breaker.channel);
        CHECK_EQUAL(transfer(&s, 1), IBV_WC_REM_ACCESS_ERR);
        app_finish(&breaker);
        raw_expect_end(&s.f.raw);
        session_await_end(&session);
        close(s.f.raw.sock);
        memory_free(&s.memory);
        rdma_close(&s.f.rdma);
        (void)unlink(s.path);
}

/* --- the app spoils its own lease -------------------------------------------------------------------------------------- */

static void take_off(int fd) {
        CHECK_CALL(fcntl(fd, F_SETLEASE, F_UNLCK));
}
static void redirect(int fd) {
        CHECK_CALL(fcntl(fd, F_SETOWN, getpid()));
}
static void silence(int fd) {
        CHECK_CALL(fcntl(fd, F_SETSIG, 0));
}
static void deadly(int fd) {
        CHECK_CALL(fcntl(fd, F_SETSIG, SIGKILL));
}
static void stopping(int fd) {
        CHECK_CALL(fcntl(fd, F_SETSIG, SIGSTOP));
}

static void run_meddling(const void *argument) {
        static const struct {
                void (*meddle)(int fd);
                enum pinlease_guard_reason reason; /* of the next registration: a session whose bell is dead has no leases */
        } meddlers[] = {
                { take_off, PINLEASE_GUARD_HOLDS }, { redirect, PINLEASE_GUARD_HOLDS }, { silence, PINLEASE_GUARD_HOLDS },
                { stopping, PINLEASE_GUARD_HOLDS }, { deadly, PINLEASE_GUARD_MEDDLED },
        };

        for (size_t i = 0; i < ELEMENTSOF(meddlers); i++) {
                struct subject s = subject_new(argument, NULL);
                struct session session = session_of(getpid());
                struct app breaker;

                (void)signal(SIGIO, SIG_IGN);
                (void)signal(SIGRTMIN + 1, SIG_IGN);
                meddlers[i].meddle(s.memory.fd);
                /* What comes of it comes to nobody who matters. The change is heard of, before or after. */
                breaker = breaker_start(truncates, s.path);
                (void)raw_expect_event(&s.f.raw, PL_OP_REVOKING);
                raw_release(&s.f.raw, s.reply.id);
                await(breaker.channel);
                app_finish(&breaker);
                (void)raw_expect_event(&s.f.raw, PL_OP_SETTLED);
                /* The session goes on. */
                raw_ping(&s.f.raw);
                CHECK_EQUAL(session_of(getpid()).registrar, session.registrar);
                s.memory.length = CUT;
                s.reply = fixture_register(&s.f, &s.memory, method_for(argument));
                CHECK_EQUAL(pl_guard_reason(s.reply.guards, 1), meddlers[i].reason);
                s.memory.length = LENGTH;
                subject_free(&s);
                session_await_end(&session);
        }
}

const struct test_case cases_lease[] = {
        { "lease: released, ext4-dax", run_released, "/mnt/ext4-dax", CASE_ANYWHERE },
        { "lease: released, xfs-dax", run_released, "/mnt/xfs-dax", 0 },
        { "lease: released, tmpfs, pinned", run_released, "/mnt/tmpfs", 0 },
        { "lease: forced, ext4-dax", run_forced, "/mnt/ext4-dax", CASE_ANYWHERE },
        { "lease: forced, tmpfs, pinned", run_forced, "/mnt/tmpfs", 0 },
        { "lease: ways to change a file", run_ways, NULL, 0 },
        { "lease: a reader", run_reader, "/mnt/ext4-dax", 0 },
        { "lease: nothing is registered any more", run_idle, "/mnt/ext4-dax", 0 },
        { "lease: the registrar is killed", run_registrar_killed, "/mnt/ext4-dax", 0 },
        { "lease: meddled with", run_meddling, "/mnt/ext4-dax", 0 },
        { 0 },
};
