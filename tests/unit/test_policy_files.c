/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Files that are not as they should be, and in which order those are read that are. */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "policy_fixture.h"

ssize_t __real_read(int fd, void *buffer, size_t size);
ssize_t __wrap_read(int fd, void *buffer, size_t size);

/* Called once, before the next read(2). */
static void (*meanwhile)(void);

ssize_t __wrap_read(int fd, void *buffer, size_t size) {
        void (*now)(void) = meanwhile;

        meanwhile = NULL;
        if (now)
                now();
        return __real_read(fd, buffer, size);
}

static struct policy_fixture fixture;
static const char smallest[] = "{ \"version\": 1 }\n";

static void write_text(const char *name, const char *text) {
        policy_fixture_write(&fixture, name, text, strlen(text));
}

static const char *path_of(const char *name) {
        static char path[256];

        (void)snprintf(path, sizeof path, "%s/%s", fixture.folder, name);
        return path;
}

static void expect(const char *lines) {
        char *said;

        policy_fixture_load(&fixture);
        said = policy_fixture_lines(&fixture);
        assert_string_equal(said, lines);
        free(said);
}

TEST(test_missing) {
        policy_fixture_begin(&fixture);
        expect("");
        assert_int_equal(fixture.block->n_rules, N_BUILTIN);
        write_text("policy.d/empty", "");
        expect("");
        policy_fixture_end(&fixture);
}

/* Neither is opened, so neither is waited for. */
TEST(test_kinds) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(pl_closep) int sock = -1;

        policy_fixture_begin(&fixture);
        write_text("policy.d/a.json", smallest);
        assert_int_equal(mkfifo(path_of("policy.d/fifo.json"), 0644), 0);
        assert_int_equal(mkfifo(path_of("policy.json"), 0644), 0);
        assert_int_equal(mkdir(path_of("policy.d/folder.json"), 0755), 0);
        assert_int_equal(symlink("nowhere", path_of("policy.d/link.json")), 0);
        assert_int_equal(symlink("loop.json", path_of("policy.d/loop.json")), 0);
        assert_int_equal(symlink("/dev/zero", path_of("policy.d/zero.json")), 0);
        sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/policy.d/sock.json", fixture.folder);
        assert_int_equal(bind(sock, (const struct sockaddr *)&address, sizeof address), 0);
        expect("policy.json: error: It is a FIFO, and should be a file: nobody waits for what may come out of it.\n"
               "policy.d/fifo.json: error: It is a FIFO, and should be a file: nobody waits for what may come out of "
               "it.\n"
               "policy.d/folder.json: error: It is a folder, and should be a file.\n"
               "policy.d/link.json: error: It is a link that leads nowhere.\n"
               "policy.d/loop.json: error: It cannot be looked at: Too many levels of symbolic links.\n"
               "policy.d/sock.json: error: It is a socket, and should be a file.\n"
               "policy.d/zero.json: error: It is a device, and should be a file.\n");
        policy_fixture_end(&fixture);
}

TEST(test_links) {
        policy_fixture_begin(&fixture);
        write_text("policy.d/target", "{ \"version\": 1, \"rules\": [ { \"allow\": false } ] }");
        assert_int_equal(symlink("policy.d/target", path_of("policy.json")), 0);
        expect("");
        assert_int_equal(fixture.block->n_rules, N_BUILTIN + 1);

        assert_int_equal(unlink(path_of("policy.json")), 0);
        assert_int_equal(symlink("nowhere", path_of("policy.json")), 0);
        expect("policy.json: error: It is a link that leads nowhere.\n");

        /* The folder as well. */
        assert_int_equal(unlink(path_of("policy.json")), 0);
        assert_int_equal(unlink(path_of("policy.d/target")), 0);
        assert_int_equal(rmdir(path_of("policy.d")), 0);
        assert_int_equal(symlink("nowhere", path_of("policy.d")), 0);
        expect("policy.d: error: It is a link that leads nowhere.\n");
        assert_int_equal(unlink(path_of("policy.d")), 0);
        assert_int_equal(mkfifo(path_of("policy.d"), 0644), 0);
        expect("policy.d: error: It is no folder.\n");
        policy_fixture_end(&fixture);
}

/* Who could write it could allow anything. */
TEST(test_owner) {
        struct policy_source source = { .folder = fixture.folder, .check_owner = true, .owner = geteuid() + 1 };
        struct policy_problems problems = { 0 };
        struct policy_block *block = NULL;
        char expected[200];

        policy_fixture_begin(&fixture);
        write_text("policy.json", smallest);
        assert_int_equal(chmod(path_of("policy.json"), 0664), 0);
        expect("policy.json: error: Others than its owner may write it (mode 664): chmod go-w.\n");
        assert_int_equal(chmod(path_of("policy.json"), 0646), 0);
        expect("policy.json: error: Others than its owner may write it (mode 646): chmod go-w.\n");
        assert_int_equal(chmod(path_of("policy.json"), 0600), 0);
        expect("");
        assert_int_equal(chmod(fixture.folder, 0770), 0);
        expect(": error: Others than its owner may write it (mode 770): chmod go-w.\n");
        assert_int_equal(chmod(fixture.folder, 0700), 0);
        write_text("policy.d/a.json", smallest);
        assert_int_equal(chmod(path_of("policy.d"), 0777), 0);
        expect("policy.d: error: Others than its owner may write it (mode 777): chmod go-w.\n");

        assert_int_equal(policy_load(&source, &problems, &block), -EBADMSG);
        assert_int_equal(problems.n, 3); /* both folders and the file */
        (void)snprintf(expected,
                       sizeof expected,
                       "It belongs to user %u, who could allow anything by it: chown it to user %u.",
                       geteuid(),
                       geteuid() + 1);
        assert_string_equal(problems.list[0].sentence, expected);
        policy_problems_done(&problems);

        /* Whoever only looks at a file of his own does not mind. */
        source.check_owner = false;
        assert_int_equal(policy_load(&source, &problems, &block), 0);
        free(block);
        policy_fixture_end(&fixture);
}

