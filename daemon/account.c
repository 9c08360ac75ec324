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
        *account = (struct account) { .all = accounts, .uid = uid };
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
        uint64_t need, chunk;
        struct {
                uint64_t limit, held;
        } whose[3]; /* enum credit_whose */
        uint64_t given;
};

static bool charge_sum(struct sum *sum, struct account_shortage *ret_shortage) {
        /* The narrowest is named first. */
        static const enum credit_whose order[] = { CREDIT_OF_SESSION, CREDIT_OF_USER, CREDIT_OF_ALL };
        uint64_t room = UINT64_MAX;

        if (sum->need == 0)
                return true;
        for (size_t i = 0; i < ELEMENTSOF(order); i++) {
                uint64_t limit = sum->whose[order[i]].limit, held = sum->whose[order[i]].held;

                if (sum->need > rest(limit, held)) {
                        *ret_shortage = (struct account_shortage) { sum->kind, order[i], limit, held };
                        return false;
                }
                room = minimum(room, rest(limit, held));
        }
        sum->given = minimum(sum->need > sum->chunk ? sum->need : sum->chunk, room);
        return true;
}

/* Those of an account that is alone. */
static const struct credit_amount *held_by_all(const struct account *account) {
        static const struct credit_amount nothing;

        return account->all ? &account->all->held : &nothing;
}

static void take(struct account *account, const struct credit_amount *amount) {
        (void)amount_add(&account->held, amount);
        if (account->all)
                (void)amount_add(&account->all->held, amount);
}

bool account_charge(struct account *account,
                    const struct account_limits *limits,
                    const struct credit_amount *session_held,
                    const struct credit_amount *need,
                    struct credit_amount *ret_given,
                    struct account_shortage *ret_shortage) {
        static const struct credit_amount chunk = CREDIT_CHUNK;
        const struct credit_amount *all = held_by_all(account);
        struct sum sums[] = {
#define SUM(k, field)                                                                                                  \
        { .kind = (k),                                                                                                 \
          .need = need->field,                                                                                         \
          .chunk = chunk.field,                                                                                        \
          .whose = { [CREDIT_OF_SESSION] = { limits->session.field, session_held->field },                             \
                     [CREDIT_OF_USER] = { limits->user.field, account->held.field },                                   \
                     [CREDIT_OF_ALL] = { limits->total.field, all->field } } }
                SUM(CREDIT_PINNED, pinned),
                SUM(CREDIT_ODP, odp),
                SUM(CREDIT_REGISTRATIONS, registrations),
#undef SUM
        };

        for (size_t i = 0; i < ELEMENTSOF(sums); i++)
                if (!charge_sum(sums + i, ret_shortage))
                        return false;

        *ret_given = (struct credit_amount) { sums[0].given, sums[1].given, sums[2].given };
        take(account, ret_given);
        return true;
}

struct credit_amount account_charge_some(struct account *account,
                                         const struct account_limits *limits,
                                         const struct credit_amount *wish) {
        const struct credit_amount users = amount_rest(&limits->user, &account->held);
        const struct credit_amount everybodys = amount_rest(&limits->total, held_by_all(account));
        const struct credit_amount left = amount_minimum(&users, &everybodys);
        const struct credit_amount given = amount_minimum(wish, &left);

        take(account, &given);
        return given;
}

void account_take_over(struct account *account, const struct credit_amount *held) {
        take(account, held);
}

void account_release(struct account *account, const struct credit_amount *amount) {
        int r = amount_subtract(&account->held, amount);

        assert(r == 0);
        if (account->all)
                r = amount_subtract(&account->all->held, amount);
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
