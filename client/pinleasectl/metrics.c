/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pinleasectl metrics */

#include <err.h>
#include <stdio.h>
#include <string.h>

#include "adminclient.h"
#include "field.h"
#include "kernel.h"
#include "openmetrics.h"
#include "pinleasectl.h"
#include "request.h"

#define MAX_BOUNDS 256
#define MAX_NAME   48

static enum status keep_item(void *userdata, const struct answer *answer) {
        struct json_object **item = userdata;

        if (!answer->is_end) {
                (void)json_object_put(*item);
                *item = json_object_get(answer->object);
        }
        return STATUS_OK;
}

static const struct family {
        const char *member, *name, *type, *suffix, *help;
} families[] = {
        { "sessions", "pinlease_sessions", "gauge", "", "Sessions, one for each process that is connected." },
        { "silent", "pinlease_silent_connections", "gauge", "", "Connections that have not said anything yet." },
        { "sessions_started", "pinlease_sessions_started", "counter", "_total", "Sessions started." },
        { "sessions_turned_away", "pinlease_sessions_turned_away", "counter", "_total", "Connections refused for a limit." },
        { "sessions_resumed",
          "pinlease_sessions_resumed",
          "counter",
          "_total",
          "Sessions of a former pinleased that this one has taken over." },
};

/* What the service does not say is left out: a counter that is not known is not 0. */
static void print_simple(struct json_object *item) {
        uint64_t value;

        for (const struct family *f = families; f < families + ELEMENTSOF(families); f++)
                if (field_number(item, f->member, &value)) {
                        openmetrics_family(f->name, f->type, NULL, f->help);
                        openmetrics_sample(f->name, f->suffix, NULL, NULL, value);
                }
}

/* Only names as the service makes them; whatever else there is counts as "other". */
static bool is_name(const char *text) {
        size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-");

        return n > 0 && n <= MAX_NAME && text[n] == 0 && strcmp(text, "other") != 0;
}

/* A family with a sample for each member of an object of numbers. */
static void print_members(struct json_object *object, const char *name, const char *label, const char *help) {
        uint64_t value, other = 0;

        if (!object)
                return;
        openmetrics_family(name, "counter", NULL, help);
        json_object_object_foreach(object, member, number) {
                if (!field_as_number(number, &value))
                        continue;
                if (is_name(member))
                        openmetrics_sample(name, "_total", label, member, value);
                else if (__builtin_add_overflow(other, value, &other))
                        other = UINT64_MAX;
        }
        if (other > 0)
                openmetrics_sample(name, "_total", label, "other", other);
}

static void print_live(struct json_object *live, const char *member, const char *name, const char *unit, const char *help) {
        static const char *const methods[] = { "pinned", "odp", "dmabuf" };
        uint64_t value;

        openmetrics_family(name, "gauge", unit, help);
        for (size_t i = 0; i < ELEMENTSOF(methods); i++)
                if (field_number(field_object(live, methods[i]), member, &value))
                        openmetrics_sample(name, "", "method", methods[i], value);
}

/* Returns how many numbers there are, or -1 if anything else is among them, or there are too many. */
static int get_numbers(struct json_object *object, const char *name, uint64_t ret_numbers[static MAX_BOUNDS + 1]) {
        struct json_object *array = field_array(object, name);
        size_t n = array ? json_object_array_length(array) : 0;

        if (!array || n > MAX_BOUNDS + 1)
                return -1;
        for (size_t i = 0; i < n; i++)
                if (!field_as_number(json_object_array_get_idx(array, i), ret_numbers + i))
                        return -1;
        return (int)n;
}

static void print_latency(struct json_object *item) {
        static const char *const operations[] = { "register", "deregister" };
        static const char name[] = "pinlease_operation_duration_seconds";
        struct json_object *latency = field_object(item, "latency");

        openmetrics_family(name, "histogram", "seconds", "How long registrars take for an operation.");
        for (size_t i = 0; i < ELEMENTSOF(operations); i++) {
                struct json_object *histogram = field_object(latency, operations[i]);
                uint64_t bounds[MAX_BOUNDS + 1], counts[MAX_BOUNDS + 1], sum;
                int n_bounds = get_numbers(histogram, "bounds_us", bounds);

                if (!histogram)
                        continue;
                if (n_bounds < 0 || get_numbers(histogram, "counts", counts) != n_bounds + 1 ||
                    !field_number(histogram, "sum_us", &sum) ||
                    openmetrics_histogram(name, "operation", operations[i], bounds, counts, (size_t)n_bounds, sum) < 0)
                        warnx("metrics: the latency of %s is left out: the service does not report it as it should",
                              operations[i]);
        }
}

