/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pinlease-explain: what text and JSON have in common. */

#include "explain.h"

#include <err.h>
#include <inttypes.h>
#include <string.h>

#include "fstype.h"
#include "utf8.h"

/* Values of a list that are shown. */
#define MAX_VALUES 4

static _Noreturn void no_memory(void) {
        errx(EXPLAIN_NO_ANSWER, "out of memory");
}

char *explain_harmless(const char *text) {
        size_t n = strlen(text);
        char *harmless = malloc(PL_UTF8_ESCAPED(n));

        if (!harmless)
                no_memory();
        pl_utf8_escape(text, n, harmless);
        return harmless;
}

const char *explain_mismatch_name(enum policy_mismatch mismatch) {
        switch (mismatch) {
        case POLICY_OTHER_BACKING:
                return "backing";
        case POLICY_OTHER_ACCESS:
                return "access";
        case POLICY_OTHER_SIZE:
                return "size";
        case POLICY_OTHER_FS_TYPE:
                return "fs_type";
        case POLICY_OTHER_UID:
                return "uid";
        case POLICY_OTHER_GID:
                return "gid";
        case POLICY_OTHER_DEVICE:
                return "device";
        case POLICY_OTHER_EXPORTER:
                return "exporter";
        case POLICY_OTHER_CGROUP:
                return "cgroup";
        case POLICY_OTHER_PATH:
                return "path";
        case POLICY_UNCERTAIN_PATH:
                return "path-uncertain";
        case POLICY_MATCHES:
                break;
        }
        return "";
}

static void show_ranges(const struct explanation *e, const struct policy_list *list, FILE *out) {
        const struct policy_range *ranges = policy_at(e->policy, list->offset);

        for (uint32_t i = 0; i < list->n && i < MAX_VALUES; i++) {
                (void)fprintf(out, "%s%" PRIu32, i ? ", " : "", ranges[i].first);
                if (ranges[i].last != ranges[i].first)
                        (void)fprintf(out, "-%" PRIu32, ranges[i].last);
        }
}

static void show_patterns(const struct explanation *e, const struct policy_list *list, FILE *out) {
        const uint32_t *patterns = policy_at(e->policy, list->offset);

        for (uint32_t i = 0; i < list->n && i < MAX_VALUES; i++) {
                _cleanup_(pl_freep) char *pattern = explain_harmless(policy_text(e->policy, patterns[i]));

                (void)fprintf(out, "%s%s", i ? ", " : "", pattern);
        }
}

static void show_fs_types(const struct explanation *e, const struct policy_list *list, FILE *out) {
        const uint64_t *types = policy_at(e->policy, list->offset);

        for (uint32_t i = 0; i < list->n && i < MAX_VALUES; i++) {
                const char *name = NULL;
                uint64_t magic;

                /* The last: ext2, ext3 and ext4 have one number. */
                for (size_t k = 0; pl_fstype_name(k); k++)
                        if (pl_fstype_magic(pl_fstype_name(k), &magic) == 0 && magic == types[i] &&
                            strcmp(pl_fstype_name(k), "devtmpfs") != 0)
                                name = pl_fstype_name(k);
                if (name)
                        (void)fprintf(out, "%s%s", i ? ", " : "", name);
                else
                        (void)fprintf(out, "%s0x%" PRIx64, i ? ", " : "", types[i]);
        }
}

static void show_backings(uint32_t backings, FILE *out) {
        const char *separator = "";

        for (unsigned int i = 0; i < 32; i++)
                if (backings & 1U << i) {
                        (void)fprintf(out, "%s%s", separator, pl_backing_name((enum pinlease_backing)i));
                        separator = ", ";
                }
}

static const struct policy_list *list_of(const struct policy_rule *rule, enum policy_mismatch mismatch) {
        switch (mismatch) {
        case POLICY_OTHER_FS_TYPE:
                return &rule->fs_types;
        case POLICY_OTHER_UID:
                return &rule->uids;
        case POLICY_OTHER_GID:
                return &rule->gids;
        case POLICY_OTHER_DEVICE:
                return &rule->devices;
        case POLICY_OTHER_EXPORTER:
                return &rule->exporters;
        case POLICY_OTHER_CGROUP:
                return &rule->cgroups;
        case POLICY_OTHER_PATH:
        case POLICY_UNCERTAIN_PATH:
                return &rule->paths;
        case POLICY_MATCHES:
        case POLICY_OTHER_BACKING:
        case POLICY_OTHER_ACCESS:
        case POLICY_OTHER_SIZE:
                break;
        }
        return NULL;
}

static void show_wanted(const struct explanation *e,
                        const struct policy_rule *rule,
                        enum policy_mismatch mismatch,
                        FILE *out) {
        const struct policy_list *list = list_of(rule, mismatch);

        if (mismatch == POLICY_OTHER_BACKING)
                show_backings(rule->backings, out);
        else if (mismatch == POLICY_OTHER_ACCESS)
                (void)fputs(rule->access & POLICY_ACCESS_WRITE ? "write" : "read", out);
        else if (mismatch == POLICY_OTHER_SIZE && rule->size_max == UINT64_MAX)
                (void)fprintf(out, "%" PRIu64 " bytes at least", rule->size_min);
        else if (mismatch == POLICY_OTHER_SIZE)
                (void)fprintf(out, "%" PRIu64 " to %" PRIu64 " bytes", rule->size_min, rule->size_max);
        else if (mismatch == POLICY_OTHER_FS_TYPE && list->n == 0)
                (void)fputs("has to be named", out);
        else if (mismatch == POLICY_OTHER_FS_TYPE)
                show_fs_types(e, list, out);
        else if (mismatch == POLICY_OTHER_UID || mismatch == POLICY_OTHER_GID)
                show_ranges(e, list, out);
        else if (list)
                show_patterns(e, list, out);
        if (list && list->n > MAX_VALUES)
                (void)fprintf(out, " and %" PRIu32 " more", list->n - MAX_VALUES);
}

char *explain_wanted(const struct explanation *e, const struct policy_rule *rule, enum policy_mismatch mismatch) {
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);

        if (!out)
                no_memory();
        show_wanted(e, rule, mismatch, out);
        if (fclose(out) != 0 || !text)
                no_memory();
        return text;
}

char *explain_way_text(const struct explain_way *way) {
        const char *method = pl_method_name(way->method), *separator = "";
        char *text = NULL;
        size_t size = 0;
        FILE *out = open_memstream(&text, &size);

        if (!out)
                no_memory();
        if (way->memory)
                (void)fprintf(out,
                              "use %s: %s",
                              way->backing == PINLEASE_BACKING_SHMEM ? "a memfd, or a file on tmpfs" : "huge pages",
                              method);
        if (way->reading) {
                (void)fputs("ask for read access only", out);
                separator = ", and ";
        }
        if (way->device) {
                (void)fprintf(out, "%suse a device that offers %s", separator, method);
                separator = ", and ";
        }
        if (way->accept)
                (void)fprintf(out, "%saccept %s", separator, method);
        else if (way->reading && !way->device)
                (void)fprintf(out, ": %s", method);
        if (fclose(out) != 0 || !text)
                no_memory();
        return text;
}
