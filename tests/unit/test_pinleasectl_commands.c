/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake_admin.h"

#include <locale.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* pinleasectl as people and programs use it: what it asks, what it shows, how it ends. */

static const struct exchange status_exchange = { "{\"method\":\"status\"}", { fake_admin_status }, "{}" };
static const struct exchange list_exchange = {
        "{\"method\":\"list\",\"parameters\":{}}",
        { fake_admin_session, fake_admin_registration, "{\"type\":\"of-later\"}" },
        "{\"sessions\":1,\"registrations\":1}",
};

TEST(test_status) {
        struct ctl ctl;

        TALK(&ctl, &status_exchange, CTL_FILE, "status");
        ctl_assert_ok(&ctl);
        ctl_assert_fits(ctl.out, 80);
        ctl_assert_contains(ctl.out, "state           serving\n");
        ctl_assert_contains(ctl.out, "sessions        2 of at most 4096, 1024 of one user\n");
        ctl_assert_contains(ctl.out, "in use             1.0 MiB         0             1\n");
        ctl_assert_contains(ctl.out, "most, session      1.0 GiB   1.0 TiB         32768\n");
        ctl_assert_contains(ctl.out, "most, user        64.0 GiB  16.0 TiB       1048576\n");
        ctl_assert_contains(ctl.out, "most, all users    256 GiB      none          none\n");
        ctl_assert_contains(ctl.out, "1000              2        0  16.0 MiB  32.0 MiB           272\n");
        ctl_free(&ctl);
}

/* The process is init, whose name is known. */
TEST(test_list) {
        char comm[64] = "", line[128];
        FILE *f = fopen("/proc/1/comm", "re");
        struct ctl ctl;

        assert_non_null(f);
        assert_non_null(fgets(comm, sizeof comm, f));
        (void)fclose(f);
        comm[strcspn(comm, "\n")] = 0;

        TALK(&ctl, &list_exchange, CTL_FILE, "list");
        ctl_assert_ok(&ctl);
        ctl_assert_fits(ctl.out, 80);
        (void)snprintf(line, sizeof line, "7             1 %-15s       1000 serving    1m  1.0 MiB        0     1\n", comm);
        ctl_assert_contains(ctl.out, line);
        ctl_assert_contains(ctl.out, "  7.12    live     shmem     pinned  1.0 MiB   1m 0+1M       /memfd:buffer\n");
        ctl_free(&ctl);
}

TEST(test_list_of_nothing) {
        static const struct exchange none = {
                "{\"method\":\"list\",\"parameters\":{\"pid\":4711,\"uid\":1000}}", { NULL }, "{\"sessions\":0,\"registrations\":0}"
        };
        struct ctl ctl;

        TALK(&ctl, &none, CTL_FILE, "list", "--pid", "4711", "--uid=1000");
        ctl_assert_ok(&ctl);
        assert_string_equal(ctl.out, "No session matches.\n");
        ctl_free(&ctl);
}

/* The file is found by what it is, not by its name, and a link leads to it. */
TEST(test_path) {
        char folder[] = "/tmp/pinlease-test-XXXXXX", file[64], link[64], call[256];
        struct exchange e = { call, { NULL }, "{\"sessions\":0,\"registrations\":0}" };
        struct stat st;
        struct ctl ctl;
        FILE *f;

        assert_non_null(mkdtemp(folder));
        (void)snprintf(file, sizeof file, "%s/file", folder);
        (void)snprintf(link, sizeof link, "%s/link", folder);
        assert_non_null(f = fopen(file, "we"));
        (void)fclose(f);
        assert_int_equal(symlink("file", link), 0);
        assert_int_equal(stat(file, &st), 0);
        (void)snprintf(call,
                       sizeof call,
                       "{\"method\":\"list\",\"parameters\":{\"device\":%lu,\"inode\":%lu}}",
                       (unsigned long)st.st_dev,
                       (unsigned long)st.st_ino);

        TALK(&ctl, &e, CTL_FILE, "list", "--path", link);
        ctl_assert_ok(&ctl);
        ctl_free(&ctl);

        assert_int_equal(unlink(file), 0);
        CTL_RUN(&ctl, NULL, "list", "--path", file, "--socket", "/nonexistent");
        ctl_assert_failed(&ctl, 5, "No such file or directory");
        ctl_free(&ctl);
        assert_int_equal(unlink(link), 0);
        assert_int_equal(rmdir(folder), 0);
}

