/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <poll.h>
#include <infiniband/verbs.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "cleanup.h"
#include "fake_uverbs.h"
#include "testing_policy.h"
#include "request.h"
#include "wraps.h"

#define PAGE     UINT64_C(4096)
#define CAPACITY 64

/* A keeper with two verbs contexts and the ledger of a registrar that is gone. */
struct fixture {
        struct ledger ledger;
        struct cleanup_context contexts[MAX_CONTEXTS];
        void *page;
};

static void fixture_init(struct fixture *f) {
        fake_reset();
        wraps_reset();
        assert_int_equal(ledger_create(CAPACITY, &f->ledger), 0);
        for (size_t i = 0; i < MAX_CONTEXTS; i++)
                f->contexts[i].device = (struct uverbs_device) { .fd = -1 };
        f->contexts[0].device = (struct uverbs_device) { open("/dev/null", O_RDWR | O_CLOEXEC), FAKE_DRIVER_ID };
        f->contexts[3].device = (struct uverbs_device) { open("/dev/zero", O_RDWR | O_CLOEXEC), FAKE_DRIVER_ID };
        assert_true(f->contexts[0].device.fd >= 0 && f->contexts[3].device.fd >= 0);
        f->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(f->page, MAP_FAILED);
}

static void fixture_done(struct fixture *f) {
        pl_close(f->contexts[0].device.fd);
        pl_close(f->contexts[3].device.fd);
        assert_int_equal(munmap(f->page, PAGE), 0);
        ledger_done(&f->ledger);
}

static struct ledger_entry *intend(struct fixture *f, uint32_t index, uint32_t context) {
        return ledger_intent(&f->ledger,
                             index,
                             &(struct ledger_record) {
                                     .id = index + 1,
                                     .start = (uintptr_t)f->page,
                                     .iova = (uintptr_t)f->page,
                                     .length = PAGE,
                                     .context = context,
                             });
}

/* The registrar's ioctl: by the ledger's own record, into the ledger's own entry. */
static void reg(struct fixture *f, struct ledger_entry *entry) {
        const struct ledger_record *record = &entry->record;

        assert_int_equal(fake_ops.reg_mr(&f->contexts[record->context].device,
                                         record->pd,
                                         record->start,
                                         record->length,
                                         record->iova,
                                         record->access,
                                         &entry->response),
                         0);
}

static void clean(struct fixture *f, unsigned int destroyed, unsigned int foreign, unsigned int kept) {
        struct force force = { .uverbs = &fake_ops };
        struct cleanup_result result = cleanup_ledger(&f->ledger, &force, f->contexts, MAX_CONTEXTS);

        assert_int_equal(result.destroyed, destroyed);
        assert_int_equal(result.foreign, foreign);
        assert_int_equal(result.kept, kept);
}

/* Every instant of a registration's life, by hand. */

TEST(test_nothing) {
        struct fixture f;

        fixture_init(&f);
        clean(&f, 0, 0, 0);
        assert_int_equal(fake->n_calls, 0);
        fixture_done(&f);
}

TEST(test_intent_before_ioctl) {
        struct fixture f;

        fixture_init(&f);
        fake_app_reg(f.contexts[0].device.fd, PAGE, (uintptr_t)f.page);
        intend(&f, 0, 0);
        clean(&f, 0, 0, 0);
        /* A handle of all ones is no handle: nothing is asked of the kernel. */
        assert_int_equal(fake->n_calls, 0);
        fixture_done(&f);
}

TEST(test_intent_after_ioctl) {
        struct fixture f;

        fixture_init(&f);
        reg(&f, intend(&f, 0, 0));
        assert_non_null(fake_find(f.contexts[0].device.fd, 0));
        clean(&f, 1, 0, 0);
        assert_int_equal(fake_live(), 0);
        fixture_done(&f);
}

TEST(test_live) {
        struct fixture f;

        fixture_init(&f);
        for (uint32_t i = 0; i < CAPACITY; i++) {
                struct ledger_entry *entry = intend(&f, i, i % 2 ? 3 : 0);

                reg(&f, entry);
                ledger_live(entry);
                if (i % 3 == 0)
                        ledger_revoking(entry);
        }
        clean(&f, CAPACITY, 0, 0);
        assert_int_equal(fake_live(), 0);

        /* Once more is harmless: a keeper whose registrar was stuck cleans twice. */
        clean(&f, 0, CAPACITY, 0);
        fixture_done(&f);
}

