/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pinleasectl explain: a program of the service answers, as it knows the policy; the devices of this host are looked at
 * here. */

#include <err.h>
#include <infiniband/verbs.h>
#include <stdio.h>
#include <string.h>

#include "devices.h"
#include "pinleasectl.h"

#define MAX_HOST 64

/* soft-RoCE is the only driver that has this file; its ODP puts bytes into the wrong place, see uverbs.h of the daemon.
 */
static bool is_rxe(const struct ibv_device *device) {
        char path[IBV_SYSFS_PATH_MAX + 16];

        (void)snprintf(path, sizeof path, "%s/parent", device->ibdev_path);
        return access(path, F_OK) == 0;
}

/* "--host=NAME=odp,pinned,dmabuf", the caller's to free; NULL: the device tells nothing. */
static char *describe(struct ibv_device *device) {
        const uint32_t needed = IBV_ODP_SUPPORT_WRITE | IBV_ODP_SUPPORT_READ;
        struct ibv_device_attr_ex attributes = { 0 };
        struct ibv_context *verbs = ibv_open_device(device);
        char *text = NULL;
        bool odp, dmabuf;
        int r;

        if (!verbs)
                return NULL;
        r = ibv_query_device_ex(verbs, NULL, &attributes);
        dmabuf = r == 0 && devices_probe_dmabuf(verbs) > 0;
        (void)ibv_close_device(verbs);
        if (r != 0)
                return NULL;
        odp = (attributes.odp_caps.general_caps & IBV_ODP_SUPPORT) &&
              (attributes.odp_caps.per_transport_caps.rc_odp_caps & needed) == needed;
        if (asprintf(&text,
                     "--host=%s=%spinned%s",
                     ibv_get_device_name(device),
                     !odp             ? ""
                     : is_rxe(device) ? "odp-unsound,"
                                      : "odp,",
                     dmabuf ? ",dmabuf" : "") < 0)
                errx(STATUS_USAGE, "out of memory");
        return text;
}

static size_t add_host(char **args) {
        int n_devices = 0;
        struct ibv_device **list = ibv_get_device_list(&n_devices);
        size_t n = 0;

        for (int i = 0; list && i < n_devices && n < MAX_HOST; i++) {
                args[n] = describe(list[i]);
                n += args[n] != NULL;
        }
        if (list)
                ibv_free_device_list(list);
        return n;
}

static bool says_offers(int argc, char *argv[]) {
        for (int i = 1; i < argc; i++)
                if (strncmp(argv[i], "--offers", strlen("--offers")) == 0)
                        return true;
        return false;
}

enum status explain_exec(int argc, char *argv[], int command) {
        const char *program = getenv("PINLEASE_EXPLAIN_PROGRAM");
        char **args = calloc((size_t)argc + MAX_HOST + 1, sizeof *args);
        size_t n = 0;

        if (!args)
                errx(STATUS_USAGE, "out of memory");
        if (!program || !*program)
                program = EXPLAIN_PROGRAM;
        args[n++] = argv[0];
        if (!says_offers(argc, argv))
                n += add_host(args + n);
        for (int i = 1; i < argc; i++)
                if (i != command)
                        args[n++] = argv[i];
        (void)execv(program, args);
        /* 1 would be an answer. */
        err(STATUS_USAGE, "%s", program);
}
