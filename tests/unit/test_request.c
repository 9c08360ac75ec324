/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request_fixture.h"

#include <fcntl.h>
#include <rdma/ib_user_ioctl_verbs.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "fake_uverbs.h"
#include "wraps.h"

/* What is asked for, and what is answered. */

TEST(test_register) {
        struct pl_register request = make_request(2 * PAGE + 17, 3 * PAGE, testing_free_address(SIZE) + 2 * PAGE + 17, WRITING);
        struct pl_register_reply reply;
        int fd = testing_memfd(SIZE);
        const struct fake_mr *mr;
        struct fixture f;

        fixture_init(&f, &generous);
        request.context = must_attach(&f, "/dev/null");
        reply = must_register(&f, &request, fd);

        /* ODP first; the app's address is free here, so it is the iova. */
        assert_int_equal(reply.method, PINLEASE_METHOD_ODP);
        assert_int_equal(reply.backing, PINLEASE_BACKING_SHMEM);
        assert_int_equal(reply.length, 3 * PAGE);
        assert_int_equal(reply.iova, request.address);
        assert_int_equal(reply.guards, 0);
        mr = fake_find(f.state.contexts[0].device.fd, reply.handle);
        assert_non_null(mr);
        assert_int_equal(mr->lkey, reply.lkey);
        assert_int_equal(mr->rkey, reply.rkey);
        assert_int_equal(mr->start, request.address);
        assert_int_equal(mr->access, WRITING | IBV_ACCESS_ON_DEMAND);
        assert_int_equal(mr->pd, 1);

        assert_int_equal(f.state.credit.used.odp, 4 * PAGE);
        assert_int_equal(f.state.credit.used.pinned, 0);
        assert_int_equal(f.state.mappings.n_views, 1);
        assert_int_equal(used_entries(&f.keeper), 1);
        assert_live(&f, STATS_ODP, 1, 4 * PAGE);
        assert_live(&f, STATS_PINNED, 0, 0);

        must_deregister(&f, reply.id);
        assert_nothing(&f);
        assert_int_equal(f.keeper.header->stats.registered[STATS_ODP], 1);
        assert_int_equal(f.keeper.header->stats.registered[STATS_PINNED], 0);
        assert_int_equal(f.keeper.header->stats.deregistered, 1);
        fixture_done(&f);
        pl_close(fd);
}

TEST(test_pinned) {
        struct pl_register request = make_request(PAGE, PAGE, 0, READING);
        struct pl_register_reply reply;
        int fd = testing_memfd(SIZE);
        struct fixture f;
        void *app;

        /* The app's address is taken here: pinned memory keeps it as its iova all the same. */
        app = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);
        assert_ptr_not_equal(app, MAP_FAILED);
        request.address = (uintptr_t)app + PAGE;
        request.methods = PINLEASE_METHOD_PINNED;

        fixture_init(&f, &generous);
        request.context = must_attach(&f, "/dev/null");
        reply = must_register(&f, &request, fd);
        assert_int_equal(reply.method, PINLEASE_METHOD_PINNED);
        assert_int_equal(reply.iova, request.address);
        assert_int_equal(fake->last.iova, request.address);
        assert_int_not_equal(fake->last.start, request.address);
        assert_int_equal(fake->last.access, READING);
        assert_int_equal(f.state.credit.used.pinned, PAGE);

        /* rxe finds ODP pages by iova: there it has to be the address in the process that registers. */
        request.methods = PINLEASE_METHOD_ODP;
        reply = must_register(&f, &request, fd);
        assert_int_equal(reply.iova, fake->last.iova);
        assert_int_equal(fake->last.iova, fake->last.start);
        assert_int_not_equal(fake->last.iova, request.address);

        fixture_done(&f);
        assert_int_equal(munmap(app, SIZE), 0);
        pl_close(fd);
}

