/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "explain_fixture.h"

#include <fcntl.h>
#include <json-c/json.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "utf8.h"

/* pinleasectl explain does nothing to the file, waits for nobody, and shows names of others so that they do no harm. */

static volatile sig_atomic_t n_signals;

static void count_signal(_unused_ int signal) {
        n_signals++;
}

/* A lease of another process: it is seen, and it is not broken. An open(2) does break it, which is what this would
 * show. */
TEST(test_lease) {
        const struct sigaction count = { .sa_handler = count_signal }, ignore = { .sa_handler = SIG_DFL };
        struct explaining x;
        char *out, *err;
        int fd;

        explaining_setup(&x);
        fd = open(x.shm, O_RDWR | O_CLOEXEC);
        assert_true(fd >= 0);
        assert_int_equal(sigaction(SIGIO, &count, NULL), 0);
        if (fcntl(fd, F_SETLEASE, F_WRLCK) < 0)
                testing_skip("no lease on /dev/shm: %s\n", strerror(errno));

        assert_int_equal(explaining_run(&x, "$S", &out, &err), 0);
        assert_non_null(strstr(out, "  lease   no       another program has one\n"));
        free(out);
        free(err);
        assert_int_equal(explaining_run(&x, "$S --uid $U --gid 78 --device mlx5_0 --policy $D", &out, &err), 1);
        assert_non_null(strstr(out, ": refused, no-guard\n"));
        free(out);
        free(err);
        assert_int_equal(explaining_run(&x, "--json --access read --pid $P $S", &out, &err), 0);
        free(out);
        free(err);
        assert_int_equal(n_signals, 0);
        assert_int_equal(fcntl(fd, F_GETLEASE), F_WRLCK);

        assert_int_equal(open(x.shm, O_RDONLY | O_NONBLOCK | O_CLOEXEC), -1);
        assert_int_equal(errno, EWOULDBLOCK);
        assert_int_equal(n_signals, 1);
        assert_int_equal(sigaction(SIGIO, &ignore, NULL), 0);
        pl_close(fd);
        explaining_teardown(&x);
}

static void assert_harmless(const char *text) {
        size_t left = strlen(text);

        while (left > 0) {
                uint32_t c;
                size_t n = pl_utf8_decode(text, left, &c);

                assert_true(n > 0);
                assert_true(c == '\n' || pl_utf8_is_harmless(c));
                text += n;
                left -= n;
        }
}

TEST(test_hostile_names) {
        static const char *const names[] = {
                "a\nfile: would be registered, odp",
                "\033[31mred\033]0;title\a",
                "\xff\xfe\x80",
                "right\xe2\x80\xaeto left",
                "tab\ttab \\x41",
        };
        struct explaining x;

        explaining_setup(&x);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                char path[256], *out, *err, *args[] = { (char[]) { "pinleasectl" }, path, NULL, NULL };
                struct json_object *json;
                unsigned int lines = 0;
                int fd;

                (void)snprintf(path, sizeof path, "/dev/shm/pinlease-test-%d-%s", (int)getpid(), names[i]);
                /* Not there. */
                assert_int_equal(explaining_run_args(args, &out, &err), 2);
                assert_harmless(err);
                free(out);
                free(err);

                fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
                assert_true(fd >= 0);
                assert_int_equal(ftruncate(fd, 4096), 0);
                pl_close(fd);
                assert_int_equal(explaining_run_args(args, &out, &err), 0);
                assert_harmless(out);
                for (const char *p = out; *p; p++)
                        lines += *p == '\n';
                assert_int_equal(lines, 12);
                free(out);
                free(err);

                args[2] = (char[]) { "--json" };
                assert_int_equal(explaining_run_args(args, &out, &err), 0);
                assert_harmless(out);
                assert_ptr_equal(strchr(out, '\n'), out + strlen(out) - 1);
                json = json_tokener_parse(out);
                assert_non_null(json);
                json_object_put(json);
                free(out);
                free(err);
                assert_int_equal(unlink(path), 0);
        }
        explaining_teardown(&x);
}

