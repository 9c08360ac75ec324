/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "running.h"

#define STATUS "{\"method\":\"status\"}"
#define LIST   "{\"method\":\"list\"}"

static void expect_code(int fd, const char *text, const char *code) {
        struct json_object *end = admin_ask(fd, text, NULL);

        assert_string_equal(admin_code(end), code);
        json_object_put(end);
}

/* One of the numbers of a method with one item. */
static int64_t ask_number(int fd, const char *text, const char *path) {
        struct json_object *items, *end = admin_ask(fd, text, &items);
        int64_t number = admin_number(json_object_array_get_idx(items, 0), path);

        assert_int_equal(json_object_array_length(items), 1);
        json_object_put(items);
        json_object_put(end);
        return number;
}

static int64_t ask_result(int fd, const char *text, const char *path) {
        struct json_object *end = admin_ask(fd, text, NULL);
        int64_t number = admin_number(end, path);

        json_object_put(end);
        return number;
}

static bool is_quiet(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLIN };

        return poll(&p, 1, 0) == 0;
}

static void expect_hang_up(int fd) {
        uint32_t seq;
        uint16_t opcode;

        assert_null(admin_receive(fd, &opcode, &seq));
        pl_close(fd);
}

static void fill(struct fake_keeper *keeper, uint32_t n) {
        keeper_command(keeper, FAKE_FILL, n);
        (void)keeper_state(keeper);
}

TEST(test_status_and_list) {
        struct json_object *items, *end, *item;
        struct fake_keeper keepers[2];
        struct running r;
        char text[128];
        int fd;

        running_setup(&r);
        running_start(&r);
        fd = admin_connect(&r);
        for (unsigned int i = 0; i < 2; i++)
                running_app(&r, geteuid(), keepers + i);
        fill(keepers, 3);
        fill(keepers + 1, 200);

        end = admin_ask(fd, STATUS, &items);
        item = json_object_array_get_idx(items, 0);
        assert_string_equal(admin_text(item, "state"), "serving");
        assert_int_equal(admin_number(item, "pid"), r.pid);
        assert_int_equal(admin_number(item, "sessions"), 2);
        assert_int_equal(admin_number(item, "resumed"), 0);
        assert_int_equal(admin_number(item, "in_use.registrations"), 203);
        assert_int_equal(admin_number(item, "in_use.pinned_bytes"), 203 * 4096);
        assert_int_equal(admin_number(item, "credit.pinned_bytes"), 2 << 20);
        assert_int_equal(admin_number(item, "limits.user.registrations"), 1 << 20);
        json_object_put(items);
        json_object_put(end);

        end = admin_ask(fd, LIST, &items);
        assert_int_equal(json_object_array_length(items), 205);
        assert_int_equal(admin_number(end, "sessions"), 2);
        assert_int_equal(admin_number(end, "registrations"), 203);
        assert_string_equal(admin_text(json_object_array_get_idx(items, 0), "type"), "session");
        assert_string_equal(admin_text(json_object_array_get_idx(items, 0), "id"), "1");
        assert_string_equal(admin_text(json_object_array_get_idx(items, 1), "id"), "1.1");
        assert_string_equal(admin_text(json_object_array_get_idx(items, 4), "type"), "session");
        assert_string_equal(admin_text(json_object_array_get_idx(items, 204), "id"), "2.200");
        json_object_put(items);
        json_object_put(end);

        assert_int_equal(ask_result(fd, "{\"method\":\"list\",\"parameters\":{\"id\":\"2\"}}", "registrations"), 200);
        assert_int_equal(ask_result(fd, "{\"method\":\"list\",\"parameters\":{\"id\":\"2.7\"}}", "registrations"), 1);
        assert_int_equal(ask_result(fd, "{\"method\":\"list\",\"parameters\":{\"device\":7,\"inode\":1001}}", "registrations"), 21);
        assert_int_equal(ask_result(fd, "{\"method\":\"list\",\"parameters\":{\"device\":7,\"inode\":1009}}", "sessions"), 1);
        assert_int_equal(ask_result(fd, "{\"method\":\"list\",\"parameters\":{\"uid\":4242}}", "sessions"), 0);
        (void)snprintf(text, sizeof text, "{\"method\":\"list\",\"parameters\":{\"pid\":%d}}", (int)getpid());
        assert_int_equal(ask_result(fd, text, "sessions"), 2);
        expect_code(fd, "{\"method\":\"list\",\"parameters\":{\"id\":\"3\"}}", "not-found");
        expect_code(fd, "{\"method\":\"list\",\"parameters\":{\"id\":\"2.201\"}}", "not-found");
        expect_code(fd, "{\"method\":\"no\"}", "bad-call");

        for (unsigned int i = 0; i < 2; i++)
                keeper_forget(keepers + i);
        pl_close(fd);
        assert_int_equal(running_stop(&r, SIGTERM), 0);
        running_teardown(&r);
}

