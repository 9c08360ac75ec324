/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "text.h"

#include <err.h>
#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "pinleasectl.h"
#include "utf8.h"

static bool utf8;

void text_init(void) {
        /* Not LC_NUMERIC: numbers go to programs, too. */
        (void)setlocale(LC_CTYPE, "");
        utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}

bool text_is_utf8(void) {
        return utf8;
}

/* A character without a width of its own could be piled up on another without end. */
static bool takes_room(uint32_t c) {
        if (c < 0x80)
                return c >= 0x20 && c < 0x7f;
        return utf8 && pl_utf8_is_harmless(c) && wcwidth((wchar_t)c) > 0;
}

char *text_printable(const char *text, size_t length) {
        char *printable, *p;

        p = printable = malloc(4 * length + 1);
        if (!printable)
                err(STATUS_FAILED, "text of %zu bytes", length);

        while (length > 0) {
                uint32_t c;
                size_t n = pl_utf8_decode(text, length, &c);

                if (n > 0 && takes_room(c)) {
                        memcpy(p, text, n);
                        p += n;
                } else {
                        n = n > 0 ? n : 1;
                        for (size_t i = 0; i < n; i++)
                                p += sprintf(p, "\\x%02x", (unsigned char)text[i]);
                }
                text += n;
                length -= n;
        }
        *p = 0;
        return printable;
}

/* Length in bytes, and columns, of the first character. */
static size_t next(const char *printable, int *ret_columns) {
        uint32_t c = ' ';
        size_t n = pl_utf8_decode(printable, strnlen(printable, 4), &c);
        int columns = c < 0x80 ? 1 : wcwidth((wchar_t)c);

        *ret_columns = columns > 0 ? columns : 1;
        return n > 0 ? n : 1;
}

int text_width(const char *printable) {
        int columns, width = 0;

        for (; *printable; width += columns)
                printable += next(printable, &columns);
        return width;
}

/* Bytes of the longest beginning of at most `width` columns. */
static size_t beginning(const char *printable, int width) {
        size_t n = 0;

        while (printable[n]) {
                int columns;
                size_t length = next(printable + n, &columns);

                if (columns > width)
                        break;
                width -= columns;
                n += length;
        }
        return n;
}

size_t text_prefix(const char *printable, int width) {
        size_t n = beginning(printable, width);
        int columns;

        return n > 0 || !*printable ? n : next(printable, &columns);
}

char *text_fit(const char *printable, int width, enum text_cut cut) {
        int have = text_width(printable), left, columns;
        const char *tail = printable;
        char *fitting;

        if (have <= width)
                fitting = strdup(printable);
        else {
                left = cut == TEXT_CUT_END ? width - 1 : cut == TEXT_CUT_MIDDLE ? (width - 1) / 2 : 0;
                for (; have > width - 1 - left; have -= columns)
                        tail += next(tail, &columns);
                if (asprintf(&fitting, "%.*s%s%s", (int)beginning(printable, left), printable, utf8 ? "…" : "~", tail) < 0)
                        fitting = NULL;
        }
        if (!fitting)
                err(STATUS_FAILED, "a cell of %d columns", width);
        return fitting;
}

const char *text_size(char buffer[static TEXT_SMALL], uint64_t bytes) {
        static const char units[] = "KMGTPE";
        uint64_t tenths;
        unsigned int i = 0;

        if (bytes < 1024) {
                (void)snprintf(buffer, TEXT_SMALL, bytes ? "%u B" : "0", (unsigned int)bytes);
                return buffer;
        }

        while (i < sizeof units - 2 && bytes >> (10 * (i + 1)) >= 1024)
                i++;
        tenths = (bytes >> (10 * (i + 1))) * 10 + (((bytes >> (10 * i)) & 1023) * 10 + 512) / 1024;
        if (tenths >= 10235 && i < sizeof units - 2) {
                tenths = 10;
                i++;
        }
        if (tenths < 1000)
                (void)snprintf(buffer, TEXT_SMALL, "%" PRIu64 ".%u %ciB", tenths / 10, (unsigned int)(tenths % 10), units[i]);
        else
                (void)snprintf(buffer, TEXT_SMALL, "%" PRIu64 " %ciB", (tenths + 5) / 10, units[i]);
        return buffer;
}

const char *text_exact(char buffer[static TEXT_SMALL], uint64_t bytes) {
        static const char units[] = "KMGT";
        unsigned int i = 0;

        while (bytes > 0 && bytes % 1024 == 0 && i < sizeof units - 1) {
                bytes /= 1024;
                i++;
        }
        (void)snprintf(buffer, TEXT_SMALL, i ? "%" PRIu64 "%c" : "%" PRIu64, bytes, units[i ? i - 1 : 0]);
        return buffer;
}

const char *text_age(char buffer[static TEXT_SMALL], uint64_t ms) {
        static const struct {
                uint64_t seconds;
                char letter;
        } units[] = { { 86400, 'd' }, { 3600, 'h' }, { 60, 'm' }, { 1, 's' } };
        uint64_t seconds = ms / 1000;
        size_t i = 0;

        while (i < ELEMENTSOF(units) - 1 && seconds < units[i].seconds)
                i++;
        if (i == 0 && seconds / 86400 > 999)
                (void)snprintf(buffer, TEXT_SMALL, ">2y");
        else
                (void)snprintf(buffer, TEXT_SMALL, "%" PRIu64 "%c", seconds / units[i].seconds, units[i].letter);
        return buffer;
}