static const char *text_at(struct json_object *json, const char *object, const char *name) {
        struct json_object *value = json;

        if (object)
                assert_true(json_object_object_get_ex(json, object, &value));
        assert_true(json_object_object_get_ex(value, name, &value));
        return json_object_get_string(value);
}

TEST(test_json) {
        struct json_object *json;
        struct explaining x;
        char *out, *err;

        explaining_setup(&x);
        assert_int_equal(explaining_run(&x, "--json $S --uid 5001 --gid 9 --offers odp --policy $D", &out, &err), 1);
        json = json_tokener_parse(out);
        assert_non_null(json);
        assert_string_equal(text_at(json, NULL, "type"), "explanation");
        assert_string_equal(text_at(json, NULL, "path"), x.shm);
        assert_string_equal(text_at(json, NULL, "allowed"), "false");
        assert_string_equal(text_at(json, "refusal", "code"), "policy");
        assert_string_equal(text_at(json, "refusal", "message"), "A rule of the administrator refuses it: Ask storage@ for a place.");
        assert_string_equal(text_at(json, "memory", "backing"), "shmem");
        assert_string_equal(text_at(json, "memory", "place"), x.shm);
        assert_string_equal(text_at(json, "memory", "place_certain"), "true");
        assert_string_equal(text_at(json, "request", "length"), "100000");
        assert_string_equal(text_at(json, "subject", "uid"), "5001");
        assert_string_equal(text_at(json, "subject", "gids"), "[ 9 ]");
        assert_string_equal(text_at(json, "device", "offers"), "[ \"odp\" ]");
        assert_string_equal(text_at(json, "rule", "name"), "kept");
        assert_string_equal(text_at(json, "rule", "line"), "4");
        assert_non_null(strstr(out, "\"other_rules\":[{\"name\":\"huge\",\"file\":\""));
        assert_non_null(strstr(out, "\"mismatch\":\"size\",\"wants\":\"1073741824 bytes at least\"}"));
        assert_non_null(strstr(
                out, "\"instead\":[{\"what\":\"use huge pages: odp\",\"access\":\"write\",\"backing\":\"hugetlb\""));
        json_object_put(json);
        free(out);
        free(err);

        assert_int_equal(explaining_run(&x, "--json $S --host=rxe0=odp-unsound,pinned,dmabuf --host=b=pinned", &out, &err), 0);
        json = json_tokener_parse(out);
        assert_non_null(json);
        assert_string_equal(text_at(json, "device", "name"), "rxe0");
        assert_string_equal(text_at(json, "device", "offers"), "[ \"odp\", \"pinned\", \"dmabuf\" ]");
        assert_string_equal(text_at(json, "device", "unsound"), "[ \"odp\" ]");
        json_object_put(json);
        free(out);
        free(err);

        assert_int_equal(explaining_run(&x, "$S --host=a=odp-unsound,pinned,dmabuf", &out, &err), 0);
        assert_non_null(strstr(out, "  device     a: dmabuf, odp (unsound), pinned\n"));
        free(out);
        free(err);
        assert_int_equal(explaining_run(&x, "$S --host=a=pinned,dmabuf", &out, &err), 0);
        assert_non_null(strstr(out, "  device     a: dmabuf, pinned\n"));
        free(out);
        free(err);

        assert_int_equal(explaining_run(&x, "--json --pid $P --fd $L --uid 8 --gid 77 --policy $D", &out, &err), 0);
        json = json_tokener_parse(out);
        assert_non_null(json);
        assert_string_equal(text_at(json, NULL, "allowed"), "true");
        assert_string_equal(text_at(json, NULL, "methods"), "[ \"pinned\", \"odp\" ]");
        assert_string_equal(text_at(json, NULL, "on_layout_change"), "revoke");
        assert_string_equal(text_at(json, NULL, "grace_ms"), "500");
        assert_string_equal(text_at(json, NULL, "force"), "kill");
        assert_string_equal(text_at(json, "device", "assumed"), "true");
        assert_non_null(
                strstr(out, "{\"name\":\"seals\",\"required\":true,\"holds\":\"yes\",\"why\":\"it cannot shrink\"}"));
        json_object_put(json);
        free(out);
        free(err);
        explaining_teardown(&x);
}

