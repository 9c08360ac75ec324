/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The guard for memory failures, without any: madvise() says of some addresses that they are broken, and the signals are sent
 * by the test to itself. guards.c is not here.
 */

#include "testing.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "guards.h"
#include "mapping.h"
#include "no_cachestat.h"

#define PAGE UINT64_C(4096)
#define HUGE (UINT64_C(2) << 20)

#ifndef EHWPOISON
#define EHWPOISON 133
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

/* --- what is put in place of the C library's ------------------------------------------------------------------------------ */

static struct guard_range broken[16]; /* addresses */
static size_t n_broken;
static unsigned int n_populated;
static int signalfd_errno, faccessat_errno;
static bool no_memory;

#define WRAP(type, name, ...)               \
        type __real_##name(__VA_ARGS__);    \
        type __wrap_##name(__VA_ARGS__);    \
        type __wrap_##name(__VA_ARGS__)

/* Nothing is faulted in: the kernel of this machine need not have MADV_POPULATE_READ. What is asked for has to be there. */
WRAP(int, madvise, void *start, size_t length, int advice) {
        unsigned char present;

        if (advice != MADV_POPULATE_READ)
                return __real_madvise(start, length, advice);
        n_populated++;
        for (uint64_t at = 0; at < length; at += PAGE) {
                assert_int_equal(mincore((char *)start + at, PAGE, &present), 0);
                assert_true(present & 1);
        }
        for (size_t i = 0; i < n_broken; i++)
                if ((uintptr_t)start < broken[i].offset + broken[i].length && broken[i].offset < (uintptr_t)start + length) {
                        errno = EHWPOISON;
                        return -1;
                }
        return 0;
}

WRAP(int, signalfd, int fd, const sigset_t *set, int flags) {
        if (!signalfd_errno)
                return __real_signalfd(fd, set, flags);
        errno = signalfd_errno;
        return -1;
}

WRAP(int, faccessat, int fd, const char *path, int mode, int flags) {
        if (strcmp(path, "/proc/sys/vm/memory_failure_early_kill") != 0)
                return __real_faccessat(fd, path, mode, flags);
        errno = faccessat_errno;
        return faccessat_errno ? -1 : 0;
}

WRAP(int, prctl, int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d) {
        (void)option, (void)a, (void)b, (void)c, (void)d;
        return 0;
}

WRAP(void *, realloc, void *p, size_t size) {
        return no_memory ? NULL : __real_realloc(p, size);
}

/* --- in place of guards.c --------------------------------------------------------------------------------------------------- */

#define N_FILES 3

struct fixture {
        struct mapping_table table;
        struct guards guards;
        struct guarded files[N_FILES];
        struct mapping *views[N_FILES];
        uint64_t start[N_FILES];
        sigset_t before;
        /* reports */
        struct {
                unsigned int file;
                uint64_t offset, length;
        } reports[64];
        unsigned int n_reports;
        bool drop; /* who is told gives everything back */
};

static struct fixture f;

struct guarded *guards_find(const struct guards *guards, uint64_t device, uint64_t inode) {
        assert_ptr_equal(guards, &f.guards);
        for (unsigned int i = 0; i < N_FILES; i++)
                if (f.files[i].device == device && f.files[i].inode == inode && f.files[i].n_registrations > 0)
                        return &f.files[i];
        return NULL;
}

void guards_report(struct guards *guards, struct guarded *file, const struct guard_report *report) {
        assert_ptr_equal(guards, &f.guards);
        assert_int_equal(report->kind, GUARD_POISONED);
        assert_int_equal(report->guard, GUARD_POISON);
        assert_in_range(f.n_reports, 0, ELEMENTSOF(f.reports) - 1);
        f.reports[f.n_reports].file = (unsigned int)(file - f.files);
        f.reports[f.n_reports].offset = report->offset;
        f.reports[f.n_reports++].length = report->length;
        for (unsigned int i = 0; f.drop && i < N_FILES; i++) {
                f.views[i] = mapping_put(&f.table, f.views[i]);
                f.files[i].n_registrations = 0;
                guard_poison.disarm(guards, &f.files[i]);
        }
}

static void map(unsigned int i, uint64_t offset, uint64_t length) {
        const struct mapping_request request = {
                .class = &f.files[i].class, .fd = f.files[i].fd, .offset = offset, .length = length, .writable = true,
        };

        assert_int_equal(mapping_get(&f.table, &request, &f.views[i], &f.start[i]), 0);
}

static void add_file(unsigned int i, uint64_t size, uint64_t page_size) {
        struct guarded *file = &f.files[i];

        *file = (struct guarded) { .fd = testing_memfd(0), .n_registrations = 1 };
        assert_int_equal(ftruncate(file->fd, (off_t)size), 0);
        assert_int_equal(pl_fdclass_get(file->fd, &file->class), 0);
        file->class.page_size = page_size;
        file->device = file->class.dev;
        file->inode = file->class.inode;
        assert_int_equal(guard_poison.arm(&f.guards, file), PINLEASE_GUARD_HOLDS);
}

