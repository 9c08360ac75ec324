/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "control.h"
#include "fake_uverbs.h"
#include "fds.h"
#include "keeper.h"
#include "request.h"
#include "wraps.h"

/*
 * Three processes: the keeper under test; a registrar that does what the test wants it to; an app that does nothing but
 * live. The test holds the other ends: the app's socket, the supervisor's, and a line on which the registrar reports.
 */

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

static int report_line;

/* What the keeper has set, in memory that it shares with the test. */
static struct ceiling {
        volatile unsigned int n;
        volatile pid_t pid;
        volatile uint64_t soft, hard;
} *ceiling;

int __wrap_prlimit(pid_t pid, int resource, const struct rlimit *limit, struct rlimit *old);
int __wrap_prlimit(pid_t pid, int resource, const struct rlimit *limit, struct rlimit *old) {
        if (resource != RLIMIT_MEMLOCK || !limit || old)
                abort();
        ceiling->pid = pid;
        ceiling->soft = limit->rlim_cur;
        ceiling->hard = limit->rlim_max;
        ceiling->n++;
        return 0;
}

/* Says a word to the test. */
static void report(char what) {
        (void)!write(report_line, &what, 1);
}

static void expect_report(struct trio *t, char what) {
        char got;

        (void)testing_wait_fd(t->report, POLLIN);
        assert_int_equal(read(t->report, &got, 1), 1);
        assert_int_equal(got, what);
}

/* --- the registrar --- */

static void tell(int control, uint32_t type, uint32_t context, uint32_t value, int fd) {
        if (control_send(control, &(struct control_message) { .type = type, .context = context, .value = value }, fd) < 0)
                _exit(10);
}

/* Waits for one message of the keeper; PINGs are answered. */
static uint32_t listen_to_keeper(int control, uint32_t *ret_value) {
        for (;;) {
                struct pollfd p = { .fd = control, .events = POLLIN };
                struct control_message message;
                int fd;

                if (poll(&p, 1, TESTING_PATIENCE_MS) <= 0)
                        _exit(11);
                if (control_recv(control, &message, &fd) < 0)
                        _exit(12);
                if (message.type == CONTROL_PING) {
                        tell(control, CONTROL_PONG, 0, 0, -1);
                        report('p');
                        continue;
                }
                *ret_value = message.value;
                return message.type;
        }
}

/* Says it and returns the error that the keeper answers. */
static uint32_t ask(int control, uint32_t type, uint32_t context, uint32_t value, int fd) {
        uint32_t answer;

        tell(control, type, context, value, fd);
        if (listen_to_keeper(control, &answer) != CONTROL_ACK)
                _exit(13);
        return answer;
}

static void reg(struct trio *t, uint32_t index, int fd) {
        const struct uverbs_device device = { fd, FAKE_DRIVER_ID };
        struct ledger_entry *entry;

        entry = ledger_intent(&t->ledger,
                              index,
                              &(struct ledger_record) {
                                      .id = index + 1,
                                      .start = (uintptr_t)t->page,
                                      .iova = (uintptr_t)t->page,
                                      .length = 100,
                                      .context = 2,
                              });
        if (fake_ops.reg_mr(&device, 0, (uintptr_t)t->page, 100, (uintptr_t)t->page, 0, &entry->response) < 0)
                _exit(14);
        if (index % 2)
                ledger_live(entry);
}

static _Noreturn void be_registrar(struct trio *t, int control, int client, behaviour_t behaviour) {
        const int keep[] = { 0, 1, 2, control, client, report_line };
        int fd;

        fds_close_except(keep, ELEMENTSOF(keep));
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (ask(control, CONTROL_CONTEXT_ADD, 2, FAKE_DRIVER_ID, fd) != 0)
                _exit(15);
        for (uint32_t i = 0; i < N_MRS; i++)
                reg(t, i, fd);
        if (fake_live() != N_MRS)
                _exit(16);
        report('r');
        behaviour(control, client);
        /* Until it is killed. */
        for (;;)
                (void)pause();
}

/* --- setting up, and the end --- */

static _Noreturn void be_keeper(struct trio *t, struct keeper_config *config) {
        const int keep[] = { 0, 1, 2, config->client, config->control, config->supervisor, config->app, config->registrar, t->ledger.fd };

        fds_close_except(keep, ELEMENTSOF(keep));
        /* As its program does. */
        (void)signal(SIGPIPE, SIG_IGN);
        _exit(keeper_run(config, &fake_ops, &t->ledger));
}

/* The keeper's patience is long while everything is set up on a machine that may be slow; then its clock is made fast. */
enum { HEARTBEAT_MS = 20, HANG_MS = 10000, NEVER_MS = 24 * 3600 * 1000 };

struct times {
        unsigned int heartbeat_ms, hang_ms;
        bool idle; /* the app has not said anything */
        const char *successor; /* where a pinleased listens */
};
static const struct times usual = { HEARTBEAT_MS, HANG_MS, false, NULL };

static const struct credit_amount initial = CREDIT_INITIAL;

