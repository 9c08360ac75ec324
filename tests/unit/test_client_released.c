/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <poll.h>
#include <string.h>

#include "fake_session.h"

/* Registrations that are released because their file is changed, or taken away for it, and what is told when it has settled. */

struct seen {
        struct pinlease *p;
        unsigned int n_revoking, n_revoked, n_settled;
        struct pinlease_mr *last;
        void *cookie;
        uint64_t size;
        struct pinlease_mr *release; /* by `settled` */
        int result;
};

static void see(struct seen *seen, struct pinlease *p, struct pinlease_mr *reg, const struct pinlease_revocation *revocation) {
        assert_ptr_equal(p, seen->p);
        assert_int_equal(revocation->reason, PINLEASE_REVOKED_LAYOUT_CHANGE);
        assert_int_equal(revocation->offset, 0);
        assert_int_equal(revocation->length, PAGE);
        seen->last = reg;
}

static void on_revoking(struct pinlease *p,
                        struct pinlease_mr *reg,
                        const struct pinlease_revocation *revocation,
                        void *userdata) {
        struct seen *seen = userdata;

        see(seen, p, reg, revocation);
        assert_in_range(revocation->grace_ms, 1, 5000);
        seen->n_revoking++;
}

static void on_revoked(struct pinlease *p,
                       struct pinlease_mr *reg,
                       const struct pinlease_revocation *revocation,
                       void *userdata) {
        struct seen *seen = userdata;

        see(seen, p, reg, revocation);
        assert_int_equal(seen->n_settled, 0);
        assert_in_range(strlen(revocation->sentence), 10, PL_SENTENCE_MAX);
        seen->n_revoked++;
}

static void on_settled(struct pinlease *p, void *cookie, uint64_t size, const char *sentence, void *userdata) {
        struct seen *seen = userdata;

        assert_ptr_equal(p, seen->p);
        assert_string_equal(sentence, FAKE_SENTENCE);
        seen->n_settled++;
        seen->cookie = cookie;
        seen->size = size;
        if (seen->release)
                seen->result = pinlease_release(p, seen->release);
}

static const struct pinlease_listener attentive = {
        .revoking = on_revoking,
        .revoked = on_revoked,
        .settled = on_settled,
};

struct fixture {
        struct fake fake;
        struct seen seen;
        struct memory memory;
        struct fake_device device;
        struct pinlease_mr *reg;
};

/* The script sees one registration, number 1, whose cookie is the fixture. */
static void fixture_init(struct fixture *f, const struct pinlease_listener *listener, fake_script *script, const void *argument) {
        const struct pinlease_reg_options options = { .cookie = f };

        *f = (struct fixture) { .seen.result = -1 };
        memory_open(&f->memory, 1);
        fake_device_open(&f->device, 1);
        fake_start(&f->fake, script, argument);
        assert_int_equal(pinlease_connect(f->fake.path, listener, &f->seen, &f->seen.p), 0);
        assert_int_equal(
                pinlease_reg_fd_ex(f->seen.p, &f->device.pd, f->memory.fd, 0, PAGE, f->memory.at, WRITABLE, &options, &f->reg), 0);
        assert_ptr_equal(f->reg->cookie, f);
}

static void fixture_done(struct fixture *f) {
        f->seen.p = pinlease_disconnect(f->seen.p);
        fake_end(&f->fake);
        fake_device_close(&f->device);
        memory_close(&f->memory);
}

static void ping(struct fixture *f) {
        assert_int_equal(pinlease_ping(f->seen.p), 0);
}

static bool readable(struct fixture *f) {
        struct pollfd p = { .fd = pinlease_get_fd(f->seen.p), .events = POLLIN };

        return poll(&p, 1, 0) == 1;
}

/* The next ping lets what the script sends meanwhile come in. */
static void settles(struct fixture *f, unsigned int n) {
        ping(f);
        assert_int_equal(pinlease_dispatch(f->seen.p), n);
        assert_int_equal(f->seen.n_settled, n);
        if (n > 0) {
                assert_ptr_equal(f->seen.cookie, f);
                assert_int_equal(f->seen.size, 12345);
        }
        assert_int_equal(pinlease_dispatch(f->seen.p), 0);
        assert_false(readable(f));
}

/* --- scripts --- */

static void registered(struct fake *f, uint64_t features) {
        fake_greet_with(f, features);
        fake_expect_attach(f, 1);
        fake_expect_register(f, 1, 1);
}

static void expect_release(struct fake *f) {
        struct fake_request request;

        fake_expect(f, PL_OP_RELEASE, &request);
        FAKE_CHECK(request.packet.body.release.id == 1);
}

