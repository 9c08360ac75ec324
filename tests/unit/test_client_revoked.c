/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>

#include "fake_session.h"

/* Registrations that the service takes back. */

#define MANY 3000

/* What the callbacks have seen, and do. */
struct seen {
        struct pinlease *p;
        unsigned int n_revoking, n_revoked, n_away, n_ends;
        struct pinlease_mr *last;
        uint32_t grace_ms;
        bool dereg, disconnect, dispatch;
        int result; /* of what they do */
};

static void act(struct seen *seen, struct pinlease_mr *reg) {
        uint32_t rkey = reg->mr.rkey;

        if (seen->dispatch) {
                seen->dispatch = false;
                seen->result = pinlease_dispatch(seen->p);
        }
        if (seen->dereg)
                seen->result = pinlease_dereg(seen->p, reg);
        if (seen->disconnect)
                seen->p = pinlease_disconnect(seen->p);
        /* It is there until the callback returns. */
        assert_int_equal(reg->mr.rkey, rkey);
}

static void on_revoking(
        struct pinlease *p, struct pinlease_mr *reg, const struct pinlease_revocation *revocation, void *userdata) {
        struct seen *seen = userdata;

        assert_ptr_equal(p, seen->p);
        assert_string_equal(revocation->sentence, FAKE_SENTENCE);
        assert_int_equal(revocation->reason, PINLEASE_REVOKED_ADMINISTRATOR);
        seen->n_revoking++;
        seen->last = reg;
        seen->grace_ms = revocation->grace_ms;
        act(seen, reg);
}

static void on_revoked(
        struct pinlease *p, struct pinlease_mr *reg, const struct pinlease_revocation *revocation, void *userdata) {
        struct seen *seen = userdata;

        assert_ptr_equal(p, seen->p);
        assert_string_equal(revocation->sentence, FAKE_SENTENCE);
        assert_int_equal(revocation->grace_ms, 0);
        seen->n_revoked++;
        seen->last = reg;
        act(seen, reg);
}

static void on_going_away(struct pinlease *p, uint32_t grace_ms, const char *sentence, void *userdata) {
        (void)p;
        (void)grace_ms;
        (void)sentence;
        ((struct seen *)userdata)->n_away++;
}

static void on_disconnected(struct pinlease *p, void *userdata) {
        (void)p;
        ((struct seen *)userdata)->n_ends++;
}

struct fixture {
        struct fake fake;
        struct seen seen;
        struct memory memory;
        struct fake_device device;
};

static const struct pinlease_listener listener = {
        .going_away = on_going_away,
        .disconnected = on_disconnected,
        .revoking = on_revoking,
        .revoked = on_revoked,
};

static void fixture_init(struct fixture *f, fake_script *script, const void *argument) {
        memory_open(&f->memory, 1);
        fake_device_open(&f->device, 1);
        fake_start(&f->fake, script, argument);
        f->seen = (struct seen) { 0 };
        assert_int_equal(pinlease_connect(f->fake.path, &listener, &f->seen, &f->seen.p), 0);
}

static void fixture_done(struct fixture *f) {
        pinlease_disconnect(f->seen.p);
        fake_end(&f->fake);
        fake_device_close(&f->device);
        memory_close(&f->memory);
}

static struct pinlease_mr *reg(struct fixture *f) {
        struct pinlease_mr *r;

        assert_int_equal(pinlease_reg_fd(f->seen.p, &f->device.pd, f->memory.fd, 0, PAGE, f->memory.at, WRITABLE, 0, &r), 0);
        return r;
}

static bool readable(struct fixture *f) {
        struct pollfd p = { .fd = pinlease_get_fd(f->seen.p), .events = POLLIN };

        return poll(&p, 1, 0) == 1;
}

static void dispatch_until(struct fixture *f, const unsigned int *count, unsigned int n) {
        while (*count < n) {
                (void)testing_wait_fd(pinlease_get_fd(f->seen.p), POLLIN);
                assert_true(pinlease_dispatch(f->seen.p) >= 0);
        }
}

/* --- scripts: a registration's number is the request's, or 1, 2, 3 … --- */

static void expect_deregister(struct fake *f, uint64_t id) {
        struct fake_request request;

        fake_expect(f, PL_OP_DEREGISTER, &request);
        FAKE_CHECK(request.packet.body.deregister.id == id);
}

