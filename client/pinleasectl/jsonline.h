/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PINLEASECTL_JSONLINE_H
#define PINLEASECTL_JSONLINE_H

/* JSON that has been parsed already, as it was sent: the same digits, the same order, the same members. */

#include <stdbool.h>
#include <stddef.h>

/* json-c takes NaN and Infinity for numbers; JSON has none. */
bool jsonline_is_plain(const char *text, size_t length);

/*
 * Writes one document as one line: line feeds between its parts become blanks, and characters that could do something to
 * a terminal, which occur in strings only, are written \uNNNN, which means the same.
 */
void jsonline_print(const char *text, size_t length);

#endif
