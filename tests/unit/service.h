/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_TEST_SERVICE_H
#define PL_TEST_SERVICE_H

/*
 * pinleased for tests, but for its doors: accounts, roster, sessions, handover on an event loop, in a folder of its own; and
 * sessions that are fake_keeper's. It can be ended and begun anew as often as the test likes.
 */

#include "breaks.h"
#include "fake_keeper.h"
#include "handover.h"
#include "testing.h"

struct service {
        char folder[32];
        char socket[64], roster_path[64];
        int listener; /* as systemd's: stays open when the service ends */
        struct sessions_config config;
        sd_event *event;
        struct accounts accounts;
        struct roster roster;
        struct sessions sessions;
        struct breaks breaks;
        struct disposal disposal;
        struct handover handover;
        bool settling; /* keepers are still to come: nobody gets more credit before */
        unsigned int n_introduced, n_revoked, n_ended;
        struct control_message revoked; /* the last */
        sigset_t signals;
};

/* Makes the folder, and begins. */
void service_setup(struct service *s);
void service_teardown(struct service *s);

/* As a pinleased does that is started, and one that is killed: sessions go on. */
void service_begin(struct service *s);
void service_end(struct service *s);

/* Lets it work until there is nothing to do. */
void service_settle(struct service *s);

/* One turn; fails the test after the deadline (testing: patience). */
void service_turn(struct service *s, uint64_t deadline_ms);

#define service_run_until(s, condition)                                                       \
        do {                                                                                  \
                uint64_t deadline_ = pl_now_ms() + TESTING_PATIENCE_MS;                       \
                while (!(condition)) {                                                        \
                        if (pl_now_ms() > deadline_)                                          \
                                fail_msg("%s:%d: in vain: %s", __FILE__, __LINE__, #condition); \
                        service_turn((s), deadline_);                                         \
                }                                                                             \
        } while (0)

/* A session with its keeper, who waits for commands. */
struct fake_keeper {
        uint64_t id;
        pid_t pid;
        int line;
};
void keeper_start(struct service *s, uid_t uid, struct fake_keeper *ret_keeper);
void keeper_command(const struct fake_keeper *keeper, uint32_t what, uint32_t value);
void keeper_amount(const struct fake_keeper *keeper, uint32_t what, const struct credit_amount *amount);
void keeper_say(const struct fake_keeper *keeper, const struct fake_keeper_command *command);
struct fake_keeper_state keeper_state(const struct fake_keeper *keeper);
void keeper_forget(struct fake_keeper *keeper); /* hangs up: it ends */

/* The session of the keeper, which there must be. */
struct session *keeper_session(const struct service *s, const struct fake_keeper *keeper);

/* Starts one, and lets it introduce itself. */
void keeper_begin(struct service *s, uid_t uid, struct fake_keeper *ret_keeper);

/* The end of a session, by its keeper's. */
void keeper_end(struct service *s, struct fake_keeper *keeper);

/* Asks for so much, and waits for the answer, whatever it is. */
void keeper_want(struct service *s, struct fake_keeper *keeper, struct credit_amount amount);

/* What it holds is what pinleased says that it holds. */
void keeper_assert_agreed(const struct service *s, const struct fake_keeper *keeper);

/* Before a group of tests: makes the pages that log-limit keeps for users 1000 to 1002 and 2000, which is no leak of a test. */
int service_make_pages(void **state);

/* The accounts say what the sessions say. Returns the sums. */
struct credit_amount service_check_accounts(const struct service *s);

#define assert_amount(amount, p, o, r)                       \
        do {                                                 \
                assert_int_equal((amount).pinned, p);        \
                assert_int_equal((amount).odp, o);           \
                assert_int_equal((amount).registrations, r); \
        } while (0)

#endif