static void start_with(struct trio *t, behaviour_t behaviour, const struct times *times, bool stuck) {
        struct keeper_config config = { .app_state = -1, .heartbeat_ms = times->heartbeat_ms, .hang_ms = times->hang_ms };
        int client[2], control[2], supervisor[2], line[2];

        config.session_socket = times->successor;
        config.introduction.magic = CONTROL_MAGIC;
        config.introduction.version = CONTROL_VERSION;
        config.introduction.session = 77;
        config.introduction.credit = initial;
        *t = (struct trio) { .stuck = stuck, .dead = -1 };
        fake_reset();
        wraps_reset();
        memset(ceiling, 0, sizeof *ceiling);
        assert_int_equal(ledger_create(16, &t->ledger), 0);
        t->page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(t->page, MAP_FAILED);
        assert_int_equal(control_pair(client), 0);
        assert_int_equal(control_pair(control), 0);
        assert_int_equal(control_pair(supervisor), 0);
        assert_int_equal(pipe2(line, O_CLOEXEC), 0);
        report_line = line[1];

        /* The app has said something: a registrar with nothing to do is not asked whether it turns. Before it is all over. */
        if (!times->idle)
                assert_int_equal(send(client[0], "x", 1, 0), 1);

        t->app = testing_fork();
        if (t->app == 0) {
                fds_close_except(NULL, 0);
                for (;;)
                        (void)pause();
        }
        t->registrar = testing_fork();
        if (t->registrar == 0)
                be_registrar(t, control[1], client[1], behaviour);

        config.client = client[1];
        config.control = control[0];
        config.supervisor = supervisor[0];
        config.app = pidfd_open(t->app, 0);
        config.registrar = stuck ? eventfd(0, EFD_CLOEXEC) : pidfd_open(t->registrar, 0);
        config.introduction.registrar_pid = (uint32_t)t->registrar;
        t->keeper = testing_fork();
        if (t->keeper == 0) {
                wraps_in_a_hurry = true;
                be_keeper(t, &config);
        }
        assert_true(t->app > 0 && t->registrar > 0 && t->keeper > 0);

        pl_close(client[1]);
        pl_close(control[0]);
        pl_close(control[1]);
        pl_close(supervisor[0]);
        pl_close(line[1]);
        pl_close(config.app);
        if (stuck)
                t->dead = config.registrar;
        else
                pl_close(config.registrar);
        t->app_socket = client[0];
        t->supervisor = supervisor[1];
        t->report = line[0];
}

static void start(struct trio *t, behaviour_t behaviour) {
        start_with(t, behaviour, &usual, false);
}

static void wait_ready(struct trio *t) {
        char got;

        do {
                (void)testing_wait_fd(t->report, POLLIN);
                assert_int_equal(read(t->report, &got, 1), 1);
        } while (got == 'p');
        assert_int_equal(got, 'r');
}

static void kill_and_wait(pid_t pid) {
        assert_int_equal(kill(pid, SIGKILL), 0);
        (void)testing_wait_child(pid);
}

/* The session must be over by itself: everything destroyed, the app's socket hung up. Returns the registrar's status. */
static int end(struct trio *t) {
        int status;
        char byte;

        assert_int_equal(testing_wait_child(t->keeper), 0);
        if (t->stuck)
                assert_int_equal(kill(t->registrar, SIGKILL), 0);
        status = testing_wait_child(t->registrar);
        assert_int_equal(fake_live(), t->kept);
        (void)testing_wait_fd(t->app_socket, POLLIN);
        /* A reset, where something had not been read. */
        assert_true(recv(t->app_socket, &byte, 1, 0) <= 0);
        if (t->app > 0)
                kill_and_wait(t->app);
        pl_close(t->app_socket);
        pl_close(t->supervisor);
        pl_close(t->report);
        pl_close(t->dead);
        assert_int_equal(munmap(t->page, 4096), 0);
        ledger_done(&t->ledger);
        return status;
}

static void assert_killed(int status) {
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGKILL);
}

/* --- behaviours --- */

static void serve(int control, int client) {
        for (;;) {
                struct pollfd p[] = { { .fd = control, .events = POLLIN }, { .fd = client } };
                uint32_t value;

                if (poll(p, ELEMENTSOF(p), TESTING_PATIENCE_MS) <= 0)
                        _exit(20);
                /* The app has hung up: a real registrar gives up by itself. */
                if (p[1].revents & POLLHUP)
                        _exit(0);
                if (p[0].revents && p[0].revents & POLLIN) {
                        struct control_message message;
                        int fd;

                        if (control_recv(control, &message, &fd) < 0)
                                _exit(21);
                        value = message.value;
                        if (message.type == CONTROL_GOING_AWAY) {
                                report(value == 1234 ? 'g' : '?');
                                _exit(0);
                        }
                        if (message.type == CONTROL_PING) {
                                tell(control, CONTROL_PONG, 0, 0, -1);
                                report('p');
                        }
                }
        }
}

static void exits(int control, int client) {
        (void)control;
        (void)client;
        _exit(3);
}

static void is_silent(int control, int client) {
        (void)control;
        (void)client;
}

static void says_bye(int control, int client) {
        (void)client;
        tell(control, CONTROL_BYE, 0, 0, -1);
}

/* Works and answers, but does not give up when it should. */
static void ignores_the_end(int control, int client) {
        uint32_t value;

        (void)client;
        for (;;)
                if (listen_to_keeper(control, &value) == CONTROL_GOING_AWAY)
                        report('g');
}

/* --- tests --- */

TEST(test_registrar_exits) {
        struct trio t;

        start(&t, exits);
        wait_ready(&t);
        assert_int_equal(end(&t), 3 << 8);
}

TEST(test_registrar_is_killed) {
        struct trio t;

        start(&t, serve);
        wait_ready(&t);
        assert_int_equal(kill(t.registrar, SIGKILL), 0);
        assert_killed(end(&t));
}