/* Packets that are no calls: that is said, and the connection ended. */
TEST(test_framing) {
        enum { MAGIC, PROTOCOL, OPCODE, FLAGS, RESERVED, SEQ, LENGTH, LESS_LENGTH, SHORT, TOO_LARGE, N_HOWS };
        static char large[PL_ADMIN_MAX_PACKET + 1];
        struct running r;

        running_setup(&r);
        running_start(&r);
        for (unsigned int how = 0; how < N_HOWS; how++) {
                struct pl_header header = { .magic = PL_MAGIC, .version = PL_VERSION, .opcode = PL_ADMIN_CALL, .seq = 1 };
                int fd = admin_connect(&r);
                struct json_object *end;
                uint16_t opcode;
                uint32_t seq;
                size_t size;

                memcpy(large + sizeof header, STATUS, strlen(STATUS));
                size = sizeof header + strlen(STATUS);
                header.length = (uint32_t)size;
                header.magic += how == MAGIC;
                header.version = (uint16_t)(header.version + (how == PROTOCOL));
                if (how == OPCODE)
                        header.opcode = PL_ADMIN_ITEM;
                header.flags = how == FLAGS;
                header.reserved = how == RESERVED;
                header.seq = how != SEQ;
                header.length += how == LENGTH;
                header.length -= how == LESS_LENGTH;
                if (how == SHORT)
                        header.length = (uint32_t)(size = sizeof header - 1);
                if (how == TOO_LARGE)
                        header.length = (uint32_t)(size = sizeof large);
                memcpy(large, &header, sizeof header);
                assert_int_equal(send(fd, large, size, MSG_NOSIGNAL), size);
                end = admin_receive(fd, &opcode, &seq);
                assert_int_equal(opcode, PL_ADMIN_END);
                assert_int_equal(seq, 0);
                assert_string_equal(admin_code(end), "bad-call");
                json_object_put(end);
                expect_hang_up(fd);
        }
        assert_int_equal(running_stop(&r, SIGTERM), 0);
        running_teardown(&r);
}

/* A long list, which its reader does not read: others are served meanwhile, and it is all there when he does. */
TEST(test_slow_reader) {
        struct fake_keeper keeper;
        struct json_object *end;
        struct running r;
        uint16_t opcode;
        uint32_t seq;
        int slow, fd;

        running_setup(&r);
        running_start(&r);
        running_app(&r, geteuid(), &keeper);
        fill(&keeper, 20000);
        slow = admin_connect(&r);
        fd = admin_connect(&r);
        admin_send(slow, 5, LIST);
        for (unsigned int i = 0; i < 50; i++)
                assert_int_equal(ask_number(fd, STATUS, "sessions"), 1);
        end = admin_receive_end(slow, 5, NULL);
        assert_int_equal(admin_number(end, "registrations"), 20000);
        json_object_put(end);

        /* The session ends in the middle of the list. */
        admin_send(slow, 6, LIST);
        for (unsigned int i = 0; i < 2; i++) /* itself, and a registration */
                json_object_put(admin_receive(slow, &opcode, &seq));
        keeper_forget(&keeper);
        while (ask_number(fd, STATUS, "sessions") > 0)
                ;
        end = admin_receive_end(slow, 6, NULL);
        assert_in_range(admin_number(end, "registrations"), 1, 19999);
        json_object_put(end);
        pl_close(slow);
        pl_close(fd);
        assert_int_equal(running_stop(&r, SIGTERM), 0);
        running_teardown(&r);
}

TEST(test_hang_up) {
        struct fake_keeper keeper;
        unsigned int fds;
        struct running r;
        int fd;

        running_setup(&r);
        running_start(&r);
        running_app(&r, geteuid(), &keeper);
        fill(&keeper, 10000);
        fds = testing_count_fds(r.pid);
        for (unsigned int i = 0; i < 40; i++) {
                fd = admin_connect(&r);
                admin_send(fd, 1, LIST);
                if (i % 4)
                        (void)testing_wait_fd(fd, POLLIN);
                pl_close(fd);
        }
        fd = admin_connect(&r);
        assert_int_equal(ask_number(fd, STATUS, "sessions"), 1);
        pl_close(fd);
        for (uint64_t deadline = pl_now_ms() + TESTING_PATIENCE_MS; testing_count_fds(r.pid) > fds; (void)poll(NULL, 0, 10))
                assert_true(pl_now_ms() < deadline);
        keeper_forget(&keeper);
        assert_int_equal(running_stop(&r, SIGTERM), 0);
        running_teardown(&r);
}

