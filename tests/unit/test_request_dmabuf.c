/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "dmabuf-mr.h"
#include "dmabuf.h"
#include "fake_uverbs.h"
#include "wraps.h"

/* Dma-bufs: what is asked for, and what is answered. */

TEST(test_register) {
        struct pl_register request = make_request(2 * PAGE + 17, 3 * PAGE, IOVA + 17, WRITING);
        unsigned int views, fds;
        struct pl_register_reply reply;
        struct ledger_record record;
        struct uverbs_mr_keys keys;
        enum ledger_state state;
        const struct fake_mr *mr;
        struct dmabuf d;
        struct fixture f;

        dmabuf_begin(&f, &d, &request);
        views = testing_count_views();
        fds = testing_count_fds(0);
        reply = must_dmabuf(&f, &request, &d);
        assert_int_equal(reply.iova, request.address);
        assert_int_equal(reply.length, 3 * PAGE);
        assert_int_equal(reply.flags, 0);
        assert_int_equal(reply.guards, 0);

        mr = fake_find(f.state.contexts[request.context].device.fd, reply.handle);
        assert_non_null(mr);
        assert_true(mr->dmabuf);
        assert_int_equal(mr->lkey, reply.lkey);
        assert_int_equal(mr->rkey, reply.rkey);
        assert_int_equal(mr->access, WRITING);
        assert_int_equal(mr->pd, 1);
        assert_int_equal(mr->start, request.offset);
        assert_int_equal(mr->length, 3 * PAGE);
        assert_int_equal(mr->iova, request.address);

        /* Nothing is mapped or kept open; it counts as pinned. */
        assert_int_equal(testing_count_views(), views);
        assert_int_equal(testing_count_fds(0), fds);
        assert_int_equal(f.state.mappings.n_views, 0);
        assert_int_equal(f.state.credit.used.pinned, 4 * PAGE);
        assert_int_equal(f.state.credit.used.odp, 0);
        assert_int_equal(f.state.credit.used.registrations, 1);
        assert_live(&f, STATS_DMABUF, 1, 4 * PAGE);
        assert_live(&f, STATS_PINNED, 0, 0);
        assert_live(&f, STATS_ODP, 0, 0);

        assert_true(ledger_read(&f.keeper, (uint32_t)reply.id, &state, &record, &keys));
        assert_int_equal(state, LEDGER_LIVE);
        assert_memory_equal(&keys, (&(struct uverbs_mr_keys) { reply.handle, reply.lkey, reply.rkey }), sizeof keys);
        assert_int_equal(record.id, reply.id);
        assert_int_equal(record.start, 0);
        assert_int_equal(record.iova, request.address);
        assert_int_equal(record.offset, request.offset);
        assert_int_equal(record.length, request.length);
        assert_int_equal(record.bytes, 4 * PAGE);
        assert_int_equal(record.access, WRITING);
        assert_int_equal(record.method, PINLEASE_METHOD_DMABUF);
        assert_int_equal(record.backing, PINLEASE_BACKING_DMABUF);
        assert_int_equal(record.device, d.class.dev);
        assert_int_equal(record.inode, d.class.inode);
        assert_string_equal(record.name, PL_DMABUF_NAME_PREFIX); /* a memfd has no exporter */

        must_deregister(&f, reply.id);
        assert_nothing(&f);
        assert_int_equal(f.keeper.header->stats.registered[STATS_DMABUF], 1);
        assert_int_equal(f.keeper.header->stats.registered[STATS_PINNED], 0);
        assert_int_equal(f.keeper.header->stats.deregistered, 1);
        dmabuf_end(&f, &d);
}

