/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request_fixture.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>

#include "fake_uverbs.h"
#include "guards.h"
#include "verify.h"

/* A file that is changed while something of it is registered: right before the kernel pins, and right after. */

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

static struct {
        int fd;
        uint8_t *app; /* as the app has mapped it */
        enum fake_instant when;
        void (*what)(void);
} change;

/* ctime is told apart from that of an instant ago on kernels that count it in ticks, too. */
static void await_tick(void) {
        struct timespec before, now;

        assert_int_equal(clock_gettime(CLOCK_REALTIME_COARSE, &before), 0);
        do
                assert_int_equal(clock_gettime(CLOCK_REALTIME_COARSE, &now), 0);
        while (now.tv_sec == before.tv_sec && now.tv_nsec == before.tv_nsec);
}

static void happen(enum fake_instant instant) {
        if (instant != change.when)
                return;
        fake->instant = NULL;
        await_tick();
        change.what();
}

/* --- changes --- */

static void truncate_it(void) {
        assert_int_equal(ftruncate(change.fd, (off_t)PAGE), 0);
}

static void truncate_and_grow(void) {
        truncate_it();
        assert_int_equal(ftruncate(change.fd, (off_t)SIZE), 0);
}

static void refill(void) {
        for (uint64_t at = 0; at < SIZE; at += PAGE)
                change.app[at] = 1;
}

/* As long as before, every page there, nothing to be seen by who compares the two. */
static void truncate_and_refill(void) {
        truncate_and_grow();
        refill();
}

static void punch(uint64_t page) {
        assert_int_equal(
                fallocate(change.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(page * PAGE), (off_t)PAGE), 0);
}

static void punch_last(void) {
        punch(3);
}

static void punch_and_refill(void) {
        punch(3);
        refill();
}

static void punch_beside(void) {
        punch(0);
        punch(4);
}

static void write_to_it(void) {
        assert_int_equal(pwrite(change.fd, "x", 1, (off_t)PAGE), 1);
}

static void touch_it(void) {
        assert_int_equal(fchmod(change.fd, 0600), 0);
}

