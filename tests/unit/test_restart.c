/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "service.h"

/*
 * Credit is exact whatever happens: keepers ask for it and give it back, lose their connections, and die; pinleased is killed
 * and started anew, and may stay away for a while. Whenever all is quiet, every session's credit is what its keeper says, and
 * no user has more than it may.
 */

#define N_KEEPERS 10
#define N_USERS   3
#define FIRST_UID 1000

static const struct credit_amount user_limits = { UINT64_C(100) << 20, UINT64_C(5) << 30, 700 };

struct model {
        struct service service;
        struct testing_random random;
        struct fake_keeper keepers[N_KEEPERS]; /* line -1: none */
        bool down;
        unsigned int n_checked, n_restarts, n_deaths, n_drops, n_wants, n_returns;
};

static struct credit_amount any_amount(struct model *m) {
        return (struct credit_amount) {
                testing_below(&m->random, 3) ? testing_random(&m->random) % (UINT64_C(40) << 20) : 0,
                testing_below(&m->random, 3) ? testing_random(&m->random) % (UINT64_C(2) << 30) : 0,
                testing_below(&m->random, 3) ? testing_below(&m->random, 300) : 0,
        };
}

static struct fake_keeper *any_keeper(struct model *m) {
        struct fake_keeper *keeper = m->keepers + testing_below(&m->random, N_KEEPERS);

        return keeper->line >= 0 ? keeper : NULL;
}

static void one_more(struct model *m) {
        struct fake_keeper *keeper = m->keepers + testing_below(&m->random, N_KEEPERS);

        /* As the supervisor: nobody new before the old ones have come. */
        if (m->down || m->service.settling || keeper->line >= 0)
                return;
        keeper_start(&m->service, FIRST_UID + testing_below(&m->random, N_USERS), keeper);
        /* Some never introduce themselves before something else happens. */
        keeper_command(keeper, FAKE_INTRODUCE, 0);
}

static void one_less(struct model *m) {
        struct fake_keeper *keeper = any_keeper(m);

        if (!keeper)
                return;
        m->n_deaths++;
        if (testing_below(&m->random, 2))
                assert_int_equal(kill(keeper->pid, SIGKILL), 0);
        else
                keeper_command(keeper, FAKE_EXIT, 0);
        testing_await_end(keeper->pid);
        keeper_forget(keeper);
}

static bool agree(const struct model *m) {
        unsigned int n = 0;

        for (const struct fake_keeper *keeper = m->keepers; keeper < m->keepers + N_KEEPERS; keeper++) {
                const struct session *session;
                struct fake_keeper_state state;

                if (keeper->line < 0)
                        continue;
                n++;
                session = sessions_find(&m->service.sessions, keeper->id);
                state = keeper_state(keeper);
                if (!session || session->state != SESSION_SERVING || !state.welcome || state.wanting ||
                    memcmp(&session->held, &state.held, sizeof state.held) != 0)
                        return false;
        }
        return m->service.accounts.n_sessions == n;
}

static void check_limits(const struct account *account, void *userdata _unused_) {
        assert_true(account->held.pinned <= user_limits.pinned);
        assert_true(account->held.odp <= user_limits.odp);
        assert_true(account->held.registrations <= user_limits.registrations);
}

static void check(struct model *m) {
        if (m->down) {
                service_begin(&m->service);
                m->down = false;
        }
        service_run_until(&m->service, agree(m));
        service_settle(&m->service);
        assert_true(agree(m));
        (void)service_check_accounts(&m->service);
        accounts_each(&m->service.accounts, check_limits, NULL);
        assert_int_equal(roster_expected(&m->service.roster), 0);
        m->n_checked++;
}

static void restart(struct model *m) {
        if (m->down)
                service_begin(&m->service);
        else
                service_end(&m->service);
        m->down = !m->down;
        m->n_restarts++;
}

static void step(struct model *m) {
        struct credit_amount amount = any_amount(m);
        struct fake_keeper *keeper;

        switch (testing_below(&m->random, 20)) {
        case 0 ... 2:
                one_more(m);
                break;
        case 3:
                one_less(m);
                break;
        case 4:
                keeper = any_keeper(m);
                if (keeper)
                        keeper_command(keeper, FAKE_DROP, 0);
                m->n_drops++;
                break;
        case 5:
                if (testing_below(&m->random, 3) == 0)
                        restart(m);
                break;
        case 6:
                if (testing_below(&m->random, 5) == 0)
                        check(m);
                break;
        case 7 ... 11:
                keeper = any_keeper(m);
                if (keeper)
                        keeper_amount(keeper, FAKE_WANT, &amount);
                m->n_wants++;
                break;
        case 12 ... 15:
                keeper = any_keeper(m);
                if (keeper)
                        keeper_amount(keeper, FAKE_RETURN, &amount);
                m->n_returns++;
                break;
        default:
                for (unsigned int i = testing_below(&m->random, 20); i > 0 && !m->down; i--) {
                        assert_true(sd_event_run(m->service.event, 0) >= 0);
                        accounts_each(&m->service.accounts, check_limits, NULL);
                }
        }
        if (!m->down)
                (void)service_check_accounts(&m->service);
}

TEST(test_credit_is_exact) {
        struct model m = { 0 };

        testing_seed(&m.random, "test_credit_is_exact");
        service_setup(&m.service);
        m.service.config.limits.user = user_limits;
        m.service.config.limits.session = (struct credit_amount) { UINT64_C(60) << 20, UINT64_C(3) << 30, 400 };
        for (unsigned int i = 0; i < N_KEEPERS; i++)
                m.keepers[i].line = -1;

        for (unsigned int i = testing_rounds(3000); i > 0; i--)
                step(&m);
        check(&m);
        print_message("%u checks; pinleased %u times gone or come, %u keepers died, %u connections lost, %u times asked, %u times "
                      "given back\n",
                      m.n_checked,
                      m.n_restarts,
                      m.n_deaths,
                      m.n_drops,
                      m.n_wants,
                      m.n_returns);

        for (unsigned int i = 0; i < N_KEEPERS; i++)
                keeper_forget(m.keepers + i);
        service_run_until(&m.service, !m.service.sessions.first);
        assert_null(m.service.accounts.root);
        service_teardown(&m.service);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_credit_is_exact),
        };

        return cmocka_run_group_tests_name("restart", tests, service_make_pages, NULL);
}
