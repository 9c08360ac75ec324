/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * --on-layout-change notify: who has registered by ODP is told of a change and keeps what it has, as the kernel keeps
 * the device coherent. What is pinned is revoked as ever.
 */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "calls.h"
#include "instance.h"
#include "subject.h"

/* Nobody lets go here; who had to wait would do so until then. */
#define GRACE "15000"
#define AT_ONCE_MS 8000

static struct instance start(void) {
        return instance_start((const char *const[]) { "--on-layout-change", "notify", "--grace", GRACE, NULL });
}

static struct pl_register_reply add(struct fixture *f, const struct memory *memory, uint32_t method) {
        struct pl_register_reply reply = fixture_register(f, memory, method);

        CHECK_EQUAL(reply.method, method);
        return reply;
}

/* Notices, and nothing else, until one says that the file has this size now. */
static void expect_size(const struct raw *raw, uint64_t size) {
        struct pl_packet packet;

        do
                packet = raw_expect_notice(raw, PL_NOTICE_CHANGED);
        while (packet.body.notice.size != size);
}

static void expect_revoking(const struct raw *raw, uint64_t id) {
        struct pl_packet packet = raw_expect_event(raw, PL_OP_REVOKING);

        CHECK_EQUAL(packet.body.revoking.id, id);
        CHECK_EQUAL(packet.body.revoking.reason, PL_REVOKED_LAYOUT_CHANGE);
}

/* A page at its end. */
static enum ibv_wc_status write_to_the_end(struct subject *s) {
        struct rdma *rdma = &s->f.rdma;
        enum ibv_wc_status status = rdma_write_from(rdma,
                                                    (uintptr_t)rdma->buffer,
                                                    rdma->buffer_mr->lkey,
                                                    s->reply.iova + SUBJECT_LENGTH - 4096,
                                                    s->reply.rkey,
                                                    4096);

        if (status != IBV_WC_SUCCESS)
                rdma_reconnect(rdma);
        return status;
}

static struct subject open_subject(const struct instance *instance, const char *folder) {
        struct subject s = { .f = fixture_open(instance->path) };

        s.memory = subject_file(folder, s.path, SUBJECT_LENGTH);
        rdma_connect(&s.f.rdma);
        s.reply = add(&s.f, &s.memory, PINLEASE_METHOD_ODP);
        subject_expect_lease(&s.reply);
        CHECK_EQUAL(subject_transfer(&s, 1), IBV_WC_SUCCESS);
        CHECK_EQUAL(write_to_the_end(&s), IBV_WC_SUCCESS);
        return s;
}

/* --- the cases --- */

static void grows(int channel, const void *argument) {
        tell(channel);
        CHECK_CALL(truncate(argument, SUBJECT_LENGTH));
        tell(channel);
}

/* The other program has a lease to wait for, but not for the app. */
static void run_odp(const void *argument) {
        struct instance instance = start();
        struct subject s = open_subject(&instance, argument);
        uint64_t began = pl_now_ms();
        struct app breaker;

        breaker = subject_breaker(subject_truncates, s.path);
        await(breaker.channel);
        CHECK(pl_now_ms() - began < AT_ONCE_MS);
        app_finish(&breaker);
        expect_size(&s.f.raw, SUBJECT_CUT);

        /* The key is good for what the file has, and only for that. */
        CHECK(call_mr_is_there(s.f.rdma.context->cmd_fd, s.reply.handle));
        CHECK_EQUAL(subject_transfer(&s, 2), IBV_WC_SUCCESS);
        CHECK_EQUAL(write_to_the_end(&s), IBV_WC_REM_ACCESS_ERR);
        breaker = subject_breaker(grows, s.path);
        await(breaker.channel);
        app_finish(&breaker);
        CHECK_EQUAL(write_to_the_end(&s), IBV_WC_SUCCESS);
        CHECK_EQUAL(subject_transfer(&s, 3), IBV_WC_SUCCESS);

        /* The lease has been taken again, and is not waited for a second time either. */
        began = pl_now_ms();
        breaker = subject_breaker(subject_opens_and_truncates, s.path);
        await(breaker.channel);
        CHECK(pl_now_ms() - began < AT_ONCE_MS);
        app_finish(&breaker);
        expect_size(&s.f.raw, 0);
        CHECK(call_mr_is_there(s.f.rdma.context->cmd_fd, s.reply.handle));
        raw_deregister(&s.f.raw, s.reply.id);
        subject_free(&s);
        instance_stop(&instance);
}

/* Both of one file, of one session or of two: what is pinned is waited for. */
static void run_pinned(const void *argument) {
        struct instance instance = start();
        struct subject s = open_subject(&instance, "/mnt/tmpfs");
        struct fixture second = { 0 }, *f = &s.f;
        struct pl_register_reply pinned;
        struct app breaker;
        uint64_t began;

        if (argument) {
                second = fixture_open(instance.path);
                f = &second;
        }
        pinned = add(f, &s.memory, PINLEASE_METHOD_PINNED);
        breaker = subject_breaker(subject_truncates, s.path);
        expect_revoking(&f->raw, pinned.id);
        CHECK_EQUAL(subject_size(s.path), SUBJECT_LENGTH);
        CHECK(call_mr_is_there(s.f.rdma.context->cmd_fd, s.reply.handle));
        CHECK(call_mr_is_there(f->rdma.context->cmd_fd, pinned.handle));
        raw_release(&f->raw, pinned.id);
        await(breaker.channel);
        app_finish(&breaker);
        CHECK_EQUAL(subject_size(s.path), SUBJECT_CUT);
        CHECK(!call_mr_is_there(f->rdma.context->cmd_fd, pinned.handle));
        CHECK_EQUAL(raw_expect_event(&f->raw, PL_OP_SETTLED).body.settled.size, SUBJECT_CUT);
        CHECK_EQUAL(subject_transfer(&s, 2), IBV_WC_SUCCESS);

        /* Now there is nobody to wait for. */
        began = pl_now_ms();
        breaker = subject_breaker(subject_opens_and_truncates, s.path);
        await(breaker.channel);
        CHECK(pl_now_ms() - began < AT_ONCE_MS);
        app_finish(&breaker);
        expect_size(&s.f.raw, 0);
        if (argument)
                fixture_close(&second);
        subject_free(&s);
        instance_stop(&instance);
}

const struct test_case cases_notify[] = {
        { "notify: ext4-dax by ODP", run_odp, "/mnt/ext4-dax", CASE_ANYWHERE },
        { "notify: xfs-dax by ODP", run_odp, "/mnt/xfs-dax", 0 },
        { "notify: ext4 by ODP", run_odp, "/mnt/ext4", 0 },
        { "notify: xfs by ODP", run_odp, "/mnt/xfs", 0 },
        { "notify: tmpfs by ODP", run_odp, "/mnt/tmpfs", 0 },
        { "notify: tmpfs, what is pinned is revoked", run_pinned, NULL, 0 },
        { "notify: tmpfs, what another session has pinned is revoked", run_pinned, "", 0 },
        { 0 },
};
