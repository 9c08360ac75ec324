/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mapping_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "wraps.h"


TEST(test_address_is_honoured) {
        struct mapping *mapping;
        struct mapping_fixture f;
        uint64_t start;
        char byte = 'z';

        mapping_fixture_init(&f);
        mapping = mapping_fixture_must(&f, 3 * PAGE + 5, 100, f.address + 3 * PAGE + 5, true, true, &start);
        assert_int_equal(start, f.address + 3 * PAGE + 5);
        assert_int_equal(f.table.n_views, 1);

        /* It is the file. */
        assert_int_equal(pwrite(f.fd, &byte, 1, (off_t)(3 * PAGE + 5)), 1);
        assert_int_equal(*(volatile char *)(uintptr_t)start, 'z');
        *(volatile char *)(uintptr_t)start = 'y';
        assert_int_equal(pread(f.fd, &byte, 1, (off_t)(3 * PAGE + 5)), 1);
        assert_int_equal(byte, 'y');
        assert_null(mapping_put(&f.table, mapping));
        mapping_fixture_done(&f);
}

TEST(test_shared) {
        struct mapping *whole, *part, *again;
        struct mapping_fixture f;
        uint64_t start;

        mapping_fixture_init(&f);
        whole = mapping_fixture_must(&f, 0, SIZE, f.address, true, true, &start);
        part = mapping_fixture_must(&f, 5 * PAGE + 1, PAGE, f.address + 5 * PAGE + 1, true, true, &start);
        assert_ptr_equal(part, whole);
        assert_int_equal(start, f.address + 5 * PAGE + 1);
        /* Read-only access may use a writable view, at any address if that does not matter. */
        again = mapping_fixture_must(&f, PAGE, PAGE, f.address + 9 * PAGE, false, false, &start);
        assert_ptr_equal(again, whole);
        assert_int_equal(start, f.address + PAGE);
        assert_int_equal(f.table.n_views, 1);

        /* The last reference unmaps, not an earlier one. */
        mapping_put(&f.table, whole);
        mapping_put(&f.table, part);
        assert_int_equal(f.table.n_views, 1);
        assert_int_equal(testing_count_views(), 1);
        mapping_put(&f.table, again);
        assert_int_equal(testing_count_views(), 0);
        mapping_fixture_done(&f);
}

TEST(test_not_covered) {
        struct mapping *first, *longer, *earlier;
        struct mapping_fixture f;
        uint64_t start;

        mapping_fixture_init(&f);
        first = mapping_fixture_must(&f, 4 * PAGE, 2 * PAGE, f.address + 4 * PAGE, false, false, &start);
        longer = mapping_fixture_must(&f, 5 * PAGE, 2 * PAGE, f.address + 8 * PAGE, false, false, &start);
        earlier = mapping_fixture_must(&f, 3 * PAGE + 4095, 2, f.address + 12 * PAGE + 4095, false, false, &start);
        assert_ptr_not_equal(first, longer);
        assert_ptr_not_equal(first, earlier);
        assert_int_equal(f.table.n_views, 3);
        /* Whole pages were mapped, and whole pages are shared. */
        assert_ptr_equal(mapping_fixture_must(&f, 3 * PAGE, 1, f.address, false, false, &start), earlier);
        mapping_put(&f.table, earlier);
        mapping_put(&f.table, earlier);
        mapping_put(&f.table, longer);
        mapping_put(&f.table, first);
        mapping_fixture_done(&f);
}

TEST(test_writable) {
        struct mapping *reader, *writer;
        struct mapping_fixture f;
        uint64_t start;

        mapping_fixture_init(&f);
        reader = mapping_fixture_must(&f, 0, PAGE, f.address, false, true, &start);
        writer = mapping_fixture_must(&f, 0, PAGE, f.address, true, false, &start);
        assert_ptr_not_equal(reader, writer);
        *(volatile char *)(uintptr_t)start = 1;
        mapping_put(&f.table, reader);
        mapping_put(&f.table, writer);

        /* A descriptor that is open for reading only gives no writable view. */
        char path[32];
        int fd = f.fd;

        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        f.fd = open(path, O_RDONLY | O_CLOEXEC);
        assert_int_equal(mapping_fixture_get(&f, 0, PAGE, f.address, true, true, &writer, &start), -EACCES);
        assert_int_equal(f.table.n_views, 0);
        assert_null(f.table.objects);
        reader = mapping_fixture_must(&f, 0, PAGE, f.address, false, true, &start);
        mapping_put(&f.table, reader);
        pl_close(f.fd);
        f.fd = fd;
        mapping_fixture_done(&f);
}

