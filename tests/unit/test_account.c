/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include "account.h"
#include "wraps.h"

#define assert_amount(amount, p, o, r)                       \
        do {                                                 \
                assert_int_equal((amount).pinned, p);        \
                assert_int_equal((amount).odp, o);           \
                assert_int_equal((amount).registrations, r); \
        } while (0)

static const struct credit_amount chunk = CREDIT_CHUNK, nothing, all = { UINT64_MAX, UINT64_MAX, UINT64_MAX };

/* An account is there as long as something is in it. */
TEST(test_life) {
        struct accounts accounts = { 0 };
        struct account *a, *b;

        a = account_get(&accounts, 1);
        b = account_get(&accounts, UINT32_MAX);
        assert_ptr_not_equal(a, b);
        assert_ptr_equal(account_get(&accounts, 1), a);
        account_silent(&accounts, a, 1);
        account_put(&accounts, a);
        assert_ptr_equal(account_get(&accounts, 1), a);
        account_session(&accounts, a, 1);
        account_starting(&accounts, a, 1);
        account_silent(&accounts, a, -1);
        assert_int_equal(accounts.n_silent, 0);
        assert_int_equal(accounts.n_sessions, 1);
        assert_int_equal(accounts.n_starting, 1);
        account_starting(&accounts, a, -1);
        account_put(&accounts, a);
        account_take_over(a, &(struct credit_amount) { 0, 0, 1 });
        account_session(&accounts, a, -1);
        account_put(&accounts, a);
        assert_ptr_equal(account_get(&accounts, 1), a);
        account_release(a, &(struct credit_amount) { 0, 0, 1 });
        account_put(&accounts, a);
        account_put(&accounts, b);
        account_put(&accounts, NULL);
        assert_null(accounts.root);
}

static void sum_uids(const struct account *account, void *userdata) {
        uid_t *last = userdata;

        assert_true(account->uid > *last);
        *last = account->uid;
}

TEST(test_each) {
        struct accounts accounts = { 0 };
        uid_t last = 0;

        accounts_each(&accounts, sum_uids, &last);
        for (uid_t uid = 1000; uid > 0; uid--)
                assert_non_null(account_get(&accounts, (uid * 7919) % 1009));
        accounts_each(&accounts, sum_uids, &last);
        assert_int_equal(last, 1008);
        accounts_done(&accounts);
        assert_null(accounts.root);
}

TEST(test_no_memory) {
        struct accounts accounts = { 0 };

        for (wraps_fail_at = 1; wraps_fail_at <= 2; wraps_fail_at++) {
                wraps_n_allocations = 0;
                assert_null(account_get(&accounts, 7));
                assert_null(accounts.root);
        }
        wraps_reset();
}

/* No kind is given when one of them is short; the shortage names the narrower limit. */
TEST(test_charge) {
        const struct credit_amount user = { UINT64_C(20) << 20, UINT64_C(1) << 40, 1000 };
        const struct credit_amount session = { UINT64_C(18) << 20, UINT64_C(1) << 40, 1000 };
        const struct account_limits limits = { session, user, all };
        struct account account = { 0 };
        struct account_shortage shortage = { 0 };
        struct credit_amount held = { 0 }, given, need;

        need = (struct credit_amount) { 1, 0, 0 };
        assert_true(account_charge(&account, &limits, &held, &need, &given, &shortage));
        assert_amount(given, chunk.pinned, 0, 0);
        held = given;
        /* Not a whole chunk any more: what there is. */
        assert_true(account_charge(&account, &limits, &held, &need, &given, &shortage));
        assert_amount(given, UINT64_C(2) << 20, 0, 0);
        held.pinned += given.pinned;
        need = (struct credit_amount) { 1, 1, 1 };
        assert_false(account_charge(&account, &limits, &held, &need, &given, &shortage));
        assert_int_equal(shortage.kind, CREDIT_PINNED);
        assert_int_equal(shortage.limit, session.pinned);
        assert_int_equal(shortage.use, session.pinned);
        assert_amount(account.held, UINT64_C(18) << 20, 0, 0);
        /* Another session of the user. */
        need = (struct credit_amount) { UINT64_C(3) << 20, 0, 0 };
        assert_false(account_charge(&account, &limits, &nothing, &need, &given, &shortage));
        assert_int_equal(shortage.limit, user.pinned);
        assert_int_equal(shortage.use, UINT64_C(18) << 20);

        /* Held more than may be: a limit has been lowered. */
        account_take_over(&account, &(struct credit_amount) { UINT64_C(1) << 40, 0, 5000 });
        need = (struct credit_amount) { 0, 0, 1 };
        assert_false(account_charge(&account, &limits, &nothing, &need, &given, &shortage));
        assert_int_equal(shortage.kind, CREDIT_REGISTRATIONS);
        assert_false(account_charge(&account, &limits, &nothing, &all, &given, &shortage));
        given = account_charge_some(&account, &limits, &all);
        assert_amount(given, 0, UINT64_C(1) << 40, 0);
        given = account_charge_some(&account, &limits, &all);
        assert_amount(given, 0, 0, 0);
}