/* Any iova that lies within its page as the offset does: 0 too, and what nobody could map. */
TEST(test_iova) {
        static const struct {
                uint64_t offset, length, iova, pages;
        } good[] = {
                { 0, 1, 0, 1 },
                { PAGE, SIZE - PAGE, 0, 15 },
                { 0, SIZE, PAGE, 16 },
                { PAGE + 17, PAGE, 17, 2 },
                { 17, PAGE, PAGE + 17, 2 },
                { 15 * PAGE + 4095, 1, 4095, 1 },
                { 0, PAGE, UINT64_C(1) << 63, 1 },
                { 0, PAGE, UINT64_MAX - 4 * PAGE + 1, 1 },
        };
        static const struct {
                uint64_t offset, iova;
        } bad[] = { { 0, 1 }, { 1, 0 }, { 17, IOVA }, { 0, IOVA + 17 }, { PAGE + 17, PAGE + 18 }, { 0, 4095 } };
        struct pl_register request = make_request(0, PAGE, 0, READING);
        struct refusal refusal;
        struct dmabuf d;
        struct fixture f;

        dmabuf_begin(&f, &d, &request);
        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                struct pl_register_reply reply;

                request.offset = good[i].offset;
                request.length = good[i].length;
                request.address = good[i].iova;
                reply = must_dmabuf(&f, &request, &d);
                assert_int_equal(reply.iova, good[i].iova);
                assert_int_equal(fake->last.start, good[i].offset);
                assert_int_equal(f.state.credit.used.pinned, good[i].pages * PAGE);
                must_deregister(&f, reply.id);
        }
        request.length = PAGE;
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                request.offset = bad[i].offset;
                request.address = bad[i].iova;
                refusal = dmabuf_refused(&f, &request, &d, PINLEASE_CODE_MISALIGNED);
                assert_non_null(strstr(refusal.sentence, "iova"));
        }
        dmabuf_end(&f, &d);
}

/* What is wrong by itself is refused before the device is tried. */
TEST(test_refusals) {
        static const uint32_t never[] = { IBV_ACCESS_MW_BIND,
                                          IBV_ACCESS_ZERO_BASED,
                                          IBV_ACCESS_ON_DEMAND,
                                          IBV_ACCESS_HUGETLB,
                                          1U << 8,
                                          1U << 9,
                                          1U << 10,
                                          1U << 31 };
        struct pl_register good = make_request(0, PAGE, IOVA, WRITING), request;
        struct refusal refusal;
        unsigned int calls;
        struct dmabuf d, other;
        struct fixture f;

        dmabuf_open(&d);
        fixture_init(&f, &generous);
        good.context = must_attach(&f, "/dev/null");
        calls = fake->n_calls;

        request = good, request.context = 1;
        (void)dmabuf_refused(&f, &request, &d, PINLEASE_CODE_NO_SUCH_CONTEXT);
        request = good, request.length = 0;
        (void)dmabuf_refused(&f, &request, &d, PINLEASE_CODE_ZERO_LENGTH);
        request = good, request.length = SIZE + 1;
        (void)dmabuf_refused(&f, &request, &d, PINLEASE_CODE_BEYOND_END);
        request = good, request.offset = SIZE;
        (void)dmabuf_refused(&f, &request, &d, PINLEASE_CODE_BEYOND_END);
        request = good, request.offset = UINT64_MAX - PAGE + 1;
        (void)dmabuf_refused(&f, &request, &d, PINLEASE_CODE_RANGE_OVERFLOW);
        request = good, request.address = UINT64_MAX - PAGE + 1, request.length = 2 * PAGE;
        (void)dmabuf_refused(&f, &request, &d, PINLEASE_CODE_RANGE_OVERFLOW);
        for (size_t i = 0; i < ELEMENTSOF(never); i++) {
                request = good, request.access |= never[i];
                (void)dmabuf_refused(&f, &request, &d, PINLEASE_CODE_BAD_ACCESS);
        }
        request = good, request.access = IBV_ACCESS_REMOTE_WRITE;
        (void)dmabuf_refused(&f, &request, &d, PINLEASE_CODE_BAD_ACCESS);

        other = d, other.class.flags = O_RDONLY;
        refusal = dmabuf_refused(&f, &good, &other, PINLEASE_CODE_FD_MODE);
        assert_non_null(strstr(refusal.sentence, "exported O_RDWR"));
        other.class.flags = O_WRONLY;
        (void)dmabuf_refused(&f, &good, &other, PINLEASE_CODE_FD_MODE);
        request = good, request.access = READING;
        (void)dmabuf_refused(&f, &request, &other, PINLEASE_CODE_FD_MODE);
        assert_int_equal(fake->n_calls, calls);

        /* All that the kernel gives to dma-bufs; and reading by who may only read. */
        request = good, request.access = WRITING | IBV_ACCESS_REMOTE_ATOMIC | IBV_ACCESS_RELAXED_ORDERING;
        must_deregister(&f, must_dmabuf(&f, &request, &d).id);
        request = good, request.access = READING, other.class.flags = O_RDONLY;
        must_deregister(&f, must_dmabuf(&f, &request, &other).id);

        /* There are no pages to be pinned or faulted in. */
        for (unsigned int methods = 1; methods <= 3; methods++) {
                request = good, request.methods = (uint16_t)methods;
                (void)dmabuf_refused(&f, &request, &d, PINLEASE_CODE_NO_DMABUF);
        }
        request = good, request.methods = PINLEASE_METHOD_DMABUF | PINLEASE_METHOD_ODP;
        must_deregister(&f, must_dmabuf(&f, &request, &d).id);
        dmabuf_end(&f, &d);
}

