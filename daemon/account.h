/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_ACCOUNT_H
#define PL_ACCOUNT_H

/* What each user has of the service: sessions, silent connections, credit. Plain sums; whoever charges also releases. */

#include <sys/types.h>

#include "credit.h"

struct account {
        struct accounts *all; /* NULL: it is alone */
        uid_t uid;
        unsigned int n_silent;   /* connections that have said nothing yet */
        unsigned int n_waiting;  /* those that have, and whose session has not been started yet */
        unsigned int n_starting; /* sessions whose keeper has not introduced itself yet */
        unsigned int n_sessions; /* those that start included */
        unsigned int n_breaks;   /* breaks.h's: open ones, of all sessions */
        struct credit_amount held;
};

struct accounts {
        void *root; /* tsearch(3) by uid */
        unsigned int n_silent;
        unsigned int n_waiting;
        unsigned int n_starting;
        unsigned int n_sessions;
        struct credit_amount held;
};

/* What a session may have; all sessions of a user; all sessions. */
struct account_limits {
        struct credit_amount session, user, total;
};

/* The user's account, a new one if there is none; NULL: no memory. Valid until account_put() finds it empty. */
struct account *account_get(struct accounts *accounts, uid_t uid);

/* Forgets the account if nothing is left in it. NULL is accepted. */
void account_put(struct accounts *accounts, struct account *account);

void account_silent(struct accounts *accounts, struct account *account, int change);
void account_waiting(struct accounts *accounts, struct account *account, int change);
void account_starting(struct accounts *accounts, struct account *account, int change);
void account_session(struct accounts *accounts, struct account *account, int change);

/* Why an account gives less than is asked for. */
struct account_shortage {
        enum credit_kind kind; /* what is used up; CREDIT_NONE: nothing */
        enum credit_whose whose;
        uint64_t limit;
        uint64_t use;
};

/*
 * Takes credit for a session that holds `session_held`. Rounded up to chunks where there is enough, never less than `need`:
 * then nothing is taken and *ret_shortage says why.
 */
bool account_charge(struct account *account,
                    const struct account_limits *limits,
                    const struct credit_amount *session_held,
                    const struct credit_amount *need,
                    struct credit_amount *ret_given,
                    struct account_shortage *ret_shortage);

/* As much of `wish` as there is. */
struct credit_amount account_charge_some(struct account *account,
                                         const struct account_limits *limits,
                                         const struct credit_amount *wish);

/* What a session holds already, from a former pinleased: whatever the limits are now. */
void account_take_over(struct account *account, const struct credit_amount *held);
void account_release(struct account *account, const struct credit_amount *amount);

/* Calls back for each account, in the order of uids. */
void accounts_each(const struct accounts *accounts, void (*each)(const struct account *account, void *userdata), void *userdata);

/* Frees accounts that are not empty, too: the end of the process. */
void accounts_done(struct accounts *accounts);

#endif
