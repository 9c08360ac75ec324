/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pinleasectl list, pinleasectl show. Rows are written as the items come: their number does not matter. */

#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "adminclient.h"
#include "field.h"
#include "kernel.h"
#include "pinleasectl.h"
#include "request.h"
#include "table.h"
#include "text.h"

static const struct column session_columns[] = {
        { .title = "SESSION", .width = 7, .whole = true },
        { .title = "PID", .width = 7, .right = true, .cut = TEXT_CUT_MIDDLE },
        { .title = "COMM", .width = 15, .wide = 24, .flexible = true },
        { .title = "UID", .width = 10, .right = true, .cut = TEXT_CUT_MIDDLE },
        { .title = "STATE", .width = 8, .wide = 13 },
        { .title = "AGE", .width = 4, .right = true },
        { .title = "PINNED", .width = 8, .right = true },
        { .title = "ODP", .width = 8, .right = true },
        { .title = "REGS", .width = 5, .wide = 8, .right = true, .cut = TEXT_CUT_MIDDLE },
};

static const struct column registration_columns[] = {
        { .title = "ID", .width = 7, .wide = 12, .whole = true },
        { .title = "STATE", .width = 8 },
        { .title = "BACKING", .width = 9 },
        { .title = "METHOD", .width = 6 },
        { .title = "BYTES", .width = 8, .right = true },
        { .title = "AGE", .width = 4, .right = true },
        { .title = "RANGE", .width = 10, .wide = 25, .cut = TEXT_CUT_MIDDLE },
        { .title = "NAME", .width = 19, .cut = TEXT_CUT_HEAD, .flexible = true },
};

#define DELETED " (deleted)"

struct list {
        struct context *context;
        struct table sessions, registrations;
        uint64_t n_sessions, n_registrations;
        bool details; /* show: what is asked for comes with all that is known of it */
};

static char *comm_of(struct json_object *session) {
        char comm[64];
        uint64_t pid;
        size_t n = 0;

        if (field_number(session, "pid", &pid))
                n = kernel_comm("/proc", pid, comm);
        return n > 0 ? text_printable(comm, n) : text_printable("-", 1);
}

/* "1G+64K": offset and length, to the byte. */
static void row_range(struct row *row, struct json_object *registration) {
        char offset[TEXT_SMALL], length[TEXT_SMALL], range[2 * TEXT_SMALL] = "";
        uint64_t from, size;

        if (field_number(registration, "offset", &from) && field_number(registration, "length", &size))
                (void)snprintf(range, sizeof range, "%s+%s", text_exact(offset, from), text_exact(length, size));
        row_text(row, range, strlen(range));
}

/* Every memfd is "deleted", which says nothing and takes the room of the name. */
static void row_name(struct row *row, struct json_object *registration) {
        size_t length = 0;
        const char *name = field_string(registration, "name", &length);

        if (length > strlen(DELETED) && memcmp(name + length - strlen(DELETED), DELETED, strlen(DELETED)) == 0)
                length -= strlen(DELETED);
        row_text(row, name, length);
}

static void session_row(struct list *list, struct json_object *item) {
        _cleanup_(pl_freep) char *comm = comm_of(item);
        struct json_object *in_use = field_object(item, "in_use");
        struct row row = { 0 };

        row_string(&row, item, "id");
        row_number(&row, item, "pid");
        row_text(&row, comm, strlen(comm));
        row_number(&row, item, "uid");
        row_string(&row, item, "state");
        row_age(&row, item, "age_ms");
        row_size(&row, in_use, "pinned_bytes");
        row_size(&row, in_use, "odp_bytes");
        row_number(&row, in_use, "registrations");
        table_row(&list->sessions, &row, field_is(item, "state", "serving") ? NULL : TERMINAL_YELLOW);
}

static void registration_row(struct list *list, struct json_object *item) {
        struct row row = { 0 };

        row_string(&row, item, "id");
        row_string(&row, item, "state");
        row_string(&row, item, "backing");
        row_string(&row, item, "method");
        row_size(&row, item, "bytes");
        row_age(&row, item, "age_ms");
        row_range(&row, item);
        row_name(&row, item);
        table_row(&list->registrations, &row, field_is(item, "state", "live") ? NULL : TERMINAL_YELLOW);
}

