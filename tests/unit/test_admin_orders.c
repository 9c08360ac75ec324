/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "running.h"

#include <signal.h>
#include <stdio.h>

/* What an administrator has sessions do. */

#define STATUS "{\"method\":\"status\"}"
#define LIST   "{\"method\":\"list\"}"

static void report_revoked(const struct fake_keeper *keeper, uint64_t cookie, uint32_t released, uint32_t forced, uint32_t kept) {
        const struct fake_keeper_command command = {
                .what = FAKE_TELL,
                .message = { .type = CONTROL_REVOKED, .cookie = cookie, .counts = { released, forced, kept } },
        };

        keeper_say(keeper, &command);
}

static struct control_message expect_revoke(const struct fake_keeper *keeper, unsigned int n) {
        struct fake_keeper_state state;

        do
                state = keeper_state(keeper);
        while (state.n_revoke < n);
        assert_int_equal(state.n_revoke, n);
        return state.revoke;
}

static void expect_answer(int fd, uint32_t seq, const int64_t *numbers) {
        static const char *const names[] = { "sessions", "released", "forced", "kept", "lost" };
        struct json_object *end = admin_receive_end(fd, seq, NULL);

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                assert_int_equal(admin_number(end, names[i]), numbers[i]);
        json_object_put(end);
}

TEST(test_revoke) {
        struct fake_keeper keepers[3];
        struct control_message message;
        struct json_object *end;
        uint64_t cookie;
        struct running r;
        char of_user[64];
        int fd, other;

        running_setup(&r);
        running_start(&r);
        fd = admin_connect(&r);
        other = admin_connect(&r);
        (void)snprintf(of_user, sizeof of_user, "{\"method\":\"revoke\",\"parameters\":{\"uid\":%u}}", (unsigned int)geteuid());
        admin_expect_code(fd, of_user, "not-found");
        for (unsigned int i = 0; i < 3; i++) {
                running_app(&r, geteuid(), keepers + i);
                keeper_fill(keepers + i, 100);
        }

        /* One registration. */
        admin_send(fd, 1, "{\"method\":\"revoke\",\"parameters\":{\"id\":\"2.70\",\"grace_ms\":10}}");
        message = expect_revoke(keepers + 1, 1);
        assert_int_equal(message.selector, CONTROL_SELECT_ID);
        assert_int_equal(message.id, (UINT64_C(70) << 32) + 69);
        assert_int_equal(message.value, 10);
        cookie = message.cookie;
        /* Answers to something else, or of somebody else, are none. */
        report_revoked(keepers + 1, cookie + 100, 50, 50, 50);
        report_revoked(keepers, cookie, 50, 50, 50);
        assert_int_equal(admin_ask_number(other, STATUS, "sessions"), 3);
        assert_true(running_is_quiet(fd));
        report_revoked(keepers + 1, cookie, 1, 0, 0);
        expect_answer(fd, 1, (const int64_t[]) { 1, 1, 0, 0, 0 });
        report_revoked(keepers + 1, cookie, 1, 0, 0);

        /* All of a user's: one lets go, one is forced, one ends meanwhile. Two at once. */
        admin_send(fd, 2, of_user);
        for (unsigned int i = 0; i < 3; i++) {
                message = expect_revoke(keepers + i, i == 1 ? 2 : 1);
                assert_int_equal(message.selector, CONTROL_SELECT_ALL);
                cookie = message.cookie;
        }
        admin_send(other, 3, "{\"method\":\"revoke\",\"parameters\":{\"device\":7,\"inode\":1001}}");
        for (unsigned int i = 0; i < 3; i++) {
                message = expect_revoke(keepers + i, i == 1 ? 3 : 2);
                assert_int_equal(message.selector, CONTROL_SELECT_FILE);
                assert_int_equal(message.inode, 1001);
                report_revoked(keepers + i, message.cookie, 0, 0, 0);
                assert_int_equal(message.value, 3000);
        }
        end = admin_receive_end(other, 3, NULL);
        assert_string_equal(admin_code(end), "not-found");
        json_object_put(end);
        report_revoked(keepers, cookie, 60, 40, 0);
        report_revoked(keepers + 1, cookie, 0, 99, 1);
        assert_true(running_is_quiet(fd));
        keeper_forget(keepers + 2);
        expect_answer(fd, 2, (const int64_t[]) { 3, 60, 139, 1, 1 });

        /* The asker goes away. */
        admin_send(other, 4, "{\"method\":\"revoke\",\"parameters\":{\"id\":\"1\"}}");
        message = expect_revoke(keepers, 3);
        pl_close(other);
        assert_int_equal(admin_ask_number(fd, STATUS, "sessions"), 2);
        report_revoked(keepers, message.cookie, 0, 0, 0);
        assert_int_equal(admin_ask_number(fd, STATUS, "sessions"), 2);
        keeper_forget(keepers);
        keeper_forget(keepers + 1);
        pl_close(fd);
        assert_int_equal(running_stop(&r, SIGTERM), 0);
        running_teardown(&r);
}