/* What all have is counted once for all, and given back by whoever had it. */
TEST(test_total) {
        const struct account_limits limits = { all, { 100, 100, 100 }, { 150, 1000, 1000 } };
        struct accounts accounts = { 0 };
        struct account *a = account_get(&accounts, 1), *b = account_get(&accounts, 2);
        struct account_shortage shortage = { 0 };
        struct credit_amount given;

        assert_true(account_charge(a, &limits, &nothing, &(struct credit_amount) { 100, 1, 1 }, &given, &shortage));
        assert_amount(given, 100, 100, 100);
        assert_false(account_charge(b, &limits, &nothing, &(struct credit_amount) { 51, 0, 0 }, &given, &shortage));
        assert_int_equal(shortage.kind, CREDIT_PINNED);
        assert_int_equal(shortage.whose, CREDIT_OF_ALL);
        assert_int_equal(shortage.limit, 150);
        assert_int_equal(shortage.use, 100);
        given = account_charge_some(b, &limits, &(struct credit_amount) { 60, 60, 60 });
        assert_amount(given, 50, 60, 60);
        account_release(a, &(struct credit_amount) { 100, 100, 100 });
        assert_true(account_charge(b, &limits, &given, &(struct credit_amount) { 50, 0, 0 }, &given, &shortage));
        assert_amount(accounts.held, 100, 60, 60);
        account_release(b, &(struct credit_amount) { 100, 60, 60 });
        assert_amount(accounts.held, 0, 0, 0);
        account_put(&accounts, a);
        account_put(&accounts, b);
        accounts_done(&accounts);
}

/* Without limits sums stay below what 64 bits hold. */
TEST(test_no_limits) {
        const struct account_limits endless = { all, all, all };
        struct account account = { 0 };
        struct account_shortage shortage;
        struct credit_amount given;

        assert_true(account_charge(&account, &endless, &nothing, &all, &given, &shortage));
        assert_amount(given, UINT64_MAX, UINT64_MAX, UINT64_MAX);
        assert_false(account_charge(&account, &endless, &nothing, &(struct credit_amount) { 1, 0, 0 }, &given, &shortage));
        account_release(&account, &all);
        assert_amount(account.held, 0, 0, 0);
        assert_true(account_charge(&account, &endless, &nothing, &nothing, &given, &shortage));
        assert_amount(given, 0, 0, 0);
}

/* Whatever is taken and given back: the sum of it is what the account holds, and never more than the limit. */
TEST(test_random) {
        const struct credit_amount user = { UINT64_C(100) << 20, UINT64_C(10) << 30, 1000 };
        const struct credit_amount session = { UINT64_C(60) << 20, UINT64_C(6) << 30, 600 };
        const struct account_limits limits = { session, user, all };
        struct credit_amount held[5] = { 0 }, sum;
        struct testing_random random;
        struct account account = { 0 };

        testing_seed(&random, "test_random");
        for (unsigned int i = testing_rounds(20000); i > 0; i--) {
                struct credit_amount *h = held + testing_below(&random, ELEMENTSOF(held)), given = { 0 };
                const struct credit_amount need = { testing_random(&random) % (UINT64_C(30) << 20),
                                                    testing_random(&random) % (UINT64_C(3) << 30),
                                                    testing_below(&random, 300) };
                struct account_shortage shortage;

                if (testing_below(&random, 2)) {
                        if (account_charge(&account, &limits, h, &need, &given, &shortage)) {
                                assert_true(given.pinned >= need.pinned && given.odp >= need.odp);
                                assert_true(given.registrations >= need.registrations);
                        } else
                                assert_true(shortage.kind != CREDIT_NONE);
                        h->pinned += given.pinned;
                        h->odp += given.odp;
                        h->registrations += given.registrations;
                } else {
                        given = amount_minimum(&need, h);
                        account_release(&account, &given);
                        h->pinned -= given.pinned;
                        h->odp -= given.odp;
                        h->registrations -= given.registrations;
                }
                sum = nothing;
                for (size_t k = 0; k < ELEMENTSOF(held); k++) {
                        assert_true(held[k].pinned <= session.pinned && held[k].odp <= session.odp);
                        assert_true(held[k].registrations <= session.registrations);
                        sum.pinned += held[k].pinned;
                        sum.odp += held[k].odp;
                        sum.registrations += held[k].registrations;
                }
                assert_amount(account.held, sum.pinned, sum.odp, sum.registrations);
                assert_true(sum.pinned <= user.pinned && sum.odp <= user.odp && sum.registrations <= user.registrations);
        }
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_life),   CHECKED(test_each),      CHECKED(test_no_memory),
                CHECKED(test_charge), CHECKED(test_total), CHECKED(test_no_limits), CHECKED(test_random),
        };

        wraps_reset();
        return cmocka_run_group_tests_name("account", tests, NULL, NULL);
}
