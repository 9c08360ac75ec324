/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>

#include "fake_session.h"
#include "session.h" /* PL_EVENTS_MAX */

/* What comes without being asked for: events, the end, nonsense; and forks, threads and callbacks that disconnect. */

/* What the callbacks have seen. */
struct seen {
        struct pinlease *p;
        unsigned int n_events;
        uint32_t grace_ms[64];
        unsigned int n_ends;
        bool event_after_end;
        bool disconnect_at_event, disconnect_at_end;
};

static void on_going_away(struct pinlease *p, uint32_t grace_ms, const char *sentence, void *userdata) {
        struct seen *seen = userdata;

        assert_ptr_equal(p, seen->p);
        assert_string_equal(sentence, FAKE_SENTENCE);
        assert_true(seen->n_events < ELEMENTSOF(seen->grace_ms));
        seen->grace_ms[seen->n_events++] = grace_ms;
        seen->event_after_end |= seen->n_ends > 0;
        if (seen->disconnect_at_event)
                seen->p = pinlease_disconnect(p);
}

static void on_disconnected(struct pinlease *p, void *userdata) {
        struct seen *seen = userdata;

        assert_ptr_equal(p, seen->p);
        seen->n_ends++;
        if (seen->disconnect_at_end)
                seen->p = pinlease_disconnect(p);
}

static const struct pinlease_listener listener = { .going_away = on_going_away, .disconnected = on_disconnected };

static void connect_to(const struct fake *f, struct seen *seen) {
        struct pinlease_listener copied = listener;

        *seen = (struct seen) { 0 };
        assert_int_equal(pinlease_connect(f->path, &copied, seen, &seen->p), 0);
        copied = (struct pinlease_listener) { 0 };
}

static bool readable(struct pinlease *p) {
        struct pollfd poll_fd = { .fd = pinlease_get_fd(p), .events = POLLIN };

        return poll(&poll_fd, 1, 0) == 1;
}

static void wait_for_events(struct pinlease *p) {
        (void)testing_wait_fd(pinlease_get_fd(p), POLLIN);
}

/* The session has ended, and that was told: once. */
static void assert_over(struct seen *seen) {
        for (unsigned int i = 0; i < 2; i++) {
                assert_int_equal(pinlease_ping(seen->p), -ECONNRESET);
                client_assert_refusal(seen->p, PINLEASE_CODE_DISCONNECTED, ECONNRESET);
                assert_int_equal(pinlease_dispatch(seen->p), -ECONNRESET);
                client_assert_refusal(seen->p, PINLEASE_CODE_DISCONNECTED, ECONNRESET);
                assert_int_equal(seen->n_ends, 1);
                assert_false(seen->event_after_end);
                assert_false(readable(seen->p));
        }
}

/* --- events --- */

static void say_then_answer(struct fake *f) {
        const uint32_t *n = f->argument;

        fake_greet(f);
        fake_expect(f, PL_OP_PING, NULL);
        for (uint32_t i = 0; i < *n; i++)
                fake_going_away(f, 100 + i);
        fake_reply(f, PL_OP_PING);
        fake_expect_end(f);
}

TEST(test_event_before_answer) {
        static const uint32_t n = 3;
        struct seen seen;
        struct fake f;

        fake_start(&f, say_then_answer, &n);
        connect_to(&f, &seen);
        assert_false(readable(seen.p));
        assert_int_equal(pinlease_dispatch(seen.p), 0);
        assert_int_equal(pinlease_ping(seen.p), 0);
        assert_int_equal(seen.n_events, 0);
        assert_true(readable(seen.p));
        assert_int_equal(pinlease_dispatch(seen.p), n);
        for (uint32_t i = 0; i < n; i++)
                assert_int_equal(seen.grace_ms[i], 100 + i);
        assert_false(readable(seen.p));
        assert_int_equal(pinlease_dispatch(seen.p), 0);
        assert_int_equal(seen.n_events, n);
        assert_int_equal(seen.n_ends, 0);
        pinlease_disconnect(seen.p);
        fake_end(&f);
}

/* More than are kept: of those that nobody fetched, the last is what counts. */
TEST(test_flood_before_answer) {
        static const uint32_t n = 3 * PL_EVENTS_MAX;
        struct seen seen;
        struct fake f;

        fake_start(&f, say_then_answer, &n);
        connect_to(&f, &seen);
        assert_int_equal(pinlease_ping(seen.p), 0);
        assert_int_equal(pinlease_dispatch(seen.p), PL_EVENTS_MAX);
        for (uint32_t i = 0; i < PL_EVENTS_MAX - 1; i++)
                assert_int_equal(seen.grace_ms[i], 100 + i);
        assert_int_equal(seen.grace_ms[PL_EVENTS_MAX - 1], 100 + n - 1);
        assert_false(readable(seen.p));
        assert_int_equal(pinlease_dispatch(seen.p), 0);
        pinlease_disconnect(seen.p);
        fake_end(&f);
}