static void pair(struct list *list, const char *label, struct json_object *item, const char *name) {
        _cleanup_(pl_freep) char *value = field_printable(item, name);

        terminal_pair(&list->context->terminal, 0, label, value);
}

/* "1.0 MiB (1048576)" */
static void size_pair(struct list *list, const char *label, struct json_object *item, const char *name) {
        char size[TEXT_SMALL];
        uint64_t bytes;

        if (!field_number(item, name, &bytes))
                terminal_pair(&list->context->terminal, 0, label, "-");
        else if (bytes < 1024)
                terminal_pairf(&list->context->terminal, 0, label, "%" PRIu64, bytes);
        else
                terminal_pairf(&list->context->terminal, 0, label, "%s (%" PRIu64 ")", text_size(size, bytes), bytes);
}

static void number_pair(struct list *list, const char *label, struct json_object *item, const char *name) {
        uint64_t number;

        if (field_number(item, name, &number))
                terminal_pairf(&list->context->terminal, 0, label, "%" PRIu64, number);
        else
                terminal_pair(&list->context->terminal, 0, label, "-");
}

static void age_pair(struct list *list, struct json_object *item) {
        char age[TEXT_SMALL];
        uint64_t ms;

        if (field_number(item, "age_ms", &ms))
                terminal_pairf(&list->context->terminal,
                               0,
                               "age",
                               "%s (%" PRIu64 ".%03u s)",
                               text_age(age, ms),
                               ms / 1000,
                               (unsigned int)(ms % 1000));
        else
                terminal_pair(&list->context->terminal, 0, "age", "-");
}

static void amount_pair(struct list *list, const char *label, struct json_object *amount) {
        char pinned[TEXT_SMALL], odp[TEXT_SMALL];

        terminal_pairf(&list->context->terminal,
                       0,
                       label,
                       "pinned %s, ODP %s, registrations %" PRIu64,
                       text_size(pinned, field_number_or_0(amount, "pinned_bytes")),
                       text_size(odp, field_number_or_0(amount, "odp_bytes")),
                       field_number_or_0(amount, "registrations"));
}

static void session_details(struct list *list, struct json_object *item) {
        _cleanup_(pl_freep) char *comm = comm_of(item);
        struct json_object *resumed = NULL;

        pair(list, "session", item, "id");
        pair(list, "state", item, "state");
        number_pair(list, "process", item, "pid");
        terminal_pair(&list->context->terminal, 0, "command", comm);
        number_pair(list, "user", item, "uid");
        number_pair(list, "group", item, "gid");
        number_pair(list, "registrar", item, "registrar_pid");
        number_pair(list, "keeper", item, "keeper_pid");
        age_pair(list, item);
        (void)json_object_object_get_ex(item, "resumed", &resumed);
        terminal_pair(&list->context->terminal,
                      0,
                      "resumed",
                      !json_object_is_type(resumed, json_type_boolean)  ? "-"
                      : json_object_get_boolean(resumed) ? "yes, started by a former pinleased"
                                                         : "no");
        amount_pair(list, "in use", field_object(item, "in_use"));
        amount_pair(list, "credit", field_object(item, "credit"));
}

/* What the service calls it, in words; what is of a later version, as it calls it. */
static const char *reason_in_words(struct json_object *missing, const char *guard) {
        static const char *const words[][2] = {
                { "not-for-this", "not for this kind of memory" },
                { "not-sealed", "the file is not sealed against shrinking" },
                { "not-owner", "the user does not own the file" },
                { "open-elsewhere", "the file is open a second time" },
                { "other-lease", "the application has a lease of its own" },
                { "meddled", "the application has undone or redirected it" },
                { "reader", "another program reads the file just now" },
                { "no-resources", "out of memory, descriptors, processes or watches" },
                { "unsupported", "this kernel or file system does not have it" },
                { "changing", "the file is just being changed" },
        };

        for (size_t i = 0; i < ELEMENTSOF(words); i++)
                if (field_is(missing, guard, words[i][0]))
                        return words[i][1];
        return NULL;
}

