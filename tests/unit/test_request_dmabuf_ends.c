/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request_fixture.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "fake_uverbs.h"
#include "wraps.h"

/* Dma-bufs: what happens to a registration, whatever fails, and what is found when the registrar is gone. */

/* No guard knows anything of it, so none can be insisted on; and no descriptor is kept for one. */
TEST(test_guards) {
        struct pl_register request = make_request(0, PAGE, IOVA, WRITING);
        struct pl_register_reply reply;
        struct guards guards;
        unsigned int fds;
        struct dmabuf d;
        struct fixture f;

        dmabuf_open(&d);
        fixture_init(&f, &generous);
        guards_init(&guards, &(const struct guards_config) { 0 });
        f.state.guards = &guards;
        request.context = must_attach(&f, "/dev/null");
        fds = testing_count_fds(0);
        reply = must_dmabuf(&f, &request, &d);
        assert_int_equal(testing_count_fds(0), fds);
        assert_int_equal(pl_guards_held(reply.guards), 0);
        for (unsigned int i = 0; i < N_GUARDS; i++)
                assert_int_equal(pl_guard_reason(reply.guards, i), PINLEASE_GUARD_NOT_FOR_THIS);
        must_deregister(&f, reply.id);

        for (unsigned int i = 0; i < N_GUARDS; i++) {
                struct refusal refusal;

                request.guards = (uint8_t)(1U << i);
                refusal = dmabuf_refused(&f, &request, &d, PINLEASE_CODE_NO_GUARD);
                assert_int_equal(refusal.error, EBUSY);
        }
        assert_int_equal(testing_count_fds(0), fds);
        assert_int_equal(state_done(&f.state), 0);
        f.state.guards = NULL;
        guards_done(&guards);
        assert_nothing(&f);
        ledger_done(&f.keeper);
        pl_close(d.fd);
}

static int shrinks;
static void shrink(enum fake_instant instant) {
        if (instant == FAKE_WRITTEN)
                assert_int_equal(ftruncate(shrinks, 0), 0);
}

/* It cannot be other memory than before, and there is no telling by its descriptor: there is no second look. */
TEST(test_no_second_look) {
        struct pl_register request = make_request(0, PAGE, IOVA, WRITING);
        struct dmabuf d;
        struct fixture f;

        dmabuf_begin(&f, &d, &request);
        shrinks = d.fd;
        fake->instant = shrink;
        must_deregister(&f, must_dmabuf(&f, &request, &d).id);
        fake->instant = NULL;
        dmabuf_end(&f, &d);
}

/* Two contexts, one of which goes with all that is registered on it, of whatever kind. */
TEST(test_detach) {
        struct pl_register request = make_request(0, PAGE, IOVA, WRITING), memory;
        int fd = testing_memfd(SIZE);
        struct refusal refusal;
        uint32_t null, zero;
        struct dmabuf d;
        struct fixture f;

        dmabuf_open(&d);
        fixture_init(&f, &generous);
        null = must_attach(&f, "/dev/null");
        zero = must_attach(&f, "/dev/zero");
        memory = make_request(0, PAGE, testing_free_address(PAGE), WRITING);
        for (unsigned int i = 0; i < 5; i++) {
                request.context = memory.context = null;
                (void)must_dmabuf(&f, &request, &d);
                (void)must_register(&f, &memory, fd);
                request.context = zero;
                (void)must_dmabuf(&f, &request, &d);
        }
        assert_int_equal(request_detach(&f.state, null, &refusal), 0);
        assert_int_equal(fake_live(), 5);
        assert_live(&f, STATS_DMABUF, 5, 5 * PAGE);
        assert_int_equal(f.state.credit.used.pinned, 5 * PAGE);
        dmabuf_end(&f, &d);
        pl_close(fd);
}

/* Drivers that leave length and iova 0 in what QUERY_MR answers: it is ours all the same, by its key. */
TEST(test_driver_sets_none) {
        struct pl_register request = make_request(PAGE, PAGE, IOVA, WRITING);
        struct dmabuf d;
        struct fixture f;

        dmabuf_begin(&f, &d, &request);
        fake->sets_none = true;
        must_deregister(&f, must_dmabuf(&f, &request, &d).id);
        assert_nothing(&f);
        (void)must_dmabuf(&f, &request, &d);
        dmabuf_end(&f, &d);
}