/* Who asks is the caller, or the process that is named, with all of its groups and its control group. */
TEST(test_who) {
        struct json_object *caller, *process;
        struct explaining x;
        char *out, *err;

        explaining_setup(&x);
        assert_int_equal(explaining_run(&x, "--json $S", &out, &err), 0);
        caller = json_tokener_parse(out);
        free(out);
        free(err);
        assert_int_equal(explaining_run(&x, "--json $S --pid $P", &out, &err), 0);
        process = json_tokener_parse(out);
        free(out);
        free(err);
        assert_int_equal(atoll(text_at(caller, "subject", "uid")), getuid());
        assert_int_equal(strncmp(text_at(caller, "subject", "gids"), "[ ", 2), 0);
        assert_int_equal(atoll(text_at(caller, "subject", "gids") + 2), getgid());
        assert_string_equal(text_at(caller, "subject", "gids"), text_at(process, "subject", "gids"));
        json_object_put(caller);
        json_object_put(process);
        explaining_teardown(&x);
}

/* More than anybody may have, by what the policy says. */
TEST(test_limits) {
        struct explaining x;
        char *out, *err;

        explaining_setup(&x);
        assert_int_equal(truncate(x.shm, INT64_C(2) << 30), 0);
        assert_int_equal(explaining_run(&x, "$S --methods pinned --offers odp,pinned", &out, &err), 1);
        assert_non_null(strstr(out, ": refused, pinned-limit\n"));
        assert_non_null(strstr(out, "  2147483648 bytes are asked for, but at most 1073741824 may be pinned.\n"));
        assert_non_null(strstr(out, "  instead    accept odp\n"));
        free(out);
        free(err);
        assert_int_equal(explaining_run(&x, "$S --methods pinned --offers odp,pinned --length 1G", &out, &err), 0);
        free(out);
        free(err);
        explaining_teardown(&x);
}

/* As $D/folder; the path is to be unlinked. */
static void write_policy(const struct explaining *x, const char *text, char ret_path[80]) {
        FILE *f;

        (void)snprintf(ret_path, 80, "%s/folder/policy.json", x->folder);
        f = fopen(ret_path, "we");
        assert_non_null(f);
        (void)fputs(text, f);
        (void)fclose(f);
}

/* What has no exporter is not matched by a rule that names one; that is said. */
TEST(test_exporter) {
        struct explaining x;
        char policy[80], *out, *err;

        explaining_setup(&x);
        write_policy(&x,
                     "{\"version\":1,\"rules\":[{\"name\":\"gpus\",\"match\":{\"exporter\":[\"nv*\",\"xe\"]},\"allow\":"
                     "false}]}",
                     policy);
        assert_int_equal(explaining_run(&x, "--pid $P --fd $M --policy $D/folder", &out, &err), 0);
        assert_non_null(strstr(out, "  rule       builtin:shmem  built in\n"));
        assert_non_null(strstr(out, "  exporter: nv*, xe\n"));
        assert_null(strstr(out, "  exporter   "));
        free(out);
        free(err);
        assert_int_equal(explaining_run(&x, "--json /proc/$P/fd/$M --policy $D/folder", &out, &err), 0);
        assert_non_null(strstr(out, "\"mismatch\":\"exporter\",\"wants\":\"nv*, xe\"}"));
        assert_null(strstr(out, "\"exporter\":"));
        free(out);
        free(err);
        assert_int_equal(unlink(policy), 0);
        explaining_teardown(&x);
}

