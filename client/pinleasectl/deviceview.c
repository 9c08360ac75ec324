/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "devices.h"

#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "pinleasectl.h"
#include "text.h"

/* Numbers of the kernel's ABI (enum ibv_odp_transport_cap_bits, enum ibv_odp_general_caps), the later ones too. */
#define ODP_SUPPORT  (1U << 0)
#define ODP_IMPLICIT (1U << 1)
static const char *const operations[] = {
        "send", "recv", "write", "read", "atomic", "srq-recv", "flush", "atomic-write",
};
static const char *const transports[DEVICE_N_TRANSPORTS] = {
        [DEVICE_RC] = "RC",
        [DEVICE_UC] = "UC",
        [DEVICE_UD] = "UD",
        [DEVICE_XRC] = "XRC",
};
static const char *const dmabuf_names[] = {
        [DEVICE_DMABUF_UNKNOWN] = "unknown",
        [DEVICE_DMABUF_NO] = "no",
        [DEVICE_DMABUF_YES] = "yes",
};

static void print_text(struct terminal *t, const char *label, const char *text) {
        _cleanup_(pl_freep) char *printable = text_printable(text, strlen(text));

        terminal_pair(t, 2, label, *printable ? printable : "-");
}

static void print_odp(struct terminal *t, const struct device *device) {
        terminal_pair(t,
                      2,
                      "ODP",
                      !(device->odp_general & ODP_SUPPORT)   ? "no"
                      : device->odp_general & ODP_IMPLICIT ? "yes, implicit too"
                                                           : "yes, not implicit");
        if (!(device->odp_general & ODP_SUPPORT))
                return;
        for (size_t i = 0; i < DEVICE_N_TRANSPORTS; i++) {
                char list[256] = "", label[TERMINAL_LABEL];
                size_t n = 0;

                for (unsigned int bit = 0; bit < 32; bit++) {
                        if (!(device->odp[i] & 1U << bit))
                                continue;
                        if (bit < ELEMENTSOF(operations))
                                n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", n > 0 ? " " : "", operations[bit]);
                        else
                                n += (size_t)snprintf(list + n, sizeof list - n, "%sbit-%u", n > 0 ? " " : "", bit);
                }
                (void)snprintf(label, sizeof label, "  %s", transports[i]);
                terminal_pair(t, 2, label, n > 0 ? list : "-");
        }
}

static void print_ports(struct terminal *t, const struct device *device) {
        for (unsigned int i = 0; i < device->n_ports; i++) {
                const struct device_port *port = device->ports + i;
                char label[TERMINAL_LABEL];

                (void)snprintf(label, sizeof label, "port %u", i + 1);
                if (port->error)
                        terminal_pairf(t, 2, label, "cannot be asked: %s", strerror(port->error));
                else
                        terminal_pairf(t, 2, label, "%s, %s", port->state, port->link_layer);
        }
}

void device_print(struct terminal *t, const struct device *device) {
        _cleanup_(pl_freep) char *name = text_printable(device->name, strlen(device->name));
        char size[TEXT_SMALL];

        terminal_line(t, TERMINAL_BOLD, "%s", name);
        print_text(t, "driver", device->driver);
        print_text(t, "transport", device->transport);
        if (device->error) {
                terminal_pairf(t, 2, "error", "cannot be opened: %s", strerror(device->error));
                return;
        }
        print_text(t, "firmware", device->firmware);
        print_ports(t, device);
        print_odp(t, device);
        if (device->dmabuf == DEVICE_DMABUF_UNKNOWN)
                terminal_pairf(t, 2, "dma-buf", "unknown: %s", strerror(device->dmabuf_error));
        else
                terminal_pair(t, 2, "dma-buf", dmabuf_names[device->dmabuf]);
        terminal_pairf(t, 2, "max_mr", "%d", device->max_mr);
        terminal_pairf(t, 2, "max_mr_size", "%s (%" PRIu64 ")", text_size(size, device->max_mr_size), device->max_mr_size);
        terminal_pairf(t, 2, "max_pd", "%d", device->max_pd);
        if (device->page_size_cap)
                terminal_pairf(t,
                               2,
                               "page_size_cap",
                               "0x%" PRIx64 ", smallest %s",
                               device->page_size_cap,
                               text_size(size, device->page_size_cap & -device->page_size_cap));
        else
                terminal_pair(t, 2, "page_size_cap", "-");
}

static void add(struct json_object *object, const char *name, struct json_object *value) {
        if (!value || json_object_object_add(object, name, value) < 0)
                err(STATUS_FAILED, "devices");
}

/* Firmware versions and descriptions come from hardware: JSON wants UTF-8. */
static void add_text(struct json_object *object, const char *name, const char *text) {
        _cleanup_(pl_freep) char *printable = text_printable(text, strlen(text));

        add(object, name, json_object_new_string(printable));
}

static struct json_object *ports_to_json(const struct device *device) {
        struct json_object *array = json_object_new_array();

        for (unsigned int i = 0; i < device->n_ports; i++) {
                struct json_object *port = json_object_new_object();

                add(port, "port", json_object_new_int((int)i + 1));
                if (device->ports[i].error)
                        add_text(port, "error", strerror(device->ports[i].error));
                else {
                        add_text(port, "state", device->ports[i].state);
                        add_text(port, "link_layer", device->ports[i].link_layer);
                }
                if (json_object_array_add(array, port) < 0)
                        err(STATUS_FAILED, "devices");
        }
        return array;
}

static struct json_object *odp_to_json(const struct device *device) {
        static const char *const names[DEVICE_N_TRANSPORTS] = { "rc", "uc", "ud", "xrc" };
        struct json_object *odp = json_object_new_object();

        add(odp, "supported", json_object_new_boolean((device->odp_general & ODP_SUPPORT) != 0));
        add(odp, "implicit", json_object_new_boolean((device->odp_general & ODP_IMPLICIT) != 0));
        for (size_t i = 0; i < DEVICE_N_TRANSPORTS; i++) {
                struct json_object *list = json_object_new_array();

                for (unsigned int bit = 0; bit < 32; bit++) {
                        char name[16];

                        if (!(device->odp[i] & 1U << bit))
                                continue;
                        (void)snprintf(name, sizeof name, "bit-%u", bit);
                        if (json_object_array_add(list,
                                                  json_object_new_string(bit < ELEMENTSOF(operations) ? operations[bit]
                                                                                                     : name)) < 0)
                                err(STATUS_FAILED, "devices");
                }
                add(odp, names[i], list);
        }
        return odp;
}

struct json_object *device_to_json(const struct device *device) {
        struct json_object *object = json_object_new_object(), *limits;

        add(object, "type", json_object_new_string("device"));
        add_text(object, "name", device->name);
        add_text(object, "driver", device->driver);
        add_text(object, "transport", device->transport);
        if (device->error) {
                add_text(object, "error", strerror(device->error));
                return object;
        }

        add_text(object, "firmware", device->firmware);
        add(object, "ports", ports_to_json(device));
        add(object, "odp", odp_to_json(device));
        add_text(object, "dmabuf", dmabuf_names[device->dmabuf]);
        limits = json_object_new_object();
        add(limits, "max_mr", json_object_new_int(device->max_mr));
        add(limits, "max_mr_size", json_object_new_uint64(device->max_mr_size));
        add(limits, "max_pd", json_object_new_int(device->max_pd));
        add(limits, "page_size_cap", json_object_new_uint64(device->page_size_cap));
        add(object, "limits", limits);
        return object;
}
