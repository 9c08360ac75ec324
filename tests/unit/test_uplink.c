/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "ledger.h"
#include "uplink.h"

/* A pinleased that does what the test wants: it listens in a folder of its own, and has one connection at most. */
struct fake {
        char folder[32], path[64];
        int listener, fd;
        struct ledger ledger;
        struct credit_amount held; /* as it knows */
};

static const struct control_introduction introduction = {
        .magic = CONTROL_MAGIC,
        .version = CONTROL_VERSION,
        .session = 5,
        .credit = { 1000, 1000, 1000 },
};

static void listen_anew(struct fake *f) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        memcpy(address.sun_path, f->path, sizeof f->path);
        f->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_int_equal(bind(f->listener, (const struct sockaddr *)&address, sizeof address), 0);
        assert_int_equal(listen(f->listener, 100), 0);
}

static void listen_no_more(struct fake *f) {
        f->listener = pl_close(f->listener);
        (void)unlink(f->path);
}

static void setup(struct fake *f, struct uplink *u, bool successors) {
        int pair[2];

        *f = (struct fake) { .folder = "/tmp/pinlease-test-XXXXXX", .listener = -1 };
        assert_non_null(mkdtemp(f->folder));
        (void)snprintf(f->path, sizeof f->path, "%s/session.sock", f->folder);
        assert_int_equal(ledger_create(16, &f->ledger), 0);
        assert_int_equal(control_pair(pair), 0);
        f->fd = pair[1];
        uplink_init(u, pair[0], successors ? f->path : NULL, &introduction, f->ledger.fd);
}

static void teardown(struct fake *f, struct uplink *u) {
        uplink_done(u);
        pl_close(f->fd);
        if (f->listener >= 0)
                listen_no_more(f);
        ledger_done(&f->ledger);
        assert_int_equal(rmdir(f->folder), 0);
}

/* --- what pinleased does --- */

/* Takes the introduction, if there is one; 0, or how the connection ended. */
static int greet(struct fake *f) {
        struct control_introduction got;
        int ledger, r;

        r = control_recv_introduction(f->fd, &got, &ledger);
        if (r < 0)
                return r;
        pl_close(ledger);
        assert_int_equal(got.session, 5);
        f->held = got.credit;
        return control_send(f->fd, &(struct control_message) { .type = CONTROL_WELCOME }, -1);
}

static void expect(struct fake *f, uint32_t type, uint64_t pinned) {
        struct control_message message;
        int fd;

        assert_int_equal(control_recv(f->fd, &message, &fd), 0);
        assert_int_equal(message.type, type);
        assert_int_equal(message.credit.pinned, pinned);
}

static void expect_nothing(struct fake *f) {
        struct control_message message;
        int fd;

        assert_int_equal(control_recv(f->fd, &message, &fd), -EAGAIN);
}

static int give(struct fake *f, uint64_t pinned) {
        f->held.pinned += pinned;
        return control_send(f->fd, &(struct control_message) { .type = CONTROL_CREDIT, .credit = { pinned, 0, 0 } }, -1);
}

static bool take_next(struct fake *f) {
        int fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);

        if (fd < 0)
                return false;
        pl_close(f->fd);
        f->fd = fd;
        return true;
}

/* --- tests --- */