/* Calls wait in line; each answer has its call's number. */
TEST(test_two_calls) {
        struct fake_keeper keeper;
        struct json_object *end;
        struct running r;
        int fd;

        running_setup(&r);
        running_start(&r);
        running_app(&r, geteuid(), &keeper);
        fill(&keeper, 5000);
        fd = admin_connect(&r);
        admin_send(fd, 9, LIST);
        admin_send(fd, 7, "{\"method\":\"nonsense\"}");
        admin_send(fd, UINT32_MAX, STATUS);
        end = admin_receive_end(fd, 9, NULL);
        assert_int_equal(admin_number(end, "registrations"), 5000);
        json_object_put(end);
        end = admin_receive_end(fd, 7, NULL);
        assert_string_equal(admin_code(end), "bad-call");
        json_object_put(end);
        end = admin_receive_end(fd, UINT32_MAX, NULL);
        assert_string_equal(admin_code(end), "");
        json_object_put(end);
        pl_close(fd);
        keeper_forget(&keeper);
        assert_int_equal(running_stop(&r, SIGTERM), 0);
        running_teardown(&r);
}

static void expect_turned_away(int fd, const char *code) {
        struct json_object *end;
        uint16_t opcode;
        uint32_t seq;

        end = admin_receive(fd, &opcode, &seq);
        assert_non_null(end);
        assert_int_equal(opcode, PL_ADMIN_END);
        assert_int_equal(seq, 0);
        assert_string_equal(admin_code(end), code);
        json_object_put(end);
        expect_hang_up(fd);
}

TEST(test_too_many) {
        int fds[ADMIN_MAX_CONNECTIONS], fd;
        struct running r;

        running_setup(&r);
        running_start(&r);
        for (unsigned int i = 0; i < ELEMENTSOF(fds); i++)
                fds[i] = admin_connect(&r);
        for (unsigned int i = 0; i < ELEMENTSOF(fds); i++)
                assert_int_equal(ask_number(fds[i], STATUS, "sessions"), 0);
        expect_turned_away(admin_connect(&r), "busy");
        pl_close(fds[0]);
        /* Its end is seen before, or it comes too early and is turned away once more. */
        for (;;) {
                struct json_object *end;
                uint16_t opcode;
                uint32_t seq;

                fd = admin_connect(&r);
                admin_send(fd, 1, STATUS);
                end = admin_receive(fd, &opcode, &seq);
                json_object_put(end);
                pl_close(fd);
                if (opcode == PL_ADMIN_ITEM)
                        break;
        }
        for (unsigned int i = 1; i < ELEMENTSOF(fds); i++)
                pl_close(fds[i]);
        assert_int_equal(running_stop(&r, SIGTERM), 0);
        running_teardown(&r);
}

TEST(test_not_permitted) {
        struct running r;
        int fd;

        if (geteuid() != 0)
                testing_skip("only root can be somebody else\n");
        running_setup(&r);
        r.config.admin_group = "daemon";
        running_start(&r);
        expect_turned_away(running_connect(r.admin, 1000, 1000), "not-permitted");
        fd = running_connect(r.admin, 1000, 1);
        assert_int_equal(ask_number(fd, STATUS, "sessions"), 0);
        pl_close(fd);
        /* However many: those who may are served. */
        for (unsigned int i = 0; i < 300; i++) {
                fd = running_connect(r.admin, 1000, 1000);
                if (i % 30 == 0)
                        expect_turned_away(fd, "not-permitted");
                else
                        pl_close(fd);
        }
        fd = admin_connect(&r);
        assert_int_equal(ask_number(fd, STATUS, "sessions"), 0);
        pl_close(fd);
        assert_int_equal(running_stop(&r, SIGTERM), 0);
        running_teardown(&r);
}

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
        expect_code(fd, of_user, "not-found");
        for (unsigned int i = 0; i < 3; i++) {
                running_app(&r, geteuid(), keepers + i);
                fill(keepers + i, 100);
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
        assert_int_equal(ask_number(other, STATUS, "sessions"), 3);
        assert_true(is_quiet(fd));
        report_revoked(keepers + 1, cookie, 1, 0, 0);
        end = admin_receive_end(fd, 1, NULL);
        assert_int_equal(admin_number(end, "released"), 1);
        assert_int_equal(admin_number(end, "sessions"), 1);
        assert_int_equal(admin_number(end, "forced") + admin_number(end, "kept") + admin_number(end, "lost"), 0);
        json_object_put(end);
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
        assert_true(is_quiet(fd));
        keeper_forget(keepers + 2);
        end = admin_receive_end(fd, 2, NULL);
        assert_int_equal(admin_number(end, "sessions"), 3);
        assert_int_equal(admin_number(end, "released"), 60);
        assert_int_equal(admin_number(end, "forced"), 139);
        assert_int_equal(admin_number(end, "kept"), 1);
        assert_int_equal(admin_number(end, "lost"), 1);
        json_object_put(end);

        /* The asker goes away. */
        admin_send(other, 4, "{\"method\":\"revoke\",\"parameters\":{\"id\":\"1\"}}");
        message = expect_revoke(keepers, 3);
        pl_close(other);
        assert_int_equal(ask_number(fd, STATUS, "sessions"), 2);
        report_revoked(keepers, message.cookie, 0, 0, 0);
        assert_int_equal(ask_number(fd, STATUS, "sessions"), 2);
        keeper_forget(keepers);
        keeper_forget(keepers + 1);
        pl_close(fd);
        assert_int_equal(running_stop(&r, SIGTERM), 0);
        running_teardown(&r);
}