TEST(test_registrar_stops_answering) {
        struct trio t;

        start(&t, is_silent);
        wait_ready(&t);
        wraps_clock->fast = true;
        assert_killed(end(&t));

        start(&t, serve);
        wait_ready(&t);
        expect_report(&t, 'p');
        assert_int_equal(kill(t.registrar, SIGSTOP), 0);
        wraps_clock->fast = true;
        assert_killed(end(&t));
}

/* A heartbeat that is answered keeps the session alive for longer than the time that an answer may take. */
TEST(test_heartbeat_goes_on) {
        static const struct times short_hang = { .heartbeat_ms = HEARTBEAT_MS, .hang_ms = 2000 };
        uint64_t until;
        struct trio t;

        start_with(&t, serve, &short_hang, false);
        wait_ready(&t);
        for (until = pl_now_ms() + 2500; pl_now_ms() < until;)
                expect_report(&t, 'p');
        assert_int_equal(fake_live(), N_MRS);
        assert_int_equal(kill(t.registrar, SIGKILL), 0);
        assert_killed(end(&t));
}

/* A long registration is no hang; but nobody is busy for ever. */
TEST(test_busy) {
        uint64_t until;
        struct trio t;

        start(&t, is_silent);
        wait_ready(&t);
        until = pl_now_ms() + HANG_MS + 1000;
        ledger_busy(&t.ledger, HANG_MS + 1000);
        wraps_clock->fast = true;
        assert_killed(end(&t));
        assert_true(pl_now_ms() >= until);

        start(&t, is_silent);
        wait_ready(&t);
        until = pl_now_ms();
        atomic_store(&t.ledger.header->busy_until, UINT64_MAX);
        wraps_clock->fast = true;
        assert_killed(end(&t));
        assert_true(pl_now_ms() < until + 2 * HANG_MS);
}

static void breaks_type(int control, int client) {
        (void)client;
        tell(control, 99, 0, 0, -1);
}

static void breaks_direction(int control, int client) {
        (void)client;
        tell(control, CONTROL_GOING_AWAY, 0, 0, -1);
}

static void breaks_fd(int control, int client) {
        tell(control, CONTROL_PONG, 0, 0, client);
}

static void breaks_disposal(int control, int client) {
        (void)client;
        tell(control, CONTROL_CLOSED, 0, 0, -1);
}

static void breaks_length(int control, int client) {
        (void)client;
        (void)!write(control, "abc", 3);
}

static void closes(int control, int client) {
        (void)client;
        close(control);
}

TEST(test_registrar_breaks_protocol) {
        static const behaviour_t behaviours[] = { breaks_type, breaks_direction, breaks_fd, breaks_disposal, breaks_length, closes, says_bye };

        for (size_t i = 0; i < ELEMENTSOF(behaviours); i++) {
                struct trio t;

                start(&t, behaviours[i]);
                wait_ready(&t);
                /* Alive, and therefore killed: it could hang in its own exit. */
                assert_killed(end(&t));
        }
}

/* Contexts that cannot be: refused, and what is registered on the right one is cleaned up all the same. */
static void adds_nonsense(int control, int client) {
        int fd = open("/dev/zero", O_RDWR | O_CLOEXEC);

        (void)client;
        if (ask(control, CONTROL_CONTEXT_ADD, 2, 1, fd) != EPROTO || ask(control, CONTROL_CONTEXT_ADD, MAX_CONTEXTS, 1, fd) != EPROTO ||
            ask(control, CONTROL_CONTEXT_ADD, UINT32_MAX, 1, fd) != EPROTO || ask(control, CONTROL_CONTEXT_ADD, 3, 1, -1) != EPROTO ||
            ask(control, CONTROL_CONTEXT_DROP, 5, 0, -1) != EPROTO || ask(control, CONTROL_CONTEXT_DROP, MAX_CONTEXTS, 0, -1) != EPROTO ||
            ask(control, CONTROL_CONTEXT_ADD, 7, 1, fd) != 0 || ask(control, CONTROL_CONTEXT_DROP, 7, 0, -1) != 0 ||
            ask(control, CONTROL_CONTEXT_DROP, 7, 0, -1) != EPROTO)
                report('?');
        else
                report('k');
        _exit(0);
}

TEST(test_contexts) {
        struct trio t;
        char got;

        start(&t, adds_nonsense);
        wait_ready(&t);
        do {
                (void)testing_wait_fd(t.report, POLLIN);
                assert_int_equal(read(t.report, &got, 1), 1);
        } while (got == 'p');
        assert_int_equal(got, 'k');
        assert_int_equal(end(&t), 0);
}

/* The keeper's own copy of a command fd is closed when the context is dropped: a pipe's reader tells. */
static void drops(int control, int client) {
        int pair[2];
        char byte;

        (void)client;
        if (pipe2(pair, O_CLOEXEC) < 0 || ask(control, CONTROL_CONTEXT_ADD, 7, 1, pair[1]) != 0)
                _exit(30);
        close(pair[1]);
        if (ask(control, CONTROL_CONTEXT_DROP, 7, 0, -1) != 0 || read(pair[0], &byte, 1) != 0)
                _exit(31);
        _exit(0);
}

TEST(test_drop_closes) {
        struct trio t;

        start(&t, drops);
        wait_ready(&t);
        assert_int_equal(end(&t), 0);
}

