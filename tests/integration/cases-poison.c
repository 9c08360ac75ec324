/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Memory that really fails (MADV_HWPOISON), in another process that has mapped it too: what the guard makes of what the kernel
 * says. The case is the registrar, without sandbox and session; in place of guards.c it has two functions of its own.
 *
 * The failed pages are lost to the guest, huge pages are made anew. Persistent memory can be used again, but for what is
 * written into the list of bad blocks; that file stays where it is.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "alone.h"
#include "fixture.h"
#include "harness.h"
#include "mapping.h"
#include "process.h"

#define N_FILES   3
#define N_PAGES   16
#define N_REPORTS 32

enum touch {
        TOUCHED_NOT,    /* registered by ODP, and the device has not been there */
        TOUCHED_ONCE,   /* by ODP, and it has */
        TOUCHED_PINNED, /* registered so */
};

struct failure {
        enum memory_kind kind;
        enum touch touch;
        bool bad_blocks; /* the device's driver has noted it, as after a real one */
        bool expect_first_only, expect_none;
};

/* Eight pages in two files. A third has none. */
static const struct guard_range broken[N_FILES][4] = {
        { { 1, 3 }, { 5, 1 } },
        { { 0, 1 }, { 7, 2 }, { 15, 1 } },
};

static struct guarded files[N_FILES];

static struct {
        unsigned int file;
        uint64_t offset, length;
} reports[N_REPORTS];
static unsigned int n_reports;

static struct guarded *find(uint64_t device, uint64_t inode) {
        for (unsigned int i = 0; i < N_FILES; i++)
                if (files[i].device == device && files[i].inode == inode)
                        return &files[i];
        return NULL;
}

static void report(struct guarded *file, const struct guard_report *report) {
        CHECK_EQUAL(report->kind, GUARD_POISONED);
        CHECK_EQUAL(report->guard, GUARD_POISON);
        CHECK(n_reports < N_REPORTS);
        reports[n_reports].file = (unsigned int)(file - files);
        reports[n_reports].offset = report->offset;
        reports[n_reports++].length = report->length;
}

/* --- the failure ---------------------------------------------------------------------------------------------------------- */

static void on_bus_error(int signal _unused_) {}

/* Of a page that is pinned the kernel says EBUSY, and has done all the same. */
static void break_memory(int channel _unused_, const void *argument _unused_) {
        const struct sigaction action = { .sa_handler = on_bus_error };
        uint64_t page = files[0].class.page_size;
        sigset_t set;

        CHECK_CALL(sigaction(SIGBUS, &action, NULL));
        CHECK_CALL(sigemptyset(&set));
        CHECK_CALL(sigaddset(&set, SIGBUS));
        CHECK_CALL(sigprocmask(SIG_UNBLOCK, &set, NULL));
        for (unsigned int i = 0; i < N_FILES; i++) {
                uint8_t *start = mmap(NULL, N_PAGES * page, PROT_READ | PROT_WRITE, MAP_SHARED, files[i].fd, 0);

                CHECK(start != MAP_FAILED);
                for (unsigned int k = 0; k < ELEMENTSOF(broken[i]); k++)
                        for (uint64_t n = 0; n < broken[i][k].length; n++)
                                if (madvise(start + (broken[i][k].offset + n) * page, page, MADV_HWPOISON) < 0 && errno != EBUSY)
                                        FAIL("MADV_HWPOISON: %m");
        }
}

static void note_bad_blocks(unsigned int i) {
        uint64_t page = files[i].class.page_size;

        for (unsigned int k = 0; k < ELEMENTSOF(broken[i]); k++)
                for (uint64_t n = 0; n < broken[i][k].length; n++)
                        memory_note_bad_blocks(files[i].fd, (broken[i][k].offset + n) * page, page);
}

/* --- the registrar -------------------------------------------------------------------------------------------------------- */

