/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "testing_policy.h"

/* An administrator's rules: which of them decides, and what none of them can do. */

static const gid_t gids[] = { 100, 2000 };

static const struct policy_subject alice = {
        .uid = 1000, .gids = gids, .n_gids = 2, .cgroup = "/system.slice/db.service"
};

/* Ordinary: anything of it can be asked for. */
static const struct policy_question usual = {
        .backing = PINLEASE_BACKING_FSDAX,
        .writable = true,
        .length = 1 << 20,
        .fs_type = 0xef53,
        .device = "mlx5_1",
        .path = "/mnt/pmem/a/b",
        .path_is_certain = true,
        .accepted = PINLEASE_METHOD_ANY,
        .offered = PINLEASE_METHOD_ANY,
};

static int decide(const struct policy_block *policy, const struct policy_question *question, struct refusal *refusal) {
        struct policy_decision decision;
        int r = policy_decide(policy, &alice, question, &decision, refusal);

        if (r == 0)
                (void)snprintf(refusal->rule, sizeof refusal->rule, "%s", policy_text(policy, decision.rule->name));
        return r;
}

/* One rule that refuses, and what of the usual request it does not match. */
TEST(test_match) {
        static const struct {
                const char *match;
                enum policy_mismatch mismatch;
        } table[] = {
                { "", POLICY_MATCHES },
                { "\"backing\": \"fsdax\"", POLICY_MATCHES },
                { "\"backing\": [\"shmem\", \"fsdax\"]", POLICY_MATCHES },
                { "\"backing\": \"shmem\"", POLICY_OTHER_BACKING },
                { "\"access\": \"write\"", POLICY_MATCHES },
                { "\"access\": [\"read\", \"write\"]", POLICY_MATCHES },
                { "\"access\": \"read\"", POLICY_OTHER_ACCESS },
                { "\"size\": {\"min\": \"1M\", \"max\": \"1M\"}", POLICY_MATCHES },
                { "\"size\": {\"min\": 1048577}", POLICY_OTHER_SIZE },
                { "\"size\": {\"max\": 1048575}", POLICY_OTHER_SIZE },
                { "\"fs_type\": \"ext4\"", POLICY_MATCHES },
                { "\"fs_type\": [\"xfs\", \"0xef53\"]", POLICY_MATCHES },
                { "\"fs_type\": \"xfs\"", POLICY_OTHER_FS_TYPE },
                { "\"uid\": 1000", POLICY_MATCHES },
                { "\"uid\": [7, \"999-1000\"]", POLICY_MATCHES },
                { "\"uid\": [999, \"1001-4294967294\"]", POLICY_OTHER_UID },
                { "\"gid\": 2000", POLICY_MATCHES },
                { "\"gid\": \"50-100\"", POLICY_MATCHES },
                { "\"gid\": \"101-1999\"", POLICY_OTHER_GID },
                { "\"device\": \"mlx5_*\"", POLICY_MATCHES },
                { "\"device\": [\"rxe*\", \"mlx4_*\"]", POLICY_OTHER_DEVICE },
                { "\"cgroup\": \"/system.slice/*\"", POLICY_MATCHES },
                { "\"cgroup\": \"/user.slice/**\"", POLICY_OTHER_CGROUP },
                { "\"path\": \"/mnt/pmem/**\"", POLICY_MATCHES },
                { "\"path\": [\"/home/**\", \"/mnt/*/a/b\"]", POLICY_MATCHES },
                { "\"path\": \"/mnt/pmem/*\"", POLICY_OTHER_PATH },
                { "\"exporter\": \"*\"", POLICY_OTHER_EXPORTER },
                { "\"uid\": 1000, \"access\": \"read\"", POLICY_OTHER_ACCESS },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                struct policy_block *policy;
                struct refusal refusal = { 0 };
                char text[256];
                bool matches = table[i].mismatch == POLICY_MATCHES;
                int r;

                print_message("%s\n", table[i].match);
                (void)snprintf(text,
                               sizeof text,
                               "{\"version\": 1, \"rules\": [{\"name\": \"it\", \"match\": {%s}, \"allow\": false}]}",
                               table[i].match);
                policy = testing_policy_of(text);
                assert_int_equal(policy_match(policy, policy_rules(policy), &alice, &usual), table[i].mismatch);
                r = decide(policy, &usual, &refusal);
                assert_int_equal(r, matches ? REFUSED : 0);
                assert_string_equal(refusal.rule, matches ? "it" : "builtin:fsdax");
                free(policy);
        }
}

