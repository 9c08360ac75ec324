/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a decision costs: policies of so many rules, none of which matches but the last, on this machine itself. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "policy-load.h"
#include "policy.h"

#define ROUNDS 101
#define TIMES  1000

/* What the rules ask for; the request is of none of them until the last. */
static const struct kind {
        const char *name, *match;
} kinds[] = {
        { "user", "\"uid\": \"70000-80000\"" },
        { "path", "\"path\": \"/mnt/pmem/volume-%u/**\"" },
        { "all of it", "\"backing\": \"pagecache\", \"access\": \"read\", \"fs_type\": \"xfs\", \"uid\": \"0-60000\", \"gid\": \"0-60000\", "
                       "\"device\": \"mlx5_*\", \"cgroup\": \"/system.slice/*\", \"path\": \"/mnt/*/volume-%u/**\"" },
};

static uint64_t now_ns(void) {
        struct timespec t;

        (void)clock_gettime(CLOCK_MONOTONIC, &t);
        return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static struct policy_block *load(const struct kind *kind, unsigned int n) {
        char path[] = "/tmp/pinlease-bench-XXXXXX";
        const char *const files[] = { path };
        struct policy_problems problems = { 0 };
        struct policy_block *block = NULL;
        FILE *f = fdopen(mkstemp(path), "w");

        if (!f)
                exit(1);
        (void)fprintf(f, "{\"version\": 1, \"rules\": [");
        for (unsigned int i = 0; i < n - 1; i++) {
                (void)fprintf(f, "{\"match\": {");
                (void)fprintf(f, kind->match, i);
                (void)fprintf(f, "}, \"allow\": false},\n");
        }
        (void)fprintf(f, "{\"allow\": true}]}");
        (void)fclose(f);
        if (policy_load(&(const struct policy_source) { .files = files, .n_files = 1 }, &problems, &block) < 0) {
                (void)fprintf(stderr, "%s: %s\n", problems.list[0].path, problems.list[0].sentence);
                exit(1);
        }
        policy_problems_done(&problems);
        (void)unlink(path);
        return block;
}

static uint64_t measure(const struct policy_block *block) {
        static const gid_t gids[] = { 100, 1000, 2000 };
        const struct policy_subject subject = { .uid = 1000, .gids = gids, .n_gids = 3, .cgroup = "/system.slice/db.service" };
        const struct policy_question question = {
                .backing = PINLEASE_BACKING_PAGECACHE,
                .length = 1 << 20,
                .fs_type = 0x58465342,
                .device = "mlx5_1",
                .path = "/mnt/pmem/another/volume/with/files/of/some/depth/0001.dat",
                .path_is_certain = true,
                .accepted = PINLEASE_METHOD_ANY,
                .offered = PINLEASE_METHOD_ANY,
        };
        uint64_t began = now_ns();

        for (unsigned int i = 0; i < TIMES; i++) {
                struct policy_decision decision;
                struct refusal refusal;

                if (policy_decide(block, &subject, &question, &decision, &refusal) < 0) {
                        (void)fprintf(stderr, "refused: %s\n", refusal.sentence);
                        exit(1);
                }
        }
        return (now_ns() - began) / TIMES;
}

static int compare(const void *a, const void *b) {
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return x < y ? -1 : x > y;
}

int main(void) {
        static const unsigned int sizes[] = { 1, 20, 1000 };
        struct policy_block *blocks[ELEMENTSOF(kinds)][ELEMENTSOF(sizes)];
        static uint64_t ns[ELEMENTSOF(kinds)][ELEMENTSOF(sizes)][ROUNDS];

        for (size_t k = 0; k < ELEMENTSOF(kinds); k++)
                for (size_t s = 0; s < ELEMENTSOF(sizes); s++)
                        blocks[k][s] = load(kinds + k, sizes[s]);
        for (unsigned int r = 0; r < ROUNDS; r++)
                for (size_t k = 0; k < ELEMENTSOF(kinds); k++)
                        for (size_t s = 0; s < ELEMENTSOF(sizes); s++)
                                ns[k][s][r] = measure(blocks[k][s]);

        printf("A decision, nanoseconds, medians of %u, on this machine itself:\n\n", ROUNDS);
        printf("| what the rules ask for | 1 rule | 20 rules | 1000 rules |\n|---|---|---|---|\n");
        for (size_t k = 0; k < ELEMENTSOF(kinds); k++) {
                printf("| %s", kinds[k].name);
                for (size_t s = 0; s < ELEMENTSOF(sizes); s++) {
                        qsort(ns[k][s], ROUNDS, sizeof ns[k][s][0], compare);
                        printf(" | %llu", (unsigned long long)ns[k][s][ROUNDS / 2]);
                        free(blocks[k][s]);
                }
                printf(" |\n");
        }
        printf("\n");
        return 0;
}
