/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "request.h"

#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "admin.h"
#include "kernel.h"
#include "text.h"

#define FORCE_MS 60000

static void add(struct request *request, const char *name, struct json_object *value) {
        if (!value || json_object_object_add(request->parameters, name, value) < 0)
                err(STATUS_FAILED, "%s", request->what);
}

static enum status add_file(struct request *request, const char *path) {
        uint64_t device, inode;
        int r;

        r = kernel_file(path, &device, &inode);
        if (r < 0) {
                warnx("%s: %s", request->what, strerror(-r));
                return r == -EACCES || r == -EPERM ? STATUS_NOT_PERMITTED : STATUS_NOT_FOUND;
        }
        add(request, "device", json_object_new_uint64(device));
        add(request, "inode", json_object_new_uint64(inode));
        return STATUS_OK;
}

static enum status add_mount(struct request *request, const char *path) {
        uint64_t device;
        int r;

        r = kernel_mount(path, &device);
        if (r == -EINVAL) {
                warnx("%s: nothing is mounted there; findmnt --target shows where the file system is", request->what);
                return STATUS_NOT_FOUND;
        }
        if (r < 0) {
                warnx("%s: %s", request->what, strerror(-r));
                return r == -EACCES || r == -EPERM ? STATUS_NOT_PERMITTED : STATUS_NOT_FOUND;
        }
        add(request, "device", json_object_new_uint64(device));
        return STATUS_OK;
}

static char *describe(const struct options *o) {
        const char *of = o->mount ? o->mount : o->path;
        _cleanup_(pl_freep) char *path = of ? text_printable(of, strlen(of)) : NULL;
        char pid[32] = "", uid[32] = "", *what;

        if (o->by_pid)
                (void)snprintf(pid, sizeof pid, " --pid %" PRIu32, o->pid);
        if (o->by_uid)
                (void)snprintf(uid, sizeof uid, " --uid %" PRIu32, o->uid);
        if (asprintf(&what,
                     "%s%s%s%s%s%s%s",
                     o->command->name,
                     o->id ? " " : "",
                     o->id ? o->id : "",
                     pid,
                     uid,
                     o->mount ? " --mount "
                     : path   ? " --path "
                              : "",
                     path ? path : "") < 0)
                err(STATUS_FAILED, "%s", o->command->name);
        return what;
}

enum status request_init(struct request *request, const struct options *o) {
        *request = (struct request) { .what = describe(o), .parameters = json_object_new_object() };
        if (!request->parameters)
                err(STATUS_FAILED, "%s", request->what);

        if (o->id)
                add(request, "id", json_object_new_string(o->id));
        if (o->by_pid)
                add(request, "pid", json_object_new_uint64(o->pid));
        if (o->by_uid)
                add(request, "uid", json_object_new_uint64(o->uid));
        if (o->has_grace)
                add(request, "grace_ms", json_object_new_uint64(o->grace_ms));
        if (o->mount)
                return add_mount(request, o->mount);
        return o->path ? add_file(request, o->path) : STATUS_OK;
}

void request_done(struct request *request) {
        (void)json_object_put(request->parameters);
        free(request->what);
        *request = (struct request) { 0 };
}

uint64_t request_long_patience_ms(const struct options *o) {
        return (o->has_grace ? o->grace_ms : PL_ADMIN_MAX_GRACE_MS) + FORCE_MS;
}
