/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "fake_uverbs.h"
#include "force.h"
#include "wraps.h"

#define PAGE 4096

/* What is done to the app, and what that does to the fake. */
struct app {
        unsigned int n_stops, n_releases, n_kills;
        int stop_error, kill_error;
        bool stands_still;
        void (*stopped)(void);
        void (*killed)(void);
};

static int stop(void *userdata) {
        struct app *app = userdata;

        assert_false(app->stands_still);
        app->n_stops++;
        if (app->stop_error < 0)
                return app->stop_error;
        app->stands_still = true;
        if (app->stopped)
                app->stopped();
        return 0;
}

static void release(void *userdata) {
        struct app *app = userdata;

        assert_true(app->stands_still);
        app->n_releases++;
        app->stands_still = false;
}

static int kill_app(void *userdata) {
        struct app *app = userdata;

        assert_false(app->stands_still);
        app->n_kills++;
        if (app->kill_error < 0)
                return app->kill_error;
        if (app->killed)
                app->killed();
        return 0;
}

static const struct force_ops ops = { .stop = stop, .release = release, .kill = kill_app };

#define MAX 16

struct fixture {
        struct app app;
        struct force force;
        struct uverbs_device device;
        struct ledger_record record;
        struct uverbs_mr_keys keys[MAX];
        void *page;
};

static void fixture_init(struct fixture *f, unsigned int n_mrs) {
        fake_reset();
        wraps_reset();
        *f = (struct fixture) { .device = { open("/dev/null", O_RDWR | O_CLOEXEC), FAKE_DRIVER_ID } };
        f->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(f->page, MAP_FAILED);
        f->record = (struct ledger_record) { .start = (uintptr_t)f->page, .iova = (uintptr_t)f->page, .length = PAGE };
        f->force = (struct force) { .uverbs = &fake_ops, .ops = &ops, .userdata = &f->app };
        for (unsigned int i = 0; i < n_mrs; i++)
                assert_int_equal(fake_ops.reg_mr(&f->device, 0, f->record.start, PAGE, f->record.iova, 0, f->keys + i),
                                 0);
}

/* Whatever has happened, the app goes on. */
static void fixture_done(struct fixture *f, unsigned int left) {
        force_end(&f->force);
        assert_false(f->app.stands_still);
        assert_int_equal(f->app.n_releases, f->app.stop_error < 0 ? 0 : f->app.n_stops);
        assert_int_equal(fake_live(), left);
        assert_int_equal(munmap(f->page, PAGE), 0);
        pl_close(f->device.fd);
}

static enum mr_outcome take(struct fixture *f, unsigned int i) {
        return force_mr(&f->force, &f->device, &f->record, f->keys + i);
}

TEST(test_lets_go) {
        struct fixture f;

        fixture_init(&f, 1);
        assert_int_equal(take(&f, 0), MR_DESTROYED);
        assert_int_equal(take(&f, 0), MR_FOREIGN);
        assert_int_equal(f.app.n_stops, 0);
        fixture_done(&f, 0);
}

/* Only the MR that the ledger names, whenever the app replaces it. */
TEST(test_foreign) {
        struct fake_mr *mr;
        struct fixture f;

        fixture_init(&f, 1);
        fake->n_busy = 5;
        fake_app_dereg(f.device.fd, f.keys[0].handle);
        mr = fake_app_reg(f.device.fd, PAGE, f.record.iova);
        assert_int_equal(mr->handle, f.keys[0].handle);
        assert_int_equal(take(&f, 0), MR_FOREIGN);
        assert_true(mr->live);
        assert_int_equal(f.app.n_stops, 0);
        fixture_done(&f, 0);
}

TEST(test_busy_for_a_while) {
        struct fixture f;

        fixture_init(&f, 1);
        fake->n_busy = 20;
        assert_int_equal(take(&f, 0), MR_DESTROYED);
        assert_int_equal(wraps_n_sleeps, 20);
        assert_int_equal(f.app.n_stops, 0);
        fixture_done(&f, 0);
}

TEST(test_windows) {
        struct fixture f;

        fixture_init(&f, 2);
        fake->n_windows = 1000;
        assert_int_equal(take(&f, 0), MR_DESTROYED);
        assert_int_equal(fake->n_freed, 1000);
        assert_int_equal(wraps_n_sleeps, 0);
        assert_int_equal(take(&f, 1), MR_DESTROYED);
        assert_int_equal(f.app.n_stops, 0);
        fixture_done(&f, 0);
}

