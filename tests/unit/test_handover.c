/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "ledger.h"
#include "service.h"

/* No descriptor can be had. */
static bool accept_fails;
static unsigned int n_failures;

int __real_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags);
int __wrap_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags) {
        if (!accept_fails)
                return __real_accept4(fd, address, size, flags);
        n_failures++;
        errno = EMFILE;
        return -1;
}

static int knock(const struct service *s) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

        memcpy(address.sun_path, s->socket, strlen(s->socket) + 1);
        assert_true(fd >= 0);
        assert_int_equal(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
        return fd;
}

static unsigned int count_newcomers(const struct service *s) {
        return s->handover.newcomers ? 1 : 0;
}

static struct control_introduction introduction_of(uint64_t session) {
        return (struct control_introduction) {
                .magic = CONTROL_MAGIC,
                .version = CONTROL_VERSION,
                .session = session,
                .app_pid = (uint32_t)getpid(),
                .registrar_pid = (uint32_t)getpid(),
                .uid = 1000,
                .credit = { 10, 20, 3 },
        };
}

static bool hung_up(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLIN };

        return poll(&p, 1, 0) > 0 && p.revents & POLLHUP;
}

/* This process comes as the keeper of a session that nobody knows: taken over, with its credit. */
TEST(test_unknown_session) {
        struct control_introduction introduction = introduction_of(100);
        struct control_message message;
        struct fake_keeper next;
        struct ledger ledger;
        struct service s;
        int fd, none;

        service_setup(&s);
        assert_int_equal(ledger_create(16, &ledger), 0);
        fd = knock(&s);
        assert_int_equal(control_send_introduction(fd, &introduction, ledger.fd), 0);
        service_run_until(&s, s.n_introduced == 1);
        assert_int_equal(control_recv(fd, &message, &none), 0);
        assert_int_equal(message.type, CONTROL_WELCOME);
        assert_amount(service_check_accounts(&s), 10, 20, 3);
        assert_int_equal(sessions_find(&s.sessions, 100)->keeper_pid, getpid());
        assert_true(sessions_find(&s.sessions, 100)->resumed);

        /* Its number is not given out again. */
        keeper_start(&s, 1000, &next);
        assert_int_equal(next.id, 101);
        keeper_forget(&next);
        service_run_until(&s, s.n_ended == 1);

        /* Comes anew, although its connection stands: the new one counts. */
        none = knock(&s);
        introduction.credit.pinned = 11;
        assert_int_equal(control_send_introduction(none, &introduction, ledger.fd), 0);
        service_run_until(&s, s.n_introduced == 2);
        assert_true(hung_up(fd));
        assert_false(hung_up(none));
        assert_amount(service_check_accounts(&s), 11, 20, 3);
        pl_close(fd);
        pl_close(none);
        ledger_done(&ledger);
        service_teardown(&s);
}

/* What is no keeper's introduction ends the connection, and changes nothing. */
TEST(test_strangers) {
        enum { NOBODYS, TOO_SHORT, TOO_LONG, GARBAGE, NO_LEDGER, ZERO, TOO_MUCH, TWO_FDS, HANGS_UP, N_HOWS };

        for (unsigned int how = 0; how < N_HOWS; how++) {
                struct control_introduction introduction = introduction_of(7);
                char bytes[sizeof introduction + 1] = { 0 };
                size_t size = sizeof introduction;
                unsigned int n_fds = 1;
                struct ledger ledger;
                struct service s;
                int fd, fds[2];

                service_setup(&s);
                assert_int_equal(ledger_create(16, &ledger), 0);
                fds[0] = fds[1] = ledger.fd;
                fd = knock(&s);
                introduction.magic += how == NOBODYS;
                introduction.session = how == ZERO ? 0 : 7;
                if (how == TOO_MUCH)
                        introduction.credit.odp = UINT64_MAX;
                memcpy(bytes, &introduction, sizeof introduction);
                if (how == TOO_SHORT)
                        size--;
                if (how == TOO_LONG)
                        size++;
                if (how == GARBAGE)
                        memset(bytes, 0x5a, sizeof bytes);
                if (how == NO_LEDGER)
                        n_fds = 0;
                if (how == TWO_FDS)
                        n_fds = 2;
                if (how == HANGS_UP)
                        assert_int_equal(shutdown(fd, SHUT_RDWR), 0);
                else
                        assert_int_equal(testing_send(fd, 0, bytes, size, fds, n_fds), 0);
                service_run_until(&s, hung_up(fd));
                service_run_until(&s, disposal_waiting(&s.disposal) == 0);
                assert_int_equal(count_newcomers(&s), 0);
                assert_null(s.sessions.first);
                assert_null(s.accounts.root);
                pl_close(fd);
                ledger_done(&ledger);
                service_teardown(&s);
        }
}

