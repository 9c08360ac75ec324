/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a session costs: its memory while it idles, its start, and what idle ones cost the others.
 *
 * usage: pinlease-bench-sessions [SESSIONS]      the tables, and JSON on descriptor 3 if it is open
 *        pinlease-bench-sessions --starts N      nothing but N sessions, each up to its first key: to be traced
 */

#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "bench.h"

#define STARTS  41
#define CYCLES  400
#define IDLE_MS 3000

struct bench {
        struct device device;
        int sock; /* of the session that is measured */
        uint32_t context;
        size_t n;
        int *idle;
        json_object *json;
};

static void note(struct bench *b, const char *key, double value) {
        json_object_object_add(b->json, key, json_object_new_double(value));
}

/* --- the start --------------------------------------------------------------------------------------------------------- */

enum stage { CONNECT, HELLO, ATTACH, REGISTER, ALL, N_STAGES };

static const char *const stage_names[N_STAGES] = {
        "connect", "HELLO (the session is started)", "ATTACH", "first REGISTER", "connect to first key"
};

static void start_once(struct bench *b, double took[N_STAGES]) {
        double at[N_STAGES];
        uint32_t context;
        int sock;

        at[0] = now_us();
        sock = dial(CLIENT_SOCKET, 0);
        if (sock < 0)
                die(CLIENT_SOCKET, sock);
        at[1] = now_us();
        say_hello(sock);
        at[2] = now_us();
        context = attach(sock, &b->device);
        at[3] = now_us();
        (void)register_page(sock, &b->device, context);
        at[4] = now_us();
        close(sock);

        for (size_t i = 0; i < ALL; i++)
                took[i] = at[i + 1] - at[i];
        took[ALL] = at[4] - at[0];
}

static void measure_starts(struct bench *b) {
        static double values[N_STAGES][STARTS], trips[STARTS];
        double m[N_STAGES], trip;

        for (size_t i = 0; i < STARTS; i++) {
                double took[N_STAGES], from;

                start_once(b, took);
                for (size_t k = 0; k < N_STAGES; k++)
                        values[k][i] = took[k];
                await_processes(2);
                from = now_us();
                ping(b->sock);
                trips[i] = now_us() - from;
        }

        trip = median(trips, STARTS);
        note(b, "start_round_trip_us", trip);
        (void)printf("A new session, medians of %d, microseconds; bare round trip %.0f.\n\n"
                     "| step | time | in round trips |\n|---|---|---|\n",
                     STARTS,
                     trip);
        for (size_t k = 0; k < N_STAGES; k++) {
                m[k] = median(values[k], STARTS);
                (void)printf("| %s | %.0f | %.1f |\n", stage_names[k], m[k], m[k] / trip);
        }
        note(b, "connect_to_hello_us", m[CONNECT] + m[HELLO]);
        note(b, "connect_to_first_key_us", m[ALL]);
}

/* --- memory ------------------------------------------------------------------------------------------------------------ */

static const char *const private_lines[] = { "Private_Clean", "Private_Dirty", NULL };
static const char *const pss_lines[] = { "Pss", NULL };
static const char *const table_lines[] = { "VmPTE", NULL };

static double daemon_kib(void) {
        pid_t pid;

        if (find_processes("pinleased", "", &pid, 1) != 1)
                die("pinleased", ESRCH);
        return sum_lines(pid, "smaps_rollup", private_lines);
}

struct memory {
        double private, pss, tables, daemon, cgroup; /* KiB */
};

static struct memory memory_now(size_t n_sessions) {
        struct memory m = { .daemon = daemon_kib(), .cgroup = read_number(SERVICE_CGROUP "memory.current") / 1024 };
        size_t n = 2 * n_sessions + 64;
        pid_t *pids = calloc(n, sizeof *pids);

        if (!pids)
                die("memory", ENOMEM);
        n = find_processes(SESSION_COMM, "", pids, n);
        if (n != 2 * n_sessions)
                die("processes that are no session's", EBUSY);
        for (size_t i = 0; i < n; i++) {
                m.private += sum_lines(pids[i], "smaps_rollup", private_lines);
                m.pss += sum_lines(pids[i], "smaps_rollup", pss_lines);
                m.tables += sum_lines(pids[i], "status", table_lines);
        }
        free(pids);
        return m;
}

