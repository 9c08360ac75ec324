/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_LISTENER_H
#define PL_LISTENER_H

/* The daemon's three listening sockets: from systemd, by name, or made in a directory. */

#include <sys/stat.h>
#include <sys/types.h>

enum listener {
        LISTENER_CLIENT,
        LISTENER_SESSION,
        LISTENER_ADMIN,
        N_LISTENERS,
};

struct listeners {
        int fds[N_LISTENERS];          /* owned by whoever takes them; -1: taken */
        char paths[N_LISTENERS][108];
        struct stat files[N_LISTENERS]; /* of those that were made here; st_ino 0: by systemd */
};

/*
 * With sockets from systemd, all three have to be there. Else they are made in `directory`, which is made if it is not there:
 * `group` may use the sockets for clients and administrators. Returns 0 or a negative errno, which has been logged.
 */
int listeners_get(const char *directory, gid_t group, struct listeners *ret_listeners);

/* Removes the files of those that were made here, unless they are a successor's by now. */
void listeners_remove(const struct listeners *listeners);

#endif