static void answer_then_say(struct fake *f) {
        const uint32_t *n = f->argument;

        fake_greet(f);
        fake_expect_ping(f);
        for (uint32_t i = 0; i < *n; i++)
                fake_going_away(f, 100 + i);
        fake_expect_end(f);
}

/* What is not in the way of an answer waits in the socket, all of it. */
TEST(test_flood_while_idle) {
        static const uint32_t n = 3 * PL_EVENTS_MAX;
        struct seen seen;
        struct fake f;

        fake_start(&f, answer_then_say, &n);
        connect_to(&f, &seen);
        assert_int_equal(pinlease_ping(seen.p), 0);
        while (seen.n_events < n) {
                int r;

                wait_for_events(seen.p);
                r = pinlease_dispatch(seen.p);
                assert_in_range(r, 1, PL_EVENTS_MAX);
        }
        for (uint32_t i = 0; i < n; i++)
                assert_int_equal(seen.grace_ms[i], 100 + i);
        assert_false(readable(seen.p));
        pinlease_disconnect(seen.p);
        fake_end(&f);
}

/* Without a listener the events are fetched all the same. */
TEST(test_no_listener) {
        static const uint32_t n = 2;
        struct pinlease *p;
        struct fake f;

        fake_start(&f, say_then_answer, &n);
        p = client_connect(&f);
        assert_int_equal(pinlease_ping(p), 0);
        assert_int_equal(pinlease_dispatch(p), n);
        pinlease_disconnect(p);
        fake_end(&f);
}

/* --- the end --- */

static void say_and_leave(struct fake *f) {
        const uint32_t *n = f->argument;

        fake_greet(f);
        fake_expect_ping(f);
        for (uint32_t i = 0; i < *n; i++)
                fake_going_away(f, 100 + i);
        f->app = pl_close(f->app);
}

/* First the events, all of them, then the end, once; the service's last words are why. */
TEST(test_events_then_end) {
        static const uint32_t n = PL_EVENTS_MAX + 2;
        struct seen seen;
        struct fake f;

        fake_start(&f, say_and_leave, &n);
        connect_to(&f, &seen);
        assert_int_equal(pinlease_ping(seen.p), 0);
        fake_end(&f);
        wait_for_events(seen.p);
        assert_int_equal(pinlease_dispatch(seen.p), PL_EVENTS_MAX);
        assert_int_equal(seen.n_ends, 0);
        assert_true(readable(seen.p));
        assert_int_equal(pinlease_dispatch(seen.p), -ECONNRESET);
        assert_int_equal(seen.n_events, n);
        assert_int_equal(seen.n_ends, 1);
        assert_non_null(strstr(pinlease_refusal(seen.p)->sentence, FAKE_SENTENCE));
        assert_over(&seen);
        pinlease_disconnect(seen.p);
}

static void say_then_leave_in_request(struct fake *f) {
        fake_greet(f);
        fake_expect(f, PL_OP_PING, NULL);
        fake_going_away(f, 100);
        f->app = pl_close(f->app);
}

/* The request finds out; what came before it is still delivered. */
TEST(test_event_then_end_in_request) {
        struct seen seen;
        struct fake f;

        fake_start(&f, say_then_leave_in_request, NULL);
        connect_to(&f, &seen);
        assert_int_equal(pinlease_ping(seen.p), -ECONNRESET);
        assert_non_null(strstr(pinlease_refusal(seen.p)->sentence, FAKE_SENTENCE));
        assert_int_equal(seen.n_events, 0);
        assert_true(readable(seen.p));
        assert_int_equal(pinlease_dispatch(seen.p), -ECONNRESET);
        assert_int_equal(seen.n_events, 1);
        assert_over(&seen);
        pinlease_disconnect(seen.p);
        fake_end(&f);
}

static void leave_in_request(struct fake *f) {
        const uint16_t *opcode = f->argument;

        fake_greet(f);
        fake_expect_attach(f, 1);
        if (*opcode == PL_OP_DEREGISTER || *opcode == PL_OP_DETACH)
                fake_expect_register(f, 1, 1);
        fake_expect(f, *opcode, NULL);
        f->app = pl_close(f->app);
}