TEST(test_show) {
        static const struct exchange session = {
                "{\"method\":\"list\",\"parameters\":{\"id\":\"7\"}}",
                { fake_admin_session, fake_admin_registration },
                "{\"sessions\":1,\"registrations\":1}",
        };
        static const struct exchange registration = {
                "{\"method\":\"list\",\"parameters\":{\"id\":\"7.12\"}}",
                { fake_admin_session, fake_admin_registration },
                "{\"sessions\":1,\"registrations\":1}",
        };
        struct ctl ctl;

        TALK(&ctl, &session, CTL_FILE, "show", "7");
        ctl_assert_ok(&ctl);
        ctl_assert_fits(ctl.out, 80);
        ctl_assert_contains(ctl.out, "keeper          4713\n");
        ctl_assert_contains(ctl.out, "credit          pinned 16.0 MiB, ODP 16.0 MiB, registrations 272\n");
        ctl_assert_contains(ctl.out, "\n7.12      live");
        ctl_free(&ctl);

        TALK(&ctl, &registration, CTL_FILE, "show", "7.12");
        ctl_assert_ok(&ctl);
        ctl_assert_fits(ctl.out, 80);
        ctl_assert_contains(ctl.out, "name            /memfd:buffer (deleted)\n");
        ctl_assert_contains(ctl.out, "access          local-write remote-write\n");
        ctl_assert_contains(ctl.out, "bytes           1.0 MiB (1048576)\n");
        ctl_assert_contains(ctl.out,
                            "guards          modify poison\n"
                            "                no seals: the file is not sealed against shrinking\n"
                            "                no lease: not for this kind of memory\n");
        assert_null(strstr(ctl.out, "keeper"));
        ctl_free(&ctl);
}

/* Whether the service says so, or has nothing to say. */
TEST(test_show_nothing) {
        static const struct exchange said = {
                NULL, { NULL }, "{\"error\":{\"code\":\"not-found\",\"message\":\"There is no session 8.\"}}"
        };
        static const struct exchange silent = { NULL, { NULL }, "{\"sessions\":0,\"registrations\":0}" };
        struct ctl ctl;

        TALK(&ctl, &said, CTL_FILE, "show", "8");
        ctl_assert_failed(&ctl, 5, "show 8: There is no session 8.\n");
        ctl_free(&ctl);
        TALK(&ctl, &silent, CTL_FILE, "show", "8");
        ctl_assert_failed(&ctl, 5, "show 8: there is no such session");
        ctl_free(&ctl);
        TALK(&ctl, &silent, CTL_FILE, "show", "8.1", "--json");
        ctl_assert_failed(&ctl, 5, "show 8.1: there is no such registration");
        assert_string_equal(ctl.out, "{\"sessions\":0,\"registrations\":0}\n");
        ctl_free(&ctl);
}

TEST(test_revoke) {
        static const struct exchange all = {
                "{\"method\":\"revoke\",\"parameters\":{\"id\":\"7.12\",\"grace_ms\":2500}}",
                { NULL },
                "{\"sessions\":2,\"released\":3,\"forced\":1,\"kept\":0,\"lost\":1}",
        };
        static const struct exchange some = {
                "{\"method\":\"revoke\",\"parameters\":{\"uid\":0}}",
                { NULL },
                "{\"sessions\":2,\"released\":3,\"forced\":1,\"kept\":2,\"lost\":0}",
        };
        struct ctl ctl;

        TALK(&ctl, &all, CTL_FILE, "revoke", "7.12", "--grace", "2500ms");
        ctl_assert_ok(&ctl);
        ctl_assert_fits(ctl.out, 80);
        ctl_assert_contains(ctl.out, "let go by apps  3\ntaken away      1\nkept            0\n");
        ctl_assert_contains(ctl.out, "sessions        2, of which 1 have ended meanwhile\n");
        ctl_free(&ctl);

        TALK(&ctl, &some, CTL_FILE, "revoke", "--uid", "root");
        ctl_assert_failed(&ctl, 1, "2 registrations are kept by the kernel");
        ctl_free(&ctl);

        TALK(&ctl, &some, CTL_FILE, "--json", "revoke", "--uid", "root");
        ctl_assert_failed(&ctl, 1, "2 registrations are kept by the kernel");
        assert_string_equal(ctl.out, "{\"sessions\":2,\"released\":3,\"forced\":1,\"kept\":2,\"lost\":0}\n");
        ctl_free(&ctl);
}

