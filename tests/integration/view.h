/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_VIEW_H
#define TEST_VIEW_H

/*
 * What pinleased says by its admin socket. A pinleased that is killed while it answers is no failure: its successor is
 * asked. Failures end the case.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct amount {
        uint64_t pinned, odp, registrations;
};

bool amount_equal(const struct amount *a, const struct amount *b);
void amount_add(struct amount *sum, const struct amount *more);
/* In a buffer that the next calls but one use again. */
const char *amount_text(const struct amount *amount);

#define VIEW_SESSIONS 128
#define VIEW_IDS      16
#define VIEW_USERS    16

struct view_session {
        uint64_t id;
        pid_t pid, keeper, registrar;
        uid_t uid;
        char state[16];
        bool resumed;
        struct amount in_use, credit;
        unsigned int n_registrations; /* listed */
        uint64_t ids[VIEW_IDS];       /* their numbers, the first ones */
};

/* `list` */
struct view {
        unsigned int n;
        struct view_session sessions[VIEW_SESSIONS];
};

struct view_user {
        uid_t uid;
        unsigned int sessions;
        struct amount credit;
};

/* `status` */
struct status {
        pid_t pid;
        char state[16];
        unsigned int sessions, silent, resumed, other_version;
        struct amount in_use, credit;
        unsigned int n_users;
        struct view_user users[VIEW_USERS];
};

/* directory: where the sockets are; NULL: the service's. */
void view_list(const char *directory, struct view *ret_view);
void view_status(const char *directory, struct status *ret_status);

/* The session of an app, which must be there, and once. */
const struct view_session *view_of(const struct view *view, pid_t app);
/* NULL: there is none. */
const struct view_user *view_user(const struct status *status, uid_t uid);

/* Waits until there is no session, and checks that nothing is held or in use. */
void view_expect_nothing(const char *directory);

#endif
