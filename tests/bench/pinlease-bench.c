/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a brokered registration costs, beside a direct one, in one run.
 *
 * Every round does every measurement once, in an order that is drawn anew, so that a machine that changes its speed
 * changes it for all of them alike; the figures are medians over the rounds. One measurement is register + deregister.
 *
 *   cold   the registering process has no page-table entries for the memory: direct, a fresh mapping of the same memfd;
 *          brokered, a registrar that has no view of it
 *   warm   the memory is mapped there and in use: direct, the same mapping again; brokered, another registration keeps
 *          the registrar's view
 *
 * usage: pinlease-bench [ROUNDS]            the table, and JSON on descriptor 3 if it is open
 *        pinlease-bench --loop N METHOD     for counting system calls: says the registrar's parent is up ("ready"),
 *                                           waits for a line, does N warm cycles of 4 KiB, and ends
 */

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "rounds.h"

static const size_t sizes[] = { 4096, 65536, 1 << 20, 16 << 20, 64 << 20 };
static const enum pinlease_method methods[] = { PINLEASE_METHOD_PINNED, PINLEASE_METHOD_ODP };

enum kind { DIRECT_COLD, DIRECT_WARM, BROKERED_COLD, BROKERED_WARM, ROUND_TRIP, N_KINDS };

static const char *const kind_names[N_KINDS] = { "direct cold", "direct warm", "brokered cold", "brokered warm", "round trip" };

static double direct(struct bench *b, size_t size, enum pinlease_method method, bool cold) {
        unsigned int access = ACCESS_READ_WRITE | (method == PINLEASE_METHOD_ODP ? IBV_ACCESS_ON_DEMAND : 0U);
        void *memory = b->memory;
        struct ibv_mr *mr;
        double from, took;

        if (cold) {
                memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0);
                if (memory == MAP_FAILED)
                        die("mmap", errno);
        }

        from = now_us();
        mr = ibv_reg_mr(b->pd, memory, size, access);
        if (!mr)
                die("ibv_reg_mr (as root, or with a larger ulimit -l)", errno);
        if (ibv_dereg_mr(mr))
                die("ibv_dereg_mr", errno);
        took = now_us() - from;

        if (cold)
                (void)munmap(memory, size);
        return took;
}

static double measure(struct bench *b, size_t i) {
        const enum kind kind = (enum kind)(i % N_KINDS);
        const size_t group = i / N_KINDS, size = sizes[group / ELEMENTSOF(methods)];
        const enum pinlease_method method = methods[group % ELEMENTSOF(methods)];

        switch (kind) {
        case DIRECT_COLD:
        case DIRECT_WARM:
                return direct(b, size, method, kind == DIRECT_COLD);
        case BROKERED_COLD:
        case BROKERED_WARM:
                return brokered(b, size, method, kind == BROKERED_WARM);
        default:
                return round_trip(b);
        }
}

#define N_CASES (ELEMENTSOF(sizes) * ELEMENTSOF(methods) * N_KINDS)

static void report(size_t rounds, double *values, double trip) {
        json_object *rows = json_object_new_array();

        (void)printf("Medians of %zu interleaved rounds, microseconds; bare round trip %.0f.\n"
                     "\n"
                     "| size | method | direct cold | brokered cold | direct warm | brokered warm | warm: (brokered - direct) / round trip |\n"
                     "|---|---|---|---|---|---|---|\n",
                     rounds,
                     trip);
        for (size_t group = 0; group < N_CASES / N_KINDS; group++) {
                size_t size = sizes[group / ELEMENTSOF(methods)];
                const char *method = pinlease_strmethod(methods[group % ELEMENTSOF(methods)]);
                json_object *row = json_object_new_object();
                double m[N_KINDS];

                json_object_object_add(row, "bytes", json_object_new_int64((int64_t)size));
                json_object_object_add(row, "method", json_object_new_string(method));
                for (size_t kind = 0; kind < N_KINDS; kind++) {
                        m[kind] = median(values + (group * N_KINDS + kind) * rounds, rounds);
                        json_object_object_add(row, kind_names[kind], json_object_new_double(m[kind]));
                }
                json_object_array_add(rows, row);

                (void)printf("| %zu KiB | %s | %.0f | %.0f | %.0f | %.0f | %.2f |\n",
                             size / 1024,
                             method,
                             m[DIRECT_COLD],
                             m[BROKERED_COLD],
                             m[DIRECT_WARM],
                             m[BROKERED_WARM],
                             (m[BROKERED_WARM] - m[DIRECT_WARM]) / trip);
        }

        report_rows(rows, rounds, trip);
}

static void table(struct bench *b, size_t rounds) {
        double *values = calloc(N_CASES * rounds, sizeof *values);

        if (!values)
                die("memory", ENOMEM);
        run_rounds(b, measure, N_CASES, 1, values); /* what happens only the first time */
        run_rounds(b, measure, N_CASES, rounds, values);
        report(rounds, values, median_of_every(values, ROUND_TRIP, N_KINDS, N_CASES, rounds));
        free(values);
}

static void loop(struct bench *b, size_t n, const char *name) {
        enum pinlease_method method = strcmp(name, "odp") == 0 ? PINLEASE_METHOD_ODP : PINLEASE_METHOD_PINNED;
        struct pinlease_mr *holder = brokered_register(b, 4096, method);

        (void)puts("ready");
        (void)fflush(stdout);
        (void)getchar();
        for (size_t i = 0; i < n; i++)
                if (pinlease_dereg(b->session, brokered_register(b, 4096, method)) < 0)
                        die_refused(b->session);
        /* Whoever counts has seen the last of it. */
        (void)puts("done");
        (void)fflush(stdout);
        (void)getchar();
        if (pinlease_dereg(b->session, holder) < 0)
                die_refused(b->session);
}

int main(int argc, char *argv[]) {
        struct bench b = { .fd = -1 };

        if (argc > 1 && strcmp(argv[1], "--loop") == 0 && argc != 4) {
                (void)fprintf(stderr, "usage: pinlease-bench [ROUNDS] | --loop N odp|pinned\n");
                return 2;
        }

        bench_open(&b, sizes[ELEMENTSOF(sizes) - 1]);
        if (argc == 4)
                loop(&b, strtoul(argv[2], NULL, 10), argv[3]);
        else
                table(&b, argc > 1 ? strtoul(argv[1], NULL, 10) : 41);

        bench_close(&b);
        return EXIT_SUCCESS;
}