/* A thread binds another whenever one is deallocated, and queries meanwhile. */
TEST(test_windows_again) {
        struct fixture f;

        fixture_init(&f, 1);
        fake->n_windows = 1;
        fake->n_rebound = 10;
        fake->n_busy = 3;
        assert_int_equal(take(&f, 0), MR_DESTROYED);
        assert_int_equal(fake->n_freed, 11);
        assert_int_equal(f.app.n_stops, 0);
        fixture_done(&f, 0);
}

static void rests(void) {
        fake->dereg_error = 0;
        fake->n_rebound = 0;
}

/* Busy, or bound, for as long as the app runs. One stop is enough for all. */
TEST(test_stops) {
        static const int errors[] = { -EBUSY, -EINVAL };

        for (size_t k = 0; k < ELEMENTSOF(errors); k++) {
                struct fixture f;

                fixture_init(&f, MAX);
                f.app.stopped = rests;
                if (errors[k] == -EBUSY)
                        fake->dereg_error = -EBUSY;
                else {
                        fake->n_windows = 1;
                        fake->n_rebound = 1U << 30;
                }
                assert_false(force_holds(&f.force));
                assert_int_equal(take(&f, 0), MR_DESTROYED);
                assert_true(force_holds(&f.force));
                assert_true(f.app.stands_still);
                for (unsigned int i = 1; i < MAX; i++)
                        assert_int_equal(take(&f, i), MR_DESTROYED);
                assert_int_equal(f.app.n_stops, 1);
                force_end(&f.force);
                assert_false(f.app.stands_still || force_holds(&f.force));
                fixture_done(&f, 0);
        }
}

/* It goes on after its time, even if there is more to do; then it is stopped once more. */
TEST(test_stop_is_short) {
        struct fixture f;

        fixture_init(&f, 3);
        f.app.stopped = rests;
        fake->dereg_error = -EBUSY;
        assert_int_equal(take(&f, 0), MR_DESTROYED);
        wraps_clock->jumped_ms += 100;
        assert_false(force_holds(&f.force));
        assert_int_equal(take(&f, 1), MR_DESTROYED);
        assert_false(f.app.stands_still);
        fake->dereg_error = -EBUSY;
        assert_int_equal(take(&f, 2), MR_DESTROYED);
        assert_int_equal(f.app.n_stops, 2);
        fixture_done(&f, 0);
}

/* It does not help: a child does it. All of it is over soon, and the app is not stopped for each. */
TEST(test_stopped_in_vain) {
        static const int errors[] = { -EBUSY, -EINVAL };

        for (size_t k = 0; k < ELEMENTSOF(errors); k++) {
                struct fixture f;
                uint64_t began;

                fixture_init(&f, 2);
                fake->dereg_error = errors[k];
                began = pl_now_ms();
                assert_int_equal(take(&f, 0), MR_KEPT);
                assert_in_range(pl_now_ms() - began, 100, TESTING_PATIENCE_MS);
                assert_int_equal(take(&f, 1), MR_KEPT);
                force_end(&f.force);
                assert_int_equal(take(&f, 0), MR_KEPT);
                assert_int_equal(f.app.n_stops, 1);
                wraps_clock->jumped_ms += 10000;
                assert_int_equal(take(&f, 0), MR_KEPT);
                assert_int_equal(f.app.n_stops, 2);
                assert_int_equal(f.app.n_kills, 0);
                fixture_done(&f, 2);
        }
}

static unsigned int calls_of_taking(struct fixture *f) {
        unsigned int before = fake->n_calls;

        assert_int_equal(take(f, 0), MR_KEPT);
        return fake->n_calls - before;
}

/* Nobody waits for a million of them: after a while each gets three tries. */
TEST(test_patience) {
        struct fixture f;
        unsigned int n = 1;

        fixture_init(&f, 1);
        f.force.ops = NULL;
        fake->dereg_error = -EBUSY;
        wraps_clock->stands = wraps_clock->sleeps = true;
        while (calls_of_taking(&f) > 6) {
                force_end(&f.force);
                assert_true(++n < 200);
        }
        assert_true(n > 5);
        wraps_clock->jumped_ms += 1000;
        assert_true(calls_of_taking(&f) > 6);
        fixture_done(&f, 1);
}

