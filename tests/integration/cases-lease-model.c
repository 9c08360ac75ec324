/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Leases by chance: two apps have files registered that another program, the apps themselves and an administrator
 * change or take back, and everybody is killed now and then. After each step what is there is compared with a model
 * (lease-model.h) of what should be. PINLEASE_TEST_SEED repeats a run, PINLEASE_SOAK makes it long.
 */

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chance.h"
#include "ctl.h"
#include "lease-steps.h"
#include "process.h"

static pid_t case_pid;

/* --- the administrator --- */

static void expect_revoked(const struct lm_app *app, const char *folder) {
        for (unsigned int i = 0; i < LM_APPS; i++)
                for (unsigned int k = 0; k < PUPPET_LIVE; k++) {
                        struct lm_registration *r = the_world.m.apps[i].registrations + k;
                        const struct lm_file *file = the_world.m.files + r->file;
                        static const char *const mounts[N_MEMORY_KINDS] = {
                                [MEMORY_TMPFS] = "/mnt/tmpfs", [MEMORY_EXT4_DAX] = "/mnt/ext4-dax"
                        };

                        if (r->state == LM_LIVE && (!app || app == the_world.m.apps + i) &&
                            (!folder || (mounts[file->kind] && strcmp(mounts[file->kind], folder) == 0)))
                                r->must |= lm_bit(PL_REVOKED_BY_ADMINISTRATOR);
                }
}

static void step_administrator(void) {
        const struct ctl ctl = { .directory = the_world.instance.directory };
        struct lm_app *app = lease_some_app();
        struct json_object *documents;
        struct ctl_answer answer;
        char pid[16];

        lease_behave_somehow();
        switch (lease_upto(3)) {
        case 0:
                world_says(&the_world, "pinleasectl list");
                documents = ctl_json(&ctl, "list", NULL);
                CHECK_EQUAL(ctl_count(documents, "registration"),
                            lm_count(the_world.m.apps, LM_NONE) + lm_count(the_world.m.apps + 1, LM_NONE));
                json_object_put(documents);
                return;
        case 1:
                world_says(&the_world, "pinleasectl revoke, app %u", lease_number_of(app));
                (void)snprintf(pid, sizeof pid, "%d", (int)app->app.pid);
                answer = ctl_run(&ctl, "revoke", "--pid", pid, "--grace", "500ms", NULL);
                expect_revoked(app, NULL);
                break;
        default: {
                const char *folder = lease_one_in(2) ? "/mnt/tmpfs" : "/mnt/ext4-dax";

                world_says(&the_world, "pinleasectl release, %s", folder);
                answer = ctl_run(&ctl, "release", "--mount", folder, "--grace", "500ms", NULL);
                expect_revoked(NULL, folder);
        }
        }
        if (answer.status != CTL_NOT_FOUND)
                ctl_expect(&answer, CTL_DONE);
        ctl_done(&answer);
}

/* --- ends --- */

enum victim { APP, APP_EXITS, SESSION_ENDS, REGISTRAR, KEEPER, DAEMON, N_VICTIMS };

static const char *const victims[N_VICTIMS] = {
        "an app is killed",      "an app exits",       "an app ends its session",
        "a registrar is killed", "a keeper is killed", "pinleased is killed",
};

static void strike(enum victim victim, struct lm_app *app) {
        static const char grace[] = { '0' + LM_GRACE_MS / 100, '0', '0', 0 };
        static const char *const options[] = { "--grace", grace, NULL };

        switch (victim) {
        case APP:
                app_kill(&app->app);
                return;
        case APP_EXITS:
                app_hang_up(&app->app);
                app_finish(&app->app);
                return;
        case SESSION_ENDS: {
                const struct puppet_order order = { .word = PUPPET_CONNECTS };

                (void)puppet_ask(&app->app, &order, -1);
                return;
        }
        case REGISTRAR:
                app->ends = true;
                CHECK_CALL(kill(app->registrar, SIGKILL));
                return;
        case KEEPER:
                app->ends = true;
                CHECK_CALL(kill(app->keeper, SIGKILL));
                return;
        default:
                instance_kill(&the_world.instance);
                instance_succeed(&the_world.instance, options);
        }
}

static void recover(enum victim victim, struct lm_app *app) {
        switch (victim) {
        case APP:
        case APP_EXITS:
                world_next_app(&the_world, app);
                return;
        case SESSION_ENDS:
        case REGISTRAR:
        case KEEPER:
                world_next_session(&the_world, app);
                return;
        default:
                return;
        }
}

static void step_end(void) {
        enum victim victim = (enum victim)lease_upto(N_VICTIMS);
        struct lm_app *app = lease_some_app();

        world_says(&the_world, "%s (%u)", victims[victim], lease_number_of(app));
        strike(victim, app);
        recover(victim, app);
}

