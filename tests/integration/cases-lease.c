/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Files that others open and truncate while they are registered: against the kernel's own leases. */

#include <fcntl.h>
#include <signal.h>
#include <string.h>

#include "ctl.h"
#include "instance.h"
#include "process.h"
#include "subject.h"

#define LENGTH SUBJECT_LENGTH
#define CUT    SUBJECT_CUT

/* Asked, lets go, and goes on with what is left of the file on the same queue pairs. */
static void run_released(const void *argument) {
        struct subject s = subject_new(argument, NULL);
        struct pl_packet event;
        struct app breaker;

        CHECK_EQUAL(subject_transfer(&s, 1), IBV_WC_SUCCESS);
        breaker = subject_breaker(subject_truncates, s.path);
        event = subject_expect_revoking(&s);
        CHECK(event.body.revoking.grace_ms > 0 && event.body.revoking.grace_ms <= 3000);

        /* It waits, and all is as it was. */
        CHECK_EQUAL(subject_size(s.path), LENGTH);
        CHECK_EQUAL(subject_transfer(&s, 2), IBV_WC_SUCCESS);
        {
                struct pl_register request = fixture_request(&s.f, &s.memory, subject_method(argument));

                expect_code(fixture_try(&s.f, &request, s.memory.fd, NULL), PINLEASE_CODE_CHANGING);
        }
        CHECK_EQUAL(subject_size(s.path), LENGTH);
        raw_release(&s.f.raw, s.reply.id);
        await(breaker.channel);
        CHECK_EQUAL(subject_size(s.path), CUT);
        app_finish(&breaker);

        event = raw_expect_event(&s.f.raw, PL_OP_SETTLED);
        CHECK_EQUAL(event.body.settled.id, s.reply.id);
        CHECK_EQUAL(event.body.settled.size, CUT);
        s.memory.length = CUT;
        s.reply = fixture_register(&s.f, &s.memory, subject_method(argument));
        CHECK(pl_guards_held(s.reply.guards) & PINLEASE_GUARD_LEASE);
        CHECK_EQUAL(subject_transfer(&s, 3), IBV_WC_SUCCESS);
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

        breaker = subject_breaker(subject_truncates, s.path);
        for (uint64_t seed = 1;; seed++) {
                uint64_t size = subject_size(s.path);
                enum ibv_wc_status status = subject_transfer(&s, seed);

                if (status != IBV_WC_SUCCESS)
                        break;
                if (size != LENGTH)
                        FAIL("the file has %llu bytes, and the registration still works", (unsigned long long)size);
                before++;
        }
        CHECK(before > 0);
        await(breaker.channel);
        app_finish(&breaker);
        (void)subject_expect_revoking(&s);
        CHECK_EQUAL(raw_expect_event(&s.f.raw, PL_OP_REVOKED).body.revoked.reason, PL_REVOKED_LAYOUT_CHANGE);
        CHECK_EQUAL(raw_expect_event(&s.f.raw, PL_OP_SETTLED).body.settled.size, CUT);
        CHECK_EQUAL(subject_size(s.path), CUT);
        subject_free(&s);
        instance_stop(&instance);
}

static const struct way {
        const char *folder;
        void (*breaker)(int channel, const void *argument);
        bool stays;
} ways[] = {
        { "/mnt/ext4-dax", subject_opens_and_truncates, false }, { "/mnt/ext4-dax", subject_opens_for_writing, true },
        { "/mnt/xfs-dax", subject_opens_and_truncates, false },  { "/mnt/ext4", subject_truncates, false },
        { "/mnt/xfs", subject_truncates, false },                { "/mnt/tmpfs", subject_opens_for_writing, true },
};