static void touch(unsigned int i, uint64_t offset, uint64_t length) {
        char byte = 'x';

        for (uint64_t at = offset; at < offset + length; at += PAGE)
                assert_int_equal(pwrite(f.files[i].fd, &byte, 1, (off_t)at), 1);
}

static void fixture_init(void) {
        f = (struct fixture) { .guards.signals = -1 };
        f.guards.config.mappings = &f.table;
        n_broken = n_populated = 0;
        signalfd_errno = faccessat_errno = no_cachestat_errno = 0;
        no_memory = false;
        assert_int_equal(sigprocmask(SIG_SETMASK, NULL, &f.before), 0);
        for (unsigned int i = 0; i < N_FILES; i++)
                f.files[i].fd = -1;
}

/* Three files of 32 pages, all there, the view of the second begins at its page 4. */
static void three_files(void) {
        fixture_init();
        for (unsigned int i = 0; i < N_FILES; i++) {
                add_file(i, 32 * PAGE, PAGE);
                touch(i, 0, 32 * PAGE);
                map(i, i == 1 ? 4 * PAGE : 0, 16 * PAGE);
        }
}

static void fixture_done(void) {
        for (unsigned int i = 0; i < N_FILES; i++) {
                mapping_put(&f.table, f.views[i]);
                guard_poison.disarm(&f.guards, &f.files[i]);
                pl_close(f.files[i].fd);
        }
        assert_int_equal(f.table.n_views, 0);
        guard_poison.done(&f.guards);
        assert_int_equal(f.guards.signals, -1);
        assert_int_equal(sigprocmask(SIG_SETMASK, &f.before, NULL), 0);
}

/* By place in the file. */
static void break_pages(unsigned int i, uint64_t offset, uint64_t length) {
        broken[n_broken++] = (struct guard_range) { f.start[i] + offset - mapping_view(f.views[i]).offset, length };
}

static void signal_at(uint64_t address) {
        siginfo_t info = { .si_signo = SIGBUS, .si_code = BUS_MCEERR_AO };

        info.si_addr = (void *)(uintptr_t)address;
        info.si_addr_lsb = 12;
        assert_int_equal(__real_syscall(SYS_rt_tgsigqueueinfo, getpid(), __real_syscall(SYS_gettid), SIGBUS, &info), 0);
}

/* Until nothing is left to do; returns the number of calls that took. */
static unsigned int go(void) {
        unsigned int n = 0;

        assert_int_equal(testing_wait_fd(guard_poison.fd(&f.guards), POLLIN), POLLIN);
        do {
                assert_int_equal(guard_poison.event(&f.guards), 0);
                n++;
        } while (f.guards.poison.due);
        return n;
}

static void assert_report(unsigned int n, unsigned int file, uint64_t offset, uint64_t length) {
        assert_in_range(n, 0, f.n_reports - 1);
        assert_int_equal(f.reports[n].file, file);
        assert_int_equal(f.reports[n].offset, offset);
        assert_int_equal(f.reports[n].length, length);
}

/* --- tests -------------------------------------------------------------------------------------------------------------------- */

TEST(test_arm) {
        sigset_t set;
        int fd;

        fixture_init();
        faccessat_errno = ENOENT;
        assert_int_equal(guard_poison.arm(&f.guards, &f.files[0]), PINLEASE_GUARD_UNSUPPORTED);
        faccessat_errno = 0;
        signalfd_errno = EMFILE;
        assert_int_equal(guard_poison.arm(&f.guards, &f.files[0]), PINLEASE_GUARD_NO_RESOURCES);
        signalfd_errno = ENOSYS;
        assert_int_equal(guard_poison.arm(&f.guards, &f.files[0]), PINLEASE_GUARD_UNSUPPORTED);
        assert_int_equal(guard_poison.fd(&f.guards), -1);
        assert_int_equal(guard_poison.event(&f.guards), 0);
        signalfd_errno = 0;

        assert_int_equal(guard_poison.look(&f.guards, &f.files[0]), PINLEASE_GUARD_HOLDS);
        fd = guard_poison.fd(&f.guards);
        assert_true(fd >= 0);
        assert_int_equal(guard_poison.arm(&f.guards, &f.files[1]), PINLEASE_GUARD_HOLDS);
        assert_int_equal(guard_poison.fd(&f.guards), fd);
        assert_int_equal(sigprocmask(SIG_SETMASK, NULL, &set), 0);
        assert_true(sigismember(&set, SIGBUS));
        assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(guard_poison.event(&f.guards), 0);

        f.files[2].class.kind = PL_FD_FILE;
        assert_int_equal(guard_poison.arm(&f.guards, &f.files[2]), PINLEASE_GUARD_NOT_FOR_THIS);
        f.files[2].class.dax = true;
        assert_int_equal(guard_poison.arm(&f.guards, &f.files[2]), PINLEASE_GUARD_HOLDS);
        fixture_done();
}