static void reply_release(struct fake *f, bool settles) {
        struct pl_packet reply;

        fake_make_reply(f, &reply, PL_OP_RELEASE, 0);
        reply.body.release_reply.settles = settles;
        fake_send(f, &reply, reply.header.length, NULL, 0);
}

static void expect_ping_settling(struct fake *f) {
        fake_expect(f, PL_OP_PING, NULL);
        fake_settled(f, 1, 12345);
        /* Said once; of others, it is of no interest. */
        fake_settled(f, 1, 1);
        fake_settled(f, 77, 1);
        fake_reply(f, PL_OP_PING);
}

static void bye(struct fake *f) {
        fake_expect_detach(f, 1);
        fake_expect_end(f);
}

static void asks_back(struct fake *f) {
        registered(f, PL_FEATURES_KNOWN);
        fake_expect(f, PL_OP_PING, NULL);
        fake_change(f, 1, 5000);
        fake_reply(f, PL_OP_PING);
        expect_release(f);
}

static void ask_and_settle(struct fake *f) {
        const bool *change = f->argument;

        asks_back(f);
        reply_release(f, *change);
        /* It is the app's no more. */
        fake_change(f, 1, 100);
        fake_changed(f, 1);
        expect_ping_settling(f);
        bye(f);
}

TEST(test_released) {
        for (unsigned int i = 0; i < 2; i++) {
                const bool change = i;
                struct fixture f;

                fixture_init(&f, &attentive, ask_and_settle, &change);
                ping(&f);
                assert_int_equal(pinlease_dispatch(f.seen.p), 1);
                assert_int_equal(f.seen.n_revoking, 1);
                assert_ptr_equal(f.seen.last, f.reg);
                assert_int_equal(pinlease_release(f.seen.p, f.reg), change);
                settles(&f, change);
                assert_int_equal(f.seen.n_revoking, 1);
                assert_int_equal(f.seen.n_revoked, 0);
                fixture_done(&f);
        }
}

/* The cookie may be set later; the session may end before it has settled, or before that is told. */
TEST(test_released_and_gone) {
        for (unsigned int told = 0; told < 2; told++) {
                bool change = true;
                struct fixture f;

                fixture_init(&f, &attentive, ask_and_settle, &change);
                ping(&f);
                f.reg->cookie = &change;
                assert_int_equal(pinlease_release(f.seen.p, f.reg), 1);
                ping(&f);
                if (told) {
                        assert_int_equal(pinlease_dispatch(f.seen.p), 1);
                        assert_ptr_equal(f.seen.cookie, &change);
                }
                assert_int_equal(f.seen.n_revoking, 0);
                fixture_done(&f);
        }
}

static void never_settles(struct fake *f) {
        registered(f, PL_FEATURES_KNOWN);
        expect_release(f);
        reply_release(f, true);
        bye(f);
}

TEST(test_detached_before_settled) {
        struct fixture f;

        fixture_init(&f, &attentive, never_settles, NULL);
        assert_int_equal(pinlease_release(f.seen.p, f.reg), 1);
        assert_int_equal(pinlease_detach(f.seen.p, &f.device.context), 0);
        fixture_done(&f);
}

static void take_away(struct fake *f) {
        registered(f, PL_FEATURES_KNOWN);
        fake_expect(f, PL_OP_PING, NULL);
        fake_changed(f, 1);
        fake_reply(f, PL_OP_PING);
        expect_ping_settling(f);
        bye(f);
}

/* Taken away first: deregistered or released, before and after it has settled, told or not. Nothing of it is sent. */
TEST(test_forced) {
        enum { DEREG_EARLY, RELEASE_EARLY, RELEASE_PENDING, DEREG_PENDING, RELEASE_TOLD, RELEASE_IN_CALLBACK, NEVER, N };

        for (unsigned int how = 0; how < N; how++) {
                bool early = how == DEREG_EARLY || how == RELEASE_EARLY;
                struct fixture f;

                fixture_init(&f, &attentive, take_away, NULL);
                ping(&f);
                if (how == NEVER)
                        assert_int_equal(pinlease_dispatch(f.seen.p), 1);
                if (how == DEREG_EARLY)
                        assert_int_equal(pinlease_dereg(f.seen.p, f.reg), 0);
                if (how == RELEASE_EARLY)
                        assert_int_equal(pinlease_release(f.seen.p, f.reg), 1);
                ping(&f);
                if (how == RELEASE_PENDING)
                        assert_int_equal(pinlease_release(f.seen.p, f.reg), 1);
                if (how == DEREG_PENDING)
                        assert_int_equal(pinlease_dereg(f.seen.p, f.reg), 0);
                f.seen.release = how == RELEASE_IN_CALLBACK ? f.reg : NULL;
                if (how != NEVER)
                        assert_int_equal(pinlease_dispatch(f.seen.p),
                                         (how != DEREG_EARLY && how != DEREG_PENDING) +
                                                 (!early && how != RELEASE_PENDING && how != DEREG_PENDING));
                if (how == RELEASE_TOLD)
                        assert_int_equal(pinlease_release(f.seen.p, f.reg), 0);
                if (how == RELEASE_IN_CALLBACK)
                        assert_int_equal(f.seen.result, 0);
                if (how != NEVER)
                        assert_int_equal(f.seen.n_settled, how != DEREG_EARLY && how != DEREG_PENDING);
                if (f.seen.n_settled)
                        assert_ptr_equal(f.seen.cookie, &f);
                fixture_done(&f);
        }
}