/* The app's own view goes: here is only what a registrar has. */
static struct mapping *open_file(struct guards *guards,
                                 struct mapping_table *table,
                                 unsigned int i,
                                 const struct failure *failure,
                                 uint64_t *ret_start) {
        struct mapping_request request = { .writable = true };
        struct memory memory = { .length = N_PAGES * 4096 };
        struct mapping *view;
        char folder[32], path[64];

        if (failure->bad_blocks) {
                /* Nobody gets those blocks later: the file keeps its name. */
                (void)snprintf(folder, sizeof folder, "/mnt/%s", memory_name(failure->kind));
                memory.fd = memory_file(folder, path, memory.length);
                CHECK_EQUAL(posix_fallocate(memory.fd, 0, (off_t)memory.length), 0);
        } else {
                memory = memory_new(failure->kind, N_PAGES * (failure->kind == MEMORY_HUGETLB ? UINT64_C(2) << 20 : 4096));
                CHECK_CALL(munmap(memory.start, memory.length));
        }
        alone_find = find;
        alone_report = report;
        files[i] = (struct guarded) { .fd = memory.fd };
        CHECK_EQUAL(pl_fdclass_get(memory.fd, &files[i].class), 0);
        files[i].device = files[i].class.dev;
        files[i].inode = files[i].class.inode;
        CHECK_EQUAL(guard_poison.arm(guards, &files[i]),
                    failure->kind == MEMORY_EXT4 || failure->kind == MEMORY_XFS ? PINLEASE_GUARD_NOT_FOR_THIS : PINLEASE_GUARD_HOLDS);

        request.class = &files[i].class;
        request.fd = memory.fd;
        request.length = memory.length;
        CHECK_EQUAL(mapping_get(table, &request, &view, ret_start), 0);
        if (failure->touch == TOUCHED_ONCE)
                CHECK_CALL(madvise((void *)(uintptr_t)*ret_start, memory.length, 23 /* MADV_POPULATE_WRITE */));
        return view;
}

static void expect_reported(unsigned int file, uint64_t offset, uint64_t length) {
        for (unsigned int i = 0; i < n_reports; i++)
                if (reports[i].file == file && reports[i].offset == offset && reports[i].length == length)
                        return;
        for (unsigned int i = 0; i < n_reports; i++)
                (void)printf("file %u: %" PRIu64 " bytes from %" PRIu64 "\n", reports[i].file, reports[i].length, reports[i].offset);
        FAIL("not reported of file %u: %" PRIu64 " bytes from %" PRIu64, file, length, offset);
}

static void expect_reports(const struct failure *failure) {
        uint64_t page = files[0].class.page_size;
        unsigned int n = 0;

        if (failure->expect_none) {
                CHECK_EQUAL(n_reports, 0);
                return;
        }
        if (failure->expect_first_only) {
                expect_reported(0, page, page);
                CHECK_EQUAL(n_reports, 1);
                return;
        }
        for (unsigned int i = 0; i < N_FILES; i++)
                for (unsigned int k = 0; k < ELEMENTSOF(broken[i]); k++)
                        if (broken[i][k].length > 0) {
                                expect_reported(i, broken[i][k].offset * page, broken[i][k].length * page);
                                n++;
                        }
        CHECK_EQUAL(n_reports, n);
}

static void handle(struct guards *guards) {
        do
                CHECK_EQUAL(guard_poison.event(guards), 0);
        while (guards->poison.due);
}