TEST(test_retiring) {
        struct ledger_entry *before, *after;
        struct fixture f;

        fixture_init(&f);
        before = intend(&f, 0, 0);
        reg(&f, before);
        after = intend(&f, 1, 0);
        reg(&f, after);
        ledger_retiring(before);
        ledger_retiring(after);
        assert_int_equal(fake_ops.dereg_mr(&f.contexts[0].device, after->response.handle), 0);
        clean(&f, 1, 1, 0);
        assert_int_equal(fake_live(), 0);
        fixture_done(&f);
}

TEST(test_freed) {
        struct ledger_entry *entry;
        struct fixture f;

        fixture_init(&f);
        entry = intend(&f, 0, 0);
        reg(&f, entry);
        ledger_retiring(entry);
        assert_int_equal(fake_ops.dereg_mr(&f.contexts[0].device, entry->response.handle), 0);
        ledger_free(entry);
        fake_app_reg(f.contexts[0].device.fd, PAGE, (uintptr_t)f.page);
        clean(&f, 0, 0, 0);
        assert_true(fake->mrs[0].live);
        fixture_done(&f);
}

/* A handle is used again at once by what the app registers itself; any of rkey, length and iova tells. */
TEST(test_handle_used_again) {
        for (unsigned int what = 0; what < 4; what++)
                for (int state = LEDGER_INTENT; state < N_LEDGER_STATES; state++) {
                        struct ledger_entry *entry;
                        struct fake_mr *theirs;
                        struct fixture f;

                        fixture_init(&f);
                        entry = intend(&f, 0, 0);
                        reg(&f, entry);
                        atomic_store(&entry->state, (uint32_t)state);
                        fake_app_dereg(f.contexts[0].device.fd, entry->response.handle);
                        theirs = fake_app_reg(f.contexts[0].device.fd,
                                              what == 0 ? PAGE + 1 : PAGE,
                                              (uintptr_t)f.page + (what == 1 ? PAGE : 0));
                        assert_int_equal(theirs->handle, entry->response.handle);
                        if (what < 2) /* a key that happens to be the same again */
                                theirs->rkey = entry->response.rkey;
                        clean(&f, 0, 1, 0);
                        assert_true(theirs->live);
                        fixture_done(&f);
                }
}

TEST(test_busy_passes) {
        struct fixture f;

        fixture_init(&f);
        reg(&f, intend(&f, 0, 0));
        fake->n_busy = 100;
        clean(&f, 1, 0, 0);
        assert_int_equal(wraps_n_sleeps, 100);
        assert_int_equal(fake_live(), 0);
        fixture_done(&f);
}

/* What cannot be destroyed holds nothing else up. */
TEST(test_kept) {
        static const int errors[] = { -EBUSY, -EINVAL, -EPERM };

        for (size_t i = 0; i < ELEMENTSOF(errors); i++) {
                struct fixture f;

                fixture_init(&f);
                reg(&f, intend(&f, 0, 0));
                reg(&f, intend(&f, 1, 3));
                fake->dereg_error = errors[i];
                clean(&f, 0, 0, 2);
                assert_int_equal(fake_live(), 2);
                fake->dereg_error = 0;
                fake->query_error = errors[i];
                clean(&f, 0, 0, 2);
                fake->query_error = 0;
                clean(&f, 2, 0, 0);
                fixture_done(&f);
        }
}

/* Between the query and the deregistration the app may have been quicker. */
TEST(test_gone_between) {
        struct fixture f;

        fixture_init(&f);
        reg(&f, intend(&f, 0, 0));
        fake->dereg_error = -ENOENT;
        clean(&f, 0, 1, 0);
        fake->dereg_error = -EIO;
        clean(&f, 0, 1, 0);
        fixture_done(&f);
}

TEST(test_not_attached) {
        struct ledger_entry *entry;
        struct fixture f;

        fixture_init(&f);
        entry = intend(&f, 0, 0);
        reg(&f, entry);
        /* The same handle on a context that the keeper does not have, and on one that cannot exist. */
        for (uint32_t context = 1; context < 1000; context = context == 1 ? 2 : context * 7) {
                if (context == 3)
                        continue;
                entry->record.context = context;
                clean(&f, 0, 0, 0);
        }
        entry->record.context = UINT32_MAX;
        clean(&f, 0, 0, 0);
        assert_int_equal(fake_live(), 1);

        /* On the other context the handle is nobody's. */
        entry->record.context = 3;
        clean(&f, 0, 1, 0);
        entry->record.context = 0;
        clean(&f, 1, 0, 0);
        fixture_done(&f);
}