/* The request that is under way fails; and what was registered is freed by whoever lets go of it. */
TEST(test_end_in_request) {
        static const uint16_t opcodes[] = { PL_OP_PING, PL_OP_REGISTER, PL_OP_DEREGISTER, PL_OP_DETACH };
        struct memory m;

        memory_open(&m, 1);
        for (size_t i = 0; i < ELEMENTSOF(opcodes); i++) {
                struct pinlease_mr *reg = UNTOUCHED;
                struct fake_device device;
                struct seen seen;
                struct fake f;
                int r;

                fake_device_open(&device, 1);
                fake_start(&f, leave_in_request, &opcodes[i]);
                connect_to(&f, &seen);
                assert_int_equal(pinlease_attach(seen.p, &device.context), 0);
                if (opcodes[i] == PL_OP_PING)
                        r = pinlease_ping(seen.p);
                else
                        r = pinlease_reg_fd(seen.p, &device.pd, m.fd, 0, PAGE, m.at, WRITABLE, 0, &reg);
                if (opcodes[i] == PL_OP_DEREGISTER) {
                        assert_int_equal(r, 0);
                        r = pinlease_dereg(seen.p, reg);
                } else if (opcodes[i] == PL_OP_DETACH) {
                        assert_int_equal(r, 0);
                        r = pinlease_detach(seen.p, &device.context);
                        client_assert_refusal(seen.p, PINLEASE_CODE_DISCONNECTED, ECONNRESET);
                        assert_int_equal(pinlease_dereg(seen.p, reg), -ECONNRESET);
                } else
                        assert_ptr_equal(reg, UNTOUCHED);
                assert_int_equal(r, -ECONNRESET);
                client_assert_refusal(seen.p, PINLEASE_CODE_DISCONNECTED, ECONNRESET);
                assert_true(readable(seen.p));
                assert_over(&seen);
                assert_int_equal(pinlease_attach(seen.p, &device.context), -ECONNRESET);
                pinlease_disconnect(seen.p);
                fake_end(&f);
                fake_device_close(&device);
        }
        memory_close(&m);
}

static void dismiss(struct fake *f) {
        const uint16_t *opcode = f->argument;

        fake_greet(f);
        fake_expect_attach(f, 1);
        fake_expect_register(f, 1, 1);
        if (*opcode)
                fake_expect(f, *opcode, NULL);
        fake_refuse(f, 0, *opcode, PINLEASE_CODE_BUSY, EBUSY);
        fake_expect_end(f);
}

/* A refusal of the session itself is its end, whatever errno it bears: "busy" would mean that reg is still there. */
TEST(test_dismissed) {
        static const uint16_t opcodes[] = { PL_OP_DEREGISTER, 0 };
        struct memory m;

        memory_open(&m, 1);
        for (size_t i = 0; i < ELEMENTSOF(opcodes); i++) {
                struct fake_device device;
                struct pinlease_mr *reg;
                struct seen seen;
                struct fake f;

                fake_device_open(&device, 1);
                fake_start(&f, dismiss, &opcodes[i]);
                connect_to(&f, &seen);
                assert_int_equal(pinlease_reg_fd(seen.p, &device.pd, m.fd, 0, PAGE, m.at, WRITABLE, 0, &reg), 0);
                if (opcodes[i] == 0) {
                        wait_for_events(seen.p);
                        assert_int_equal(pinlease_dispatch(seen.p), -ECONNRESET);
                }
                assert_int_equal(pinlease_dereg(seen.p, reg), -ECONNRESET);
                assert_non_null(strstr(pinlease_refusal(seen.p)->sentence, FAKE_SENTENCE));
                assert_over(&seen);
                pinlease_disconnect(seen.p);
                fake_end(&f);
                fake_device_close(&device);
        }
        memory_close(&m);
}

/* --- callbacks, forks, threads --- */

TEST(test_disconnect_in_callback) {
        static const uint32_t n = 3;
        struct seen seen;
        struct fake f;

        fake_start(&f, say_then_answer, &n);
        connect_to(&f, &seen);
        seen.disconnect_at_event = true;
        assert_int_equal(pinlease_ping(seen.p), 0);
        assert_int_equal(pinlease_dispatch(seen.p), 1);
        assert_null(seen.p);
        assert_int_equal(seen.n_events, 1);
        assert_int_equal(seen.n_ends, 0);
        fake_end(&f);

        fake_start(&f, say_and_leave, &n);
        connect_to(&f, &seen);
        seen.disconnect_at_end = true;
        assert_int_equal(pinlease_ping(seen.p), 0);
        fake_end(&f);
        assert_int_equal(pinlease_dispatch(seen.p), -ECONNRESET);
        assert_null(seen.p);
        assert_int_equal(seen.n_ends, 1);
}

