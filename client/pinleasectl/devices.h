/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PINLEASECTL_DEVICES_H
#define PINLEASECTL_DEVICES_H

/*
 * RDMA devices as libibverbs shows them in the network namespace of the caller, which is not the service's business: an
 * app brings its own verbs context. devices.c asks, deviceview.c shows.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "terminal.h"

#define DEVICE_MAX_PORTS 255

/* Transports that ODP is told for. */
enum device_transport {
        DEVICE_RC,
        DEVICE_UC,
        DEVICE_UD,
        DEVICE_XRC,
        DEVICE_N_TRANSPORTS,
};

enum device_dmabuf {
        DEVICE_DMABUF_UNKNOWN,
        DEVICE_DMABUF_NO,
        DEVICE_DMABUF_YES,
};

struct device_port {
        int error; /* 0, or a positive errno: nothing else is known */
        const char *state, *link_layer;
};

struct device {
        const char *name, *transport;
        char driver[64];   /* as sysfs has it, not printable yet; "" if it does not say */
        char firmware[65]; /* the same */
        int error;         /* 0, or a positive errno: it could not be opened or asked, nothing below is known */

        unsigned int n_ports;
        struct device_port ports[DEVICE_MAX_PORTS];

        uint64_t odp_general;                  /* enum ibv_odp_general_caps */
        uint32_t odp[DEVICE_N_TRANSPORTS];     /* enum ibv_odp_transport_cap_bits */
        enum device_dmabuf dmabuf;
        int dmabuf_error; /* why it is not known */

        uint64_t max_mr_size, page_size_cap;
        int max_mr, max_pd;
};

/* Can dma-bufs be registered on it? 1, 0, or a negative errno where that could not be found out. */
struct ibv_context;
int devices_probe_dmabuf(struct ibv_context *verbs);

void device_print(struct terminal *terminal, const struct device *device);

/* As `pinleasectl devices --json` prints it. */
struct json_object *device_to_json(const struct device *device);

#endif
