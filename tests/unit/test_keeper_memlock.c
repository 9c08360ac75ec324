/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>

#include "policy-share.h"
#include "testing_policy.h"
#include "trio.h"

/* A keeper whose registrar wants the app's limit of locked memory raised. */

#define KIB UINT64_C(1024)

static const struct credit_amount initial = CREDIT_INITIAL;
static const struct times with_rule = { HEARTBEAT_MS, HANG_MS, false, NULL, true };

static void say(int control, uint32_t type, uint64_t bytes) {
        const struct control_message message = { .type = type, .length = bytes, .credit.pinned = bytes };

        if (control_send(control, &message, -1) < 0)
                _exit(40);
}

static uint32_t ask_raise(int control, uint64_t total) {
        uint32_t value;

        say(control, CONTROL_MEMLOCK_RAISE, total);
        if (listen_to_keeper(control, &value) != CONTROL_ACK)
                _exit(41);
        return value;
}

/* So much on top of its own. */
static bool app_may(uint64_t bytes) {
        return trio_ceiling->app_soft == TRIO_APP_LIMIT + bytes && trio_ceiling->app_hard == TRIO_APP_LIMIT + bytes;
}

static void raises(int control, int client) {
        (void)client;
        if (ask_raise(control, 256 * KIB) != 0 || !app_may(256 * KIB))
                _exit(42);
        /* The registrar may pin so much less. */
        if (trio_ceiling->soft != initial.pinned - 256 * KIB || trio_ceiling->hard != trio_ceiling->soft)
                _exit(43);
        /* No answer to this. */
        say(control, CONTROL_MEMLOCK_LOWER, 128 * KIB);
        say(control, CONTROL_MEMLOCK_LOWER, 200 * KIB);
        if (ask_raise(control, 100 * KIB) != 0 || !app_may(128 * KIB))
                _exit(44);
        if (ask_raise(control, initial.pinned) != 0 || !app_may(initial.pinned) || trio_ceiling->soft != 0)
                _exit(45);
        /* What is given back is not the app's any more. */
        say(control, CONTROL_RETURN, initial.pinned - 64 * KIB);
        if (ask_raise(control, 4 * KIB) != 0 || !app_may(64 * KIB))
                _exit(46);
        report('1');
}

TEST(test_raised) {
        struct trio t;

        trio_start_with(&t, raises, &with_rule, false);
        trio_wait_ready(&t);
        trio_expect_at_last(&t, '1');
        assert_int_equal(kill(t.registrar, SIGKILL), 0);
        assert_killed(trio_end(&t));
        assert_true(app_may(0));
}

/* A registrar that wants more than there is credit for has been taken over. */
static void wants_all(int control, int client) {
        (void)client;
        if (ask_raise(control, 4 * KIB) != 0)
                _exit(42);
        report('1');
        (void)ask_raise(control, initial.pinned + 1);
        _exit(47);
}

TEST(test_beyond_credit) {
        struct trio t;

        trio_start_with(&t, wants_all, &with_rule, false);
        trio_wait_ready(&t);
        trio_expect_at_last(&t, '1');
        assert_killed(trio_end(&t));
        assert_true(app_may(0));
        assert_true(trio_ceiling->app_most <= TRIO_APP_LIMIT + 4 * KIB);
}

/* Whatever it says: without the rule nothing is raised. */
static void wants_without_rule(int control, int client) {
        (void)client;
        if (ask_raise(control, 4 * KIB) != EACCES || ask_raise(control, 0) != EACCES ||
            ask_raise(control, initial.pinned) != EACCES)
                _exit(42);
        say(control, CONTROL_MEMLOCK_LOWER, 0);
        report('1');
}

TEST(test_without_rule) {
        struct trio t;

        trio_start(&t, wants_without_rule);
        trio_wait_ready(&t);
        trio_expect_at_last(&t, '1');
        assert_int_equal(kill(t.registrar, SIGKILL), 0);
        assert_killed(trio_end(&t));
        assert_int_equal(trio_ceiling->n_app, 0);
}

/* The policy changes, to one with the rule and back. */
static void follows_policy(int control, int client) {
        uint32_t value;

        (void)client;
        if (ask_raise(control, 4 * KIB) != EACCES)
                _exit(42);
        report('1');
        if (listen_to_keeper(control, &value) != CONTROL_POLICY || ask_raise(control, 4 * KIB) != 0)
                _exit(43);
        report('2');
        if (listen_to_keeper(control, &value) != CONTROL_POLICY || ask_raise(control, 8 * KIB) != EACCES ||
            !app_may(4 * KIB))
                _exit(44);
        say(control, CONTROL_MEMLOCK_LOWER, 0);
        if (ask_raise(control, 4 * KIB) != EACCES || !app_may(0))
                _exit(45);
        report('3');
}

static void send_policy(const struct trio *t, const char *text) {
        struct policy_block *policy = testing_policy_of(text);
        int fd = policy_share(policy);

        assert_true(fd >= 0);
        assert_int_equal(policy_pins_private(fd), policy->pins_private);
        assert_int_equal(control_send(t->supervisor, &(struct control_message) { .type = CONTROL_POLICY }, fd), 0);
        pl_close(fd);
        free(policy);
}

TEST(test_policy) {
        struct trio t;

        trio_start(&t, follows_policy);
        trio_wait_ready(&t);
        assert_int_equal(control_send(t.supervisor, &(struct control_message) { .type = CONTROL_WELCOME }, -1), 0);
        trio_expect_at_last(&t, '1');
        send_policy(&t,
                    "{\"version\": 1, \"rules\": [{\"match\": {\"backing\": [\"anon\", \"shmem\"]}, \"allow\": true, "
                    "\"methods\": [\"odp\", \"pinned\"]}]}");
        trio_expect_at_last(&t, '2');
        send_policy(&t, "{\"version\": 1, \"rules\": [{\"match\": {\"backing\": \"anon\"}, \"allow\": true}]}");
        trio_expect_at_last(&t, '3');
        assert_int_equal(kill(t.registrar, SIGKILL), 0);
        assert_killed(trio_end(&t));
        assert_true(app_may(0));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_raised),
                CHECKED(test_beyond_credit),
                CHECKED(test_without_rule),
                CHECKED(test_policy),
        };

        return cmocka_run_group_tests_name("keeper: the app's limit", tests, NULL, NULL);
}