TEST(test_fallback) {
        struct pl_register request = make_request(0, PAGE, testing_free_address(PAGE), WRITING);
        struct pl_register_reply reply;
        int fd = testing_memfd(SIZE);
        struct refusal refusal;
        struct fixture f;

        fixture_init(&f, &generous);
        request.context = must_attach(&f, "/dev/null");

        /* The device offers ODP and cannot do it after all. */
        fake->odp_error = -EOPNOTSUPP;
        reply = must_register(&f, &request, fd);
        assert_int_equal(reply.method, PINLEASE_METHOD_PINNED);
        assert_int_equal(f.state.credit.used.odp, 0);
        assert_int_equal(f.state.credit.used.registrations, 1);
        must_deregister(&f, reply.id);

        /* Any other answer is final. */
        fake->odp_error = -EINVAL;
        assert_int_equal(try_register(&f, &request, fd, &reply, &refusal), REFUSED);
        assert_int_equal(refusal.code, PINLEASE_CODE_KERNEL);
        assert_int_equal(refusal.error, EINVAL);
        assert_string_equal(refusal.rule, "builtin:shmem");
        assert_nothing(&f);

        /* Nothing is left to fall back to. */
        fake->odp_error = -EOPNOTSUPP;
        request.methods = PINLEASE_METHOD_ODP;
        assert_int_equal(try_register(&f, &request, fd, &reply, &refusal), REFUSED);
        assert_int_equal(refusal.code, PINLEASE_CODE_KERNEL);
        assert_int_equal(refusal.error, EOPNOTSUPP);

        fixture_done(&f);
        pl_close(fd);
}

/* rdma_rxe's ODP puts bytes in the wrong place: it is for those who ask for nothing else. */
TEST(test_unsound_odp) {
        struct pl_register request = make_request(0, PAGE, testing_free_address(PAGE), WRITING);
        int fd = testing_memfd(SIZE);
        struct fixture f;

        fixture_init(&f, &generous);
        fake->driver_id = RDMA_DRIVER_RXE;
        request.context = must_attach(&f, "/dev/null");
        assert_int_equal(must_register(&f, &request, fd).method, PINLEASE_METHOD_PINNED);
        request.methods = PINLEASE_METHOD_ODP;
        assert_int_equal(must_register(&f, &request, fd).method, PINLEASE_METHOD_ODP);
        request.methods = PINLEASE_METHOD_PINNED;
        assert_int_equal(must_register(&f, &request, fd).method, PINLEASE_METHOD_PINNED);
        fixture_done(&f);
        pl_close(fd);
}

TEST(test_refusals) {
        struct pl_register good = make_request(0, PAGE, testing_free_address(PAGE), WRITING), request;
        int fd = testing_memfd(SIZE), reader, pair[2], event, folder;
        char path[32];
        struct fixture f;

        fixture_init(&f, &generous);
        good.context = must_attach(&f, "/dev/null");

        request = good, request.context = 1;
        refused(&f, &request, fd, PINLEASE_CODE_NO_SUCH_CONTEXT);
        request = good, request.context = MAX_CONTEXTS;
        refused(&f, &request, fd, PINLEASE_CODE_NO_SUCH_CONTEXT);
        request = good, request.context = UINT32_MAX;
        refused(&f, &request, fd, PINLEASE_CODE_NO_SUCH_CONTEXT);
        request = good, request.pd = FAKE_N_PDS;
        refused(&f, &request, fd, PINLEASE_CODE_NO_SUCH_PD);
        request = good, request.length = 0;
        refused(&f, &request, fd, PINLEASE_CODE_ZERO_LENGTH);
        request = good, request.length = SIZE + 1;
        refused(&f, &request, fd, PINLEASE_CODE_BEYOND_END);
        request = good, request.offset = UINT64_MAX - 4095;
        refused(&f, &request, fd, PINLEASE_CODE_RANGE_OVERFLOW);
        request = good, request.address++;
        refused(&f, &request, fd, PINLEASE_CODE_MISALIGNED);
        request = good, request.access = IBV_ACCESS_REMOTE_WRITE;
        refused(&f, &request, fd, PINLEASE_CODE_BAD_ACCESS);
        request = good, request.methods = 0;
        refused(&f, &request, fd, PINLEASE_CODE_NO_METHOD);
        request = good, request.methods = 8;
        refused(&f, &request, fd, PINLEASE_CODE_NO_METHOD);

        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        reader = open(path, O_RDONLY | O_CLOEXEC);
        refused(&f, &good, reader, PINLEASE_CODE_FD_MODE);
        pl_close(reader);
        reader = open(path, O_PATH | O_CLOEXEC);
        refused(&f, &good, reader, PINLEASE_CODE_PATH_FD);
        pl_close(reader);

        assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
        refused(&f, &good, pair[0], PINLEASE_CODE_NOT_MEMORY);
        pl_close(pair[0]);
        pl_close(pair[1]);
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        refused(&f, &good, pair[0], PINLEASE_CODE_NOT_MEMORY);
        pl_close(pair[0]);
        pl_close(pair[1]);
        event = eventfd(0, EFD_CLOEXEC);
        refused(&f, &good, event, PINLEASE_CODE_NOT_MEMORY);
        pl_close(event);
        folder = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        refused(&f, &good, folder, PINLEASE_CODE_NOT_MEMORY);
        pl_close(folder);
        refused(&f, &good, f.state.contexts[0].device.fd, PINLEASE_CODE_NOT_MEMORY);

        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
        refused(&f, &good, fd, PINLEASE_CODE_SEALED);

        assert_nothing(&f);
        fixture_done(&f);
        pl_close(fd);
}

