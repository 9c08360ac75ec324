/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_UTF8_H
#define PL_UTF8_H

/* What others have named (files, processes) may hold anything: escape sequences, bytes that are not UTF-8, characters that turn
 * the line around. Nothing here looks at the locale. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Decodes one character of strict UTF-8. Returns how many bytes it has, or 0: there is none. */
size_t pl_utf8_decode(const char *text, size_t length, uint32_t *ret_character);

/* Does the character say what it looks like? Controls, line ends, the invisible, directions of writing and tags do not. */
bool pl_utf8_is_harmless(uint32_t character);

/* Room that so many bytes of text need at most, when each is escaped. */
#define PL_UTF8_ESCAPED(length) (4 * (length) + 1)

/* Writes the text to where there is that room, harmless characters as they are and all else \xNN, byte by byte. */
void pl_utf8_escape(const char *text, size_t length, char *ret_text);

#endif
