/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "subject.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define LENGTH SUBJECT_LENGTH

static bool is_tmpfs(const char *folder) {
        return strcmp(folder, "/mnt/tmpfs") == 0;
}

uint32_t subject_method(const char *folder) {
        return is_tmpfs(folder) ? PINLEASE_METHOD_PINNED : PINLEASE_METHOD_ODP;
}

void subject_map(struct memory *memory) {
        memory->start = mmap(NULL, memory->length, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd, 0);
        CHECK(memory->start != MAP_FAILED);
        CHECK_CALL(madvise(memory->start, memory->length, 23 /* MADV_POPULATE_WRITE */));
}

struct memory subject_file(const char *folder, char *path, uint64_t length) {
        struct memory memory = { .length = length };

        memory.fd = memory_file(folder, path, length);
        if (!is_tmpfs(folder))
                CHECK_EQUAL(posix_fallocate(memory.fd, 0, (off_t)length), 0);
        subject_map(&memory);
        return memory;
}

void subject_expect_lease(const struct pl_register_reply *reply) {
        if (!(pl_guards_held(reply->guards) & PINLEASE_GUARD_LEASE))
                FAIL("no lease: %s", pl_guard_reason_name(pl_guard_reason(reply->guards, 1)));
}

struct subject subject_new(const char *folder, const char *socket_path) {
        struct subject s = { .f = fixture_open(socket_path) };

        s.memory = subject_file(folder, s.path, LENGTH);
        rdma_connect(&s.f.rdma);
        s.reply = fixture_register(&s.f, &s.memory, subject_method(folder));
        subject_expect_lease(&s.reply);
        return s;
}

void subject_free(struct subject *s) {
        memory_free(&s->memory);
        fixture_close(&s->f);
        (void)unlink(s->path);
}

void subject_abandon(struct subject *s) {
        close(s->f.raw.sock);
        memory_free(&s->memory);
        rdma_close(&s->f.rdma);
        (void)unlink(s->path);
}

enum ibv_wc_status subject_transfer(struct subject *s, uint64_t seed) {
        return rdma_try_transfer(&s->f.rdma, s->reply.iova, s->reply.rkey, NULL, SUBJECT_CUT, seed);
}

struct pl_packet subject_expect_revoking(struct subject *s) {
        struct pl_packet event = raw_expect_event(&s->f.raw, PL_OP_REVOKING);

        CHECK_EQUAL(event.body.revoking.id, s->reply.id);
        CHECK_EQUAL(event.body.revoking.reason, PL_REVOKED_LAYOUT_CHANGE);
        CHECK_EQUAL(event.body.revoking.offset, 0);
        CHECK_EQUAL(event.body.revoking.length, LENGTH);
        return event;
}

uint64_t subject_size(const char *path) {
        struct stat st;

        CHECK_CALL(stat(path, &st));
        return (uint64_t)st.st_size;
}

/* --- the other program --- */

void subject_truncates(int channel, const void *argument) {
        tell(channel);
        CHECK_CALL(truncate(argument, SUBJECT_CUT));
        tell(channel);
}

void subject_opens_and_truncates(int channel, const void *argument) {
        tell(channel);
        close(CHECK_CALL(open(argument, O_WRONLY | O_TRUNC | O_CLOEXEC)));
        tell(channel);
}

void subject_opens_for_writing(int channel, const void *argument) {
        int fd;

        tell(channel);
        fd = CHECK_CALL(open(argument, O_RDWR | O_CLOEXEC));
        tell(channel);
        await(channel);
        close(fd);
}

void subject_reads(int channel, const void *argument) {
        int fd;

        tell(channel);
        fd = CHECK_CALL(open(argument, O_RDONLY | O_CLOEXEC));
        tell(channel);
        await(channel);
        close(fd);
        tell(channel);
}

struct app subject_breaker(void (*breaker)(int channel, const void *argument), const char *path) {
        struct app app = app_start(breaker, path);

        await(app.channel);
        return app;
}

void subject_expect_waits(struct subject *s) {
        struct app breaker = subject_breaker(subject_truncates, s->path);

        (void)subject_expect_revoking(s);
        CHECK_EQUAL(subject_size(s->path), SUBJECT_LENGTH);
        raw_release(&s->f.raw, s->reply.id);
        await(breaker.channel);
        app_finish(&breaker);
        CHECK_EQUAL(raw_expect_event(&s->f.raw, PL_OP_SETTLED).body.settled.size, SUBJECT_CUT);
}
