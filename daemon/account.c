/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "account.h"

#include <assert.h>
#include <search.h>

#include "util.h"

static int compare(const void *a, const void *b) {
        uid_t x = ((const struct account *)a)->uid, y = ((const struct account *)b)->uid;

        return x < y ? -1 : x > y;
}

struct account *account_get(struct accounts *accounts, uid_t uid) {
        const struct account key = { .uid = uid };
        struct account *account, **found;

        found = tfind(&key, &accounts->root, compare);
        if (found)
                return *found;

        account = malloc(sizeof *account);
        if (!account)
                return NULL;
        *account = key;
        if (!tsearch(account, &accounts->root, compare)) {
                free(account);
                return NULL;
        }
        return account;
}

void account_put(struct accounts *accounts, struct account *account) {
        if (!account || account->n_silent || account->n_waiting || account->n_sessions || !amount_is_zero(&account->held))
                return;
        assert(account->n_starting == 0);
        (void)tdelete(account, &accounts->root, compare);
        free(account);
}

static void change_by(unsigned int *sum, unsigned int *part, int change) {
        assert(change > 0 || *part >= (unsigned int)-change);
        *part += (unsigned int)change;
        *sum += (unsigned int)change;
}

void account_silent(struct accounts *accounts, struct account *account, int change) {
        change_by(&accounts->n_silent, &account->n_silent, change);
}

void account_waiting(struct accounts *accounts, struct account *account, int change) {
        change_by(&accounts->n_waiting, &account->n_waiting, change);
}

void account_starting(struct accounts *accounts, struct account *account, int change) {
        change_by(&accounts->n_starting, &account->n_starting, change);
}

void account_session(struct accounts *accounts, struct account *account, int change) {
        change_by(&accounts->n_sessions, &account->n_sessions, change);
}

static uint64_t minimum(uint64_t a, uint64_t b) {
        return a < b ? a : b;
}

static uint64_t rest(uint64_t limit, uint64_t use) {
        return limit > use ? limit - use : 0;
}

/* One of the three sums. */
struct sum {
        enum credit_kind kind;
        uint64_t need, user_limit, user_held, session_limit, session_held, chunk;
        uint64_t given;
};

static bool charge_sum(struct sum *sum, struct account_shortage *ret_shortage) {
        uint64_t user_rest = rest(sum->user_limit, sum->user_held);
        uint64_t session_rest = rest(sum->session_limit, sum->session_held);

        if (sum->need == 0)
                return true;
        if (sum->need > user_rest || sum->need > session_rest) {
                bool session = sum->need > session_rest;

                *ret_shortage = (struct account_shortage) {
                        .kind = sum->kind,
                        .limit = session ? sum->session_limit : sum->user_limit,
                        .use = session ? sum->session_held : sum->user_held,
                };
                return false;
        }
        sum->given = minimum(sum->need > sum->chunk ? sum->need : sum->chunk, minimum(user_rest, session_rest));
        return true;
}

bool account_charge(struct account *account,
                    const struct credit_amount *user_limits,
                    const struct credit_amount *session_limits,
                    const struct credit_amount *session_held,
                    const struct credit_amount *need,
                    struct credit_amount *ret_given,
                    struct account_shortage *ret_shortage) {
        static const struct credit_amount chunk = CREDIT_CHUNK;
        struct sum sums[] = {
#define SUM(k, field)                                                                                                  \
        { .kind = (k), .need = need->field, .user_limit = user_limits->field, .user_held = account->held.field,        \
          .session_limit = session_limits->field, .session_held = session_held->field, .chunk = chunk.field }
                SUM(CREDIT_PINNED, pinned),
                SUM(CREDIT_ODP, odp),
                SUM(CREDIT_REGISTRATIONS, registrations),
#undef SUM
        };

        for (size_t i = 0; i < ELEMENTSOF(sums); i++)
                if (!charge_sum(sums + i, ret_shortage))
                        return false;

        *ret_given = (struct credit_amount) { sums[0].given, sums[1].given, sums[2].given };
        (void)amount_add(&account->held, ret_given);
        return true;
}

struct credit_amount account_charge_some(struct account *account,
                                         const struct credit_amount *user_limits,
                                         const struct credit_amount *wish) {
        const struct credit_amount left = amount_rest(user_limits, &account->held);
        const struct credit_amount given = amount_minimum(wish, &left);

        (void)amount_add(&account->held, &given);
        return given;
}

void account_take_over(struct account *account, const struct credit_amount *held) {
        (void)amount_add(&account->held, held);
}

void account_release(struct account *account, const struct credit_amount *amount) {
        int r = amount_subtract(&account->held, amount);

        assert(r == 0);
        (void)r;
}

struct visit {
        void (*each)(const struct account *account, void *userdata);
        void *userdata;
};

static void visit_node(const void *node, VISIT which, void *closure) {
        const struct visit *visit = closure;

        if (which == postorder || which == leaf)
                visit->each(*(const struct account *const *)node, visit->userdata);
}

void accounts_each(const struct accounts *accounts, void (*each)(const struct account *account, void *userdata), void *userdata) {
        struct visit visit = { each, userdata };

        twalk_r(accounts->root, visit_node, &visit);
}

void accounts_done(struct accounts *accounts) {
        tdestroy(accounts->root, free);
        *accounts = (struct accounts) { 0 };
}