/* Pages that nobody has touched would be allocated, and paid for, by the service. */
TEST(test_not_resident) {
        struct pl_register request = make_request(0, SIZE, testing_free_address(SIZE), WRITING);
        int fd = testing_memfd(SIZE);
        struct fixture f;

        fixture_init(&f, &generous);
        request.context = must_attach(&f, "/dev/null");
        request.methods = PINLEASE_METHOD_PINNED;
        assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(5 * PAGE), (off_t)PAGE), 0);
        refused(&f, &request, fd, PINLEASE_CODE_NOT_RESIDENT);
        assert_nothing(&f);

        /* ODP allocates nothing now. */
        request.methods = PINLEASE_METHOD_ODP;
        (void)must_register(&f, &request, fd);
        fixture_done(&f);
        pl_close(fd);
}

TEST(test_limits) {
        const struct credit_amount limits = { .pinned = 4 * PAGE, .odp = 8 * PAGE, .registrations = 3 };
        struct pl_register request = make_request(0, PAGE, testing_free_address(SIZE), WRITING);
        struct pl_register_reply reply[3];
        int fd = testing_memfd(SIZE);
        struct fixture f;

        fixture_init(&f, &limits);
        request.context = must_attach(&f, "/dev/null");

        request.methods = PINLEASE_METHOD_PINNED;
        request.length = 4 * PAGE + 1;
        refused(&f, &request, fd, PINLEASE_CODE_PINNED_LIMIT);
        request.methods = PINLEASE_METHOD_ODP;
        request.length = 8 * PAGE + 1;
        refused(&f, &request, fd, PINLEASE_CODE_ODP_LIMIT);

        request.length = PAGE;
        for (size_t i = 0; i < 3; i++)
                reply[i] = must_register(&f, &request, fd);
        refused(&f, &request, fd, PINLEASE_CODE_REGISTRATION_LIMIT);
        must_deregister(&f, reply[1].id);
        reply[1] = must_register(&f, &request, fd);

        /* The kernel's own ceiling of pinned bytes (RLIMIT_MEMLOCK). */
        must_deregister(&f, reply[0].id);
        request.methods = PINLEASE_METHOD_PINNED;
        fake->n_calls = 0;
        fake->fail_at = 1;
        fake->fail_error = -ENOMEM;
        refused(&f, &request, fd, PINLEASE_CODE_PINNED_LIMIT);

        fixture_done(&f);
        pl_close(fd);
}

