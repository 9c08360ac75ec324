/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "fake_session.h"
#include "session.h"

/* The library's sessions and verbs contexts. Registering and events have tests of their own. */

/* --- connecting --- */

static void assert_no_service(const char *path, int error) {
        struct pinlease *p = UNTOUCHED;

        assert_int_equal(pinlease_connect(path, NULL, NULL, &p), -error);
        assert_ptr_equal(p, UNTOUCHED);
        client_assert_refusal(NULL, PINLEASE_CODE_NO_SERVICE, error);
        assert_non_null(strstr(pinlease_refusal(NULL)->sentence, path));
        assert_string_equal(pinlease_refusal(NULL)->rule, "");
}

TEST(test_no_service) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        char folder[] = "/tmp/pinlease-test-XXXXXX", path[64], longest[sizeof address.sun_path + 1];
        int fd;

        assert_non_null(mkdtemp(folder));
        (void)snprintf(path, sizeof path, "%s/client.sock", folder);
        assert_no_service(path, ENOENT);

        (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
        assert_no_service(path, ECONNREFUSED);
        pl_close(fd);
        assert_no_service(path, ECONNREFUSED);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(rmdir(folder), 0);

        memset(longest, 'x', sizeof longest);
        longest[sizeof address.sun_path] = 0;
        assert_no_service(longest, ENAMETOOLONG);
        longest[sizeof address.sun_path - 1] = 0;
        assert_no_service(longest, ENOENT);
}

TEST(test_path_from_environment) {
        struct pinlease *p;
        struct fake f;

        fake_start(&f, fake_ordinary, NULL);
        assert_int_equal(setenv("PINLEASE_SOCKET", f.path, 1), 0);
        assert_no_service("given/path", ENOENT);
        assert_int_equal(pinlease_connect(NULL, NULL, NULL, &p), 0);
        assert_int_equal(unsetenv("PINLEASE_SOCKET"), 0);
        assert_int_equal(pinlease_ping(p), 0);
        assert_null(pinlease_disconnect(p));
        assert_null(pinlease_disconnect(NULL));
        fake_end(&f);
}

#define ATTEMPTS 50

/* With our HELLO unread, not yet sent, or read: the reason arrives. */
static void refuse_connections(struct fake *f) {
        for (unsigned int i = 0; i < ATTEMPTS; i++) {
                struct pollfd unread;

                fake_accept(f);
                unread = (struct pollfd) { .fd = f->app, .events = POLLIN };
                if (i % 3 == 0)
                        FAKE_CHECK(poll(&unread, 1, TESTING_PATIENCE_MS) == 1);
                else if (i % 3 == 1)
                        fake_expect(f, PL_OP_HELLO, NULL);
                fake_refuse(f, 0, 0, PINLEASE_CODE_SESSION_LIMIT, EUSERS);
        }
        f->app = pl_close(f->app);
}

TEST(test_refused_at_the_door) {
        struct fake f;

        fake_start(&f, refuse_connections, NULL);
        for (unsigned int i = 0; i < ATTEMPTS; i++) {
                struct pinlease *p = UNTOUCHED;

                assert_int_equal(pinlease_connect(f.path, NULL, NULL, &p), -EUSERS);
                assert_ptr_equal(p, UNTOUCHED);
                client_assert_told(NULL, PINLEASE_CODE_SESSION_LIMIT, EUSERS);
        }
        fake_end(&f);
}

enum greeting { REFUSE, HANG_UP, HANG_UP_UNREAD, OTHER_VERSION, MORE_FEATURES, WRONG_SEQ };

static void greet_badly(struct fake *f) {
        for (enum greeting g = REFUSE; g <= WRONG_SEQ; g++) {
                struct pollfd unread;
                struct pl_packet reply;

                /* Without a word of the service the library tries again, so often. */
                for (unsigned int n = g == HANG_UP || g == HANG_UP_UNREAD ? PL_CONNECT_ATTEMPTS : 1; n > 0; n--) {
                        fake_accept(f);
                        unread = (struct pollfd) { .fd = f->app, .events = POLLIN };
                        FAKE_CHECK(poll(&unread, 1, TESTING_PATIENCE_MS) == 1);
                        if (g != HANG_UP_UNREAD)
                                fake_expect(f, PL_OP_HELLO, NULL);
                }
                if (g == HANG_UP_UNREAD)
                        continue;
                fake_make_reply(f, &reply, PL_OP_HELLO, 0);
                reply.header.version = (uint16_t)(g == OTHER_VERSION ? 2 : PL_VERSION);
                reply.header.seq += g == WRONG_SEQ;
                reply.body.hello_reply.features = g == MORE_FEATURES ? UINT64_C(1) << 63 : 0;
                if (g == REFUSE)
                        fake_refuse(f, f->seq, PL_OP_HELLO, PINLEASE_CODE_BAD_VERSION, EPROTONOSUPPORT);
                else if (g != HANG_UP)
                        fake_send(f, &reply, reply.header.length, NULL, 0);
        }
        f->app = pl_close(f->app);
}