/* Of one file system, in whatever session. */
TEST(test_release) {
        struct fake_keeper keepers[2];
        struct control_message message;
        struct json_object *end;
        struct running r;
        int fd;

        running_setup(&r);
        running_start(&r);
        fd = admin_connect(&r);
        admin_expect_code(fd, "{\"method\":\"release\",\"parameters\":{\"device\":7}}", "not-found");
        for (unsigned int i = 0; i < 2; i++) {
                running_app(&r, geteuid(), keepers + i);
                keeper_fill(keepers + i, 100);
        }
        admin_send(fd, 1, "{\"method\":\"release\",\"parameters\":{\"device\":7,\"grace_ms\":10}}");
        for (unsigned int i = 0; i < 2; i++) {
                message = expect_revoke(keepers + i, 1);
                assert_int_equal(message.selector, CONTROL_SELECT_DEVICE);
                assert_int_equal(message.reason, PL_REVOKED_BY_ADMINISTRATOR);
                assert_int_equal(message.device, 7);
                assert_int_equal(message.value, 10);
                report_revoked(keepers + i, message.cookie, 60, 39 + i, 1 - i);
        }
        end = admin_receive_end(fd, 1, NULL);
        assert_int_equal(admin_number(end, "sessions"), 2);
        assert_int_equal(admin_number(end, "released"), 120);
        assert_int_equal(admin_number(end, "forced"), 79);
        assert_int_equal(admin_number(end, "kept"), 1);
        assert_int_equal(admin_number(end, "lost"), 0);
        json_object_put(end);

        /* Of a file: all of it. */
        admin_send(fd, 2, "{\"method\":\"revoke\",\"parameters\":{\"device\":7,\"inode\":1001,\"grace_ms\":10}}");
        for (unsigned int i = 0; i < 2; i++) {
                message = expect_revoke(keepers + i, 2);
                assert_int_equal(message.selector, CONTROL_SELECT_FILE);
                assert_int_equal(message.reason, PL_REVOKED_BY_ADMINISTRATOR);
                assert_int_equal(message.offset, 0);
                assert_int_equal(message.length, UINT64_MAX);
                report_revoked(keepers + i, message.cookie, 1, 0, 0);
        }
        json_object_put(admin_receive_end(fd, 2, NULL));

        /* Another one: they are asked, for something may be in the making, and have nothing. */
        admin_send(fd, 3, "{\"method\":\"release\",\"parameters\":{\"device\":8,\"grace_ms\":10}}");
        for (unsigned int i = 0; i < 2; i++)
                report_revoked(keepers + i, expect_revoke(keepers + i, 3).cookie, 0, 0, 0);
        end = admin_receive_end(fd, 3, NULL);
        assert_string_equal(admin_code(end), "not-found");
        json_object_put(end);

        for (unsigned int i = 0; i < 2; i++)
                keeper_forget(keepers + i);
        pl_close(fd);
        assert_int_equal(running_stop(&r, SIGINT), 0);
        running_teardown(&r);
}