TEST(test_credit) {
        struct control_message message = { 0 };
        int fd = -1;
        struct uplink u;
        struct fake f;

        setup(&f, &u, false);
        /* Not before the welcome: the other side may not understand it. */
        assert_int_equal(uplink_want(&u, &(struct credit_amount) { 7, 0, 0 }), 0);
        assert_int_equal(uplink_want(&u, &(struct credit_amount) { 8, 0, 0 }), -EPROTO);
        assert_int_equal(greet(&f), 0);
        expect_nothing(&f);
        assert_int_equal(uplink_recv(&u, &message, &fd), -EAGAIN);
        expect(&f, CONTROL_WANT, 7);
        assert_int_equal(uplink_recv(&u, &message, &fd), -EAGAIN);
        expect_nothing(&f);
        assert_int_equal(give(&f, 9), 0);
        assert_int_equal(uplink_recv(&u, &message, &fd), 0);
        assert_int_equal(message.type, CONTROL_CREDIT);
        assert_int_equal(u.introduction.credit.pinned, 1009);
        /* Nobody has asked. */
        assert_int_equal(give(&f, 9), 0);
        assert_int_equal(uplink_recv(&u, &message, &fd), -EAGAIN);
        assert_int_equal(u.introduction.credit.pinned, 1009);

        assert_int_equal(uplink_return(&u, &(struct credit_amount) { 1010, 0, 0 }), -EPROTO);
        assert_int_equal(uplink_return(&u, &(struct credit_amount) { 0, UINT64_MAX, 0 }), -EPROTO);
        assert_int_equal(uplink_return(&u, &(struct credit_amount) { 0, 0, 1001 }), -EPROTO);
        assert_int_equal(uplink_return(&u, &(struct credit_amount) { 1009, 1000, 1000 }), 0);
        expect(&f, CONTROL_RETURN, 1009);

        /* The end of it; there is no successor. */
        f.fd = pl_close(f.fd);
        assert_int_equal(uplink_recv(&u, &message, &fd), -EAGAIN);
        assert_int_equal(u.fd, -1);
        assert_int_equal(u.next_attempt, 0);
        assert_int_equal(uplink_recv(&u, &message, &fd), -EAGAIN);
        uplink_turn(&u, UINT64_MAX);
        assert_int_equal(u.fd, -1);
        assert_int_equal(uplink_want(&u, &(struct credit_amount) { 8, 0, 0 }), 0);
        uplink_tell(&u, &message);
        teardown(&f, &u);
}

/* Attempts that fail come at longer and longer intervals; after a success the next comes at once. */
TEST(test_back_off) {
        struct control_message message;
        int fd = -1;
        unsigned int interval = UPLINK_RETRY_MIN_MS;
        struct uplink u;
        struct fake f;

        setup(&f, &u, true);
        assert_int_equal(greet(&f), 0);
        assert_int_equal(uplink_recv(&u, &message, &fd), -EAGAIN);
        f.fd = pl_close(f.fd);
        assert_int_equal(uplink_recv(&u, &message, &fd), -EAGAIN);
        assert_true(u.next_attempt <= pl_now_ms());
        for (unsigned int i = 0; i < 10; i++) {
                uint64_t before = pl_now_ms();

                uplink_turn(&u, u.next_attempt);
                assert_int_equal(u.fd, -1);
                if (i > 0)
                        assert_in_range(u.next_attempt, before + interval, pl_now_ms() + 2 * interval);
                interval = interval * 2 < UPLINK_RETRY_MAX_MS && i > 0 ? interval * 2 : i > 0 ? UPLINK_RETRY_MAX_MS : interval * 2;
                /* Too early. */
                uplink_turn(&u, u.next_attempt - 1);
        }
        assert_int_equal(u.retry_ms, UPLINK_RETRY_MAX_MS);

        /* One that listens, but does not welcome, is no success. */
        listen_anew(&f);
        uplink_turn(&u, u.next_attempt);
        assert_true(u.fd >= 0);
        assert_int_equal(u.next_attempt, 0);
        assert_true(take_next(&f));
        f.fd = pl_close(f.fd);
        assert_int_equal(uplink_recv(&u, &message, &fd), -EAGAIN);
        assert_true(u.next_attempt > pl_now_ms());
        uplink_turn(&u, u.next_attempt);
        assert_true(take_next(&f));
        assert_int_equal(greet(&f), 0);
        assert_int_equal(uplink_recv(&u, &message, &fd), -EAGAIN);
        assert_true(u.welcome);
        teardown(&f, &u);
}

