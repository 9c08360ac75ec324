/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_TEST_TRIO_H
#define PL_TEST_TRIO_H

/*
 * Three processes: the keeper under test; a registrar that does what the test wants it to; an app that does nothing but
 * live. The test holds the other ends: the app's socket, the supervisor's, and a line on which the registrar reports.
 */

#include "control.h"
#include "ledger.h"
#include "testing.h"

#define N_MRS 3

/* What the registrar does once it has two contexts and some MRs; it answers the heartbeat until then. */
typedef void (*behaviour_t)(int control, int client);

struct trio {
        pid_t keeper, registrar, app;
        int app_socket, supervisor, report;
        struct ledger ledger;
        void *page;
        bool stuck; /* the keeper is made to believe that its registrar cannot be killed */
        int dead;   /* then: what makes it believe that it has died at last */
        unsigned int kept; /* so many memory regions may be left when the keeper ends */
};

#define TRIO_APP_LIMIT UINT64_C(65536)

/* The limit of locked memory that the keeper has set, in memory that it shares with the test. */
struct ceiling {
        volatile unsigned int n;
        volatile pid_t pid;
        volatile uint64_t soft, hard;
        /* That of the app, which is TRIO_APP_LIMIT at first; and the highest that it has been. */
        volatile unsigned int n_app;
        volatile pid_t app;
        volatile uint64_t app_soft, app_hard, app_most;
};
extern struct ceiling *trio_ceiling;

/* The keeper's patience is long while everything is set up on a machine that may be slow; then its clock is made fast. */
enum { HEARTBEAT_MS = 20, HANG_MS = 10000, NEVER_MS = 24 * 3600 * 1000 };

struct times {
        unsigned int heartbeat_ms, hang_ms;
        bool idle; /* the app has not said anything */
        const char *successor; /* where a pinleased listens */
        bool pins_private; /* its policy has private memory pinned */
};
extern const struct times trio_usual;

void trio_start(struct trio *t, behaviour_t behaviour);
void trio_start_with(struct trio *t, behaviour_t behaviour, const struct times *times, bool stuck);

/* Waits until the registrar has registered everything. */
void trio_wait_ready(struct trio *t);

/* The next word of the registrar; or the next that is not about a heartbeat ('p'). */
void trio_expect(struct trio *t, char what);
void trio_expect_at_last(struct trio *t, char what);

void trio_kill_app(struct trio *t);

/* As the registrar does it: a memory region, in kernel and ledger. */
void trio_register(struct trio *t, uint32_t index, int fd);

/* The session must be over by itself: everything destroyed, the app's socket hung up. Returns the registrar's status. */
int trio_end(struct trio *t);
void assert_killed(int status);

/* --- for the registrar --- */

/* Says a word to the test. */
extern int report_line;
void report(char what);

void tell(int control, uint32_t type, uint32_t context, uint32_t value, int fd);

/* Waits for one message of the keeper; PINGs are answered. */
uint32_t listen_to_keeper(int control, uint32_t *ret_value);

/* Says it and returns the error that the keeper answers. */
uint32_t ask(int control, uint32_t type, uint32_t context, uint32_t value, int fd);

/* Behaves as it should; ends when it is told to, or the app has hung up. */
void serve(int control, int client);

/* Says goodbye, and stays. */
void says_bye(int control, int client);

#endif
