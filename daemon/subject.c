/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "subject.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* SO_PEERGROUPS has the supplementary groups; the group of SO_PEERCRED is put before them. */
static int get_groups(int client, gid_t gid, struct subject *subject) {
        socklen_t size = 0;
        gid_t *gids;

        if (getsockopt(client, SOL_SOCKET, SO_PEERGROUPS, NULL, &size) < 0 && errno != ERANGE)
                return -errno;
        gids = malloc(sizeof gid + size);
        if (!gids)
                return -ENOMEM;
        gids[0] = gid;
        if (size > 0 && getsockopt(client, SOL_SOCKET, SO_PEERGROUPS, gids + 1, &size) < 0) {
                free(gids);
                return -errno;
        }
        subject->gids = gids;
        subject->policy.gids = gids;
        subject->policy.n_gids = 1 + size / sizeof gid;
        return 0;
}

/* The unified hierarchy's line is "0::PATH". */
char *subject_read_cgroup(pid_t pid) {
        char name[32], *line = NULL, *path = NULL;
        size_t room = 0;
        FILE *f;

        (void)snprintf(name, sizeof name, "/proc/%d/cgroup", (int)pid);
        f = fopen(name, "re");
        if (!f)
                return NULL;
        while (!path && getline(&line, &room, f) > 0) {
                line[strcspn(line, "\n")] = '\0';
                if (strncmp(line, "0::/", 4) == 0)
                        path = strdup(line + 3);
        }
        free(line);
        (void)fclose(f);
        return path;
}

static bool is_alive(int app) {
        struct pollfd p = { .fd = app, .events = POLLIN };

        return app >= 0 && poll(&p, 1, 0) == 0;
}

int subject_get(int client, pid_t pid, int app, struct subject *ret_subject) {
        struct ucred credentials;
        socklen_t size = sizeof credentials;
        int r;

        if (getsockopt(client, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
                return -errno;
        *ret_subject = (struct subject) { .policy.uid = credentials.uid };
        r = get_groups(client, credentials.gid, ret_subject);
        if (r < 0)
                return r;
        /* Still there afterwards: so what was read was its own. */
        ret_subject->cgroup = subject_read_cgroup(pid);
        if (is_alive(app))
                ret_subject->policy.cgroup = ret_subject->cgroup;
        return 0;
}

void subject_done(struct subject *subject) {
        free(subject->gids);
        free(subject->cgroup);
}
