/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake_admin.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* pinleasectl on a terminal, and elsewhere: colour, width, --watch. */

static const struct exchange list_exchange = {
        "{\"method\":\"list\",\"parameters\":{}}",
        { fake_admin_session, fake_admin_registration, "{\"type\":\"of-later\"}" },
        "{\"sessions\":1,\"registrations\":1}",
};

#define ESCAPE "\033["

TEST(test_colour) {
        struct ctl ctl;

        TALK(&ctl, &list_exchange, CTL_FILE, "list");
        assert_null(strchr(ctl.out, '\033'));
        ctl_free(&ctl);
        TALK(&ctl, &list_exchange, CTL_FILE, "list", "--color");
        ctl_assert_contains(ctl.out, ESCAPE);
        ctl_free(&ctl);

        TALK(&ctl, &list_exchange, CTL_TERMINAL, "list");
        ctl_assert_contains(ctl.out, ESCAPE);
        ctl_free(&ctl);
        TALK(&ctl, &list_exchange, CTL_TERMINAL, "list", "--no-color");
        assert_null(strchr(ctl.out, '\033'));
        ctl_free(&ctl);

        assert_int_equal(setenv("NO_COLOR", "1", 1), 0);
        TALK(&ctl, &list_exchange, CTL_TERMINAL, "list");
        assert_null(strchr(ctl.out, '\033'));
        ctl_free(&ctl);
        TALK(&ctl, &list_exchange, CTL_TERMINAL, "list", "--color");
        ctl_assert_contains(ctl.out, ESCAPE);
        ctl_free(&ctl);
        /* Set, but empty, is as if it were not. */
        assert_int_equal(setenv("NO_COLOR", "", 1), 0);
        TALK(&ctl, &list_exchange, CTL_TERMINAL, "list");
        ctl_assert_contains(ctl.out, ESCAPE);
        ctl_free(&ctl);
        assert_int_equal(unsetenv("NO_COLOR"), 0);

        assert_int_equal(setenv("TERM", "dumb", 1), 0);
        TALK(&ctl, &list_exchange, CTL_TERMINAL, "list");
        assert_null(strchr(ctl.out, '\033'));
        ctl_free(&ctl);
        assert_int_equal(setenv("TERM", "xterm", 1), 0);
}

/* Room that a wider terminal, or COLUMNS, has is given to names. */
TEST(test_width) {
        static const struct exchange e = {
                NULL,
                { "{\"type\":\"registration\",\"id\":\"7.1\",\"name\":\"/mnt/pmem/pools/the-pool-with-the-long-name-0001\"}" },
                "{}",
        };
        struct ctl ctl;

        TALK(&ctl, &e, CTL_FILE, "list");
        ctl_assert_contains(ctl.out, " …the-long-name-0001\n");
        ctl_assert_fits(ctl.out, 80);
        ctl_free(&ctl);

        assert_int_equal(setenv("COLUMNS", "160", 1), 0);
        TALK(&ctl, &e, CTL_FILE, "list");
        ctl_assert_contains(ctl.out, " /mnt/pmem/pools/the-pool-with-the-long-name-0001\n");
        ctl_assert_fits(ctl.out, 160);
        ctl_free(&ctl);
        assert_int_equal(setenv("COLUMNS", "20", 1), 0);
        TALK(&ctl, &e, CTL_FILE, "list");
        ctl_assert_contains(ctl.out, " …the-long-name-0001\n");
        ctl_free(&ctl);
        assert_int_equal(unsetenv("COLUMNS"), 0);

        /* Without UTF-8 in the locale. */
        assert_int_equal(setenv("LC_ALL", "C", 1), 0);
        TALK(&ctl, &e, CTL_FILE, "list");
        ctl_assert_contains(ctl.out, " ~the-long-name-0001\n");
        ctl_free(&ctl);
        assert_int_equal(unsetenv("LC_ALL"), 0);
}

/* One connection for many calls; a service that has gone is come back to. */
static void be_watched(struct fake_admin *f) {
        fake_admin_accept(f);
        for (unsigned int i = 0; i < 3; i++) {
                fake_admin_expect(f, "{\"method\":\"status\"}");
                fake_admin_item(f, fake_admin_status);
                fake_admin_result(f, "{}");
        }
        fake_admin_accept(f);
        fake_admin_expect(f, "{\"method\":\"status\"}");
        fake_admin_item(f, fake_admin_status);
        fake_admin_result(f, "{}");
        fake_admin_expect(f, "{\"method\":\"status\"}");
        fake_admin_result(f, "{\"error\":{\"code\":\"not-permitted\",\"message\":\"Not any more.\"}}");
}

TEST(test_watch) {
        unsigned int pictures = 0;
        struct fake_admin f;
        struct ctl ctl;

        fake_admin_start(&f, be_watched, NULL);
        CTL_RUN(&ctl, &f, "status", "--watch", "100ms");
        fake_admin_end(&f);
        ctl_assert_failed(&ctl, 4, "Not any more.");
        for (const char *p = ctl.out; (p = strstr(p, "state  ")); p++)
                pictures++;
        assert_int_equal(pictures, 4);
        assert_null(strchr(ctl.out, '\033'));
        ctl_assert_contains(ctl.err, "closed the connection");
        ctl_free(&ctl);
}