static void two_registered(struct fake *f) {
        fake_greet(f);
        fake_expect_attach(f, 1);
        fake_expect_register(f, 1, 1);
        fake_expect_register(f, 1, 2);
}

static void ask_back(struct fake *f) {
        two_registered(f);
        fake_revoking(f, 2, 5000);
        expect_deregister(f, 2);
        fake_reply(f, PL_OP_DEREGISTER);
        fake_serve_rest(f);
}

/* It is let go in the callback, or after it. */
TEST(test_honoured) {
        for (unsigned int in_callback = 0; in_callback < 2; in_callback++) {
                struct pinlease_mr *one, *two;
                struct fixture f;

                fixture_init(&f, ask_back, NULL);
                one = reg(&f);
                two = reg(&f);
                f.seen.dereg = in_callback;
                f.seen.result = 1;
                dispatch_until(&f, &f.seen.n_revoking, 1);
                assert_ptr_equal(f.seen.last, two);
                assert_in_range(f.seen.grace_ms, 1, 5000);
                assert_int_equal(f.seen.result, in_callback ? 0 : 1);
                if (!in_callback)
                        assert_int_equal(pinlease_dereg(f.seen.p, two), 0);
                assert_int_equal(pinlease_ping(f.seen.p), 0);
                assert_int_equal(pinlease_dispatch(f.seen.p), 0);
                assert_int_equal(f.seen.n_revoked, 0);
                assert_false(readable(&f));
                assert_int_equal(pinlease_dereg(f.seen.p, one), 0);
                fixture_done(&f);
        }
}

static void take_away(struct fake *f) {
        two_registered(f);
        fake_revoking(f, 1, 100);
        fake_revoked(f, 1);
        /* Of this, and of what is unknown, nothing more is said. */
        fake_revoking(f, 1, 100);
        fake_revoked(f, 1);
        fake_revoked(f, 99);
        fake_revoking(f, 99, 1);
        /* There is no DEREGISTER of it. */
        fake_expect_ping(f);
        fake_expect_ping(f);
        fake_serve_rest(f);
}

/* A late app is told of the end only. What is gone is let go without asking. */
TEST(test_taken_away) {
        struct pinlease_mr *one;
        struct fixture f;

        fixture_init(&f, take_away, NULL);
        one = reg(&f);
        (void)reg(&f);
        assert_int_equal(pinlease_ping(f.seen.p), 0);
        assert_true(readable(&f));
        assert_int_equal(pinlease_dispatch(f.seen.p), 1);
        assert_int_equal(f.seen.n_revoking, 0);
        assert_int_equal(f.seen.n_revoked, 1);
        assert_ptr_equal(f.seen.last, one);
        assert_ptr_equal(one->mr.addr, f.memory.at);
        assert_int_equal(pinlease_dereg(f.seen.p, one), 0);
        assert_int_equal(pinlease_ping(f.seen.p), 0);
        assert_int_equal(pinlease_dispatch(f.seen.p), 0);
        assert_false(readable(&f));
        fixture_done(&f);
}

/* It is gone without having been told: the event goes with it, and also in the callback dereg() works. */
TEST(test_dereg_before_told) {
        struct pinlease_mr *one;
        struct fixture f;

        fixture_init(&f, take_away, NULL);
        one = reg(&f);
        (void)reg(&f);
        assert_int_equal(pinlease_ping(f.seen.p), 0);
        assert_int_equal(pinlease_dereg(f.seen.p, one), 0);
        assert_int_equal(pinlease_dispatch(f.seen.p), 0);
        assert_int_equal(f.seen.n_revoked, 0);
        assert_int_equal(pinlease_ping(f.seen.p), 0);
        assert_false(readable(&f));
        fixture_done(&f);

        fixture_init(&f, take_away, NULL);
        (void)reg(&f);
        (void)reg(&f);
        assert_int_equal(pinlease_ping(f.seen.p), 0);
        f.seen.dereg = true;
        f.seen.result = 1;
        assert_int_equal(pinlease_dispatch(f.seen.p), 1);
        assert_int_equal(f.seen.result, 0);
        assert_int_equal(pinlease_ping(f.seen.p), 0);
        fixture_done(&f);
}