/* Who has made a dma-buf decides, where it is known; what is none has none. */
TEST(test_exporter) {
        static const char text[] =
                "{\"version\": 1, \"rules\": ["
                "{\"name\": \"gpus\", \"match\": {\"exporter\": [\"drm\", \"nv*\"]}, \"allow\": true},"
                "{\"name\": \"heaps\", \"match\": {\"exporter\": \"system\"}, \"allow\": true},"
                "{\"name\": \"known\", \"match\": {\"exporter\": \"**\"}, \"allow\": false},"
                "{\"name\": \"rest\", \"match\": {\"backing\": \"dmabuf\"}, \"allow\": false}]}";
        static const struct {
                const char *exporter, *rule;
                bool granted;
        } table[] = {
                { "drm", "gpus", true },     { "nvidia", "gpus", true },    { "nv", "gpus", true },
                { "system", "heaps", true }, { "udmabuf", "known", false }, { "DRM", "known", false },
                { "nv/x", "known", false },  { NULL, "rest", false },
        };
        struct policy_block *policy = testing_policy_of(text);
        struct policy_question question = usual;
        struct refusal refusal;

        question.backing = PINLEASE_BACKING_DMABUF;
        question.path = NULL;
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                print_message("%s\n", table[i].exporter);
                question.exporter = table[i].exporter;
                assert_int_equal(decide(policy, &question, &refusal), table[i].granted ? 0 : REFUSED);
                assert_string_equal(refusal.rule, table[i].rule);
        }
        assert_int_equal(decide(policy, &usual, &refusal), 0);
        assert_string_equal(refusal.rule, "builtin:fsdax");
        free(policy);
}

/* A device that registers none: what would work depends on what is behind it. */
TEST(test_exporter_instead) {
        static const struct {
                const char *exporter, *instead;
        } table[] = {
                { "udmabuf", "Register the memfd behind the udmabuf instead" },
                { "udmabuf2", "copy by way of" },
                { "nvidia", "copy by way of" },
                { NULL, "copy by way of" },
        };
        struct policy_block *policy = testing_policy_of("{\"version\": 1}");
        struct policy_question question = usual;
        struct refusal refusal;

        question.backing = PINLEASE_BACKING_DMABUF;
        question.path = NULL;
        question.offered = PINLEASE_METHOD_PINNED | PINLEASE_METHOD_ODP;
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                question.exporter = table[i].exporter;
                assert_int_equal(decide(policy, &question, &refusal), REFUSED);
                assert_int_equal(refusal.code, PINLEASE_CODE_NO_DMABUF);
                assert_non_null(strstr(refusal.sentence, table[i].instead));
        }
        free(policy);
}

/* What is not known matches no pattern. */
TEST(test_unknown) {
        static const char *const keys[] = { "path", "cgroup", "device", "exporter" };
        const struct policy_subject nobody = { .uid = 1000 };
        struct policy_question question = usual;

        question.path = question.device = NULL;
        for (size_t i = 0; i < ELEMENTSOF(keys); i++) {
                struct policy_block *policy;
                char text[128];

                (void)snprintf(text,
                               sizeof text,
                               "{\"version\": 1, \"rules\": [{\"match\": {\"%s\": \"%s\"}, \"allow\": false}]}",
                               keys[i],
                               i < 2 ? "/**" : "*");
                policy = testing_policy_of(text);
                assert_true(policy_match(policy, policy_rules(policy), &nobody, &question) != POLICY_MATCHES);
                free(policy);
        }
}

