/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "trio.h"

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
#include <sys/wait.h>

#include "fake_uverbs.h"
#include "fds.h"
#include "keeper.h"
#include "log.h"
#include "request.h"
#include "wraps.h"

int report_line;

struct ceiling *trio_ceiling;

static int app_limit(const struct rlimit *limit, struct rlimit *old) {
        trio_ceiling->n_app++;
        if (old) {
                old->rlim_cur = trio_ceiling->app_soft;
                old->rlim_max = trio_ceiling->app_hard;
        }
        if (limit) {
                trio_ceiling->app_soft = limit->rlim_cur;
                trio_ceiling->app_hard = limit->rlim_max;
                if (limit->rlim_max > trio_ceiling->app_most)
                        trio_ceiling->app_most = limit->rlim_max;
        }
        return 0;
}

int __wrap_prlimit(pid_t pid, int resource, const struct rlimit *limit, struct rlimit *old);
int __wrap_prlimit(pid_t pid, int resource, const struct rlimit *limit, struct rlimit *old) {
        if (resource != RLIMIT_MEMLOCK)
                abort();
        if (pid == trio_ceiling->app)
                return app_limit(limit, old);
        if (!limit || old)
                abort();
        trio_ceiling->pid = pid;
        trio_ceiling->soft = limit->rlim_cur;
        trio_ceiling->hard = limit->rlim_max;
        trio_ceiling->n++;
        return 0;
}

void report(char what) {
        (void)!write(report_line, &what, 1);
}

void trio_expect(struct trio *t, char what) {
        char got;

        (void)testing_wait_fd(t->report, POLLIN);
        assert_int_equal(read(t->report, &got, 1), 1);
        assert_int_equal(got, what);
}

void trio_expect_at_last(struct trio *t, char what) {
        char got;

        do {
                (void)testing_wait_fd(t->report, POLLIN);
                assert_int_equal(read(t->report, &got, 1), 1);
        } while (got == 'p');
        assert_int_equal(got, what);
}

/* --- the registrar --- */

void tell(int control, uint32_t type, uint32_t context, uint32_t value, int fd) {
        if (control_send(control, &(struct control_message) { .type = type, .context = context, .value = value }, fd) < 0)
                _exit(10);
}

uint32_t listen_to_keeper(int control, uint32_t *ret_value) {
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

uint32_t ask(int control, uint32_t type, uint32_t context, uint32_t value, int fd) {
        uint32_t answer;

        tell(control, type, context, value, fd);
        if (listen_to_keeper(control, &answer) != CONTROL_ACK)
                _exit(13);
        return answer;
}

void trio_register(struct trio *t, uint32_t index, int fd) {
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
                trio_register(t, i, fd);
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
        const int keep[] = { 0, 1, 2, config->client, config->control, config->supervisor, config->app, config->registrar, t->ledger.fd,
                             log_fd() };

        fds_close_except(keep, ELEMENTSOF(keep));
        /* As its program does. */
        (void)signal(SIGPIPE, SIG_IGN);
        _exit(keeper_run(config, &fake_ops, &t->ledger));
}

const struct times trio_usual = { HEARTBEAT_MS, HANG_MS, false, NULL, false };

static const struct credit_amount initial = CREDIT_INITIAL;

void trio_start_with(struct trio *t, behaviour_t behaviour, const struct times *times, bool stuck) {
        struct keeper_config config = { .app_state = -1, .heartbeat_ms = times->heartbeat_ms, .hang_ms = times->hang_ms };
        int client[2], control[2], supervisor[2], line[2];

        config.pins_private = times->pins_private;
        config.session_socket = times->successor;
        config.introduction.magic = CONTROL_MAGIC;
        config.introduction.version = CONTROL_VERSION;
        config.introduction.session = 77;
        config.introduction.credit = initial;
        *t = (struct trio) { .stuck = stuck, .dead = -1 };
        fake_reset();
        wraps_reset();
        if (!trio_ceiling) {
                trio_ceiling = mmap(NULL, sizeof *trio_ceiling, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
                assert_ptr_not_equal(trio_ceiling, MAP_FAILED);
        }
        memset(trio_ceiling, 0, sizeof *trio_ceiling);
        trio_ceiling->app_soft = trio_ceiling->app_hard = TRIO_APP_LIMIT;
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
        config.introduction.app_pid = (uint32_t)t->app;
        trio_ceiling->app = t->app;
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

void trio_start(struct trio *t, behaviour_t behaviour) {
        trio_start_with(t, behaviour, &trio_usual, false);
}

void trio_wait_ready(struct trio *t) {
        trio_expect_at_last(t, 'r');
}

void trio_kill_app(struct trio *t) {
        assert_int_equal(kill(t->app, SIGKILL), 0);
        (void)testing_wait_child(t->app);
        t->app = 0;
}

int trio_end(struct trio *t) {
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
                trio_kill_app(t);
        pl_close(t->app_socket);
        pl_close(t->supervisor);
        pl_close(t->report);
        pl_close(t->dead);
        assert_int_equal(munmap(t->page, 4096), 0);
        ledger_done(&t->ledger);
        return status;
}

void assert_killed(int status) {
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGKILL);
}

/* --- behaviours --- */

void serve(int control, int client) {
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

void says_bye(int control, int client) {
        (void)client;
        tell(control, CONTROL_BYE, 0, 0, -1);
}
