/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pinleasectl devices: asks libibverbs. */

#include "devices.h"

#include <err.h>
#include <errno.h>
#include <infiniband/verbs.h>
#include <stdio.h>
#include <string.h>

#include "pinleasectl.h"
#include "uverbs.h"

static const char *transport_name(const struct ibv_device *device) {
        switch (device->transport_type) {
        case IBV_TRANSPORT_IB:
                return "InfiniBand";
        case IBV_TRANSPORT_IWARP:
                return "iWARP";
        case IBV_TRANSPORT_USNIC:
        case IBV_TRANSPORT_USNIC_UDP:
                return "usNIC";
        case IBV_TRANSPORT_UNSPECIFIED:
                return "its own";
        default:
                return "unknown";
        }
}

static const char *link_layer_name(uint8_t link_layer) {
        return link_layer == IBV_LINK_LAYER_INFINIBAND ? "InfiniBand" : link_layer == IBV_LINK_LAYER_ETHERNET ? "Ethernet" : "unknown";
}

static const char *state_name(enum ibv_port_state state) {
        switch (state) {
        case IBV_PORT_DOWN:
                return "down";
        case IBV_PORT_INIT:
                return "init";
        case IBV_PORT_ARMED:
                return "armed";
        case IBV_PORT_ACTIVE:
                return "active";
        case IBV_PORT_ACTIVE_DEFER:
                return "active-defer";
        default:
                return "unknown";
        }
}

/* The driver of the bus device; one made of software has none, and says in words what it is. */
static void find_driver(const struct ibv_device *device, char ret_driver[static 64]) {
        char path[IBV_SYSFS_PATH_MAX + 32], target[256];
        const char *slash;
        ssize_t n;
        FILE *f;

        (void)snprintf(path, sizeof path, "%s/device/driver", device->ibdev_path);
        n = readlink(path, target, sizeof target - 1);
        if (n > 0) {
                target[n] = 0;
                slash = strrchr(target, '/');
                (void)snprintf(ret_driver, 64, "%.63s", slash ? slash + 1 : target);
                return;
        }

        (void)snprintf(path, sizeof path, "%s/node_desc", device->ibdev_path);
        f = fopen(path, "re");
        ret_driver[f ? fread(ret_driver, 1, 63, f) : 0] = 0;
        ret_driver[strcspn(ret_driver, "\n")] = 0;
        if (f)
                (void)fclose(f);
}

/*
 * Nothing tells whether dma-buf memory can be registered, so it is tried with a descriptor that is none. The kernel is asked, as
 * the service does it, not libibverbs: some of its providers answer that they cannot before the kernel has been asked.
 */
int devices_probe_dmabuf(struct ibv_context *verbs) {
        struct uverbs_device device = { .fd = verbs->cmd_fd };
        struct ibv_pd *pd;
        int r;

        r = uverbs_kernel.probe(device.fd, &device.driver_id);
        if (r < 0)
                return r;
        errno = 0;
        pd = ibv_alloc_pd(verbs);
        if (!pd)
                return errno ? -errno : -EIO;
        r = uverbs_kernel.probe_dmabuf(&device, pd->handle);
        (void)ibv_dealloc_pd(pd);
        return r;
}

static void find_dmabuf(struct ibv_context *verbs, struct device *device) {
        int r = devices_probe_dmabuf(verbs);

        device->dmabuf = r < 0 ? DEVICE_DMABUF_UNKNOWN : r > 0 ? DEVICE_DMABUF_YES : DEVICE_DMABUF_NO;
        device->dmabuf_error = r < 0 ? -r : 0;
}

static void query_port(struct ibv_context *verbs, unsigned int number, struct device_port *port) {
        struct ibv_port_attr attributes;

        /* The result is an errno; errno itself need not be set. */
        port->error = ibv_query_port(verbs, (uint8_t)number, &attributes);
        if (port->error != 0)
                return;
        port->state = state_name(attributes.state);
        port->link_layer = link_layer_name(attributes.link_layer);
}

static int query(struct ibv_context *verbs, struct device *device) {
        struct ibv_device_attr_ex attributes = { 0 };
        const struct ibv_device_attr *basic = &attributes.orig_attr;
        unsigned int ports;
        int r;

        r = ibv_query_device_ex(verbs, NULL, &attributes);
        if (r != 0)
                return r;

        (void)snprintf(device->firmware, sizeof device->firmware, "%.64s", basic->fw_ver);
        device->odp_general = attributes.odp_caps.general_caps;
        device->odp[DEVICE_RC] = attributes.odp_caps.per_transport_caps.rc_odp_caps;
        device->odp[DEVICE_UC] = attributes.odp_caps.per_transport_caps.uc_odp_caps;
        device->odp[DEVICE_UD] = attributes.odp_caps.per_transport_caps.ud_odp_caps;
        device->odp[DEVICE_XRC] = attributes.xrc_odp_caps;
        device->max_mr = basic->max_mr;
        device->max_mr_size = basic->max_mr_size;
        device->max_pd = basic->max_pd;
        device->page_size_cap = basic->page_size_cap;

        ports = attributes.phys_port_cnt_ex ? attributes.phys_port_cnt_ex : basic->phys_port_cnt;
        device->n_ports = ports < DEVICE_MAX_PORTS ? ports : DEVICE_MAX_PORTS;
        for (unsigned int i = 0; i < device->n_ports; i++)
                query_port(verbs, i + 1, device->ports + i);
        find_dmabuf(verbs, device);
        return 0;
}

static enum status show_device(struct context *context, struct ibv_device *verbs_device, bool first) {
        struct device device = { .name = ibv_get_device_name(verbs_device), .transport = transport_name(verbs_device) };
        struct ibv_context *verbs;

        find_driver(verbs_device, device.driver);
        errno = 0;
        verbs = ibv_open_device(verbs_device);
        if (!verbs)
                device.error = errno ? errno : EIO;
        else {
                device.error = query(verbs, &device);
                (void)ibv_close_device(verbs);
        }

        if (context->options->json) {
                struct json_object *object = device_to_json(&device);

                (void)puts(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
                (void)json_object_put(object);
        } else {
                if (!first)
                        terminal_line(&context->terminal, NULL, "%s", "");
                device_print(&context->terminal, &device);
        }
        return device.error == 0                                ? STATUS_OK
               : device.error == EACCES || device.error == EPERM ? STATUS_NOT_PERMITTED
                                                                : STATUS_FAILED;
}

enum status devices_run(struct context *context) {
        enum status worst = STATUS_OK;
        struct ibv_device **list;
        int n = 0;

        list = ibv_get_device_list(&n);
        if (!list && errno != ENOSYS) {
                warn("devices: libibverbs cannot list them");
                return errno == EACCES || errno == EPERM ? STATUS_NOT_PERMITTED : STATUS_FAILED;
        }
        /* ENOSYS: the kernel has no RDMA at all, or has not loaded it. */
        if (n == 0)
                warnx("devices: there is no RDMA device in this network namespace. See: rdma link");
        for (int i = 0; i < n; i++) {
                enum status status = show_device(context, list[i], i == 0);

                worst = status > worst ? status : worst;
        }
        if (list)
                ibv_free_device_list(list);
        return worst;
}