/* One signal, eight pages: neighbours are one report, other files have none. */
TEST(test_many_at_once) {
        three_files();
        break_pages(0, 3 * PAGE, PAGE);
        break_pages(0, 4 * PAGE, 2 * PAGE);
        break_pages(0, 15 * PAGE, PAGE);
        break_pages(1, 4 * PAGE, PAGE);
        break_pages(1, 9 * PAGE, PAGE);
        break_pages(1, 18 * PAGE, 2 * PAGE);
        signal_at(f.start[1] + 5 * PAGE);
        (void)go();
        assert_int_equal(f.n_reports, 5);
        assert_report(0, 1, 4 * PAGE, PAGE);
        assert_report(1, 1, 9 * PAGE, PAGE);
        assert_report(2, 1, 18 * PAGE, 2 * PAGE);
        assert_report(3, 0, 3 * PAGE, 3 * PAGE);
        assert_report(4, 0, 15 * PAGE, PAGE);

        /* Once, also of a second view; then one more. */
        signal_at(f.start[1] + 5 * PAGE);
        (void)go();
        assert_int_equal(f.n_reports, 5);
        break_pages(2, 0, PAGE);
        signal_at(f.start[2]);
        (void)go();
        assert_int_equal(f.n_reports, 6);
        assert_report(5, 2, 0, PAGE);

        /* The file goes, and comes again. */
        guard_poison.disarm(&f.guards, &f.files[2]);
        signal_at(f.start[2]);
        (void)go();
        assert_int_equal(f.n_reports, 7);
        fixture_done();
}

/* The kernel's word is enough: a fault on a broken page of fsdax can succeed. */
TEST(test_only_the_signal_knows) {
        three_files();
        signal_at(f.start[1] + 2 * PAGE + 5);
        (void)go();
        assert_int_equal(f.n_reports, 1);
        assert_report(0, 1, 6 * PAGE, PAGE);

        /* Addresses that are nobody's. */
        signal_at(0);
        (void)go();
        signal_at(UINT64_MAX);
        (void)go();
        signal_at(f.start[0] + 16 * PAGE); /* views are made downwards */
        (void)go();
        assert_int_equal(f.n_reports, 1);

        /* Somebody's kill(2) may have taken the place of the kernel's. */
        break_pages(0, 0, PAGE);
        assert_int_equal(kill(getpid(), SIGBUS), 0);
        (void)go();
        assert_int_equal(f.n_reports, 2);
        assert_report(1, 0, 0, PAGE);
        fixture_done();
}

/* What is not in memory is not asked for: madvise() above sees to it. */
TEST(test_holes_are_left) {
        struct stat st;

        fixture_init();
        add_file(0, 5000 * PAGE, PAGE);
        for (unsigned int i = 0; i < 5000; i += 1 + i % 7)
                touch(0, i * PAGE, PAGE);
        map(0, 0, 5000 * PAGE);
        break_pages(0, 0, 5000 * PAGE);
        assert_int_equal(fstat(f.files[0].fd, &st), 0);
        no_memory = true; /* nothing is remembered either */
        n_broken = 0;
        break_pages(0, 21 * PAGE, 3 * PAGE);
        assert_int_equal(kill(getpid(), SIGBUS), 0);
        (void)go();
        assert_in_range(f.n_reports, 1, 3);
        assert_true(n_populated > 0);
        struct stat after;

        assert_int_equal(fstat(f.files[0].fd, &after), 0);
        assert_int_equal(after.st_blocks, st.st_blocks);
        fixture_done();
}

/* A kernel that does not say what is in memory: then only what the signal names. */
TEST(test_not_told) {
        three_files();
        no_cachestat_errno = EPERM;
        break_pages(1, 6 * PAGE, PAGE);
        break_pages(0, 6 * PAGE, PAGE);
        signal_at(f.start[0] + PAGE);
        (void)go();
        assert_int_equal(n_populated, 0);
        assert_int_equal(f.n_reports, 1);
        assert_report(0, 0, PAGE, PAGE);

        /* Sealed memory has no descriptor, and tells everybody. */
        f.files[1].fd = pl_close(f.files[1].fd);
        signal_at(f.start[0] + PAGE);
        (void)go();
        assert_int_equal(f.n_reports, 2);
        assert_report(1, 1, 6 * PAGE, PAGE);
        fixture_done();
}