/* In the child: every call on the parent's session. */
static bool all_refuse(struct pinlease *p,
                       struct fake_device *device,
                       const struct memory *m,
                       struct pinlease_mr *reg) {
        struct pinlease_mr *other = UNTOUCHED;

        return pinlease_ping(p) == -EOWNERDEAD && pinlease_refusal(p)->code == PINLEASE_CODE_FORKED &&
               pinlease_attach(p, &device->context) == -EOWNERDEAD &&
               pinlease_detach(p, &device->context) == -EOWNERDEAD &&
               pinlease_reg_fd(p, &device->pd, m->fd, 0, PAGE, m->at, WRITABLE, 0, &other) == -EOWNERDEAD &&
               other == UNTOUCHED && pinlease_dereg(p, reg) == -EOWNERDEAD && reg->mr.addr == m->at &&
               pinlease_get_fd(p) == -EOWNERDEAD && pinlease_dispatch(p) == -EOWNERDEAD &&
               pinlease_refusal(p)->code == PINLEASE_CODE_FORKED && pinlease_refusal(p)->error == EOWNERDEAD;
}

TEST(test_fork) {
        struct fake_device device;
        struct pinlease_mr *reg;
        struct memory m;
        struct seen seen;
        struct fake f;
        pid_t child;

        memory_open(&m, 1);
        fake_device_open(&device, 1);
        fake_start(&f, fake_ordinary, NULL);
        connect_to(&f, &seen);
        assert_int_equal(pinlease_reg_fd(seen.p, &device.pd, m.fd, 0, PAGE, m.at, WRITABLE, 0, &reg), 0);
        child = testing_fork();
        if (child == 0) {
                unsigned int before = testing_count_fds(0);
                bool good = all_refuse(seen.p, &device, &m, reg);

                good &= !pinlease_disconnect(seen.p) && testing_count_fds(0) == before - 3;
                _exit(good ? 0 : 1);
        }
        assert_int_equal(testing_wait_child(child), 0);
        assert_int_equal(pinlease_ping(seen.p), 0);
        assert_int_equal(pinlease_dispatch(seen.p), 0);
        assert_int_equal(pinlease_dereg(seen.p, reg), 0);
        pinlease_disconnect(seen.p);
        assert_int_equal(seen.n_ends, 0);
        fake_end(&f);
        fake_device_close(&device);
        memory_close(&m);
}

/* A child that keeps its copies open does not keep the session alive. */
TEST(test_end_in_spite_of_child) {
        int hold[2];
        struct pinlease *p;
        struct fake f;
        pid_t child;
        char byte;

        assert_int_equal(pipe2(hold, O_CLOEXEC), 0);
        fake_start(&f, fake_ordinary, NULL);
        p = client_connect(&f);
        child = testing_fork();
        if (child == 0) {
                close(hold[1]);
                _exit(read(hold[0], &byte, 1) == 0 ? 0 : 1);
        }
        pinlease_disconnect(p);
        fake_end(&f);
        pl_close(hold[1]);
        assert_int_equal(testing_wait_child(child), 0);
        pl_close(hold[0]);
}

#define THREADS 4U
#define PINGS 100U
#define EVERY 10U /* pings there is an event */

static void serve_threads(struct fake *f) {
        fake_greet(f);
        for (uint32_t i = 1; i <= THREADS * PINGS; i++) {
                fake_expect(f, PL_OP_PING, NULL);
                if (i % EVERY == 0)
                        fake_going_away(f, i);
                fake_reply(f, PL_OP_PING);
        }
        fake_expect_end(f);
}

static void *pinging(void *p) {
        for (unsigned int i = 0; i < PINGS; i++)
                if (pinlease_ping(p) < 0)
                        return NULL;
        return p;
}

/* Each answer goes to who has asked. Events may be left out when many come at once, but never the last. */
TEST(test_threads) {
        pthread_t threads[THREADS];
        struct seen seen;
        struct fake f;

        fake_start(&f, serve_threads, NULL);
        connect_to(&f, &seen);
        for (unsigned int i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, pinging, seen.p), 0);
        while (seen.n_events == 0 || seen.grace_ms[seen.n_events - 1] != THREADS * PINGS) {
                wait_for_events(seen.p);
                assert_true(pinlease_dispatch(seen.p) >= 0);
        }
        for (unsigned int i = 0; i < THREADS; i++) {
                void *result;

                assert_int_equal(pthread_join(threads[i], &result), 0);
                assert_ptr_equal(result, seen.p);
        }
        for (unsigned int i = 1; i < seen.n_events; i++)
                assert_true(seen.grace_ms[i - 1] < seen.grace_ms[i]);
        assert_int_equal(pinlease_dispatch(seen.p), 0);
        pinlease_disconnect(seen.p);
        fake_end(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_event_before_answer),    CHECKED(test_flood_before_answer),
                CHECKED(test_flood_while_idle),       CHECKED(test_no_listener),
                CHECKED(test_events_then_end),        CHECKED(test_event_then_end_in_request),
                CHECKED(test_end_in_request),         CHECKED(test_dismissed),
                CHECKED(test_disconnect_in_callback), CHECKED(test_fork),
                CHECKED(test_end_in_spite_of_child),  CHECKED(test_threads),
        };

        return cmocka_run_group_tests_name("client_events", tests, NULL, NULL);
}