static void seal_future(void) {
        assert_int_equal(fcntl(change.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
}

/* What is mapped for writing is never sealed like that: the app's mapping is as good as the registrar's. */
static void seal_write(void) {
        assert_int_equal(fcntl(change.fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
        assert_int_equal(errno, EBUSY);
}

static void seal_all_else(void) {
        assert_int_equal(fcntl(change.fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), 0);
}

/* --- of a memfd --- */

#define NONE PINLEASE_CODE_NONE
#define CHANGED PINLEASE_CODE_CHANGED

static void begin(struct fixture *f, int seals) {
        void *p;

        fixture_init(f, &generous);
        change.fd = testing_memfd(SIZE);
        p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, change.fd, 0);
        assert_ptr_not_equal(p, MAP_FAILED);
        change.app = p;
        if (seals)
                assert_int_equal(fcntl(change.fd, F_ADD_SEALS, seals), 0);
}

static void end(struct fixture *f) {
        fake->instant = NULL;
        fixture_done(f);
        assert_int_equal(munmap(change.app, SIZE), 0);
        pl_close(change.fd);
}

static void expect(struct fixture *f, const struct pl_register *request, enum pinlease_code code) {
        fake->instant = happen;
        if (code != NONE) {
                refused(f, request, change.fd, code);
                assert_nothing(f);
        } else
                must_deregister(f, must_register(f, request, change.fd).id);
        fake->instant = NULL;
}

/* Of pages 1 to 3. */
TEST(test_every_change) {
        static const struct {
                void (*what)(void);
                uint32_t access;
                /* Before it is pinned, after; before it is registered by ODP, after. */
                enum pinlease_code codes[4];
        } cases[] = {
                { truncate_it, WRITING, { CHANGED, CHANGED, CHANGED, CHANGED } },
                { truncate_it, READING, { CHANGED, CHANGED, CHANGED, CHANGED } },
                /* What is pinned then is what the file has. ODP follows it in any case. */
                { truncate_and_grow, WRITING, { NONE, CHANGED, NONE, NONE } },
                { truncate_and_refill, WRITING, { NONE, CHANGED, NONE, NONE } },
                { truncate_and_refill, READING, { NONE, CHANGED, NONE, NONE } },
                { punch_last, WRITING, { NONE, CHANGED, NONE, NONE } },
                { punch_and_refill, WRITING, { NONE, CHANGED, NONE, NONE } },
                { punch_and_refill, READING, { NONE, CHANGED, NONE, NONE } },
                /* Not everything that happens to a file is a reason: whoever writes to it all the time would keep it
                   from being registered. */
                { punch_beside, WRITING, { NONE, NONE, NONE, NONE } },
                { write_to_it, WRITING, { NONE, NONE, NONE, NONE } },
                { refill, WRITING, { NONE, NONE, NONE, NONE } },
                { touch_it, WRITING, { NONE, NONE, NONE, NONE } },
                { seal_future, WRITING, { CHANGED, CHANGED, CHANGED, CHANGED } },
                { seal_future, READING, { NONE, NONE, NONE, NONE } },
                { seal_write, WRITING, { NONE, NONE, NONE, NONE } },
                { seal_all_else, WRITING, { NONE, NONE, NONE, NONE } },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                for (unsigned int k = 0; k < 4; k++) {
                        struct pl_register request =
                                make_request(PAGE, 3 * PAGE, testing_free_address(SIZE), cases[i].access);
                        struct fixture f;

                        begin(&f, 0);
                        request.context = must_attach(&f, "/dev/null");
                        request.methods = k < 2 ? PINLEASE_METHOD_PINNED : PINLEASE_METHOD_ODP;
                        change.what = cases[i].what;
                        change.when = k % 2 ? FAKE_WRITTEN : FAKE_BEFORE;
                        expect(&f, &request, cases[i].codes[k]);
                        end(&f);
                }
}

/* The registrar has it mapped already, with all pages: those of another registration, which is not touched. */
TEST(test_warm) {
        static void (*const changes[])(void) = { truncate_and_refill, punch_and_refill, seal_future };

        for (size_t i = 0; i < ELEMENTSOF(changes); i++) {
                struct pl_register request = make_request(0, SIZE, testing_free_address(SIZE), WRITING);
                struct pl_register_reply reply;
                struct fixture f;

                begin(&f, 0);
                request.context = must_attach(&f, "/dev/null");
                request.methods = PINLEASE_METHOD_PINNED;
                reply = must_register(&f, &request, change.fd);
                change.what = changes[i];
                change.when = FAKE_WRITTEN;
                fake->instant = happen;
                refused(&f, &request, change.fd, CHANGED);
                assert_int_equal(fake_live(), 1);
                assert_int_equal(f.state.credit.used.registrations, 1);
                assert_live(&f, STATS_PINNED, 1, SIZE);
                must_deregister(&f, reply.id);
                assert_nothing(&f);
                end(&f);
        }
}

/* No second look at what is sealed: the descriptor is not even touched. */
TEST(test_sealed) {
        struct pl_register request = make_request(0, PAGE, testing_free_address(SIZE), WRITING);
        struct pl_fdclass class = { .kind = PL_FD_SHMEM, .page_size = PAGE, .size = SIZE, .flags = O_RDWR };
        struct verify look = { .fd = -1, .class = &class, .request = &request, .pinned_at = PAGE, .pagemap = -1 };
        struct refusal refusal;

        class.seals = F_SEAL_SHRINK | F_SEAL_SEAL;
        assert_int_equal(verify_registered(&look, &refusal), 0);
        class.seals = F_SEAL_SHRINK;
        testing_assert_refusal(verify_registered(&look, &refusal), &refusal, PINLEASE_CODE_KERNEL);
        request.access = READING;
        assert_int_equal(verify_registered(&look, &refusal), 0);
        class.seals = F_SEAL_GROW | F_SEAL_SEAL;
        testing_assert_refusal(verify_registered(&look, &refusal), &refusal, PINLEASE_CODE_KERNEL);
}

/* A descriptor does not become one of another file; if it did, it would be seen. */
TEST(test_other_file) {
        struct pl_register request = make_request(0, PAGE, testing_free_address(SIZE), READING);
        struct pl_fdclass class, other;
        struct refusal refusal;
        int fd = testing_memfd(SIZE);
        struct verify look = { .fd = fd, .class = &other, .request = &request, .pagemap = -1 };

        assert_int_equal(pl_fdclass_get(fd, &class), 0);
        for (unsigned int i = 0; i < 4; i++) {
                other = class;
                other.inode += i == 1;
                other.dev += i == 2;
                other.dax = i == 3;
                if (i == 0)
                        assert_int_equal(verify_registered(&look, &refusal), 0);
                else
                        testing_assert_refusal(verify_registered(&look, &refusal), &refusal, CHANGED);
        }
        pl_close(fd);
}

/* What is a device no more, or never was one, when it is looked at again. */
TEST(test_device_gone) {
        const struct pl_register request = { .length = 4096, .address = 4096 };
        const struct pl_fdclass class = { .kind = PL_FD_DEVDAX, .size = 2 << 20, .dax = true };
        int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        struct refusal refusal;

        assert_true(fd >= 0);
        testing_assert_refusal(
                verify_registered(&(const struct verify) { .fd = fd, .class = &class, .request = &request, .pagemap = -1 },
                                  &refusal),
                &refusal,
                PINLEASE_CODE_CHANGED);
        pl_close(fd);
}

/* Where nobody tells which pages are mapped (a kernel without CONFIG_PROC_PAGE_MONITOR), the size has to do. */
TEST(test_no_pagemap) {
        struct pl_register request = make_request(0, SIZE, testing_free_address(SIZE), WRITING);
        struct fixture f;

        begin(&f, 0);
        f.state.pagemap = pl_close(f.state.pagemap);
        request.context = must_attach(&f, "/dev/null");
        request.methods = PINLEASE_METHOD_PINNED;
        change.what = write_to_it;
        change.when = FAKE_WRITTEN;
        expect(&f, &request, NONE);
        change.what = truncate_it;
        expect(&f, &request, CHANGED);
        end(&f);
}

/* --- before anything is registered --- */

static int answer_after_change(void *userdata _unused_,
                               const struct credit_amount *need,
                               struct refusal *ret_refusal _unused_) {
        struct fixture *f = userdata;

        change.what();
        f->state.credit.held = f->state.credit.limits;
        assert_true(need->registrations > 0);
        return 0;
}

/* While credit is waited for: what is mapped after that is refused by the kernel, in words that say nothing. */
TEST(test_while_credit_is_waited_for) {
        static const struct {
                void (*what)(void);
                uint16_t method;
                enum pinlease_code code;
        } cases[] = {
                { seal_future, PINLEASE_METHOD_PINNED, CHANGED },
                { seal_future, PINLEASE_METHOD_ODP, CHANGED },
                { truncate_it, PINLEASE_METHOD_PINNED, CHANGED },
                { truncate_it, PINLEASE_METHOD_ODP, CHANGED },
                { truncate_and_grow, PINLEASE_METHOD_PINNED, PINLEASE_CODE_NOT_RESIDENT },
                { truncate_and_refill, PINLEASE_METHOD_PINNED, NONE },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct pl_register request = make_request(PAGE, 3 * PAGE, testing_free_address(SIZE), WRITING);
                struct fixture f;

                begin(&f, 0);
                request.context = must_attach(&f, "/dev/null");
                request.methods = cases[i].method;
                f.state.credit.held = (struct credit_amount) { 0 };
                f.state.credit.ask = answer_after_change;
                f.state.credit.userdata = &f;
                change.what = cases[i].what;
                change.when = FAKE_AFTER;
                expect(&f, &request, cases[i].code);
                end(&f);
        }
}

static void nothing(void *userdata _unused_,
                    struct guarded *file _unused_,
                    const struct guard_report *report _unused_) {
}

static struct guards guards;

/* As changes_elsewhere() does. */
static void break_elsewhere(void) {
        guards.first->change.state = GUARDED_SETTLING;
}

/* Another session's change of the file has come meanwhile: this one has said already that it has nothing of it. */
TEST(test_broken_while_credit_is_waited_for) {
        struct pl_register request = make_request(PAGE, 3 * PAGE, testing_free_address(SIZE), WRITING);
        struct fixture f;

        begin(&f, 0);
        guards_init(&guards, &(const struct guards_config) { .report = nothing, .mappings = &f.state.mappings });
        f.state.guards = &guards;
        request.context = must_attach(&f, "/dev/null");
        f.state.credit.held = (struct credit_amount) { 0 };
        f.state.credit.ask = answer_after_change;
        f.state.credit.userdata = &f;
        change.what = break_elsewhere;
        change.when = FAKE_AFTER;
        expect(&f, &request, PINLEASE_CODE_CHANGING);
        guards.first->change.state = GUARDED_QUIET;
        f.state.credit.held = (struct credit_amount) { 0 };
        change.what = write_to_it;
        expect(&f, &request, NONE);
        guards_done(&guards);
        f.state.guards = NULL;
        end(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_every_change),
                CHECKED(test_warm),
                CHECKED(test_sealed),
                CHECKED(test_other_file),
                CHECKED(test_device_gone),
                CHECKED(test_no_pagemap),
                CHECKED(test_while_credit_is_waited_for),
                CHECKED(test_broken_while_credit_is_waited_for),
        };

        return cmocka_run_group_tests_name("request, changed", tests, NULL, NULL);
}
