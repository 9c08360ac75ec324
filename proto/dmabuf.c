/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "dmabuf.h"

#include <stdio.h>
#include <string.h>

#include "utf8.h"
#include "util.h"

static bool is_name(const char *text, size_t length) {
        if (length == 0 || length >= PL_DMABUF_EXPORTER_MAX)
                return false;
        for (size_t i = 0, n; i < length; i += n) {
                uint32_t character;

                n = pl_utf8_decode(text + i, length - i, &character);
                if (n == 0 || !pl_utf8_is_harmless(character))
                        return false;
        }
        return true;
}

int pl_dmabuf_parse(const char *line, size_t length, char ret_name[PL_DMABUF_EXPORTER_MAX]) {
        static const char key[] = "exp_name:";
        const size_t n_key = sizeof key - 1;

        if (length < n_key || memcmp(line, key, n_key) != 0)
                return -ENODATA;
        line += n_key;
        length -= n_key;
        /* Without an end it may go on. */
        if (length < 2 || line[0] != '\t' || line[length - 1] != '\n' || !is_name(line + 1, length - 2))
                return -EBADMSG;
        memcpy(ret_name, line + 1, length - 2);
        ret_name[length - 2] = '\0';
        return 0;
}

/* Locks of the file come before the exporter: there is no size within which it has to be. */
int pl_dmabuf_exporter_at(const char *fdinfo, char ret_name[PL_DMABUF_EXPORTER_MAX]) {
        _cleanup_(pl_freep) char *line = NULL;
        FILE *f = fopen(fdinfo, "re");
        size_t allocated = 0;
        int r = -ENODATA;
        ssize_t n;

        if (!f)
                return -errno;
        while (r == -ENODATA && (n = getline(&line, &allocated, f)) >= 0)
                r = pl_dmabuf_parse(line, (size_t)n, ret_name);
        if (r == -ENODATA && !feof(f))
                r = -EIO;
        (void)fclose(f);
        return r;
}

int pl_dmabuf_exporter(int fd, char ret_name[PL_DMABUF_EXPORTER_MAX]) {
        char fdinfo[sizeof "/proc/self/fdinfo/-2147483648"];

        (void)snprintf(fdinfo, sizeof fdinfo, "/proc/self/fdinfo/%d", fd);
        return pl_dmabuf_exporter_at(fdinfo, ret_name);
}

const char *pl_dmabuf_exporter_of_name(const char *name) {
        const size_t n = sizeof PL_DMABUF_NAME_PREFIX - 1;

        return strncmp(name, PL_DMABUF_NAME_PREFIX, n) == 0 && name[n] ? name + n : NULL;
}
