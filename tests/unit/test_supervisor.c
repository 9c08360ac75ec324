/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "codec.h"
#include "running.h"
#include "wire.h"

static void expect_hang_up(int fd) {
        char byte;

        (void)testing_wait_fd(fd, POLLIN);
        assert_true(recv(fd, &byte, 1, 0) <= 0);
}

/* The app is turned away with these words. */
static void expect_refusal(int fd, enum pinlease_code code) {
        struct pl_packet packet;

        (void)testing_wait_fd(fd, POLLIN);
        assert_true(recv(fd, &packet, sizeof packet, 0) > 0);
        assert_int_equal(packet.header.opcode, PL_OP_REFUSED);
        assert_int_equal(packet.body.refused.code, code);
        expect_hang_up(fd);
        pl_close(fd);
}

/* Not more descriptors than when it was idle; what was given away to be closed takes a moment. */
static void expect_fds(const struct running *r, unsigned int n) {
        for (uint64_t deadline = pl_now_ms() + TESTING_PATIENCE_MS; testing_count_fds(r->pid) > n;) {
                if (pl_now_ms() > deadline)
                        fail_msg("%u descriptors instead of %u", testing_count_fds(r->pid), n);
                (void)poll(NULL, 0, 10);
        }
}

static int64_t ask_status(const struct running *r, const char *path) {
        int fd = admin_connect(r);
        struct json_object *items, *end = admin_ask(fd, "{\"method\":\"status\"}", &items);
        int64_t number = admin_number(json_object_array_get_idx(items, 0), path);

        json_object_put(items);
        json_object_put(end);
        pl_close(fd);
        return number;
}

/* The process of the so manieth session's keeper. */
static pid_t ask_keeper(const struct running *r, unsigned int index) {
        int fd = admin_connect(r);
        struct json_object *items, *end = admin_ask(fd, "{\"method\":\"list\"}", &items);
        pid_t pid = (pid_t)admin_number(json_object_array_get_idx(items, index), "keeper_pid");

        json_object_put(items);
        json_object_put(end);
        pl_close(fd);
        return pid;
}

static void wait_status(const struct running *r, const char *path, int64_t number) {
        for (uint64_t deadline = pl_now_ms() + TESTING_PATIENCE_MS; ask_status(r, path) != number;)
                if (pl_now_ms() > deadline)
                        fail_msg("%s is not %d", path, (int)number);
}

TEST(test_sessions) {
        struct fake_keeper keepers[20];
        unsigned int fds = 0;
        struct running r;

        running_setup(&r);
        running_start(&r);
        wait_status(&r, "sessions", 0);
        for (unsigned int round = 0; round < 3; round++) {
                for (unsigned int i = 0; i < ELEMENTSOF(keepers); i++)
                        running_app(&r, geteuid(), keepers + i);
                assert_int_equal(ask_status(&r, "sessions"), ELEMENTSOF(keepers));
                for (unsigned int i = 0; i < ELEMENTSOF(keepers); i++)
                        keeper_forget(keepers + i);
                wait_status(&r, "sessions", 0);
                if (round == 0)
                        fds = testing_count_fds(r.pid);
        }
        expect_fds(&r, fds);
        assert_int_equal(running_stop(&r, SIGTERM), 0);
        running_teardown(&r);
}

/* Connections that say nothing cost a little, are limited, and end; those that are turned away, too. */
TEST(test_silent) {
        struct fake_keeper keeper;
        unsigned int n_refused = 0, fds;
        int silent[1000];
        struct running r;

        running_setup(&r);
        r.config.sessions.hello_timeout_ms = 3000;
        running_start(&r);
        running_app(&r, geteuid(), &keeper);
        keeper_forget(&keeper);
        wait_status(&r, "sessions", 0);
        fds = testing_count_fds(r.pid);
        for (unsigned int i = 0; i < ELEMENTSOF(silent); i++)
                silent[i] = running_connect(r.client, geteuid(), 0);
        for (unsigned int i = 64; i < ELEMENTSOF(silent); i++) {
                expect_refusal(silent[i], PINLEASE_CODE_SESSION_LIMIT);
                n_refused++;
        }
        assert_int_equal(n_refused, ELEMENTSOF(silent) - 64);
        assert_true(ask_status(&r, "silent") <= 64);

        /* One speaks. */
        keeper.line = silent[0];
        keeper_command(&keeper, FAKE_INTRODUCE, 0);
        while (!keeper_state(&keeper).welcome)
                ;
        for (unsigned int i = 1; i < 64; i++) {
                expect_hang_up(silent[i]);
                pl_close(silent[i]);
        }
        wait_status(&r, "silent", 0);
        keeper_forget(&keeper);
        expect_fds(&r, fds);
        assert_int_equal(running_stop(&r, SIGTERM), 0);
        running_teardown(&r);
}

