/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake_admin.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pinleasectl.h"
#include "table.h"
#include "text.h"

/* The parts of pinleasectl that strings of strangers go through; and its times. */

static void assert_printable(const char *text, size_t length, const char *expected) {
        char *printable = text_printable(text, length);

        assert_string_equal(printable, expected);
        free(printable);
}

TEST(test_printable) {
        assert_printable("plain \\ \"text\"", 14, "plain \\ \"text\"");
        assert_printable("", 0, "");
        assert_printable("a\0b", 3, "a\\x00b");
        assert_printable("\033[2J\x7f\n", 6, "\\x1b[2J\\x7f\\x0a");
        assert_printable("\xc3\xa4\xe6\xbc\xa2\xf0\x9f\x98\x80", 9, "\xc3\xa4\xe6\xbc\xa2\xf0\x9f\x98\x80");
        /* C1, direction, width 0, soft hyphen, line separator, tags */
        assert_printable("\xc2\x9b", 2, "\\xc2\\x9b");
        assert_printable("\xe2\x80\xae", 3, "\\xe2\\x80\\xae");
        assert_printable("e\xcc\x81", 3, "e\\xcc\\x81");
        assert_printable("\xc2\xad", 2, "\\xc2\\xad");
        assert_printable("\xe2\x80\xa8", 3, "\\xe2\\x80\\xa8");
        assert_printable("\xf3\xa0\x80\x81", 4, "\\xf3\\xa0\\x80\\x81");
        /* Not UTF-8: overlong, surrogate, beyond the end, cut off, a tail alone */
        assert_printable("\xc0\xaf", 2, "\\xc0\\xaf");
        assert_printable("\xe0\x80\xaf", 3, "\\xe0\\x80\\xaf");
        assert_printable("\xed\xa0\x80", 3, "\\xed\\xa0\\x80");
        assert_printable("\xf4\x90\x80\x80", 4, "\\xf4\\x90\\x80\\x80");
        assert_printable("\xe6\xbc", 2, "\\xe6\\xbc");
        assert_printable("\xbc" "a", 2, "\\xbca");
}

static void assert_fit(const char *text, int width, enum text_cut cut, const char *expected) {
        char *fitting = text_fit(text, width, cut);

        assert_string_equal(fitting, expected);
        assert_true(text_width(fitting) <= width);
        free(fitting);
}

TEST(test_fit) {
        assert_fit("abcdef", 6, TEXT_CUT_END, "abcdef");
        assert_fit("abcdef", 5, TEXT_CUT_END, "abcd…");
        assert_fit("abcdef", 5, TEXT_CUT_HEAD, "…cdef");
        assert_fit("abcdef", 5, TEXT_CUT_MIDDLE, "ab…ef");
        assert_fit("abcdef", 1, TEXT_CUT_MIDDLE, "…");
        assert_fit("abcdef", 1, TEXT_CUT_HEAD, "…");
        /* Two columns each: what is left over stays empty. */
        assert_fit("漢字漢字", 8, TEXT_CUT_HEAD, "漢字漢字");
        assert_fit("漢字漢字", 7, TEXT_CUT_HEAD, "…字漢字");
        assert_fit("漢字漢字", 6, TEXT_CUT_HEAD, "…漢字");
        assert_fit("漢字漢字", 6, TEXT_CUT_END, "漢字…");
        assert_fit("漢字漢字", 2, TEXT_CUT_END, "…");
        assert_fit("", 3, TEXT_CUT_END, "");
}