TEST(test_release) {
        struct exchange release = { NULL,
                                    { NULL },
                                    "{\"sessions\":2,\"released\":3,\"forced\":1,\"kept\":0,\"lost\":1}" };
        struct exchange nothing = { NULL, { NULL }, "{\"error\":{\"code\":\"not-found\",\"message\":\"No.\"}}" };
        char body[128], folder[] = "/tmp/pinlease-test-XXXXXX";
        struct stat st;
        struct ctl ctl;

        assert_int_equal(stat("/proc", &st), 0);
        (void)snprintf(body,
                       sizeof body,
                       "{\"method\":\"release\",\"parameters\":{\"grace_ms\":2500,\"device\":%llu}}",
                       (unsigned long long)st.st_dev);
        release.call = nothing.call = body;
        TALK(&ctl, &release, CTL_FILE, "release", "--mount", "/proc", "--grace", "2500ms");
        ctl_assert_ok(&ctl);
        ctl_assert_contains(ctl.out, "let go by apps  3\ntaken away      1\nkept            0\n");
        ctl_free(&ctl);
        TALK(&ctl, &release, CTL_FILE, "--json", "release", "--mount", "/proc/", "--grace", "2500ms");
        assert_string_equal(ctl.out, "{\"sessions\":2,\"released\":3,\"forced\":1,\"kept\":0,\"lost\":1}\n");
        ctl_free(&ctl);
        TALK(&ctl, &nothing, CTL_FILE, "release", "--mount", "/proc", "--grace", "2500ms");
        ctl_assert_failed(&ctl, 5, "release --mount /proc: No.\n");
        ctl_free(&ctl);

        /* A folder of another file system, and nothing at all: nobody is asked. */
        assert_non_null(mkdtemp(folder));
        CTL_RUN(&ctl, NULL, "release", "--mount", folder, "--socket", "/nonexistent");
        ctl_assert_failed(&ctl, 5, "nothing is mounted there");
        ctl_free(&ctl);
        assert_int_equal(rmdir(folder), 0);
        CTL_RUN(&ctl, NULL, "release", "--mount", folder, "--socket", "/nonexistent");
        ctl_assert_failed(&ctl, 5, "No such file");
        ctl_free(&ctl);
}

TEST(test_drain) {
        static const struct exchange drain = { "{\"method\":\"drain\",\"parameters\":{\"grace_ms\":120000}}",
                                               { NULL },
                                               "{\"sessions\":4,\"left\":0}" };
        static const struct exchange left = { "{\"method\":\"drain\",\"parameters\":{}}", { NULL }, "{\"sessions\":4,\"left\":1}" };
        static const struct exchange undrain = { "{\"method\":\"undrain\",\"parameters\":{}}", { NULL }, "{}" };
        struct ctl ctl;

        TALK(&ctl, &drain, CTL_FILE, "drain", "--grace", "2min");
        ctl_assert_ok(&ctl);
        ctl_assert_contains(ctl.out, "of 4 sessions, 0 are left");
        ctl_free(&ctl);
        TALK(&ctl, &left, CTL_FILE, "drain");
        ctl_assert_failed(&ctl, 1, "1 sessions have not ended");
        ctl_free(&ctl);
        TALK(&ctl, &undrain, CTL_FILE, "undrain");
        ctl_assert_ok(&ctl);
        ctl_free(&ctl);
}

TEST(test_reload) {
        static const struct exchange taken = { "{\"method\":\"reload\",\"parameters\":{}}", { NULL }, "{\"rules\":7,\"warnings\":1}" };
        static const struct exchange wrong = { NULL,
                                               { NULL },
                                               "{\"error\":{\"code\":\"policy\",\"message\":\"Not taken. policy.json:3:7: error: $.x\"}}" };
        struct ctl ctl;

        TALK(&ctl, &taken, CTL_FILE, "reload");
        ctl_assert_ok(&ctl);
        ctl_assert_contains(ctl.out, "7 rules, 1 warnings");
        ctl_free(&ctl);
        TALK(&ctl, &wrong, CTL_FILE, "reload");
        ctl_assert_failed(&ctl, 1, "policy.json:3:7");
        ctl_free(&ctl);
}