TEST(test_limits) {
        struct fake_keeper keepers[3];
        struct running r;

        if (geteuid() != 0)
                testing_skip("only root can be several users\n");
        running_setup(&r);
        r.base.limits.user_sessions = 2;
        r.base.limits.total_sessions = 3;
        running_start(&r);
        running_app(&r, 1000, keepers);
        running_app(&r, 1000, keepers + 1);
        expect_refusal(running_connect(r.client, 1000, 1000), PINLEASE_CODE_SESSION_LIMIT);
        running_app(&r, 1001, keepers + 2);
        expect_refusal(running_connect(r.client, 1002, 1002), PINLEASE_CODE_NO_RESOURCES);
        for (unsigned int i = 0; i < 3; i++)
                keeper_forget(keepers + i);
        wait_status(&r, "sessions", 0);
        running_app(&r, 1002, keepers);
        keeper_forget(keepers);
        assert_int_equal(running_stop(&r, SIGTERM), 0);
        running_teardown(&r);
}

/* All at once, of one user, who has only so many in the making at a time. */
TEST(test_burst) {
        struct fake_keeper keepers[60];
        struct running r;

        running_setup(&r);
        running_start(&r);
        for (unsigned int i = 0; i < ELEMENTSOF(keepers); i++) {
                keepers[i].line = running_connect(r.client, geteuid(), 0);
                keeper_command(keepers + i, FAKE_INTRODUCE, 0);
        }
        for (unsigned int i = 0; i < ELEMENTSOF(keepers); i++)
                while (!keeper_state(keepers + i).welcome)
                        ;
        assert_int_equal(ask_status(&r, "sessions"), ELEMENTSOF(keepers));
        for (unsigned int i = 0; i < ELEMENTSOF(keepers); i++)
                keeper_forget(keepers + i);
        wait_status(&r, "sessions", 0);
        assert_int_equal(running_stop(&r, SIGTERM), 0);
        running_teardown(&r);
}

/* Who asks for what it cannot have, without end, does not keep others out. */
TEST(test_flood) {
        struct fake_keeper keepers[4], other;
        struct running r;
        pid_t flood;

        running_setup(&r);
        r.base.limits.user = (struct credit_amount) { 0 };
        running_start(&r);
        for (unsigned int i = 0; i < ELEMENTSOF(keepers); i++)
                running_app(&r, geteuid(), keepers + i);
        flood = testing_fork();
        if (flood == 0)
                for (;;)
                        for (unsigned int i = 0; i < ELEMENTSOF(keepers); i++)
                                keeper_amount(keepers + i, FAKE_WANT, &(const struct credit_amount) { 1, 1, 1 });
        for (unsigned int i = 0; i < 20; i++) {
                running_app(&r, geteuid(), &other);
                keeper_forget(&other);
        }
        (void)ask_status(&r, "sessions");
        assert_int_equal(kill(flood, SIGKILL), 0);
        (void)testing_wait_child(flood);
        for (unsigned int i = 0; i < ELEMENTSOF(keepers); i++)
                keeper_forget(keepers + i);
        assert_int_equal(running_stop(&r, SIGTERM), 0);
        running_teardown(&r);
}

/* A successor, after whatever end: what there was goes on, the rest waits. */
TEST(test_restart) {
        static const int signals[] = { SIGTERM, SIGKILL };

        for (unsigned int i = 0; i < ELEMENTSOF(signals); i++) {
                struct fake_keeper keepers[5];
                struct running r;

                running_setup(&r);
                running_start(&r);
                for (unsigned int k = 0; k < 4; k++)
                        running_app(&r, geteuid(), keepers + k);
                (void)running_stop(&r, signals[i]);
                keepers[4].line = running_connect(r.client, geteuid(), 0);
                keeper_command(keepers + 4, FAKE_INTRODUCE, 0);
                running_start(&r);
                while (!keeper_state(keepers + 4).welcome)
                        ;
                assert_int_equal(keeper_state(keepers + 4).session, 5);
                assert_int_equal(ask_status(&r, "sessions"), 5);
                assert_int_equal(ask_status(&r, "resumed"), 4);
                assert_int_equal(ask_status(&r, "credit.pinned_bytes"), 5 << 20);
                for (unsigned int k = 0; k < 5; k++)
                        keeper_forget(keepers + k);
                wait_status(&r, "sessions", 0);
                assert_int_equal(running_stop(&r, SIGTERM), 0);
                running_teardown(&r);
        }
}

