/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "table.h"

#include <assert.h>
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "field.h"
#include "pinleasectl.h"

void table_init(struct table *table, struct terminal *terminal, const struct column *columns, size_t n, int indent) {
        int more = terminal->columns - indent - (int)n + 1;

        assert(n <= TABLE_MAX_COLUMNS);
        *table = (struct table) { .terminal = terminal, .columns = columns, .n = n, .indent = indent };
        for (size_t i = 0; i < n; i++)
                more -= table->widths[i] = columns[i].width;
        for (size_t i = 0; i < n; i++) {
                int wanted = columns[i].wide - columns[i].width, given = wanted < more ? wanted : more;

                if (given > 0) {
                        table->widths[i] += given;
                        more -= given;
                }
        }
        for (size_t i = 0; i < n; i++)
                if (columns[i].flexible && columns[i].wide == 0 && more > 0)
                        table->widths[i] += more;
}

/* The widths of one row: what .whole cells need more comes from the flexible column, as far as it has some. */
static void set_widths(const struct table *table, char *const cells[], int ret_widths[static TABLE_MAX_COLUMNS]) {
        int *flexible = NULL;

        memcpy(ret_widths, table->widths, sizeof table->widths);
        for (size_t i = 0; i < table->n; i++)
                if (table->columns[i].flexible)
                        flexible = ret_widths + i;
        for (size_t i = 0; i < table->n && flexible; i++) {
                int more = table->columns[i].whole ? text_width(cells[i]) - ret_widths[i] : 0;

                more = more < *flexible - 1 ? more : *flexible - 1;
                if (more > 0) {
                        ret_widths[i] += more;
                        *flexible -= more;
                }
        }
}

static void write_row(const struct table *table, char *const cells[], const char *sgr) {
        _cleanup_(pl_freep) char *line = NULL;
        int widths[TABLE_MAX_COLUMNS];
        size_t size, end;
        FILE *f;

        set_widths(table, cells, widths);
        f = open_memstream(&line, &size);
        if (!f)
                err(STATUS_FAILED, "a row");
        for (size_t i = 0; i < table->n; i++) {
                _cleanup_(pl_freep) char *cell = text_fit(cells[i], widths[i], table->columns[i].cut);
                int pad = widths[i] - text_width(cell);

                (void)fprintf(f,
                              "%s%*s%s%*s",
                              i > 0 ? " " : "",
                              table->columns[i].right ? pad : 0,
                              "",
                              cell,
                              table->columns[i].right ? 0 : pad,
                              "");
        }
        if (fclose(f) != 0)
                err(STATUS_FAILED, "a row");
        for (end = size; end > 0 && line[end - 1] == ' '; end--)
                line[end - 1] = 0;
        terminal_line(table->terminal, sgr, "%*s%s", table->indent, "", line);
}

void table_head(const struct table *table) {
        char *cells[TABLE_MAX_COLUMNS];

        for (size_t i = 0; i < table->n; i++)
                cells[i] = (char *)table->columns[i].title;
        write_row(table, cells, TERMINAL_BOLD);
}

void table_row(const struct table *table, struct row *row, const char *sgr) {
        assert(row->n == table->n);
        write_row(table, row->cells, sgr);
        for (size_t i = 0; i < row->n; i++)
                free(row->cells[i]);
        row->n = 0;
}

void row_text(struct row *row, const char *text, size_t length) {
        assert(row->n < TABLE_MAX_COLUMNS);
        row->cells[row->n++] = length > 0 ? text_printable(text, length) : text_printable("-", 1);
}

void row_string(struct row *row, struct json_object *object, const char *name) {
        size_t length = 0;
        const char *text = field_string(object, name, &length);

        row_text(row, text, length);
}

void row_number(struct row *row, struct json_object *object, const char *name) {
        char buffer[TEXT_SMALL] = "";
        uint64_t number;

        if (field_number(object, name, &number))
                (void)snprintf(buffer, sizeof buffer, "%" PRIu64, number);
        row_text(row, buffer, strlen(buffer));
}

void row_size(struct row *row, struct json_object *object, const char *name) {
        char buffer[TEXT_SMALL] = "";
        uint64_t bytes;

        if (field_number(object, name, &bytes))
                (void)text_size(buffer, bytes);
        row_text(row, buffer, strlen(buffer));
}

void row_age(struct row *row, struct json_object *object, const char *name) {
        char buffer[TEXT_SMALL] = "";
        uint64_t ms;

        if (field_number(object, name, &ms))
                (void)text_age(buffer, ms);
        row_text(row, buffer, strlen(buffer));
}
