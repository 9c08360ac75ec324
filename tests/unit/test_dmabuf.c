/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "dmabuf.h"

#define X10 "xxxxxxxxxx"
#define X90 X10 X10 X10 X10 X10 X10 X10 X10 X10

TEST(test_lines) {
        static const struct {
                const char *line, *name; /* NULL: -EBADMSG */
        } table[] = {
                { "exp_name:\tudmabuf\n", "udmabuf" },
                { "exp_name:\tlinux,cma 0\n", "linux,cma 0" },
                { "exp_name:\tgröße\n", "größe" },
                { "exp_name:\t" X90 "12345\n", X90 "12345" },
                { .line = "exp_name:\t" X90 "123456\n" },
                { .line = "exp_name:\t\n" },
                { .line = "exp_name:\n" },
                { .line = "exp_name:" },
                { .line = "exp_name:\t" },
                /* It may go on. */
                { .line = "exp_name:\tudmabuf" },
                { .line = "exp_name: udmabuf\n" },
                { .line = "exp_name:udmabuf\n" },
                { .line = "exp_name:\t\tudmabuf\n" },
                { .line = "exp_name:\tudma\rbuf\n" },
                { .line = "exp_name:\tudma\x1b[2Jbuf\n" },
                { .line = "exp_name:\tudma\x7f\n" },
                { .line = "exp_name:\tudma\xff\n" },
                { .line = "exp_name:\tudma\xc3\n" },
                { .line = "exp_name:\tudma\u202e"
                          "buf\n" },
        };
        static const char *const others[] = { "",           "\n",         "name:\tudmabuf\n", " exp_name:\tudmabuf\n",
                                              "exp_name\n", "exp_names:", "Exp_name:\tx\n" };
        char name[PL_DMABUF_EXPORTER_MAX] = "untouched";

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                print_message("%zu\n", i);
                (void)snprintf(name, sizeof name, "untouched");
                assert_int_equal(pl_dmabuf_parse(table[i].line, strlen(table[i].line), name),
                                 table[i].name ? 0 : -EBADMSG);
                assert_string_equal(name, table[i].name ? table[i].name : "untouched");
        }
        (void)snprintf(name, sizeof name, "untouched");
        for (size_t i = 0; i < ELEMENTSOF(others); i++)
                assert_int_equal(pl_dmabuf_parse(others[i], strlen(others[i]), name), -ENODATA);
        assert_int_equal(pl_dmabuf_parse("exp_name:\ta\0b\n", 14, name), -EBADMSG);
        assert_string_equal(name, "untouched");
}

/* --- whole texts --- */

static int read_text(const char *text, size_t size, char name[PL_DMABUF_EXPORTER_MAX]) {
        int fd = memfd_create("fdinfo", MFD_CLOEXEC), r;
        char path[64];

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, size), size);
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        (void)snprintf(name, PL_DMABUF_EXPORTER_MAX, "untouched");
        r = pl_dmabuf_exporter_at(path, name);
        pl_close(fd);
        return r;
}

#define BEFORE "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t7\nsize:\t65536\ncount:\t2\n"

TEST(test_texts) {
        static const struct {
                const char *text;
                int r;
                const char *name;
        } table[] = {
                { BEFORE "exp_name:\tudmabuf\n", 0, "udmabuf" },
                { BEFORE "exp_name:\tudmabuf\nname:\tmine\n", 0, "udmabuf" },
                /* What its user has called it. */
                { BEFORE "exp_name:\tudmabuf\nname:\tx\nexp_name:\tdrm\n", 0, "udmabuf" },
                { BEFORE "exp_name:\tudma\x1b"
                         "buf\nname:\tx\nexp_name:\tdrm\n",
                  -EBADMSG,
                  "untouched" },
                { BEFORE "exp_name:\t\nname:\tx\nexp_name:\tdrm\n", -EBADMSG, "untouched" },
                { BEFORE "exp_name:\tudma", -EBADMSG, "untouched" },
                { BEFORE "name:\texp_name:\tdrm\n", -ENODATA, "untouched" },
                { BEFORE, -ENODATA, "untouched" },
                { "", -ENODATA, "untouched" },
        };
        char name[PL_DMABUF_EXPORTER_MAX];

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                print_message("%zu\n", i);
                assert_int_equal(read_text(table[i].text, strlen(table[i].text), name), table[i].r);
                assert_string_equal(name, table[i].name);
        }
}

/* Whoever has the dma-buf may lock as much of it as he likes: its exporter is known all the same. */
TEST(test_many_locks) {
        static const char lock[] = "lock:\t1: OFDLCK ADVISORY  READ -1 00:0f:7 10 10\n", end[] = "exp_name:\tudmabuf\n";
        const size_t n = sizeof lock - 1, size = 20000 * n + sizeof end - 1;
        char name[PL_DMABUF_EXPORTER_MAX], *text = malloc(size);

        assert_non_null(text);
        for (size_t i = 0; i < 20000; i++)
                memcpy(text + i * n, lock, n);
        memcpy(text + size - sizeof end + 1, end, sizeof end - 1);
        assert_int_equal(read_text(text, size, name), 0);
        assert_string_equal(name, "udmabuf");
        free(text);
}

/* Of what is no dma-buf the kernel names no exporter; of what is not there, nothing. */
TEST(test_kernels) {
        char name[PL_DMABUF_EXPORTER_MAX] = "untouched", path[64];
        int fd = memfd_create("exp_name", MFD_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(pl_dmabuf_exporter(fd, name), -ENODATA);
        (void)snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", (int)getpid(), fd);
        assert_int_equal(pl_dmabuf_exporter_at(path, name), -ENODATA);
        pl_close(fd);
        assert_int_equal(pl_dmabuf_exporter(fd, name), -ENOENT);
        assert_int_equal(pl_dmabuf_exporter(INT_MIN, name), -ENOENT);
        assert_int_equal(pl_dmabuf_exporter_at("", name), -ENOENT);
        /* What cannot be read is not without an exporter. */
        assert_int_equal(pl_dmabuf_exporter_at("/proc/self", name), -EIO);
        assert_string_equal(name, "untouched");
}

TEST(test_names) {
        assert_string_equal(pl_dmabuf_exporter_of_name(PL_DMABUF_NAME_PREFIX "udmabuf"), "udmabuf");
        assert_string_equal(pl_dmabuf_exporter_of_name("dmabuf:a:b"), "a:b");
        assert_null(pl_dmabuf_exporter_of_name(PL_DMABUF_NAME_PREFIX));
        assert_null(pl_dmabuf_exporter_of_name("dmabuf"));
        assert_null(pl_dmabuf_exporter_of_name("/dmabuf:x"));
        assert_null(pl_dmabuf_exporter_of_name(""));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_lines),   CHECKED(test_texts), CHECKED(test_many_locks),
                CHECKED(test_kernels), CHECKED(test_names),
        };

        return cmocka_run_group_tests_name("dmabuf", tests, NULL, NULL);
}