static void run_failure(const void *argument) {
        const struct failure *failure = argument;
        struct mapping_table table = { 0 };
        struct guards guards = { .signals = -1, .config.mappings = &table };
        struct rdma rdma = rdma_open_any();
        struct mapping *views[N_FILES];
        struct ibv_mr *mrs[N_FILES] = { NULL }, *again;
        uint64_t starts[N_FILES];
        struct app app;

        for (unsigned int i = 0; i < N_FILES; i++) {
                views[i] = open_file(&guards, &table, i, failure, &starts[i]);
                if (failure->touch == TOUCHED_PINNED) {
                        mrs[i] = ibv_reg_mr(rdma.pd, (void *)(uintptr_t)starts[i], N_PAGES * files[i].class.page_size, ACCESS_READ_WRITE);
                        CHECK(mrs[i]);
                }
        }

        app = app_start(break_memory, NULL);
        app_finish(&app);
        for (unsigned int i = 0; i < N_FILES && failure->bad_blocks; i++)
                note_bad_blocks(i);
        if (!failure->expect_none)
                await_readable(guard_poison.fd(&guards), "the signal of a memory failure");
        handle(&guards);
        expect_reports(failure);

        /* What is broken cannot be pinned again, what is pinned can be let go, and none of it raises another signal. */
        for (unsigned int i = 0; i < N_FILES; i++) {
                if (failure->touch == TOUCHED_PINNED) {
                        again = ibv_reg_mr(rdma.pd, (void *)(uintptr_t)starts[i], N_PAGES * files[i].class.page_size, ACCESS_READ_WRITE);
                        CHECK_EQUAL(again ? 0 : errno, broken[i][0].length > 0 ? EFAULT : 0);
                        CHECK_EQUAL(again ? ibv_dereg_mr(again) : 0, 0);
                        CHECK_EQUAL(ibv_dereg_mr(mrs[i]), 0);
                }
        }
        handle(&guards);
        expect_reports(failure);

        for (unsigned int i = 0; i < N_FILES; i++) {
                (void)mapping_put(&table, views[i]);
                guard_poison.disarm(&guards, &files[i]);
                close(files[i].fd);
        }
        guard_poison.done(&guards);
        if (failure->kind == MEMORY_HUGETLB)
                write_file("/proc/sys/vm/nr_hugepages", "96\n");
        rdma_close(&rdma);
}

/* Whoever is not the kernel. */
static void run_kill(const void *argument _unused_) {
        const struct failure failure = { .kind = MEMORY_MEMFD, .touch = TOUCHED_ONCE };
        struct mapping_table table = { 0 };
        struct guards guards = { .signals = -1, .config.mappings = &table };
        struct mapping *view;
        uint64_t start;

        view = open_file(&guards, &table, 0, &failure, &start);
        CHECK_CALL(kill(getpid(), SIGBUS));
        await_readable(guard_poison.fd(&guards), "a signal");
        handle(&guards);
        CHECK_EQUAL(n_reports, 0);
        (void)mapping_put(&table, view);
        guard_poison.done(&guards);
        close(files[0].fd);
}

#define FAILURE(...) run_failure, &(const struct failure) { __VA_ARGS__ }, 0

const struct test_case cases_poison[] = {
        { "poison: memfd, pinned", FAILURE(MEMORY_MEMFD, TOUCHED_PINNED, .bad_blocks = false) },
        { "poison: memfd", FAILURE(MEMORY_MEMFD, TOUCHED_ONCE, .bad_blocks = false) },
        { "poison: memfd, never touched", FAILURE(MEMORY_MEMFD, TOUCHED_NOT, .bad_blocks = false) },
        { "poison: tmpfs, pinned", FAILURE(MEMORY_TMPFS, TOUCHED_PINNED, .bad_blocks = false) },
        { "poison: hugetlb, pinned", FAILURE(MEMORY_HUGETLB, TOUCHED_PINNED, .bad_blocks = false) },
        { "poison: hugetlb, never touched", FAILURE(MEMORY_HUGETLB, TOUCHED_NOT, .expect_first_only = true) },
        { "poison: ext4-dax", FAILURE(MEMORY_EXT4_DAX, TOUCHED_ONCE, .bad_blocks = true) },
        { "poison: xfs-dax", FAILURE(MEMORY_XFS_DAX, TOUCHED_ONCE, .bad_blocks = true) },
        { "poison: ext4-dax, not noted by the driver", FAILURE(MEMORY_EXT4_DAX, TOUCHED_ONCE, .expect_first_only = true) },
        { "poison: ext4-dax, never touched", FAILURE(MEMORY_EXT4_DAX, TOUCHED_NOT, .expect_none = true) },
        { "poison: ext4's page cache, dirty", FAILURE(MEMORY_EXT4, TOUCHED_ONCE, .bad_blocks = false) },
        { "poison: somebody's kill", run_kill, NULL, 0 },
        { 0 },
};