TEST(test_cannot_stop) {
        struct fixture f;

        fixture_init(&f, 1);
        f.app.stop_error = -ESRCH;
        fake->dereg_error = -EBUSY;
        assert_int_equal(take(&f, 0), MR_KEPT);
        assert_int_equal(take(&f, 0), MR_KEPT);
        assert_int_equal(f.app.n_stops, 1);
        fixture_done(&f, 1);
}

/* What nobody expects is not waited for; but the next rungs are tried. */
TEST(test_other_errors) {
        struct fixture f;

        fixture_init(&f, 1);
        fake->dereg_error = -EPERM;
        assert_int_equal(take(&f, 0), MR_KEPT);
        assert_int_equal(wraps_n_sleeps, 0);
        /* After the registration: twice the comparison and the deregistration. */
        assert_int_equal(fake->n_calls, 1 + 4);
        fixture_done(&f, 1);
}

/* Windows that cannot be listed or deallocated. */
TEST(test_windows_stay) {
        struct fixture f;

        fixture_init(&f, 1);
        f.app.stopped = rests;
        fake->n_windows = 3;
        fake->window_error = -EBUSY;
        assert_int_equal(take(&f, 0), MR_KEPT);
        assert_int_equal(f.app.n_stops, 1);
        fake->window_error = 0;
        assert_int_equal(take(&f, 0), MR_DESTROYED);
        fixture_done(&f, 0);
}

/* Any call may fail once. */
TEST(test_nth_call_fails) {
        static const int errors[] = { -EBUSY, -EINVAL };

        for (size_t k = 0; k < ELEMENTSOF(errors); k++)
                for (unsigned int i = 1; i < 10; i++) {
                        struct fixture f;

                        fixture_init(&f, 1);
                        fake->n_windows = 2;
                        fake->fail_at = fake->n_calls + i;
                        fake->fail_error = errors[k];
                        assert_int_equal(take(&f, 0), MR_DESTROYED);
                        assert_int_equal(f.app.n_stops, 0);
                        fixture_done(&f, 0);
                }
}

static void is_over(void) {
        fake->dereg_error = 0;
}

TEST(test_kills_if_it_may) {
        struct fixture f;

        fixture_init(&f, 3);
        f.app.killed = is_over;
        fake->dereg_error = -EBUSY;
        assert_int_equal(take(&f, 0), MR_KEPT);
        assert_int_equal(f.app.n_kills, 0);
        f.force.may_kill = true;
        assert_int_equal(take(&f, 0), MR_DESTROYED);
        assert_int_equal(f.app.n_kills, 1);
        assert_int_equal(take(&f, 1), MR_DESTROYED);

        /* It is dead: neither stopped nor killed any more. */
        fake->dereg_error = -EBUSY;
        wraps_clock->jumped_ms += 10000;
        assert_int_equal(take(&f, 2), MR_KEPT);
        assert_int_equal(f.app.n_stops, 1);
        assert_int_equal(f.app.n_kills, 1);
        fixture_done(&f, 1);
}

/* A child of it goes on. */
TEST(test_killed_in_vain) {
        struct fixture f;

        fixture_init(&f, 1);
        f.force.may_kill = true;
        fake->dereg_error = -EBUSY;
        f.app.kill_error = -EPERM;
        assert_int_equal(take(&f, 0), MR_KEPT);
        f.app.kill_error = 0;
        assert_int_equal(take(&f, 0), MR_KEPT);
        assert_int_equal(take(&f, 0), MR_KEPT);
        assert_int_equal(f.app.n_kills, 2);
        fixture_done(&f, 1);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_lets_go),        CHECKED(test_foreign),         CHECKED(test_busy_for_a_while),
                CHECKED(test_windows),        CHECKED(test_windows_again),   CHECKED(test_stops),
                CHECKED(test_stop_is_short),  CHECKED(test_stopped_in_vain), CHECKED(test_patience),
                CHECKED(test_cannot_stop),    CHECKED(test_other_errors),    CHECKED(test_windows_stay),
                CHECKED(test_nth_call_fails), CHECKED(test_kills_if_it_may), CHECKED(test_killed_in_vain),
        };

        return cmocka_run_group_tests_name("force", tests, NULL, NULL);
}
