/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PINLEASECTL_TEXT_H
#define PINLEASECTL_TEXT_H

/*
 * Text for a terminal, of which what others have named may be no good, see utf8.h. A *printable* string holds only characters that
 * take room on the screen; everything else in it is written \xNN, byte by byte.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Looks at the locale. Where that is not UTF-8, printable means ASCII. */
void text_init(void);
bool text_is_utf8(void);

/* Allocates the printable form. Ends the program if there is no memory. */
char *text_printable(const char *text, size_t length);

/* Columns of a printable string. */
int text_width(const char *printable);

enum text_cut {
        TEXT_CUT_END,    /* "pinlease-ping…" */
        TEXT_CUT_HEAD,   /* "…/buffer.dat": of paths, the end says more */
        TEXT_CUT_MIDDLE, /* "123…789" */
};

/* Allocates a copy that has at most `width` (> 0) columns. */
char *text_fit(const char *printable, int width, enum text_cut cut);

/* How much of a printable string has at most `width` columns, in bytes: at least one character. */
size_t text_prefix(const char *printable, int width);

#define TEXT_SMALL 32

/* "0", "512 B", "1.0 MiB", "1023 GiB": at most 8 columns. */
const char *text_size(char buffer[static TEXT_SMALL], uint64_t bytes);

/* Nothing is lost, as short as that can be: "4097", "4K", "1G". */
const char *text_exact(char buffer[static TEXT_SMALL], uint64_t bytes);

/* "0s", "59s", "12m", "3h", "999d": at most 4 columns; after a thousand days ">2y". */
const char *text_age(char buffer[static TEXT_SMALL], uint64_t ms);

#endif
