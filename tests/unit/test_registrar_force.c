/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <poll.h>

#include "fake_uverbs.h"
#include "orders.h"
#include "wraps.h"

/* What a registrar does when an app holds on to what it is told to take away. */

#define PAGE RAWCLIENT_PAGE

/* What an app holds on to is taken from it while it stands still, all at once. */
TEST(test_stops_the_app) {
        int memory = testing_memfd(PAGE);
        struct rawclient c;

        orders_start(&c, &orders_large);
        for (unsigned int i = 0; i < 5; i++)
                (void)orders_register(&c, memory);
        c.stop_helps = true;
        fake->dereg_error = -EBUSY;
        orders_order(&c, CONTROL_SELECT_ALL, 0, 0, 1);
        orders_expect_revoked(&c, 1, 0, 0, 5, 0);
        assert_int_equal(fake_live(), 0);
        assert_int_equal(c.n_stops, 1);
        assert_int_equal(c.n_releases, 1);
        orders_end(&c);
        pl_close(memory);
}

/* Stopping is refused, or does not help: it is told, and the session goes on. */
TEST(test_force_fails) {
        static const uint32_t errors[] = { 0, ESRCH, EPERM };

        for (size_t i = 0; i < ELEMENTSOF(errors); i++) {
                int memory = testing_memfd(PAGE);
                struct pl_packet packet;
                struct rawclient c;
                uint64_t id;

                orders_start(&c, &orders_large);
                id = orders_register(&c, memory);
                c.stop_error = errors[i];
                fake->dereg_error = -EBUSY;
                orders_order(&c, CONTROL_SELECT_ALL, 0, 0, 1);
                orders_expect_revoked(&c, 1, 0, 0, 0, 1);
                assert_int_equal(c.n_stops, 1);
                assert_int_equal(c.n_releases, errors[i] ? 0 : 1);
                orders_expect_event(&c, PL_OP_REVOKING, id);

                fake->dereg_error = 0;
                wraps_clock->jumped_ms += 1000;
                assert_int_equal(rawclient_recv(&c, &packet), 0);
                assert_int_equal(packet.header.opcode, PL_OP_REVOKED);
                assert_int_equal(c.n_stops, 1);
                orders_end(&c);
                pl_close(memory);
        }
}

/* A keeper that does not answer is none: the session ends, in order. */
TEST(test_stop_unanswered) {
        int memory = testing_memfd(PAGE);
        struct rawclient c;

        orders_start(&c, &orders_large);
        (void)orders_register(&c, memory);
        c.stop_mute = true;
        fake->dereg_error = -EBUSY;
        orders_order(&c, CONTROL_SELECT_ALL, 0, 0, 1);
        while (c.n_stops == 0) {
                (void)testing_wait_fd(c.keeper, POLLIN);
                rawclient_keep(&c);
        }
        /* It answers meanwhile. */
        orders_turn_around(&c);
        fake->dereg_error = 0;
        wraps_clock->jumped_ms += KEEPER_TIMEOUT_MS;
        rawclient_end(&c);
        pl_close(memory);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_stops_the_app),
                CHECKED(test_force_fails),
                CHECKED(test_stop_unanswered),
        };

        return cmocka_run_group_tests_name("registrar and force", tests, NULL, NULL);
}
