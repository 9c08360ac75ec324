/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef BENCH_ROUNDS_H
#define BENCH_ROUNDS_H

/*
 * Registrations of one memfd, measured in rounds: every round does every measurement once, in an order that is drawn anew, so that
 * a machine that changes its speed changes it for all of them alike. Failures end the program.
 */

#include <json-c/json.h>

#include "file.h"

struct bench {
        struct ibv_context *context;
        struct ibv_pd *pd;
        struct pinlease *session;
        int fd;       /* a sealed memfd, all of it touched */
        void *memory; /* its mapping, populated */
        int dmabuf;   /* pinlease-bench-dmabuf's */
};

void bench_open(struct bench *b, size_t size);
void bench_close(struct bench *b);

/* An empty request and its answer. */
double round_trip(const struct bench *b);

/* By the service, from the beginning of the memfd; as a dma-buf of its udmabuf. */
struct pinlease_mr *brokered_register(struct bench *b, size_t size, enum pinlease_method method);
/* How long that takes, and the end of it. warm: while another registration of the same keeps the registrar's view. */
double brokered(struct bench *b, size_t size, enum pinlease_method method, bool warm);

/* values[i * rounds + round]: what `measure` says of the case i. */
typedef double (*measure_t)(struct bench *b, size_t i);
void run_rounds(struct bench *b, measure_t measure, size_t n, size_t rounds, double *values);

/* The median of those cases, of n, that come at `first` and every `step` after it. */
double median_of_every(const double *values, size_t first, size_t step, size_t n, size_t rounds);

/* The rows, which it takes over, as JSON on descriptor 3 if that is open. */
void report_rows(json_object *rows, size_t rounds, double trip);

#endif