/* What the registrar wants closed: only after its own copy, so that the registrar's is not the last. And what makes no sense. */
static void disposes(int control, int client) {
        struct pollfd p = { .events = POLLIN };
        int pair[2];
        char byte;

        (void)client;
        for (unsigned int i = 0; i < 3; i++) {
                if (pipe2(pair, O_CLOEXEC) < 0 || ask(control, CONTROL_DISPOSE, 0, 0, pair[1]) != 0)
                        _exit(30);
                close(pair[1]);
                p.fd = pair[0];
                if (poll(&p, 1, 50) != 0)
                        _exit(31);
                tell(control, CONTROL_CLOSED, 0, 0, -1);
                if (read(pair[0], &byte, 1) != 0)
                        _exit(32);
                close(pair[0]);
        }

        if (pipe2(pair, O_CLOEXEC) < 0 || ask(control, CONTROL_DISPOSE, 0, 0, -1) != EPROTO ||
            ask(control, CONTROL_DISPOSE, 0, 0, control) != 0 || ask(control, CONTROL_DISPOSE, 0, 0, pair[1]) != EPROTO)
                _exit(33);
        close(pair[1]);
        if (read(pair[0], &byte, 1) != 0)
                _exit(34);
        tell(control, CONTROL_CLOSED, 0, 0, -1);
        _exit(0);
}

TEST(test_disposal) {
        struct trio t;

        start(&t, disposes);
        wait_ready(&t);
        assert_int_equal(end(&t), 0);
}

/* The registrar ends with its own copy open: the keeper's goes after that. */
static void disposes_and_ends(int control, int client) {
        (void)client;
        if (ask(control, CONTROL_DISPOSE, 0, 0, report_line) != 0)
                _exit(30);
        _exit(0);
}

TEST(test_disposal_by_the_end) {
        struct trio t;
        ssize_t n;
        char got;

        start(&t, disposes_and_ends);
        wait_ready(&t);
        while ((n = read(t.report, &got, 1)) > 0)
                assert_int_equal(got, 'p');
        assert_int_equal(n, 0);
        assert_int_equal(end(&t), 0);
}

/* What the registrar may have done to its app. In the end it runs, as it does without force. */
static void freezes(int control, int client) {
        (void)client;
        tell(control, CONTROL_FREEZE, 0, CONTROL_FREEZE_RELEASE, -1);
        if (ask(control, CONTROL_FREEZE, 0, CONTROL_FREEZE_STOP, -1) != 0)
                _exit(41);
        tell(control, CONTROL_FREEZE, 0, CONTROL_FREEZE_RELEASE, -1);
        if (ask(control, CONTROL_FREEZE, 0, CONTROL_FREEZE_KILL, -1) != EPERM || ask(control, CONTROL_FREEZE, 0, 9, -1) != EINVAL ||
            ask(control, CONTROL_FREEZE, 0, CONTROL_FREEZE_STOP, -1) != 0)
                _exit(40);
        _exit(0);
}

TEST(test_freeze) {
        struct trio t;
        siginfo_t info = { 0 };

        start(&t, freezes);
        wait_ready(&t);
        /* It has stood still, then, and only for a moment. */
        assert_int_equal(waitid(P_PID, (id_t)t.app, &info, WCONTINUED), 0);
        assert_int_equal(info.si_code, CLD_CONTINUED);
        assert_int_equal(end(&t), 0);
}

/* The app's process is gone, while a child of it may still hold the socket open (here: the test does). */
TEST(test_app_dies) {
        struct trio t;

        start(&t, serve);
        wait_ready(&t);
        kill_and_wait(t.app);
        t.app = 0;
        assert_int_equal(end(&t), 0);
}

/* The registrar answers, but does not give up when it should: it has a deadline. */
TEST(test_registrar_does_not_end) {
        static const struct times no_heartbeat = { .heartbeat_ms = NEVER_MS, .hang_ms = NEVER_MS };
        const struct control_message message = { .type = CONTROL_GOING_AWAY, .value = 30000 };
        uint64_t before;
        struct trio t;

        start_with(&t, ignores_the_end, &no_heartbeat, false);
        wait_ready(&t);
        before = pl_now_ms();
        kill_and_wait(t.app);
        t.app = 0;
        wraps_clock->fast = true;
        assert_killed(end(&t));
        assert_in_range(pl_now_ms() - before, 4000, 40000);

        /* After the supervisor's word the app's grace time comes first. */
        start_with(&t, ignores_the_end, &no_heartbeat, false);
        wait_ready(&t);
        before = pl_now_ms();
        assert_int_equal(control_send(t.supervisor, &message, -1), 0);
        expect_report(&t, 'g');
        wraps_clock->fast = true;
        assert_killed(end(&t));
        assert_in_range(pl_now_ms() - before, 34000, 70000);
}

static void going_away(struct trio *t, uint32_t grace) {
        const struct control_message message = { .type = CONTROL_GOING_AWAY, .value = grace };

        assert_int_equal(control_send(t->supervisor, &message, -1), 0);
}

TEST(test_going_away) {
        struct trio t;
        char got;

        start(&t, serve);
        wait_ready(&t);
        going_away(&t, 1234);
        do {
                (void)testing_wait_fd(t.report, POLLIN);
                assert_int_equal(read(t.report, &got, 1), 1);
        } while (got == 'p');
        assert_int_equal(got, 'g');
        assert_int_equal(end(&t), 0);
}

