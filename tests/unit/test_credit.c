/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <string.h>

#include "credit.h"

#define ODP    PINLEASE_METHOD_ODP
#define PINNED PINLEASE_METHOD_PINNED

/* All that the limits allow is held: nobody needs to be asked. */
static struct credit credit_of(struct credit_amount limits) {
        return (struct credit) { .limits = limits, .held = limits };
}

TEST(test_bytes) {
        static const struct {
                uint64_t address, length, page, bytes;
        } cases[] = {
                { 0x1000, 1, 4096, 4096 },
                { 0x1000, 4096, 4096, 4096 },
                { 0x1000, 4097, 4096, 8192 },
                { 0x1fff, 1, 4096, 4096 },
                { 0x1fff, 2, 4096, 8192 },
                { 0x1001, 4096, 4096, 8192 },
                { 0x200000, 1, 2097152, 2097152 },
                { 0x3fffff, 2, 2097152, 4194304 },
                { UINT64_MAX - 8191, 4096, 4096, 4096 },
                { 0x7f0000000000, UINT64_C(1) << 40, 4096, UINT64_C(1) << 40 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_int_equal(credit_bytes(cases[i].address, cases[i].length, cases[i].page), cases[i].bytes);
}

/* As a pin; but nobody is told to accept ODP instead. */
TEST(test_dmabuf) {
        struct credit credit = credit_of((struct credit_amount) { .pinned = 8192, .odp = 0, .registrations = 3 });
        struct refusal refusal;

        assert_int_equal(credit_charge(&credit, PINLEASE_METHOD_DMABUF, 4096, &refusal), 0);
        assert_int_equal(credit.used.pinned, 4096);
        assert_int_equal(credit.used.odp, 0);
        testing_assert_refusal(
                credit_charge(&credit, PINLEASE_METHOD_DMABUF, 4097, &refusal), &refusal, PINLEASE_CODE_PINNED_LIMIT);
        assert_null(strstr(refusal.sentence, "ODP"));
        testing_assert_refusal(credit_charge(&credit, PINNED, 4097, &refusal), &refusal, PINLEASE_CODE_PINNED_LIMIT);
        assert_non_null(strstr(refusal.sentence, "ODP"));
        credit_refund(&credit, PINLEASE_METHOD_DMABUF, 4096);
        assert_true(credit_is_zero(&credit));
}

TEST(test_limits) {
        struct credit credit = credit_of((struct credit_amount) { .pinned = 8192, .odp = 16384, .registrations = 3 });
        struct refusal refusal;

        assert_true(credit_is_zero(&credit));
        testing_assert_refusal(credit_charge(&credit, PINNED, 8193, &refusal), &refusal, PINLEASE_CODE_PINNED_LIMIT);
        testing_assert_refusal(credit_charge(&credit, ODP, 16385, &refusal), &refusal, PINLEASE_CODE_ODP_LIMIT);
        testing_assert_refusal(credit_charge(&credit, ODP, UINT64_MAX, &refusal), &refusal, PINLEASE_CODE_ODP_LIMIT);
        /* What is refused is not charged. */
        assert_true(credit_is_zero(&credit));

        assert_int_equal(credit_charge(&credit, PINNED, 8192, &refusal), 0);
        assert_false(credit_is_zero(&credit));
        testing_assert_refusal(credit_charge(&credit, PINNED, 1, &refusal), &refusal, PINLEASE_CODE_PINNED_LIMIT);
        testing_assert_refusal(credit_charge(&credit, PINNED, UINT64_MAX, &refusal), &refusal, PINLEASE_CODE_PINNED_LIMIT);

        /* One limit does not eat into the other. */
        assert_int_equal(credit_charge(&credit, ODP, 16383, &refusal), 0);
        assert_int_equal(credit_charge(&credit, ODP, 1, &refusal), 0);
        testing_assert_refusal(credit_charge(&credit, ODP, 1, &refusal), &refusal, PINLEASE_CODE_REGISTRATION_LIMIT);

        credit_refund(&credit, ODP, 16383);
        credit_refund(&credit, ODP, 1);
        assert_false(credit_is_zero(&credit));
        credit_refund(&credit, PINNED, 8192);
        assert_true(credit_is_zero(&credit));
}

/* Nothing may be registered at all. */
TEST(test_zero_limits) {
        struct credit credit = credit_of((struct credit_amount) { .registrations = 1 });
        struct refusal refusal;

        testing_assert_refusal(credit_charge(&credit, PINNED, 1, &refusal), &refusal, PINLEASE_CODE_PINNED_LIMIT);
        testing_assert_refusal(credit_charge(&credit, ODP, 1, &refusal), &refusal, PINLEASE_CODE_ODP_LIMIT);
        credit.limits = (struct credit_amount) { .pinned = 1, .odp = 1 };
        testing_assert_refusal(credit_charge(&credit, PINNED, 1, &refusal), &refusal, PINLEASE_CODE_REGISTRATION_LIMIT);
        assert_true(credit_is_zero(&credit));
}

/* The same sums in a plainer way, over a random history. */
TEST(test_model) {
        enum { MAX = 40 };
        struct credit credit = credit_of((struct credit_amount) { .pinned = 100000, .odp = 200000, .registrations = MAX / 2 });
        struct {
                enum pinlease_method method;
                uint64_t bytes;
        } charges[MAX];
        unsigned int n = 0, rounds = testing_rounds(100000);
        struct testing_random random;

        testing_seed(&random, "credit model");
        for (unsigned int i = 0; i < rounds; i++) {
                uint64_t pinned = 0, odp = 0, bytes;
                enum pinlease_method method;
                struct refusal refusal;
                int r;

                for (unsigned int c = 0; c < n; c++)
                        *(charges[c].method == PINNED ? &pinned : &odp) += charges[c].bytes;
                assert_int_equal(credit.used.pinned, pinned);
                assert_int_equal(credit.used.odp, odp);
                assert_int_equal(credit.used.registrations, n);

                if (n > 0 && testing_below(&random, 2)) {
                        unsigned int c = testing_below(&random, n);

                        credit_refund(&credit, charges[c].method, charges[c].bytes);
                        charges[c] = charges[--n];
                        continue;
                }

                method = testing_below(&random, 2) ? ODP : PINNED;
                bytes = 1 + testing_below(&random, 30000);
                r = credit_charge(&credit, method, bytes, &refusal);
                if (n == MAX / 2)
                        testing_assert_refusal(r, &refusal, PINLEASE_CODE_REGISTRATION_LIMIT);
                else if (method == PINNED && pinned + bytes > 100000)
                        testing_assert_refusal(r, &refusal, PINLEASE_CODE_PINNED_LIMIT);
                else if (method == ODP && odp + bytes > 200000)
                        testing_assert_refusal(r, &refusal, PINLEASE_CODE_ODP_LIMIT);
                else {
                        assert_int_equal(r, 0);
                        charges[n].method = method;
                        charges[n++].bytes = bytes;
                }
        }

        while (n-- > 0)
                credit_refund(&credit, charges[n].method, charges[n].bytes);
        assert_true(credit_is_zero(&credit));
}

/* Hands out what is asked for, rounded up, while there is something. */
struct purse {
        struct credit *credit;
        struct credit_amount left;
        unsigned int asked;
};

static int ask(void *userdata, const struct credit_amount *need, struct refusal *ret_refusal) {
        struct purse *purse = userdata;

        purse->asked++;
        if (need->pinned > purse->left.pinned || need->odp > purse->left.odp ||
            need->registrations > purse->left.registrations)
                return refuse(ret_refusal, PINLEASE_CODE_NO_RESOURCES, "The purse is empty.");
        purse->left.pinned -= need->pinned;
        purse->left.odp -= need->odp;
        purse->left.registrations -= need->registrations;
        purse->credit->held.pinned += need->pinned;
        purse->credit->held.odp += need->odp;
        purse->credit->held.registrations += need->registrations;
        return 0;
}

/* Asks for what is lacking, no more, and only if something is; charges nothing if it does not get it. */
TEST(test_asks) {
        struct credit credit = { .limits = { .pinned = 1 << 30, .odp = 1 << 30, .registrations = 10 } };
        struct purse purse = { .credit = &credit, .left = { .pinned = 10000, .odp = 0, .registrations = 3 } };
        struct refusal refusal;

        credit.ask = ask;
        credit.userdata = &purse;
        assert_int_equal(credit_charge(&credit, PINNED, 4096, &refusal), 0);
        assert_int_equal(credit_charge(&credit, PINNED, 4096, &refusal), 0);
        assert_int_equal(purse.asked, 2);
        assert_int_equal(purse.left.pinned, 10000 - 8192);
        assert_int_equal(purse.left.registrations, 1);

        credit_refund(&credit, PINNED, 4096);
        assert_int_equal(credit_charge(&credit, PINNED, 4000, &refusal), 0);
        assert_int_equal(purse.asked, 2);

        testing_assert_refusal(credit_charge(&credit, PINNED, 4096, &refusal), &refusal, PINLEASE_CODE_NO_RESOURCES);
        testing_assert_refusal(credit_charge(&credit, ODP, 1, &refusal), &refusal, PINLEASE_CODE_NO_RESOURCES);
        assert_int_equal(purse.left.registrations, 1);
        assert_int_equal(credit.used.pinned, 8096);
        assert_int_equal(credit.used.registrations, 2);

        /* Its own limit comes first: nobody is asked in vain. */
        assert_int_equal(purse.asked, 4);
        testing_assert_refusal(credit_charge(&credit, PINNED, 1 << 30, &refusal), &refusal, PINLEASE_CODE_PINNED_LIMIT);
        assert_int_equal(purse.asked, 4);
}

/* What is left over beyond a chunk goes back, and only that. */
TEST(test_surplus) {
        static const struct credit_amount chunk = CREDIT_CHUNK;
        struct credit credit = {
                .held = { .pinned = 3 * chunk.pinned, .odp = chunk.odp, .registrations = chunk.registrations + 2 },
                .used = { .pinned = chunk.pinned / 2, .odp = 0, .registrations = 1 },
        };
        struct credit_amount surplus;

        assert_true(credit_take_surplus(&credit, &surplus));
        assert_int_equal(surplus.pinned, 2 * chunk.pinned - chunk.pinned / 2);
        assert_int_equal(surplus.odp, 0);
        assert_int_equal(surplus.registrations, 1);
        assert_int_equal(credit.held.pinned, chunk.pinned / 2 + chunk.pinned);
        assert_int_equal(credit.held.registrations, chunk.registrations + 1);
        assert_false(credit_take_surplus(&credit, &surplus));

        /* Holding less than is used (a ceiling that has been lowered) is nothing to give back. */
        credit.held.pinned = 1;
        assert_false(credit_take_surplus(&credit, &surplus));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_bytes),
                CHECKED(test_limits),
                CHECKED(test_dmabuf),
                CHECKED(test_zero_limits),
                CHECKED(test_model),
                CHECKED(test_asks),
                CHECKED(test_surplus),
        };

        return cmocka_run_group_tests_name("credit", tests, NULL, NULL);
}
