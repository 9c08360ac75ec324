/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A file that is changed while it is registered, by the real kernel: the registrar is held (ptrace) right before the
 * call that registers, or right after it, until the change is made. One session for all of them.
 */

#include <fcntl.h>
#include <linux/falloc.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "fixture.h"
#include "harness.h"
#include "instance.h"
#include "leftovers.h"
#include "mrs.h"
#include "process.h"
#include "view.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define PAGE 4096
#define LENGTH (16 * PAGE) /* huge pages: rounded up */

/* The calls at which it is held. */
enum moment { BEFORE_MAPPING, BEFORE, AFTER };

struct race {
        enum memory_kind kind;
        uint32_t method, access;
        enum moment moment;
        void (*change)(const struct memory *memory);
        enum pinlease_code code;
};

/* --- changes --- */

static void cut(const struct memory *m) {
        CHECK_CALL(ftruncate(m->fd, 0));
}

static void refill(const struct memory *m) {
        for (uint64_t at = 0; at < m->length; at += PAGE)
                m->start[at] = 'x';
}

static void cut_and_refill(const struct memory *m) {
        cut(m);
        CHECK_CALL(ftruncate(m->fd, (off_t)m->length));
        refill(m);
}

/* By a name: on hugetlbfs its times do not tell. Elsewhere the lease would have it wait for the registrar, which is
 * held. */
static void cut_by_name(const struct memory *m) {
        char path[32];

        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", m->fd);
        CHECK_CALL(truncate(path, 0));
        CHECK_CALL(truncate(path, (off_t)m->length));
        refill(m);
}

static void punch_and_refill(const struct memory *m) {
        CHECK_CALL(fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)m->length));
        refill(m);
}

static void write_to_it(const struct memory *m) {
        CHECK_EQUAL(pwrite(m->fd, "y", 1, PAGE), 1);
}

