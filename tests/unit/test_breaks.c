/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <string.h>

#include "log-limit.h"
#include "service.h"

/* The service, and sessions that are fake_keeper's: what one asks for, the others are told, and what they answer it
 * hears. */

#define MIB UINT64_C(0x100000)

enum { ALICE = 1000, BOB = 2000 };

static const struct control_message whole = { .device = 7, .inode = 11, .length = UINT64_MAX };

/* Registration `index` is of the file `inode`, which belongs to `owner`. */
static void registers(const struct fake_keeper *keeper,
                      uint32_t index,
                      uint64_t inode,
                      uid_t owner,
                      uint64_t offset,
                      uint64_t length) {
        keeper_say(keeper,
                   &(const struct fake_keeper_command) {
                           .what = FAKE_REGISTER,
                           .value = index,
                           .message = { .device = 7, .inode = inode, .id = owner, .offset = offset, .length = length },
                   });
        (void)keeper_state(keeper);
}

static void asks(const struct fake_keeper *keeper, uint64_t cookie, uint32_t ms, const struct control_message *what) {
        struct fake_keeper_command command = { .what = FAKE_TELL, .message = *what };

        command.message.type = CONTROL_BREAK;
        command.message.cookie = cookie;
        command.message.value = ms;
        keeper_say(keeper, &command);
        (void)keeper_state(keeper);
}

static void answers(const struct fake_keeper *keeper, uint64_t cookie, int error, uint32_t kept) {
        keeper_say(keeper,
                   &(const struct fake_keeper_command) {
                           .what = FAKE_TELL,
                           .message = { .type = CONTROL_REVOKED,
                                        .cookie = cookie,
                                        .value = (uint32_t)error,
                                        .counts = { 1, 0, kept } },
                   });
        (void)keeper_state(keeper);
}

/* Gives back what it has been told to. */
static void gives_back(const struct fake_keeper *keeper) {
        answers(keeper, keeper_state(keeper).revoke.cookie, 0, 0);
}

static void await_revoke(struct service *s, const struct fake_keeper *keeper, unsigned int n) {
        service_run_until(s, keeper_state(keeper).n_revoke >= n);
        assert_int_equal(keeper_state(keeper).n_revoke, n);
}

static void await_over(
        struct service *s, const struct fake_keeper *keeper, unsigned int n, uint64_t cookie, int error) {
        struct fake_keeper_state state;

        service_run_until(s, keeper_state(keeper).n_break_over >= n);
        state = keeper_state(keeper);
        assert_int_equal(state.n_break_over, n);
        assert_int_equal(state.break_over.cookie, cookie);
        assert_int_equal(state.break_over.value, error);
}

/* Sessions of one user, each of which has registered the same. */
static void begin(struct service *s, struct fake_keeper *keepers, unsigned int n) {
        service_setup(s);
        for (unsigned int i = 0; i < n; i++) {
                keeper_begin(s, ALICE, keepers + i);
                registers(keepers + i, 0, 11, ALICE, 0, MIB);
        }
}

static void finish(struct service *s, struct fake_keeper *keepers, unsigned int n) {
        for (unsigned int i = 0; i < n; i++) {
                struct session *session = sessions_find(&s->sessions, keepers[i].id);
                unsigned int ended = s->n_ended;

                if (!session)
                        continue;
                keeper_forget(keepers + i);
                service_run_until(s, s->n_ended > ended);
        }
        assert_null(s->breaks.first);
        service_teardown(s);
}

TEST(test_nobody_else) {
        struct fake_keeper keepers[2];
        struct service s;

        service_setup(&s);
        for (unsigned int i = 0; i < 2; i++)
                keeper_begin(&s, ALICE, keepers + i);
        registers(keepers, 0, 11, ALICE, 0, MIB);
        registers(keepers + 1, 0, 12, ALICE, 0, MIB);
        asks(keepers, 5, 1000, &whole);
        await_over(&s, keepers, 1, 5, 0);
        assert_int_equal(keeper_state(keepers).n_revoke, 0);
        assert_int_equal(keeper_state(keepers + 1).n_revoke, 0);
        assert_int_equal(keeper_session(&s, keepers)->n_breaks, 0);
        finish(&s, keepers, 2);
}

