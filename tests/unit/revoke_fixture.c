/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "revoke_fixture.h"

#include <fcntl.h>
#include <infiniband/verbs.h>

#include "fake_uverbs.h"
#include "testing_policy.h"
#include "wraps.h"

void fixture_init(struct fixture *f) {
        static const struct credit_amount limits = { .pinned = 1 << 30, .odp = 1 << 30, .registrations = CAPACITY };
        struct pl_fdclass class;
        struct refusal refusal;
        struct ledger ledger;
        uint32_t index;
        int fd;

        fake_reset();
        wraps_reset();
        assert_int_equal(ledger_create(CAPACITY, &ledger), 0);
        state_init(&f->state, &fake_ops, &ledger, &limits);
        f->state.policy = testing_policy();
        revoker_init(&f->revoker, &f->state);
        f->revoker.tells = true;
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        assert_int_equal(pl_fdclass_get(fd, &class), 0);
        assert_int_equal(request_attach(&f->state, fd, &class, &index, &refusal), 0);
        for (size_t i = 0; i < ELEMENTSOF(f->files); i++)
                f->files[i] = testing_memfd(PAGE);
}

void fixture_done(struct fixture *f) {
        revoker_done(&f->revoker);
        assert_int_equal(state_done(&f->state), 0);
        assert_int_equal(fake_live(), 0);
        assert_true(credit_is_zero(&f->state.credit));
        for (size_t i = 0; i < ELEMENTSOF(f->files); i++)
                pl_close(f->files[i]);
}

uint64_t reg(struct fixture *f, unsigned int file) {
        return reg_page(f, file, 0);
}

uint64_t reg_page(struct fixture *f, unsigned int file, uint64_t page) {
        const struct pl_register request = {
                .pd = 1,
                .offset = page * PAGE,
                .length = PAGE,
                .address = 0x700000000000,
                .access = IBV_ACCESS_LOCAL_WRITE,
                .methods = PINLEASE_METHOD_PINNED,
        };
        struct pl_register_reply reply;
        struct pl_fdclass class;
        struct refusal refusal;

        assert_int_equal(pl_fdclass_get(f->files[file], &class), 0);
        assert_int_equal(request_register(&f->state, &request, f->files[file], &class, &reply, &refusal), 0);
        return reply.id;
}

int begin(struct fixture *f, enum control_selector selector, uint64_t id, uint32_t grace_ms, uint64_t cookie) {
        return revoker_begin(&f->revoker,
                             &(struct revocation_order) {
                                     .reason = PL_REVOKED_BY_ADMINISTRATOR,
                                     .selector = selector,
                                     .id = id,
                                     .grace_ms = grace_ms,
                                     .cookie = cookie,
                             });
}

void pass(unsigned int ms) {
        wraps_clock->jumped_ms += ms;
}

void work(struct fixture *f) {
        for (unsigned int i = 0; i < 1000; i++) {
                uint64_t due = revoker_due(&f->revoker);

                if (!due || due > pl_now_ms())
                        return;
                revoker_work(&f->revoker);
        }
        fail_msg("always something to do");
}