/* What cannot be sent is no loss, and one loss is one. */
TEST(test_full) {
        unsigned int n = 0;
        struct control_message message;
        int fd = -1;
        struct uplink u;
        struct fake f;

        setup(&f, &u, true);
        assert_int_equal(greet(&f), 0);
        assert_int_equal(uplink_recv(&u, &message, &fd), -EAGAIN);
        while (u.fd >= 0 && n++ < 1000)
                assert_int_equal(uplink_return(&u, &(struct credit_amount) { 1, 0, 0 }), 0);
        assert_in_range(n, 2, 999);
        assert_int_equal(u.introduction.credit.pinned, 1000 - n);
        assert_int_equal(u.retry_ms, 2 * UPLINK_RETRY_MIN_MS);
        assert_int_equal(uplink_recv(&u, &message, &fd), -EAGAIN);
        assert_int_equal(u.retry_ms, 2 * UPLINK_RETRY_MIN_MS);

        listen_anew(&f);
        uplink_turn(&u, u.next_attempt);
        assert_true(take_next(&f));
        assert_int_equal(greet(&f), 0);
        assert_int_equal(f.held.pinned, 1000 - n);
        teardown(&f, &u);
}

static struct control_message receive(struct fake *f) {
        struct control_message message;
        int fd;

        assert_int_equal(control_recv(f->fd, &message, &fd), 0);
        return message;
}

/* A break is said to every pinleased, until one has said that it is over; no more than there may be, none twice. */
TEST(test_breaks) {
        struct control_message message = {
                .type = CONTROL_BREAK, .cookie = 4, .device = 7, .inode = 8, .offset = 9, .length = 10, .value = 60000
        };
        const struct control_message over = { .type = CONTROL_BREAK_OVER, .cookie = 4, .value = EBUSY };
        struct uplink u;
        int fd;
        struct fake f;

        setup(&f, &u, true);
        listen_anew(&f);
        /* Not before the welcome. */
        assert_int_equal(uplink_break(&u, &message), 0);
        assert_int_equal(uplink_break(&u, &message), -EPROTO);
        assert_int_equal(greet(&f), 0);
        for (unsigned int i = 0; i < 3; i++) {
                assert_int_equal(uplink_recv(&u, &message, &fd), -EAGAIN);
                message = receive(&f);
                assert_int_equal(message.type, CONTROL_BREAK);
                assert_int_equal(message.cookie, 4);
                assert_int_equal(message.device, 7);
                assert_int_equal(message.inode, 8);
                assert_int_equal(message.offset, 9);
                assert_int_equal(message.length, 10);
                assert_in_range(message.value, 1, 60000);
                expect_nothing(&f);
                f.fd = pl_close(f.fd);
                assert_int_equal(uplink_recv(&u, &message, &fd), -EAGAIN);
                uplink_turn(&u, u.next_attempt);
                assert_true(take_next(&f));
                assert_int_equal(greet(&f), 0);
        }
        assert_int_equal(uplink_recv(&u, &message, &fd), -EAGAIN);
        (void)receive(&f);

        /* One that nobody has asked for, then the one. */
        assert_int_equal(control_send(f.fd, &(struct control_message) { .type = CONTROL_BREAK_OVER, .cookie = 5 }, -1),
                         0);
        assert_int_equal(uplink_recv(&u, &message, &fd), -EAGAIN);
        assert_int_equal(control_send(f.fd, &over, -1), 0);
        assert_int_equal(uplink_recv(&u, &message, &fd), 0);
        assert_int_equal(message.value, EBUSY);
        assert_int_equal(control_send(f.fd, &over, -1), 0);
        assert_int_equal(uplink_recv(&u, &message, &fd), -EAGAIN);

        for (message.cookie = 0; message.cookie < CONTROL_MAX_BREAKS; message.cookie++) {
                message.value = 0;
                assert_int_equal(uplink_break(&u, &message), 0);
                (void)receive(&f);
        }
        assert_int_equal(uplink_break(&u, &message), -EBUSY);
        expect_nothing(&f);
        /* Nobody waits for it any more. */
        u.breaks[3].due = pl_now_ms() - 2 * UPLINK_BREAK_MARGIN_MS;
        assert_int_equal(uplink_break(&u, &message), 0);
        assert_int_equal(receive(&f).cookie, CONTROL_MAX_BREAKS);
        assert_int_equal(uplink_break(&u, &(struct control_message) { .cookie = 3 }), -EBUSY);
        teardown(&f, &u);
}