/* The app's address is taken in this process, or is none at all: any other will do, and nothing is mapped over. */
TEST(test_address_taken) {
        static const uint64_t impossible[] = {
                PAGE, UINT64_C(0x7ffffffff000), UINT64_C(0xffff800000000000), UINT64_MAX - 2 * SIZE + 1, SIZE / 2,
        };
        struct mapping *mapping;
        struct mapping_fixture f;
        uint64_t start;
        void *taken;

        mapping_fixture_init(&f);
        taken = mmap((void *)(uintptr_t)(f.address + PAGE), PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        assert_ptr_not_equal(taken, MAP_FAILED);
        memset(taken, 'm', PAGE);
        mapping = mapping_fixture_must(&f, 0, 2 * PAGE, f.address, true, true, &start);
        assert_int_not_equal(start, f.address);
        for (size_t i = 0; i < PAGE; i++)
                assert_int_equal(((char *)taken)[i], 'm');
        /* An old view is better than a new one if neither can be where it should. */
        assert_ptr_equal(mapping_fixture_must(&f, PAGE, PAGE, f.address + PAGE, true, true, &start), mapping);
        mapping_put(&f.table, mapping);
        mapping_put(&f.table, mapping);
        assert_int_equal(munmap(taken, PAGE), 0);

        for (size_t i = 0; i < ELEMENTSOF(impossible); i++) {
                mapping = mapping_fixture_must(&f, 0, SIZE, impossible[i] / PAGE * PAGE, true, true, &start);
                mapping_put(&f.table, mapping);
        }
        mapping_fixture_done(&f);
}

/* With an exact address a second view of the same bytes is made where it should be. */
TEST(test_exact_address) {
        struct mapping *elsewhere, *exact;
        struct mapping_fixture f;
        uint64_t start;

        mapping_fixture_init(&f);
        elsewhere = mapping_fixture_must(&f, 0, PAGE, f.address + 8 * PAGE, true, true, &start);
        exact = mapping_fixture_must(&f, 0, PAGE, f.address, true, true, &start);
        assert_ptr_not_equal(elsewhere, exact);
        assert_int_equal(start, f.address);
        assert_ptr_equal(mapping_fixture_must(&f, 0, PAGE, f.address + 8 * PAGE, true, true, &start), elsewhere);
        mapping_put(&f.table, elsewhere);
        mapping_put(&f.table, elsewhere);
        mapping_put(&f.table, exact);
        mapping_fixture_done(&f);
}

/* Views belong to a file, not to a descriptor, and not to another file. */
TEST(test_files) {
        struct mapping *a, *b, *c;
        struct mapping_fixture f;
        uint64_t start;
        int first;

        mapping_fixture_init(&f);
        a = mapping_fixture_must(&f, 0, PAGE, f.address, true, true, &start);
        first = f.fd;
        f.fd = fcntl(first, F_DUPFD_CLOEXEC, 0);
        b = mapping_fixture_must(&f, 0, PAGE, f.address, true, true, &start);
        assert_ptr_equal(a, b);
        pl_close(f.fd);

        f.fd = testing_memfd(SIZE);
        assert_int_equal(pl_fdclass_get(f.fd, &f.class), 0);
        c = mapping_fixture_must(&f, 0, PAGE, f.address, true, false, &start);
        assert_ptr_not_equal(a, c);
        mapping_put(&f.table, a);
        mapping_put(&f.table, b);
        mapping_put(&f.table, c);
        pl_close(first);
        mapping_fixture_done(&f);
}

/* Views of huge pages start and end on huge pages; seen with an ordinary file that says its pages are huge. */
/* A device is mapped in whole units of its alignment, but counted in pages. */
TEST(test_device_rounding) {
        const uint64_t unit = 2 << 20;
        struct mapping *mapping;
        struct mapping_view view;
        struct mapping_fixture f;
        uint64_t start;

        mapping_fixture_init(&f);
        assert_int_equal(ftruncate(f.fd, (off_t)(4 * unit)), 0);
        assert_int_equal(pl_fdclass_get(f.fd, &f.class), 0);
        f.class.kind = PL_FD_DEVDAX;
        f.class.align = unit;
        f.address = testing_free_address(6 * unit) / unit * unit + unit;

        mapping = mapping_fixture_must(&f, 2 * unit - PAGE, 2 * PAGE, f.address + unit - PAGE, true, true, &start);
        assert_int_equal(start, f.address + unit - PAGE);
        view = mapping_view(mapping);
        assert_int_equal(view.base, f.address);
        assert_int_equal(view.offset, unit);
        assert_int_equal(view.length, 2 * unit);
        mapping_put(&f.table, mapping);

        /* Not where no device can be mapped. */
        mapping = mapping_fixture_must(&f, unit, PAGE, f.address + PAGE, true, true, &start);
        assert_int_not_equal(start, f.address + PAGE);
        mapping_put(&f.table, mapping);
        mapping_fixture_done(&f);
}

TEST(test_huge_rounding) {
        const uint64_t huge = 2 << 20;
        struct mapping *mapping;
        struct mapping_fixture f;
        uint64_t start;

        mapping_fixture_init(&f);
        assert_int_equal(ftruncate(f.fd, (off_t)(4 * huge)), 0);
        assert_int_equal(pl_fdclass_get(f.fd, &f.class), 0);
        f.class.page_size = huge;
        f.address = testing_free_address(4 * huge);

        mapping = mapping_fixture_must(&f, huge + PAGE, PAGE, f.address + huge + PAGE, true, true, &start);
        assert_int_equal(start, f.address + huge + PAGE);
        assert_ptr_equal(mapping_fixture_must(&f, huge, huge, f.address + huge, true, true, &start), mapping);
        mapping_put(&f.table, mapping);
        mapping_put(&f.table, mapping);

        /* An address that no huge page can have is not tried. */
        mapping = mapping_fixture_must(&f, huge, huge, f.address + PAGE, true, true, &start);
        assert_int_not_equal(start, f.address + PAGE);
        mapping_put(&f.table, mapping);
        mapping_fixture_done(&f);
}

/* In the order in which they were made, without those that have gone; a number is not used again. */
TEST(test_all_views) {
        struct mapping *views[4];
        struct mapping_view view;
        struct mapping_fixture f;
        uint64_t start;

        mapping_fixture_init(&f);
        assert_null(mapping_from(&f.table, 1));
        for (unsigned int i = 0; i < ELEMENTSOF(views); i++)
                views[i] = mapping_fixture_must(&f, (2 * i + 1) * PAGE, PAGE, f.address, true, false, &start);
        for (unsigned int i = 0; i < ELEMENTSOF(views); i++) {
                assert_ptr_equal(mapping_from(&f.table, i + 1), views[i]);
                assert_ptr_equal(mapping_younger(views[i]), i + 1 < ELEMENTSOF(views) ? views[i + 1] : NULL);
                view = mapping_view(views[i]);
                assert_int_equal(view.number, i + 1);
                assert_int_equal(view.offset, (2 * i + 1) * PAGE);
                assert_int_equal(view.length, PAGE);
                assert_int_equal(view.dev, f.class.dev);
                assert_int_equal(view.inode, f.class.inode);
        }
        assert_int_equal(view.base, start);
        assert_null(mapping_from(&f.table, 5));

        /* From the middle, the end and the beginning. */
        mapping_put(&f.table, views[1]);
        assert_ptr_equal(mapping_younger(views[0]), views[2]);
        assert_ptr_equal(mapping_from(&f.table, 2), views[2]);
        mapping_put(&f.table, views[3]);
        assert_null(mapping_younger(views[2]));
        mapping_put(&f.table, views[0]);
        assert_ptr_equal(mapping_from(&f.table, 1), views[2]);
        views[0] = mapping_fixture_must(&f, 0, PAGE, f.address, true, false, &start);
        assert_int_equal(mapping_view(views[0]).number, 5);
        assert_ptr_equal(mapping_younger(views[2]), views[0]);
        mapping_put(&f.table, views[2]);
        mapping_put(&f.table, views[0]);
        assert_null(f.table.first);
        assert_null(f.table.last);
        mapping_fixture_done(&f);
}

/* mapping_get(): object, its node of the tree, view, and two attempts to map. */
TEST(test_failures) {
        unsigned int n_failed = 0;
        struct mapping_fixture f;

        mapping_fixture_init(&f);
        for (unsigned int n = 1; n <= 5; n++) {
                struct mapping *mapping;
                uint64_t start;
                int r;

                wraps_n_allocations = 0;
                wraps_fail_at = n;
                r = mapping_fixture_get(&f, 0, PAGE, f.address, true, true, &mapping, &start);
                wraps_fail_at = 0;
                if (r == 0) {
                        /* The fourth is the attempt at the app's address, which may fail. */
                        mapping_put(&f.table, mapping);
                        continue;
                }
                assert_int_equal(r, -ENOMEM);
                assert_int_equal(f.table.n_views, 0);
                assert_null(f.table.objects);
                n_failed++;
        }
        assert_int_equal(n_failed, 3);
        assert_null(mapping_put(&f.table, NULL));
        mapping_fixture_done(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_address_is_honoured),
                CHECKED(test_shared),
                CHECKED(test_not_covered),
                CHECKED(test_writable),
                CHECKED(test_address_taken),
                CHECKED(test_exact_address),
                CHECKED(test_files),
                CHECKED(test_all_views),
                CHECKED(test_device_rounding),
                CHECKED(test_huge_rounding),
                CHECKED(test_failures),
        };

        return cmocka_run_group_tests_name("mapping", tests, NULL, NULL);
}
