/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <stdio.h>
#include <string.h>

#include "session-args.h"

static const struct session_args sample = {
        .session = UINT64_MAX,
        .app_pid = 4194304,
        .identity = { .uid = 64321, .gid = 64322, .fsuid = UINT32_MAX - 1, .fsgid = 0 },
        .limits = { .pinned = UINT64_MAX - 1, .odp = UINT64_C(1) << 50, .registrations = UINT32_MAX },
        .credit = { .pinned = 1, .odp = UINT64_MAX, .registrations = UINT32_MAX - 1 },
        .session_socket = "/run/pinlease/session.sock",
        .heartbeat_ms = 1000,
        .hang_ms = UINT32_MAX,
        .hello_timeout_ms = 1,
};

static void assert_same(const struct session_args *a, const struct session_args *b) {
        assert_int_equal(a->session, b->session);
        assert_int_equal(a->app_pid, b->app_pid);
        assert_int_equal(a->identity.uid, b->identity.uid);
        assert_int_equal(a->identity.gid, b->identity.gid);
        assert_int_equal(a->identity.fsuid, b->identity.fsuid);
        assert_int_equal(a->identity.fsgid, b->identity.fsgid);
        assert_int_equal(a->limits.pinned, b->limits.pinned);
        assert_int_equal(a->limits.odp, b->limits.odp);
        assert_int_equal(a->limits.registrations, b->limits.registrations);
        assert_int_equal(a->credit.pinned, b->credit.pinned);
        assert_int_equal(a->credit.odp, b->credit.odp);
        assert_int_equal(a->credit.registrations, b->credit.registrations);
        assert_string_equal(a->session_socket, b->session_socket);
        assert_int_equal(a->heartbeat_ms, b->heartbeat_ms);
        assert_int_equal(a->hang_ms, b->hang_ms);
        assert_int_equal(a->hello_timeout_ms, b->hello_timeout_ms);
}

TEST(test_round_trip) {
        struct session_args parsed;
        struct session_argv argv;

        session_args_format(&sample, &argv);
        assert_null(argv.argv[SESSION_ARGC]);
        for (size_t i = 0; i < SESSION_ARGC; i++)
                assert_true(strlen(argv.argv[i]) < SESSION_ARG_MAX - 1);
        assert_int_equal(session_args_parse(SESSION_ARGC, argv.argv, &parsed), 0);
        assert_same(&parsed, &sample);
}

TEST(test_any_order) {
        struct session_args parsed;
        struct session_argv argv;

        session_args_format(&sample, &argv);
        for (size_t i = 1; i < SESSION_ARGC / 2; i++) {
                char *other = argv.argv[SESSION_ARGC - i];

                argv.argv[SESSION_ARGC - i] = argv.argv[i];
                argv.argv[i] = other;
        }
        assert_int_equal(session_args_parse(SESSION_ARGC, argv.argv, &parsed), 0);
        assert_same(&parsed, &sample);
}

TEST(test_missing) {
        struct session_args parsed;
        struct session_argv argv;

        for (size_t i = 1; i < SESSION_ARGC; i++) {
                session_args_format(&sample, &argv);
                argv.argv[i] = argv.argv[SESSION_ARGC - 1];
                assert_int_equal(session_args_parse(SESSION_ARGC - 1, argv.argv, &parsed), -EINVAL);
        }
        assert_int_equal(session_args_parse(1, argv.argv, &parsed), -EINVAL);
        assert_int_equal(session_args_parse(0, argv.argv, &parsed), -EINVAL);
}

TEST(test_twice) {
        struct session_args parsed;
        struct session_argv argv;

        for (size_t i = 1; i < SESSION_ARGC; i++) {
                char *more[SESSION_ARGC + 1];

                session_args_format(&sample, &argv);
                memcpy(more, argv.argv, SESSION_ARGC * sizeof *more);
                more[SESSION_ARGC] = more[i];
                assert_int_equal(session_args_parse(SESSION_ARGC + 1, more, &parsed), -EINVAL);
        }
}

TEST(test_junk) {
        static const char *const junk[] = {
                "", "-", "--", "--uid", "--uid=", "--uid=x", "--uid=1x", "--uid=-1", "--uid=+1", "--uid= 1", "--uid=0x10",
                "uid=1", "--uidx=1", "--ui=1", "--uid=18446744073709551616", "--unknown=1", "--uid==1", "--help",
        };
        struct session_args parsed;
        struct session_argv argv;

        for (size_t i = 0; i < ELEMENTSOF(junk); i++) {
                session_args_format(&sample, &argv);
                (void)snprintf(argv.text[3], SESSION_ARG_MAX, "%s", junk[i]);
                assert_int_equal(session_args_parse(SESSION_ARGC, argv.argv, &parsed), -EINVAL);
        }
}

/* A number that does not fit is not cut off to another one: uid 4294967296 is not root. */
TEST(test_too_large) {
        static const char *const names[] = {
                "client-pid", "uid", "gid", "client-uid", "client-gid", "registration-limit", "heartbeat-ms", "hang-ms",
                "hello-timeout-ms",
        };
        struct session_args parsed;
        struct session_argv argv;

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                for (size_t k = 1; k < SESSION_ARGC; k++) {
                        char start[SESSION_ARG_MAX];

                        session_args_format(&sample, &argv);
                        (void)snprintf(start, sizeof start, "--%s=", names[i]);
                        if (strncmp(argv.text[k], start, strlen(start)) != 0)
                                continue;
                        (void)snprintf(argv.text[k], SESSION_ARG_MAX, "--%s=4294967296", names[i]);
                        assert_int_equal(session_args_parse(SESSION_ARGC, argv.argv, &parsed), -EINVAL);
                }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_round_trip),
                CHECKED(test_any_order),
                CHECKED(test_missing),
                CHECKED(test_twice),
                CHECKED(test_junk),
                CHECKED(test_too_large),
        };

        return cmocka_run_group_tests_name("session-args", tests, NULL, NULL);
}
