/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guards.h"

#define PAGE UINT64_C(4096)
#define SIZE (64 * PAGE)

/* --- in place of guards.c ------------------------------------------------------------------------------------------------ */

static struct {
        struct guards guards;
        struct guarded files[2];
        char path[64];
        int fd; /* of the app */
        struct guard_report reports[64];
        const struct guarded *of[64];
        unsigned int n;
        unsigned int cost_ms; /* what a report costs */
} f;

void guards_report(struct guards *guards _unused_, struct guarded *file, const struct guard_report *report) {
        assert_true(f.n < ELEMENTSOF(f.reports));
        assert_int_equal(report->guard, GUARD_MODIFY);
        f.of[f.n] = file;
        f.reports[f.n++] = *report;
        for (uint64_t until = pl_now_us() + f.cost_ms * UINT64_C(1000); pl_now_us() < until;)
                ;
}

static struct guarded *add(struct guarded *file, int fd) {
        *file = (struct guarded) { .next = f.guards.first, .fd = fcntl(fd, F_DUPFD_CLOEXEC, 3), .modify = { .watch = -1 } };
        assert_int_equal(pl_fdclass_get(fd, &file->class), 0);
        f.guards.first = file;
        return file;
}

static int setup(void **state) {
        f.guards = (struct guards) { .inotify = -1 };
        f.n = 0;
        f.cost_ms = 0;
        f.fd = -1;
        f.path[0] = 0;
        return testing_leak_setup(state);
}

static int teardown(void **state) {
        for (struct guarded *file = f.guards.first; file; file = file->next) {
                guard_modify.disarm(&f.guards, file);
                assert_int_equal(file->modify.watch, -1);
                file->fd = pl_close(file->fd);
        }
        guard_modify.done(&f.guards);
        f.fd = pl_close(f.fd);
        if (f.path[0])
                (void)unlink(f.path);
        return testing_leak_teardown(state);
}

static void fill(int fd) {
        char *p;

        assert_int_equal(ftruncate(fd, SIZE), 0);
        p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        assert_true(p != MAP_FAILED);
        memset(p, 1, SIZE);
        assert_int_equal(munmap(p, SIZE), 0);
}

static struct guarded *armed(struct guarded *file, int fd) {
        assert_int_equal(guard_modify.arm(&f.guards, add(file, fd)), PINLEASE_GUARD_HOLDS);
        return file;
}

static int new_file(const char *folder) {
        int fd;

        (void)snprintf(f.path, sizeof f.path, "%s/pinlease-test.XXXXXX", folder);
        fd = mkostemp(f.path, O_CLOEXEC);
        assert_true(fd >= 0);
        fill(fd);
        return fd;
}

/* A file in shared memory, all of it present, watched. */
static struct guarded *given(void) {
        f.fd = new_file("/dev/shm");
        return armed(f.files, f.fd);
}

/* Nothing of it is put off. */
static void let_pass(void) {
        for (struct guarded *file = f.guards.first; file; file = file->next)
                file->modify.not_before = 0;
}

/* All that has come, and all that is due. */
static void turn(void) {
        struct pollfd p = { .fd = guard_modify.fd(&f.guards), .events = POLLIN };

        f.n = 0;
        let_pass();
        while (poll(&p, 1, 0) == 1)
                assert_int_equal(guard_modify.event(&f.guards), 0);
        while (guard_modify.due(&f.guards)) {
                for (struct guarded *file = f.guards.first; file; file = file->next)
                        file->modify.due = file->modify.due ? 1 : 0;
                assert_int_equal(guard_modify.event(&f.guards), 0);
        }
}

static void assert_report(unsigned int i, enum guard_report_kind kind, uint64_t offset, uint64_t length) {
        assert_true(i < f.n);
        assert_int_equal(f.reports[i].kind, kind);
        if (kind == GUARD_CHANGED) {
                assert_int_equal(f.reports[i].offset, offset);
                assert_int_equal(f.reports[i].length, length);
        }
}

