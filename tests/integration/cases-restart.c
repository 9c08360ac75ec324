/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pinleased is replaced, or dies, while sessions transfer: no transfer and no request fails, and the successor knows
 * everything that its predecessor knew. PINLEASE_SOAK=1 makes the numbers large.
 */

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "chance.h"
#include "harness.h"
#include "pinlease/pinlease.h"
#include "process.h"
#include "service.h"
#include "traffic.h"
#include "view.h"

/* --- sessions of two users, and what is known of them --- */

#define N_APPS 4

struct crowd {
        struct traffic traffic[N_APPS];
        struct app apps[N_APPS];
        struct view_session known[N_APPS];
};

static void crowd_look(const struct crowd *c, struct view_session *ret_known) {
        static struct view view;

        view_list(NULL, &view);
        for (unsigned int i = 0; i < N_APPS; i++)
                ret_known[i] = *view_of(&view, c->apps[i].pid);
}

static void crowd_start(struct crowd *c, uint64_t *state) {
        for (unsigned int i = 0; i < N_APPS; i++) {
                c->traffic[i] = (struct traffic) { .user = i % 2 ? "alice" : NULL, .seed = chance(state) };
                c->apps[i] = traffic_start(&c->traffic[i]);
        }
        for (unsigned int i = 0; i < N_APPS; i++)
                traffic_proves(&c->apps[i]);
        crowd_look(c, c->known);
        for (unsigned int i = 0; i < N_APPS; i++) {
                CHECK(c->known[i].n_registrations >= TRAFFIC_LASTING);
                CHECK(c->known[i].credit.pinned >= TRAFFIC_PINNED);
                CHECK(!c->known[i].resumed);
        }
}

/* What a user's sessions hold is what is charged to the user. */
static void check_user(const struct crowd *c, const struct status *status, unsigned int first) {
        const struct view_user *user = view_user(status, c->known[first].uid);
        struct amount sum = { 0 };
        unsigned int n = 0;

        if (!user)
                FAIL("user %u is not listed", (unsigned int)c->known[first].uid);
        for (unsigned int i = first; i < N_APPS; i += 2, n++)
                amount_add(&sum, &c->known[i].credit);
        CHECK_EQUAL(user->sessions, n);
        if (!amount_equal(&user->credit, &sum))
                FAIL("user %u is charged for %s; the sessions hold %s",
                     (unsigned int)user->uid,
                     amount_text(&user->credit),
                     amount_text(&sum));
}

/* At once after a restart. */
static void crowd_check(const struct crowd *c, unsigned int done) {
        struct view_session now[N_APPS];
        struct status status;

        crowd_look(c, now);
        for (unsigned int i = 0; i < N_APPS; i++) {
                const struct view_session *was = &c->known[i], *is = &now[i];

                CHECK_EQUAL(is->id, was->id);
                CHECK_EQUAL(is->uid, was->uid);
                CHECK_EQUAL(is->keeper, was->keeper);
                CHECK_EQUAL(is->registrar, was->registrar);
                CHECK(strcmp(is->state, "serving") == 0);
                CHECK(is->resumed);
                if (!amount_equal(&is->credit, &was->credit))
                        FAIL("after %u: session %" PRIu64 " held %s, now %s",
                             done,
                             is->id,
                             amount_text(&was->credit),
                             amount_text(&is->credit));
                CHECK(is->n_registrations >= TRAFFIC_LASTING);
                for (unsigned int k = 0; k < TRAFFIC_LASTING; k++)
                        CHECK_EQUAL(is->ids[k], was->ids[k]);
                CHECK(is->in_use.registrations >= TRAFFIC_LASTING);
        }
        view_status(NULL, &status);
        CHECK(strcmp(status.state, "serving") == 0);
        CHECK_EQUAL(status.resumed, N_APPS);
        CHECK_EQUAL(status.other_version, 0);
        check_user(c, &status, 0);
        check_user(c, &status, 1);
}

static void crowd_proves(struct crowd *c) {
        for (unsigned int i = 0; i < N_APPS; i++)
                traffic_proves(&c->apps[i]);
}

static void crowd_stop(struct crowd *c) {
        for (unsigned int i = 0; i < N_APPS; i++)
                app_hang_up(&c->apps[i]);
        for (unsigned int i = 0; i < N_APPS; i++)
                app_finish(&c->apps[i]);
}

/* --- again and again --- */

enum way { KILLED, RESTARTED };

/* Ends pinleased, and somebody connects while it is on its way down, or away, or on its way up. */
static void replace(enum way way, uint64_t *state, struct app *newcomer) {
        struct status before, after;
        bool early = chance(state) % 2;
        pid_t systemctl = 0;

        view_status(NULL, &before);
        chance_wait(state, 50);
        if (early)
                newcomer_connect(newcomer);
        if (way == KILLED)
                CHECK_CALL(kill(before.pid, SIGKILL));
        else
                systemctl = command_start("systemctl restart pinlease.service");
        chance_wait(state, way == KILLED ? 50 : 400);
        if (!early)
                newcomer_connect(newcomer);
        if (systemctl)
                command_finish(systemctl);
        /* If it is still to come, who asks waits for it. */
        view_status(NULL, &after);
        CHECK(after.pid != before.pid);
}

static void run_again_and_again(const void *argument) {
        const enum way *way = argument;
        unsigned int n = soak_rounds(20, 1000);
        uint64_t state = chance_begin();
        struct app newcomer = newcomer_start();
        static struct crowd crowd;

        view_expect_nothing(NULL);
        crowd_start(&crowd, &state);
        for (unsigned int done = 1; done <= n; done++) {
                replace(*way, &state, &newcomer);
                crowd_check(&crowd, done);
                crowd_proves(&crowd);
                newcomer_served(&newcomer);
        }
        newcomer_stop(&newcomer);
        crowd_stop(&crowd);
        view_expect_nothing(NULL);
}

