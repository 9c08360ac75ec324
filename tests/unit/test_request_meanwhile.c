/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request_fixture.h"

#include <time.h>

#include "fake_uverbs.h"
#include "wraps.h"

/* What kernel, app and keeper do while a request is carried out, or have done before it. */

/* The app, or the keeper, works on the handle just now. */
TEST(test_busy_passes) {
        struct pl_register request = make_request(0, PAGE, testing_free_address(SIZE), WRITING);
        struct pl_register_reply reply;
        int fd = testing_memfd(SIZE);
        struct fixture f;

        fixture_init(&f, &generous);
        request.context = must_attach(&f, "/dev/null");
        reply = must_register(&f, &request, fd);
        fake->n_busy = 50;
        must_deregister(&f, reply.id);
        assert_int_equal(wraps_n_sleeps, 50);
        assert_nothing(&f);
        fixture_done(&f);
        pl_close(fd);
}

TEST(test_busy_stays) {
        static const int errors[] = { -EBUSY, -EINVAL, -ENOMEM };
        struct pl_register request = make_request(0, PAGE, testing_free_address(SIZE), WRITING);
        struct pl_register_reply reply;
        int fd = testing_memfd(SIZE);
        struct refusal refusal;
        struct fixture f;

        fixture_init(&f, &generous);
        request.context = must_attach(&f, "/dev/null");
        reply = must_register(&f, &request, fd);
        for (size_t i = 0; i < ELEMENTSOF(errors); i++) {
                struct uverbs_mr_keys keys;
                struct ledger_record record;
                enum ledger_state state;

                fake->dereg_error = errors[i];
                testing_assert_refusal(request_deregister(&f.state, reply.id, &refusal), &refusal, PINLEASE_CODE_BUSY);
                assert_int_equal(refusal.error, EBUSY);
                testing_assert_refusal(request_detach(&f.state, request.context, &refusal), &refusal, PINLEASE_CODE_BUSY);

                /* Registered as before, in every book. */
                assert_true(ledger_read(&f.keeper, (uint32_t)reply.id, &state, &record, &keys));
                assert_int_equal(state, LEDGER_LIVE);
                assert_int_equal(keys.handle, reply.handle);
                assert_int_equal(f.state.credit.used.registrations, 1);
                assert_int_equal(f.state.mappings.n_views, 1);
                assert_true(f.state.contexts[request.context].device.fd >= 0);
        }
        fake->dereg_error = 0;
        must_deregister(&f, reply.id);
        fixture_done(&f);
        pl_close(fd);
}

/* What the kernel keeps to the end is left in the ledger, for the keeper. In a process of its own, whose end frees what
 * goes with it. */
TEST(test_done_leaves) {
        struct pl_register request = make_request(0, PAGE, testing_free_address(SIZE), WRITING);
        int fd = testing_memfd(SIZE);
        pid_t pid;

        pid = testing_fork();
        if (pid == 0) {
                struct fixture f;
                bool good;

                fixture_init(&f, &generous);
                request.context = must_attach(&f, "/dev/null");
                (void)must_register(&f, &request, fd);
                (void)must_register(&f, &request, fd);
                fake->dereg_error = -EINVAL;
                good = state_done(&f.state) == 2 && used_entries(&f.keeper) == 2 && fake_live() == 2;
                _exit(good ? 0 : 1);
        }
        assert_int_equal(testing_wait_child(pid), 0);
        pl_close(fd);
}

/* The app deregisters by itself what is ours; or the device is unplugged. */
TEST(test_gone_already) {
        struct pl_register request = make_request(0, PAGE, testing_free_address(SIZE), WRITING);
        struct pl_register_reply reply;
        int fd = testing_memfd(SIZE);
        struct fixture f;

        fixture_init(&f, &generous);
        request.context = must_attach(&f, "/dev/null");
        reply = must_register(&f, &request, fd);
        fake_app_dereg(f.state.contexts[request.context].device.fd, reply.handle);
        must_deregister(&f, reply.id);

        reply = must_register(&f, &request, fd);
        fake_app_dereg(f.state.contexts[request.context].device.fd, reply.handle);
        fake->dereg_error = -EIO;
        must_deregister(&f, reply.id);
        fixture_done(&f);
        pl_close(fd);
}

/* The app deregisters ours and registers something itself, which gets the handle: that is not ours to destroy when the
 * context is detached or the session ends. */