static void punch(int fd, uint64_t first, uint64_t n) {
        assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(first * PAGE), (off_t)(n * PAGE)), 0);
}

/* --- what it tells --------------------------------------------------------------------------------------------------------- */

/* Pages that come after the file was looked at, and are registered: they are missed when they go. */
TEST(test_what_is_registered_later_is_known) {
        struct guarded *file = given();

        punch(f.fd, 8, 4);
        turn();
        assert_report(0, GUARD_CHANGED, 8 * PAGE, 4 * PAGE);
        fill(f.fd);
        guard_modify.cover(&f.guards, file, 9 * PAGE, 2 * PAGE);
        punch(f.fd, 8, 4);
        turn();
        assert_report(0, GUARD_CHANGED, 8 * PAGE, 4 * PAGE);
}

TEST(test_truncation_is_told) {
        given();
        turn();
        assert_int_equal(f.n, 0);

        assert_int_equal(truncate(f.path, 10 * PAGE + 1), 0);
        turn();
        assert_int_equal(f.n, 2);
        assert_report(0, GUARD_CHANGED, 10 * PAGE + 1, UINT64_MAX);
        assert_report(1, GUARD_ACTIVITY, 0, 0);

        /* Growing is no loss, nor is what is cut off of it what has been there before. */
        assert_int_equal(ftruncate(f.fd, SIZE), 0);
        turn();
        assert_int_equal(f.n, 1);
        assert_report(0, GUARD_ACTIVITY, 0, 0);
        assert_int_equal(ftruncate(f.fd, 20 * PAGE), 0);
        turn();
        assert_int_equal(f.n, 2);
        assert_report(0, GUARD_CHANGED, 20 * PAGE, UINT64_MAX);
}

TEST(test_truncated_and_grown_again) {
        given();
        assert_int_equal(ftruncate(f.fd, 8 * PAGE), 0);
        assert_int_equal(ftruncate(f.fd, SIZE), 0);
        turn();
        assert_int_equal(f.n, 2);
        assert_report(0, GUARD_CHANGED, 8 * PAGE, SIZE - 8 * PAGE);
}

TEST(test_holes_are_told_exactly) {
        given();
        punch(f.fd, 3, 2);
        punch(f.fd, 5, 1); /* touches it: one range */
        punch(f.fd, 60, 4);
        turn();
        assert_int_equal(f.n, 3);
        assert_report(0, GUARD_CHANGED, 3 * PAGE, 3 * PAGE);
        assert_report(1, GUARD_CHANGED, 60 * PAGE, 4 * PAGE);
        assert_report(2, GUARD_ACTIVITY, 0, 0);

        /* What is a hole stays one. */
        punch(f.fd, 2, 3);
        turn();
        assert_int_equal(f.n, 2);
        assert_report(0, GUARD_CHANGED, 2 * PAGE, PAGE);

        /* What is filled is data from then on. */
        assert_int_equal(pwrite(f.fd, "x", 1, 4 * PAGE), 1);
        turn();
        assert_int_equal(f.n, 1);
        punch(f.fd, 0, 6);
        turn();
        assert_report(0, GUARD_CHANGED, 0, 2 * PAGE);
        assert_report(1, GUARD_CHANGED, 4 * PAGE, PAGE);
        assert_int_equal(f.n, 3);
}

TEST(test_writing_is_activity_only) {
        int reader;

        given();
        for (int i = 0; i < 1000; i++)
                assert_int_equal(pwrite(f.fd, "x", 1, i), 1);
        turn();
        assert_int_equal(f.n, 1);
        assert_report(0, GUARD_ACTIVITY, 0, 0);

        reader = open(f.path, O_RDONLY | O_CLOEXEC);
        assert_true(reader >= 0);
        turn();
        assert_int_equal(f.n, 0);
        pl_close(reader);
        turn();
        assert_int_equal(f.n, 1);
        assert_report(0, GUARD_ACTIVITY, 0, 0);
}

