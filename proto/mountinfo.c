/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mountinfo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

static int octal(const char *text) {
        return text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] >= '0' && text[2] <= '7' &&
                               text[3] >= '0' && text[3] <= '7'
                       ? (text[1] - '0') << 6 | (text[2] - '0') << 3 | (text[3] - '0')
                       : -1;
}

/* Blanks, tabs, line ends and backslashes are \ooo. */
static void unescape(char *text) {
        char *to = text;

        while (*text) {
                int c = octal(text);

                *to++ = c > 0 ? (char)c : *text;
                text += c > 0 ? 4 : 1;
        }
        *to = '\0';
}

/* The next word, and where the one after it begins. NULL: there is none. */
static char *word(char **line) {
        char *start = *line + strspn(*line, " "), *end = start + strcspn(start, " \n");

        if (end == start)
                return NULL;
        *line = *end ? end + 1 : end;
        *end = '\0';
        return start;
}

/* ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG...] - TYPE SOURCE OPTIONS */
int pl_mountinfo_parse(char *line, struct pl_mount *ret_mount) {
        struct pl_mount mount = { 0 };
        unsigned int maj, min;
        char *point, *w;
        int n = 0;

        if (sscanf(line, "%u %u %u:%u %n", &mount.id, &mount.parent, &maj, &min, &n) != 4 || n == 0)
                return -EBADMSG;
        line += n;
        if (!word(&line))
                return -EBADMSG;
        point = word(&line);
        if (!point)
                return -EBADMSG;
        do
                w = word(&line);
        while (w && strcmp(w, "-") != 0);
        mount.type = w ? word(&line) : NULL;
        if (!mount.type)
                return -EBADMSG;

        unescape(point);
        mount.point = point;
        mount.dev = makedev(maj, min);
        *ret_mount = mount;
        return 0;
}
