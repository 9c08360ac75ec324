/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "place.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_certain(const char *path, const struct pl_fdclass *class) {
        struct stat st;

        return fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) == 0 && st.st_dev == class->dev &&
               st.st_ino == class->inode && st.st_nlink == 1;
}

void place_find(int fd, const struct pl_fdclass *class, struct place *ret_place) {
        struct stat st;
        char link[32];
        ssize_t n;

        /* Called by whoever has it as he likes. */
        if (class->kind == PL_FD_DMABUF) {
                ret_place->known = ret_place->certain = false;
                return;
        }
        (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        n = readlink(link, ret_place->path, sizeof ret_place->path);

        /* A path that fills the room may go on. */
        ret_place->known = fstat(fd, &st) == 0 && st.st_nlink > 0 && n > 0 && (size_t)n < sizeof ret_place->path && ret_place->path[0] == '/';
        ret_place->certain = false;
        if (!ret_place->known)
                return;
        ret_place->path[n] = '\0';
        ret_place->certain = is_certain(ret_place->path, class);
}
