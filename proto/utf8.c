/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "utf8.h"

#include <stdio.h>

#include "util.h"

/* How many bytes a UTF-8 character has that begins with this one; 0: none does. */
static size_t length_of(uint8_t first) {
        if (first < 0x80)
                return 1;
        if (first < 0xc0 || first >= 0xf8)
                return 0;
        return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

size_t pl_utf8_decode(const char *text, size_t length, uint32_t *ret_character) {
        static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
        const uint8_t *bytes = (const uint8_t *)text;
        size_t n = length > 0 ? length_of(bytes[0]) : 0;
        uint32_t c;

        if (n == 0 || n > length)
                return 0;
        c = n == 1 ? bytes[0] : bytes[0] & (0x7fU >> n);
        for (size_t i = 1; i < n; i++) {
                if ((bytes[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (bytes[i] & 0x3f);
        }
        if (c < smallest[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
                return 0;
        *ret_character = c;
        return n;
}

bool pl_utf8_is_harmless(uint32_t c) {
        static const struct {
                uint32_t first, last;
        } harmful[] = {
                { 0, 0x1f },         /* C0 */
                { 0x7f, 0x9f },      /* DEL, C1: some terminals take U+009B for the beginning of an escape sequence */
                { 0xad, 0xad },      /* soft hyphen */
                { 0x61c, 0x61c },    /* what follows turns the direction of the text, cannot be seen, or is no character */
                { 0x180e, 0x180e },
                { 0x200b, 0x200f },
                { 0x2028, 0x202e },
                { 0x2060, 0x206f },
                { 0xfdd0, 0xfdef },
                { 0xfeff, 0xfeff },
                { 0xfff0, 0xfffb },
                { 0xe0000, 0xe0fff },
        };

        for (size_t i = 0; i < ELEMENTSOF(harmful); i++)
                if (c >= harmful[i].first && c <= harmful[i].last)
                        return false;
        return (c & 0xfffe) != 0xfffe; /* the last two of every plane are none */
}

void pl_utf8_escape(const char *text, size_t length, char *ret_text) {
        while (length > 0) {
                uint32_t c;
                size_t n = pl_utf8_decode(text, length, &c);
                bool harmless = n > 0 && pl_utf8_is_harmless(c);

                n = n > 0 ? n : 1;
                for (size_t i = 0; i < n; i++)
                        if (harmless)
                                *ret_text++ = text[i];
                        else
                                ret_text += sprintf(ret_text, "\\x%02x", (unsigned char)text[i]);
                text += n;
                length -= n;
        }
        *ret_text = '\0';
}