/* Whether the device can do it is asked once for a verbs context, and only if there is a dma-buf. */
TEST(test_probe) {
        struct pl_register request = make_request(0, PAGE, IOVA, WRITING), memory;
        int fd = testing_memfd(SIZE);
        struct refusal refusal;
        uint32_t null, zero;
        unsigned int calls;
        struct dmabuf d;
        struct fixture f;

        dmabuf_open(&d);
        fixture_init(&f, &generous);
        null = must_attach(&f, "/dev/null");
        zero = must_attach(&f, "/dev/zero");
        memory = make_request(0, PAGE, testing_free_address(PAGE), WRITING);
        memory.context = request.context = null;
        fake->methods = PINLEASE_METHOD_ODP | PINLEASE_METHOD_PINNED;

        calls = fake->n_calls;
        must_deregister(&f, must_register(&f, &memory, fd).id);
        assert_int_equal(fake->n_calls, calls + 3);

        calls = fake->n_calls;
        for (unsigned int i = 0; i < 3; i++) {
                refusal = dmabuf_refused(&f, &request, &d, PINLEASE_CODE_NO_DMABUF);
                assert_int_equal(refusal.error, EOPNOTSUPP);
                assert_non_null(strstr(refusal.sentence, "device"));
                assert_int_equal(fake->n_calls, calls + 1);
        }
        must_deregister(&f, must_register(&f, &memory, fd).id);

        /* Another context, of another device perhaps. */
        fake->methods = PINLEASE_METHOD_ANY;
        request.context = zero;
        calls = fake->n_calls;
        for (unsigned int i = 0; i < 3; i++) {
                (void)must_dmabuf(&f, &request, &d);
                assert_int_equal(fake->n_calls, calls + 2 + i);
        }
        assert_int_equal(request_detach(&f.state, zero, &refusal), 0);
        assert_nothing(&f);

        /* What is known of a context is forgotten with it. */
        request.context = null;
        (void)dmabuf_refused(&f, &request, &d, PINLEASE_CODE_NO_DMABUF);
        assert_int_equal(request_detach(&f.state, null, &refusal), 0);
        assert_int_equal(must_attach(&f, "/dev/null"), null);
        (void)must_dmabuf(&f, &request, &d);
        fake->methods = PINLEASE_METHOD_PINNED;
        assert_int_equal(must_attach(&f, "/dev/zero"), zero);
        request.context = zero;
        assert_int_equal(try_dmabuf(&f, &request, &d, &(struct pl_register_reply) { 0 }, &refusal), REFUSED);
        assert_int_equal(refusal.code, PINLEASE_CODE_NO_DMABUF);
        dmabuf_end(&f, &d);
        pl_close(fd);
}

/* A try that says nothing about the device is none. */
TEST(test_probe_fails) {
        static const int errors[] = { -EIO, -ENODEV, -ENOMEM, -EPERM, -EMFILE };
        struct pl_register request = make_request(0, PAGE, IOVA, WRITING);
        struct refusal refusal;
        struct dmabuf d;
        struct fixture f;

        dmabuf_begin(&f, &d, &request);
        request.pd = FAKE_N_PDS;
        for (unsigned int i = 0; i < 2; i++) {
                unsigned int calls = fake->n_calls;

                refusal = dmabuf_refused(&f, &request, &d, PINLEASE_CODE_NO_SUCH_PD);
                assert_int_equal(refusal.error, ENOENT);
                assert_int_equal(fake->n_calls, calls + 1);
                assert_false(f.state.contexts[request.context].dmabuf_probed);
        }
        request.pd = 1;
        for (size_t i = 0; i < ELEMENTSOF(errors); i++) {
                fake->fail_at = fake->n_calls + 1;
                fake->fail_error = errors[i];
                refusal = dmabuf_refused(&f, &request, &d, PINLEASE_CODE_KERNEL);
                assert_int_equal(refusal.error, -errors[i]);
        }
        (void)must_dmabuf(&f, &request, &d);
        request.pd = FAKE_N_PDS;
        assert_int_equal(try_dmabuf(&f, &request, &d, &(struct pl_register_reply) { 0 }, &refusal), REFUSED);
        assert_int_equal(refusal.code, PINLEASE_CODE_NO_SUCH_PD);
        dmabuf_end(&f, &d);
}

