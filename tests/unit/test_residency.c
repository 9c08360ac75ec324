/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Which pages of a file are in memory: by cachestat(2), and by mincore(2) where that does not exist. */

#include <fcntl.h>
#include <sys/fsuid.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "no_cachestat.h"
#include "residency.h"
#include "testing.h"
#include "util.h"

#define PAGE  UINT64_C(4096)
#define PAGES UINT64_C(5000) /* more than mincore() is asked for at a time */
#define SIZE  (PAGES * PAGE)

static int make(uint64_t *ret_start) {
        int fd = testing_memfd(SIZE);
        void *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        assert_ptr_not_equal(p, MAP_FAILED);
        *ret_start = (uintptr_t)p;
        return fd;
}

static void punch(int fd, uint64_t page) {
        assert_int_equal(
                fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(page * PAGE), (off_t)PAGE), 0);
}

static void look(void) {
        uint64_t start;
        int fd = make(&start);

        assert_int_equal(residency_check(fd, 0, start, SIZE), 1);
        punch(fd, 7);
        assert_int_equal(residency_check(fd, 0, start, SIZE), 0);
        assert_int_equal(residency_check(fd, 0, start, 7 * PAGE), 1);
        assert_int_equal(residency_check(fd, 7 * PAGE - 1, start + 7 * PAGE - 1, 1), 1);
        assert_int_equal(residency_check(fd, 7 * PAGE - 1, start + 7 * PAGE - 1, 2), 0);
        assert_int_equal(residency_check(fd, 7 * PAGE + 4095, start + 7 * PAGE + 4095, 1), 0);
        assert_int_equal(residency_check(fd, 8 * PAGE, start + 8 * PAGE, SIZE - 8 * PAGE), 1);
        punch(fd, PAGES - 1);
        assert_int_equal(residency_check(fd, 8 * PAGE, start + 8 * PAGE, SIZE - 8 * PAGE), 0);
        assert_int_equal(residency_check(fd, 8 * PAGE, start + 8 * PAGE, SIZE - 9 * PAGE), 1);

        assert_int_equal(residency_any(fd, 0, SIZE), 1);
        assert_int_equal(residency_any(fd, 7 * PAGE, PAGE), no_cachestat_errno != 0); /* to be asked of mincore() */
        assert_int_equal(residency_any(fd, 7 * PAGE, 2 * PAGE), 1);

        /* Asking has not touched the hole; now it is touched. */
        *(volatile char *)(uintptr_t)(start + 7 * PAGE) = 1;
        assert_int_equal(residency_check(fd, 0, start, SIZE - PAGE), 1);

        assert_int_equal(munmap((void *)(uintptr_t)start, SIZE), 0);
        close(fd);
}

TEST(test_cachestat) {
        no_cachestat_errno = 0;
        look();
}

TEST(test_mincore) {
        no_cachestat_errno = ENOSYS;
        look();
}

/* Whether a page is mapped here is another question. */
TEST(test_mapped) {
        int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), fd;
        uint64_t start;

        assert_true(pagemap >= 0);
        fd = make(&start);
        assert_int_equal(residency_mapped(pagemap, start, SIZE, PAGE), 0);
        assert_int_equal(madvise((void *)(uintptr_t)start, SIZE, 23 /* MADV_POPULATE_WRITE */), 0);
        assert_int_equal(residency_mapped(pagemap, start, SIZE, PAGE), 1);

        /* It comes back in the file, and not here. */
        punch(fd, 1000);
        assert_int_equal(pwrite(fd, "x", 1, (off_t)(1000 * PAGE)), 1);
        assert_int_equal(residency_check(fd, 0, start, SIZE), 1);
        assert_int_equal(residency_mapped(pagemap, start, SIZE, PAGE), 0);
        assert_int_equal(residency_mapped(pagemap, start, 1000 * PAGE, PAGE), 1);
        assert_int_equal(residency_mapped(pagemap, start + 1, 1000 * PAGE - 1, PAGE), 1);
        assert_int_equal(residency_mapped(pagemap, start + 1, 1000 * PAGE, PAGE), 0);
        assert_int_equal(residency_mapped(pagemap, start + 1001 * PAGE - 1, PAGE, PAGE), 0);
        assert_int_equal(residency_mapped(pagemap, start + 1001 * PAGE, SIZE - 1001 * PAGE, PAGE), 1);

        /* Of a huge page, the first of its small ones is looked at. */
        assert_int_equal(residency_mapped(pagemap, start + 999 * PAGE, 2 * PAGE, 2 * PAGE),
                         (start / PAGE + 999) % 2 == 0);
        assert_int_equal(residency_mapped(-1, start, PAGE, PAGE), -EBADF);

        assert_int_equal(munmap((void *)(uintptr_t)start, SIZE), 0);
        close(fd);
        close(pagemap);
}

/* Who neither owns nor may write the file is told nothing; mincore() by itself would say that all is there. */
TEST(test_not_told) {
        uint64_t start;
        int fd;

        if (geteuid() != 0)
                testing_skip("needs root to be somebody else\n");

        fd = make(&start);
        assert_int_equal(fchmod(fd, 0600), 0);
        punch(fd, 3);
        no_cachestat_errno = ENOSYS;
        (void)setfsuid(65534);
        assert_int_equal(residency_check(fd, 0, start, SIZE), -EPERM);
        assert_int_equal(residency_any(fd, 0, SIZE), -EPERM);
        (void)setfsuid(0);
        assert_int_equal(residency_check(fd, 0, start, SIZE), 0);
        no_cachestat_errno = 0;
        assert_int_equal(munmap((void *)(uintptr_t)start, SIZE), 0);
        close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_cachestat),
                CHECKED(test_mincore),
                CHECKED(test_mapped),
                CHECKED(test_not_told),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