/* --- a crash loop --- */

static void run_crash_loop(const void *argument _unused_) {
        unsigned int n = soak_rounds(12, 300);
        uint64_t state = chance_begin();
        struct app newcomer = newcomer_start();
        static struct crowd crowd;
        pid_t pid = 0;

        crowd_start(&crowd, &state);
        newcomer_connect(&newcomer);
        newcomer_served(&newcomer);
        for (unsigned int done = 0; done < n; done++) {
                /* Most of them before they are ready. */
                pid = service_await_other(pid);
                (void)kill(pid, SIGKILL);
                if (done == n / 2)
                        newcomer_connect(&newcomer);
        }
        (void)service_await_other(pid);
        newcomer_served(&newcomer);
        crowd_check(&crowd, n);
        crowd_proves(&crowd);
        command("systemctl is-active pinlease.service pinlease.socket pinlease-session.socket pinlease-admin.socket");
        newcomer_stop(&newcomer);
        crowd_stop(&crowd);
        view_expect_nothing(NULL);
}

/* --- one that hangs --- */

static void run_watchdog(const void *argument _unused_) {
        uint64_t state = chance_begin();
        static struct crowd crowd;
        char line[64];
        pid_t pid;

        service_drop_in("[Service]\nWatchdogSec=2\n");
        crowd_start(&crowd, &state);
        command("systemctl restart pinlease.service");
        pid = process_daemon();
        CHECK_CALL(kill(pid, SIGSTOP));
        crowd_proves(&crowd);
        (void)service_await_other(pid);
        crowd_check(&crowd, 1);
        crowd_proves(&crowd);
        command_line("journalctl --sync; "
                     "journalctl --boot --output cat _PID=1 UNIT=pinlease.service | grep -c 'Watchdog timeout'",
                     line,
                     sizeof line);
        CHECK(atoi(line) > 0);
        service_drop_out();
        command("systemctl restart pinlease.service");
        crowd_check(&crowd, 2);
        crowd_stop(&crowd);
        view_expect_nothing(NULL);
}

/* --- killed in the instant in which sessions start --- */

#define STORM 6

static void storm_app(int channel, const void *argument _unused_) {
        uint64_t n = 0;
        struct pollfd p = { .fd = channel, .events = POLLIN };

        for (;; n++) {
                struct pinlease *session;

                if (pinlease_connect(NULL, NULL, NULL, &session) < 0)
                        FAIL("not served: %s", pinlease_refusal(NULL)->sentence);
                if (pinlease_ping(session) < 0)
                        FAIL("not served any more: %s", pinlease_refusal(session)->sentence);
                if (poll(&p, 1, 0) > 0) {
                        /* The last one stays. */
                        await(channel);
                        tell_value(channel, n);
                        await_end(channel);
                        pinlease_disconnect(session);
                        return;
                }
                pinlease_disconnect(session);
        }
}

struct expectation {
        const struct app *apps;
        unsigned int n;
};

/* Those that live are those that are known, and those are the apps'. */
static bool all_are_known(const void *argument) {
        const struct expectation *e = argument;
        static struct view view;

        view_list(NULL, &view);
        if (view.n != e->n || process_count(PROCESS_SERVICE) != 2 * e->n)
                return false;
        for (unsigned int i = 0; i < e->n; i++) {
                const struct view_session *session = view_of(&view, e->apps[i].pid);
                struct session processes;

                if (!session_find(e->apps[i].pid, &processes))
                        return false;
                CHECK_EQUAL(session->keeper, processes.keeper);
                CHECK_EQUAL(session->registrar, processes.registrar);
        }
        return true;
}

static void run_storm(const void *argument _unused_) {
        unsigned int n = soak_rounds(8, 500);
        uint64_t state = chance_begin(), total = 0;
        struct app apps[STORM];
        pid_t pid = 0;

        for (unsigned int i = 0; i < STORM; i++)
                apps[i] = app_start(storm_app, NULL);
        for (unsigned int done = 0; done < n; done++) {
                struct status status;

                do
                        view_status(NULL, &status);
                while (status.pid == pid);
                pid = status.pid;
                chance_wait(&state, 150);
                CHECK_CALL(kill(pid, SIGKILL));
        }
        for (unsigned int i = 0; i < STORM; i++)
                tell(apps[i].channel);
        for (unsigned int i = 0; i < STORM; i++)
                total += await_value(apps[i].channel);
        if (!eventually(all_are_known, &(const struct expectation) { apps, STORM }))
                FAIL("%u processes of sessions for %d apps, not all of them known", process_count(PROCESS_SERVICE), STORM);
        printf("%" PRIu64 " sessions, %u kills\n", total, n);
        for (unsigned int i = 0; i < STORM; i++) {
                app_hang_up(&apps[i]);
                app_finish(&apps[i]);
        }
        view_expect_nothing(NULL);
}

static const enum way killed = KILLED, restarted = RESTARTED;

const struct test_case cases_restart[] = {
        { "restart: by systemctl, again and again", run_again_and_again, &restarted, CASE_LONG },
        { "restart: pinleased killed again and again", run_again_and_again, &killed, CASE_LONG },
        { "restart: a crash loop", run_crash_loop, NULL, CASE_LONG },
        { "restart: pinleased hangs, the watchdog bites", run_watchdog, NULL, CASE_LONG },
        { "restart: killed while sessions start", run_storm, NULL, CASE_LONG },
        { 0 },
};
