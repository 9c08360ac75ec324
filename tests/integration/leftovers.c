/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "leftovers.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "harness.h"
#include "process.h"

long long leftovers_pinned(void) {
        long long acquired = 0, released = 0, value;
        char line[128], name[64];
        FILE *f;

        /* Brings the counts of all processors together; without it, their remainders look like leaks. */
        f = fopen("/proc/sys/vm/stat_refresh", "we");
        if (f) {
                (void)fputs("1\n", f);
                (void)fclose(f);
        }

        f = fopen("/proc/vmstat", "re");
        if (!f)
                return -1;
        while (fgets(line, sizeof line, f)) {
                if (sscanf(line, "%63s %lld", name, &value) != 2)
                        continue;
                if (strcmp(name, "nr_foll_pin_acquired") == 0)
                        acquired = value;
                if (strcmp(name, "nr_foll_pin_released") == 0)
                        released = value;
        }
        (void)fclose(f);
        return acquired - released;
}

void leftovers_rdma(const char *kinds, char *text, size_t size) {
        static const char *const hosts[] = { "hosta", "hostb" };
        size_t used = 0;

        text[0] = 0;
        for (size_t i = 0; i < (netns_exclusive() ? ELEMENTSOF(hosts) : 1); i++) {
                char command[128];
                FILE *f;

                (void)snprintf(command,
                               sizeof command,
                               "printf 'resource show %%s\\n' %s | %s%s rdma -b -",
                               kinds,
                               netns_exclusive() ? "ip netns exec " : "",
                               netns_exclusive() ? hosts[i] : "");
                f = popen(command, "re");
                if (!f)
                        FAIL("%s: %m", command);
                while (used + 1 < size && fgets(text + used, (int)(size - used), f))
                        used += strlen(text + used);
                if (pclose(f) != 0)
                        FAIL("%s failed", command);
        }
        for (char *p = text; *p; p++)
                if (*p == '\n')
                        *p = ';';
}

struct question {
        const struct leftovers *before;
        char *what;
        size_t size;
};

static bool is_clean(const void *argument) {
        const struct question *q = argument;
        long long pinned;
        unsigned int n;

        n = process_count(PROCESS_SERVICE);
        if (n != q->before->processes) {
                (void)snprintf(
                        q->what, q->size, "%u processes of pinlease-session, %u before", n, q->before->processes);
                return false;
        }
        n = q->before->processes ? 0 : process_count(PROCESS_WITH_LEDGER);
        if (n > 0) {
                (void)snprintf(q->what, q->size, "%u processes that hold a ledger", n);
                return false;
        }
        if (q->before->processes)
                return true;
        pinned = leftovers_pinned();
        if (pinned != 0) {
                (void)snprintf(q->what, q->size, "%lld pinned pages", pinned);
                return false;
        }
        /* The kernel's own PDs and CQs stay with the device; contexts and MRs are those of processes. */
        leftovers_rdma("mr ctx", q->what, q->size);
        return !q->what[0];
}

void leftovers_note(struct leftovers *ret_before) {
        ret_before->processes = process_count(PROCESS_SERVICE);
}

bool leftovers_none(const struct leftovers *before, char *ret_what, size_t size) {
        struct question q = { .before = before, .what = ret_what, .size = size };

        return eventually(is_clean, &q);
}
