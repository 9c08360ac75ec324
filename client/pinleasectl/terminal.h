/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PINLEASECTL_TERMINAL_H
#define PINLEASECTL_TERMINAL_H

/* Standard output: what it is, and lines for people on it. */

#include <stdbool.h>
#include <stdint.h>

#include "util.h"

/* All tables fit this. */
#define TERMINAL_COLUMNS     80
#define TERMINAL_COLUMNS_MAX 400

enum colour {
        COLOUR_AUTO, /* on a terminal, unless NO_COLOR is set */
        COLOUR_ALWAYS,
        COLOUR_NEVER,
};

struct terminal {
        bool is_terminal;
        bool coloured;
        int columns; /* of COLUMNS or the terminal, never less than TERMINAL_COLUMNS */
        int rows;    /* 0: no end */

        int room;        /* lines that may still be written; -1: no end */
        uint64_t hidden; /* lines that found no room */
};

/* "" where there is no colour. */
#define TERMINAL_BOLD   "\033[1m"
#define TERMINAL_YELLOW "\033[33m"
#define TERMINAL_RED    "\033[31m"

void terminal_init(struct terminal *terminal, enum colour colour);

/* Begins a picture that replaces the last, at the top of a terminal; elsewhere, something that follows the last. */
void terminal_begin_picture(struct terminal *terminal, bool first);
void terminal_end_picture(struct terminal *terminal);

/* One line; the text is printable already and has at most terminal->columns. sgr: NULL, or a colour for all of it. */
void terminal_line(struct terminal *terminal, const char *sgr, const char *format, ...) _printf_(3, 4);

/* "  label      value": a value that is too long goes on in the next line. Both are printable. */
#define TERMINAL_LABEL 16
void terminal_pair(struct terminal *terminal, int indent, const char *label, const char *value);
void terminal_pairf(struct terminal *terminal, int indent, const char *label, const char *format, ...) _printf_(4, 5);

#endif
