/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request_fixture.h"

#include <fcntl.h>
#include <sys/mman.h>

#include "fake_uverbs.h"
#include "testing_policy.h"
#include "wraps.h"

const struct credit_amount generous = { .pinned = 1 << 30, .odp = 1 << 30, .registrations = CAPACITY };

void fixture_init(struct fixture *f, const struct credit_amount *limits) {
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
        f->state.policy = testing_policy();
        f->state.pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
        assert_true(f->state.pagemap >= 0);
        assert_int_equal(ledger.fd, -1);
}

unsigned int used_entries(const struct ledger *ledger) {
        unsigned int n = 0;

        for (uint32_t i = 0; i < CAPACITY; i++)
                n += atomic_load(&ledger->entries[i].state) != LEDGER_FREE;
        return n;
}

void assert_live(const struct fixture *f, enum stats_method method, uint64_t registrations, uint64_t bytes) {
        const struct stats *stats = &f->keeper.header->stats;

        assert_int_equal(atomic_load(&stats->live[method].registrations), registrations);
        assert_int_equal(atomic_load(&stats->live[method].bytes), bytes);
}

void assert_nothing(const struct fixture *f) {
        assert_int_equal(fake_live(), 0);
        assert_true(credit_is_zero(&f->state.credit));
        assert_int_equal(f->state.mappings.n_views, 0);
        assert_int_equal(used_entries(&f->keeper), 0);
        assert_live(f, STATS_ODP, 0, 0);
        assert_live(f, STATS_PINNED, 0, 0);
        assert_live(f, STATS_DMABUF, 0, 0);
}

void fixture_done(struct fixture *f) {
        assert_int_equal(state_done(&f->state), 0);
        assert_nothing(f);
        ledger_done(&f->keeper);
}

int try_attach(struct fixture *f, const char *path, uint32_t *ret_index, struct refusal *ret_refusal) {
        int r, fd = open(path, O_RDWR | O_CLOEXEC);
        struct pl_fdclass class;

        assert_true(fd >= 0);
        assert_int_equal(pl_fdclass_get(fd, &class), 0);
        r = request_attach(&f->state, fd, &class, ret_index, ret_refusal);
        if (r < 0)
                pl_close(fd);
        return r;
}

uint32_t must_attach(struct fixture *f, const char *path) {
        struct refusal refusal;
        uint32_t index;

        assert_int_equal(try_attach(f, path, &index, &refusal), 0);
        return index;
}

struct pl_register make_request(uint64_t offset, uint64_t length, uint64_t address, uint32_t access) {
        return (struct pl_register) {
                .pd = 1,
                .offset = offset,
                .length = length,
                .address = address,
                .access = access,
                .methods = PINLEASE_METHOD_ANY,
        };
}

int try_register(struct fixture *f,
                 const struct pl_register *request,
                 int fd,
                 struct pl_register_reply *ret_reply,
                 struct refusal *ret_refusal) {
        struct pl_fdclass class;

        assert_int_equal(pl_fdclass_get(fd, &class), 0);
        return request_register(&f->state, request, fd, &class, ret_reply, ret_refusal);
}

struct pl_register_reply must_register(struct fixture *f, const struct pl_register *request, int fd) {
        struct pl_register_reply reply;
        struct refusal refusal;
        int r = try_register(f, request, fd, &reply, &refusal);

        if (r < 0)
                fail_msg("refused: %s: %s", pl_code_name(refusal.code), refusal.sentence);
        return reply;
}

void refused(struct fixture *f, const struct pl_register *request, int fd, enum pinlease_code code) {
        struct pl_register_reply reply;
        struct refusal refusal;

        testing_assert_refusal(try_register(f, request, fd, &reply, &refusal), &refusal, code);
}

void must_deregister(struct fixture *f, uint64_t id) {
        struct refusal refusal;

        assert_int_equal(request_deregister(&f->state, id, &refusal), 0);
}

void dmabuf_open(struct dmabuf *d) {
        struct pl_fdclass memfd;

        d->fd = testing_memfd(SIZE);
        assert_int_equal(pl_fdclass_get(d->fd, &memfd), 0);
        d->class = (struct pl_fdclass) {
                .kind = PL_FD_DMABUF,
                .flags = O_RDWR,
                .page_size = PAGE,
                .size = SIZE,
                .dev = memfd.dev,
                .inode = memfd.inode,
                .owner = memfd.owner,
        };
}

void dmabuf_begin(struct fixture *f, struct dmabuf *d, struct pl_register *request) {
        dmabuf_open(d);
        fixture_init(f, &generous);
        request->context = must_attach(f, "/dev/null");
}

void dmabuf_end(struct fixture *f, struct dmabuf *d) {
        fixture_done(f);
        d->fd = pl_close(d->fd);
}

int try_dmabuf(struct fixture *f,
               const struct pl_register *request,
               const struct dmabuf *d,
               struct pl_register_reply *ret_reply,
               struct refusal *ret_refusal) {
        return request_register(&f->state, request, d->fd, &d->class, ret_reply, ret_refusal);
}

struct pl_register_reply must_dmabuf(struct fixture *f, const struct pl_register *request, const struct dmabuf *d) {
        struct pl_register_reply reply;
        struct refusal refusal;

        if (try_dmabuf(f, request, d, &reply, &refusal) < 0)
                fail_msg("refused: %s: %s", pl_code_name(refusal.code), refusal.sentence);
        assert_int_equal(reply.method, PINLEASE_METHOD_DMABUF);
        assert_int_equal(reply.backing, PINLEASE_BACKING_DMABUF);
        return reply;
}

struct refusal dmabuf_refused(struct fixture *f,
                              const struct pl_register *request,
                              const struct dmabuf *d,
                              enum pinlease_code code) {
        struct pl_register_reply reply;
        struct refusal refusal;

        testing_assert_refusal(try_dmabuf(f, request, d, &reply, &refusal), &refusal, code);
        assert_nothing(f);
        return refusal;
}
