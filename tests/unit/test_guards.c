/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* The table of files and guards, with guards that do nothing. */

#include "testing.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/resource.h>

#include "guards.h"
#include "wraps.h"

static struct guards guards;
static unsigned int n_armed, n_disarmed, n_looked, n_lost, n_back;
static enum pinlease_guard_reason answer;

static int fake_arm(struct guards *g _unused_, struct guarded *file) {
        n_armed++;
        return file->fd < 0 ? guard_without_fd(file) : (int)answer;
}
static void fake_disarm(struct guards *g _unused_, struct guarded *file _unused_) {
        n_disarmed++;
}
static int fake_look(struct guards *g _unused_, struct guarded *file _unused_) {
        n_looked++;
        return (int)answer;
}
static int no_arm(struct guards *g _unused_, struct guarded *file _unused_) {
        return PINLEASE_GUARD_NOT_FOR_THIS;
}

static const struct guard_ops none = { .name = "none", .arm = no_arm };
static const struct guard_ops fake = { .name = "fake", .arm = fake_arm, .disarm = fake_disarm, .look = fake_look };
static const struct guard_ops *const table[N_GUARDS] = {
        [GUARD_SEALS] = &none, [GUARD_LEASE] = &fake, [GUARD_MODIFY] = &none, [GUARD_POISON] = &none,
};

static void report(void *userdata _unused_, struct guarded *file _unused_, const struct guard_report *report) {
        n_lost += report->kind == GUARD_LOST;
        n_back += report->kind == GUARD_BACK;
}

static void begin(void) {
        wraps_reset();
        n_armed = n_disarmed = n_looked = n_lost = n_back = 0;
        answer = PINLEASE_GUARD_HOLDS;
        guards_init(&guards, &(const struct guards_config) { .report = report });
        guards.ops = table;
}

static struct guarded *get(int fd) {
        struct pl_fdclass class;
        struct guarded *file;

        assert_int_equal(pl_fdclass_get(fd, &class), 0);
        assert_int_equal(guards_get(&guards, fd, &class, &file), 0);
        assert_ptr_equal(guards_find(&guards, class.dev, class.inode), file);
        return file;
}

static void pass(unsigned int ms) {
        uint64_t due;

        wraps_clock->jumped_ms += ms;
        while ((due = guards_due(&guards)) && due <= pl_now_ms())
                assert_int_equal(guards_work(&guards), 0);
}

TEST(test_lingers) {
        unsigned int fds = testing_count_fds(0);
        int fd = testing_memfd(4096);
        struct guarded *file;

        begin();
        file = get(fd);
        assert_ptr_equal(get(fd), file);
        assert_int_equal(n_armed, 1);
        (void)guards_put(&guards, file);
        (void)guards_put(&guards, file);

        /* Whoever registers it again and again arms it once. */
        for (unsigned int i = 0; i < 10; i++) {
                pass(GUARDS_LINGER_MS - 1);
                assert_ptr_equal(get(fd), file);
                (void)guards_put(&guards, file);
        }
        assert_int_equal(n_armed, 1);
        assert_int_equal(n_disarmed, 0);
        pl_close(fd);
        assert_int_equal(testing_count_fds(0), fds + 1);
        pass(GUARDS_LINGER_MS);
        assert_int_equal(n_disarmed, 1);
        assert_int_equal(testing_count_fds(0), fds);
        assert_int_equal(guards_due(&guards), 0);
        guards_done(&guards);
}

/* What could not be had is tried again with the next first registration, and by looking. */
TEST(test_tries_again) {
        int fd = testing_memfd(4096);
        struct guarded *file;

        begin();
        answer = PINLEASE_GUARD_OPEN_ELSEWHERE;
        file = get(fd);
        assert_int_equal(pl_guard_reason(file->guards, GUARD_LEASE), PINLEASE_GUARD_OPEN_ELSEWHERE);
        (void)guards_put(&guards, file);
        answer = PINLEASE_GUARD_HOLDS;
        (void)get(fd);
        assert_int_equal(pl_guards_held(file->guards), PINLEASE_GUARD_LEASE);
        assert_int_equal(n_armed, 2);

        answer = PINLEASE_GUARD_READER;
        pass(GUARDS_LOOK_MS);
        assert_int_equal(n_lost, 1);
        pass(GUARDS_LOOK_MS);
        assert_int_equal(n_looked, 2);
        assert_int_equal(n_lost, 1);
        answer = PINLEASE_GUARD_HOLDS;
        pass(GUARDS_LOOK_MS);
        assert_int_equal(n_back, 1);
        (void)guards_put(&guards, file);
        guards_done(&guards);
        assert_int_equal(n_disarmed, 1);
        pl_close(fd);
}

