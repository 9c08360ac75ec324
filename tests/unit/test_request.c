/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <infiniband/verbs.h>
#include <rdma/ib_user_ioctl_verbs.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "fake_uverbs.h"
#include "request.h"
#include "wraps.h"

#define PAGE     UINT64_C(4096)
#define SIZE     (16 * PAGE)
#define CAPACITY 64
#define READING  ((uint32_t)IBV_ACCESS_REMOTE_READ)
#define WRITING  ((uint32_t)(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ))

/* A registrar's state, and the ledger as its keeper sees it. */
struct fixture {
        struct registrar_state state;
        struct ledger keeper;
};

static const struct credit_amount generous = { .pinned = 1 << 30, .odp = 1 << 30, .registrations = CAPACITY };

static void fixture_init(struct fixture *f, const struct credit_amount *limits) {
        struct ledger ledger;

        fake_reset();
        wraps_reset();
        assert_int_equal(ledger_create(CAPACITY, &ledger), 0);
        f->keeper = ledger;
        f->keeper.fd = fcntl(ledger.fd, F_DUPFD_CLOEXEC, 0);
        assert_true(f->keeper.fd >= 0);
        f->keeper.header = mmap(NULL, ledger.size, PROT_READ, MAP_SHARED, f->keeper.fd, 0);
        assert_ptr_not_equal(f->keeper.header, MAP_FAILED);
        f->keeper.entries = (struct ledger_entry *)(f->keeper.header + 1);
        state_init(&f->state, &fake_ops, &ledger, limits);
        assert_int_equal(ledger.fd, -1);
}

static unsigned int used_entries(const struct ledger *ledger) {
        unsigned int n = 0;

        for (uint32_t i = 0; i < CAPACITY; i++)
                n += atomic_load(&ledger->entries[i].state) != LEDGER_FREE;
        return n;
}

/* As everybody can read in the ledger. */
static void assert_live(const struct fixture *f, enum stats_method method, uint64_t registrations, uint64_t bytes) {
        const struct stats *stats = &f->keeper.header->stats;

        assert_int_equal(atomic_load(&stats->live[method].registrations), registrations);
        assert_int_equal(atomic_load(&stats->live[method].bytes), bytes);
}

static void assert_nothing(const struct fixture *f) {
        assert_int_equal(fake_live(), 0);
        assert_true(credit_is_zero(&f->state.credit));
        assert_int_equal(f->state.mappings.n_views, 0);
        assert_int_equal(used_entries(&f->keeper), 0);
        assert_live(f, STATS_ODP, 0, 0);
        assert_live(f, STATS_PINNED, 0, 0);
}

static void fixture_done(struct fixture *f) {
        assert_int_equal(state_done(&f->state), 0);
        assert_nothing(f);
        ledger_done(&f->keeper);
}

static int attach(struct fixture *f, const char *path, uint32_t *ret_index, struct refusal *ret_refusal) {
        int r, fd = open(path, O_RDWR | O_CLOEXEC);
        struct pl_fdclass class;

        assert_true(fd >= 0);
        assert_int_equal(pl_fdclass_get(fd, &class), 0);
        r = request_attach(&f->state, fd, &class, ret_index, ret_refusal);
        if (r < 0)
                pl_close(fd);
        return r;
}

static uint32_t must_attach(struct fixture *f, const char *path) {
        struct refusal refusal;
        uint32_t index;

        assert_int_equal(attach(f, path, &index, &refusal), 0);
        return index;
}

static struct pl_register make_request(uint64_t offset, uint64_t length, uint64_t address, uint32_t access) {
        return (struct pl_register) {
                .pd = 1,
                .offset = offset,
                .length = length,
                .address = address,
                .access = access,
                .methods = PINLEASE_METHOD_ANY,
        };
}

static int run(struct fixture *f,
               const struct pl_register *request,
               int fd,
               struct pl_register_reply *ret_reply,
               struct refusal *ret_refusal) {
        struct pl_fdclass class;

        assert_int_equal(pl_fdclass_get(fd, &class), 0);
        return request_register(&f->state, request, fd, &class, ret_reply, ret_refusal);
}

static struct pl_register_reply must_register(struct fixture *f, const struct pl_register *request, int fd) {
        struct pl_register_reply reply;
        struct refusal refusal;
        int r = run(f, request, fd, &reply, &refusal);

        if (r < 0)
                fail_msg("refused: %s: %s", pl_code_name(refusal.code), refusal.sentence);
        return reply;
}

static void refused(struct fixture *f, const struct pl_register *request, int fd, enum pinlease_code code) {
        struct pl_register_reply reply;
        struct refusal refusal;

        testing_assert_refusal(run(f, request, fd, &reply, &refusal), &refusal, code);
}

static void must_deregister(struct fixture *f, uint64_t id) {
        struct refusal refusal;

        assert_int_equal(request_deregister(&f->state, id, &refusal), 0);
}

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
        assert_int_equal(run(&f, &request, fd, &reply, &refusal), REFUSED);
        assert_int_equal(refusal.code, PINLEASE_CODE_KERNEL);
        assert_int_equal(refusal.error, EINVAL);
        assert_string_equal(refusal.rule, "builtin:shmem");
        assert_nothing(&f);

        /* Nothing is left to fall back to. */
        fake->odp_error = -EOPNOTSUPP;
        request.methods = PINLEASE_METHOD_ODP;
        assert_int_equal(run(&f, &request, fd, &reply, &refusal), REFUSED);
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

        for (unsigned int methods = PINLEASE_METHOD_ODP; methods <= PINLEASE_METHOD_ANY; methods++) {
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
                testing_assert_refusal(attach(&f, "/dev/null", &index, &refusal), &refusal, cases[i].code);
        }
        fake->fail_at = 0;

        for (unsigned int i = 0; i < MAX_CONTEXTS; i++)
                assert_int_equal(must_attach(&f, "/dev/null"), i);
        testing_assert_refusal(attach(&f, "/dev/null", &index, &refusal), &refusal, PINLEASE_CODE_TOO_MANY_CONTEXTS);
        fixture_done(&f);
}

/* A session's life in short; whatever fails, it goes on as an app would. */
static void live(struct fixture *f, int fd, uint64_t address) {
        struct pl_register request = make_request(0, 2 * PAGE, address, WRITING);
        struct pl_register_reply reply;
        struct refusal refusal;
        uint64_t ids[20];
        size_t n = 0;
        uint32_t index;

        for (unsigned int context = 0; context < 2; context++) {
                if (attach(f, context ? "/dev/zero" : "/dev/null", &index, &refusal) < 0)
                        continue;
                request.context = index;
                for (unsigned int i = 0; i < 9; i++) {
                        request.methods = (uint16_t)(1 + i % 3);
                        request.offset = i % 4 * PAGE;
                        request.access = i % 2 ? READING : WRITING;
                        if (run(f, &request, fd, &reply, &refusal) == 0)
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
                        r = run(&f, &request, fds[testing_below(&random, ELEMENTSOF(fds))], &reply, &refusal);
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
                CHECKED(test_busy_passes),
                CHECKED(test_busy_stays),
                CHECKED(test_done_leaves),
                CHECKED(test_gone_already),
                CHECKED(test_handle_used_again),
                CHECKED(test_truncated_meanwhile),
                CHECKED(test_ledger_is_true),
                CHECKED(test_detach),
                CHECKED(test_attach_refusals),
                CHECKED(test_attach_errors),
                CHECKED(test_fail_every_call),
                CHECKED(test_fail_every_allocation),
                CHECKED(test_fail_ledger_create),
                CHECKED(test_model),
        };

        return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
