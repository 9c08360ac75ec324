/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request_fixture.h"

#include <fcntl.h>
#include <stdio.h>

#include "fake_uverbs.h"
#include "wraps.h"

/* Whatever fails, or happens: the books are right, and nothing is left. */

/* A session's life in short; whatever fails, it goes on as an app would. */
static void live(struct fixture *f, int fd, uint64_t address) {
        struct pl_register request = make_request(0, 2 * PAGE, address, WRITING);
        struct pl_register_reply reply;
        struct refusal refusal;
        uint64_t ids[20];
        size_t n = 0;
        uint32_t index;

        for (unsigned int context = 0; context < 2; context++) {
                if (try_attach(f, context ? "/dev/zero" : "/dev/null", &index, &refusal) < 0)
                        continue;
                request.context = index;
                for (unsigned int i = 0; i < 9; i++) {
                        request.methods = (uint16_t)(1 + i % 3);
                        request.offset = i % 4 * PAGE;
                        request.access = i % 2 ? READING : WRITING;
                        if (try_register(f, &request, fd, &reply, &refusal) == 0)
                                ids[n++] = reply.id;
                }
        }
        for (size_t i = 0; i < n; i += 2)
                (void)request_deregister(&f->state, ids[i], &refusal);
        (void)request_detach(&f->state, 0, &refusal);
        (void)request_deregister(&f->state, ids[0], &refusal);
}

/* The Nth call to the kernel fails, for every N: nothing is left. */
TEST(test_fail_every_call) {
        static const int errors[] = { -ENOMEM, -EINVAL, -EPERM, -EFAULT, -EOPNOTSUPP, -EBUSY };
        uint64_t address = testing_free_address(SIZE);
        int fd = testing_memfd(SIZE);

        for (size_t e = 0; e < ELEMENTSOF(errors); e++) {
                unsigned int n_calls = 1;

                for (unsigned int n = 1; n <= n_calls; n++) {
                        struct fixture f;

                        fixture_init(&f, &generous);
                        fake->fail_at = n;
                        fake->fail_error = errors[e];
                        live(&f, fd, address);
                        n_calls = fake->n_calls;
                        fake->fail_at = 0;
                        fixture_done(&f);
                }
                assert_in_range(n_calls, 30, 200);
        }
        pl_close(fd);
}

/* The Nth allocation fails, for every N, including the mappings of the memory itself. */
TEST(test_fail_every_allocation) {
        uint64_t address = testing_free_address(SIZE);
        unsigned int n_failed = 0;
        int fd = testing_memfd(SIZE);

        for (unsigned int n = 1; n == n_failed + 1; n++) {
                struct fixture f;

                fixture_init(&f, &generous);
                wraps_fail_at = n;
                live(&f, fd, address);
                if (wraps_n_allocations >= n)
                        n_failed = n;
                wraps_fail_at = 0;
                fixture_done(&f);
        }
        print_message("%u allocations\n", n_failed);
        assert_in_range(n_failed, 20, 1000);
        pl_close(fd);
}

TEST(test_fail_ledger_create) {
        for (unsigned int n = 1; n <= 2; n++) {
                struct ledger ledger;

                wraps_reset();
                wraps_fail_at = n;
                assert_int_equal(ledger_create(CAPACITY, &ledger), -ENOMEM);
                wraps_fail_at = 0;
        }
}

