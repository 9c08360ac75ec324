/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "jsonline.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "text.h"
#include "utf8.h"

/* Where a string ends: at the quote that no backslash stands before. */
static size_t string_length(const char *text, size_t length) {
        size_t n = 1;

        while (n < length && text[n] != '"')
                n += text[n] == '\\' && n + 1 < length ? 2 : 1;
        return n < length ? n + 1 : length;
}

bool jsonline_is_plain(const char *text, size_t length) {
        for (size_t i = 0; i < length; i++)
                if (text[i] == '"')
                        i += string_length(text + i, length - i) - 1;
                else if (text[i] == 0 || strchr("NI'/", text[i]))
                        return false;
        return true;
}

static void print_escaped(uint32_t c) {
        if (c < 0x10000)
                (void)printf("\\u%04x", (unsigned int)c);
        else
                (void)printf("\\u%04x\\u%04x",
                             (unsigned int)(0xd800 + ((c - 0x10000) >> 10)),
                             (unsigned int)(0xdc00 + ((c - 0x10000) & 0x3ff)));
}

static void print_string(const char *text, size_t length) {
        /* A terminal of another character set reads other things than we write. */
        bool ascii = !text_is_utf8() && isatty(STDOUT_FILENO) == 1;

        while (length > 0) {
                uint32_t c;
                size_t n = pl_utf8_decode(text, length, &c);

                if (n == 0) {
                        n = 1;
                        c = 0xfffd;
                }
                if (pl_utf8_is_harmless(c) && c != 0xfffd && !(ascii && c >= 0x80))
                        (void)fwrite(text, 1, n, stdout);
                else
                        print_escaped(c);
                text += n;
                length -= n;
        }
}

void jsonline_print(const char *text, size_t length) {
        for (size_t i = 0; i < length; i++)
                if (text[i] == '"') {
                        size_t n = string_length(text + i, length - i);

                        print_string(text + i, n);
                        i += n - 1;
                } else
                        (void)putchar((unsigned char)text[i] <= ' ' ? ' ' : text[i]);
        (void)putchar('\n');
}