/* Real guards: nothing to guard, so nothing is kept open, however long the memory stays registered; and that is no lack of
 * resources. */
TEST(test_dmabuf) {
        int fd = testing_memfd(4096);
        unsigned int fds = testing_count_fds(0);
        struct pl_fdclass class;
        struct guarded *file;

        begin();
        guards_init(&guards, &(const struct guards_config) { .report = report });
        assert_int_equal(pl_fdclass_get(fd, &class), 0);
        class = (struct pl_fdclass) {
                .kind = PL_FD_DMABUF,
                .flags = O_RDWR,
                .page_size = 4096,
                .size = 4096,
                .dev = class.dev,
                .inode = class.inode,
        };
        assert_int_equal(guards_get(&guards, fd, &class, &file), 0);
        guards_cover(&guards, file, 0, 4096);
        pass(10 * GUARDS_LOOK_MS);
        assert_int_equal(file->fd, -1);
        assert_int_equal(testing_count_fds(0), fds);
        assert_int_equal(pl_guards_held(file->guards), 0);
        for (unsigned int i = 0; i < N_GUARDS; i++)
                assert_int_equal(pl_guard_reason(file->guards, i), PINLEASE_GUARD_NOT_FOR_THIS);
        (void)guards_put(&guards, file);
        guards_done(&guards);
        assert_int_equal(n_lost + n_back, 0);
        pl_close(fd);
}

/* No descriptor for one more file: registered all the same, and it says so. */
TEST(test_no_descriptors) {
        struct rlimit before, few;
        int fd = testing_memfd(4096), fds[64];
        struct guarded *file;
        size_t n = 0;

        begin();
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        few = before;
        few.rlim_cur = 32;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        while ((fds[n] = fcntl(0, F_DUPFD_CLOEXEC, 0)) >= 0)
                n++;
        file = get(fd);
        assert_int_equal(file->fd, -1);
        assert_int_equal(pl_guard_reason(file->guards, GUARD_LEASE), PINLEASE_GUARD_NO_RESOURCES);
        (void)guards_put(&guards, file);
        pass(GUARDS_LINGER_MS);
        while (n > 0)
                pl_close(fds[--n]);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        file = get(fd);
        assert_int_equal(pl_guards_held(file->guards), PINLEASE_GUARD_LEASE);
        (void)guards_put(&guards, file);
        guards_done(&guards);
        pl_close(fd);
}

/* As many as may be: one more is registered all the same, says so, and is watched when another one is forgotten. */
TEST(test_many) {
        static struct guarded *files[GUARDS_MAX_WATCHED];
        struct rlimit before, many;
        struct guarded *more;
        int fd;

        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        if (before.rlim_max < GUARDS_MAX_WATCHED + 64)
                testing_skip("%ju descriptors are all that there may be\n", (uintmax_t)before.rlim_max);
        many = before;
        many.rlim_cur = GUARDS_MAX_WATCHED + 64;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &many), 0);
        begin();
        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                fd = testing_memfd(0);
                files[i] = get(fd);
                pl_close(fd);
                assert_true(files[i]->fd >= 0);
        }
        fd = testing_memfd(0);
        more = get(fd);
        assert_int_equal(more->fd, -1);
        assert_int_equal(pl_guard_reason(more->guards, GUARD_LEASE), PINLEASE_GUARD_NO_RESOURCES);
        (void)guards_put(&guards, more);
        (void)guards_put(&guards, files[0]);
        pass(GUARDS_LINGER_MS);
        more = get(fd);
        assert_int_equal(pl_guards_held(more->guards), PINLEASE_GUARD_LEASE);
        (void)guards_put(&guards, more);
        for (size_t i = 1; i < ELEMENTSOF(files); i++)
                (void)guards_put(&guards, files[i]);
        guards_done(&guards);
        pl_close(fd);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

/* Sealed memory needs none, and costs no descriptor. */
TEST(test_sealed) {
        unsigned int fds = testing_count_fds(0);
        int fd = testing_memfd(4096);

        begin();
        assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
        (void)guards_put(&guards, get(fd));
        assert_int_equal(testing_count_fds(0), fds + 1);
        pass(GUARDS_LINGER_MS);
        assert_null(guards.first);
        guards_done(&guards);
        pl_close(fd);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_lingers), CHECKED(test_tries_again), CHECKED(test_dmabuf), CHECKED(test_no_descriptors),
                CHECKED(test_many),    CHECKED(test_sealed),
        };

        return cmocka_run_group_tests_name("guards", tests, NULL, NULL);
}
