/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "explain_fixture.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>

#define MAX_ARGS 32

static const char policy[] =
        "{ \"version\": 1, \"rules\": [\n"
        "  { \"name\": \"huge\", \"match\": { \"size\": { \"min\": \"1G\" } }, \"allow\": false },\n"
        "  { \"name\": \"tree\", \"match\": { \"path\": [\"/srv/**\", \"/home/**\"] }, \"allow\": false },\n"
        "  { \"name\": \"kept\", \"match\": { \"backing\": \"shmem\", \"uid\": [\"5000-5999\", 7] }, \"allow\": "
        "false,\n"
        "    \"message\": \"Ask storage@ for a place.\" },\n"
        "  { \"name\": \"sealed\", \"match\": { \"backing\": \"shmem\", \"gid\": 77 }, \"allow\": true,\n"
        "    \"methods\": [\"pinned\", \"odp\"], \"guards\": [\"seals\"], \"on_layout_change\": \"notify\",\n"
        "    \"grace\": \"500ms\", \"force\": \"kill\" },\n"
        "  { \"name\": \"leased\", \"match\": { \"backing\": \"shmem\", \"gid\": 78, \"device\": \"mlx5_*\" }, "
        "\"allow\": true,\n"
        "    \"methods\": \"odp\", \"guards\": [\"lease\"], \"on_layout_change\": \"notify\", \"prefetch\": true },\n"
        "  { \"name\": \"looking\", \"match\": { \"access\": \"read\", \"cgroup\": \"/a/*\", \"fs_type\": [\"ext4\", "
        "\"0x1234\"] },\n"
        "    \"allow\": true }\n"
        "] }\n";

static void write_file(const char *folder, const char *name, const char *text, size_t size) {
        char path[128];
        int fd;

        (void)snprintf(path, sizeof path, "%s/%s", folder, name);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        if (size)
                assert_int_equal(ftruncate(fd, (off_t)size), 0);
        pl_close(fd);
}

static void make(const struct explaining *x, const char *name, const char *target) {
        char path[128];

        (void)snprintf(path, sizeof path, "%s/%s", x->folder, name);
        if (target)
                assert_int_equal(symlink(target, path), 0);
        else if (strcmp(name, "fifo") == 0)
                assert_int_equal(mkfifo(path, 0600), 0);
        else
                assert_int_equal(mkdir(path, 0755), 0);
}

void explaining_setup(struct explaining *x) {
        struct statfs sfs;
        int fd;

        *x = (struct explaining) { .folder = "/tmp/pinlease-test-XXXXXX", .shm = "/dev/shm/pinlease-test-XXXXXX" };
        assert_non_null(mkdtemp(x->folder));
        write_file(x->folder, "file", "", 8192);
        write_file(x->folder, "policy.json", policy, 0);
        make(x, "link", "folder/../file");
        make(x, "loop", "loop");
        make(x, "dangling", "nowhere");
        make(x, "fifo", NULL);
        make(x, "folder", NULL);
        assert_int_equal(statfs(x->folder, &sfs), 0);
        x->is_ext4 = sfs.f_type == EXT4_SUPER_MAGIC;
        fd = mkostemp(x->shm, O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(ftruncate(fd, 100000), 0);
        pl_close(fd);
        x->sealed = testing_memfd(65536);
        assert_int_equal(fcntl(x->sealed, F_ADD_SEALS, F_SEAL_SHRINK), 0);
        x->memfd = testing_memfd(65536);
        assert_int_equal(pipe2(x->pipe, O_CLOEXEC), 0);
}

void explaining_teardown(struct explaining *x) {
        static const char *const names[] = { "file", "policy.json", "link", "loop", "dangling", "fifo" };
        char path[128];

        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                (void)snprintf(path, sizeof path, "%s/%s", x->folder, names[i]);
                assert_int_equal(unlink(path), 0);
        }
        (void)snprintf(path, sizeof path, "%s/folder", x->folder);
        assert_int_equal(rmdir(path), 0);
        assert_int_equal(rmdir(x->folder), 0);
        assert_int_equal(unlink(x->shm), 0);
        pl_close(x->sealed);
        pl_close(x->memfd);
        pl_close(x->pipe[0]);
        pl_close(x->pipe[1]);
}

char *explaining_expand(const struct explaining *x, const char *text) {
        char *expanded = NULL;
        size_t size = 0;
        FILE *f = open_memstream(&expanded, &size);

        assert_non_null(f);
        for (; *text; text++) {
                if (*text != '$') {
                        (void)fputc(*text, f);
                        continue;
                }
                switch (*++text) {
                case 'D':
                        (void)fputs(x->folder, f);
                        break;
                case 'S':
                        (void)fputs(x->shm, f);
                        break;
                case 'P':
                        (void)fprintf(f, "%d", (int)getpid());
                        break;
                case 'U':
                        (void)fprintf(f, "%u", (unsigned int)getuid());
                        break;
                case 'M':
                        (void)fprintf(f, "%d", x->memfd);
                        break;
                case 'L':
                        (void)fprintf(f, "%d", x->sealed);
                        break;
                case 'I':
                        (void)fprintf(f, "%d", x->pipe[0]);
                        break;
                default:
                        fail_msg("$%c means nothing", *text);
                }
        }
        assert_int_equal(fclose(f), 0);
        return expanded;
}

static char *read_all(int fd) {
        char *text = NULL, buffer[4096];
        size_t size = 0;
        FILE *f = open_memstream(&text, &size);
        ssize_t n;

        assert_non_null(f);
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        while ((n = read(fd, buffer, sizeof buffer)) > 0)
                (void)fwrite(buffer, 1, (size_t)n, f);
        assert_int_equal(fclose(f), 0);
        pl_close(fd);
        return text;
}

int explaining_run_args(char *const args[], char **ret_out, char **ret_err) {
        int out = memfd_create("out", MFD_CLOEXEC), err = memfd_create("err", MFD_CLOEXEC), status;
        pid_t pid;

        assert_true(out >= 0 && err >= 0);
        pid = testing_fork();
        if (pid == 0) {
                if (dup2(out, 1) < 0 || dup2(err, 2) < 0)
                        _exit(99);
                (void)execv("./pinlease-explain", args);
                _exit(98);
        }
        status = testing_wait_child(pid);
        *ret_out = read_all(out);
        *ret_err = read_all(err);
        assert_true(WIFEXITED(status));
        return WEXITSTATUS(status);
}

int explaining_run(const struct explaining *x, const char *words, char **ret_out, char **ret_err) {
        char *line = explaining_expand(x, words), *args[MAX_ARGS] = { (char[]) { "pinleasectl" } }, *save = NULL;
        size_t n = 1;
        int status;

        for (char *word = strtok_r(line, " ", &save); word && n + 1 < MAX_ARGS; word = strtok_r(NULL, " ", &save))
                args[n++] = word;
        status = explaining_run_args(args, ret_out, ret_err);
        free(line);
        return status;
}

void explaining_expect(const struct explaining *x, const char *words, int status, const char *out) {
        char *expected = explaining_expand(x, out), *got_out, *got_err;
        int got = explaining_run(x, words, &got_out, &got_err);

        if (got != status || strcmp(got_out, expected) != 0)
                fail_msg("explain %s: status %d, expected %d\n%s%s--- expected:\n%s",
                         words,
                         got,
                         status,
                         got_err,
                         got_out,
                         expected);
        assert_true((status == 2) == (*got_err != '\0'));
        free(expected);
        free(got_out);
        free(got_err);
}