TEST(test_numbers) {
        static const struct {
                uint64_t bytes;
                const char *size, *exact;
        } sizes[] = {
                { 0, "0", "0" },
                { 1, "1 B", "1" },
                { 1023, "1023 B", "1023" },
                { 1024, "1.0 KiB", "1K" },
                { 4097, "4.0 KiB", "4097" },
                { 1536, "1.5 KiB", "1536" },
                { 102400, "100 KiB", "100K" },
                { 1048575, "1.0 MiB", "1048575" },
                { 1048576, "1.0 MiB", "1M" },
                { (UINT64_C(1) << 30) - 1, "1.0 GiB", "1073741823" },
                { UINT64_C(1) << 40, "1.0 TiB", "1T" },
                { UINT64_C(1) << 50, "1.0 PiB", "1024T" },
                { UINT64_MAX, "16.0 EiB", "18446744073709551615" },
        };
        static const struct {
                uint64_t ms;
                const char *age;
        } ages[] = { { 0, "0s" },        { 999, "0s" },          { 59999, "59s" },       { 60000, "1m" },          { 3599999, "59m" },
                     { 3600000, "1h" }, { 86400000, "1d" }, { 86399999, "23h" }, { UINT64_C(999) * 86400000, "999d" },
                     { UINT64_MAX, ">2y" } };
        char buffer[TEXT_SMALL];

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                assert_string_equal(text_size(buffer, sizes[i].bytes), sizes[i].size);
                assert_string_equal(text_exact(buffer, sizes[i].bytes), sizes[i].exact);
        }
        for (size_t i = 0; i < ELEMENTSOF(ages); i++)
                assert_string_equal(text_age(buffer, ages[i].ms), ages[i].age);
        for (unsigned int shift = 0; shift < 64; shift++)
                for (int off = -1; off <= 1; off++)
                        assert_true(strlen(text_size(buffer, (UINT64_C(1) << shift) + (uint64_t)off)) <= 8);
}

TEST(test_times) {
        static const struct {
                const char *text;
                uint64_t ms;
        } times[] = { { "0", 0 },        { "500ms", 500 },     { "3", 3000 },
                      { "3s", 3000 },    { "2min", 120000 },   { "1h", 3600000 },
                      { "0007", 7000 }, { "18446744073709551615ms", UINT64_MAX } };
        static const char *const wrong[] = { "",    " 3",  "3 ",  "+3", "-3",  "s",   "3m", "3S", "1.5s",
                                             "0x3", "3ss", "3s3", "1d", "∞", "18446744073709551616ms", "18446744073709551615" };
        uint64_t ms;

        for (size_t i = 0; i < ELEMENTSOF(times); i++) {
                assert_int_equal(options_parse_time(times[i].text, &ms), 0);
                assert_int_equal(ms, times[i].ms);
        }
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                if (options_parse_time(wrong[i], &ms) != -EINVAL)
                        fail_msg("'%s' is taken for a time", wrong[i]);
}

static const struct column columns[] = {
        { .title = "ID", .width = 5, .wide = 9, .whole = true },
        { .title = "NUMBER", .width = 6, .right = true, .cut = TEXT_CUT_MIDDLE },
        { .title = "NAME", .width = 7, .cut = TEXT_CUT_HEAD, .flexible = true },
        { .title = "MORE", .width = 59, .wide = 70 },
};

/* Any bytes in any cell, at any width of the terminal: no row is wider, none has more lines than one. */
TEST(test_random_tables) {
        struct testing_random random;
        int saved = dup(STDOUT_FILENO);

        testing_seed(&random, __func__);
        for (unsigned int i = 0; i < testing_rounds(30); i++) {
                struct terminal terminal = { .columns = 80 + (int)testing_below(&random, 60), .room = -1 };
                FILE *f = tmpfile();
                char text[65536];
                struct table table;
                unsigned int lines = 0;
                size_t n;

                assert_non_null(f);
                (void)fflush(stdout);
                assert_true(dup2(fileno(f), STDOUT_FILENO) >= 0);
                table_init(&table, &terminal, columns, ELEMENTSOF(columns), 0);
                table_head(&table);
                for (unsigned int k = 0; k < 20; k++) {
                        struct row row = { 0 };

                        for (size_t c = 0; c < ELEMENTSOF(columns); c++) {
                                char cell[256];
                                size_t length = testing_below(&random, sizeof cell);

                                for (size_t b = 0; b < length; b++)
                                        cell[b] = (char)testing_random(&random);
                                row_text(&row, cell, length);
                        }
                        table_row(&table, &row, NULL);
                }
                (void)fflush(stdout);
                assert_true(dup2(saved, STDOUT_FILENO) >= 0);

                rewind(f);
                n = fread(text, 1, sizeof text - 1, f);
                text[n] = 0;
                (void)fclose(f);
                for (size_t b = 0; b < n; b++)
                        lines += text[b] == '\n';
                assert_int_equal(lines, 21);
                ctl_assert_fits(text, terminal.columns);
        }
        pl_close(saved);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                CHECKED(test_printable), CHECKED(test_fit), CHECKED(test_numbers), CHECKED(test_times), CHECKED(test_random_tables),
        };

        (void)setenv("LC_ALL", "C.UTF-8", 1);
        text_init();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