static void grow(void) {
        int fd = open(path_of("policy.json"), O_WRONLY | O_APPEND | O_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, " ", 1), 1);
        pl_close(fd);
}

static void shrink(void) {
        assert_int_equal(truncate(path_of("policy.json"), 3), 0);
}

/* As long as before. A file's times are those of the last tick: this one is given another. */
static void overwrite(void) {
        static const struct timespec times[] = { { .tv_sec = 1 }, { .tv_sec = 1 } };

        write_text("policy.json", "{ \"version\": 2 }\n");
        assert_int_equal(utimensat(AT_FDCWD, path_of("policy.json"), times, 0), 0);
}

TEST(test_changed_meanwhile) {
        static void (*const changes[])(void) = { grow, shrink, overwrite };

        policy_fixture_begin(&fixture);
        for (size_t i = 0; i < ELEMENTSOF(changes); i++) {
                write_text("policy.json", smallest);
                meanwhile = changes[i];
                expect("policy.json: error: It was changed while it was read. Write another file, and rename it.\n");
        }
        write_text("policy.json", smallest);
        expect("");
        policy_fixture_end(&fixture);
}

/* What comes later is asked later, and overrides what is no rule. */
TEST(test_order) {
        static const char *const names[] = { "first", "10", "9", "B", "a", "ä" };

        policy_fixture_begin(&fixture);
        write_text("policy.json",
                   "{ \"version\": 1, \"defaults\": { \"grace\": \"1s\", \"force\": \"kill\" }, \"limits\": { "
                   "\"user\": { \"sessions\": 1 } }, \"rules\": [ { \"name\": \"first\", \"allow\": true, \"match\": { "
                   "\"uid\": 1 } } ] }");
        write_text("policy.d/a.json",
                   "{ \"version\": 1, \"rules\": [ { \"name\": \"a\", \"allow\": true, \"match\": { \"uid\": 2 }, "
                   "\"grace\": 5 } ] }");
        write_text("policy.d/B.json",
                   "{ \"version\": 1, \"defaults\": { \"grace\": \"2s\" }, \"rules\": [ { \"name\": \"B\", \"allow\": "
                   "true, \"match\": { \"uid\": 3 } } ] }");
        write_text(
                "policy.d/9.json",
                "{ \"version\": 1, \"rules\": [ { \"name\": \"9\", \"allow\": true, \"match\": { \"uid\": 4 } } ] }");
        write_text("policy.d/10.json",
                   "{ \"version\": 1, \"limits\": { \"user\": { \"pinned\": \"1M\" } }, \"rules\": [ { \"name\": "
                   "\"10\", \"allow\": true, \"match\": { \"uid\": 5 } } ] }");
        write_text(
                "policy.d/ä.json",
                "{ \"version\": 1, \"rules\": [ { \"name\": \"ä\", \"allow\": true, \"match\": { \"uid\": 6 } } ] }");
        write_text("policy.d/a.json~", "x");
        write_text("policy.d/.a.json", "x");
        write_text("policy.d/.json", "x");
        expect("");
        assert_int_equal(fixture.block->n_rules, ELEMENTSOF(names) + N_BUILTIN);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                const struct policy_rule *rule = policy_rules(fixture.block) + i;

                assert_string_equal(policy_text(fixture.block, rule->name), names[i]);
                assert_int_equal(rule->grace_ms, strcmp(names[i], "a") == 0 ? 5 : 2000);
                assert_int_equal(rule->force, POLICY_FORCE_KILL);
        }
        assert_string_equal(policy_text(fixture.block, policy_rules(fixture.block)[ELEMENTSOF(names)].name),
                            "builtin:shmem");
        assert_int_equal(policy_rules(fixture.block)[ELEMENTSOF(names)].grace_ms, 2000);
        assert_int_equal(fixture.block->limits.user_sessions, 1);
        assert_int_equal(fixture.block->limits.user.pinned, 1 << 20);
        assert_int_equal(fixture.block->limits.user.registrations, 1 << 20);
        policy_fixture_end(&fixture);
}

/* One wrong file does not hide what is wrong with the next. */
TEST(test_all_at_once) {
        policy_fixture_begin(&fixture);
        write_text("policy.json", "{");
        write_text("policy.d/1.json", "{ \"version\": 3 }");
        write_text("policy.d/2.json", "{ \"version\": 1, \"rules\": [ { \"name\": \"a\", \"allow\": true } ] }");
        write_text("policy.d/3.json", "{ \"version\": 1, \"rules\": [ { \"name\": \"a\", \"allow\": true }, {} ] }");
        policy_fixture_load(&fixture);
        assert_int_equal(fixture.problems.n, 4);
        for (size_t i = 0; i < fixture.problems.n; i++)
                assert_int_equal(fixture.problems.list[i].source, i == 0 ? 1 : i == 1 ? 2 : 4);
        assert_string_equal(fixture.problems.list[2].path, "$.rules[0].name");
        assert_non_null(strstr(fixture.problems.list[2].sentence, "policy.d/2.json:1)"));
        assert_string_equal(fixture.problems.list[3].path, "$.rules[1]");
        policy_fixture_end(&fixture);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_missing),           CHECKED(test_kinds), CHECKED(test_links),       CHECKED(test_owner),
                CHECKED(test_changed_meanwhile), CHECKED(test_order), CHECKED(test_all_at_once),
        };

        (void)umask(022);
        return cmocka_run_group_tests_name("policy-files", tests, NULL, NULL);
}