/* A rule that allows a path does not match a file that has another name as well; that is said. */
TEST(test_uncertain_path) {
        char policy[80], other[64], *out, *err;
        struct explaining x;

        explaining_setup(&x);
        (void)snprintf(other, sizeof other, "%s-other", x.shm);
        write_policy(
                &x,
                "{\"version\":1,\"rules\":[{\"name\":\"here\",\"match\":{\"path\":\"/dev/shm/*\"},\"allow\":true}]}",
                policy);

        assert_int_equal(explaining_run(&x, "$S --policy $D/folder", &out, &err), 0);
        assert_non_null(strstr(out, "  rule       here  "));
        free(out);
        free(err);
        assert_int_equal(link(x.shm, other), 0);
        assert_int_equal(explaining_run(&x, "$S --policy $D/folder", &out, &err), 0);
        assert_non_null(strstr(out, " (not certain: rules that allow a path do not match it)\n"));
        assert_non_null(strstr(out, "  rule       builtin:shmem  built in\n"));
        assert_non_null(strstr(out, "  path: /dev/shm/* (the file's place is not certain)\n"));
        free(out);
        free(err);
        assert_int_equal(unlink(other), 0);
        assert_int_equal(unlink(policy), 0);
        explaining_teardown(&x);
}

/* By a descriptor, what counts is how it is open. */
TEST(test_open_modes) {
        struct explaining x;
        char words[64], *out, *err;
        int fd;

        explaining_setup(&x);
        fd = open(x.shm, O_RDONLY | O_CLOEXEC);
        (void)snprintf(words, sizeof words, "--pid $P --fd %d", fd);
        assert_int_equal(explaining_run(&x, words, &out, &err), 1);
        assert_non_null(strstr(out, ": refused, fd-mode\n"));
        free(out);
        free(err);
        (void)snprintf(words, sizeof words, "--access read --pid $P --fd %d", fd);
        assert_int_equal(explaining_run(&x, words, &out, &err), 0);
        free(out);
        free(err);
        pl_close(fd);

        fd = open(x.shm, O_PATH | O_CLOEXEC);
        (void)snprintf(words, sizeof words, "--pid $P --fd %d", fd);
        assert_int_equal(explaining_run(&x, words, &out, &err), 1);
        assert_non_null(strstr(out, ": refused, path-fd\n"));
        free(out);
        free(err);
        pl_close(fd);
        explaining_teardown(&x);
}

/* What is not root's cannot be opened by others: that is no matter of the policy. */
TEST(test_not_to_be_opened) {
        struct explaining x;
        char *out, *err;

        /* Root may open everything by these; without them it is a user as others. Programs that are executed from now on have them not. */
        if (geteuid() == 0) {
                assert_int_equal(prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0), 0);
                assert_int_equal(prctl(PR_CAPBSET_DROP, CAP_DAC_READ_SEARCH, 0, 0, 0), 0);
        }
        explaining_setup(&x);
        assert_int_equal(chmod(x.shm, 0400), 0);
        assert_int_equal(explaining_run(&x, "$S", &out, &err), 1);
        assert_non_null(strstr(out, "This user cannot open the file for reading and writing: Permission denied."));
        free(out);
        free(err);
        explaining_teardown(&x);
}

/* --- a file server that does not answer --- */

enum { FUSE_OK = 0, FUSE_SKIP = 77 };

static void write_text(const char *path, const char *text) {
        int fd = open(path, O_WRONLY | O_CLOEXEC);

        if (fd >= 0)
                (void)!write(fd, text, strlen(text));
        pl_close(fd);
}

