/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#include "log-limit.h"
#include "waiting.h"

/* No process can be had. */
static bool fork_fails;
static unsigned int n_forks;

pid_t __real_fork(void);
pid_t __wrap_fork(void);
pid_t __wrap_fork(void) {
        n_forks++;
        errno = EAGAIN;
        return fork_fails ? -1 : __real_fork();
}

struct fixture {
        sd_event *event;
        struct accounts accounts;
        struct disposal disposal;
        struct waiting waiting;
        unsigned int n_ready;
        bool busy; /* nobody is taken now */
        int taken;
};

static bool on_ready(void *userdata, int client, struct peer *peer) {
        struct fixture *f = userdata;

        f->n_ready++;
        if (f->busy)
                return false;
        assert_true(peer->pidfd >= 0);
        /* As a session that has a copy. */
        f->taken = dup(client);
        pl_close(client);
        return true;
}

static void setup(struct fixture *f, unsigned int timeout_ms) {
        *f = (struct fixture) { .taken = -1 };
        fork_fails = false;
        n_forks = 0;
        assert_int_equal(sd_event_new(&f->event), 0);
        disposal_init(&f->disposal, f->event);
        waiting_init(&f->waiting, f->event, &f->accounts, &f->disposal, timeout_ms, on_ready, f);
}

static void teardown(struct fixture *f) {
        waiting_done(&f->waiting);
        disposal_done(&f->disposal);
        assert_null(f->accounts.root);
        assert_int_equal(f->accounts.n_silent, 0);
        accounts_done(&f->accounts);
        f->event = sd_event_unref(f->event);
        pl_close(f->taken);
}

static void turn(struct fixture *f, uint64_t usec) {
        assert_true(sd_event_run(f->event, usec) >= 0);
}

