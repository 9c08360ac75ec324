/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <stdio.h>
#include <string.h>

#include "maps.h"

/* Lines of /proc/PID/maps. What lies behind an address is tried by test_client_grant. */

static const struct {
        const char *line;
        struct pl_vma vma; /* end 0: it is no line */
} table[] = {
        { "55d0c0000000-55d0c0021000 rw-p 00000000 00:00 0                          [heap]",
          { 0x55d0c0000000, 0x55d0c0021000, true, true, true, "[heap]" } },
        { "7f0000000000-7f0000001000 rw-p 00000000 00:00 0 ",
          { 0x7f0000000000, 0x7f0000001000, true, true, true, "" } },
        { "7f0000000000-7f0000001000 rw-p 00000000 00:00 0", { 0x7f0000000000, 0x7f0000001000, true, true, true, "" } },
        { "7f0000000000-7f0000001000 ---p 00000000 00:00 0 ",
          { 0x7f0000000000, 0x7f0000001000, false, false, true, "" } },
        { "7f0000000000-7f0000001000 r-xp 00000000 00:00 0 ",
          { 0x7f0000000000, 0x7f0000001000, true, false, true, "" } },
        { "7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]",
          { 0x7ffc00000000, 0x7ffc00021000, true, true, true, "[stack]" } },
        { "7f0000000000-7f0000001000 rw-p 00000000 00:00 0                          [anon:glibc: malloc arena]",
          { 0x7f0000000000, 0x7f0000001000, true, true, true, "[anon:glibc: malloc arena]" } },
        /* Not private, or not anonymous. */
        { "7f0000000000-7f0000001000 rw-s 00000000 00:01 1034                       /dev/zero (deleted)",
          { 0x7f0000000000, 0x7f0000001000, true, true, false, "/dev/zero (deleted)" } },
        { "7f0000000000-7f0000001000 rw-s 00000000 00:01 1034                       [anon_shmem:a]",
          { 0x7f0000000000, 0x7f0000001000, true, true, false, "[anon_shmem:a]" } },
        { "7f0000000000-7f0000200000 rw-p 00000000 00:0f 1034                       /anon_hugepage (deleted)",
          { 0x7f0000000000, 0x7f0000200000, true, true, false, "/anon_hugepage (deleted)" } },
        { "7f0000000000-7f0000001000 rw-p 00001000 fe:01 12345                      /usr/lib/a b",
          { 0x7f0000000000, 0x7f0000001000, true, true, false, "/usr/lib/a b" } },
        { "7f0000000000-7f0000001000 rw-s 00000000 00:00 0 ",
          { 0x7f0000000000, 0x7f0000001000, true, true, false, "" } },
        { "7ffc000c0000-7ffc000c2000 r-xp 00000000 00:00 0                          [vdso]",
          { 0x7ffc000c0000, 0x7ffc000c2000, true, false, false, "[vdso]" } },
        { "7ffc000bc000-7ffc000c0000 r--p 00000000 00:00 0                          [vvar]",
          { 0x7ffc000bc000, 0x7ffc000c0000, true, false, false, "[vvar]" } },
        { "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]",
          { 0xffffffffff600000, 0xffffffffff601000, false, false, false, "[vsyscall]" } },
        /* A name that wants to be another line. */
        { "7f0000000000-7f0000001000 rw-p 00000000 fe:01 7 /tmp/a\\012[heap]",
          { 0x7f0000000000, 0x7f0000001000, true, true, false, "/tmp/a\\012[heap]" } },
        /* Nothing of the kind. */
        { "", { 0 } },
        { "7f0000000000-7f0000001000", { 0 } },
        { "7f0000000000-7f0000001000 rw-p 00000000 00:00", { 0 } },
        { "7f0000001000-7f0000000000 rw-p 00000000 00:00 0 ", { 0 } },
        { "7f0000000000-7f0000000000 rw-p 00000000 00:00 0 ", { 0 } },
        { "7f0000000000-7f0000001000 rw 00000000 00:00 0 ", { 0 } },
        { "7f0000000000-7f0000001000 rw-pp 00000000 00:00 0 ", { 0 } },
        { "Size:                  4 kB", { 0 } },
};

TEST(test_lines) {
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                const struct pl_vma *should = &table[i].vma;
                struct pl_vma is;

                if (pl_maps_parse(table[i].line, &is) != (should->end > 0))
                        fail_msg("\"%s\"", table[i].line);
                if (!should->end)
                        continue;
                assert_int_equal(is.start, should->start);
                assert_int_equal(is.end, should->end);
                assert_int_equal(is.readable, should->readable);
                assert_int_equal(is.writable, should->writable);
                if (is.private != should->private)
                        fail_msg("\"%s\"", table[i].line);
                assert_string_equal(is.name, should->name);
        }
}

/* Any bytes: what comes out lies in the line, and is a range. */
TEST(test_mutations) {
        struct testing_random random;

        testing_seed(&random, "client maps: mutations");
        for (unsigned int n = testing_rounds(20000); n > 0; n--) {
                char line[256];
                struct pl_vma vma;
                size_t length;

                (void)snprintf(line, sizeof line, "%s", table[testing_below(&random, ELEMENTSOF(table))].line);
                length = strlen(line);
                for (unsigned int k = testing_below(&random, 4); k > 0 && length > 0; k--)
                        line[testing_below(&random, (unsigned int)length)] = (char)testing_below(&random, 256);
                if (!pl_maps_parse(line, &vma))
                        continue;
                assert_true(vma.start < vma.end);
                assert_in_range((uintptr_t)vma.name, (uintptr_t)line, (uintptr_t)line + strlen(line));
        }
}

/* All that this process has is read, and covers what it uses. */
TEST(test_own) {
        char on_stack = 0, *line = NULL;
        bool found = false;
        size_t size = 0;
        FILE *f = fopen("/proc/self/maps", "re");

        assert_non_null(f);
        while (getline(&line, &size, f) > 0) {
                struct pl_vma vma;

                line[strcspn(line, "\n")] = '\0';
                if (!pl_maps_parse(line, &vma))
                        fail_msg("\"%s\"", line);
                if (vma.start <= (uintptr_t)&on_stack && (uintptr_t)&on_stack < vma.end) {
                        assert_true(vma.private);
                        found = true;
                }
        }
        assert_true(found);
        free(line);
        (void)fclose(f);
        assert_int_equal(pl_maps_check_private(0, &on_stack, 1, true), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = { CHECKED(test_lines), CHECKED(test_mutations), CHECKED(test_own) };

        return cmocka_run_group_tests_name("client: maps", tests, NULL, NULL);
}
