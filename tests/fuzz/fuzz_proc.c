/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Lines of files in /proc, in which users write words: /proc/PID/mountinfo, maps and fdinfo. Whatever a line is, what
 * is taken from it lies in it. */

#include "fuzz.h"

#include <string.h>

#include "dmabuf.h"
#include "maps.h"
#include "mountinfo.h"
#include "utf8.h"
#include "util.h"

static void check_mount(char *line, size_t size) {
        _cleanup_(pl_freep) char *before = strdup(line);
        struct pl_mount mount;

        MUST(before);
        if (pl_mountinfo_parse(line, &mount) < 0)
                return;
        MUST(mount.point > line && mount.type > mount.point);
        MUST(mount.type + strlen(mount.type) <= line + size);
        MUST(*mount.point && *mount.type && !strpbrk(mount.type, " \n"));
        /* Without escapes it is as it was. */
        if (!strchr(before, '\\'))
                MUST(strncmp(mount.point, before + (mount.point - line), strlen(mount.point)) == 0 &&
                     !strchr(mount.point, ' '));
        MUST(strstr(before, mount.type));
}

/* A name of a user's never makes memory private that has a file, or is shared. */
static void check_vma(const char *line, size_t size) {
        struct pl_vma vma;

        if (!pl_maps_parse(line, &vma))
                return;
        MUST(vma.start < vma.end);
        MUST(vma.name > line && vma.name + strlen(vma.name) == line + size);
        MUST(!vma.private || !*vma.name || *vma.name == '[');
}

/* With its end, if it has one. */
static void check_exporter(const char *line, size_t size) {
        char name[PL_DMABUF_EXPORTER_MAX], harmless[PL_UTF8_ESCAPED(PL_DMABUF_EXPORTER_MAX)];
        size_t n;

        if (pl_dmabuf_parse(line, size, name) < 0)
                return;
        n = strnlen(name, sizeof name);
        MUST(n > 0 && n < sizeof name && n < size && line[size - 1] == '\n');
        MUST(memcmp(line + size - 1 - n, name, n) == 0);
        pl_utf8_escape(name, n, harmless);
        MUST(strcmp(harmless, name) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(pl_freep) char *text = malloc(size + 1);

        MUST(text);
        memcpy(text, data, size);
        text[size] = '\0';
        for (char *line = text, *end; line < text + size; line = end + 1) {
                end = line + strcspn(line, "\n");
                check_exporter(line, (size_t)(end - line) + (*end == '\n'));
                *end = '\0';
                check_vma(line, strlen(line));
                check_mount(line, (size_t)(end - line));
        }
        return 0;
}