/* Without the supervisor the session goes on: the service may be replaced under it. */
TEST(test_supervisor_hangs_up) {
        struct trio t;

        start(&t, serve);
        wait_ready(&t);
        t.supervisor = pl_close(t.supervisor);
        for (unsigned int i = 0; i < 10; i++)
                expect_report(&t, 'p');
        assert_int_equal(fake_live(), N_MRS);
        assert_int_equal(kill(t.registrar, SIGKILL), 0);
        assert_killed(end(&t));
}

/* Nor by what the supervisor should not say. */
TEST(test_supervisor_babbles) {
        const struct control_message message = { .type = CONTROL_BYE };
        struct trio t;

        start(&t, serve);
        wait_ready(&t);
        for (unsigned int i = 0; i < 20; i++)
                assert_int_equal(control_send(t.supervisor, &message, t.report), 0);
        for (unsigned int i = 0; i < 5; i++)
                expect_report(&t, 'p');
        assert_int_equal(kill(t.registrar, SIGKILL), 0);
        assert_killed(end(&t));
}

/*
 * A registrar that cannot be killed, as one that hangs in the kernel on a file: its pidfd stays silent. What is registered
 * is destroyed, the app learns that the session is over; the keeper stays, for what the registrar may do when it comes
 * alive again, until that dies, or the app does.
 */
TEST(test_stuck) {
        for (unsigned int how = 0; how < 2; how++) {
                uint64_t one = 1;
                struct trio t;
                int fd;

                start_with(&t, is_silent, &usual, true);
                wait_ready(&t);
                wraps_clock->fast = true;
                (void)testing_wait_fd(t.app_socket, POLLIN);

                /* It comes alive and registers one thing more. */
                fd = open("/dev/null", O_RDWR | O_CLOEXEC);
                reg(&t, N_MRS, fd);
                pl_close(fd);
                if (how == 0)
                        assert_int_equal(write(t.dead, &one, sizeof one), sizeof one);
                else {
                        kill_and_wait(t.app);
                        t.app = 0;
                }
                assert_killed(end(&t));
        }
}

/* It has said goodbye and hangs in its exit: it holds nothing any more, nobody waits for it. */
TEST(test_stuck_after_bye) {
        struct trio t;

        start_with(&t, says_bye, &usual, true);
        wait_ready(&t);
        wraps_clock->fast = true;
        assert_killed(end(&t));
}

/* The app dies first, and then the registrar turns out to be stuck: nobody is left to wait for it. */
TEST(test_stuck_without_app) {
        struct trio t;

        start_with(&t, is_silent, &usual, true);
        wait_ready(&t);
        kill_and_wait(t.app);
        t.app = 0;
        wraps_clock->fast = true;
        assert_killed(end(&t));
}

/* What the kernel keeps is the session's for as long as it does so, or until the app ends. */
TEST(test_kept) {
        for (unsigned int how = 0; how < 2; how++) {
                struct trio t;

                start(&t, serve);
                wait_ready(&t);
                fake->dereg_error = -EINVAL;
                assert_int_equal(kill(t.registrar, SIGKILL), 0);
                (void)testing_wait_fd(t.app_socket, POLLIN);
                assert_int_equal(waitpid(t.keeper, NULL, WNOHANG), 0);
                assert_int_equal(fake_live(), N_MRS);

                wraps_clock->fast = true;
                if (how == 0)
                        fake->dereg_error = 0;
                else {
                        t.kept = N_MRS;
                        kill_and_wait(t.app);
                        t.app = 0;
                }
                assert_killed(end(&t));
        }
}

/* The heartbeat that was due during a long piece of work is due again only a while after it. */
TEST(test_busy_then_late) {
        struct trio t;

        start(&t, is_silent);
        wait_ready(&t);
        ledger_busy(&t.ledger, 60000);
        wraps_clock->fast = true;
        /* Long after the answer was due: the registrar is still there when the work is done ... */
        for (uint64_t until = pl_now_ms() + 2 * HANG_MS; pl_now_ms() < until;)
                (void)poll(NULL, 0, 1);
        assert_int_equal(waitpid(t.registrar, NULL, WNOHANG), 0);
        ledger_busy(&t.ledger, 0);
        /* ... and has all its time again from then on, but not more. */
        assert_killed(end(&t));
}

/* --- credit and revocation --- */

static void expect_introduction(int supervisor, const struct credit_amount *credit) {
        struct control_introduction introduction;
        int ledger;

        (void)testing_wait_fd(supervisor, POLLIN);
        assert_int_equal(control_recv_introduction(supervisor, &introduction, &ledger), 0);
        assert_int_equal(introduction.session, 77);
        assert_memory_equal(&introduction.credit, credit, sizeof *credit);
        pl_close(ledger);
        assert_int_equal(control_send(supervisor, &(struct control_message) { .type = CONTROL_WELCOME }, -1), 0);
}

static struct control_message expect_message(int supervisor, uint32_t type) {
        struct control_message message;
        int fd;

        (void)testing_wait_fd(supervisor, POLLIN);
        assert_int_equal(control_recv(supervisor, &message, &fd), 0);
        assert_int_equal(fd, -1);
        assert_int_equal(message.type, type);
        return message;
}

/* Whatever is said in between. */
static void expect_report_at_last(struct trio *t, char what) {
        char got;

        do {
                (void)testing_wait_fd(t->report, POLLIN);
                assert_int_equal(read(t->report, &got, 1), 1);
        } while (got == 'p');
        assert_int_equal(got, what);
}