/* Documents one after the other, and nothing between them. */
static void be_watched_by_a_program(struct fake_admin *f) {
        fake_admin_accept(f);
        for (unsigned int i = 0; i < 2; i++) {
                fake_admin_expect(f, "{\"method\":\"list\",\"parameters\":{\"uid\":0}}");
                fake_admin_item(f, fake_admin_session);
                fake_admin_result(f, "{}");
        }
        fake_admin_expect(f, NULL);
        fake_admin_result(f, "{\"error\":{\"code\":\"not-permitted\",\"message\":\"Not any more.\"}}");
}

TEST(test_watch_json) {
        char expected[2048];
        struct fake_admin f;
        struct ctl ctl;

        (void)snprintf(expected,
                       sizeof expected,
                       "%s\n{}\n%s\n{}\n"
                       "{\"error\":{\"code\":\"not-permitted\",\"message\":\"Not any more.\"}}\n",
                       fake_admin_session,
                       fake_admin_session);
        fake_admin_start(&f, be_watched_by_a_program, NULL);
        CTL_RUN(&ctl, &f, "list", "--uid", "0", "--watch=100ms", "--json", "--color");
        fake_admin_end(&f);
        ctl_assert_failed(&ctl, 4, "Not any more.");
        assert_string_equal(ctl.out, expected);
        ctl_free(&ctl);
}

/* Every two seconds unless it is said otherwise, each in the place of the last. */
static void be_watched_slowly(struct fake_admin *f) {
        uint64_t began;

        fake_admin_accept(f);
        fake_admin_expect(f, "{\"method\":\"status\"}");
        fake_admin_item(f, fake_admin_status);
        began = pl_now_ms();
        fake_admin_result(f, "{}");
        fake_admin_expect(f, "{\"method\":\"status\"}");
        if (pl_now_ms() - began < 1990)
                fail_msg("the second picture comes after %u ms", (unsigned int)(pl_now_ms() - began));
        fake_admin_result(f, "{\"error\":{\"code\":\"not-permitted\",\"message\":\"Not any more.\"}}");
}

TEST(test_watch_terminal) {
        static const char clear[] = ESCAPE "H" ESCAPE "2J";
        struct fake_admin f;
        struct ctl ctl;

        fake_admin_start(&f, be_watched_slowly, NULL);
        ctl_run(&ctl, &f, CTL_TERMINAL, 0, (const char *const[]) { "status", "--watch", NULL });
        fake_admin_end(&f);
        ctl_assert_failed(&ctl, 4, "Not any more.");
        assert_int_equal(strncmp(ctl.out, clear, strlen(clear)), 0);
        assert_non_null(strstr(ctl.out + 1, clear));
        ctl_free(&ctl);
}

/* A first picture that fails is the last. */
TEST(test_watch_nothing) {
        struct ctl ctl;

        CTL_RUN(&ctl, NULL, "list", "--watch", "--socket", "/nonexistent");
        ctl_assert_failed(&ctl, 3, "Is it running?");
        ctl_free(&ctl);
}

/* More than fits the window: it says so instead of scrolling. */
static void fill_window(struct fake_admin *f) {
        fake_admin_accept(f);
        fake_admin_expect(f, NULL);
        for (unsigned int i = 0; i < 40; i++)
                fake_admin_item(f, fake_admin_session);
        fake_admin_result(f, "{}");
        fake_admin_expect(f, NULL);
        fake_admin_result(f, "{\"error\":{\"code\":\"not-permitted\",\"message\":\"Not any more.\"}}");
}

TEST(test_watch_window) {
        struct fake_admin f;
        unsigned int lines = 0;
        const char *p, *end;
        struct ctl ctl;

        fake_admin_start(&f, fill_window, NULL);
        ctl_run(&ctl, &f, CTL_TERMINAL, 0, (const char *const[]) { "list", "--watch=100ms", NULL });
        fake_admin_end(&f);
        ctl_assert_failed(&ctl, 4, "Not any more.");
        end = strstr(ctl.out, "(and 20 more lines)");
        assert_non_null(end);
        for (p = ctl.out; p < end; p++)
                lines += *p == '\n';
        assert_int_equal(lines, 22);
        ctl_free(&ctl);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                CHECKED(test_colour),
                CHECKED(test_width),
                CHECKED(test_watch),
                CHECKED(test_watch_json),
                CHECKED(test_watch_terminal),
                CHECKED(test_watch_nothing),
                CHECKED(test_watch_window),
        };

        (void)setlocale(LC_CTYPE, "C.UTF-8");
        (void)unsetenv("COLUMNS");
        (void)unsetenv("NO_COLOR");
        (void)unsetenv("LC_ALL");
        (void)setenv("TERM", "xterm", 1);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