/* A registrar that was taken over may have written anything. At the worst its own MRs stay. */
TEST(test_hostile) {
        struct testing_random random;
        unsigned int rounds = testing_rounds(200);

        testing_seed(&random, "hostile ledger");
        for (unsigned int round = 0; round < rounds; round++) {
                struct fixture f;

                fixture_init(&f);
                for (unsigned int i = 0; i < 8; i++)
                        fake_app_reg(f.contexts[i % 2 ? 0 : 3].device.fd, PAGE, (uintptr_t)f.page);
                for (size_t i = 0; i < f.ledger.size; i++)
                        ((uint8_t *)f.ledger.header)[i] = (uint8_t)testing_random(&random);
                for (uint32_t i = 0; i < CAPACITY; i++) {
                        struct ledger_entry *entry = f.ledger.entries + i;

                        if (testing_below(&random, 4))
                                atomic_store(&entry->state, testing_below(&random, 5));
                        if (testing_below(&random, 4))
                                entry->record.context = testing_below(&random, 5);
                        if (testing_below(&random, 4))
                                entry->response.handle = testing_below(&random, 5);
                }
                atomic_store(&f.ledger.header->high_water, UINT32_MAX);
                (void)cleanup_ledger(&f.ledger, &(struct force) { .uverbs = &fake_ops }, f.contexts, MAX_CONTEXTS);
                /* Guessing rkey, length and iova of the app's own MR is the one thing that would destroy it. */
                for (unsigned int i = 0; i < 8; i++)
                        assert_true(fake->mrs[i].live);
                fixture_done(&f);
        }
}

/*
 * A real registrar's work in a process of its own, which dies; then the keeper's part. The app churns registrations of
 * its own on the same context meanwhile, and takes some of ours away, so that handles change hands.
 */

static struct {
        unsigned int countdown; /* instants left to live; 0: for ever */
} doom;

static void step(enum fake_instant instant) {
        (void)instant;
        if (doom.countdown > 0 && --doom.countdown == 0)
                _exit(0);
}

static void app_churns(const struct fixture *f, struct testing_random *random) {
        int fd = f->contexts[testing_below(random, 2) ? 0 : 3].device.fd;
        const struct fake_mr *mr = fake->mrs + testing_below(random, 40);

        if (testing_below(random, 2))
                (void)fake_app_reg(fd, PAGE, (uintptr_t)f->page);
        else if (mr->live && (mr->foreign || testing_below(random, 4) == 0)) {
                fd = fake_find(fd, mr->handle) == mr ? fd : f->contexts[fd == f->contexts[0].device.fd ? 3 : 0].device.fd;
                fake_app_dereg(fd, mr->handle);
        }
}

static _Noreturn void be_registrar(const struct fixture *f, struct testing_random *random, int memory) {
        const struct credit_amount limits = { .pinned = 1 << 20, .odp = 1 << 20, .registrations = 24 };
        struct ledger ledger = f->ledger;
        struct registrar_state state;
        struct pl_fdclass class, dmabuf;
        uint64_t ids[24];
        unsigned int n = 0;

        (void)pl_fdclass_get(memory, &class);
        dmabuf = class;
        dmabuf.kind = PL_FD_DMABUF;
        fake->sets_none = testing_below(random, 2);
        state_init(&state, &fake_ops, &ledger, &limits);
        state.policy = testing_policy();
        for (size_t i = 0; i < MAX_CONTEXTS; i++)
                state.contexts[i] = (struct context) { .device = f->contexts[i].device, .methods = PINLEASE_METHOD_ANY };
        fake->instant = step;

        for (;;) {
                struct pl_register request = {
                        .context = testing_below(random, 2) ? 0 : 3,
                        .length = 1 + testing_below(random, PAGE),
                        .address = (uintptr_t)f->page,
                        .access = IBV_ACCESS_REMOTE_READ,
                        .methods = (uint16_t)(1 + testing_below(random, 3)),
                };
                bool is_dmabuf = testing_below(random, 3) == 0;
                struct pl_register_reply reply;
                struct refusal refusal;

                if (is_dmabuf)
                        request.methods = PINLEASE_METHOD_ANY;
                step(FAKE_BEFORE);
                if (fake_live() < 40 && testing_below(random, 3) == 0)
                        app_churns(f, random);
                else if (n > 0 && testing_below(random, 2)) {
                        unsigned int k = testing_below(random, n);

                        if (request_deregister(&state, ids[k], &refusal) == 0)
                                ids[k] = ids[--n];
                } else if (request_register(&state, &request, memory, is_dmabuf ? &dmabuf : &class, &reply, &refusal) == 0)
                        ids[n++] = reply.id;

                /* Room in the fake's table is limited: the app is not to fill it. */
                for (size_t i = 40; i < FAKE_MAX_MRS; i++)
                        if (fake->mrs[i].live && fake->mrs[i].foreign)
                                fake->mrs[i].live = false;
        }
}