/* A name that may be another file's grants nothing; a refusal is not got around by it. */
TEST(test_uncertain_path) {
        struct policy_block *policy =
                testing_policy_of("{\"version\": 1, \"rules\": ["
                                  "{\"name\": \"yes\", \"match\": {\"backing\": \"pagecache\", \"path\": \"/mnt/**\"}, "
                                  "\"allow\": true, \"methods\": \"pinned\"},"
                                  "{\"name\": \"no\", \"match\": {\"path\": \"/mnt/pmem/**\"}, \"allow\": false}]}");
        struct policy_question question = usual;
        struct refusal refusal;

        question.backing = PINLEASE_BACKING_PAGECACHE;
        question.writable = false;
        assert_int_equal(decide(policy, &question, &refusal), 0);
        assert_string_equal(refusal.rule, "yes");
        question.path_is_certain = false;
        assert_int_equal(policy_match(policy, policy_rules(policy), &alice, &question), POLICY_UNCERTAIN_PATH);
        assert_int_equal(decide(policy, &question, &refusal), REFUSED);
        assert_string_equal(refusal.rule, "no");
        free(policy);
}

TEST(test_first_rule) {
        struct policy_block *policy = testing_policy_of(
                "{\"version\": 1, \"rules\": ["
                "{\"name\": \"a\", \"match\": {\"access\": \"read\"}, \"allow\": false},\n"
                "{\"name\": \"b\", \"match\": {\"uid\": 1000}, \"allow\": false, \"message\": \"Ask storage.\"},\n"
                "{\"name\": \"c\", \"match\": {\"backing\": \"fsdax\"}, \"allow\": true}]}");
        struct policy_question question = usual;
        struct refusal refusal;

        assert_int_equal(decide(policy, &question, &refusal), REFUSED);
        testing_assert_refusal(REFUSED, &refusal, PINLEASE_CODE_POLICY);
        assert_string_equal(refusal.rule, "b");
        assert_string_equal(refusal.sentence, "A rule of the administrator refuses it: Ask storage.");
        /* Without words of the administrator the place is said. */
        question.writable = false;
        assert_int_equal(decide(policy, &question, &refusal), REFUSED);
        assert_string_equal(refusal.rule, "a");
        assert_non_null(strstr(refusal.sentence, ", line 1)"));
        free(policy);
}

/* A rule can allow what is not allowed by itself; it cannot allow what the kernel forbids. */
TEST(test_kernel) {
        static const struct {
                enum pinlease_backing backing;
                bool writable;
                enum pinlease_code code; /* 0: a pin is allowed */
        } table[] = {
                { PINLEASE_BACKING_SHMEM, true, 0 },
                { PINLEASE_BACKING_HUGETLB, true, 0 },
                { PINLEASE_BACKING_PAGECACHE, false, 0 },
                { PINLEASE_BACKING_PAGECACHE, true, PINLEASE_CODE_PAGECACHE_WRITE_PIN },
                { PINLEASE_BACKING_OTHER, false, 0 },
                { PINLEASE_BACKING_OTHER, true, PINLEASE_CODE_PAGECACHE_WRITE_PIN },
                { PINLEASE_BACKING_FSDAX, false, PINLEASE_CODE_FSDAX_PIN },
                { PINLEASE_BACKING_FSDAX, true, PINLEASE_CODE_FSDAX_PIN },
        };
        struct policy_block *policy = testing_policy_of(
                "{\"version\": 1, \"rules\": [{\"name\": \"all\", \"match\": {\"fs_type\": \"ext4\"}, \"allow\": true, "
                "\"methods\": [\"pinned\", \"odp\"]}]}");

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                struct policy_question question = usual;
                struct policy_decision decision;
                struct refusal refusal;

                question.backing = table[i].backing;
                question.writable = table[i].writable;
                assert_int_equal(policy_decide(policy, &alice, &question, &decision, &refusal), 0);
                assert_int_equal(decision.n_methods, table[i].code ? 1 : 2);
                assert_int_equal(decision.methods[0], table[i].code ? PINLEASE_METHOD_ODP : PINLEASE_METHOD_PINNED);

                question.accepted = PINLEASE_METHOD_PINNED;
                if (table[i].code == 0) {
                        assert_int_equal(policy_decide(policy, &alice, &question, &decision, &refusal), 0);
                        continue;
                }
                testing_assert_refusal(
                        policy_decide(policy, &alice, &question, &decision, &refusal), &refusal, table[i].code);
                assert_string_equal(refusal.rule, "all");
        }
        free(policy);
}