/* A session that there is, by another process: it is not stolen. Nor by its own keeper for another user. */
TEST(test_stolen) {
        struct control_introduction introduction;
        struct fake_keeper keeper;
        struct ledger ledger;
        struct session *session;
        struct service s;
        int fd;

        service_setup(&s);
        assert_int_equal(ledger_create(16, &ledger), 0);
        keeper_begin(&s, 1000, &keeper);
        session = keeper_session(&s, &keeper);
        introduction = introduction_of(keeper.id);
        fd = knock(&s);
        assert_int_equal(control_send_introduction(fd, &introduction, ledger.fd), 0);
        service_run_until(&s, hung_up(fd));
        assert_int_equal(session->keeper_pid, keeper.pid);
        assert_true(keeper_state(&keeper).welcome);
        assert_int_equal(s.n_introduced, 1);
        pl_close(fd);

        session->keeper_pid = getpid();
        introduction.uid++;
        fd = knock(&s);
        assert_int_equal(control_send_introduction(fd, &introduction, ledger.fd), 0);
        service_run_until(&s, hung_up(fd));
        assert_int_equal(s.n_introduced, 1);
        session->keeper_pid = keeper.pid;
        pl_close(fd);

        keeper_forget(&keeper);
        service_run_until(&s, s.n_ended == 1);
        ledger_done(&ledger);
        service_teardown(&s);
}

static void most_credit(const struct account *account, void *userdata) {
        uint64_t *most = userdata;

        if (account->held.registrations > *most)
                *most = account->held.registrations;
}

/* It has come again, and died before it is heard: what it held may be another session's by then, and is not counted again. */
TEST(test_came_and_died) {
        struct control_introduction introduction = introduction_of(7);
        uint64_t deadline = pl_now_ms() + TESTING_PATIENCE_MS, most = 0;
        struct ledger ledger;
        struct service s;
        pid_t pid;

        service_setup(&s);
        assert_int_equal(ledger_create(16, &ledger), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                _exit(control_send_introduction(knock(&s), &introduction, ledger.fd) < 0);
        testing_await_end(pid);

        do {
                service_turn(&s, deadline);
                accounts_each(&s.accounts, most_credit, &most);
        } while (s.handover.newcomers || disposal_waiting(&s.disposal) > 0 || s.sessions.first);
        assert_int_equal(most, 0);
        assert_int_equal(s.sessions.n_resumed, 0);
        assert_null(s.accounts.root);
        assert_int_equal(testing_wait_child(pid), 0);
        ledger_done(&ledger);
        service_teardown(&s);
}

/* Who says nothing is let go after a while. */
TEST(test_silence) {
        struct service s;
        int fd;

        service_setup(&s);
        fd = knock(&s);
        service_run_until(&s, hung_up(fd));
        assert_int_equal(count_newcomers(&s), 0);
        pl_close(fd);
        service_teardown(&s);
}

/* Silent ones are not in the way of others, nor when it ends. */
TEST(test_many_silent) {
        struct control_introduction introduction = introduction_of(100);
        struct ledger ledger;
        struct service s;
        int fds[200];

        service_setup(&s);
        assert_int_equal(ledger_create(16, &ledger), 0);
        for (unsigned int i = 0; i < ELEMENTSOF(fds); i++)
                fds[i] = knock(&s);
        assert_int_equal(control_send_introduction(fds[ELEMENTSOF(fds) - 1], &introduction, ledger.fd), 0);
        service_run_until(&s, s.n_introduced == 1);
        ledger_done(&ledger);
        service_teardown(&s);
        for (unsigned int i = 0; i < ELEMENTSOF(fds); i++) {
                (void)testing_wait_fd(fds[i], POLLIN);
                pl_close(fds[i]);
        }
}

static int on_time(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        *(bool *)userdata = true;
        return 0;
}

/* No descriptors: others have their turn, and the keeper is welcome when there are some again. */
TEST(test_no_descriptors) {
        struct control_introduction introduction = introduction_of(100);
        sd_event_source *source = NULL;
        bool happened = false;
        struct ledger ledger;
        struct service s;
        int fd;

        service_setup(&s);
        assert_int_equal(ledger_create(16, &ledger), 0);
        accept_fails = true;
        fd = knock(&s);
        assert_int_equal(control_send_introduction(fd, &introduction, ledger.fd), 0);
        for (unsigned int i = 0; i < 5000; i++)
                assert_true(sd_event_run(s.event, 0) >= 0);
        assert_in_range(n_failures, 1, 4000);
        assert_true(sd_event_add_time_relative(s.event, &source, CLOCK_MONOTONIC, 0, 1, on_time, &happened) >= 0);
        service_run_until(&s, happened);
        accept_fails = false;
        service_run_until(&s, s.n_introduced == 1);
        sd_event_source_disable_unref(source);
        pl_close(fd);
        ledger_done(&ledger);
        service_teardown(&s);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_unknown_session),
                CHECKED(test_strangers),
                CHECKED(test_stolen),
                CHECKED(test_came_and_died),
                CHECKED(test_silence),
                CHECKED(test_many_silent),
                CHECKED(test_no_descriptors),
        };

        return cmocka_run_group_tests_name("handover", tests, service_make_pages, NULL);
}
