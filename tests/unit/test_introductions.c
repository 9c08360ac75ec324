/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <sys/wait.h>

#include "journal.h"
#include "service.h"
#include "wraps.h"

/* What keepers say of themselves, and who comes again. */

static const struct credit_amount initial = CREDIT_INITIAL;

/* A keeper that has not said anything yet. */
static struct session *begin(struct service *s, struct fake_keeper *ret_keeper) {
        service_setup(s);
        keeper_start(s, 1000, ret_keeper);
        return keeper_session(s, ret_keeper);
}

static struct control_introduction introduction_of(const struct session *session) {
        return (struct control_introduction) {
                .magic = CONTROL_MAGIC,
                .version = CONTROL_VERSION,
                .session = session->id,
                .app_pid = (uint32_t)getpid(),
                .registrar_pid = 17,
                .uid = session->account->uid,
                .gid = 5,
                .credit = session->held,
        };
}

/* What a keeper may say about itself, and what not; credit of any size is accounted for exactly, or not at all. */
TEST(test_introductions) {
        static const enum {
                HONEST,
                MAGIC,
                SESSION,
                OTHER_UID,
                APP_PID,
                REGISTRAR_PID,
                PINNED,
                ODP,
                REGISTRATIONS,
                MOST,
                NOTHING_HELD,
                N_HOWS,
        } first_wrong = MAGIC, last_wrong = REGISTRATIONS;

        for (unsigned int how = 0; how < N_HOWS; how++) {
                struct fake_keeper_command command = { .what = FAKE_INTRODUCE_AS };
                struct control_introduction *i = &command.introduction;
                struct fake_keeper keeper;
                struct session *session;
                struct service s;

                session = begin(&s, &keeper);
                *i = introduction_of(session);
                i->magic += how == MAGIC;
                i->session += how == SESSION;
                i->uid += how == OTHER_UID;
                if (how == APP_PID)
                        i->app_pid = UINT32_MAX;
                if (how == REGISTRAR_PID)
                        i->registrar_pid = UINT32_MAX;
                if (how == PINNED)
                        i->credit.pinned = UINT64_MAX;
                if (how == ODP)
                        i->credit.odp = (UINT64_C(1) << 50) + 1;
                if (how == REGISTRATIONS)
                        i->credit.registrations = UINT64_C(1) << 32;
                if (how == MOST)
                        i->credit = (struct credit_amount) { UINT64_C(1) << 50, UINT64_C(1) << 50, UINT32_MAX };
                if (how == NOTHING_HELD)
                        i->credit = (struct credit_amount) { 0 };
                keeper_say(&keeper, &command);
                if (how >= first_wrong && how <= last_wrong) {
                        service_run_until(&s, session->control < 0);
                        assert_int_equal(session->state, SESSION_STARTING);
                        assert_int_equal(s.n_introduced, 0);
                        assert_int_equal(session->ledger, -1);
                        assert_amount(session->held, initial.pinned, initial.odp, initial.registrations);
                        service_run_until(&s, !keeper_state(&keeper).connected);
                } else {
                        service_run_until(&s, s.n_introduced == 1);
                        assert_int_equal(session->state, SESSION_SERVING);
                        assert_int_equal(session->registrar_pid, 17);
                        assert_amount(session->held, i->credit.pinned, i->credit.odp, i->credit.registrations);
                }
                (void)service_check_accounts(&s);
                keeper_end(&s, &keeper);
                service_teardown(&s);
        }
}

/* What is no introduction at all. */
TEST(test_first_words) {
        for (unsigned int how = 0; how < 4; how++) {
                struct fake_keeper_command command = { .what = FAKE_SEND };
                struct fake_keeper keeper;
                struct session *session;
                struct service s;

                session = begin(&s, &keeper);
                if (how == 0)
                        command.introduction = introduction_of(session); /* of another length, as the packet is longer */
                else if (how == 1)
                        command.value = 1; /* garbage, with a descriptor */
                else if (how == 2)
                        command.message = (struct control_message) { .type = CONTROL_WANT };
                keeper_say(&keeper, &command);
                service_run_until(&s, session->control < 0);
                assert_int_equal(session->state, SESSION_STARTING);
                keeper_end(&s, &keeper);
                service_teardown(&s);
        }
}

