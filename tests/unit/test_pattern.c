/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <string.h>

#include "pattern.h"

static const struct {
        const char *pattern, *text;
        bool matches;
} matches[] = {
        { "/mnt/a", "/mnt/a", true },
        { "/mnt/a", "/mnt/A", false },
        { "/mnt/a", "/mnt/ab", false },
        { "/mnt/ab", "/mnt/a", false },
        { "/mnt/a", "/mnt", false },
        { "/mnt/a", "mnt/a", false },
        { "/mnt/a", "/mnt/a/", false },
        { "/", "/", true },
        { "/", "/a", false },
        { "/", "", false },

        { "/mnt/?", "/mnt/a", true },
        { "/mnt/?", "/mnt/", false },
        { "/mnt/?", "/mnt/ab", false },
        { "/mnt?a", "/mnt/a", false },
        { "/mnt/?", "/mnt/ä", true },
        { "/mnt/?", "/mnt/\xff", true },
        { "/mnt/??", "/mnt/\xff\xff", true },
        { "/mnt/?x", "/mnt/\xc3", false },

        { "/mnt/*", "/mnt/a", true },
        { "/mnt/*", "/mnt/.a", true },
        { "/mnt/*", "/mnt/", true },
        { "/mnt/*", "/mnt", false },
        { "/mnt/*", "/mnt/a/b", false },
        { "/mnt/*/b", "/mnt/a/b", true },
        { "/mnt/*/b", "/mnt/a/a/b", false },
        { "/mnt/*.img", "/mnt/disk.img", true },
        { "/mnt/*.img", "/mnt/.img", true },
        { "/mnt/*.img", "/mnt/disk.img.old", false },
        { "/mnt/*.img", "/mnt/a.img.img", true },
        { "/mnt/a*b*c", "/mnt/abbcbc", true },
        { "/mnt/a*b*c", "/mnt/acb", false },
        { "/mnt/*a?", "/mnt/aaab", true },
        { "/mnt/*?", "/mnt/äö", true },

        { "/mnt/**", "/mnt/a", true },
        { "/mnt/**", "/mnt/a/b/c", true },
        { "/mnt/**", "/mnt", false },
        { "/mnt/**", "/mntx/a", false },
        { "/**", "/a/b", true },
        { "/**", "a/b", false },
        { "/mnt/**/b", "/mnt/b", true },
        { "/mnt/**/b", "/mnt/a/b", true },
        { "/mnt/**/b", "/mnt/a/a/b", true },
        { "/mnt/**/b", "/mnt/a/b/c", false },
        { "/mnt/**/b", "/mnt/a/b/c/b", true },
        { "/mnt/**/b", "/mnt/ab", false },
        { "/mnt/**/b", "/mnt", false },
        { "/**/b/**/c", "/b/c", true },
        { "/**/b/**/c", "/a/b/a/b/a/c", true },
        { "/**/b/**/c", "/a/c/a/b", false },
        { "/**/b/c", "/b/b/c", true },
        { "/mnt/**/*.img", "/mnt/a/b/disk.img", true },
        { "/mnt/**/**", "/mnt/a", true },
        { "/mnt/**/**", "/mnt", false },

        /* Everything else is itself. */
        { "/mnt/[a]", "/mnt/a", false },
        { "/mnt/[a]", "/mnt/[a]", true },
        { "/mnt/\\*", "/mnt/\\x", true },
        { "/mnt/{a,b}", "/mnt/a", false },
        { "/mnt/a (deleted)", "/mnt/a (deleted)", true },
        { "/mnt/a", "/mnt/a (deleted)", false },

        { "mlx5_*", "mlx5_0", true },
        { "mlx5_*", "rxe0", false },
        { "*", "rxe0", true },
        { "rxe?", "rxe0", true },
};

TEST(test_match) {
        for (size_t i = 0; i < ELEMENTSOF(matches); i++) {
                print_message("%s %s\n", matches[i].pattern, matches[i].text);
                assert_int_equal(pattern_match(matches[i].pattern, matches[i].text), matches[i].matches);
        }
}