/* A successor does not take answers to its predecessor's questions for its own. */
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
        expect_code(fd, "{\"method\":\"release\",\"parameters\":{\"device\":7}}", "not-found");
        for (unsigned int i = 0; i < 2; i++) {
                running_app(&r, geteuid(), keepers + i);
                fill(keepers + i, 100);
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
        assert_int_equal(ask_number(fd, STATUS, "resumed"), 1);
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
        assert_int_equal(ask_result(fd, "{\"method\":\"drain\"}", "sessions"), 0);
        assert_int_equal(ask_result(fd, "{\"method\":\"drain\"}", "left"), 0);
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
        expect_code(other, "{\"method\":\"undrain\"}", "busy");

        late.line = running_connect(r.client, geteuid(), 0);
        keeper_command(&late, FAKE_INTRODUCE, 0);
        keeper_forget(keepers);
        while (ask_number(other, STATUS, "sessions") > 1)
                ;
        assert_true(is_quiet(fd));
        keeper_forget(keepers + 1);
        end = admin_receive_end(fd, 1, NULL);
        assert_int_equal(admin_number(end, "sessions"), 2);
        assert_int_equal(admin_number(end, "left"), 0);
        json_object_put(end);
        assert_true(is_quiet(late.line));
        assert_int_equal(ask_number(other, STATUS, "sessions"), 0);

        expect_code(other, "{\"method\":\"undrain\"}", "");
        while (!keeper_state(&late).welcome)
                ;
        keeper_forget(&late);
        pl_close(fd);
        pl_close(other);
        assert_int_equal(running_stop(&r, SIGTERM), 0);
        running_teardown(&r);
}

/* Counters never go down, whenever sessions end. */
TEST(test_metrics) {
        static const char text[] = "{\"method\":\"metrics\"}";
        struct fake_keeper keepers[300];
        int64_t n, last = 0;
        struct running r;
        int fd;

        running_setup(&r);
        running_start(&r);
        fd = admin_connect(&r);
        for (unsigned int i = 0; i < ELEMENTSOF(keepers); i++) {
                running_app(&r, geteuid(), keepers + i);
                fill(keepers + i, 3);
        }
        for (unsigned int i = 0; i < ELEMENTSOF(keepers); i++) {
                keeper_forget(keepers + (i * 7) % ELEMENTSOF(keepers));
                n = ask_number(fd, text, "registered.pinned");
                assert_in_range(n, last, 3 * ELEMENTSOF(keepers));
                last = n;
        }
        while (ask_number(fd, text, "sessions") > 0)
                ;
        assert_int_equal(ask_number(fd, text, "registered.pinned"), 3 * ELEMENTSOF(keepers));
        assert_int_equal(ask_number(fd, text, "live.pinned.registrations"), 0);
        assert_int_equal(ask_number(fd, text, "sessions_started"), ELEMENTSOF(keepers));
        pl_close(fd);
        assert_int_equal(running_stop(&r, SIGTERM), 0);
        running_teardown(&r);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_status_and_list), CHECKED(test_framing),
                CHECKED(test_slow_reader),     CHECKED(test_hang_up),
                CHECKED(test_two_calls),       CHECKED(test_too_many),
                CHECKED(test_not_permitted),   CHECKED(test_revoke),
                CHECKED(test_release),         CHECKED(test_revoke_and_restart),
                CHECKED(test_drain),           CHECKED(test_metrics),
        };

        return cmocka_run_group_tests_name("admin", tests, NULL, NULL);
}