#define RUN_UNTIL(f, condition)                                       \
        for (uint64_t deadline_ = pl_now_ms() + TESTING_PATIENCE_MS; !(condition);) { \
                if (pl_now_ms() > deadline_)                          \
                        fail_msg("in vain: %s", #condition);          \
                turn((f), 10000);                                     \
        }

/* Returns the app's end. */
static int come(struct fixture *f, uid_t uid) {
        struct peer peer = { .pid = getpid(), .uid = uid, .pidfd = pidfd_open(getpid(), 0) };
        struct account *account = account_get(&f->accounts, uid);
        int pair[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        assert_int_equal(waiting_add(&f->waiting, pair[0], &peer, account), 0);
        assert_int_equal(peer.pidfd, -1);
        return pair[1];
}

static void speak(int fd) {
        assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
}

TEST(test_speaks) {
        struct fixture f;
        int app;

        setup(&f, 60000);
        app = come(&f, 1000);
        assert_int_equal(f.accounts.n_silent, 1);
        turn(&f, 0);
        assert_int_equal(f.n_ready, 0);
        speak(app);
        RUN_UNTIL(&f, f.taken >= 0);
        assert_int_equal(f.accounts.n_silent, 0);
        assert_null(f.accounts.root);

        /* What it says from now on is somebody else's: nobody looks here, although the connection lives. */
        speak(app);
        for (unsigned int i = 0; i < 10; i++)
                assert_int_equal(sd_event_run(f.event, 1000), 0);
        assert_int_equal(f.n_ready, 1);
        pl_close(app);
        for (unsigned int i = 0; i < 10; i++)
                assert_int_equal(sd_event_run(f.event, 1000), 0);
        teardown(&f);
}

TEST(test_hangs_up) {
        struct fixture f;
        int app;

        setup(&f, 60000);
        app = come(&f, 1000);
        pl_close(app);
        RUN_UNTIL(&f, f.accounts.n_silent == 0);
        /* Also if it has said something. */
        app = come(&f, 1000);
        speak(app);
        pl_close(app);
        RUN_UNTIL(&f, f.accounts.n_silent == 0);
        assert_int_equal(f.n_ready, 0);
        RUN_UNTIL(&f, disposal_waiting(&f.disposal) == 0);
        teardown(&f);
}

TEST(test_silent) {
        struct fixture f;
        int apps[5];

        setup(&f, 300);
        for (unsigned int i = 0; i < ELEMENTSOF(apps); i++)
                apps[i] = come(&f, 1000 + i);
        speak(apps[2]);
        RUN_UNTIL(&f, f.taken >= 0);
        RUN_UNTIL(&f, f.accounts.n_silent == 0);
        for (unsigned int i = 0; i < ELEMENTSOF(apps); i++) {
                if (i != 2)
                        RUN_UNTIL(&f, poll(&(struct pollfd) { .fd = apps[i], .events = POLLIN }, 1, 0) > 0);
                pl_close(apps[i]);
        }
        teardown(&f);
}

/* One that cannot be taken now is asked again when its user's turn has come, and not before. */
TEST(test_not_now) {
        struct fixture f;
        int app, other;

        setup(&f, 60000);
        f.busy = true;
        app = come(&f, 1000);
        other = come(&f, 1001);
        speak(app);
        speak(other);
        RUN_UNTIL(&f, f.n_ready == 2);
        for (unsigned int i = 0; i < 10; i++)
                turn(&f, 0);
        assert_int_equal(f.n_ready, 2);
        waiting_resume(&f.waiting, account_get(&f.accounts, 1000));
        RUN_UNTIL(&f, f.n_ready == 3);
        for (unsigned int i = 0; i < 10; i++)
                turn(&f, 0);
        assert_int_equal(f.n_ready, 3);
        f.busy = false;
        waiting_resume(&f.waiting, account_get(&f.accounts, 1001));
        RUN_UNTIL(&f, f.taken >= 0);
        f.taken = pl_close(f.taken);
        /* Who has spoken is not silent, and waits for as long as it takes. */
        assert_int_equal(f.accounts.n_silent, 0);
        assert_int_equal(f.accounts.n_waiting, 1);
        waiting_resume(&f.waiting, NULL);
        RUN_UNTIL(&f, f.taken >= 0);
        assert_int_equal(f.accounts.n_waiting, 0);
        pl_close(app);
        pl_close(other);
        teardown(&f);
}

/* Many are closed by few processes, and at once if there are that many. */
TEST(test_disposal) {
        struct fixture f;
        int pairs[200][2];

        setup(&f, 1);
        for (unsigned int i = 0; i < ELEMENTSOF(pairs); i++) {
                assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pairs[i]), 0);
                disposal_close(&f.disposal, pairs[i][0]);
                assert_true(disposal_waiting(&f.disposal) < CLOSER_MAX);
        }
        RUN_UNTIL(&f, disposal_waiting(&f.disposal) == 0);
        assert_int_equal(n_forks, (ELEMENTSOF(pairs) + CLOSER_MAX - 1) / CLOSER_MAX);
        for (unsigned int i = 0; i < ELEMENTSOF(pairs); i++) {
                (void)testing_wait_fd(pairs[i][1], POLLIN);
                pl_close(pairs[i][1]);
        }
        teardown(&f);
}

/* No process to be had: nothing is closed, nothing is lost, and it goes on when there are some again. */
TEST(test_no_processes) {
        struct fixture f;
        int pairs[100][2];

        setup(&f, 1);
        fork_fails = true;
        for (unsigned int i = 0; i < ELEMENTSOF(pairs); i++) {
                assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pairs[i]), 0);
                disposal_close(&f.disposal, pairs[i][0]);
        }
        RUN_UNTIL(&f, n_forks > 5);
        assert_int_equal(disposal_waiting(&f.disposal), ELEMENTSOF(pairs));
        fork_fails = false;
        RUN_UNTIL(&f, disposal_waiting(&f.disposal) == 0);
        for (unsigned int i = 0; i < ELEMENTSOF(pairs); i++) {
                (void)testing_wait_fd(pairs[i][1], POLLIN);
                pl_close(pairs[i][1]);
        }
        teardown(&f);
}

/* What is logged of users is counted in pages that stay. */
static int make_pages(void **unused _unused_) {
        for (uid_t uid = 1000; uid < 1005; uid++)
                if (log_limit_fd(uid) < 0)
                        return -1;
        return 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_speaks),  CHECKED(test_hangs_up), CHECKED(test_silent),
                CHECKED(test_not_now), CHECKED(test_disposal), CHECKED(test_no_processes),
        };

        return cmocka_run_group_tests_name("waiting", tests, make_pages, NULL);
}