static void seal_future(const struct memory *m) {
        CHECK_CALL(fcntl(m->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
}

/* What the service relies on: not while anybody has it mapped for writing, or pinned. */
static void seal_write(const struct memory *m) {
        CHECK_CALL(munmap(m->start, m->length));
        CHECK(fcntl(m->fd, F_ADD_SEALS, F_SEAL_WRITE) < 0);
        CHECK_EQUAL(errno, EBUSY);
        CHECK(mmap(m->start, m->length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, m->fd, 0) == m->start);
}

#define PIN PINLEASE_METHOD_PINNED
#define ODP PINLEASE_METHOD_ODP
#define CHANGED PINLEASE_CODE_CHANGED
#define NONE PINLEASE_CODE_NONE

static const struct race races[] = {
        { MEMORY_MEMFD, PIN, ACCESS_READ_WRITE, BEFORE_MAPPING, seal_future, CHANGED },
        { MEMORY_MEMFD, PIN, ACCESS_READ_WRITE, BEFORE, cut, CHANGED },
        { MEMORY_MEMFD, PIN, ACCESS_READ_WRITE, BEFORE, cut_and_refill, NONE },
        { MEMORY_MEMFD, PIN, ACCESS_READ_WRITE, AFTER, cut, CHANGED },
        { MEMORY_MEMFD, PIN, ACCESS_READ_WRITE, AFTER, cut_and_refill, CHANGED },
        { MEMORY_MEMFD, PIN, ACCESS_READ, AFTER, cut_and_refill, CHANGED },
        { MEMORY_MEMFD, PIN, ACCESS_READ_WRITE, AFTER, punch_and_refill, CHANGED },
        { MEMORY_MEMFD, PIN, ACCESS_READ, AFTER, punch_and_refill, CHANGED },
        { MEMORY_MEMFD, PIN, ACCESS_READ_WRITE, AFTER, write_to_it, NONE },
        { MEMORY_MEMFD, PIN, ACCESS_READ_WRITE, AFTER, seal_write, NONE },
        { MEMORY_MEMFD, PIN, ACCESS_READ_WRITE, AFTER, seal_future, CHANGED },
        { MEMORY_MEMFD, PIN, ACCESS_READ, AFTER, seal_future, NONE },
        { MEMORY_MEMFD, ODP, ACCESS_READ_WRITE, AFTER, cut, CHANGED },
        { MEMORY_MEMFD, ODP, ACCESS_READ_WRITE, AFTER, cut_and_refill, NONE },
        { MEMORY_TMPFS, PIN, ACCESS_READ_WRITE, AFTER, cut_and_refill, CHANGED },
        { MEMORY_HUGETLB, PIN, ACCESS_READ_WRITE, BEFORE, cut, CHANGED },
        { MEMORY_HUGETLB, PIN, ACCESS_READ_WRITE, AFTER, cut_by_name, CHANGED },
        { MEMORY_HUGETLB, PIN, ACCESS_READ_WRITE, AFTER, punch_and_refill, CHANGED },
        { MEMORY_HUGETLB, PIN, ACCESS_READ_WRITE, AFTER, refill, NONE },
        { MEMORY_EXT4_DAX, ODP, ACCESS_READ_WRITE, AFTER, cut, CHANGED },
        { MEMORY_XFS, ODP, ACCESS_READ_WRITE, AFTER, cut, CHANGED },
};

static struct memory memories[ELEMENTSOF(races)];

/* --- the app --- */

static void app(int channel, const void *path) {
        struct fixture f = fixture_open(path);

        tell(channel);
        for (size_t i = 0; i < ELEMENTSOF(races); i++) {
                struct pl_register request = fixture_request(&f, memories + i, races[i].method);
                struct pl_register_reply reply;
                enum pinlease_code code;

                request.access = races[i].access;
                await(channel);
                code = fixture_try(&f, &request, memories[i].fd, &reply);
                tell_value(channel, code);
                /* So that somebody can look. */
                await(channel);
                if (code == NONE)
                        raw_deregister(&f.raw, reply.id);
                tell(channel);
        }
        fixture_close(&f);
}

/* --- holding the registrar --- */

static void await_stop(pid_t pid) {
        int status;

        CHECK_EQUAL(waitpid(pid, &status, __WALL), pid);
        CHECK(WIFSTOPPED(status));
}

/* Goes on to the next call that it begins, or that has been done. */
static struct __ptrace_syscall_info next_stop(pid_t pid) {
        struct __ptrace_syscall_info info;

        CHECK_CALL(ptrace(PTRACE_SYSCALL, pid, NULL, NULL));
        await_stop(pid);
        CHECK_CALL(ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info));
        return info;
}

static bool is_entry(const struct __ptrace_syscall_info *info, enum moment moment) {
        if (info->op != PTRACE_SYSCALL_INFO_ENTRY)
                return false;
        if (moment == BEFORE_MAPPING)
                return info->entry.nr == SYS_mmap && (int)info->entry.args[4] >= 0;
        return info->entry.nr == SYS_ioctl && info->entry.args[1] == RDMA_VERBS_IOCTL;
}

static void hold(pid_t pid, enum moment moment) {
        struct __ptrace_syscall_info info;

        do
                info = next_stop(pid);
        while (!is_entry(&info, moment));
        if (moment != AFTER)
                return;
        info = next_stop(pid);
        CHECK_EQUAL(info.op, PTRACE_SYSCALL_INFO_EXIT);
        CHECK_EQUAL(info.exit.rval, 0);
}

static void run_race(const struct race *race, const struct memory *memory, const struct app *app, pid_t registrar) {
        CHECK_CALL(ptrace(PTRACE_INTERRUPT, registrar, NULL, NULL));
        await_stop(registrar);
        tell(app->channel);
        hold(registrar, race->moment);
        race->change(memory);
        CHECK_CALL(ptrace(PTRACE_CONT, registrar, NULL, NULL));
}

/* What was undone is undone in all books. */
static void expect_nothing(const char *directory, pid_t app, size_t mrs_before) {
        struct mr_entry entries[8];
        struct view view;

        CHECK_EQUAL(leftovers_pinned(), 0);
        CHECK_EQUAL(mrs_list("rxe_a", entries, ELEMENTSOF(entries)), mrs_before);
        view_list(directory, &view);
        CHECK_EQUAL(view_of(&view, app)->in_use.registrations, 0);
        CHECK_EQUAL(view_of(&view, app)->in_use.pinned + view_of(&view, app)->in_use.odp, 0);
}

static void run_changed(const void *argument _unused_) {
        struct mr_entry entries[8];
        size_t mrs_before = mrs_list("rxe_a", entries, ELEMENTSOF(entries));
        /* Held, it is not to be taken for one that hangs. */
        struct instance instance = instance_start((const char *const[]) { "--hang", "60000", NULL });
        struct session session;
        struct app one;

        for (size_t i = 0; i < ELEMENTSOF(races); i++)
                memories[i] = memory_new(races[i].kind, LENGTH);
        one = app_start(app, instance.path);
        await(one.channel);
        session = session_of(one.pid);
        CHECK_CALL(ptrace(PTRACE_SEIZE, session.registrar, NULL, PTRACE_O_TRACESYSGOOD));

        for (size_t i = 0; i < ELEMENTSOF(races); i++) {
                enum pinlease_code code;

                run_race(races + i, memories + i, &one, session.registrar);
                code = (enum pinlease_code)await_value(one.channel);
                if (code != races[i].code)
                        FAIL("race %zu: %s, should be %s", i, pl_code_name(code), pl_code_name(races[i].code));
                if (code != NONE)
                        expect_nothing(instance.directory, one.pid, mrs_before);
                tell(one.channel);
                await(one.channel);
        }
        CHECK_CALL(ptrace(PTRACE_INTERRUPT, session.registrar, NULL, NULL));
        await_stop(session.registrar);
        CHECK_CALL(ptrace(PTRACE_DETACH, session.registrar, NULL, NULL));
        app_finish(&one);
        session_await_end(&session);
        for (size_t i = 0; i < ELEMENTSOF(races); i++)
                memory_free(memories + i);
        instance_stop(&instance);
}

const struct test_case cases_changed[] = {
        { "changed: while it is registered", run_changed, NULL, 0 },
        { 0 },
};
