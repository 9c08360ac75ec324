/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pinleasectl status */

#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "adminclient.h"
#include "field.h"
#include "pinleasectl.h"
#include "request.h"
#include "table.h"
#include "text.h"

static const struct column amount_columns[] = {
        { .title = "", .width = 16 },
        { .title = "PINNED", .width = 9, .right = true },
        { .title = "ODP", .width = 9, .right = true },
        { .title = "REGISTRATIONS", .width = 13, .right = true, .cut = TEXT_CUT_MIDDLE },
};

static const struct column user_columns[] = {
        { .title = "UID", .width = 10, .cut = TEXT_CUT_MIDDLE },
        { .title = "SESSIONS", .width = 8, .right = true, .cut = TEXT_CUT_MIDDLE },
        { .title = "SILENT", .width = 8, .right = true, .cut = TEXT_CUT_MIDDLE },
        { .title = "PINNED", .width = 9, .right = true },
        { .title = "ODP", .width = 9, .right = true },
        { .title = "REGISTRATIONS", .width = 13, .right = true, .cut = TEXT_CUT_MIDDLE },
};

static void amount_cells(struct row *row, struct json_object *amount) {
        row_size(row, amount, "pinned_bytes");
        row_size(row, amount, "odp_bytes");
        row_number(row, amount, "registrations");
}

static void amount_row(const struct table *table, const char *label, struct json_object *amount) {
        struct row row = { 0 };

        row_text(&row, label, strlen(label));
        amount_cells(&row, amount);
        table_row(table, &row, NULL);
}

/* No number: there is none. */
static void limit_row(const struct table *table, const char *label, struct json_object *limit) {
        static const char *const names[] = { "pinned_bytes", "odp_bytes", "registrations" };
        struct row row = { 0 };

        row_text(&row, label, strlen(label));
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                struct json_object *value;
                bool none = limit && json_object_object_get_ex(limit, names[i], &value) && !value;

                if (none)
                        row_text(&row, "none", strlen("none"));
                else if (i < 2)
                        row_size(&row, limit, names[i]);
                else
                        row_number(&row, limit, names[i]);
        }
        table_row(table, &row, NULL);
}

static void print_service(struct terminal *t, struct json_object *item) {
        _cleanup_(pl_freep) char *version = field_printable(item, "version");
        _cleanup_(pl_freep) char *state = field_printable(item, "state");
        uint64_t started = field_number_or_0(item, "started"), now = (uint64_t)time(NULL);
        char since[64] = "-", age[TEXT_SMALL];
        time_t seconds = (time_t)started;
        struct tm tm;

        if (started > 0 && started < UINT64_C(1) << 40 && localtime_r(&seconds, &tm))
                (void)strftime(since, sizeof since, "%Y-%m-%d %H:%M:%S", &tm);

        terminal_pair(t, 0, "state", state);
        terminal_pair(t, 0, "version", version);
        terminal_pairf(t, 0, "process", "%" PRIu64, field_number_or_0(item, "pid"));
        terminal_pairf(t, 0, "since", "%s (%s)", since, text_age(age, now > started ? (now - started) * 1000 : 0));
}

static void print_sessions(struct terminal *t, struct json_object *item) {
        struct json_object *limits = field_object(item, "limits");

        terminal_pairf(t,
                       0,
                       "sessions",
                       "%" PRIu64 " of at most %" PRIu64 ", %" PRIu64 " of one user",
                       field_number_or_0(item, "sessions"),
                       field_number_or_0(limits, "sessions"),
                       field_number_or_0(limits, "sessions_per_user"));
        terminal_pairf(t,
                       0,
                       "resumed",
                       "%" PRIu64 ", of another version %" PRIu64,
                       field_number_or_0(item, "resumed"),
                       field_number_or_0(item, "other_version"));
        terminal_pairf(t,
                       0,
                       "silent",
                       "%" PRIu64 ", at most %" PRIu64 " of one user",
                       field_number_or_0(item, "silent"),
                       field_number_or_0(limits, "silent_per_user"));
}

static void print_users(struct terminal *t, struct json_object *users) {
        size_t n = users ? json_object_array_length(users) : 0;
        struct table table;

        if (n == 0)
                return;
        table_init(&table, t, user_columns, ELEMENTSOF(user_columns), 0);
        terminal_line(t, NULL, "%s", "");
        table_head(&table);
        for (size_t i = 0; i < n; i++) {
                struct json_object *user = json_object_array_get_idx(users, i);
                struct row row = { 0 };

                row_number(&row, user, "uid");
                row_number(&row, user, "sessions");
                row_number(&row, user, "silent");
                amount_cells(&row, field_object(user, "credit"));
                table_row(&table, &row, NULL);
        }
}

static enum status print_answer(void *userdata, const struct answer *answer) {
        struct json_object *limits = field_object(answer->object, "limits");
        struct context *context = userdata;
        struct terminal *t = &context->terminal;
        struct table table;

        if (answer->is_end || context->options->json)
                return STATUS_OK;

        print_service(t, answer->object);
        print_sessions(t, answer->object);
        table_init(&table, t, amount_columns, ELEMENTSOF(amount_columns), 0);
        terminal_line(t, NULL, "%s", "");
        table_head(&table);
        amount_row(&table, "in use", field_object(answer->object, "in_use"));
        amount_row(&table, "handed out", field_object(answer->object, "credit"));
        limit_row(&table, "most, session", field_object(limits, "session"));
        limit_row(&table, "most, user", field_object(limits, "user"));
        limit_row(&table, "most, all users", field_object(limits, "total"));
        print_users(t, field_array(answer->object, "users"));
        return STATUS_OK;
}

enum status status_run(struct context *context) {
        struct call call = {
                .what = "status",
                .method = "status",
                .patience_ms = REQUEST_PATIENCE_MS,
                .handler = print_answer,
                .userdata = context,
        };

        return admin_run(context, &call);
}