static void say_credit(int control, uint32_t type, struct credit_amount amount) {
        if (control_send(control, &(struct control_message) { .type = type, .credit = amount }, -1) < 0)
                _exit(40);
}

/* Asks, is answered, gives back, and then more than it has. */
static void uses_credit(int control, int client) {
        uint32_t value;

        (void)client;
        say_credit(control, CONTROL_WANT, (struct credit_amount) { 5, 6, 7 });
        if (listen_to_keeper(control, &value) != CONTROL_CREDIT || value != CREDIT_ODP)
                _exit(41);
        report('c');
        say_credit(control, CONTROL_RETURN, (struct credit_amount) { 4096, 6, 7 });
        say_credit(control, CONTROL_RETURN, (struct credit_amount) { 0, 1, 0 });
        if (listen_to_keeper(control, &value) != CONTROL_GOING_AWAY)
                _exit(42);
        say_credit(control, CONTROL_RETURN, (struct credit_amount) { 0, initial.odp, 0 });
}

TEST(test_credit) {
        const struct control_message credit = { .type = CONTROL_CREDIT, .value = CREDIT_ODP, .credit = { 1 << 20, 6, 7 } };
        struct control_message message;
        struct trio t;

        start(&t, uses_credit);
        wait_ready(&t);
        expect_introduction(t.supervisor, &initial);
        message = expect_message(t.supervisor, CONTROL_WANT);
        assert_int_equal(message.credit.pinned, 5);
        assert_int_equal(message.credit.odp, 6);
        assert_int_equal(message.credit.registrations, 7);
        assert_int_equal(ceiling->n, 0);

        assert_int_equal(control_send(t.supervisor, &credit, -1), 0);
        expect_report_at_last(&t, 'c');
        assert_int_equal(ceiling->pid, t.registrar);
        message = expect_message(t.supervisor, CONTROL_RETURN);
        assert_int_equal(message.credit.pinned, 4096);
        assert_int_equal(message.credit.odp, 6);
        assert_int_equal(message.credit.registrations, 7);
        message = expect_message(t.supervisor, CONTROL_RETURN);
        assert_int_equal(message.credit.odp, 1);
        /* The kernel's ceiling has followed, where bytes to pin came or went; soft and hard. */
        assert_int_equal(ceiling->n, 2);
        assert_int_equal(ceiling->soft, initial.pinned + (1 << 20) - 4096);
        assert_int_equal(ceiling->hard, ceiling->soft);

        going_away(&t, 1);
        assert_killed(end(&t));
}

/* Turns, otherwise, and does not end by itself. */
static _Noreturn void answer_pings(int control) {
        for (;;) {
                struct pollfd p = { .fd = control, .events = POLLIN };
                struct control_message message;
                int fd;

                if (poll(&p, 1, TESTING_PATIENCE_MS) <= 0 || control_recv(control, &message, &fd) < 0 ||
                    control_send(control, &(struct control_message) { .type = CONTROL_PONG }, -1) < 0)
                        (void)pause();
        }
}

static void wants_twice(int control, int client) {
        (void)client;
        say_credit(control, CONTROL_WANT, (struct credit_amount) { 1, 1, 1 });
        say_credit(control, CONTROL_WANT, (struct credit_amount) { 1, 1, 1 });
        answer_pings(control);
}

static void returns_what_it_lacks(int control, int client) {
        (void)client;
        say_credit(control, CONTROL_RETURN, (struct credit_amount) { 0, 0, UINT64_MAX });
        answer_pings(control);
}

static void reports_what_nobody_asked(int control, int client) {
        (void)client;
        tell(control, CONTROL_REVOKED, 0, 0, -1);
        answer_pings(control);
}

TEST(test_registrar_lies) {
        static const behaviour_t behaviours[] = { wants_twice, returns_what_it_lacks, reports_what_nobody_asked };

        for (size_t i = 0; i < ELEMENTSOF(behaviours); i++) {
                struct trio t;

                start(&t, behaviours[i]);
                wait_ready(&t);
                assert_killed(end(&t));
        }
}

/* Chatters without end. Its keeper sees all the same that the app is gone, and that it does not end. */
static void never_stops(int control, int client) {
        (void)client;
        for (;;)
                (void)control_send(control, &(struct control_message) { .type = CONTROL_PONG }, -1);
}

TEST(test_registrar_chatters) {
        struct trio t;

        start(&t, never_stops);
        wait_ready(&t);
        kill_and_wait(t.app);
        t.app = 0;
        wraps_clock->jumped_ms += 10000;
        (void)testing_wait_fd(t.app_socket, POLLIN);
        wraps_clock->jumped_ms += 10000;
        assert_killed(end(&t));
}

static void revokes(int control, int client) {
        struct control_message done = { .type = CONTROL_REVOKED, .cookie = 3, .counts = { 1, 2, 3 } };
        uint32_t value;

        (void)client;
        if (listen_to_keeper(control, &value) != CONTROL_REVOKE || value != 1000)
                _exit(50);
        if (control_send(control, &done, -1) < 0)
                _exit(51);
        for (;;)
                (void)listen_to_keeper(control, &value);
}

static const struct control_message revocation = { .type = CONTROL_REVOKE, .value = 1000, .cookie = 3, .selector = CONTROL_SELECT_ALL };