TEST(test_kernel_errors) {
        static const struct {
                int error;
                enum pinlease_code code;
                const char *part;
        } cases[] = {
                { EINVAL, PINLEASE_CODE_NO_DMABUF, "cannot attach" },
                { EOPNOTSUPP, PINLEASE_CODE_NO_DMABUF, "cannot attach" },
                { EPERM, PINLEASE_CODE_NO_DMABUF, "cannot attach" },
                { EBADF, PINLEASE_CODE_NO_DMABUF, "cannot attach" },
                { EFAULT, PINLEASE_CODE_NO_DMABUF, "cannot attach" },
                { ENOMEM, PINLEASE_CODE_KERNEL, "ENOMEM" },
                { EIO, PINLEASE_CODE_KERNEL, "removed (EIO)" },
                { ENODEV, PINLEASE_CODE_KERNEL, "taken this dma-buf back (ENODEV)" },
                { ENOENT, PINLEASE_CODE_NO_SUCH_PD, "Protection domain 1 " },
        };
        struct pl_register request = make_request(0, PAGE, IOVA, WRITING);
        unsigned int calls;
        struct dmabuf d;
        struct fixture f;

        dmabuf_begin(&f, &d, &request);
        must_deregister(&f, must_dmabuf(&f, &request, &d).id);
        calls = fake->n_calls;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct refusal refusal;

                fake->dmabuf_error = -cases[i].error;
                refusal = dmabuf_refused(&f, &request, &d, cases[i].code);
                assert_int_equal(refusal.error, cases[i].code == PINLEASE_CODE_NO_DMABUF ? EOPNOTSUPP : cases[i].error);
                if (cases[i].code == PINLEASE_CODE_NO_DMABUF)
                        assert_non_null(strstr(refusal.sentence, strerror(cases[i].error)));
                assert_string_equal(refusal.rule, "builtin:dmabuf");
                if (!strstr(refusal.sentence, cases[i].part))
                        fail_msg("%s is not in: %s", cases[i].part, refusal.sentence);
                /* Nothing else is tried, and what the device can do is not doubted. */
                assert_int_equal(fake->n_calls, ++calls);
        }
        fake->dmabuf_error = 0;
        (void)must_dmabuf(&f, &request, &d);
        dmabuf_end(&f, &d);
}

/* Who has made it is said, and what would work instead. */
TEST(test_words) {
        static const struct {
                const char *name, *exporter, *instead;
        } cases[] = {
                { "dmabuf:udmabuf", "\"udmabuf\"", "memfd behind the udmabuf" },
                { "dmabuf:system", "\"system\"", "huge pages" },
                { "dmabuf:default_cma_region", "\"default_cma_region\"", "huge pages" },
                { "dmabuf:drm", "\"drm\"", "PCIe" },
                { "dmabuf:", "\"unknown\"", "PCIe" },
                { "", "\"unknown\"", "PCIe" },
                { "dmabuf:udmabuf2", "\"udmabuf2\"", "PCIe" },
        };
        struct ledger_record record = { .access = UINT32_MAX, .length = UINT64_MAX, .pd = UINT32_MAX };
        static const int errors[] = { -EINVAL, -ENOMEM, -EIO, -ENOENT, -EOPNOTSUPP, -4095 };
        struct refusal refusal;

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                (void)snprintf(record.name, sizeof record.name, "%s", cases[i].name);
                testing_assert_refusal(
                        dmabuf_explain(&record, -EOPNOTSUPP, &refusal), &refusal, PINLEASE_CODE_NO_DMABUF);
                assert_non_null(strstr(refusal.sentence, cases[i].exporter));
                assert_non_null(strstr(refusal.sentence, cases[i].instead));
        }

        /* The longest there is. */
        memset(record.name, 0, sizeof record.name);
        (void)snprintf(record.name, sizeof record.name, PL_DMABUF_NAME_PREFIX "%0*d", PL_DMABUF_EXPORTER_MAX - 1, 7);
        for (size_t i = 0; i < ELEMENTSOF(errors); i++) {
                int r = dmabuf_explain(&record, errors[i], &refusal);

                testing_assert_refusal(r, &refusal, refusal.code);
        }
}