/* Who must give back: by file, by range, and by whose word it is. */
TEST(test_who) {
        enum { ASKS, SAME_USER, OWNED, OTHERS, OTHER_FILE, BEFORE, LAST_BYTE, N };
        const struct control_message range = { .device = 7, .inode = 11, .offset = MIB, .length = MIB };
        struct fake_keeper keepers[N];
        struct service s;

        service_setup(&s);
        for (unsigned int i = 0; i < N; i++)
                keeper_begin(&s, i == OWNED || i == OTHERS ? BOB : ALICE, keepers + i);
        registers(keepers + SAME_USER, 0, 11, 0, 0, 3 * MIB);
        registers(keepers + OWNED, 0, 11, ALICE, 0, 3 * MIB);
        registers(keepers + OTHERS, 0, 11, BOB, 0, 3 * MIB);
        registers(keepers + OTHER_FILE, 0, 12, ALICE, 0, 3 * MIB);
        registers(keepers + BEFORE, 0, 11, ALICE, 0, MIB);
        registers(keepers + BEFORE, 1, 11, ALICE, 2 * MIB, UINT64_MAX - 2 * MIB);
        keeper_command(keepers + LAST_BYTE, FAKE_FILL, 200);
        registers(keepers + LAST_BYTE, 200, 11, ALICE, 2 * MIB - 1, UINT64_MAX);

        asks(keepers + ASKS, 9, 3000, &range);
        for (unsigned int i = 0; i < N; i++)
                if (i == SAME_USER || i == OWNED || i == LAST_BYTE) {
                        struct control_message told;

                        await_revoke(&s, keepers + i, 1);
                        told = keeper_state(keepers + i).revoke;
                        assert_int_equal(told.reason, PL_REVOKED_LAYOUT_CHANGE);
                        assert_int_equal(told.selector, CONTROL_SELECT_FILE);
                        assert_int_equal(told.device, 7);
                        assert_int_equal(told.inode, 11);
                        assert_int_equal(told.offset, MIB);
                        assert_int_equal(told.length, MIB);
                        assert_in_range(told.value, 1, 3000);
                }
        assert_int_equal(keeper_state(keepers + ASKS).n_break_over, 0);
        gives_back(keepers + SAME_USER);
        gives_back(keepers + OWNED);
        service_settle(&s);
        assert_int_equal(keeper_state(keepers + ASKS).n_break_over, 0);
        /* What is no answer to that does not count: another cookie, and who was not asked. */
        answers(keepers + LAST_BYTE, 77, 0, 0);
        answers(keepers + LAST_BYTE, (UINT64_C(1) << 63) + 1, 0, 0);
        answers(keepers + OTHERS, keeper_state(keepers + LAST_BYTE).revoke.cookie, 0, 0);
        service_settle(&s);
        assert_int_equal(keeper_state(keepers + ASKS).n_break_over, 0);
        gives_back(keepers + LAST_BYTE);
        await_over(&s, keepers + ASKS, 1, 9, 0);
        for (unsigned int i = 0; i < N; i++)
                assert_int_equal(keeper_state(keepers + i).n_revoke, i == SAME_USER || i == OWNED || i == LAST_BYTE);
        finish(&s, keepers, N);
}

