/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "listener.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "log.h"
#include "util.h"

/* How often, and at which intervals, a socket is tried that somebody listens on: a daemon that was killed as it started a session
 * leaves a child that has its sockets until it has become another program. */
#define BIND_ATTEMPTS 40
#define BIND_PAUSE_MS 25

static const struct {
        const char *name; /* FileDescriptorName= */
        const char *file;
        mode_t mode;
        int backlog; /* as in the units, which say why */
} kinds[N_LISTENERS] = {
        /* Who may connect is said by the file; who may administer, by the daemon, in words. */
        [LISTENER_CLIENT] = { "client", "client.sock", 0660, 256 },
        [LISTENER_SESSION] = { "session", "session.sock", 0600, 4096 },
        [LISTENER_ADMIN] = { "admin", "admin.sock", 0660, 256 },
};

/* A socket file that nobody listens on is what a former daemon left; anything else at that place is not ours to remove. */
static int try_bind(int fd, const struct sockaddr_un *address) {
        _cleanup_(pl_closep) int probe = -1;
        struct stat st;

        if (bind(fd, (const struct sockaddr *)address, sizeof *address) == 0)
                return 0;
        if (errno != EADDRINUSE)
                return -errno;
        if (lstat(address->sun_path, &st) < 0)
                return -errno;
        if (!S_ISSOCK(st.st_mode))
                return -EEXIST;

        /* One that listens, but does not accept, is not waited for. */
        probe = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (probe < 0)
                return -errno;
        if (connect(probe, (const struct sockaddr *)address, sizeof *address) == 0 || errno != ECONNREFUSED)
                return -EADDRINUSE;
        if (unlink(address->sun_path) < 0)
                return -errno;
        return bind(fd, (const struct sockaddr *)address, sizeof *address) < 0 ? -errno : 0;
}

static int bind_socket(int fd, const struct sockaddr_un *address) {
        int r;

        for (unsigned int attempt = 1; (r = try_bind(fd, address)) == -EADDRINUSE && attempt < BIND_ATTEMPTS; attempt++)
                (void)nanosleep(&(struct timespec) { .tv_nsec = BIND_PAUSE_MS * 1000000 }, NULL);
        return r;
}

static int open_socket(const char *path, mode_t mode, int backlog, gid_t group, int *ret_fd) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(pl_closep) int fd = -1;
        mode_t mask;
        int r;

        memcpy(address.sun_path, path, strlen(path) + 1);
        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        mask = umask(0777 & ~mode);
        r = bind_socket(fd, &address);
        (void)umask(mask);
        if (r < 0)
                return r;
        if ((group != (gid_t)-1 && lchown(path, (uid_t)-1, group) < 0) || listen(fd, backlog) < 0) {
                r = -errno;
                (void)unlink(path);
                return r;
        }
        *ret_fd = pl_steal_fd(&fd);
        return 0;
}

static int make_all(const char *directory, gid_t group, struct listeners *l) {
        if (mkdir(directory, 0755) < 0 && errno != EEXIST) {
                log_line(LOG_ERR, "cannot make %s: %s", directory, strerror(errno));
                return -errno;
        }
        for (size_t i = 0; i < N_LISTENERS; i++) {
                int r;

                if (snprintf(l->paths[i], sizeof l->paths[i], "%s/%s", directory, kinds[i].file) >= (int)sizeof l->paths[i]) {
                        log_line(LOG_ERR, "the name %s is too long for sockets", directory);
                        return -ENAMETOOLONG;
                }
                r = open_socket(l->paths[i],
                                kinds[i].mode,
                                kinds[i].backlog,
                                i == LISTENER_SESSION ? (gid_t)-1 : group,
                                l->fds + i);
                if (r == 0 && lstat(l->paths[i], l->files + i) < 0)
                        r = -errno;
                if (r < 0) {
                        log_line(LOG_ERR, "cannot listen on %s: %s", l->paths[i], strerror(-r));
                        return r;
                }
        }
        return 0;
}

static int take(struct listeners *l, const char *name, int fd) {
        struct sockaddr_un address;
        socklen_t size = sizeof address;

        for (size_t i = 0; i < N_LISTENERS; i++) {
                if (strcmp(name, kinds[i].name) != 0)
                        continue;
                if (l->fds[i] >= 0 || sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, NULL, 0) <= 0 ||
                    getsockname(fd, (struct sockaddr *)&address, &size) < 0 || size <= sizeof(sa_family_t) ||
                    !address.sun_path[0])
                        return -EINVAL;
                l->fds[i] = fd;
                (void)snprintf(l->paths[i], sizeof l->paths[i], "%.*s", (int)(size - sizeof(sa_family_t)), address.sun_path);
                return 0;
        }
        return -EINVAL;
}

static int take_all(char *const *names, int n, struct listeners *l) {
        int r = 0;

        for (int i = 0; i < n && r == 0; i++)
                r = take(l, names[i], SD_LISTEN_FDS_START + i);
        for (size_t i = 0; i < N_LISTENERS; i++)
                if (l->fds[i] < 0)
                        r = -EINVAL;
        if (r < 0)
                log_line(LOG_ERR,
                         "needs three listening SOCK_SEQPACKET sockets from systemd, named client, session and admin; see "
                         "pinlease.socket, pinlease-session.socket, pinlease-admin.socket");
        return r;
}

static void free_names(char **names) {
        for (char **p = names; p && *p; p++)
                free(*p);
        free(names);
}

int listeners_get(const char *directory, gid_t group, struct listeners *ret_listeners) {
        struct listeners l = { .fds = { -1, -1, -1 } };
        char **names = NULL;
        int n, r;

        n = sd_listen_fds_with_names(1, &names);
        if (n < 0) {
                log_line(LOG_ERR, "cannot make out which sockets it has from systemd: %s", strerror(-n));
                return n;
        }
        r = n > 0 ? take_all(names, n, &l) : 0;
        free_names(names);
        if (r < 0)
                return r;

        if (n == 0) {
                if (!directory) {
                        log_line(LOG_ERR, "has no sockets: start pinlease.socket, or give --runtime-directory DIR");
                        return -ENOTCONN;
                }
                r = make_all(directory, group, &l);
                if (r < 0) {
                        listeners_remove(&l);
                        for (size_t i = 0; i < N_LISTENERS; i++)
                                pl_close(l.fds[i]);
                        return r;
                }
        }
        *ret_listeners = l;
        return 0;
}

/* The number alone is used again at once by some file systems. */
static bool is_same_file(const struct stat *a, const struct stat *b) {
        return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_ctim.tv_sec == b->st_ctim.tv_sec &&
               a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

void listeners_remove(const struct listeners *l) {
        for (size_t i = 0; i < N_LISTENERS; i++) {
                const struct stat *made = l->files + i;
                struct stat st;

                if (made->st_ino && lstat(l->paths[i], &st) == 0 && is_same_file(&st, made))
                        (void)unlink(l->paths[i]);
        }
}
