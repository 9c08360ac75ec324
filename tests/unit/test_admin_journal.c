/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the journal has of what is found out while an administrator asks for something. */

#include "testing.h"

#include <stdio.h>
#include <string.h>

#include "journal.h"
#include "log.h"
#include "running.h"
#include "timer.h"
#include "wraps.h"

#define STATUS "{\"method\":\"status\"}"

#define LEDGER_LIES "171f5a4a357b4a52a52731cd020ad7f3"
#define POLICY_BROKEN "8aadcdd91ace4a95b9ad0510e4f0c485"
#define SESSIONS_LEFT "51555281b77849a0b6c1e974c3800f89"

/* Its timers run a hundred times as fast: nobody wants to wait for sessions that do not end. */
static bool hurries;

int __real_timer_start(
        sd_event *event, sd_event_source **source, uint64_t ms, sd_event_time_handler_t handler, void *userdata);
int __wrap_timer_start(
        sd_event *event, sd_event_source **source, uint64_t ms, sd_event_time_handler_t handler, void *userdata);
int __wrap_timer_start(
        sd_event *event, sd_event_source **source, uint64_t ms, sd_event_time_handler_t handler, void *userdata) {
        return __real_timer_start(event, source, hurries ? ms / 100 : ms, handler, userdata);
}

static void listen_to_log(void) {
        log_open("pinleased", journal.path);
}

/* folder: of its policy; NULL: the built-in one. */
static void begin_with(struct running *r, const char *folder) {
        journal_setup(NULL);
        running_setup(r);
        r->config.policy.folder = folder;
        r->prepare = listen_to_log;
        running_start(r);
}

static void begin(struct running *r) {
        begin_with(r, NULL);
}

static void end(struct running *r) {
        assert_int_equal(running_stop(r, SIGTERM), 0);
        running_teardown(r);
        journal_teardown(NULL);
}

/* The entry of this kind; there must be one. */
static void find(struct entry *e, const char *id, const char *priority) {
        do
                assert_true(journal_receive(e));
        while (strcmp(journal_field(e, "MESSAGE_ID"), id) != 0);
        expect_field(e, "PRIORITY", priority);
}

/* A registrar that has been taken over spoils what is read of it: that is said, and of whom, and the others are
 * counted. */
TEST(test_ledger_lies) {
        struct fake_keeper keepers[2];
        static struct entry e;
        struct running r;
        char pid[16];
        int fd;

        begin(&r);
        fd = admin_connect(&r);
        for (unsigned int i = 0; i < ELEMENTSOF(keepers); i++) {
                running_app(&r, geteuid(), keepers + i);
                keeper_fill(keepers + i, 3);
        }
        assert_int_equal(admin_ask_number(fd, STATUS, "in_use.registrations"), 6);
        assert_false(journal_has(LEDGER_LIES, "3"));
        keeper_command(keepers, FAKE_LIE, 0);
        (void)keeper_state(keepers);
        assert_int_equal(admin_ask_number(fd, STATUS, "in_use.registrations"), 3);
        find(&e, LEDGER_LIES, "3");
        (void)snprintf(pid, sizeof pid, "%d", (int)getpid());
        expect_field(&e, "PINLEASE_PID", pid);
        expect_field(&e, "PINLEASE_SESSION", "1");
        /* Once. */
        assert_int_equal(admin_ask_number(fd, STATUS, "in_use.registrations"), 3);
        assert_false(journal_has(LEDGER_LIES, "3"));
        for (unsigned int i = 0; i < ELEMENTSOF(keepers); i++)
                keeper_forget(keepers + i);
        pl_close(fd);
        end(&r);
}

/* The same, where nobody asks but a session whose file is about to be changed. */
TEST(test_ledger_lies_in_a_break) {
        const struct fake_keeper_command asks = {
                .what = FAKE_TELL,
                .message = { .type = CONTROL_BREAK,
                             .cookie = 5,
                             .value = 5000,
                             .device = 7,
                             .inode = 11,
                             .length = UINT64_MAX },
        };
        struct fake_keeper keepers[2];
        static struct entry e;
        struct running r;

        begin(&r);
        for (unsigned int i = 0; i < ELEMENTSOF(keepers); i++)
                running_app(&r, geteuid(), keepers + i);
        keeper_command(keepers, FAKE_LIE, 0);
        (void)keeper_state(keepers);
        keeper_say(keepers + 1, &asks);
        while (keeper_state(keepers).n_revoke == 0)
                ;
        find(&e, LEDGER_LIES, "3");
        expect_field(&e, "PINLEASE_SESSION", "1");
        for (unsigned int i = 0; i < ELEMENTSOF(keepers); i++)
                keeper_forget(keepers + i);
        end(&r);
}

/* Sessions that do not end, told or not: the drain is over all the same, and it is said how many are left. */
TEST(test_sessions_left) {
        struct fake_keeper keepers[2];
        struct json_object *answer;
        static struct entry e;
        struct running r;
        int fd;

        hurries = true;
        begin(&r);
        hurries = false;
        fd = admin_connect(&r);
        for (unsigned int i = 0; i < ELEMENTSOF(keepers); i++)
                running_app(&r, geteuid(), keepers + i);
        answer = admin_ask(fd, "{\"method\":\"drain\",\"parameters\":{\"grace_ms\":77}}", NULL);
        assert_int_equal(admin_number(answer, "sessions"), 2);
        assert_int_equal(admin_number(answer, "left"), 2);
        json_object_put(answer);
        find(&e, SESSIONS_LEFT, "4");
        expect_field(&e, "MESSAGE", "2 sessions have not ended in time");
        for (unsigned int i = 0; i < ELEMENTSOF(keepers); i++) {
                assert_int_equal(keeper_state(keepers + i).n_going_away, 1);
                keeper_forget(keepers + i);
        }
        pl_close(fd);
        end(&r);
}

static void write_policy(const char *path, const char *text) {
        FILE *f = fopen(path, "we");

        assert_non_null(f);
        (void)fputs(text, f);
        assert_int_equal(fclose(f), 0);
}

/* All that is wrong with it, each by itself, with its place. */
TEST(test_policy_broken) {
        char folder[] = "/tmp/pinlease-test-XXXXXX", path[64], message[512];
        static struct entry e;
        struct running r;
        int fd;

        assert_non_null(mkdtemp(folder));
        (void)snprintf(path, sizeof path, "%s/policy.json", folder);
        write_policy(path, "{\"version\": 1}");
        begin_with(&r, folder);
        fd = admin_connect(&r);
        admin_expect_code(fd, "{\"method\":\"reload\"}", "");
        assert_false(journal_has(POLICY_BROKEN, "3"));

        write_policy(path, "{\"version\": 1, \"first\": 1,\n \"second\": 2}");
        admin_expect_code(fd, "{\"method\":\"reload\"}", "policy");
        for (unsigned int line = 1; line <= 2; line++) {
                find(&e, POLICY_BROKEN, "3");
                (void)snprintf(message, sizeof message, "%s:%u:", path, line);
                assert_memory_equal(journal_field(&e, "MESSAGE"), message, strlen(message));
        }
        assert_false(journal_has(POLICY_BROKEN, "3"));
        pl_close(fd);
        end(&r);
        (void)unlink(path);
        assert_int_equal(rmdir(folder), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_ledger_lies),
                CHECKED(test_ledger_lies_in_a_break),
                CHECKED(test_sessions_left),
                CHECKED(test_policy_broken),
        };

        wraps_reset();
        return cmocka_run_group_tests_name("admin, journal", tests, NULL, NULL);
}