/* Registrars that are out of control have spoilt their ledgers: they are told, whoever they are, and waited for. */
TEST(test_no_ledger) {
        enum { ASKS, LIES, OTHERS_LIES, N };
        struct fake_keeper keepers[N];
        struct service s;

        service_setup(&s);
        for (unsigned int i = 0; i < N; i++)
                keeper_begin(&s, i == OTHERS_LIES ? BOB : ALICE, keepers + i);
        for (unsigned int i = LIES; i < N; i++) {
                keeper_command(keepers + i, FAKE_LIE, 0);
                (void)keeper_state(keepers + i);
        }
        for (unsigned int n = 1; n <= 2; n++) {
                asks(keepers, n, 5000, &whole);
                for (unsigned int i = LIES; i < N; i++) {
                        struct control_message told;

                        await_revoke(&s, keepers + i, n);
                        told = keeper_state(keepers + i).revoke;
                        assert_int_equal(told.selector, CONTROL_SELECT_FILE);
                        assert_int_equal(told.device, 7);
                        assert_int_equal(told.inode, 11);
                }
                gives_back(keepers + LIES);
                service_settle(&s);
                assert_int_equal(keeper_state(keepers).n_break_over, n - 1);
                gives_back(keepers + OTHERS_LIES);
                await_over(&s, keepers, n, n, 0);
        }
        finish(&s, keepers, N);
}

/* Two sessions hear of the same change, and a third of neither. */
TEST(test_one_change) {
        struct fake_keeper keepers[3];
        struct service s;

        begin(&s, keepers, 3);
        asks(keepers, 1, 5000, &whole);
        await_revoke(&s, keepers + 1, 1);
        await_revoke(&s, keepers + 2, 1);
        asks(keepers + 1, 1, 5000, &whole);
        /* The first gives back by itself, but the second waits for it. */
        await_revoke(&s, keepers, 1);
        assert_ptr_not_equal(s.breaks.first, NULL);
        gives_back(keepers);
        gives_back(keepers + 1);
        service_settle(&s);
        assert_int_equal(keeper_state(keepers).n_break_over, 0);
        gives_back(keepers + 2);
        await_over(&s, keepers, 1, 1, 0);
        await_over(&s, keepers + 1, 1, 1, 0);
        assert_int_equal(keeper_state(keepers + 2).n_revoke, 1);
        assert_int_equal(keeper_state(keepers + 2).n_break_over, 0);

        /* Once more, by one who asks for less, and one who asks for more than is under way. */
        asks(keepers, 2, 5000, &(const struct control_message) { .device = 7, .inode = 11, .length = MIB });
        await_revoke(&s, keepers + 2, 2);
        asks(keepers + 1, 2, 5000, &whole);
        await_revoke(&s, keepers + 2, 3);
        answers(keepers + 1, keeper_state(keepers + 1).revoke.cookie, 0, 0);
        finish(&s, keepers, 3);
}

/* A session that has too much to do, one that cannot, one that ends. */
TEST(test_answers) {
        struct fake_keeper keepers[3];
        struct service s;

        begin(&s, keepers, 3);
        asks(keepers, 1, 5000, &whole);
        await_revoke(&s, keepers + 1, 1);
        await_revoke(&s, keepers + 2, 1);
        answers(keepers + 1, keeper_state(keepers + 1).revoke.cookie, EBUSY, 0);
        await_revoke(&s, keepers + 1, 2);
        answers(keepers + 1, keeper_state(keepers + 1).revoke.cookie, 0, 1);
        keeper_forget(keepers + 2);
        await_over(&s, keepers, 1, 1, EBUSY);

        /* Nobody is in time. */
        s.breaks.margin_ms = 100;
        asks(keepers, 2, 0, &whole);
        await_revoke(&s, keepers + 1, 3);
        await_over(&s, keepers, 2, 2, ETIMEDOUT);
        assert_int_equal(keeper_state(keepers + 1).revoke.value, 0);
        assert_int_equal(keeper_session(&s, keepers)->n_breaks, 0);
        /* Too late. */
        gives_back(keepers + 1);
        service_settle(&s);
        assert_int_equal(keeper_state(keepers).n_break_over, 2);

        /* Who has asked goes. */
        s.breaks.margin_ms = BREAKS_MARGIN_MS;
        asks(keepers, 3, 5000, &whole);
        await_revoke(&s, keepers + 1, 4);
        asks(keepers, 4, 5000, &(const struct control_message) { .device = 7, .inode = 1, .length = 1 });
        await_over(&s, keepers, 3, 4, 0);
        assert_non_null(s.breaks.first);
        keeper_forget(keepers);
        service_run_until(&s, s.n_ended == 2);
        assert_null(s.breaks.first);
        gives_back(keepers + 1);
        service_settle(&s);
        finish(&s, keepers + 1, 1);
}

