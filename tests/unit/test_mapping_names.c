/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mapping_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* What mappings are called in listings. */

/* A file in memory with a name of n bytes in all, made of `unit`, which is a character of any length; the end is
 * `tail`. */
static void name_file(struct mapping_fixture *f, char *path, size_t n, const char *unit, const char *tail) {
        size_t k;

        k = (size_t)sprintf(path, "/dev/shm/pl-%d-", (int)getpid());
        while (k + strlen(unit) + strlen(tail) <= n)
                k += (size_t)sprintf(path + k, "%s", unit);
        while (k + strlen(tail) < n)
                path[k++] = 'x';
        (void)strcpy(path + k, tail);
        assert_int_equal(strlen(path), n);

        pl_close(f->fd);
        f->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        assert_true(f->fd >= 0);
        assert_int_equal(ftruncate(f->fd, (off_t)SIZE), 0);
        assert_int_equal(pl_fdclass_get(f->fd, &f->class), 0);
}

static void assert_filled_up(const char *name) {
        size_t n = strlen(name);

        assert_in_range(n, 0, MAPPING_NAME_MAX - 1);
        for (; n < MAPPING_NAME_MAX; n++)
                assert_int_equal(name[n], 0);
}

TEST(test_name) {
        struct mapping *mapping;
        struct mapping_fixture f;
        uint64_t start;

        mapping_fixture_init(&f);
        mapping = mapping_fixture_must(&f, 0, PAGE, f.address, true, false, &start);
        assert_int_equal(strncmp(mapping_name(mapping), "/memfd:", 7), 0);
        assert_non_null(strstr(mapping_name(mapping), " (deleted)"));
        assert_filled_up(mapping_name(mapping));
        mapping_put(&f.table, mapping);
        mapping_fixture_done(&f);
}

/* What fits is there whole, of what does not the end; characters are not cut through. */
TEST(test_long_names) {
        static const char *const units[] = { "a", "ä", "…", "😀" };

        for (size_t u = 0; u < ELEMENTSOF(units); u++)
                for (size_t n = 96; n <= 200; n++) {
                        struct mapping *mapping;
                        struct mapping_fixture f;
                        const char *name;
                        char path[256];
                        uint64_t start;

                        mapping_fixture_init(&f);
                        name_file(&f, path, n, units[u], "end");
                        mapping = mapping_fixture_must(&f, 0, PAGE, f.address, true, false, &start);
                        assert_int_equal(unlink(path), 0);
                        name = mapping_name(mapping);
                        assert_filled_up(name);
                        if (n < MAPPING_NAME_MAX)
                                assert_string_equal(name, path);
                        else {
                                size_t tail = strlen(name) - strlen("…");

                                assert_int_equal(strncmp(name, "…", strlen("…")), 0);
                                assert_string_equal(name + strlen("…"), path + n - tail);
                                assert_int_not_equal(path[n - tail] & 0xc0, 0x80);
                                assert_in_range(tail,
                                                MAPPING_NAME_MAX - 1 - strlen("…") - (strlen(units[u]) - 1),
                                                MAPPING_NAME_MAX);
                        }
                        mapping_put(&f.table, mapping);
                        mapping_fixture_done(&f);
                }
}

/* Bytes that are no character at all: cut as they are. */
TEST(test_odd_names) {
        struct mapping *mapping;
        struct mapping_fixture f;
        char path[256];
        uint64_t start;

        mapping_fixture_init(&f);
        name_file(&f, path, 180, "\x80", "\x1b[31m\n");
        mapping = mapping_fixture_must(&f, 0, PAGE, f.address, true, false, &start);
        assert_int_equal(unlink(path), 0);
        assert_filled_up(mapping_name(mapping));
        assert_string_equal(mapping_name(mapping) + strlen("…"), path + 180 - 97);
        mapping_put(&f.table, mapping);
        mapping_fixture_done(&f);
}

/* The name is asked for when a view is made, and only then: registering again costs no system call. */
TEST(test_name_is_kept) {
        struct mapping *first, *again, *other, *third;
        char path[256], renamed[sizeof path + 4];
        struct mapping_fixture f;
        uint64_t start;

        mapping_fixture_init(&f);
        name_file(&f, path, 30, "a", "");
        first = mapping_fixture_must(&f, 0, PAGE, f.address, true, false, &start);
        assert_string_equal(mapping_name(first), path);
        (void)snprintf(renamed, sizeof renamed, "%s.new", path);
        assert_int_equal(rename(path, renamed), 0);

        again = mapping_fixture_must(&f, 0, PAGE, f.address, true, false, &start);
        assert_ptr_equal(first, again);
        assert_string_equal(mapping_name(again), path);
        other = mapping_fixture_must(&f, 4 * PAGE, PAGE, f.address + 4 * PAGE, true, false, &start);
        assert_string_equal(mapping_name(other), renamed);

        /* Nothing of a longer name is left behind a shorter one. */
        assert_int_equal(rename(renamed, path), 0);
        third = mapping_fixture_must(&f, 8 * PAGE, PAGE, f.address + 8 * PAGE, true, false, &start);
        assert_string_equal(mapping_name(third), path);
        assert_filled_up(mapping_name(third));

        mapping_put(&f.table, third);
        mapping_put(&f.table, first);
        mapping_put(&f.table, again);
        mapping_put(&f.table, other);
        assert_int_equal(unlink(path), 0);
        mapping_fixture_done(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_name),
                CHECKED(test_long_names),
                CHECKED(test_odd_names),
                CHECKED(test_name_is_kept),
        };

        return cmocka_run_group_tests_name("mapping_names", tests, NULL, NULL);
}