/* Memory of which little is known is allowed by a rule that names its file system, and by no other; it is refused by
 * any. */
TEST(test_other) {
        static const struct {
                const char *rule;
                enum pinlease_code code;
        } table[] = {
                { "{\"allow\": true}", PINLEASE_CODE_BAD_FS },
                { "{\"match\": {\"backing\": \"other\"}, \"allow\": true}", PINLEASE_CODE_BAD_FS },
                { "{\"match\": {\"fs_type\": \"0x5a4f4653\"}, \"allow\": true}", PINLEASE_CODE_NONE },
                { "{\"match\": {\"fs_type\": [\"ext4\", \"zonefs\"], \"backing\": \"other\"}, \"allow\": true}",
                  PINLEASE_CODE_NONE },
                { "{\"match\": {\"fs_type\": \"ext4\", \"backing\": \"other\"}, \"allow\": true}",
                  PINLEASE_CODE_BAD_FS },
                { "{\"match\": {\"fs_type\": \"zonefs\", \"backing\": \"pagecache\"}, \"allow\": true}",
                  PINLEASE_CODE_BAD_FS },
                { "{\"allow\": false}, {\"match\": {\"fs_type\": \"zonefs\"}, \"allow\": true}", PINLEASE_CODE_POLICY },
                { "{\"allow\": true}, {\"match\": {\"fs_type\": \"zonefs\"}, \"allow\": true}", PINLEASE_CODE_NONE },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                struct policy_question question = usual;
                struct policy_decision decision;
                struct policy_block *policy;
                struct refusal refusal;
                char text[300];
                int r;

                (void)snprintf(text, sizeof text, "{\"version\": 1, \"rules\": [%s]}", table[i].rule);
                policy = testing_policy_of(text);
                question.backing = PINLEASE_BACKING_OTHER;
                question.fs_type = 0x5a4f4653;
                r = policy_decide(policy, &alice, &question, &decision, &refusal);
                if (table[i].code == PINLEASE_CODE_NONE)
                        assert_int_equal(r, 0);
                else
                        testing_assert_refusal(r, &refusal, table[i].code);
                free(policy);
        }
}

/* The rule's own choice of methods, where the kernel has no say. */
TEST(test_methods) {
        struct policy_block *policy = testing_policy_of(
                "{\"version\": 1, \"rules\": ["
                "{\"match\": {\"uid\": 1000, \"size\": {\"max\": 1000}}, \"allow\": true, \"methods\": [\"pinned\"]},"
                "{\"match\": {\"uid\": 1000}, \"allow\": true, \"methods\": [\"odp\"]}]}");
        struct policy_question question = usual;
        struct policy_decision decision;
        struct refusal refusal;

        question.backing = PINLEASE_BACKING_SHMEM;
        question.accepted = PINLEASE_METHOD_PINNED;
        testing_assert_refusal(
                policy_decide(policy, &alice, &question, &decision, &refusal), &refusal, PINLEASE_CODE_POLICY);
        question.length = 1000;
        question.accepted = PINLEASE_METHOD_ODP;
        testing_assert_refusal(
                policy_decide(policy, &alice, &question, &decision, &refusal), &refusal, PINLEASE_CODE_POLICY);
        question.offered = PINLEASE_METHOD_PINNED;
        testing_assert_refusal(
                policy_decide(policy, &alice, &question, &decision, &refusal), &refusal, PINLEASE_CODE_NO_ODP);
        free(policy);
}