/* The app has taken it away and its handle is used again: by a key of its own, or by other memory with the same key. */
TEST(test_foreign) {
        static const struct {
                bool same_key;
                uint64_t length, iova;
        } theirs[] = {
                { false, PAGE, IOVA },       { false, 0, 0 },   { true, 2 * PAGE, IOVA },
                { true, PAGE, IOVA + PAGE }, { true, 0, PAGE }, { true, PAGE + 1, 0 },
        };
        struct pl_register request = make_request(0, PAGE, IOVA, WRITING);
        struct dmabuf d;
        struct fixture f;

        dmabuf_begin(&f, &d, &request);
        for (size_t i = 0; i < ELEMENTSOF(theirs); i++) {
                struct pl_register_reply reply = must_dmabuf(&f, &request, &d);
                int device = f.state.contexts[request.context].device.fd;
                struct fake_mr *mr;

                fake_app_dereg(device, reply.handle);
                mr = fake_app_reg(device, theirs[i].length, theirs[i].iova);
                assert_int_equal(mr->handle, reply.handle);
                if (theirs[i].same_key)
                        mr->rkey = reply.rkey;
                must_deregister(&f, reply.id);
                assert_true(mr->live);
                assert_nothing(&f);
                fake_app_dereg(device, reply.handle);
        }
        /* For other memory a 0 is no excuse. */
        {
                struct ledger_record record = { .length = PAGE, .iova = IOVA, .method = PINLEASE_METHOD_PINNED };
                const struct uverbs_device *device = &f.state.contexts[request.context].device;
                const struct fake_mr *mr = fake_app_reg(device->fd, 0, 0);
                const struct uverbs_mr_keys keys = { mr->handle, mr->lkey, mr->rkey };
                const struct uverbs_mr_keys local = { mr->handle, mr->lkey + 1, mr->rkey };
                const struct uverbs_mr_keys remote = { mr->handle, mr->lkey, mr->rkey + 1 };

                assert_int_equal(mr_try(&fake_ops, device, &record, &keys), MR_FOREIGN);
                assert_true(mr->live);
                record.method = PINLEASE_METHOD_DMABUF;
                /* A driver may give one key of the two to everything. */
                assert_int_equal(mr_try(&fake_ops, device, &record, &local), MR_FOREIGN);
                assert_int_equal(mr_try(&fake_ops, device, &record, &remote), MR_FOREIGN);
                assert_true(mr->live);
                assert_int_equal(mr_try(&fake_ops, device, &record, &keys), MR_DESTROYED);
                assert_false(mr->live);
        }
        dmabuf_end(&f, &d);
}

/* What the kernel keeps stays registered, in every book, until it lets go; by force the windows are taken away. */
TEST(test_kept) {
        struct pl_register request = make_request(0, PAGE, IOVA, WRITING);
        struct pl_register_reply reply;
        struct refusal refusal;
        struct dmabuf d;
        struct fixture f;

        dmabuf_begin(&f, &d, &request);
        reply = must_dmabuf(&f, &request, &d);
        fake->dereg_error = -EINVAL;
        testing_assert_refusal(request_deregister(&f.state, reply.id, &refusal), &refusal, PINLEASE_CODE_BUSY);
        assert_live(&f, STATS_DMABUF, 1, PAGE);
        assert_int_equal(f.state.credit.used.pinned, PAGE);
        assert_int_equal(fake_live(), 1);
        fake->dereg_error = 0;
        must_deregister(&f, reply.id);

        for (unsigned int none = 0; none < 2; none++) {
                struct force force = { .uverbs = &fake_ops };
                struct ledger_record record;
                struct uverbs_mr_keys keys;
                enum ledger_state state;

                fake->sets_none = none;
                reply = must_dmabuf(&f, &request, &d);
                assert_true(ledger_read(&f.keeper, (uint32_t)reply.id, &state, &record, &keys));
                fake->n_windows = 3;
                fake->n_freed = 0;
                assert_int_equal(force_mr(&force, &f.state.contexts[request.context].device, &record, &keys),
                                 MR_DESTROYED);
                force_end(&force);
                assert_int_equal(fake->n_freed, 3);
                must_deregister(&f, reply.id);
        }
        dmabuf_end(&f, &d);
}