/* A successor does not take answers to its predecessor's questions for its own. */
TEST(test_revoke_and_restart) {
        struct fake_keeper keeper;
        struct control_message before, after;
        struct json_object *end;
        struct running r;
        int fd;

        running_setup(&r);
        running_start(&r);
        running_app(&r, geteuid(), &keeper);
        fd = admin_connect(&r);
        admin_send(fd, 1, "{\"method\":\"revoke\",\"parameters\":{\"id\":\"1\"}}");
        before = expect_revoke(&keeper, 1);
        (void)running_stop(&r, SIGKILL);
        pl_close(fd);
        running_start(&r);
        fd = admin_connect(&r);
        assert_int_equal(admin_ask_number(fd, STATUS, "resumed"), 1);
        admin_send(fd, 1, "{\"method\":\"revoke\",\"parameters\":{\"id\":\"1\"}}");
        after = expect_revoke(&keeper, 2);
        assert_int_not_equal(before.cookie, after.cookie);
        report_revoked(&keeper, before.cookie, 5, 0, 0);
        report_revoked(&keeper, after.cookie, 6, 0, 0);
        end = admin_receive_end(fd, 1, NULL);
        assert_int_equal(admin_number(end, "released"), 6);
        json_object_put(end);
        keeper_forget(&keeper);
        pl_close(fd);
        assert_int_equal(running_stop(&r, SIGTERM), 0);
        running_teardown(&r);
}

TEST(test_drain) {
        struct fake_keeper keepers[2], late;
        struct json_object *end, *items;
        struct running r;
        int fd, other;

        running_setup(&r);
        running_start(&r);
        fd = admin_connect(&r);
        other = admin_connect(&r);
        assert_int_equal(admin_ask_result(fd, "{\"method\":\"drain\"}", "sessions"), 0);
        assert_int_equal(admin_ask_result(fd, "{\"method\":\"drain\"}", "left"), 0);
        end = admin_ask(fd, "{\"method\":\"undrain\"}", NULL);
        assert_string_equal(admin_code(end), "");
        json_object_put(end);

        for (unsigned int i = 0; i < 2; i++)
                running_app(&r, geteuid(), keepers + i);
        admin_send(fd, 1, "{\"method\":\"drain\",\"parameters\":{\"grace_ms\":77}}");
        for (unsigned int i = 0; i < 2; i++) {
                while (keeper_state(keepers + i).n_going_away == 0)
                        ;
                assert_int_equal(keeper_state(keepers + i).going_away.value, 77);
        }
        end = admin_ask(other, STATUS, &items);
        assert_string_equal(admin_text(json_object_array_get_idx(items, 0), "state"), "draining");
        json_object_put(items);
        json_object_put(end);
        end = admin_ask(other, LIST, &items);
        assert_string_equal(admin_text(json_object_array_get_idx(items, 0), "state"), "ending");
        json_object_put(items);
        json_object_put(end);
        admin_expect_code(other, "{\"method\":\"undrain\"}", "busy");

        late.line = running_connect(r.client, geteuid(), 0);
        keeper_command(&late, FAKE_INTRODUCE, 0);
        keeper_forget(keepers);
        while (admin_ask_number(other, STATUS, "sessions") > 1)
                ;
        assert_true(running_is_quiet(fd));
        keeper_forget(keepers + 1);
        end = admin_receive_end(fd, 1, NULL);
        assert_int_equal(admin_number(end, "sessions"), 2);
        assert_int_equal(admin_number(end, "left"), 0);
        json_object_put(end);
        assert_true(running_is_quiet(late.line));
        assert_int_equal(admin_ask_number(other, STATUS, "sessions"), 0);

        admin_expect_code(other, "{\"method\":\"undrain\"}", "");
        while (!keeper_state(&late).welcome)
                ;
        keeper_forget(&late);
        pl_close(fd);
        pl_close(other);
        assert_int_equal(running_stop(&r, SIGTERM), 0);
        running_teardown(&r);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_revoke),
                CHECKED(test_release),
                CHECKED(test_revoke_and_restart),
                CHECKED(test_drain),
        };

        return cmocka_run_group_tests_name("admin, orders", tests, NULL, NULL);
}
