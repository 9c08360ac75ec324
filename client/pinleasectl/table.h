/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PINLEASECTL_TABLE_H
#define PINLEASECTL_TABLE_H

/*
 * Tables whose rows are written as they come, so that their number does not matter: widths are fixed beforehand. No row
 * is wider than the terminal, whatever is in the cells.
 */

#include <json-c/json.h>

#include "terminal.h"
#include "text.h"

#define TABLE_MAX_COLUMNS 12

struct column {
        const char *title;
        int width; /* where there are 80 columns */
        int wide;  /* at most, where there are more; 0: what is left if it is .flexible, or none */
        enum text_cut cut;
        bool right;    /* numbers */
        bool flexible; /* one column of a table, which gives room to .whole as well */
        bool whole;    /* not cut as long as the flexible column has room: what one types in again */
};

struct table {
        struct terminal *terminal;
        const struct column *columns;
        size_t n;
        int indent;
        int widths[TABLE_MAX_COLUMNS];
};

void table_init(struct table *table, struct terminal *terminal, const struct column *columns, size_t n, int indent);
void table_head(const struct table *table);

/* Cells from left to right. */
struct row {
        size_t n;
        char *cells[TABLE_MAX_COLUMNS];
};

/* A member of an object as a cell; "-" where it is missing or of another type. */
void row_string(struct row *row, struct json_object *object, const char *name);
void row_number(struct row *row, struct json_object *object, const char *name);
void row_size(struct row *row, struct json_object *object, const char *name);
void row_age(struct row *row, struct json_object *object, const char *name);

/* Any text. */
void row_text(struct row *row, const char *text, size_t length);

/* Writes the row and frees its cells. sgr: NULL or a colour. */
void table_row(const struct table *table, struct row *row, const char *sgr);

#endif