TEST(test_wrong) {
        static const struct {
                const char *pattern;
                enum pattern_kind kind;
                const char *why;
        } table[] = {
                { "/", PATTERN_PATH, NULL },
                { "/a/*/**", PATTERN_PATH, NULL },
                { "/**/a/**", PATTERN_PATH, NULL },
                { "/a/...", PATTERN_PATH, NULL },
                { "/.a/..b", PATTERN_PATH, NULL },
                { "*", PATTERN_NAME, NULL },
                { "mlx5_?", PATTERN_NAME, NULL },
                { "", PATTERN_PATH, "it is empty" },
                { "", PATTERN_NAME, "it is empty" },
                { "a", PATTERN_PATH, "it does not begin with a /" },
                { "**", PATTERN_PATH, "it does not begin with a /" },
                { "/a/", PATTERN_PATH, "it ends with a /, as no path does" },
                { "//", PATTERN_PATH, "it has // in it, as no path does" },
                { "/a//b", PATTERN_PATH, "it has // in it, as no path does" },
                { "/a/./b", PATTERN_PATH, "it has a component . or .., as no path does" },
                { "/a/..", PATTERN_PATH, "it has a component . or .., as no path does" },
                { "/a/b**", PATTERN_PATH, "** stands for whole components: write /**/ or /** at the end" },
                { "/a/***", PATTERN_PATH, "** stands for whole components: write /**/ or /** at the end" },
                { "/dev/rxe0", PATTERN_NAME, "it has a / in it, as no such name does" },
                { "..", PATTERN_NAME, "it has a component . or .., as no path does" },
        };
        char longest[PATTERN_MAX + 2];

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                const char *why = pattern_wrong(table[i].pattern, table[i].kind);

                print_message("%s\n", table[i].pattern);
                if (table[i].why)
                        assert_string_equal(why, table[i].why);
                else
                        assert_null(why);
        }

        memset(longest, 'a', sizeof longest);
        longest[0] = '/';
        longest[PATTERN_MAX + 1] = '\0';
        assert_string_equal(pattern_wrong(longest, PATTERN_PATH), "it is longer than 1024 bytes");
        longest[PATTERN_MAX] = '\0';
        assert_null(pattern_wrong(longest, PATTERN_PATH));
}

/* The longest of each, made to be tried in as many ways as there are: with backtracking over every star, for ever. */
TEST(test_bounded) {
        static char pattern[PATTERN_MAX + 1], text[8193];

        for (size_t i = 0; i + 2 < PATTERN_MAX; i += 2)
                memcpy(pattern + i, "*a", 2);
        pattern[0] = '/';
        strcat(pattern, "b");
        memset(text, 'a', sizeof text - 1);
        text[0] = '/';
        assert_false(pattern_match(pattern, text));

        memset(pattern, 0, sizeof pattern);
        while (strlen(pattern) + 8 < PATTERN_MAX)
                strcat(pattern, "/**/a");
        strcat(pattern, "/b");
        for (size_t i = 0; i + 2 < sizeof text; i += 2)
                memcpy(text + i, "/a", 2);
        assert_false(pattern_match(pattern, text));
        strcpy(text + sizeof text - 3, "/b");
        assert_true(pattern_match(pattern, text));
}

TEST(test_covers) {
        static const struct {
                const char *wide, *narrow;
                bool covers;
        } table[] = {
                { "/a/**", "/a/**", true },   { "/a/*/b", "/a/*/b", true },  { "/a/**", "/a/b", true },
                { "/a/**", "/a/b/*", true },  { "/a/**", "/a/b/**", true },  { "/a/**", "/a/**/b", true },
                { "/a/**", "/ab/**", false }, { "/a/b/**", "/a/**", false }, { "/a/**", "/a", false },
                { "/**", "/a/*", true },      { "/a/*", "/a/b", true },      { "/a/*", "/a/b/c", false },
                { "/a/*", "/a/**", false },   { "/*/b/**", "/a/b/c", true }, { "/*/b/**", "/a/b/*", false },
                { "*", "mlx5_*", true },      { "mlx5_*", "mlx5_0", true },  { "mlx5_*", "*", false },
                { "*", "/a", false },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                print_message("%s %s\n", table[i].wide, table[i].narrow);
                assert_int_equal(pattern_covers(table[i].wide, table[i].narrow), table[i].covers);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_match),
                CHECKED(test_wrong),
                CHECKED(test_bounded),
                CHECKED(test_covers),
        };

        return cmocka_run_group_tests_name("pattern", tests, NULL, NULL);
}
