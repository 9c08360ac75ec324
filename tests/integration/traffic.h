/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_TRAFFIC_H
#define TEST_TRAFFIC_H

/*
 * Apps that nothing may disturb: each has a pinned and an ODP registration for as long as it lives, transfers by the keys it
 * was given first, and registers, transfers, pings, deregisters in turn beside that. What fails, fails the case.
 */

#include "harness.h"

struct traffic {
        const char *user; /* NULL: root */
        const char *path; /* of the socket; NULL: the service's */
        uint64_t seed;
};

/* What lasts, of each app. The pinned one is more than a session's initial credit. */
#define TRAFFIC_LASTING 2
#define TRAFFIC_PINNED  (UINT64_C(2) << 20)

/* Started, and at work. */
struct app traffic_start(const struct traffic *traffic);
/* Waits until it has done a whole round from now on. */
void traffic_proves(struct app *app);
void traffic_stop(struct app *app);

/* An app of a user of its own (NEWCOMER_UID), a member of the service's group: connects by the library whenever it is told to,
 * pings, disconnects. newcomer_served() waits for that. */
#define NEWCOMER_UID 4250
struct app newcomer_start(void);
void newcomer_connect(struct app *app);
void newcomer_served(struct app *app);
void newcomer_stop(struct app *app);

#endif