/* Whoever has no descriptor left is not out of reach of rules about exporters. */
TEST(test_exporter_cannot_be_known) {
        struct pl_register request = make_request(0, PAGE, IOVA, WRITING);
        unsigned int calls, n = 0;
        struct rlimit before, few;
        struct refusal refusal;
        struct dmabuf d;
        struct fixture f;
        int fds[64];

        dmabuf_begin(&f, &d, &request);
        calls = fake->n_calls;
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        few = before;
        few.rlim_cur = 48;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        while ((fds[n] = fcntl(d.fd, F_DUPFD_CLOEXEC, 0)) >= 0)
                n++;
        refusal = dmabuf_refused(&f, &request, &d, PINLEASE_CODE_KERNEL);
        assert_int_equal(refusal.error, EMFILE);
        assert_int_equal(fake->n_calls, calls);
        while (n > 0)
                pl_close(fds[--n]);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        (void)must_dmabuf(&f, &request, &d);
        dmabuf_end(&f, &d);
}

TEST(test_limits) {
        const struct credit_amount limits = { .pinned = 4 * PAGE, .odp = 8 * PAGE, .registrations = 3 };
        struct pl_register request = make_request(0, PAGE, IOVA, WRITING), memory;
        struct pl_register_reply reply[3];
        int fd = testing_memfd(SIZE);
        struct refusal refusal;
        struct dmabuf d;
        struct fixture f;

        dmabuf_open(&d);
        fixture_init(&f, &limits);
        request.context = must_attach(&f, "/dev/null");
        memory = make_request(0, PAGE, testing_free_address(PAGE), WRITING);
        memory.methods = PINLEASE_METHOD_PINNED;

        request.length = 4 * PAGE + 1;
        refusal = dmabuf_refused(&f, &request, &d, PINLEASE_CODE_PINNED_LIMIT);
        assert_null(strstr(refusal.sentence, "ODP"));

        /* One limit for what is pinned and for dma-bufs; the same range is charged once more for each registration. */
        request.length = 2 * PAGE;
        reply[0] = must_dmabuf(&f, &request, &d);
        reply[1] = must_register(&f, &memory, fd);
        assert_int_equal(try_dmabuf(&f, &request, &d, &reply[2], &refusal), REFUSED);
        assert_int_equal(refusal.code, PINLEASE_CODE_PINNED_LIMIT);
        request.length = PAGE;
        reply[2] = must_dmabuf(&f, &request, &d);
        f.state.credit.limits.registrations = f.state.credit.held.registrations = 4;
        refused(&f, &memory, fd, PINLEASE_CODE_PINNED_LIMIT);
        f.state.credit.limits.registrations = f.state.credit.held.registrations = 3;
        must_deregister(&f, reply[0].id);
        reply[0] = must_dmabuf(&f, &request, &d);
        assert_int_equal(try_dmabuf(&f, &request, &d, &(struct pl_register_reply) { 0 }, &refusal), REFUSED);
        assert_int_equal(refusal.code, PINLEASE_CODE_REGISTRATION_LIMIT);
        assert_live(&f, STATS_DMABUF, 2, 2 * PAGE);
        assert_live(&f, STATS_PINNED, 1, PAGE);
        dmabuf_end(&f, &d);
        pl_close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_register), CHECKED(test_iova),        CHECKED(test_refusals),
                CHECKED(test_probe),    CHECKED(test_probe_fails), CHECKED(test_kernel_errors),
                CHECKED(test_words),    CHECKED(test_limits),      CHECKED(test_exporter_cannot_be_known),
        };

        return cmocka_run_group_tests_name("request_dmabuf", tests, NULL, NULL);
}