TEST(test_handle_used_again) {
        struct pl_register request = make_request(0, PAGE, testing_free_address(SIZE), WRITING);
        int fd = testing_memfd(SIZE);

        for (unsigned int how = 0; how < 2; how++) {
                const struct fake_mr *theirs;
                struct pl_register_reply reply;
                struct refusal refusal;
                struct fixture f;
                int context_fd;

                fixture_init(&f, &generous);
                request.context = must_attach(&f, "/dev/null");
                context_fd = f.state.contexts[request.context].device.fd;
                reply = must_register(&f, &request, fd);
                (void)must_register(&f, &request, fd);
                fake_app_dereg(context_fd, reply.handle);
                theirs = fake_app_reg(context_fd, PAGE, reply.iova);
                assert_int_equal(theirs->handle, reply.handle);
                if (how == 0)
                        assert_int_equal(request_detach(&f.state, request.context, &refusal), 0);
                fixture_done(&f);
                assert_true(theirs->live);
        }
        pl_close(fd);
}

static struct {
        int fd;
        const struct fixture *fixture;
        unsigned int seen;
} during;

static void truncate_it(enum fake_instant instant) {
        if (instant == FAKE_WRITTEN)
                assert_int_equal(ftruncate(during.fd, (off_t)PAGE), 0);
}

TEST(test_truncated_meanwhile) {
        struct pl_register request = make_request(PAGE, PAGE, testing_free_address(SIZE), WRITING);
        struct fixture f;

        for (unsigned int methods = PINLEASE_METHOD_ODP; methods <= (PINLEASE_METHOD_ODP | PINLEASE_METHOD_PINNED); methods++) {
                during.fd = testing_memfd(SIZE);
                fixture_init(&f, &generous);
                request.context = must_attach(&f, "/dev/null");
                request.methods = (uint16_t)methods;
                fake->instant = truncate_it;
                refused(&f, &request, during.fd, PINLEASE_CODE_CHANGED);
                assert_nothing(&f);
                fixture_done(&f);
                pl_close(during.fd);
        }
}

static void look_at_ledger(enum fake_instant instant) {
        const struct ledger *ledger = &during.fixture->keeper;
        struct uverbs_mr_keys keys;
        struct ledger_record record;
        enum ledger_state state;

        assert_true(ledger_read(ledger, 0, &state, &record, &keys));
        switch (during.seen++) {
        case 0:
                assert_int_equal(instant, FAKE_BEFORE);
                assert_int_equal(state, LEDGER_INTENT);
                assert_int_equal(keys.handle, LEDGER_NO_HANDLE);
                assert_int_equal(record.length, PAGE);
                assert_true(ledger_is_busy(ledger, pl_now_ms()));
                break;
        case 1:
                assert_int_equal(instant, FAKE_WRITTEN);
                assert_int_equal(state, LEDGER_INTENT);
                assert_int_equal(keys.handle, 0);
                assert_int_equal(keys.rkey, fake->last.rkey);
                assert_int_equal(record.iova, fake->last.iova);
                assert_int_equal(record.length, fake->last.length);
                break;
        default:
                assert_int_equal(state, LEDGER_RETIRING);
                assert_int_equal(keys.rkey, fake->last.rkey);
                assert_true(ledger_is_busy(ledger, pl_now_ms()));
                break;
        }
}

static uint64_t boottime_ms(void) {
        struct timespec ts;

        assert_int_equal(clock_gettime(CLOCK_BOOTTIME, &ts), 0);
        return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* The ledger is true at every instant at which the registrar can be killed. */
TEST(test_ledger_is_true) {
        struct pl_register request = make_request(PAGE, PAGE, testing_free_address(SIZE), WRITING);
        struct pl_register_reply reply;
        int fd = testing_memfd(SIZE);
        struct uverbs_mr_keys keys;
        struct ledger_record record;
        enum ledger_state state;
        uint64_t before_ms = boottime_ms();
        struct fixture f;

        fixture_init(&f, &generous);
        during.fixture = &f;
        during.seen = 0;
        request.context = must_attach(&f, "/dev/null");
        fake->instant = look_at_ledger;
        reply = must_register(&f, &request, fd);
        assert_true(ledger_read(&f.keeper, 0, &state, &record, &keys));
        assert_int_equal(state, LEDGER_LIVE);
        assert_int_equal(record.id, reply.id);
        assert_int_equal(record.bytes, PAGE);
        assert_in_range(record.created_ms, before_ms, boottime_ms());
        assert_string_equal(record.name, mapping_name(f.state.registrations[0].mapping));
        assert_int_equal(record.name[0], '/');
        must_deregister(&f, reply.id);
        assert_int_equal(during.seen, 4);
        assert_false(ledger_read(&f.keeper, 0, &state, &record, &keys));
        fake->instant = NULL;
        fixture_done(&f);
        pl_close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_busy_passes),
                CHECKED(test_busy_stays),
                CHECKED(test_done_leaves),
                CHECKED(test_gone_already),
                CHECKED(test_handle_used_again),
                CHECKED(test_truncated_meanwhile),
                CHECKED(test_ledger_is_true),
        };

        return cmocka_run_group_tests_name("request, meanwhile", tests, NULL, NULL);
}
