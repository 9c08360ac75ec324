/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "running.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* What an administrator asks, and is answered. */

#define STATUS "{\"method\":\"status\"}"
#define LIST   "{\"method\":\"list\"}"

static void expect_hang_up(int fd) {
        uint32_t seq;
        uint16_t opcode;

        assert_null(admin_receive(fd, &opcode, &seq));
        pl_close(fd);
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
        keeper_fill(keepers, 3);
        keeper_fill(keepers + 1, 200);

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

        assert_int_equal(admin_ask_result(fd, "{\"method\":\"list\",\"parameters\":{\"id\":\"2\"}}", "registrations"), 200);
        assert_int_equal(admin_ask_result(fd, "{\"method\":\"list\",\"parameters\":{\"id\":\"2.7\"}}", "registrations"), 1);
        assert_int_equal(admin_ask_result(fd, "{\"method\":\"list\",\"parameters\":{\"device\":7,\"inode\":1001}}", "registrations"), 21);
        assert_int_equal(admin_ask_result(fd, "{\"method\":\"list\",\"parameters\":{\"device\":7,\"inode\":1009}}", "sessions"), 1);
        assert_int_equal(admin_ask_result(fd, "{\"method\":\"list\",\"parameters\":{\"uid\":4242}}", "sessions"), 0);
        (void)snprintf(text, sizeof text, "{\"method\":\"list\",\"parameters\":{\"pid\":%d}}", (int)getpid());
        assert_int_equal(admin_ask_result(fd, text, "sessions"), 2);
        admin_expect_code(fd, "{\"method\":\"list\",\"parameters\":{\"id\":\"3\"}}", "not-found");
        admin_expect_code(fd, "{\"method\":\"list\",\"parameters\":{\"id\":\"2.201\"}}", "not-found");
        admin_expect_code(fd, "{\"method\":\"no\"}", "bad-call");

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
        keeper_fill(&keeper, 20000);
        slow = admin_connect(&r);
        fd = admin_connect(&r);
        admin_send(slow, 5, LIST);
        for (unsigned int i = 0; i < 50; i++)
                assert_int_equal(admin_ask_number(fd, STATUS, "sessions"), 1);
        end = admin_receive_end(slow, 5, NULL);
        assert_int_equal(admin_number(end, "registrations"), 20000);
        json_object_put(end);

        /* The session ends in the middle of the list. */
        admin_send(slow, 6, LIST);
        for (unsigned int i = 0; i < 2; i++) /* itself, and a registration */
                json_object_put(admin_receive(slow, &opcode, &seq));
        keeper_forget(&keeper);
        while (admin_ask_number(fd, STATUS, "sessions") > 0)
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
        keeper_fill(&keeper, 10000);
        fds = testing_count_fds(r.pid);
        for (unsigned int i = 0; i < 40; i++) {
                fd = admin_connect(&r);
                admin_send(fd, 1, LIST);
                if (i % 4)
                        (void)testing_wait_fd(fd, POLLIN);
                pl_close(fd);
        }
        fd = admin_connect(&r);
        assert_int_equal(admin_ask_number(fd, STATUS, "sessions"), 1);
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
        keeper_fill(&keeper, 5000);
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
                assert_int_equal(admin_ask_number(fds[i], STATUS, "sessions"), 0);
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
        assert_int_equal(admin_ask_number(fd, STATUS, "sessions"), 0);
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
        assert_int_equal(admin_ask_number(fd, STATUS, "sessions"), 0);
        pl_close(fd);
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
                keeper_fill(keepers + i, 3);
        }
        for (unsigned int i = 0; i < ELEMENTSOF(keepers); i++) {
                keeper_forget(keepers + (i * 7) % ELEMENTSOF(keepers));
                n = admin_ask_number(fd, text, "registered.pinned");
                assert_in_range(n, last, 3 * ELEMENTSOF(keepers));
                last = n;
        }
        while (admin_ask_number(fd, text, "sessions") > 0)
                ;
        assert_int_equal(admin_ask_number(fd, text, "registered.pinned"), 3 * ELEMENTSOF(keepers));
        assert_int_equal(admin_ask_number(fd, text, "live.pinned.registrations"), 0);
        assert_int_equal(admin_ask_number(fd, text, "sessions_started"), ELEMENTSOF(keepers));
        pl_close(fd);
        assert_int_equal(running_stop(&r, SIGTERM), 0);
        running_teardown(&r);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_status_and_list),
                CHECKED(test_framing),
                CHECKED(test_slow_reader),
                CHECKED(test_hang_up),
                CHECKED(test_two_calls),
                CHECKED(test_too_many),
                CHECKED(test_not_permitted),
                CHECKED(test_metrics),
        };

        return cmocka_run_group_tests_name("admin", tests, NULL, NULL);
}