/* Registrars that have ended since pin nothing. */
static void print_kernel_pins(struct json_object *item) {
        static const char name[] = "pinlease_kernel_pinned_bytes";
        struct json_object *registrars = field_array(item, "registrars");
        uint64_t sum = 0, pid, bytes;

        for (size_t i = 0; registrars && i < json_object_array_length(registrars); i++) {
                int r = -EINVAL;

                if (field_as_number(json_object_array_get_idx(registrars, i), &pid))
                        r = kernel_pinned("/proc", pid, &bytes);
                if (r == -ESRCH)
                        continue;
                if (r < 0 || __builtin_add_overflow(sum, bytes, &sum)) {
                        warnx("metrics: what the kernel counts as pinned is left out: registrar %zu: %s",
                              i,
                              strerror(r < 0 ? -r : EOVERFLOW));
                        return;
                }
        }
        if (!registrars)
                return;
        openmetrics_family(name, "gauge", "bytes", "Memory that the kernel counts as pinned by registrars (VmPin).");
        openmetrics_sample(name, "", NULL, NULL, sum);
}

static void print_vmstat(const char *line, const char *name, const char *help) {
        uint64_t value;

        if (kernel_vmstat("/proc", line, &value) < 0)
                return;
        openmetrics_family(name, "counter", NULL, help);
        openmetrics_sample(name, "_total", NULL, NULL, value);
}

static void print_metrics(struct json_object *item) {
        struct json_object *live = field_object(item, "live");
        uint64_t pinned;

        print_simple(item);
        print_live(live, "registrations", "pinlease_live_registrations", NULL, "Registrations that are live.");
        print_live(live, "bytes", "pinlease_live_bytes", "bytes", "Memory that is registered.");
        print_members(field_object(item, "registered"), "pinlease_registrations", "method", "Registrations made.");
        if (field_number(item, "deregistered", &pinned)) {
                openmetrics_family("pinlease_deregistrations", "counter", NULL, "Registrations that have been undone.");
                openmetrics_sample("pinlease_deregistrations", "_total", NULL, NULL, pinned);
        }
        print_members(field_object(item, "refusals"), "pinlease_refusals", "code", "Requests refused, by reason.");
        print_members(field_object(item, "revocations"), "pinlease_revocations", "outcome", "Registrations revoked.");
        print_latency(item);

        /* Ours against the kernel's: the two should be equal when nothing is under way. */
        if (field_number(field_object(live, "pinned"), "bytes", &pinned)) {
                openmetrics_family("pinlease_ledger_pinned_bytes",
                                   "gauge",
                                   "bytes",
                                   "Memory that is pinned by what the ledgers of the sessions say.");
                openmetrics_sample("pinlease_ledger_pinned_bytes", "", NULL, NULL, pinned);
        }
        print_kernel_pins(item);
        print_vmstat("nr_foll_pin_acquired",
                     "pinlease_kernel_foll_pin_acquired_pages",
                     "Pages pinned since boot, by anybody on this host.");
        print_vmstat("nr_foll_pin_released",
                     "pinlease_kernel_foll_pin_released_pages",
                     "Pages let go since boot, by anybody on this host.");
        openmetrics_end();
}

enum status metrics_run(struct context *context) {
        struct json_object *item = NULL;
        struct call call = {
                .what = "metrics",
                .method = "metrics",
                .patience_ms = REQUEST_PATIENCE_MS,
                .handler = keep_item,
                .userdata = &item,
        };
        enum status status = admin_run(context, &call);

        if (status == STATUS_OK && !context->options->json) {
                if (item)
                        print_metrics(item);
                else {
                        warnx("metrics: the service at the socket has answered without any");
                        status = STATUS_FAILED;
                }
        }
        (void)json_object_put(item);
        return status;
}