/* The signal names a unit of the device's alignment. What it has told once it tells again: it is another failure. */
TEST(test_device) {
        fixture_init();
        add_file(0, 8 * PAGE, PAGE);
        f.files[0].class.kind = PL_FD_DEVDAX;
        f.files[0].class.dax = true;
        f.files[0].class.align = 4 * PAGE;
        touch(0, 0, 8 * PAGE);
        map(0, 4 * PAGE, PAGE);
        for (unsigned int i = 1; i <= 2; i++) {
                signal_at(f.start[0]);
                (void)go();
                assert_int_equal(f.n_reports, i);
                assert_report(i - 1, 0, 4 * PAGE, 4 * PAGE);
        }
        fixture_done();
}

TEST(test_huge_pages) {
        fixture_init();
        add_file(0, 64 * HUGE, HUGE);
        no_cachestat_errno = EOPNOTSUPP;
        for (unsigned int i = 0; i < 4; i++)
                touch(0, (20 + i) * HUGE, HUGE);
        map(0, 2 * HUGE, 60 * HUGE);
        break_pages(0, 21 * HUGE + 5 * PAGE, PAGE);
        break_pages(0, 22 * HUGE, HUGE);
        signal_at(f.start[0] + 19 * HUGE);
        (void)go();
        assert_int_equal(f.n_reports, 1);
        assert_report(0, 0, 21 * HUGE, 2 * HUGE);
        fixture_done();
}

/* Much address space and hardly any memory: many short calls, and the last page is found. */
TEST(test_sparse) {
        const uint64_t size = UINT64_C(1) << 40;
        unsigned int n;

        fixture_init();
        add_file(0, size, PAGE);
        touch(0, size - PAGE, PAGE);
        touch(0, size / 3 / PAGE * PAGE, PAGE);
        if (__real_syscall(451 /* cachestat */, -1, NULL, NULL, 0) < 0 && errno == ENOSYS)
                testing_skip("this kernel has no cachestat, it would take minutes\n");
        map(0, 0, size);
        break_pages(0, size - PAGE, PAGE);
        break_pages(0, size / 3 / PAGE * PAGE, PAGE);
        assert_int_equal(kill(getpid(), SIGBUS), 0);
        n = go();
        assert_int_equal(f.n_reports, 2);
        assert_report(0, 0, size / 3 / PAGE * PAGE, PAGE);
        assert_report(1, 0, size - PAGE, PAGE);
        assert_true(n >= 1);
        fixture_done();
}

/* All of it in memory: no call does all, and a signal that comes half-way begins anew. */
TEST(test_slices) {
        const uint64_t size = UINT64_C(64) << 20;
        unsigned int n = 0;

        fixture_init();
        add_file(0, size, PAGE);
        touch(0, 0, size);
        map(0, 0, size);
        assert_int_equal(kill(getpid(), SIGBUS), 0);
        do {
                assert_int_equal(guard_poison.event(&f.guards), 0);
                if (++n == 2) {
                        break_pages(0, 0, PAGE);
                        assert_int_equal(kill(getpid(), SIGBUS), 0);
                }
        } while (f.guards.poison.due);
        assert_true(n > 2);
        assert_int_equal(f.n_reports, 1);
        assert_report(0, 0, 0, PAGE);
        fixture_done();
}

/* Who is told gives back what it has, and the views go. */
TEST(test_views_go) {
        three_files();
        f.drop = true;
        break_pages(0, 3 * PAGE, PAGE);
        break_pages(0, 5 * PAGE, PAGE);
        break_pages(2, 5 * PAGE, PAGE);
        signal_at(f.start[0] + 3 * PAGE);
        (void)go();
        assert_int_equal(f.n_reports, 1);
        assert_int_equal(f.table.n_views, 0);
        assert_int_equal(kill(getpid(), SIGBUS), 0);
        (void)go();
        fixture_done();

        three_files();
        break_pages(0, 3 * PAGE, PAGE);
        f.drop = true;
        assert_int_equal(kill(getpid(), SIGBUS), 0);
        (void)go();
        assert_int_equal(f.n_reports, 1);
        fixture_done();
}

/* A view of what is not guarded (any more) is passed over. */
TEST(test_not_guarded) {
        three_files();
        f.files[0].n_registrations = 0;
        break_pages(0, 3 * PAGE, PAGE);
        break_pages(1, 5 * PAGE, PAGE);
        signal_at(f.start[0] + 3 * PAGE);
        (void)go();
        assert_int_equal(f.n_reports, 1);
        assert_report(0, 1, 5 * PAGE, PAGE);
        fixture_done();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_arm),        CHECKED(test_many_at_once), CHECKED(test_only_the_signal_knows),
                CHECKED(test_holes_are_left), CHECKED(test_not_told), CHECKED(test_device), CHECKED(test_huge_pages),
                CHECKED(test_sparse),     CHECKED(test_slices),       CHECKED(test_views_go),
                CHECKED(test_not_guarded),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