/* As it was sent: digits, order, members that nobody knows. Only line feeds between the parts are blanks. */
TEST(test_json) {
        static const struct exchange e = {
                NULL,
                { "{\"type\": \"session\",\n\t\"id\":\"9\", \"new\": [1.50, 18446744073709551615, true, null, \"\\u0041\\\"\\n\xc3\xa4\"]}",
                  "{\"id\":\"control \x7f \xc2\x9b \xe2\x80\xae\"}" },
                "{}",
        };
        struct ctl ctl;

        TALK(&ctl, &e, CTL_FILE, "list", "--json");
        ctl_assert_ok(&ctl);
        assert_string_equal(ctl.out,
                            "{\"type\": \"session\",  \"id\":\"9\", \"new\": [1.50, 18446744073709551615, true, null, "
                            "\"\\u0041\\\"\\n\xc3\xa4\"]}\n"
                            "{\"id\":\"control \\u007f \\u009b \\u202e\"}\n"
                            "{}\n");
        ctl_free(&ctl);

        TALK(&ctl, &status_exchange, CTL_FILE, "status", "--json");
        ctl_assert_ok(&ctl);
        assert_int_equal(strncmp(ctl.out, "{\"version\": \"0.1.0\", \"pid\": 812, ", 33), 0);
        assert_ptr_equal(strchr(ctl.out, '\n') + 1, strstr(ctl.out, "{}\n"));
        ctl_free(&ctl);
}

/* What the service refuses with decides the status; a word of it comes in any case. */
TEST(test_refusals) {
        static const struct {
                const char *code;
                int status;
        } refusals[] = { { "not-permitted", 4 }, { "bad-call", 1 }, { "not-found", 5 }, { "busy", 1 }, { "failed", 1 }, { "new", 1 } };
        struct ctl ctl;

        for (size_t i = 0; i < ELEMENTSOF(refusals); i++) {
                struct exchange e = { 0 };
                char result[128];

                (void)snprintf(result, sizeof result, "{\"error\":{\"code\":\"%s\",\"message\":\"\\u001b[2JNo.\"}}", refusals[i].code);
                e.result = result;
                TALK(&ctl, &e, CTL_FILE, "revoke", "--pid", "1");
                ctl_assert_failed(&ctl, refusals[i].status, "revoke --pid 1: \\x1b[2JNo.\n");
                assert_string_equal(ctl.out, "");
                ctl_free(&ctl);

                TALK(&ctl, &e, CTL_FILE, "revoke", "--pid", "1", "--json");
                ctl_assert_failed(&ctl, refusals[i].status, "revoke --pid 1: ");
                assert_memory_equal(ctl.out, result, strlen(result));
                ctl_free(&ctl);
        }
}

/* The service reads nothing of somebody who may not ask: the refusal has been sent before the call, to no call. */
static void turn_away(struct fake_admin *f) {
        fake_admin_accept(f);
        fake_admin_result(f, "{\"error\":{\"code\":\"not-permitted\",\"message\":\"Not you.\"}}");
        f->sock = pl_close(f->sock);
}

/* The call has come, and is not taken. */
static void turn_away_late(struct fake_admin *f) {
        fake_admin_accept(f);
        fake_admin_wait(f);
        f->sock = pl_close(f->sock);
}

static void turn_away_unread(struct fake_admin *f) {
        fake_admin_accept(f);
        fake_admin_wait(f);
        f->seq = 0;
        fake_admin_result(f, "{\"error\":{\"code\":\"not-permitted\",\"message\":\"Not you.\"}}");
        f->sock = pl_close(f->sock);
}

TEST(test_turned_away) {
        struct fake_admin f;
        struct ctl ctl;

        for (unsigned int i = 0; i < 20; i++) {
                fake_admin_start(&f, i % 2 ? turn_away : turn_away_unread, NULL);
                CTL_RUN(&ctl, &f, "list");
                ctl_assert_failed(&ctl, 4, "list: Not you.\n");
                ctl_free(&ctl);
                fake_admin_end(&f);
        }
        fake_admin_start(&f, turn_away_late, NULL);
        CTL_RUN(&ctl, &f, "list");
        ctl_assert_failed(&ctl, 1, "has closed the connection");
        ctl_free(&ctl);
        fake_admin_end(&f);
}