/* More registrations allowed than the ledger has room for: refused, nothing is written past its end. */
TEST(test_ledger_full) {
        const struct credit_amount limits = { .pinned = 1 << 30, .odp = 1 << 30, .registrations = UINT32_MAX };
        struct pl_register request = make_request(0, PAGE, testing_free_address(SIZE), WRITING);
        int fd = testing_memfd(SIZE);
        struct fixture f;

        fixture_init(&f, &limits);
        request.context = must_attach(&f, "/dev/null");
        for (unsigned int i = 0; i < CAPACITY; i++)
                (void)must_register(&f, &request, fd);
        refused(&f, &request, fd, PINLEASE_CODE_KERNEL);
        assert_int_equal(f.state.credit.used.registrations, CAPACITY);
        assert_int_equal(fake_live(), CAPACITY);
        fixture_done(&f);
        pl_close(fd);
}

/* What fails at the last step uses up no place: as many as ever can be registered after it. */
TEST(test_failures_use_no_slot) {
        struct pl_register request = make_request(0, PAGE, testing_free_address(SIZE), WRITING);
        int fd = testing_memfd(SIZE);
        struct fixture f;

        fixture_init(&f, &generous);
        request.context = must_attach(&f, "/dev/null");
        request.pd = FAKE_N_PDS;
        for (unsigned int i = 0; i < 2 * CAPACITY; i++)
                refused(&f, &request, fd, PINLEASE_CODE_NO_SUCH_PD);
        request.pd = 0;
        for (unsigned int i = 0; i < CAPACITY; i++)
                (void)must_register(&f, &request, fd);
        fixture_done(&f);
        pl_close(fd);
}

TEST(test_ids) {
        struct pl_register request = make_request(0, PAGE, testing_free_address(SIZE), WRITING);
        enum { ROUNDS = 1000, WINDOW = 20 };
        struct pl_register_reply live[WINDOW];
        static uint64_t ids[ROUNDS];
        int fd = testing_memfd(SIZE);
        struct refusal refusal;
        struct fixture f;

        fixture_init(&f, &generous);
        request.context = must_attach(&f, "/dev/null");
        for (unsigned int i = 0; i < ROUNDS; i++) {
                if (i >= WINDOW)
                        must_deregister(&f, live[i % WINDOW].id);
                live[i % WINDOW] = must_register(&f, &request, fd);
                ids[i] = live[i % WINDOW].id;
                assert_int_not_equal(ids[i], 0);
                for (unsigned int k = 0; k < i; k++)
                        assert_int_not_equal(ids[k], ids[i]);
        }

        /* Numbers that were, and numbers that never were. */
        for (unsigned int i = 0; i < ROUNDS - WINDOW; i++)
                testing_assert_refusal(request_deregister(&f.state, ids[i], &refusal),
                                       &refusal,
                                       PINLEASE_CODE_NO_SUCH_REGISTRATION);
        static const uint64_t never[] = { 0, 1, CAPACITY, UINT32_MAX, UINT64_MAX, UINT64_C(1) << 32 | 63, UINT64_C(1) << 63 };
        for (size_t i = 0; i < ELEMENTSOF(never); i++)
                testing_assert_refusal(request_deregister(&f.state, never[i], &refusal),
                                       &refusal,
                                       PINLEASE_CODE_NO_SUCH_REGISTRATION);
        assert_int_equal(fake_live(), WINDOW);
        fixture_done(&f);
        pl_close(fd);
}