static void guard_details(struct list *list, struct json_object *item) {
        static const char *const names[] = { "seals", "lease", "modify", "poison" };
        _cleanup_(pl_freep) char *guards = field_list(item, "guards");
        struct json_object *missing = field_object(item, "guards_missing");

        terminal_pair(&list->context->terminal, 0, "guards", guards);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                const char *words = reason_in_words(missing, names[i]);
                _cleanup_(pl_freep) char *reason = field_printable(missing, names[i]);
                size_t length;

                if (field_string(missing, names[i], &length))
                        terminal_pairf(&list->context->terminal, 0, "", "no %s: %s", names[i], words ? words : reason);
        }
}

static void registration_details(struct list *list, struct json_object *item) {
        _cleanup_(pl_freep) char *access = field_list(item, "access");

        pair(list, "registration", item, "id");
        pair(list, "session", item, "session");
        pair(list, "state", item, "state");
        pair(list, "name", item, "name");
        pair(list, "backing", item, "backing");
        number_pair(list, "device", item, "device");
        number_pair(list, "inode", item, "inode");
        size_pair(list, "offset", item, "offset");
        size_pair(list, "length", item, "length");
        size_pair(list, "bytes", item, "bytes");
        terminal_pair(&list->context->terminal, 0, "access", access);
        pair(list, "method", item, "method");
        guard_details(list, item);
        age_pair(list, item);
}

static void print_session(struct list *list, struct json_object *item) {
        if (list->details && !strchr(list->context->options->id, '.'))
                session_details(list, item);
        else if (!list->details) {
                if (list->n_sessions == 0) {
                        table_head(&list->sessions);
                        table_head(&list->registrations);
                }
                session_row(list, item);
        }
}

static void print_registration(struct list *list, struct json_object *item) {
        if (list->details && strchr(list->context->options->id, '.'))
                registration_details(list, item);
        else {
                if (list->details && list->n_registrations == 0) {
                        terminal_line(&list->context->terminal, NULL, "%s", "");
                        table_head(&list->registrations);
                }
                registration_row(list, item);
        }
}

static enum status print_answer(void *userdata, const struct answer *answer) {
        struct list *list = userdata;
        bool print = !list->context->options->json;

        /* Items of other types are of a later version. */
        if (answer->is_end)
                return STATUS_OK;
        if (field_is(answer->object, "type", "session")) {
                if (print)
                        print_session(list, answer->object);
                list->n_sessions++;
        } else if (field_is(answer->object, "type", "registration")) {
                if (print)
                        print_registration(list, answer->object);
                list->n_registrations++;
        }
        return STATUS_OK;
}

static enum status run(struct context *context, bool details, struct list *list) {
        const struct options *o = context->options;
        struct request request;
        enum status status;

        *list = (struct list) { .context = context, .details = details };
        table_init(&list->sessions, &context->terminal, session_columns, ELEMENTSOF(session_columns), 0);
        table_init(&list->registrations,
                   &context->terminal,
                   registration_columns,
                   ELEMENTSOF(registration_columns),
                   details ? 0 : 2);

        status = request_init(&request, o);
        if (status == STATUS_OK) {
                struct call call = {
                        .what = request.what,
                        .method = "list",
                        .parameters = request.parameters,
                        .patience_ms = REQUEST_PATIENCE_MS,
                        .handler = print_answer,
                        .userdata = list,
                };

                status = admin_run(context, &call);
        }
        request_done(&request);
        return status;
}

enum status list_run(struct context *context) {
        const struct options *o = context->options;
        struct list list;
        enum status status = run(context, false, &list);

        if (status == STATUS_OK && !o->json && list.n_sessions + list.n_registrations == 0)
                terminal_line(&context->terminal,
                              NULL,
                              "%s",
                              o->by_pid || o->by_uid || o->path ? "No session matches." : "No sessions.");
        return status;
}

enum status show_run(struct context *context) {
        const char *id = context->options->id;
        struct list list;
        enum status status = run(context, true, &list);

        if (status == STATUS_OK && (strchr(id, '.') ? list.n_registrations : list.n_sessions) == 0) {
                warnx("show %s: there is no such %s", id, strchr(id, '.') ? "registration" : "session");
                return STATUS_NOT_FOUND;
        }
        return status;
}