static void cross(struct fake *f) {
        registered(f, PL_FEATURES_KNOWN);
        expect_release(f);
        fake_changed(f, 1);
        fake_refuse(f, f->seq, PL_OP_RELEASE, PINLEASE_CODE_NO_SUCH_REGISTRATION, ENOENT);
        expect_ping_settling(f);
        bye(f);
}

static void cross_kindly(struct fake *f) {
        registered(f, PL_FEATURES_KNOWN);
        expect_release(f);
        fake_changed(f, 1);
        reply_release(f, true);
        expect_ping_settling(f);
        bye(f);
}

/* Taken away, and settled, while it was being released. */
static void cross_twice(struct fake *f) {
        registered(f, PL_FEATURES_KNOWN);
        expect_release(f);
        fake_changed(f, 1);
        fake_settled(f, 1, 12345);
        reply_release(f, false);
        expect_ping_settling(f);
        bye(f);
}

TEST(test_crossing) {
        fake_script *const scripts[] = { cross, cross_kindly, cross_twice };

        for (unsigned int i = 0; i < 3; i++) {
                struct fixture f;

                fixture_init(&f, &attentive, scripts[i], NULL);
                assert_int_equal(pinlease_release(f.seen.p, f.reg), 1);
                settles(&f, 1);
                assert_int_equal(f.seen.n_revoked, 0);
                fixture_done(&f);
        }
}

static void refuse_release(struct fake *f) {
        registered(f, PL_FEATURES_KNOWN);
        expect_release(f);
        fake_refuse(f, f->seq, PL_OP_RELEASE, PINLEASE_CODE_BUSY, EBUSY);
        expect_release(f);
        f->app = pl_close(f->app);
}

TEST(test_refused) {
        struct fixture f;

        fixture_init(&f, &attentive, refuse_release, NULL);
        assert_int_equal(pinlease_release(f.seen.p, f.reg), -EBUSY);
        client_assert_told(f.seen.p, PINLEASE_CODE_BUSY, EBUSY);
        assert_int_equal(f.reg->mr.lkey, 0x11);
        /* It goes with the session. */
        assert_int_equal(pinlease_release(f.seen.p, f.reg), -ECONNRESET);
        fixture_done(&f);
}

static void old_service(struct fake *f) {
        struct fake_request request;

        registered(f, PL_FEATURE_REVOCATION);
        fake_expect(f, PL_OP_DEREGISTER, &request);
        FAKE_CHECK(request.packet.body.deregister.id == 1);
        fake_reply(f, PL_OP_DEREGISTER);
        bye(f);
}

TEST(test_old_service) {
        struct fixture f;

        fixture_init(&f, &attentive, old_service, NULL);
        assert_int_equal(pinlease_release(f.seen.p, f.reg), 0);
        fixture_done(&f);
}

/* --- who has no function for `revoking` --- */

static void ask_the_deaf(struct fake *f) {
        asks_back(f);
        reply_release(f, true);
        expect_ping_settling(f);
        bye(f);
}

/* It is given back at once, and looks as if it had been taken away. */
TEST(test_default) {
        const struct pinlease_listener resigned = { .revoked = on_revoked, .settled = on_settled };

        for (unsigned int dereg = 0; dereg < 2; dereg++) {
                struct fixture f;

                fixture_init(&f, &resigned, ask_the_deaf, NULL);
                ping(&f);
                assert_int_equal(pinlease_dispatch(f.seen.p), 2);
                assert_int_equal(f.seen.n_revoked, 1);
                assert_ptr_equal(f.seen.last, f.reg);
                assert_int_equal(f.reg->mr.lkey, 0x11);
                if (dereg)
                        assert_int_equal(pinlease_dereg(f.seen.p, f.reg), 0);
                settles(&f, !dereg);
                if (!dereg)
                        assert_int_equal(pinlease_release(f.seen.p, f.reg), 0);
                fixture_done(&f);
        }
}

