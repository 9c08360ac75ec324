/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What it costs to register the same memory as a dma-buf, by a pin, and by ODP: a memfd and its udmabuf. soft-RoCE
 * registers dma-bufs by the kernel module of tests/kmod alone, which pins their pages; see doc/PERFORMANCE.md for what
 * follows from that.
 *
 * Every round does every measurement once, in an order that is drawn anew; the figures are medians over the rounds. One
 * measurement is register + deregister. "warm" is with another registration of the same memory, which keeps the
 * registrar's view of it; of a dma-buf there is no view.
 *
 * usage: pinlease-bench-dmabuf [ROUNDS]      the table, and JSON on descriptor 3 if it is open
 */

#include <fcntl.h>
#include <linux/udmabuf.h>
#include <rdma/ib_user_ioctl_verbs.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "rounds.h"
#include "uverbs.h"

static const size_t sizes[] = { 4096, 65536, 1 << 20, 64 << 20 };

enum kind { BARE, DMABUF, PINNED_COLD, PINNED_WARM, ODP_COLD, ODP_WARM, ROUND_TRIP, N_KINDS };

static const char *const kind_names[N_KINDS] = {
        "bare dma-buf", "dma-buf", "pinned cold", "pinned warm", "odp cold", "odp warm", "round trip",
};

#define N_CASES (ELEMENTSOF(sizes) * N_KINDS)

static void open_dmabuf(struct bench *b) {
        struct udmabuf_create create = {
                .memfd = (uint32_t)b->fd,
                .flags = UDMABUF_FLAGS_CLOEXEC,
                .size = sizes[ELEMENTSOF(sizes) - 1],
        };
        int device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);

        if (device < 0)
                die("/dev/udmabuf", errno);
        b->dmabuf = ioctl(device, UDMABUF_CREATE, &create);
        if (b->dmabuf < 0)
                die("UDMABUF_CREATE", errno);
        close(device);
}

/* The kernel's own calls, in this process: libibverbs does not make them for soft-RoCE. */
static double bare(const struct bench *b, size_t size) {
        const struct uverbs_device device = { .fd = b->context->cmd_fd, .driver_id = RDMA_DRIVER_RXE };
        const struct uverbs_dmabuf range = { .fd = b->dmabuf, .length = size, .iova = (uintptr_t)b->memory };
        struct uverbs_command command;
        struct uverbs_mr_keys keys;
        double from = now_us();
        int r;

        r = uverbs_kernel.reg_dmabuf_mr(&device, b->pd->handle, &range, ACCESS_READ_WRITE, &command, &keys);
        if (r < 0)
                die("REG_DMABUF_MR (soft-RoCE has it by the module of tests/kmod)", r);
        r = uverbs_kernel.dereg_mr(&device, keys.handle);
        if (r < 0)
                die("DEREG_MR", r);
        return now_us() - from;
}

static double measure(struct bench *b, size_t i) {
        const enum kind kind = (enum kind)(i % N_KINDS);
        const size_t size = sizes[i / N_KINDS];

        switch (kind) {
        case BARE:
                return bare(b, size);
        case DMABUF:
                return brokered(b, size, PINLEASE_METHOD_DMABUF, false);
        case PINNED_COLD:
        case PINNED_WARM:
                return brokered(b, size, PINLEASE_METHOD_PINNED, kind == PINNED_WARM);
        case ODP_COLD:
        case ODP_WARM:
                return brokered(b, size, PINLEASE_METHOD_ODP, kind == ODP_WARM);
        default:
                return round_trip(b);
        }
}

static void report(size_t rounds, double *values, double trip) {
        json_object *rows = json_object_new_array();

        (void)printf("The same memfd, as a dma-buf (its udmabuf), pinned and by ODP; medians of %zu interleaved "
                     "rounds, microseconds;\n"
                     "bare round trip %.0f.\n"
                     "\n"
                     "| size | bare dma-buf | dma-buf | pinned, cold | pinned, warm | odp, cold | odp, warm | "
                     "(dma-buf - bare) / round trip |\n"
                     "|---|---|---|---|---|---|---|---|\n",
                     rounds,
                     trip);
        for (size_t size = 0; size < ELEMENTSOF(sizes); size++) {
                json_object *row = json_object_new_object();
                double m[ROUND_TRIP];

                json_object_object_add(row, "bytes", json_object_new_int64((int64_t)sizes[size]));
                (void)printf("| %zu KiB |", sizes[size] / 1024);
                for (size_t kind = 0; kind < ROUND_TRIP; kind++) {
                        m[kind] = median(values + (size * N_KINDS + kind) * rounds, rounds);
                        json_object_object_add(row, kind_names[kind], json_object_new_double(m[kind]));
                        (void)printf(" %.0f |", m[kind]);
                }
                (void)printf(" %.2f |\n", (m[DMABUF] - m[BARE]) / trip);
                json_object_array_add(rows, row);
        }

        report_rows(rows, rounds, trip);
}

int main(int argc, char *argv[]) {
        size_t rounds = argc > 1 ? strtoul(argv[1], NULL, 10) : 41;
        struct bench b = { .fd = -1, .dmabuf = -1 };
        double *values;

        if (argc > 2 || rounds == 0) {
                (void)fprintf(stderr, "usage: pinlease-bench-dmabuf [ROUNDS]\n");
                return 2;
        }
        values = calloc(N_CASES * rounds, sizeof *values);
        if (!values)
                die("memory", ENOMEM);

        bench_open(&b, sizes[ELEMENTSOF(sizes) - 1]);
        open_dmabuf(&b);
        run_rounds(&b, measure, N_CASES, 1, values); /* what happens only the first time */
        run_rounds(&b, measure, N_CASES, rounds, values);
        report(rounds, values, median_of_every(values, ROUND_TRIP, N_KINDS, N_CASES, rounds));

        free(values);
        bench_close(&b);
        return EXIT_SUCCESS;
}