/* --- whatever fails -------------------------------------------------------------------------------------------------
 */

static void live(struct fixture *f, const struct dmabuf *d) {
        struct pl_register request = make_request(0, 2 * PAGE, IOVA, WRITING);
        struct pl_register_reply reply;
        struct refusal refusal;
        uint64_t ids[8] = { 0 };
        size_t n = 0;

        for (unsigned int context = 0; context < 2; context++) {
                if (try_attach(f, context ? "/dev/zero" : "/dev/null", &request.context, &refusal) < 0)
                        continue;
                for (unsigned int i = 0; i < 4; i++)
                        if (try_dmabuf(f, &request, d, &reply, &refusal) == 0)
                                ids[n++] = reply.id;
        }
        for (size_t i = 0; i < n; i += 2)
                (void)request_deregister(&f->state, ids[i], &refusal);
        (void)request_detach(&f->state, 0, &refusal);
}

TEST(test_fail_every_call) {
        static const int errors[] = { -ENOMEM, -EINVAL, -EPERM, -EFAULT, -EOPNOTSUPP, -EBUSY };
        struct dmabuf d;

        dmabuf_open(&d);
        for (size_t e = 0; e < ELEMENTSOF(errors); e++) {
                unsigned int n_calls = 1;

                for (unsigned int n = 1; n <= n_calls; n++) {
                        struct fixture f;

                        fixture_init(&f, &generous);
                        fake->fail_at = n;
                        fake->fail_error = errors[e];
                        live(&f, &d);
                        n_calls = fake->n_calls;
                        fake->fail_at = 0;
                        fixture_done(&f);
                }
                assert_in_range(n_calls, 15, 100);
        }
        pl_close(d.fd);
}

TEST(test_fail_every_allocation) {
        unsigned int n_failed = 0;
        struct dmabuf d;

        dmabuf_open(&d);
        for (unsigned int n = 1; n == n_failed + 1; n++) {
                struct fixture f;

                fixture_init(&f, &generous);
                wraps_fail_at = n;
                live(&f, &d);
                if (wraps_n_allocations >= n)
                        n_failed = n;
                wraps_fail_at = 0;
                fixture_done(&f);
        }
        assert_in_range(n_failed, 1, 1000);
        pl_close(d.fd);
}

/* --- the registrar dies ---------------------------------------------------------------------------------------------
 */

static enum fake_instant deadly;
static void die(enum fake_instant instant) {
        if (instant == deadly)
                _exit(0);
}

/* In a process of its own, which dies at that instant of a registration. */
static void registrar_dies(struct fixture *f,
                           const struct pl_register *request,
                           const struct dmabuf *d,
                           enum fake_instant instant) {
        pid_t pid = testing_fork();

        if (pid == 0) {
                struct pl_register_reply reply;
                struct refusal refusal;

                deadly = instant;
                fake->instant = die;
                (void)try_dmabuf(f, request, d, &reply, &refusal);
                _exit(1);
        }
        assert_int_equal(testing_wait_child(pid), 0);
        fake->instant = NULL;
}

static void keeper(struct fixture *f, unsigned int destroyed, unsigned int foreign) {
        struct cleanup_context contexts[MAX_CONTEXTS];
        struct cleanup_result result;

        memset(contexts, 0, sizeof contexts);
        for (size_t i = 0; i < MAX_CONTEXTS; i++)
                contexts[i].device = f->state.contexts[i].device;
        result = cleanup_ledger(&f->keeper, &(struct force) { .uverbs = &fake_ops }, contexts, MAX_CONTEXTS);
        assert_int_equal(result.destroyed, destroyed);
        assert_int_equal(result.foreign, foreign);
        assert_int_equal(result.kept, 0);
        for (uint32_t i = 0; i < CAPACITY; i++)
                if (atomic_load(&f->keeper.entries[i].state) != LEDGER_FREE)
                        ledger_free(f->state.ledger.entries + i);
}