static void refuse_the_deaf(struct fake *f) {
        asks_back(f);
        fake_refuse(f, f->seq, PL_OP_RELEASE, PINLEASE_CODE_BUSY, EBUSY);
        fake_changed(f, 1);
        expect_ping_settling(f);
        bye(f);
}

/* What cannot be given back waits for the force. */
TEST(test_default_refused) {
        const struct pinlease_listener resigned = { .revoked = on_revoked };
        struct fixture f;

        fixture_init(&f, &resigned, refuse_the_deaf, NULL);
        ping(&f);
        assert_true(pinlease_dispatch(f.seen.p) >= 1);
        ping(&f);
        assert_true(pinlease_dispatch(f.seen.p) >= 0);
        assert_int_equal(f.seen.n_revoked, 1);
        assert_int_equal(pinlease_dereg(f.seen.p, f.reg), 0);
        fixture_done(&f);
}

#define N_DEAF 20U
#define N_TOGETHER 16U /* PL_REQUESTS_MAX */

/* One of them it has taken away already, and another it does not let go. */
static void answer_releases(struct fake *f, uint64_t first, uint64_t after) {
        struct fake_request requests[N_TOGETHER];

        for (uint64_t id = first; id < after; id++) {
                fake_expect(f, PL_OP_RELEASE, requests + (id - first));
                FAKE_CHECK(requests[id - first].packet.body.release.id == id);
        }
        for (uint64_t id = first; id < after; id++) {
                f->seq = requests[id - first].packet.header.seq;
                if (id == 3) {
                        fake_changed(f, id);
                        fake_refuse(f, f->seq, PL_OP_RELEASE, PINLEASE_CODE_NO_SUCH_REGISTRATION, ENOENT);
                } else if (id == 5)
                        fake_refuse(f, f->seq, PL_OP_RELEASE, PINLEASE_CODE_BUSY, EBUSY);
                else
                        reply_release(f, true);
        }
}

static void ask_many_of_the_deaf(struct fake *f) {
        registered(f, PL_FEATURES_KNOWN);
        for (uint64_t id = 2; id <= N_DEAF; id++)
                fake_expect_register(f, 1, id);
        fake_expect(f, PL_OP_PING, NULL);
        for (uint64_t id = 1; id <= N_DEAF; id++)
                fake_change(f, id, 5000);
        fake_reply(f, PL_OP_PING);
        answer_releases(f, 1, N_TOGETHER + 1);
        answer_releases(f, N_TOGETHER + 1, N_DEAF + 1);
        fake_expect(f, PL_OP_PING, NULL);
        fake_changed(f, 5);
        fake_reply(f, PL_OP_PING);
        bye(f);
}

/* Who waits for all of them does not wait for a round trip each: they are given back many at a time. */
TEST(test_default_of_many) {
        const struct pinlease_listener resigned = { .revoked = on_revoked };
        struct pinlease_mr *regs[N_DEAF];
        struct fixture f;

        fixture_init(&f, &resigned, ask_many_of_the_deaf, NULL);
        regs[0] = f.reg;
        for (unsigned int i = 1; i < N_DEAF; i++)
                assert_int_equal(
                        pinlease_reg_fd(f.seen.p, &f.device.pd, f.memory.fd, 0, PAGE, f.memory.at, WRITABLE, 0, regs + i), 0);
        ping(&f);
        assert_int_equal(pinlease_dispatch(f.seen.p), N_DEAF + N_DEAF - 1);
        assert_int_equal(f.seen.n_revoked, N_DEAF - 1);
        ping(&f);
        assert_int_equal(pinlease_dispatch(f.seen.p), 1);
        assert_int_equal(f.seen.n_revoked, N_DEAF);
        for (unsigned int i = 0; i < N_DEAF; i++)
                assert_int_equal(pinlease_dereg(f.seen.p, regs[i]), 0);
        fixture_done(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_released),   CHECKED(test_released_and_gone), CHECKED(test_detached_before_settled),
                CHECKED(test_forced),     CHECKED(test_crossing),          CHECKED(test_refused),
                CHECKED(test_old_service), CHECKED(test_default),          CHECKED(test_default_refused),
                CHECKED(test_default_of_many),
        };

        return cmocka_run_group_tests_name("client, releases", tests, NULL, NULL);
}