TEST(test_last_name_goes_once) {
        char other[80];

        given();
        (void)snprintf(other, sizeof other, "%s.2", f.path);
        assert_int_equal(link(f.path, other), 0);
        assert_int_equal(unlink(other), 0);
        turn();
        assert_int_equal(f.n, 1);
        assert_report(0, GUARD_ACTIVITY, 0, 0);

        assert_int_equal(unlink(f.path), 0);
        turn();
        assert_int_equal(f.n, 2);
        assert_report(0, GUARD_UNLINKED, 0, 0);

        /* It is watched all the same. */
        assert_int_equal(fchmod(f.fd, 0400), 0);
        punch(f.fd, 1, 1);
        turn();
        assert_int_equal(f.n, 2);
        assert_report(0, GUARD_CHANGED, PAGE, PAGE);
}

/* The kernel says nothing of a hole in a memfd. */
TEST(test_memfd_is_looked_at) {
        struct guarded *file;

        f.fd = testing_memfd(SIZE);
        file = armed(f.files, f.fd);
        punch(f.fd, 7, 1);
        turn();
        let_pass();
        f.n = 0;
        assert_int_equal(guard_modify.look(&f.guards, file), PINLEASE_GUARD_HOLDS);
        let_pass();
        assert_int_equal(guard_modify.look(&f.guards, file), PINLEASE_GUARD_HOLDS);
        /* Older kernels do: then it has been told already. */
        assert_true(f.n <= 1);
        if (f.n == 1)
                assert_report(0, GUARD_CHANGED, 7 * PAGE, PAGE);

        assert_int_equal(ftruncate(f.fd, 0), 0);
        turn();
        assert_report(0, GUARD_CHANGED, 0, UINT64_MAX);
}

TEST(test_files_are_told_apart) {
        int memfd = testing_memfd(SIZE);

        given();
        armed(f.files + 1, memfd);
        assert_int_equal(ftruncate(memfd, PAGE), 0);
        turn();
        assert_int_equal(f.n, 2);
        assert_ptr_equal(f.of[0], f.files + 1);
        assert_ptr_equal(f.of[1], f.files + 1);
        assert_int_equal(guard_modify.look(&f.guards, f.files), PINLEASE_GUARD_HOLDS);
        assert_int_equal(f.n, 2);
        pl_close(memfd);
}

/* A file on the disk of this machine: whatever it lies on, its size is compared. */
TEST(test_any_file) {
        f.fd = new_file("/tmp");
        armed(f.files, f.fd);
        assert_int_equal(pwrite(f.fd, "x", 1, 0), 1);
        turn();
        assert_int_equal(f.n, 1);
        assert_int_equal(truncate(f.path, PAGE), 0);
        turn();
        assert_report(0, GUARD_CHANGED, PAGE, UINT64_MAX);
        assert_report(f.n - 1, GUARD_ACTIVITY, 0, 0);
}

TEST(test_too_many_pieces) {
        const uint64_t pages = 3 * LAYOUT_MAX_EXTENTS;

        f.fd = testing_memfd(pages * PAGE);
        for (uint64_t i = 0; i < pages; i += 2)
                punch(f.fd, i, 1);
        armed(f.files, f.fd);
        assert_false(f.files[0].modify.layout.known);
        assert_null(f.files[0].modify.layout.extents);
        assert_int_equal(ftruncate(f.fd, 100 * PAGE), 0);
        turn();
        assert_report(0, GUARD_CHANGED, 100 * PAGE, UINT64_MAX);
        assert_true(f.files[0].modify.layout.known);
        assert_int_equal(f.files[0].modify.layout.n_extents, 50);
}

/* --- what it costs ------------------------------------------------------------------------------------------------------- */

