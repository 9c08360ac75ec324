/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "control.h"
#include "freeze.h"

/* An app that runs, as children of the test do. */
struct app {
        pid_t pid;
        int pidfd;
        struct freeze freeze;
};

static char state_of(pid_t pid) {
        char path[32], state = 0;
        FILE *f;

        (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
        f = fopen(path, "re");
        assert_non_null(f);
        /* The name of the test's apps has no blank. */
        assert_int_equal(fscanf(f, "%*d %*s %c", &state), 1);
        (void)fclose(f);
        return state;
}

static void wait_state(pid_t pid, char state) {
        uint64_t end = pl_now_ms() + TESTING_PATIENCE_MS;

        while (state_of(pid) != state) {
                assert_true(pl_now_ms() < end);
                (void)sched_yield();
        }
}

static void app_start(struct app *app) {
        (void)signal(SIGPIPE, SIG_IGN);
        app->pid = testing_fork();
        assert_true(app->pid >= 0);
        if (app->pid == 0) {
                /* Misleading. */
                (void)prctl(PR_SET_NAME, "(x)T)");
                for (;;)
                        (void)pause();
        }
        app->pidfd = pidfd_open(app->pid, 0);
        assert_true(app->pidfd >= 0);
        wait_state(app->pid, 'S');
        app->freeze = (struct freeze)FREEZE_INIT(&app->pidfd, freeze_open_state(app->pid, app->pidfd));
        assert_true(app->freeze.state >= 0);
}

static void app_end(struct app *app) {
        if (app->pid > 0) {
                assert_int_equal(kill(app->pid, SIGKILL), 0);
                (void)testing_wait_child(app->pid);
        }
        freeze_done(&app->freeze);
        assert_int_equal(app->freeze.guard, -1);
        pl_close(app->pidfd);
}

TEST(test_stops_and_releases) {
        struct app app;

        app_start(&app);
        for (unsigned int i = 0; i < 3; i++) {
                assert_int_equal(freeze_order(&app.freeze, CONTROL_FREEZE_STOP), 0);
                assert_int_equal(state_of(app.pid), 'T');
                assert_int_equal(freeze_order(&app.freeze, CONTROL_FREEZE_RELEASE), 0);
                wait_state(app.pid, 'S');
        }
        assert_int_equal(freeze_order(&app.freeze, CONTROL_FREEZE_RELEASE), 0);
        assert_int_equal(freeze_order(&app.freeze, 77), -EINVAL);
        app_end(&app);
}

/* Whoever forgets it does no harm. */
TEST(test_goes_on_by_itself) {
        struct app app;
        uint64_t began;

        app_start(&app);
        began = pl_now_ms();
        assert_int_equal(freeze_stop(&app.freeze), 0);
        wait_state(app.pid, 'S');
        assert_true(pl_now_ms() - began >= FREEZE_MAX_MS);
        /* Its user stops it, and it stays so. */
        assert_int_equal(kill(app.pid, SIGSTOP), 0);
        wait_state(app.pid, 'T');
        freeze_release(&app.freeze);
        assert_int_equal(state_of(app.pid), 'T');
        app_end(&app);
}

TEST(test_goes_on_if_the_keeper_dies) {
        struct app app;
        pid_t keeper;

        app_start(&app);
        keeper = testing_fork();
        assert_true(keeper >= 0);
        if (keeper == 0) {
                if (freeze_stop(&app.freeze) < 0)
                        _exit(1);
                (void)raise(SIGKILL);
        }
        assert_int_equal(testing_wait_child(keeper), SIGKILL);
        wait_state(app.pid, 'S');
        app_end(&app);
}

/* An app that somebody else has stopped is not woken. */
TEST(test_stopped_already) {
        struct app app;

        app_start(&app);
        assert_int_equal(kill(app.pid, SIGSTOP), 0);
        wait_state(app.pid, 'T');
        assert_int_equal(freeze_stop(&app.freeze), 0);
        assert_int_equal(app.freeze.guard, -1);
        freeze_release(&app.freeze);
        assert_int_equal(state_of(app.pid), 'T');
        app_end(&app);
}

/* Its /proc is not to be seen. */
TEST(test_state_unknown) {
        struct app app;

        app_start(&app);
        app.freeze.state = pl_close(app.freeze.state);
        assert_int_equal(freeze_stop(&app.freeze), 0);
        wait_state(app.pid, 'T');
        freeze_release(&app.freeze);
        wait_state(app.pid, 'S');
        app_end(&app);
}

TEST(test_no_app) {
        struct app app;
        pid_t pid;

        app_start(&app);
        pid = app.pid;
        assert_int_equal(kill(app.pid, SIGKILL), 0);
        (void)testing_wait_fd(app.pidfd, POLLIN);
        /* A zombie, and not even that. */
        assert_int_equal(freeze_stop(&app.freeze), -ESRCH);
        assert_int_equal(freeze_open_state(pid, app.pidfd), -1);
        (void)testing_wait_child(app.pid);
        app.pid = 0;
        assert_int_equal(freeze_stop(&app.freeze), -ESRCH);
        assert_int_equal(freeze_open_state(pid, app.pidfd), -1);
        assert_int_equal(freeze_open_state(0, app.pidfd), -1);
        assert_int_equal(freeze_open_state(getpid(), -1), -1);
        app.pidfd = pl_close(app.pidfd);
        assert_int_equal(freeze_stop(&app.freeze), -ESRCH);
        freeze_release(&app.freeze);
        app_end(&app);
}

/* It dies, and is replaced by nobody, while it is stopped. */
TEST(test_dies_meanwhile) {
        struct app app;

        app_start(&app);
        assert_int_equal(freeze_stop(&app.freeze), 0);
        assert_int_equal(kill(app.pid, SIGKILL), 0);
        (void)testing_wait_child(app.pid);
        app.pid = 0;
        freeze_release(&app.freeze);
        app_end(&app);
}

TEST(test_kills) {
        struct app app;

        app_start(&app);
        assert_int_equal(freeze_order(&app.freeze, CONTROL_FREEZE_KILL), -EPERM);
        assert_int_equal(freeze_stop(&app.freeze), 0);
        app.freeze.may_kill = true;
        assert_int_equal(freeze_order(&app.freeze, CONTROL_FREEZE_KILL), 0);
        assert_int_equal(testing_wait_child(app.pid), SIGKILL);
        app.pid = 0;
        assert_int_equal(freeze_order(&app.freeze, CONTROL_FREEZE_KILL), 0);
        app_end(&app);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_stops_and_releases),
                CHECKED(test_goes_on_by_itself),
                CHECKED(test_goes_on_if_the_keeper_dies),
                CHECKED(test_stopped_already),
                CHECKED(test_state_unknown),
                CHECKED(test_no_app),
                CHECKED(test_dies_meanwhile),
                CHECKED(test_kills),
        };

        return cmocka_run_group_tests_name("freeze", tests, NULL, NULL);
}