/* SIGINT: all sessions end, and then it does. */
TEST(test_end) {
        struct fake_keeper keepers[3];
        struct running r;
        int late;

        running_setup(&r);
        running_start(&r);
        for (unsigned int i = 0; i < 3; i++)
                running_app(&r, geteuid(), keepers + i);
        assert_int_equal(kill(r.pid, SIGINT), 0);
        running_expect_notice(&r, 'S');
        for (unsigned int i = 0; i < 3; i++) {
                while (keeper_state(keepers + i).n_going_away == 0)
                        ;
                assert_int_equal(keeper_state(keepers + i).going_away.value, 3000);
        }
        late = running_connect(r.client, geteuid(), 0);
        for (unsigned int i = 0; i < 3; i++)
                keeper_forget(keepers + i);
        assert_int_equal(testing_wait_child(r.pid), 0);
        assert_true(running_is_quiet(late));
        pl_close(late);
        running_teardown(&r);
}

/* The same, while a keeper of the predecessor is still to come. */
TEST(test_end_while_settling) {
        struct fake_keeper keepers[2];
        pid_t keeper_pid;
        struct running r;

        running_setup(&r);
        running_start(&r);
        running_app(&r, geteuid(), keepers);
        running_app(&r, geteuid(), keepers + 1);
        keeper_pid = ask_keeper(&r, 1);
        /* First the keeper: it must not come before it is wanted to. */
        assert_int_equal(kill(keeper_pid, SIGSTOP), 0);
        (void)running_stop(&r, SIGKILL);
        running_begin(&r);
        while (!keeper_state(keepers).welcome)
                ;
        assert_int_equal(kill(r.pid, SIGINT), 0);
        running_expect_notice(&r, 'S');
        assert_int_equal(keeper_state(keepers).n_going_away, 0);
        assert_int_equal(kill(keeper_pid, SIGCONT), 0);
        for (unsigned int i = 0; i < 2; i++) {
                while (keeper_state(keepers + i).n_going_away == 0)
                        ;
                keeper_forget(keepers + i);
        }
        /* Before any time is over. */
        assert_int_equal(testing_wait_child(r.pid), 0);
        running_teardown(&r);
}

/* SIGHUP: the service manager hears when it has been dealt with; sessions go on. */
TEST(test_reload) {
        struct fake_keeper keeper;
        struct running r;

        running_setup(&r);
        running_start(&r);
        running_app(&r, geteuid(), &keeper);
        for (unsigned int i = 0; i < 3; i++) {
                assert_int_equal(kill(r.pid, SIGHUP), 0);
                running_expect_notice(&r, 'R');
                assert_int_equal(ask_status(&r, "sessions"), 1);
        }
        assert_int_equal(keeper_state(&keeper).n_going_away, 0);
        keeper_forget(&keeper);
        wait_status(&r, "sessions", 0);
        assert_int_equal(running_stop(&r, SIGTERM), 0);
        running_teardown(&r);
}

static void write_policy(const char *path, const char *text) {
        FILE *f = fopen(path, "we");

        assert_non_null(f);
        (void)fputs(text, f);
        assert_int_equal(fclose(f), 0);
}