static void run_ways(const void *argument _unused_) {
        for (size_t i = 0; i < ELEMENTSOF(ways); i++) {
                struct subject s = subject_new(ways[i].folder, NULL);
                struct app breaker = subject_breaker(ways[i].breaker, s.path);

                (void)subject_expect_revoking(&s);
                raw_release(&s.f.raw, s.reply.id);
                await(breaker.channel);
                if (ways[i].stays) {
                        /* As long as it has the file open there is no lease, and that is said. */
                        (void)raw_expect_event(&s.f.raw, PL_OP_SETTLED);
                        s.reply = fixture_register(&s.f, &s.memory, subject_method(ways[i].folder));
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
        struct app reader = subject_breaker(subject_reads, s.path);
        struct pl_packet notice;

        await(reader.channel);
        notice = raw_expect_notice(&s.f.raw, PL_NOTICE_GUARD_LOST);
        CHECK_EQUAL(pl_guard_reason(notice.body.notice.guards, 1), PINLEASE_GUARD_READER);
        CHECK_EQUAL(subject_transfer(&s, 1), IBV_WC_SUCCESS);
        tell(reader.channel);
        await(reader.channel);
        notice = raw_expect_notice(&s.f.raw, PL_NOTICE_GUARD_BACK);
        CHECK(pl_guards_held(notice.body.notice.guards) & PINLEASE_GUARD_LEASE);
        CHECK_EQUAL(subject_transfer(&s, 2), IBV_WC_SUCCESS);
        app_finish(&reader);

        /* And then it is asked again. */
        reader = subject_breaker(subject_truncates, s.path);
        (void)subject_expect_revoking(&s);
        raw_release(&s.f.raw, s.reply.id);
        await(reader.channel);
        app_finish(&reader);
        subject_free(&s);
}

/* A registration that is gone holds up nobody for longer than a moment, let alone for the grace time. */
static void run_idle(const void *argument) {
        static const char *const options[] = { "--grace", "15000", NULL };
        struct instance instance = instance_start(options);
        struct subject s = subject_new(argument, instance.path);
        struct app breaker;
        uint64_t began;

        raw_deregister(&s.f.raw, s.reply.id);
        began = pl_now_ms();
        breaker = subject_breaker(subject_truncates, s.path);
        await(breaker.channel);
        CHECK(pl_now_ms() - began < 8000);
        app_finish(&breaker);
        raw_ping(&s.f.raw);
        subject_free(&s);
        instance_stop(&instance);
}

/* Longer than whoever changes the file would wait: what the app is given is half of that. */
static void run_long_grace(const void *argument) {
        static const char *const options[] = { "--grace", "40000", NULL };
        struct instance instance = instance_start(options);
        struct subject s = subject_new(argument, instance.path);
        struct app breaker = subject_breaker(subject_truncates, s.path);
        struct pl_packet event = subject_expect_revoking(&s);

        CHECK(event.body.revoking.grace_ms <= 22500 && event.body.revoking.grace_ms > 12500);
        raw_release(&s.f.raw, s.reply.id);
        await(breaker.channel);
        app_finish(&breaker);
        subject_free(&s);
        instance_stop(&instance);
}

/* The registrar, or the keeper, dies while somebody waits: the other takes the registration away, and that one goes on. */
static void run_killed(const void *argument) {
        const bool keeper = argument != NULL;
        struct subject s = subject_new("/mnt/ext4-dax", NULL);
        struct session session = session_of(getpid());
        struct app breaker = subject_breaker(subject_truncates, s.path);

        (void)subject_expect_revoking(&s);
        CHECK_CALL(kill(keeper ? session.keeper : session.registrar, SIGKILL));
        await(breaker.channel);
        CHECK_EQUAL(subject_transfer(&s, 1), IBV_WC_REM_ACCESS_ERR);
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
                breaker = subject_breaker(subject_truncates, s.path);
                (void)raw_expect_event(&s.f.raw, PL_OP_REVOKING);
                raw_release(&s.f.raw, s.reply.id);
                await(breaker.channel);
                app_finish(&breaker);
                (void)raw_expect_event(&s.f.raw, PL_OP_SETTLED);
                /* The session goes on. */
                raw_ping(&s.f.raw);
                CHECK_EQUAL(session_of(getpid()).registrar, session.registrar);
                s.memory.length = CUT;
                s.reply = fixture_register(&s.f, &s.memory, subject_method(argument));
                CHECK_EQUAL(pl_guard_reason(s.reply.guards, 1), meddlers[i].reason);
                s.memory.length = LENGTH;
                subject_free(&s);
                session_await_end(&session);
        }
}

/* Nobody changes anything meanwhile: it is found out all the same, and both hear of it. */
static void run_undone(const void *argument) {
        static const struct ctl_message guard_lost = { "MESSAGE_ID=886040ea75a240d99cf64369fff2da84",
                                                       "pinlease-session",
                                                       "5" };
        struct subject s = subject_new(argument, NULL);

        take_off(s.memory.fd);
        (void)raw_expect_notice(&s.f.raw, PL_NOTICE_GUARD_LOST);
        ctl_expect_said(&guard_lost, getpid(), 1);
        CHECK_EQUAL(subject_transfer(&s, 1), IBV_WC_SUCCESS);
        subject_free(&s);
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
        { "lease: a grace time that is too long", run_long_grace, "/mnt/ext4-dax", 0 },
        { "lease: the registrar is killed", run_killed, NULL, 0 },
        { "lease: the keeper is killed", run_killed, "", 0 },
        { "lease: meddled with", run_meddling, "/mnt/ext4-dax", 0 },
        { "lease: undone", run_undone, "/mnt/ext4-dax", 0 },
        { 0 },
};