static void keeper_after(struct fixture *f, struct cleanup_result *total) {
        struct fake_mr before[FAKE_MAX_MRS];
        struct force force = { .uverbs = &fake_ops };
        struct cleanup_result result;

        fake->instant = NULL;
        memcpy(before, fake->mrs, sizeof before);
        result = cleanup_ledger(&f->ledger, &force, f->contexts, MAX_CONTEXTS);
        total->destroyed += result.destroyed;
        total->foreign += result.foreign;
        assert_int_equal(result.kept, 0);
        assert_int_equal(fake_live(), 0);
        for (size_t i = 0; i < FAKE_MAX_MRS; i++)
                if (before[i].live && before[i].foreign)
                        assert_memory_equal(before + i, fake->mrs + i, sizeof before[i]);
}

TEST(test_model_instants) {
        unsigned int rounds = testing_rounds(400);
        struct testing_random random;
        struct cleanup_result total = { 0 };
        int memory = testing_memfd(PAGE);

        testing_seed(&random, "registrar dies");
        for (unsigned int round = 0; round < rounds; round++) {
                struct fixture f;
                pid_t pid;

                fixture_init(&f);
                doom.countdown = 1 + testing_below(&random, 200);
                pid = testing_fork();
                if (pid == 0)
                        be_registrar(&f, &random, memory);
                (void)testing_random(&random);
                assert_int_equal(testing_wait_child(pid), 0);
                keeper_after(&f, &total);
                fixture_done(&f);
        }
        print_message("%u destroyed, %u left alone\n", total.destroyed, total.foreign);
        /* Else the rounds have shown nothing. */
        assert_true(total.destroyed > 0 && total.foreign > 0);
        pl_close(memory);
}

/* The same with SIGKILL, which comes between any two instructions. */
TEST(test_model_sigkill) {
        unsigned int rounds = testing_rounds(200);
        struct testing_random random;
        struct cleanup_result total = { 0 };
        int memory = testing_memfd(PAGE);

        testing_seed(&random, "registrar is killed");
        for (unsigned int round = 0; round < rounds; round++) {
                unsigned int calls = testing_below(&random, 300);
                struct fixture f;
                int status;
                pid_t pid;

                fixture_init(&f);
                doom.countdown = 0;
                pid = testing_fork();
                if (pid == 0)
                        be_registrar(&f, &random, memory);
                (void)testing_random(&random);
                while (*(volatile unsigned int *)&fake->n_calls < calls)
                        (void)poll(NULL, 0, 0);
                assert_int_equal(kill(pid, SIGKILL), 0);
                status = testing_wait_child(pid);
                assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
                keeper_after(&f, &total);
                fixture_done(&f);
        }
        print_message("%u destroyed, %u left alone\n", total.destroyed, total.foreign);
        /* Else the rounds have shown nothing. */
        assert_true(total.destroyed > 0 && total.foreign > 0);
        pl_close(memory);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_nothing),
                CHECKED(test_intent_before_ioctl),
                CHECKED(test_intent_after_ioctl),
                CHECKED(test_live),
                CHECKED(test_retiring),
                CHECKED(test_freed),
                CHECKED(test_handle_used_again),
                CHECKED(test_busy_passes),
                CHECKED(test_kept),
                CHECKED(test_gone_between),
                CHECKED(test_not_attached),
                CHECKED(test_hostile),
                CHECKED(test_model_instants),
                CHECKED(test_model_sigkill),
        };

        return cmocka_run_group_tests_name("cleanup", tests, NULL, NULL);
}