static bool acts(struct fake *f, struct uplink *u, struct testing_random *random, unsigned int *n_answers) {
        struct control_message message;
        int fd, r;

        if (f->fd < 0 || (f->listener >= 0 && u->fd < 0))
                return f->listener >= 0 && take_next(f) && greet(f) == 0;
        r = control_recv(f->fd, &message, &fd);
        if (r == -EAGAIN)
                return f->listener >= 0 && take_next(f) && greet(f) == 0;
        if (r < 0) {
                f->fd = pl_close(f->fd);
                return true;
        }
        if (message.type == CONTROL_RETURN) {
                assert_true(f->held.pinned >= message.credit.pinned);
                f->held.pinned -= message.credit.pinned;
        } else {
                assert_int_equal(message.type, CONTROL_WANT);
                (void)give(f, testing_below(random, 3) ? message.credit.pinned : 0);
                ++*n_answers;
        }
        return true;
}

static bool hears(struct uplink *u, unsigned int *n_heard) {
        struct pollfd p = { .fd = u->fd, .events = POLLIN };
        struct control_message message;
        int fd;

        if (u->fd < 0) {
                if (!u->next_attempt)
                        return false;
                uplink_turn(u, u->next_attempt);
                return u->fd >= 0;
        }
        if (poll(&p, 1, 0) == 0)
                return false;
        if (uplink_recv(u, &message, &fd) == 0)
                *n_heard += message.type == CONTROL_CREDIT;
        return true;
}

/* At random: messages in both directions, hang-ups of either side, times without pinleased. Nothing of the credit is lost or
 * doubled, and every question is answered once. */
TEST(test_random) {
        unsigned int n_asked = 0, n_heard = 0, n_answers = 0, n_drops = 0;
        struct testing_random random;
        struct uplink u;
        struct fake f;

        testing_seed(&random, "test_random");
        setup(&f, &u, true);
        assert_int_equal(greet(&f), 0);
        for (unsigned int i = testing_rounds(50000); i > 0; i--) {
                switch (testing_below(&random, 12)) {
                case 0:
                        if (uplink_want(&u, &(struct credit_amount) { 1 + testing_below(&random, 1000), 0, 0 }) == 0)
                                n_asked++;
                        break;
                case 1:
                        if (u.introduction.credit.pinned > 0)
                                assert_int_equal(
                                        uplink_return(&u,
                                                      &(struct credit_amount) {
                                                              testing_random(&random) % u.introduction.credit.pinned, 0, 0 }),
                                        0);
                        break;
                case 2:
                        if (testing_below(&random, 4) == 0) {
                                f.fd = pl_close(f.fd);
                                n_drops++;
                        }
                        break;
                case 3:
                        if (testing_below(&random, 4) == 0 && u.fd >= 0) {
                                (void)shutdown(u.fd, SHUT_RDWR);
                                n_drops++;
                        }
                        break;
                case 4:
                        if (f.listener < 0)
                                listen_anew(&f);
                        else if (testing_below(&random, 10) == 0)
                                listen_no_more(&f);
                        break;
                case 5 ... 7:
                        (void)hears(&u, &n_heard);
                        break;
                default:
                        (void)acts(&f, &u, &random, &n_answers);
                }
        }
        if (f.listener < 0)
                listen_anew(&f);
        /* Until nothing is under way, a hang-up that has not been noticed included. */
        for (uint64_t deadline = pl_now_ms() + TESTING_PATIENCE_MS;;) {
                bool heard = hears(&u, &n_heard), acted = acts(&f, &u, &random, &n_answers);

                assert_true(pl_now_ms() < deadline);
                if (!heard && !acted && u.welcome && !u.wanting)
                        break;
        }
        assert_int_equal(f.held.pinned, u.introduction.credit.pinned);
        assert_int_equal(n_heard, n_asked);
        assert_true(n_answers >= n_heard);
        print_message("%u questions, %u answers, %u hang-ups\n", n_asked, n_answers, n_drops);
        teardown(&f, &u);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_credit), CHECKED(test_back_off), CHECKED(test_full),
                CHECKED(test_breaks), CHECKED(test_random),
        };

        return cmocka_run_group_tests_name("uplink", tests, NULL, NULL);
}
