/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_LOG_LIMIT_H
#define PL_LOG_LIMIT_H

/*
 * How much is written to the journal: of each kind of message, and of what concerns each user, so many lines in a while;
 * the others are counted. One user's processes cannot drown what is said about others, nor one kind of message another.
 *
 * A session says one thing and ends, so the count cannot be its own. It is kept in a page of memory per user, which pinleased
 * makes (log_limit_fd()), hands to every session that it starts for this user, and counts in itself. The page is written by
 * registrars: one that has been taken over by its client can make its own user's messages disappear, no others.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "log-messages.h"

#define LOG_LIMIT_BURST 10
#define LOG_LIMIT_INTERVAL_MS 10000

/* Users that are told apart at a time. Those beyond count as one. */
#define LOG_LIMIT_USERS 64

/* pinleased: the page of a user, as a descriptor that remains log-limit's until the next call; -1: none can be had. */
int log_limit_fd(uid_t uid);

/* A session: counts in this page from now on, whatever the user. Returns 0 or a negative errno, and then counts for itself. */
int log_limit_use(int fd);

/* May one more of these be written? uid: NULL for what concerns no user. *ret_missed: so many were not, in an interval
 * that is over now. */
bool log_limit_take(const uid_t *uid, enum log_message message, uint32_t *ret_missed);

/* What was not written in intervals that are over (all: in any), once. uid as above. */
typedef void (*log_limit_report)(const uid_t *uid, enum log_message message, uint32_t missed);
void log_limit_reap(bool all, log_limit_report report);

#endif