static void cross(struct fake *f) {
        const bool *told = f->argument;

        two_registered(f);
        expect_deregister(f, 1);
        if (*told)
                fake_revoked(f, 1);
        fake_refuse(f, f->seq, PL_OP_DEREGISTER, PINLEASE_CODE_NO_SUCH_REGISTRATION, ENOENT);
        if (!*told) {
                expect_deregister(f, 1);
                fake_reply(f, PL_OP_DEREGISTER);
        }
        fake_serve_rest(f);
}

/* Taken away while it was being let go. A service that forgets one without a word is something else. */
TEST(test_crossing) {
        for (unsigned int i = 0; i < 2; i++) {
                const bool told = i;
                struct pinlease_mr *one;
                struct fixture f;

                fixture_init(&f, cross, &told);
                one = reg(&f);
                (void)reg(&f);
                assert_int_equal(pinlease_dereg(f.seen.p, one), told ? 0 : -ENOENT);
                if (!told)
                        assert_int_equal(pinlease_dereg(f.seen.p, one), 0);
                assert_int_equal(pinlease_dispatch(f.seen.p), 0);
                fixture_done(&f);
        }
}

static void again(struct fake *f) {
        two_registered(f);
        fake_expect(f, PL_OP_PING, NULL);
        fake_revoking(f, 1, 60000);
        fake_going_away(f, 1);
        fake_revoking(f, 2, 60000);
        fake_revoking(f, 1, 1000);
        fake_reply(f, PL_OP_PING);
        fake_expect_ping(f);
        fake_serve_rest(f);
}

/* Only the latest of each is told; a callback may dispatch. */
TEST(test_again) {
        for (unsigned int nested = 0; nested < 2; nested++) {
                struct pinlease_mr *one;
                struct fixture f;

                fixture_init(&f, again, NULL);
                one = reg(&f);
                (void)reg(&f);
                assert_int_equal(pinlease_ping(f.seen.p), 0);
                f.seen.dispatch = nested;
                assert_int_equal(pinlease_dispatch(f.seen.p), nested ? 2 : 3);
                assert_int_equal(f.seen.n_away, 1);
                assert_int_equal(f.seen.n_revoking, 2);
                assert_ptr_equal(f.seen.last, one);
                assert_in_range(f.seen.grace_ms, 1, 1000);
                assert_int_equal(pinlease_ping(f.seen.p), 0);
                fixture_done(&f);
        }
}

static void many(struct fake *f) {
        fake_greet(f);
        fake_expect_attach(f, 1);
        for (uint64_t i = 1; i <= MANY; i++)
                fake_expect_register(f, 1, i << 32 | i);
        fake_expect(f, PL_OP_PING, NULL);
        for (uint64_t i = 1; i <= MANY; i++)
                fake_revoking(f, i << 32 | i, 60000);
        fake_reply(f, PL_OP_PING);
        fake_expect(f, PL_OP_PING, NULL);
        fake_reply(f, PL_OP_PING);
        for (uint64_t i = 1; i <= MANY; i++)
                fake_revoked(f, i << 32 | i);
        fake_serve_rest(f);
}

/* All of them are told, whether they come in the way of an answer or not. */
TEST(test_many) {
        struct pinlease_mr *first = NULL;
        struct fixture f;

        fixture_init(&f, many, NULL);
        for (unsigned int i = 0; i < MANY; i++) {
                struct pinlease_mr *r = reg(&f);

                first = first ? first : r;
        }
        assert_int_equal(pinlease_ping(f.seen.p), 0);
        assert_int_equal(pinlease_dispatch(f.seen.p), MANY);
        assert_int_equal(f.seen.n_revoking, MANY);
        assert_int_equal(pinlease_ping(f.seen.p), 0);
        f.seen.dereg = true;
        dispatch_until(&f, &f.seen.n_revoked, MANY);
        assert_int_equal(f.seen.result, 0);
        assert_false(readable(&f));
        fixture_done(&f);
}

static void leave(struct fake *f) {
        two_registered(f);
        fake_revoking(f, 1, 100);
        fake_revoked(f, 2);
        f->app = pl_close(f->app);
}

/* First what came before it, then the end. */
TEST(test_then_end) {
        struct pinlease_mr *one, *two;
        struct fixture f;

        fixture_init(&f, leave, NULL);
        one = reg(&f);
        two = reg(&f);
        assert_int_equal(pinlease_ping(f.seen.p), -ECONNRESET);
        assert_true(readable(&f));
        assert_int_equal(pinlease_dispatch(f.seen.p), -ECONNRESET);
        assert_int_equal(f.seen.n_revoking, 1);
        assert_int_equal(f.seen.n_revoked, 1);
        assert_int_equal(f.seen.n_ends, 1);
        assert_false(readable(&f));
        assert_int_equal(pinlease_dereg(f.seen.p, one), -ECONNRESET);
        assert_int_equal(pinlease_dereg(f.seen.p, two), -ECONNRESET);
        fixture_done(&f);
}