/* As many as it likes: no more are kept than there may be, and all are answered. */
TEST(test_too_many) {
        const unsigned int n = BREAKS_PER_SESSION;
        struct control_message message = { .type = CONTROL_BREAK, .device = 7, .inode = 11, .length = 1 };
        struct fake_keeper keepers[2];
        struct session *session;
        struct service s;

        begin(&s, keepers, 2);
        session = keeper_session(&s, keepers);
        /* Past what its keeper would let through. */
        for (message.cookie = 1; message.cookie <= 3 * n; message.cookie++) {
                message.value = 60000;
                message.offset = message.cookie % 7;
                breaks_ask(&s.breaks, session, &message);
                assert_true(session->n_breaks <= n);
        }
        assert_int_equal(session->n_breaks, n);
        assert_int_equal(session->account->n_breaks, n);
        /* The same again is the same. */
        message.cookie = 1;
        breaks_ask(&s.breaks, session, &message);
        assert_int_equal(session->n_breaks, n);
        service_run_until(&s, keeper_state(keepers + 1).n_revoke == 7);
        keeper_forget(keepers);
        service_run_until(&s, s.n_ended == 1);
        assert_int_equal(keeper_session(&s, keepers + 1)->account->n_breaks, 0);
        finish(&s, keepers + 1, 1);
}

/* A user who has as many sessions as it takes: others' breaks have room all the same. */
TEST(test_too_many_of_a_user) {
        enum { N = BREAKS_PER_USER / BREAKS_PER_SESSION };
        struct control_message message = { .type = CONTROL_BREAK, .device = 7, .length = 1, .value = 60000 };
        struct fake_keeper keepers[N + 2];
        struct session *last, *others;
        struct service s;

        service_setup(&s);
        for (unsigned int i = 0; i < ELEMENTSOF(keepers); i++)
                keeper_begin(&s, i < N + 1 ? ALICE : BOB, keepers + i);
        for (unsigned int i = 0; i < N; i++)
                for (unsigned int k = 0; k < BREAKS_PER_SESSION; k++) {
                        message.cookie++;
                        message.inode++;
                        breaks_ask(&s.breaks, keeper_session(&s, keepers + i), &message);
                }
        last = keeper_session(&s, keepers + N);
        assert_int_equal(last->account->n_breaks, BREAKS_PER_USER);
        breaks_ask(&s.breaks, last, &message);
        assert_int_equal(last->n_breaks, 0);
        others = keeper_session(&s, keepers + N + 1);
        breaks_ask(&s.breaks, others, &message);
        assert_int_equal(others->n_breaks, 1);
        service_run_until(&s, !s.breaks.first);
        assert_int_equal(last->account->n_breaks, 0);
        breaks_ask(&s.breaks, last, &message);
        assert_int_equal(last->n_breaks, 1);
        service_run_until(&s, !s.breaks.first);
        finish(&s, keepers, ELEMENTSOF(keepers));
}