/* What rules have in common is in the block once, and asked once: the answer is each rule's own all the same. */
TEST(test_shared) {
#define RULE(name, device, cgroup, path)                                                                               \
        "{\"name\": \"" name "\", \"match\": {\"device\": " device ", \"cgroup\": " cgroup ", \"path\": " path "}, \"allow\": true}"
        static const char text[] = "{\"version\": 1, \"rules\": ["
                RULE("1", "[\"rxe*\", \"mlx5_*\"]", "\"/user.slice/**\"", "\"/mnt/**\"") ","
                RULE("2", "\"rxe*\"", "\"/system.slice/*\"", "\"/mnt/**\"") ","
                RULE("3", "[\"rxe*\", \"mlx5_*\"]", "\"/system.slice/*\"", "\"/srv/**\"") ","
                RULE("4", "\"rxe*\"", "\"/system.slice/*\"", "\"/mnt/**\"") ","
                RULE("5", "[\"mlx5_*\", \"rxe*\"]", "\"/user.slice/**\"", "\"/mnt/**\"") ","
                RULE("6", "[\"rxe*\", \"mlx5_*\"]", "\"/system.slice/*\"", "\"/mnt/**\"") "]}";
        struct policy_block *policy = testing_policy_of(text);
        const struct policy_rule *rules = policy_rules(policy);
        struct policy_question question = usual;
        struct refusal refusal;

        assert_int_equal(decide(policy, &question, &refusal), 0);
        assert_string_equal(refusal.rule, "6");
        question.device = "rxe0";
        assert_int_equal(decide(policy, &question, &refusal), 0);
        assert_string_equal(refusal.rule, "2");
        question.path = "/srv/x";
        assert_int_equal(decide(policy, &question, &refusal), 0);
        assert_string_equal(refusal.rule, "3");

        assert_int_equal(rules[0].devices.offset, rules[2].devices.offset);
        assert_int_equal(rules[1].devices.offset, rules[3].devices.offset);
        assert_int_not_equal(rules[0].devices.offset, rules[4].devices.offset);
        assert_int_equal(rules[0].paths.offset, rules[5].paths.offset);
        free(policy);
}

/* Every backing, both accesses, each set of methods; granted and refused; by a process that may do nothing but end: no
 * system call, so no memory is taken from the kernel either. */
TEST(test_on_its_own) {
        struct policy_block *policy =
                testing_policy_of("{\"version\": 1, \"rules\": ["
                                  "{\"match\": {\"path\": \"/mnt/*/c/**\"}, \"allow\": false},"
                                  "{\"match\": {\"gid\": 7, \"cgroup\": \"/x/**\"}, \"allow\": true},"
                                  "{\"match\": {\"exporter\": [\"nv*\", \"?\"]}, \"allow\": false},"
                                  "{\"match\": {\"backing\": \"devdax\", \"device\": \"mlx5_*\"}, "
                                  "\"allow\": false, \"message\": \"No.\"}]}");
        pid_t pid = fork();

        assert_true(pid >= 0);
        if (pid == 0) {
                struct policy_question question = usual;
                unsigned int n_granted = 0, n_refused = 0;
                struct policy_decision decision;
                struct refusal refusal;

                if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) < 0)
                        _exit(2);
                for (unsigned int i = 0; i < 8 * 2 * 8 * 8; i++) {
                        question.backing = (enum pinlease_backing)(i % 8);
                        question.writable = i / 8 % 2;
                        question.accepted = i / 16 % 8;
                        question.offered = i / 128;
                        if (policy_decide(policy, &alice, &question, &decision, &refusal) == 0)
                                n_granted++;
                        else
                                n_refused++;
                }
                /* exit_group(2) is not for such a process. */
                (void)syscall(SYS_exit, n_granted > 50 && n_refused > 50 ? 0 : 1);
        }
        assert_int_equal(testing_wait_child(pid), 0);
        free(policy);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_match),      CHECKED(test_unknown), CHECKED(test_exporter), CHECKED(test_exporter_instead), CHECKED(test_uncertain_path),
                CHECKED(test_first_rule), CHECKED(test_kernel),  CHECKED(test_other),    CHECKED(test_methods),
                CHECKED(test_on_its_own), CHECKED(test_shared),
        };

        return cmocka_run_group_tests_name("policy_rules", tests, NULL, NULL);
}