/* What is wrong changes nothing, what is right gets to every session, and to those of a former pinleased. */
TEST(test_policy) {
        char folder[] = "/tmp/pinlease-test-XXXXXX", path[64];
        struct fake_keeper keepers[2];
        struct running r;
        int admin;

        assert_non_null(mkdtemp(folder));
        (void)snprintf(path, sizeof path, "%s/policy.json", folder);
        write_policy(path, "{\"version\": 1, \"limits\": {\"user\": {\"sessions\": 1}}}");
        running_setup(&r);
        r.config.policy.folder = folder;
        running_start(&r);
        running_app(&r, geteuid(), keepers);

        write_policy(path, "{\"version\": 1, \"limits\": {\"user\": {\"sessions\": 2}}");
        assert_int_equal(kill(r.pid, SIGHUP), 0);
        running_expect_notice(&r, 'R');
        admin = admin_connect(&r);
        admin_expect_code(admin, "{\"method\":\"reload\"}", "policy");
        assert_int_equal(ask_status(&r, "limits.sessions_per_user"), 1);
        assert_int_equal(keeper_state(keepers).n_policy, 0);

        write_policy(path,
                     "{\"version\": 1, \"limits\": {\"user\": {\"sessions\": 2}, \"total\": {\"pinned\": \"9G\", "
                     "\"registrations\": 77}}, \"rules\": [{\"match\": {\"uid\": 7}, \"allow\": false}]}");
        assert_int_equal(kill(r.pid, SIGHUP), 0);
        running_expect_notice(&r, 'R');
        assert_int_equal(ask_status(&r, "limits.sessions_per_user"), 2);
        assert_int_equal(ask_status(&r, "limits.total.pinned_bytes"), UINT64_C(9) << 30);
        assert_int_equal(ask_status(&r, "limits.total.registrations"), 77);
        while (keeper_state(keepers).n_policy == 0)
                ;
        assert_int_equal(keeper_state(keepers).policy_rules, 1 + 8 /* built in */);
        admin_expect_code(admin, "{\"method\":\"reload\"}", "");
        while (keeper_state(keepers).n_policy == 1)
                ;
        pl_close(admin);
        /* Started with it. */
        running_app(&r, geteuid(), keepers + 1);
        assert_int_equal(keeper_state(keepers + 1).n_policy, 0);

        (void)running_stop(&r, SIGKILL);
        running_start(&r);
        for (unsigned int i = 0; i < 2; i++) {
                while (keeper_state(keepers + i).n_policy == (i == 0 ? 2 : 0))
                        ;
                assert_int_equal(keeper_state(keepers + i).policy_rules, 1 + 8 /* built in */);
                keeper_forget(keepers + i);
        }
        wait_status(&r, "sessions", 0);
        assert_int_equal(running_stop(&r, SIGTERM), 0);

        /* With a policy that is wrong it does not start: a rule that is missing would allow what was refused. */
        write_policy(path, "{\"version\": 2}");
        running_begin(&r);
        assert_int_not_equal(testing_wait_child(r.pid), 0);
        (void)unlink(path);
        assert_int_equal(rmdir(folder), 0);
        running_teardown(&r);
}

/* Who is told to look again before it is ready is not ready by that. */
TEST(test_reload_while_settling) {
        struct fake_keeper keeper;
        sigset_t both, before;
        pid_t keeper_pid;
        struct running r;
        char notice = 0;

        running_setup(&r);
        running_start(&r);
        running_app(&r, geteuid(), &keeper);
        keeper_pid = ask_keeper(&r, 0);
        assert_int_equal(kill(keeper_pid, SIGSTOP), 0);
        (void)running_stop(&r, SIGKILL);
        /* Both wait until it looks; the kernel hands out the lower number first. */
        (void)sigemptyset(&both);
        (void)sigaddset(&both, SIGHUP);
        (void)sigaddset(&both, SIGINT);
        assert_int_equal(sigprocmask(SIG_BLOCK, &both, &before), 0);
        running_begin(&r);
        assert_int_equal(kill(r.pid, SIGHUP), 0);
        assert_int_equal(kill(r.pid, SIGINT), 0);
        assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
        (void)testing_wait_fd(r.notices, POLLIN);
        assert_int_equal(read(r.notices, &notice, 1), 1);
        assert_int_equal(notice, 'S');
        assert_int_equal(kill(keeper_pid, SIGCONT), 0);
        while (keeper_state(&keeper).n_going_away == 0)
                ;
        keeper_forget(&keeper);
        assert_int_equal(testing_wait_child(r.pid), 0);
        running_teardown(&r);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_sessions),
                CHECKED(test_silent),
                CHECKED(test_limits),
                CHECKED(test_burst),
                CHECKED(test_flood),
                CHECKED(test_restart),
                CHECKED(test_end),
                CHECKED(test_end_while_settling),
                CHECKED(test_reload), CHECKED(test_policy),
                CHECKED(test_reload_while_settling),
        };

        return cmocka_run_group_tests_name("supervisor", tests, NULL, NULL);
}