/* A random history against a plain list of what must be registered. */
TEST(test_model) {
        const struct credit_amount limits = { .pinned = 40 * PAGE, .odp = 40 * PAGE, .registrations = 12 };
        struct {
                uint64_t id, bytes;
                enum pinlease_method method;
        } live_ones[12];
        unsigned int n = 0, rounds = testing_rounds(20000);
        uint64_t address = testing_free_address(SIZE);
        struct testing_random random;
        int fds[3];
        struct fixture f;

        testing_seed(&random, "request model");
        fixture_init(&f, &limits);
        (void)must_attach(&f, "/dev/null");
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                fds[i] = testing_memfd(SIZE);

        for (unsigned int i = 0; i < rounds; i++) {
                uint64_t pinned = 0, odp = 0;
                struct refusal refusal;

                for (unsigned int k = 0; k < n; k++)
                        *(live_ones[k].method == PINLEASE_METHOD_ODP ? &odp : &pinned) += live_ones[k].bytes;
                assert_int_equal(f.state.credit.used.pinned, pinned);
                assert_int_equal(f.state.credit.used.odp, odp);
                assert_int_equal(f.keeper.header->stats.live[STATS_PINNED].bytes, pinned);
                assert_int_equal(f.keeper.header->stats.live[STATS_ODP].bytes, odp);
                assert_int_equal(fake_live(), n);
                assert_int_equal(used_entries(&f.keeper), n);

                if (n > 0 && testing_below(&random, 5) < 2) {
                        unsigned int k = testing_below(&random, n);

                        must_deregister(&f, live_ones[k].id);
                        live_ones[k] = live_ones[--n];
                } else {
                        uint64_t offset = testing_below(&random, (unsigned int)SIZE - 1);
                        uint64_t length = 1 + testing_below(&random, (unsigned int)(SIZE - offset));
                        struct pl_register request =
                                make_request(offset, length, address + offset, testing_below(&random, 2) ? WRITING : READING);
                        struct pl_register_reply reply;
                        int r;

                        request.methods = (uint16_t)(1 + testing_below(&random, 3));
                        request.pd = testing_below(&random, FAKE_N_PDS + 1);
                        r = try_register(&f, &request, fds[testing_below(&random, ELEMENTSOF(fds))], &reply, &refusal);
                        if (r < 0)
                                continue;
                        live_ones[n].id = reply.id;
                        live_ones[n].method = reply.method;
                        live_ones[n++].bytes = credit_bytes(request.address, length, PAGE);
                }
        }
        fixture_done(&f);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                pl_close(fds[i]);
}

/* The kernel before 6.2 pins for writing what is to be read only: what may be mapped for writing is. */
TEST(test_pinned_for_writing) {
        uint64_t address = testing_free_address(SIZE);
        unsigned int views;
        struct pl_register request = make_request(0, PAGE, address, READING);
        int fd = testing_memfd(SIZE), sealed = testing_memfd(SIZE), read_only;
        struct pl_register_reply reply, second;
        struct fixture f;
        char path[32];

        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        read_only = open(path, O_RDONLY | O_CLOEXEC);
        assert_true(read_only >= 0);
        assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE), 0);
        fixture_init(&f, &generous);
        (void)must_attach(&f, "/dev/null");
        request.methods = PINLEASE_METHOD_PINNED;
        views = testing_count_views();

        fake->fail_at = fake->n_calls + 1;
        fake->fail_error = -EFAULT;
        reply = must_register(&f, &request, fd);
        assert_int_equal(fake->n_calls, fake->fail_at + 1);
        assert_int_equal(testing_count_views(), views + 1);
        assert_int_equal(fake->last.access, READING);
        *(volatile char *)(uintptr_t)fake->last.start = 'x';
        assert_live(&f, STATS_PINNED, 1, PAGE);

        /* It stays mapped so. */
        second = must_register(&f, &request, fd);
        assert_int_equal(testing_count_views(), views + 1);
        must_deregister(&f, second.id);
        must_deregister(&f, reply.id);
        assert_int_equal(testing_count_views(), views);

        /* Where it may not: that is said. By ODP nothing is tried again, nor for writing, nor after another error. */
        fake->fail_at = fake->n_calls + 1;
        refused(&f, &request, read_only, PINLEASE_CODE_KERNEL);
        fake->fail_at = fake->n_calls + 1;
        refused(&f, &request, sealed, PINLEASE_CODE_KERNEL);
        request.methods = PINLEASE_METHOD_ODP;
        fake->fail_at = fake->n_calls + 1;
        refused(&f, &request, fd, PINLEASE_CODE_KERNEL);
        request.methods = PINLEASE_METHOD_PINNED;
        fake->fail_at = fake->n_calls + 1;
        fake->fail_error = -EINVAL;
        refused(&f, &request, fd, PINLEASE_CODE_KERNEL);
        request.access = WRITING;
        fake->fail_at = fake->n_calls + 1;
        fake->fail_error = -EFAULT;
        refused(&f, &request, fd, PINLEASE_CODE_KERNEL);
        assert_int_equal(fake->n_calls, fake->fail_at);

        fixture_done(&f);
        pl_close(read_only);
        pl_close(sealed);
        pl_close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_fail_every_call),
                CHECKED(test_fail_every_allocation),
                CHECKED(test_fail_ledger_create),
                CHECKED(test_model),
                CHECKED(test_pinned_for_writing),
        };

        return cmocka_run_group_tests_name("request, failures", tests, NULL, NULL);
}
