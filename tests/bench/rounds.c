/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "rounds.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

void bench_open(struct bench *b, size_t size) {
        struct ibv_device **devices = ibv_get_device_list(NULL);

        if (!devices || !devices[0])
                die("no RDMA device", ENODEV);
        b->context = ibv_open_device(devices[0]);
        if (!b->context)
                die("ibv_open_device", errno);
        b->pd = ibv_alloc_pd(b->context);
        if (!b->pd)
                die("ibv_alloc_pd", errno);

        b->fd = memfd_create("bench", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (b->fd < 0 || ftruncate(b->fd, (off_t)size) < 0 ||
            fcntl(b->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
                die("memfd", errno);
        b->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, b->fd, 0);
        if (b->memory == MAP_FAILED)
                die("mmap", errno);
        memset(b->memory, 1, size);

        if (pinlease_connect(NULL, NULL, NULL, &b->session) < 0)
                die_refused(NULL);
        if (pinlease_attach(b->session, b->context) < 0)
                die_refused(b->session);
}

void bench_close(struct bench *b) {
        pinlease_disconnect(b->session);
        (void)ibv_dealloc_pd(b->pd);
        (void)ibv_close_device(b->context);
}

double round_trip(const struct bench *b) {
        double from = now_us();

        if (pinlease_ping(b->session) < 0)
                die_refused(b->session);
        return now_us() - from;
}

struct pinlease_mr *brokered_register(struct bench *b, size_t size, enum pinlease_method method) {
        struct pinlease_mr *mr;
        int r;

        if (method == PINLEASE_METHOD_DMABUF)
                r = pinlease_reg_dmabuf(
                        b->session, b->pd, b->dmabuf, 0, size, (uintptr_t)b->memory, ACCESS_READ_WRITE, NULL, &mr);
        else
                r = pinlease_reg_fd(
                        b->session, b->pd, b->fd, 0, size, b->memory, ACCESS_READ_WRITE, (unsigned int)method, &mr);
        if (r < 0)
                die_refused(b->session);
        return mr;
}

double brokered(struct bench *b, size_t size, enum pinlease_method method, bool warm) {
        struct pinlease_mr *holder = warm ? brokered_register(b, size, method) : NULL, *mr;
        double from, took;

        from = now_us();
        mr = brokered_register(b, size, method);
        if (pinlease_dereg(b->session, mr) < 0)
                die_refused(b->session);
        took = now_us() - from;

        if (holder && pinlease_dereg(b->session, holder) < 0)
                die_refused(b->session);
        return took;
}

static void shuffle(size_t *order, size_t n) {
        for (size_t i = n - 1; i > 0; i--) {
                size_t j = (size_t)random() % (i + 1), t = order[i];

                order[i] = order[j];
                order[j] = t;
        }
}

void run_rounds(struct bench *b, measure_t measure, size_t n, size_t rounds, double *values) {
        size_t *order = calloc(n, sizeof *order);

        if (!order)
                die("memory", ENOMEM);
        for (size_t i = 0; i < n; i++)
                order[i] = i;
        for (size_t round = 0; round < rounds; round++) {
                shuffle(order, n);
                for (size_t k = 0; k < n; k++)
                        values[order[k] * rounds + round] = measure(b, order[k]);
        }
        free(order);
}

double median_of_every(const double *values, size_t first, size_t step, size_t n, size_t rounds) {
        double *some = calloc((n + step - 1) / step * rounds, sizeof *some), result;
        size_t k = 0;

        if (!some)
                die("memory", ENOMEM);
        for (size_t i = first; i < n; i += step)
                for (size_t round = 0; round < rounds; round++)
                        some[k++] = values[i * rounds + round];
        result = median(some, k);
        free(some);
        return result;
}

void report_rows(json_object *rows, size_t rounds, double trip) {
        json_object *top = json_object_new_object();

        json_object_object_add(top, "rounds", json_object_new_int64((int64_t)rounds));
        json_object_object_add(top, "round_trip_us", json_object_new_double(trip));
        json_object_object_add(top, "rows", rows);
        if (fcntl(3, F_GETFD) >= 0)
                (void)dprintf(3, "%s\n", json_object_to_json_string_ext(top, JSON_C_TO_STRING_PRETTY));
        json_object_put(top);
}