TEST(test_hello_answered_badly) {
        static const struct {
                enum pinlease_code code;
                int error;
        } expected[] = {
                [REFUSE] = { PINLEASE_CODE_BAD_VERSION, EPROTONOSUPPORT },
                [HANG_UP] = { PINLEASE_CODE_DISCONNECTED, ECONNRESET },
                [HANG_UP_UNREAD] = { PINLEASE_CODE_DISCONNECTED, ECONNRESET },
                [OTHER_VERSION] = { PINLEASE_CODE_BAD_VERSION, EPROTONOSUPPORT },
                [MORE_FEATURES] = { PINLEASE_CODE_BAD_FLAGS, EPROTO },
                [WRONG_SEQ] = { PINLEASE_CODE_BAD_ORDER, EPROTO },
        };
        struct fake f;

        fake_start(&f, greet_badly, NULL);
        for (size_t i = 0; i < ELEMENTSOF(expected); i++) {
                struct pinlease *p = UNTOUCHED;

                assert_int_equal(pinlease_connect(f.path, NULL, NULL, &p), -expected[i].error);
                assert_ptr_equal(p, UNTOUCHED);
                client_assert_refusal(NULL, expected[i].code, expected[i].error);
                if (i == REFUSE)
                        client_assert_told(NULL, expected[i].code, expected[i].error);
        }
        fake_end(&f);
}

/* The service is replaced before it answers, twice: read and unread. */
static void vanish_twice(struct fake *f) {
        struct pollfd unread;

        fake_accept(f);
        fake_expect(f, PL_OP_HELLO, NULL);
        fake_accept(f);
        unread = (struct pollfd) { .fd = f->app, .events = POLLIN };
        FAKE_CHECK(poll(&unread, 1, TESTING_PATIENCE_MS) == 1);
        fake_greet(f);
        fake_expect_ping(f);
        fake_expect_end(f);
}

TEST(test_replaced_before_hello) {
        struct pinlease *p;
        struct fake f;

        fake_start(&f, vanish_twice, NULL);
        p = client_connect(&f);
        assert_int_equal(pinlease_ping(p), 0);
        assert_null(pinlease_disconnect(p));
        fake_end(&f);
}

/* --- contexts --- */

static void serve_contexts(struct fake *f) {
        fake_greet(f);
        fake_expect(f, PL_OP_ATTACH, NULL);
        fake_refuse(f, f->seq, PL_OP_ATTACH, PINLEASE_CODE_UNKNOWN_DRIVER, ENODEV);
        fake_expect_attach(f, 5);
        fake_expect_detach(f, 5);
        fake_expect_attach(f, 6);
        fake_expect(f, PL_OP_DETACH, NULL);
        fake_refuse(f, f->seq, PL_OP_DETACH, PINLEASE_CODE_BUSY, EBUSY);
        fake_expect_detach(f, 6);
        fake_expect_ping(f);
        fake_expect_end(f);
}