static void ask_both_back(struct fake *f) {
        two_registered(f);
        fake_expect(f, PL_OP_PING, NULL);
        fake_revoking(f, 1, 100);
        fake_revoked(f, 2);
        fake_reply(f, PL_OP_PING);
        fake_serve_rest(f);
}

TEST(test_disconnect_in_callback) {
        struct fixture f;

        fixture_init(&f, ask_both_back, NULL);
        (void)reg(&f);
        (void)reg(&f);
        assert_int_equal(pinlease_ping(f.seen.p), 0);
        f.seen.disconnect = true;
        assert_int_equal(pinlease_dispatch(f.seen.p), 1);
        assert_int_equal(f.seen.n_revoking, 1);
        assert_int_equal(f.seen.n_revoked, 0);
        assert_null(f.seen.p);
        fixture_done(&f);
}

/* Nobody listens: taken in, and dropped with the session. What is asked for is given back when they are dispatched, which is
 * an event as well. */
TEST(test_no_listener) {
        struct fixture f;

        for (unsigned int dispatch = 0; dispatch < 2; dispatch++) {
                memory_open(&f.memory, 1);
                fake_device_open(&f.device, 1);
                fake_start(&f.fake, ask_both_back, NULL);
                f.seen.p = client_connect(&f.fake);
                (void)reg(&f);
                (void)reg(&f);
                assert_int_equal(pinlease_ping(f.seen.p), 0);
                if (dispatch)
                        assert_int_equal(pinlease_dispatch(f.seen.p), 3);
                fixture_done(&f);
        }
}

#define THREADS 4
#define ROUNDS  200

/* Everything that is registered is asked back at once, and taken away a while later. */
static void serve_impatiently(struct fake *f) {
        uint64_t last = 0;

        fake_greet(f);
        fake_expect_attach(f, 1);
        for (uint64_t i = 0; i < THREADS * ROUNDS; i++) {
                struct fake_request request;
                struct pl_packet reply;

                fake_expect(f, PL_OP_REGISTER, &request);
                fake_make_reply(f, &reply, PL_OP_REGISTER, request.packet.body.reg.length);
                reply.body.register_reply.id = i + 1;
                fake_revoked(f, last);
                fake_send(f, &reply, reply.header.length, NULL, 0);
                fake_revoking(f, i + 1, 100);
                last = i + 1;
        }
        fake_revoked(f, last);
        fake_expect_detach(f, 1);
        fake_expect_end(f);
}

static void *registering(void *userdata) {
        struct fixture *f = userdata;

        for (unsigned int i = 0; i < ROUNDS; i++) {
                struct pinlease_mr *r;

                if (pinlease_reg_fd(f->seen.p, &f->device.pd, f->memory.fd, 0, PAGE, f->memory.at, WRITABLE, 0, &r) < 0)
                        return NULL;
        }
        return f;
}

/* One thread hears of them while others register. */
TEST(test_threads) {
        pthread_t threads[THREADS];
        struct fixture f;

        fixture_init(&f, serve_impatiently, NULL);
        assert_int_equal(pinlease_attach(f.seen.p, &f.device.context), 0);
        for (unsigned int i = 0; i < THREADS; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, registering, &f), 0);
        dispatch_until(&f, &f.seen.n_revoked, THREADS * ROUNDS);
        for (unsigned int i = 0; i < THREADS; i++) {
                void *result;

                assert_int_equal(pthread_join(threads[i], &result), 0);
                assert_ptr_equal(result, &f);
        }
        assert_int_equal(f.seen.n_revoked, THREADS * ROUNDS);
        fixture_done(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_honoured),          CHECKED(test_taken_away), CHECKED(test_dereg_before_told),
                CHECKED(test_crossing),          CHECKED(test_again),      CHECKED(test_many),
                CHECKED(test_then_end),          CHECKED(test_disconnect_in_callback),
                CHECKED(test_no_listener),       CHECKED(test_threads),
        };

        return cmocka_run_group_tests_name("client, revocations", tests, NULL, NULL);
}