static bool rival_waits(const void *argument _unused_) {
        return process_waits_for_lease(the_world.rival.pid);
}

/* While somebody waits for a file, and nobody lets go of it by himself. */
static void step_end_in_a_break(void) {
        static const enum victim some[] = { APP, REGISTRAR, KEEPER, DAEMON };
        enum victim victim = some[lease_upto(ELEMENTSOF(some))];
        struct lm_app *app = lease_some_app();
        unsigned int file = lease_some_leased_file();
        struct rival_answer answer;
        struct rival_order order;
        enum lm_lease lease;

        if (file == LM_NONE)
                return;
        order = lease_order_for(RIVAL_TRUNCATES, file);
        lease = world_lease(&the_world, file);
        if (lease != LM_LEASE)
                return;
        the_world.n_killed++;
        for (unsigned int i = 0; i < LM_APPS; i++)
                world_behave(the_world.m.apps + i, CONDUCT_IGNORES);
        world_says(&the_world,
                   "another program: truncate by name, file %u (%s): %" PRIu64 " bytes, and while it waits: %s (%u)",
                   file,
                   lease_kind_of(file),
                   order.size,
                   victims[victim],
                   lease_number_of(app));
        /*
         * With the session that has the lease the lease goes, too, and what the other has registered of the file may be
         * there still when the file is changed: ARCHITECTURE.md, "Known limits".
         */
        if (victim != DAEMON && lease_count(file) > lm_count(app, file) && world_has_lease(&the_world, app, file)) {
                lease = LM_PERHAPS;
                order.n_regions = 0;
        }
        rival_tell(&the_world.rival, &order);
        if (!eventually(rival_waits, NULL))
                FAIL("it does not wait");
        strike(victim, app);
        answer = rival_answer(&the_world.rival);
        lease_judge_rival(&order, file, lease, &answer);
        recover(victim, app);
}

/* --- all of it --- */

static const struct {
        unsigned int weight;
        void (*step)(void);
} steps[] = {
        { 50, lease_step_register },  { 4, lease_step_give_back },
        { 6, lease_step_close },      { 28, lease_step_change },
        { 4, lease_step_keep },       { 4, lease_step_name },
        { 5, lease_step_own_change }, { 2, lease_step_meddle },
        { 5, step_administrator },    { 4, step_end },
        { 6, step_end_in_a_break },
};

static void some_step(void) {
        uint64_t at = 0;
        size_t i = 0;

        for (size_t k = 0; k < ELEMENTSOF(steps); k++)
                at += steps[k].weight;
        for (at = lease_upto(at); at >= steps[i].weight; i++)
                at -= steps[i].weight;
        steps[i].step();
}

static void print_world(void) {
        if (getpid() == case_pid)
                world_print(&the_world);
}

/* Has what the case is about been seen? One that finds nothing because hardly anything has happened is no proof. */
static bool is_enough(void) {
        const struct world *w = &the_world;

        return w->m.n_registered >= 40 && w->n_before >= 5 && w->n_of_both >= 2 && w->m.n_after >= 2 &&
               w->m.n_asked >= 20 && w->m.n_forced >= 4 && w->n_killed >= 1;
}

static void run_model(const void *argument _unused_) {
        unsigned int n = soak_rounds(60, 3000);

        /* Short runs are all alike: what they find shall be what has just been changed. Long ones find what nobody knows of. */
        if (!soak())
                (void)setenv("PINLEASE_TEST_SEED", "21", 0);
        world_begin(&the_world, chance_begin());
        case_pid = getpid();
        at_failure(print_world);
        for (the_world.step = 1; the_world.step <= n || (!is_enough() && the_world.step <= 2 * n); the_world.step++) {
                some_step();
                world_settle(&the_world);
                world_forget_files(&the_world);
        }
        world_end(&the_world);
        (void)printf(
                "%u steps, %u registrations; %u times somebody waited, %u of these for both apps; %u changes found out "
                "afterwards; %u taken back, %u of these by force, where the app was slow %u; %u times somebody was "
                "killed while another waited\n",
                the_world.step - 1,
                the_world.m.n_registered,
                the_world.n_before,
                the_world.n_of_both,
                the_world.m.n_after,
                the_world.m.n_asked,
                the_world.m.n_forced,
                the_world.m.n_late,
                the_world.n_killed);
        (void)fflush(stdout);
        CHECK(is_enough());
}

const struct test_case cases_lease_model[] = {
        { "lease: chance against a model", run_model, NULL, CASE_SHARED | CASE_LONG },
        { 0 },
};