TEST(test_other_version) {
        struct fake_keeper_command command = { .what = FAKE_INTRODUCE_AS };
        const struct control_message revoke = { .type = CONTROL_REVOKE };
        struct fake_keeper keeper;
        struct session *session;
        struct service s;

        journal_setup(NULL);
        session = begin(&s, &keeper);
        command.introduction = introduction_of(session);
        command.introduction.version++;
        keeper_say(&keeper, &command);
        service_run_until(&s, s.n_introduced == 1);
        assert_int_equal(session->state, SESSION_OTHER_VERSION);
        assert_int_equal(s.accounts.n_starting, 0);
        assert_false(keeper_state(&keeper).welcome);
        assert_true(journal_has("aefa1daf15084a11bee4c3fe3a9d0113", "5"));

        /* Nothing that it says is understood, whatever it looks like, and however long; it can be told to end. */
        command = (struct fake_keeper_command) { .what = FAKE_SEND, .message = { .type = CONTROL_WANT, .credit = { 1, 1, 1 } } };
        keeper_say(&keeper, &command);
        session_end(session, 99);
        service_run_until(&s, keeper_state(&keeper).n_going_away == 1);
        service_settle(&s);
        assert_true(session->control >= 0);
        assert_false(journal_has("43343002dd3c4809975f8e8a7bfb42c5", "3"));
        journal_teardown(NULL);
        assert_amount(session->held, initial.pinned, initial.odp, initial.registrations);
        assert_int_equal(session_tell(session, &revoke, -1), -ENOTCONN);
        (void)service_check_accounts(&s);
        keeper_end(&s, &keeper);
        service_teardown(&s);
}

/* The same keeper comes again by itself: what it asked for and was not answered is asked again. */
TEST(test_reconnect) {
        struct fake_keeper keeper;
        struct session *session;
        struct service s;

        service_setup(&s);
        keeper_begin(&s, 1000, &keeper);
        session = keeper_session(&s, &keeper);
        for (unsigned int i = 0; i < 10; i++) {
                unsigned int n_credit = keeper_state(&keeper).n_credit, n = s.n_introduced;
                uint64_t before = keeper_state(&keeper).held.pinned;

                keeper_amount(&keeper, FAKE_WANT, &(const struct credit_amount) { UINT64_C(17) << 20, 0, 0 });
                keeper_command(&keeper, FAKE_DROP, 0);
                service_run_until(&s, s.n_introduced == n + 1);
                assert_ptr_equal(session, keeper_session(&s, &keeper));
                service_run_until(&s, keeper_state(&keeper).n_credit == n_credit + 1);
                service_run_until(&s, keeper_state(&keeper).welcome);
                assert_int_equal(keeper_state(&keeper).held.pinned, before + (UINT64_C(17) << 20));
                keeper_assert_agreed(&s, &keeper);
        }
        assert_false(session->resumed);
        assert_int_equal(s.accounts.n_sessions, 1);
        keeper_end(&s, &keeper);
        service_teardown(&s);
}

/* A successor takes everything over. */
TEST(test_restart) {
        struct fake_keeper keepers[5];
        struct service s;

        service_setup(&s);
        for (unsigned int i = 0; i < ELEMENTSOF(keepers); i++)
                keeper_begin(&s, 1000 + i % 2, keepers + i);
        keeper_want(&s, keepers, (struct credit_amount) { UINT64_C(100) << 20, 0, 0 });
        service_end(&s);

        /* One ends while nobody listens. */
        keeper_forget(keepers + 4);
        (void)testing_wait_child(keepers[4].pid);

        service_begin(&s);
        service_run_until(&s, s.sessions.n_resumed >= 4 && roster_expected(&s.roster) == 0);
        /* The dead one may have knocked before, and count until its end is known. */
        for (unsigned int i = 0; i < 4; i++)
                service_run_until(&s, sessions_find(&s.sessions, keepers[i].id));
        service_settle(&s);
        service_run_until(&s, !s.handover.newcomers && s.accounts.n_sessions == 4);
        for (unsigned int i = 0; i < 4; i++) {
                service_run_until(&s, keeper_state(keepers + i).welcome);
                assert_true(keeper_session(&s, keepers + i)->resumed);
                assert_int_equal(keeper_session(&s, keepers + i)->keeper_pid, keepers[i].pid);
                keeper_assert_agreed(&s, keepers + i);
        }
        assert_int_equal(s.accounts.n_sessions, 4);
        assert_int_equal(keeper_session(&s, keepers)->held.pinned, initial.pinned + (UINT64_C(100) << 20));

        /* They go on as if nothing had been, and new ones get new numbers. */
        keeper_want(&s, keepers, (struct credit_amount) { UINT64_C(100) << 20, 0, 0 });
        keeper_assert_agreed(&s, keepers);
        keeper_begin(&s, 1000, keepers + 4);
        assert_int_equal(keepers[4].id, 6);
        for (unsigned int i = 0; i < 5; i++)
                keeper_end(&s, keepers + i);
        service_teardown(&s);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_introductions),
                CHECKED(test_first_words),
                CHECKED(test_other_version),
                CHECKED(test_reconnect),
                CHECKED(test_restart),
        };

        wraps_reset();
        return cmocka_run_group_tests_name("introductions", tests, service_make_pages, NULL);
}