TEST(test_revocation) {
        static const struct times times = { .heartbeat_ms = 1000, .hang_ms = HANG_MS };
        struct trio t;

        start_with(&t, revokes, &times, false);
        wait_ready(&t);
        expect_introduction(t.supervisor, &initial);
        assert_int_equal(control_send(t.supervisor, &revocation, -1), 0);
        assert_int_equal(expect_message(t.supervisor, CONTROL_REVOKED).counts[2], 3);

        /* It has done so, and is left alone after the deadline. */
        wraps_clock->fast = true;
        for (uint64_t until = pl_now_ms() + 20000; pl_now_ms() < until;)
                expect_report(&t, 'p');
        wraps_clock->fast = false;
        assert_int_equal(kill(t.registrar, SIGKILL), 0);
        assert_killed(end(&t));
}

/* A registrar that turns, but does not take away what it should, has until grace and margin are over; it may be at work, but
 * not for ever. The deadline is kept by itself, not by the heartbeat's. */
static void ignores_revocation(int control, int client) {
        uint32_t value;

        (void)client;
        for (;;)
                if (listen_to_keeper(control, &value) == CONTROL_REVOKE)
                        report('v');
}

TEST(test_revocation_is_late) {
        static const struct times no_heartbeat = { .heartbeat_ms = NEVER_MS, .hang_ms = NEVER_MS };

        for (unsigned int busy = 0; busy < 3; busy++) {
                uint64_t before;
                struct trio t;

                start_with(&t, ignores_revocation, &no_heartbeat, false);
                wait_ready(&t);
                if (busy == 1)
                        ledger_busy(&t.ledger, 60000);
                else if (busy == 2)
                        atomic_store(&t.ledger.header->busy_until, pl_now_ms() + LEDGER_BUSY_MAX_MS);
                before = pl_now_ms();
                assert_int_equal(control_send(t.supervisor, &revocation, -1), 0);
                expect_report(&t, 'v');
                wraps_clock->fast = true;
                if (busy == 2)
                        /* Says again and again that it is at work. */
                        while (pl_now_ms() < before + 3 * (uint64_t)LEDGER_BUSY_MAX_MS) {
                                siginfo_t info = { 0 };

                                atomic_store(&t.ledger.header->busy_until, pl_now_ms() + 30000);
                                if (waitid(P_PID, (id_t)t.registrar, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid)
                                        break;
                                wraps_clock->jumped_ms += 2000;
                                (void)poll(NULL, 0, 1);
                        }
                assert_killed(end(&t));
                if (busy == 0)
                        assert_in_range(pl_now_ms() - before, 6000, 30000);
                else if (busy == 1)
                        assert_in_range(pl_now_ms() - before, 60000, 100000);
                else
                        assert_in_range(pl_now_ms() - before, LEDGER_BUSY_MAX_MS, 2 * LEDGER_BUSY_MAX_MS);
        }
}

/* Somebody waits for the registrar to let go of a file: others hear of it, and it hears when they have. */
static void breaks(int control, int client) {
        struct control_message ask = { .type = CONTROL_BREAK, .cookie = 8, .inode = 9, .value = 1000 };
        uint32_t value;

        (void)client;
        if (control_send(control, &ask, -1) < 0 || listen_to_keeper(control, &value) != CONTROL_BREAK_OVER ||
            value != 3)
                _exit(51);
        if (control_send(control, &(struct control_message) { .type = CONTROL_YIELDED, .cookie = 8 }, -1) < 0)
                _exit(52);
        /* More than there may be are answered here. */
        for (ask.cookie = 100; ask.cookie < 100 + CONTROL_MAX_BREAKS; ask.cookie++)
                if (control_send(control, &ask, -1) < 0)
                        _exit(53);
        if (control_send(control, &ask, -1) < 0 || listen_to_keeper(control, &value) != CONTROL_BREAK_OVER ||
            value != EBUSY)
                _exit(54);
        for (ask.cookie = 100; ask.cookie < 101 + CONTROL_MAX_BREAKS; ask.cookie++)
                if (control_send(control,
                                 &(struct control_message) { .type = CONTROL_YIELDED, .cookie = ask.cookie },
                                 -1) < 0)
                        _exit(55);
        report('b');
        serve(control, client);
}

TEST(test_break) {
        static const struct times times = { .heartbeat_ms = 1000, .hang_ms = HANG_MS };
        struct control_message asked;
        struct trio t;

        start_with(&t, breaks, &times, false);
        wait_ready(&t);
        expect_introduction(t.supervisor, &initial);
        assert_int_equal(control_send(t.supervisor, &(struct control_message) { .type = CONTROL_WELCOME }, -1), 0);
        asked = expect_message(t.supervisor, CONTROL_BREAK);
        assert_int_equal(asked.cookie, 8);
        assert_int_equal(asked.inode, 9);
        /* Nobody has asked for that. */
        assert_int_equal(
                control_send(t.supervisor, &(struct control_message) { .type = CONTROL_BREAK_OVER, .cookie = 9 }, -1),
                0);
        assert_int_equal(control_send(t.supervisor,
                                      &(struct control_message) { .type = CONTROL_BREAK_OVER, .cookie = 8, .value = 3 },
                                      -1),
                         0);
        expect_report(&t, 'b');

        /* It has let go, and is left alone after the deadline. */
        wraps_clock->fast = true;
        for (uint64_t until = pl_now_ms() + 20000; pl_now_ms() < until;)
                expect_report(&t, 'p');
        wraps_clock->fast = false;
        assert_int_equal(kill(t.registrar, SIGKILL), 0);
        assert_killed(end(&t));
}

/* It does not let go, whatever the others have done, and however long it would like to have; or has not begun what it
 * ends. */
static void does_not_yield(int control, int client) {
        (void)client;
        tell(control, CONTROL_BREAK, 0, 1000, -1);
        report('v');
        for (;;)
                (void)pause();
}

static void yields_nothing(int control, int client) {
        (void)client;
        tell(control, CONTROL_YIELDED, 0, 0, -1);
}

TEST(test_break_is_late) {
        static const struct times no_heartbeat = { .heartbeat_ms = NEVER_MS, .hang_ms = NEVER_MS };
        uint64_t before;
        struct trio t;

        start_with(&t, does_not_yield, &no_heartbeat, false);
        wait_ready(&t);
        before = pl_now_ms();
        expect_report(&t, 'v');
        wraps_clock->fast = true;
        assert_killed(end(&t));
        assert_in_range(pl_now_ms() - before, 5000, 60000);

        start_with(&t, yields_nothing, &no_heartbeat, false);
        wait_ready(&t);
        assert_killed(end(&t));
}

/* Nobody is woken while there is nothing to do; and the answer is asked for again when there is. */
TEST(test_idle) {
        static const struct times idle = { .heartbeat_ms = 200, .hang_ms = HANG_MS, .idle = true };
        struct trio t;

        start_with(&t, serve, &idle, false);
        wait_ready(&t);
        wraps_clock->fast = true;
        for (uint64_t until = pl_now_ms() + 4000; pl_now_ms() < until;) {
                struct pollfd p = { .fd = t.report, .events = POLLIN };

                assert_int_equal(poll(&p, 1, 1), 0);
        }
        wraps_clock->fast = false;
        assert_int_equal(send(t.app_socket, "x", 1, 0), 1);
        expect_report(&t, 'p');
        assert_int_equal(kill(t.registrar, SIGKILL), 0);
        assert_killed(end(&t));
}

/* A successor is found, told all, and answers what the predecessor did not. */
static void wants_once(int control, int client) {
        uint32_t value;

        say_credit(control, CONTROL_WANT, (struct credit_amount) { 5, 6, 7 });
        if (listen_to_keeper(control, &value) != CONTROL_CREDIT)
                _exit(60);
        report('c');
        serve(control, client);
}

TEST(test_successor) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        char folder[] = "/tmp/pinlease-test-XXXXXX";
        struct times times = usual;
        int listener, fd;
        struct trio t;

        assert_non_null(mkdtemp(folder));
        (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/session.sock", folder);
        times.successor = address.sun_path;
        start_with(&t, wants_once, &times, false);
        wait_ready(&t);
        expect_introduction(t.supervisor, &initial);
        (void)expect_message(t.supervisor, CONTROL_WANT);
        t.supervisor = pl_close(t.supervisor);

        /* Not at once, either. */
        for (unsigned int i = 0; i < 20; i++)
                expect_report(&t, 'p');
        listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(listener, (const struct sockaddr *)&address, sizeof address), 0);
        assert_int_equal(listen(listener, 5), 0);
        (void)testing_wait_fd(listener, POLLIN);
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        assert_true(fd >= 0);
        expect_introduction(fd, &initial);
        assert_int_equal(expect_message(fd, CONTROL_WANT).credit.odp, 6);
        assert_int_equal(
                control_send(fd, &(struct control_message) { .type = CONTROL_CREDIT, .credit = { 5, 6, 7 } }, -1), 0);
        expect_report_at_last(&t, 'c');

        /* What it has been given it says to the next. */
        pl_close(fd);
        (void)testing_wait_fd(listener, POLLIN);
        fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        assert_true(fd >= 0);
        expect_introduction(fd,
                            &(const struct credit_amount) { initial.pinned + 5, initial.odp + 6, initial.registrations + 7 });
        t.supervisor = fd;
        pl_close(listener);
        assert_int_equal(unlink(address.sun_path), 0);
        assert_int_equal(rmdir(folder), 0);
        assert_int_equal(kill(t.registrar, SIGKILL), 0);
        assert_killed(end(&t));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_registrar_exits),
                CHECKED(test_registrar_is_killed),
                CHECKED(test_registrar_stops_answering),
                CHECKED(test_heartbeat_goes_on),
                CHECKED(test_busy),
                CHECKED(test_registrar_breaks_protocol),
                CHECKED(test_contexts),
                CHECKED(test_drop_closes),
                CHECKED(test_disposal),
                CHECKED(test_disposal_by_the_end),
                CHECKED(test_freeze),
                CHECKED(test_app_dies),
                CHECKED(test_registrar_does_not_end),
                CHECKED(test_going_away),
                CHECKED(test_supervisor_hangs_up),
                CHECKED(test_supervisor_babbles),
                CHECKED(test_stuck),
                CHECKED(test_stuck_after_bye),
                CHECKED(test_stuck_without_app),
                CHECKED(test_kept),
                CHECKED(test_busy_then_late),
                CHECKED(test_credit),
                CHECKED(test_registrar_lies),
                CHECKED(test_registrar_chatters),
                CHECKED(test_revocation),
                CHECKED(test_revocation_is_late),
                CHECKED(test_break),
                CHECKED(test_break_is_late),
                CHECKED(test_idle),
                CHECKED(test_successor),
        };

        ceiling = mmap(NULL, sizeof *ceiling, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (ceiling == MAP_FAILED)
                return EXIT_FAILURE;
        return cmocka_run_group_tests_name("keeper", tests, NULL, NULL);
}