/* Mounts FUSE at the folder, with this process as the server: it never reads. */
static int mount_silent(const char *folder) {
        char map[64], options[128];
        uid_t uid = geteuid();
        gid_t gid = getegid();
        int fuse;

        if (unshare(uid == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) < 0)
                return -1;
        if (uid != 0) {
                write_text("/proc/self/setgroups", "deny");
                (void)snprintf(map, sizeof map, "0 %u 1", (unsigned int)uid);
                write_text("/proc/self/uid_map", map);
                (void)snprintf(map, sizeof map, "0 %u 1", (unsigned int)gid);
                write_text("/proc/self/gid_map", map);
        }
        fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
        (void)snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse);
        if (fuse < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("silent", folder, "fuse", 0, options) < 0)
                return -1;
        return fuse;
}

static bool is_hanging(const struct explaining *x, const char *words) {
        char *out, *err;
        int status = explaining_run(x, words, &out, &err);
        bool hanging = status == 1 && strstr(out, ": refused, hanging-file\n") &&
                       strstr(out, "  memory     a file on fuse\n") &&
                       strstr(out, "  instead    use a memfd, or a file on tmpfs: odp\n");

        if (!hanging)
                (void)fprintf(stderr, "explain %s: %d\n%s%s", words, status, out, err);
        free(out);
        free(err);
        return hanging;
}

static bool is_hanging_quietly(const struct explaining *x, const char *words) {
        char *out, *err;
        bool hanging;

        (void)explaining_run(x, words, &out, &err);
        hanging = strstr(out, ": refused, not-memory\n") == NULL;
        free(out);
        free(err);
        return hanging;
}

/* What would wait for the server ends by the test's deadline. */
static _Noreturn void ask_about_silent(const struct explaining *x) {
        char folder[64], words[64];
        int fd;

        (void)snprintf(folder, sizeof folder, "%s/folder", x->folder);
        /* Where it is not there, or not for this user. */
        if (mount_silent(folder) < 0) {
                perror("FUSE");
                _exit(errno == EPERM || errno == EACCES || errno == ENOENT || errno == ENODEV ? FUSE_SKIP : 6);
        }
        if (!is_hanging(x, "$D/folder") || !is_hanging(x, "$D/folder/file") ||
            !is_hanging(x, "$D/folder/../folder/a/b/c"))
                _exit(1);
        /* Below what is local, which hides it: by how they are stacked, not by their order in the table. */
        if (mount("on-top", folder, "tmpfs", 0, NULL) < 0 || is_hanging_quietly(x, "$D/folder") || umount(folder) < 0)
                _exit(5);
        /* A link on the way. */
        if (!is_hanging(x, "/proc/self/root/$D/folder/file"))
                _exit(2);
        fd = open(folder, O_PATH | O_CLOEXEC);
        (void)snprintf(words, sizeof words, "--pid %d --fd %d", (int)getpid(), fd);
        if (fd < 0 || !is_hanging(x, words))
                _exit(3);
        (void)snprintf(words, sizeof words, "/proc/%d/fd/%d", (int)getpid(), fd);
        if (!is_hanging(x, words))
                _exit(4);
        _exit(FUSE_OK);
}

TEST(test_silent_server) {
        struct explaining x;
        int status;
        pid_t pid;

        explaining_setup(&x);
        pid = testing_fork();
        if (pid == 0)
                ask_about_silent(&x);
        status = testing_wait_child(pid);
        explaining_teardown(&x);
        assert_true(WIFEXITED(status));
        if (WEXITSTATUS(status) == FUSE_SKIP)
                testing_skip("FUSE cannot be mounted here\n");
        assert_int_equal(WEXITSTATUS(status), FUSE_OK);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_lease),      CHECKED(test_hostile_names),    CHECKED(test_json),
                CHECKED(test_who),        CHECKED(test_limits),           CHECKED(test_uncertain_path),
                CHECKED(test_open_modes), CHECKED(test_not_to_be_opened), CHECKED(test_silent_server),
                CHECKED(test_exporter),
        };

        return cmocka_run_group_tests_name("explain: harmless", tests, NULL, NULL);
}