TEST(test_contexts) {
        struct ibv_context closed = { .cmd_fd = -1 };
        struct fake_device device;
        struct pinlease *p;
        struct fake f;

        fake_device_open(&device, 1);
        fake_start(&f, serve_contexts, NULL);
        p = client_connect(&f);
        assert_int_equal(pinlease_detach(p, &device.context), -ENODEV);
        client_assert_refusal(p, PINLEASE_CODE_NO_SUCH_CONTEXT, ENODEV);
        assert_int_equal(pinlease_attach(p, &device.context), -ENODEV);
        client_assert_told(p, PINLEASE_CODE_UNKNOWN_DRIVER, ENODEV);
        assert_int_equal(pinlease_attach(p, &device.context), 0);
        assert_int_equal(pinlease_attach(p, &device.context), 0);
        assert_int_equal(pinlease_detach(p, &device.context), 0);
        assert_int_equal(pinlease_detach(p, &device.context), -ENODEV);
        assert_int_equal(pinlease_attach(p, &device.context), 0);
        assert_int_equal(pinlease_detach(p, &device.context), -EBUSY);
        client_assert_told(p, PINLEASE_CODE_BUSY, EBUSY);
        assert_int_equal(pinlease_detach(p, &device.context), 0);

        /* Told without the service, which is still there afterwards. */
        assert_int_equal(pinlease_attach(p, &closed), -ENOTTY);
        client_assert_refusal(p, PINLEASE_CODE_NOT_VERBS, ENOTTY);
        closed.cmd_fd = dup(device.context.cmd_fd);
        pl_close(closed.cmd_fd);
        assert_int_equal(pinlease_attach(p, &closed), -EBADF);
        client_assert_refusal(p, PINLEASE_CODE_NOT_OPEN, EBADF);
        assert_int_equal(pinlease_ping(p), 0);
        pinlease_disconnect(p);
        fake_end(&f);
        fake_device_close(&device);
}

static void serve_two_contexts(struct fake *f) {
        struct fake_request request;

        fake_greet(f);
        fake_expect_attach(f, 5);
        fake_expect_register(f, 5, 5);
        fake_expect_register(f, 5, 5);
        fake_expect_attach(f, 6);
        fake_expect_register(f, 6, 6);
        fake_expect_register(f, 5, 5);
        fake_expect_detach(f, 5);
        fake_expect(f, PL_OP_DEREGISTER, &request);
        FAKE_CHECK(request.packet.body.deregister.id == 6);
        fake_reply(f, PL_OP_DEREGISTER);
        fake_expect_detach(f, 6);
        fake_expect_end(f);
}

/* The first registration attaches; a context takes its registrations along and nobody else's. */
TEST(test_attached_by_registering) {
        static const unsigned int order[] = { 0, 0, 1, 0 };
        struct pinlease_mr *reg[ELEMENTSOF(order)];
        struct fake_device devices[2];
        struct memory m;
        struct pinlease *p;
        struct fake f;

        memory_open(&m, 1);
        for (unsigned int i = 0; i < 2; i++)
                fake_device_open(&devices[i], 1);
        fake_start(&f, serve_two_contexts, NULL);
        p = client_connect(&f);
        for (size_t i = 0; i < ELEMENTSOF(order); i++) {
                struct ibv_pd *pd = &devices[order[i]].pd;

                assert_int_equal(pinlease_reg_fd(p, pd, m.fd, 0, PAGE, m.at, WRITABLE, 0, &reg[i]), 0);
        }
        assert_int_equal(pinlease_detach(p, &devices[0].context), 0);
        assert_ptr_equal(reg[2]->mr.context, &devices[1].context);
        assert_int_equal(pinlease_dereg(p, reg[2]), 0);
        pinlease_disconnect(p);
        fake_end(&f);
        for (unsigned int i = 0; i < 2; i++)
                fake_device_close(&devices[i]);
        memory_close(&m);
}

static void serve_last_detach(struct fake *f) {
        fake_greet(f);
        fake_expect_attach(f, 1);
        fake_expect_attach(f, 2);
        fake_expect_attach(f, 3);
        fake_expect_detach(f, 3);
        fake_expect(f, PL_OP_DETACH, NULL);
        fake_refuse(f, f->seq, PL_OP_DETACH, PINLEASE_CODE_BUSY, EBUSY);
        fake_expect_detach(f, 1);
        fake_expect_end(f);
}

/* Disconnecting waits for every context that can be given back, also after one that cannot. */
TEST(test_disconnect_detaches) {
        struct fake_device devices[3];
        struct pinlease *p;
        struct fake f;

        fake_start(&f, serve_last_detach, NULL);
        p = client_connect(&f);
        for (unsigned int i = 0; i < 3; i++) {
                fake_device_open(&devices[i], 1);
                assert_int_equal(pinlease_attach(p, &devices[i].context), 0);
        }
        pinlease_disconnect(p);
        fake_end(&f);
        for (unsigned int i = 0; i < 3; i++)
                fake_device_close(&devices[i]);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_no_service),
                CHECKED(test_path_from_environment),
                CHECKED(test_refused_at_the_door),
                CHECKED(test_hello_answered_badly),
                CHECKED(test_replaced_before_hello),
                CHECKED(test_contexts),
                CHECKED(test_attached_by_registering),
                CHECKED(test_disconnect_detaches),
        };

        return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