TEST(test_nobody_there) {
        char folder[] = "/tmp/pinlease-test-XXXXXX", path[64], longest[200];
        struct ctl ctl;
        FILE *file;

        CTL_RUN(&ctl, NULL, "status", "--socket", "/nonexistent/admin.sock");
        ctl_assert_failed(&ctl, 3, "/nonexistent/admin.sock: No such file or directory. Is it running?");
        ctl_free(&ctl);

        assert_non_null(mkdtemp(folder));
        (void)snprintf(path, sizeof path, "%s/file", folder);
        assert_non_null(file = fopen(path, "we"));
        (void)fclose(file);
        assert_int_equal(setenv("PINLEASE_ADMIN_SOCKET", path, 1), 0);
        CTL_RUN(&ctl, NULL, "metrics");
        ctl_assert_failed(&ctl, 3, "Is it running?");
        ctl_assert_contains(ctl.err, path);
        ctl_free(&ctl);
        assert_int_equal(unsetenv("PINLEASE_ADMIN_SOCKET"), 0);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(folder), 0);

        memset(longest, '/', sizeof longest);
        longest[sizeof longest - 1] = 0;
        CTL_RUN(&ctl, NULL, "metrics", "--socket", longest);
        ctl_assert_failed(&ctl, 2, "longer than the path of a socket can be");
        ctl_free(&ctl);
}

TEST(test_usage) {
        static const char *const mistakes[][4] = {
                { "no-such-command" },
                { "status", "7" },
                { "status", "--pid", "7" },
                { "status", "--grace=3" },
                { "show" },
                { "show", "seven" },
                { "show", "7." },
                { "show", "7.1.1" },
                { "show", "-1" },
                { "show", "99999999999999999999" },
                { "show", "7", "--watch" },
                { "revoke" },
                { "release" },
                { "release", "7", "--mount=/" },
                { "release", "--path=/" },
                { "revoke", "--mount=/" },
                { "revoke", "7", "--pid=7" },
                { "revoke", "--pid=1", "--uid=1" },
                { "revoke", "7", "--grace", "601" },
                { "revoke", "7", "--grace", "11min" },
                { "revoke", "7", "--grace", "-1" },
                { "revoke", "7", "--grace", "3 s" },
                { "revoke", "7", "--grace", "99999999999999999h" },
                { "list", "--pid", "0" },
                { "list", "--pid", "1x" },
                { "list", "--uid", "4294967295" },
                { "list", "--uid", "no-such-user" },
                { "list", "--watch=99ms" },
                { "drain", "now" },
                { "devices", "--path", "/" },
                { "--no-such-option" },
        };
        struct ctl ctl;

        for (size_t i = 0; i < ELEMENTSOF(mistakes); i++) {
                ctl_run(&ctl,
                        NULL,
                        CTL_FILE,
                        0,
                        (const char *const[]) { mistakes[i][0], mistakes[i][1], mistakes[i][2], mistakes[i][3], NULL });
                if (ctl.status != 2 || *ctl.out || !*ctl.err)
                        fail_msg("%s %s: status %d", mistakes[i][0], mistakes[i][1] ? mistakes[i][1] : "", ctl.status);
                ctl_free(&ctl);
        }

        ctl_run(&ctl, NULL, CTL_FILE, 0, (const char *const[]) { NULL });
        assert_int_equal(ctl.status, 2);
        ctl_assert_contains(ctl.err, "usage: pinleasectl");
        ctl_free(&ctl);
        CTL_RUN(&ctl, NULL, "list", "--help");
        ctl_assert_ok(&ctl);
        ctl_assert_fits(ctl.out, 80);
        ctl_free(&ctl);
        CTL_RUN(&ctl, NULL, "--version");
        ctl_assert_ok(&ctl);
        assert_string_equal(ctl.out, "pinleasectl " PACKAGE_VERSION "\n");
        ctl_free(&ctl);
}

TEST(test_output_is_full) {
        struct fake_admin f;
        struct ctl ctl;

        fake_admin_start(&f, fake_admin_follow, &list_exchange);
        ctl_run(&ctl, &f, CTL_FULL, 0, (const char *const[]) { "list", NULL });
        fake_admin_end(&f);
        ctl_assert_failed(&ctl, 1, "standard output: No space left on device");
        ctl_free(&ctl);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                CHECKED(test_status),       CHECKED(test_list),     CHECKED(test_list_of_nothing),
                CHECKED(test_path),         CHECKED(test_show),     CHECKED(test_show_nothing),
                CHECKED(test_revoke),       CHECKED(test_release),  CHECKED(test_drain), CHECKED(test_reload),
                CHECKED(test_json),         CHECKED(test_refusals), CHECKED(test_turned_away),
                CHECKED(test_nobody_there), CHECKED(test_usage),    CHECKED(test_output_is_full),
        };

        (void)setlocale(LC_CTYPE, "C.UTF-8");
        (void)unsetenv("COLUMNS");
        (void)unsetenv("NO_COLOR");
        (void)unsetenv("LC_ALL");
        (void)setenv("TERM", "xterm", 1);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