/* Connections are lost on either side, and pinleased is replaced: it is over in the end. */
TEST(test_again) {
        struct fake_keeper keepers[2];
        unsigned int n_revokes;
        struct service s;

        begin(&s, keepers, 2);
        asks(keepers, 1, 60000, &whole);
        await_revoke(&s, keepers + 1, 1);

        /* Who has asked asks again: that is the same. */
        keeper_command(keepers, FAKE_DROP, 0);
        service_run_until(&s, s.n_introduced == 3 && keeper_state(keepers).welcome);
        service_settle(&s);
        assert_int_equal(keeper_session(&s, keepers)->n_breaks, 1);
        assert_int_equal(keeper_state(keepers + 1).n_revoke, 1);

        /* Who was told is told again. */
        keeper_command(keepers + 1, FAKE_DROP, 0);
        service_run_until(&s, s.n_introduced == 4 && keeper_state(keepers + 1).welcome);
        await_revoke(&s, keepers + 1, 2);

        /* The next pinleased knows nothing, and is asked anew. */
        n_revokes = keeper_state(keepers + 1).n_revoke;
        service_end(&s);
        service_begin(&s);
        service_run_until(&s, keeper_state(keepers + 1).n_revoke > n_revokes);
        assert_int_equal(keeper_session(&s, keepers)->n_breaks, 1);
        assert_in_range(keeper_state(keepers + 1).revoke.value, 1, 60000);
        gives_back(keepers + 1);
        await_over(&s, keepers, 1, 1, 0);

        /* It is over for good. */
        keeper_command(keepers, FAKE_DROP, 0);
        service_run_until(&s, !keeper_state(keepers).welcome);
        service_run_until(&s, keeper_state(keepers).welcome);
        service_settle(&s);
        assert_int_equal(keeper_session(&s, keepers)->n_breaks, 0);
        assert_int_equal(keeper_state(keepers).n_break_over, 1);
        finish(&s, keepers, 2);
}

/* Sessions that ask, answer and end at random; nothing is left, and who asks and lives is answered. */
TEST(test_random) {
        enum { N = 6 };
        struct fake_keeper keepers[N];
        struct testing_random random;
        uint64_t cookie = 0;
        struct service s;

        testing_seed(&random, "breaks");
        service_setup(&s);
        s.breaks.margin_ms = 0;
        for (unsigned int i = 0; i < N; i++) {
                keeper_begin(&s, i % 2 ? BOB : ALICE, keepers + i);
                registers(keepers + i, i, 11 + i % 3, i % 4 ? ALICE : BOB, 0, MIB);
        }
        for (unsigned int round = testing_rounds(2000); round > 0; round--) {
                unsigned int i = testing_below(&random, N);

                switch (testing_below(&random, 20)) {
                case 0:
                        keeper_forget(keepers + i);
                        service_run_until(&s, !sessions_find(&s.sessions, keepers[i].id));
                        keeper_begin(&s, i % 2 ? BOB : ALICE, keepers + i);
                        registers(keepers + i, i, 11 + i % 3, i % 4 ? ALICE : BOB, 0, MIB);
                        break;
                case 1:
                        keeper_command(keepers + i, FAKE_DROP, 0);
                        break;
                case 2 ... 9:
                        asks(keepers + i,
                             ++cookie,
                             testing_below(&random, 30),
                             &(const struct control_message) { .device = 7,
                                                               .inode = 11 + testing_below(&random, 4),
                                                               .offset = testing_below(&random, 3),
                                                               .length = UINT64_MAX });
                        break;
                case 10 ... 14:
                        answers(keepers + i,
                                keeper_state(keepers + i).revoke.cookie,
                                testing_below(&random, 4) ? 0 : EBUSY,
                                testing_below(&random, 4) == 0);
                        break;
                default:
                        assert_true(sd_event_run(s.event, 1000) >= 0);
                }
        }
        service_run_until(&s, !s.breaks.first);
        for (const struct session *session = s.sessions.first; session; session = session->next)
                assert_int_equal(session->n_breaks + session->account->n_breaks, 0);
        finish(&s, keepers, N);
}

/* The pages in which log messages are counted are there for good: not a leak of the first test that makes a session. */
static int make_pages(void **state _unused_) {
        return log_limit_fd(ALICE) < 0 || log_limit_fd(BOB) < 0 ? -1 : 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_nobody_else), CHECKED(test_who),      CHECKED(test_one_change),
                CHECKED(test_answers),     CHECKED(test_too_many), CHECKED(test_too_many_of_a_user),
                CHECKED(test_again),       CHECKED(test_random),   CHECKED(test_no_ledger),
        };

        return cmocka_run_group_tests_name("breaks", tests, make_pages, NULL);
}
