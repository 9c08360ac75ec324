/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing_policy.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy-load.h"
#include "policy-share.h"
#include "util.h"

/* Of use to fuzz targets as well, which have no cmocka. */
#define MUST(condition)                                                                                                \
        do {                                                                                                           \
                if (!(condition)) {                                                                                    \
                        (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                          \
                        abort();                                                                                       \
                }                                                                                                      \
        } while (0)

const struct policy_block *testing_policy(void) {
        static struct policy_block *block;

        if (!block)
                MUST(policy_load_builtin(0, 1, &block) == 0);
        return block;
}

struct policy_block *testing_policy_of(const char *text) {
        char path[] = "/tmp/pinlease-policy-XXXXXX";
        const char *const files[] = { path };
        struct policy_problems problems = { 0 };
        struct policy_block *block = NULL;
        int fd = mkostemp(path, O_CLOEXEC);

        MUST(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
        pl_close(fd);
        (void)policy_load(&(const struct policy_source) { .files = files, .n_files = 1 }, &problems, &block);
        if (problems.n_errors > 0)
                (void)fprintf(stderr, "%s: %s\n", problems.list[0].path, problems.list[0].sentence);
        policy_problems_done(&problems);
        (void)unlink(path);
        MUST(block);
        return block;
}

const struct policy_block *testing_policy_mapped(void) {
        const struct policy_block *block;
        int fd = policy_share(testing_policy());

        MUST(fd >= 0 && policy_map(fd, &block) == 0);
        pl_close(fd);
        return block;
}

struct policy_subject testing_subject(void) {
        return (struct policy_subject) { .uid = getuid() };
}