/* The MR is there, its handle only in the command. */
TEST(test_dies_with_the_answer) {
        struct pl_register request = make_request(0, PAGE, IOVA, WRITING);
        struct dmabuf d;
        struct fixture f;

        dmabuf_open(&d);
        for (unsigned int none = 0; none < 2; none++) {
                struct uverbs_mr_keys keys;
                struct ledger_record record;
                enum ledger_state state;
                struct fake_mr *app;

                fixture_init(&f, &generous);
                fake->sets_none = none;
                request.context = must_attach(&f, "/dev/null");
                app = fake_app_reg(f.state.contexts[request.context].device.fd, PAGE, IOVA); /* takes handle 0 */
                registrar_dies(&f, &request, &d, FAKE_WRITTEN);
                assert_int_equal(fake_live(), 1);
                assert_int_equal(f.keeper.entries[0].response.handle, LEDGER_NO_HANDLE);
                assert_true(ledger_read(&f.keeper, 0, &state, &record, &keys));
                assert_int_equal(state, LEDGER_INTENT);
                assert_int_equal(keys.handle, 1);
                assert_int_equal(keys.rkey, fake->last.rkey);
                keeper(&f, 1, 0);
                assert_int_equal(fake_live(), 0);
                assert_true(app->live);
                fixture_done(&f);
        }
        pl_close(d.fd);
}

/* Nothing is there, and the command is that of the registration before, whose handle is the app's by now. */
TEST(test_dies_before) {
        struct pl_register request = make_request(0, PAGE, IOVA, WRITING);
        struct pl_register_reply before;
        struct dmabuf d;
        struct fixture f;
        struct fake_mr *app;

        dmabuf_begin(&f, &d, &request);
        before = must_dmabuf(&f, &request, &d);
        must_deregister(&f, before.id);
        app = fake_app_reg(f.state.contexts[request.context].device.fd, PAGE, IOVA);
        assert_int_equal(app->handle, before.handle);
        assert_int_equal(uverbs_command_handle(&f.keeper.header->command), before.handle);
        registrar_dies(&f, &request, &d, FAKE_BEFORE);
        assert_int_equal(used_entries(&f.keeper), 1);
        keeper(&f, 0, 0);
        assert_true(app->live);
        dmabuf_end(&f, &d);
}

/* It wrote keys of its own invention over the stale command: the app's MR has another. */
TEST(test_stale_command) {
        struct pl_register request = make_request(0, PAGE, IOVA, WRITING);
        struct pl_register_reply before;
        struct fake_mr *app;
        struct dmabuf d;
        struct fixture f;

        dmabuf_begin(&f, &d, &request);
        before = must_dmabuf(&f, &request, &d);
        must_deregister(&f, before.id);
        app = fake_app_reg(f.state.contexts[request.context].device.fd, PAGE, IOVA);
        assert_int_equal(app->handle, before.handle);
        registrar_dies(&f, &request, &d, FAKE_BEFORE);
        f.state.ledger.entries[0].response.lkey = before.lkey;
        f.state.ledger.entries[0].response.rkey = before.rkey;
        assert_int_not_equal(app->rkey, before.rkey);
        keeper(&f, 0, 1);
        assert_true(app->live);
        dmabuf_end(&f, &d);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_guards),
                CHECKED(test_no_second_look),
                CHECKED(test_detach),
                CHECKED(test_driver_sets_none),
                CHECKED(test_foreign),
                CHECKED(test_kept),
                CHECKED(test_fail_every_call),
                CHECKED(test_fail_every_allocation),
                CHECKED(test_dies_with_the_answer),
                CHECKED(test_dies_before),
                CHECKED(test_stale_command),
        };

        return cmocka_run_group_tests_name("request_dmabuf_ends", tests, NULL, NULL);
}