TEST(test_comparing_is_put_off) {
        struct guarded *file = given();

        file->modify.not_before = pl_now_ms() + 3600 * 1000;
        punch(f.fd, 1, 1);
        assert_int_equal(guard_modify.event(&f.guards), 0);
        assert_int_equal(f.n, 1);
        assert_report(0, GUARD_ACTIVITY, 0, 0);
        assert_int_equal(file->modify.due, file->modify.not_before);

        /* A size is not. */
        assert_int_equal(ftruncate(f.fd, 2 * PAGE), 0);
        assert_int_equal(guard_modify.event(&f.guards), 0);
        assert_int_equal(f.n, 3);
        assert_report(1, GUARD_CHANGED, 2 * PAGE, UINT64_MAX);

        file->modify.due = 1;
        assert_int_equal(guard_modify.event(&f.guards), 0);
        assert_int_equal(f.n, 4);
        assert_report(3, GUARD_CHANGED, PAGE, PAGE);
        assert_int_equal(guard_modify.due(&f.guards), 0);
        assert_true(file->modify.not_before >= pl_now_ms());
}

/* Who writes without end does not keep it busy without end. */
TEST(test_events_are_taken_together) {
        given();
        assert_int_equal(guard_modify.fd(&f.guards), f.guards.inotify);
        assert_int_equal(pwrite(f.fd, "x", 1, 0), 1);
        let_pass();
        assert_int_equal(guard_modify.event(&f.guards), 0);
        assert_int_equal(f.n, 1);
        assert_true(guard_modify.due(&f.guards) > 0);

        /* Not before that. */
        f.guards.inotify_rest = pl_now_ms() + 3600 * 1000;
        assert_int_equal(guard_modify.fd(&f.guards), -1);
        assert_int_equal(guard_modify.due(&f.guards), f.guards.inotify_rest);

        /* But then, even if that was the last; and with nothing new there is nothing to wait for. */
        assert_int_equal(ftruncate(f.fd, PAGE), 0);
        f.guards.inotify_rest = 1;
        assert_int_equal(guard_modify.fd(&f.guards), f.guards.inotify);
        assert_int_equal(guard_modify.due(&f.guards), 1);
        assert_int_equal(guard_modify.event(&f.guards), 0);
        assert_int_equal(f.n, 3);
        assert_report(1, GUARD_CHANGED, PAGE, UINT64_MAX);
        assert_int_equal(guard_modify.event(&f.guards), 0);
        assert_int_equal(f.n, 3);
        assert_int_equal(guard_modify.fd(&f.guards), f.guards.inotify);
        assert_int_equal(guard_modify.due(&f.guards), f.files[0].modify.due);
}

/* A tenth of a processor: it rests ten times as long as it has worked, however often somebody writes meanwhile. */
TEST(test_a_tenth) {
        enum { COST_MS = 10 };
        uint64_t begun, ended, worked = 0;
        unsigned int n_turns = 0;

        given();
        f.cost_ms = COST_MS;
        begun = pl_now_ms();
        do {
                struct pollfd p = { .fd = guard_modify.fd(&f.guards), .events = POLLIN };

                assert_int_equal(pwrite(f.fd, "x", 1, 0), 1);
                /* Left alone, or there is something to do. */
                if (poll(&p, 1, 0) != 1)
                        continue;
                let_pass();
                f.n = 0;
                assert_int_equal(guard_modify.event(&f.guards), 0);
                assert_true(f.n > 0);
                worked += f.n * COST_MS;
                assert_true(f.guards.inotify_rest >= begun + worked + 10 * f.n * COST_MS);
                ended = f.guards.inotify_rest;
                n_turns++;
        } while (n_turns < 4);
        assert_true(ended - begun >= 11 * worked);
}