TEST(test_detach) {
        struct pl_register request = make_request(0, PAGE, testing_free_address(SIZE), WRITING);
        struct pl_register_reply stays;
        int fd = testing_memfd(SIZE);
        struct refusal refusal;
        uint32_t null, zero;
        struct fixture f;

        fixture_init(&f, &generous);
        null = must_attach(&f, "/dev/null");
        zero = must_attach(&f, "/dev/zero");
        assert_int_not_equal(null, zero);
        for (unsigned int i = 0; i < 5; i++) {
                request.context = null;
                (void)must_register(&f, &request, fd);
                request.context = zero;
                stays = must_register(&f, &request, fd);
        }
        assert_int_equal(fake_live(), 10);

        assert_int_equal(request_detach(&f.state, null, &refusal), 0);
        assert_int_equal(fake_live(), 5);
        assert_non_null(fake_find(f.state.contexts[zero].device.fd, stays.handle));
        testing_assert_refusal(request_detach(&f.state, null, &refusal), &refusal, PINLEASE_CODE_NO_SUCH_CONTEXT);
        testing_assert_refusal(request_detach(&f.state, MAX_CONTEXTS, &refusal), &refusal, PINLEASE_CODE_NO_SUCH_CONTEXT);
        testing_assert_refusal(request_detach(&f.state, UINT32_MAX, &refusal), &refusal, PINLEASE_CODE_NO_SUCH_CONTEXT);
        request.context = null;
        refused(&f, &request, fd, PINLEASE_CODE_NO_SUCH_CONTEXT);

        /* The number is used again. */
        assert_int_equal(must_attach(&f, "/dev/null"), null);
        (void)must_register(&f, &request, fd);
        fixture_done(&f);
        pl_close(fd);
}

/* Against the machine's real list of devices, and descriptors of every kind. */
TEST(test_attach_refusals) {
        int pair[2], fds[8];
        struct refusal refusal;
        unsigned int n = 0;
        struct fixture f;
        uint32_t index;

        fixture_init(&f, &generous);
        wraps_verbs_devices = false;
        assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
        fds[n++] = pair[0];
        fds[n++] = pair[1];
        fds[n++] = testing_memfd(PAGE);
        fds[n++] = open("/dev/null", O_RDWR | O_CLOEXEC);
        fds[n++] = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        fds[n++] = open("/dev/null", O_PATH | O_CLOEXEC);
        fds[n++] = eventfd(0, EFD_CLOEXEC);
        fds[n++] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        for (unsigned int i = 0; i < n; i++) {
                struct pl_fdclass class;

                assert_int_equal(pl_fdclass_get(fds[i], &class), 0);
                testing_assert_refusal(request_attach(&f.state, fds[i], &class, &index, &refusal),
                                       &refusal,
                                       PINLEASE_CODE_NOT_VERBS);
                pl_close(fds[i]);
        }
        /* No ioctl is tried on a device of another class. */
        assert_int_equal(fake->n_calls, 0);
        fixture_done(&f);
}

TEST(test_attach_errors) {
        static const struct {
                unsigned int at;
                int error;
                enum pinlease_code code;
        } cases[] = {
                { 1, -ENOTTY, PINLEASE_CODE_NOT_VERBS },
                { 1, -ENODEV, PINLEASE_CODE_UNKNOWN_DRIVER },
                { 1, -EIO, PINLEASE_CODE_UNKNOWN_DRIVER },
                { 2, -EIO, PINLEASE_CODE_KERNEL },
                { 2, -EINVAL, PINLEASE_CODE_KERNEL },
        };
        struct refusal refusal;
        struct fixture f;
        uint32_t index;

        fixture_init(&f, &generous);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                fake->n_calls = 0;
                fake->fail_at = cases[i].at;
                fake->fail_error = cases[i].error;
                testing_assert_refusal(try_attach(&f, "/dev/null", &index, &refusal), &refusal, cases[i].code);
        }
        fake->fail_at = 0;

        for (unsigned int i = 0; i < MAX_CONTEXTS; i++)
                assert_int_equal(must_attach(&f, "/dev/null"), i);
        testing_assert_refusal(try_attach(&f, "/dev/null", &index, &refusal), &refusal, PINLEASE_CODE_TOO_MANY_CONTEXTS);
        fixture_done(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_register),
                CHECKED(test_pinned),
                CHECKED(test_fallback),
                CHECKED(test_unsound_odp),
                CHECKED(test_refusals),
                CHECKED(test_not_resident),
                CHECKED(test_limits),
                CHECKED(test_ledger_full),
                CHECKED(test_failures_use_no_slot),
                CHECKED(test_ids),
                CHECKED(test_detach),
                CHECKED(test_attach_refusals),
                CHECKED(test_attach_errors),
        };

        return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
