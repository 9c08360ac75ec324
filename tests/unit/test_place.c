/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "place.h"

struct fixture {
        char folder[32], path[64], other[64];
        int fd;
        struct pl_fdclass class;
        struct place place;
};

static void fixture_init(struct fixture *f) {
        *f = (struct fixture) { .folder = "/tmp/pinlease-test-XXXXXX" };
        assert_non_null(mkdtemp(f->folder));
        (void)snprintf(f->path, sizeof f->path, "%s/file", f->folder);
        (void)snprintf(f->other, sizeof f->other, "%s/other", f->folder);
        f->fd = open(f->path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
        assert_true(f->fd >= 0);
        assert_int_equal(pl_fdclass_get(f->fd, &f->class), 0);
}

static void fixture_done(struct fixture *f) {
        pl_close(f->fd);
        (void)unlink(f->path);
        (void)unlink(f->other);
        assert_int_equal(rmdir(f->folder), 0);
}

static void find(struct fixture *f) {
        memset(&f->place, 0xaa, sizeof f->place);
        place_find(f->fd, &f->class, &f->place);
}

/* Its name is what its owner has made it. */
TEST(test_dmabuf) {
        struct fixture f;

        fixture_init(&f);
        f.class.kind = PL_FD_DMABUF;
        find(&f);
        assert_false(f.place.known);
        assert_false(f.place.certain);
        fixture_done(&f);
}

TEST(test_certain) {
        struct fixture f;

        fixture_init(&f);
        find(&f);
        assert_true(f.place.known);
        assert_true(f.place.certain);
        assert_string_equal(f.place.path, f.path);
        assert_int_equal(rename(f.path, f.other), 0);
        find(&f);
        assert_true(f.place.certain);
        assert_string_equal(f.place.path, f.other);
        fixture_done(&f);
}

/* Which of the two it is nobody can say. */
TEST(test_two_names) {
        struct fixture f;

        fixture_init(&f);
        assert_int_equal(link(f.path, f.other), 0);
        find(&f);
        assert_true(f.place.known);
        assert_false(f.place.certain);
        fixture_done(&f);
}

/* " (deleted)" may be a part of a name, and then it is one. */
TEST(test_deleted) {
        struct fixture f;
        char name[96];

        fixture_init(&f);
        (void)snprintf(name, sizeof name, "%s (deleted)", f.path);
        assert_int_equal(unlink(f.path), 0);
        find(&f);
        assert_false(f.place.known);
        assert_false(f.place.certain);

        /* Somebody else's file has just the name that the kernel shows. */
        pl_close(open(name, O_CREAT | O_RDWR | O_CLOEXEC, 0600));
        find(&f);
        assert_false(f.place.known);

        pl_close(f.fd);
        f.fd = open(name, O_RDWR | O_CLOEXEC);
        assert_int_equal(pl_fdclass_get(f.fd, &f.class), 0);
        find(&f);
        assert_true(f.place.certain);
        assert_string_equal(f.place.path, name);
        assert_int_equal(unlink(name), 0);
        fixture_done(&f);
}

/* What has the name now is another file. */
TEST(test_another_file) {
        struct fixture f;

        fixture_init(&f);
        f.class.inode++;
        find(&f);
        assert_true(f.place.known);
        assert_false(f.place.certain);
        fixture_done(&f);
}

TEST(test_no_path) {
        struct fixture f;
        int pair[2];

        fixture_init(&f);
        pl_close(f.fd);
        f.fd = testing_memfd(4096);
        assert_int_equal(pl_fdclass_get(f.fd, &f.class), 0);
        find(&f);
        assert_false(f.place.known);
        pl_close(f.fd);
        assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
        pl_close(pair[1]);
        f.fd = pair[0];
        find(&f);
        assert_false(f.place.known);
        f.fd = pl_close(f.fd);
        find(&f);
        assert_false(f.place.known);
        fixture_done(&f);
}

/* Longer than a path may be that a program gives: the kernel shows none, or not all. */
TEST(test_too_long) {
        char name[201];
        struct fixture f;
        int folder, fd;

        fixture_init(&f);
        memset(name, 'a', sizeof name - 1);
        name[sizeof name - 1] = '\0';
        folder = open(f.folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
        for (unsigned int i = 0; i < 25; i++) {
                int next;

                assert_int_equal(mkdirat(folder, name, 0700), 0);
                next = openat(folder, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
                pl_close(folder);
                folder = next;
        }
        fd = openat(folder, "file", O_CREAT | O_RDWR | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(pl_fdclass_get(fd, &f.class), 0);
        memset(&f.place, 0xaa, sizeof f.place);
        place_find(fd, &f.class, &f.place);
        assert_false(f.place.known);
        assert_false(f.place.certain);
        pl_close(fd);
        pl_close(folder);
        (void)snprintf(name, sizeof name, "rm -r %s/aaa*", f.folder);
        assert_int_equal(system(name), 0);
        fixture_done(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_dmabuf),
                CHECKED(test_certain), CHECKED(test_two_names), CHECKED(test_deleted),
                CHECKED(test_another_file), CHECKED(test_no_path), CHECKED(test_too_long),
        };

        return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}