TEST(test_lost_events) {
        FILE *limit = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
        struct pollfd p = { .events = POLLIN };
        unsigned int n = 0;
        bool found = false;

        if (!limit || fscanf(limit, "%u", &n) != 1 || n > 100000)
                testing_skip("max_queued_events is %u\n", n);
        (void)fclose(limit);

        /* The other file's events fill the queue, this one's are lost. */
        armed(f.files + 1, f.fd = testing_memfd(SIZE));
        pl_close(f.fd);
        given();
        for (unsigned int i = 0; i <= n / 2; i++) {
                assert_int_equal(fchmod(f.files[1].fd, 0600), 0);
                assert_int_equal(ftruncate(f.files[1].fd, (off_t)(SIZE + i % 2)), 0);
        }
        punch(f.fd, 9, 1);
        p.fd = guard_modify.fd(&f.guards);
        /* Files are handled in the order of the table: this one first, and then the other, with what it does all the time. */
        while (!found && poll(&p, 1, 0) == 1) {
                let_pass();
                f.n = 0;
                assert_int_equal(guard_modify.event(&f.guards), 0);
                for (unsigned int i = 0; i < f.n; i++)
                        found |= f.of[i] == f.files && f.reports[i].kind == GUARD_CHANGED && f.reports[i].offset == 9 * PAGE;
        }
        assert_true(found);
        assert_int_equal(f.files[0].modify.layout.n_extents, 2);
}

/* --- why it does not hold ------------------------------------------------------------------------------------------------ */

TEST(test_nothing_to_watch) {
        add(f.files, 0);
        f.files[0].fd = pl_close(f.files[0].fd);
        assert_int_equal(guard_modify.arm(&f.guards, f.files), PINLEASE_GUARD_NO_RESOURCES);
        f.files[0].class.seals = F_SEAL_SHRINK;
        assert_int_equal(guard_modify.arm(&f.guards, f.files), PINLEASE_GUARD_NOT_FOR_THIS);
        assert_int_equal(guard_modify.look(&f.guards, f.files), PINLEASE_GUARD_NOT_FOR_THIS);
        f.files[0].class = (struct pl_fdclass) { .kind = PL_FD_DEVDAX };
        assert_int_equal(guard_modify.arm(&f.guards, f.files), PINLEASE_GUARD_NOT_FOR_THIS);
        assert_int_equal(guard_modify.fd(&f.guards), -1);
        assert_int_equal(guard_modify.event(&f.guards), 0);
        assert_int_equal(guard_modify.due(&f.guards), 0);
}

TEST(test_no_descriptors) {
        struct rlimit limit, low;

        f.fd = testing_memfd(SIZE);
        add(f.files, f.fd);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
        low = limit;
        low.rlim_cur = 3;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
        assert_int_equal(guard_modify.arm(&f.guards, f.files), PINLEASE_GUARD_NO_RESOURCES);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);

        /* It is had as soon as there are some. */
        assert_int_equal(guard_modify.look(&f.guards, f.files), PINLEASE_GUARD_HOLDS);
        assert_int_equal(ftruncate(f.fd, 0), 0);
        turn();
        assert_report(0, GUARD_CHANGED, 0, UINT64_MAX);
}

#define GUARDED(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                GUARDED(test_truncation_is_told),
                GUARDED(test_what_is_registered_later_is_known),
                GUARDED(test_truncated_and_grown_again),
                GUARDED(test_holes_are_told_exactly),
                GUARDED(test_writing_is_activity_only),
                GUARDED(test_last_name_goes_once),
                GUARDED(test_memfd_is_looked_at),
                GUARDED(test_files_are_told_apart),
                GUARDED(test_any_file),
                GUARDED(test_too_many_pieces),
                GUARDED(test_comparing_is_put_off),
                GUARDED(test_events_are_taken_together),
                GUARDED(test_a_tenth),
                GUARDED(test_lost_events),
                GUARDED(test_nothing_to_watch),
                GUARDED(test_no_descriptors),
        };

        return cmocka_run_group_tests_name("guard-modify", tests, NULL, NULL);
}