static void report_memory(struct bench *b, const struct memory *before, const struct memory *with) {
        const struct {
                const char *what, *key;
                double kib;
        } rows[] = {
                { "keeper and registrar: private, resident", "private_kib", with->private - before->private },
                { "the same with their share of what is shared (Pss)", "pss_kib", with->pss - before->pss },
                { "their page tables", "tables_kib", with->tables - before->tables },
                { "`pinleased`: private, resident", "daemon_kib", with->daemon - before->daemon },
                { "all that the service's cgroup is charged, kernel included", "cgroup_kib", with->cgroup - before->cgroup },
        };

        (void)printf("\nMemory of an idle session, mean of %zu, KiB:\n\n| what | KiB |\n|---|---|\n", b->n);
        for (size_t i = 0; i < ELEMENTSOF(rows); i++) {
                (void)printf("| %s | %.1f |\n", rows[i].what, rows[i].kib / (double)b->n);
                note(b, rows[i].key, rows[i].kib / (double)b->n);
        }
}

/* --- idle ones and a busy one ------------------------------------------------------------------------------------------ */

struct load {
        double trip, cycle; /* medians */
};

static struct load measure_cycles(struct bench *b) {
        static double trips[CYCLES], cycles[CYCLES];

        for (size_t i = 0; i < CYCLES; i++) {
                double from = now_us(), between;

                ping(b->sock);
                between = now_us();
                deregister(b->sock, register_page(b->sock, &b->device, b->context));
                trips[i] = between - from;
                cycles[i] = now_us() - between;
        }
        return (struct load) { median(trips, CYCLES), median(cycles, CYCLES) };
}

/* Of one processor, while nobody asks for anything. */
static double idle_percent(void) {
        double before = service_cpu_us();

        sleep_ms(IDLE_MS);
        return (service_cpu_us() - before) / (IDLE_MS * 10.0);
}

static void measure_idle(struct bench *b) {
        struct memory none = memory_now(1), all;
        struct load before, with, after;
        double percent, opening, ratio[2];

        pin(getpid());
        before = measure_cycles(b);
        opening = now_us();
        for (size_t i = 0; i < b->n; i++)
                b->idle[i] = open_session();
        opening = now_us() - opening;
        /* What their start has left to be done is done. */
        sleep_ms(2000);
        all = memory_now(b->n + 1);
        percent = idle_percent();
        with = measure_cycles(b);
        for (size_t i = 0; i < b->n; i++)
                b->idle[i] = pl_close(b->idle[i]);
        await_processes(2);
        after = measure_cycles(b);

        report_memory(b, &none, &all);
        ratio[0] = with.trip * 2 / (before.trip + after.trip);
        ratio[1] = with.cycle * 2 / (before.cycle + after.cycle);
        (void)printf("\nA busy session beside idle ones, microseconds, medians:\n\n"
                     "| request | none idle, before | %zu idle | none idle, after | ratio to the mean of these |\n|---|---|---|---|---|\n"
                     "| round trip | %.0f | %.0f | %.0f | %.2f |\n"
                     "| register + deregister 4 KiB, pinned, warm | %.0f | %.0f | %.0f | %.2f |\n"
                     "\n%zu idle sessions use %.2f %% of a processor. Opening them one after the other took %.1f s.\n",
                     b->n,
                     before.trip,
                     with.trip,
                     after.trip,
                     ratio[0],
                     before.cycle,
                     with.cycle,
                     after.cycle,
                     ratio[1],
                     b->n,
                     percent,
                     opening / 1e6);
        note(b, "idle_ratio_round_trip", ratio[0]);
        note(b, "idle_ratio_register", ratio[1]);
        note(b, "idle_cpu_percent", percent);
}

int main(int argc, char *argv[]) {
        struct bench b = { .n = argc > 1 ? strtoul(argv[1], NULL, 10) : 500, .json = json_object_new_object() };

        enter_host();
        b.device = device_open();
        if (argc == 3 && strcmp(argv[1], "--starts") == 0) {
                double took[N_STAGES];

                for (unsigned long i = strtoul(argv[2], NULL, 10); i > 0; i--) {
                        start_once(&b, took);
                        await_processes(0);
                }
                return EXIT_SUCCESS;
        }

        b.idle = calloc(b.n, sizeof *b.idle);
        if (!b.idle || b.n == 0)
                die("memory", ENOMEM);
        b.sock = open_session();
        b.context = attach(b.sock, &b.device);
        (void)register_page(b.sock, &b.device, b.context); /* keeps the registrar's view: what is measured is warm */
        measure_starts(&b);
        measure_idle(&b);

        if (fcntl(3, F_GETFD) >= 0)
                (void)dprintf(3, "%s\n", json_object_to_json_string_ext(b.json, JSON_C_TO_STRING_PRETTY));
        json_object_put(b.json);
        return EXIT_SUCCESS;
}
