/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "explain-lookup.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "fstype.h"
#include "mountinfo.h"
#include "util.h"

#define MAX_LINKS 40 /* as the kernel */

/* --- the mount table --- */

struct mount_key {
        const char *point; /* NULL: any */
        bool by_id, by_parent;
        unsigned int id, parent; /* what the kernel alone has mounted may have the number 0 */
};

struct mount_found {
        unsigned int id;
        char type[32];
};

static bool is_mount(const struct pl_mount *mount, const struct mount_key *key) {
        return (!key->by_id || key->id == mount->id) && (!key->by_parent || key->parent == mount->parent) &&
               (!key->point || strcmp(mount->point, key->point) == 0);
}

/* The last of them. Returns 1, 0: there is none, or a negative errno. */
static int find_mount(const char *table, const struct mount_key *key, struct mount_found *ret_found) {
        _cleanup_(pl_freep) char *line = NULL;
        struct pl_mount mount;
        size_t allocated = 0;
        int n = 0;
        FILE *f = fopen(table, "re");

        if (!f)
                return -errno;
        while (getline(&line, &allocated, f) >= 0)
                if (pl_mountinfo_parse(line, &mount) == 0 && is_mount(&mount, key)) {
                        ret_found->id = mount.id;
                        (void)snprintf(ret_found->type, sizeof ret_found->type, "%s", mount.type);
                        n = 1;
                }
        (void)fclose(f);
        return n;
}

/* Of several that are stacked (a file system on its automount point), the one on top; the table's order does not say
 * which. */
#define MAX_STACK 64
static int find_top_mount(const char *point, struct mount_found *ret_found) {
        static const char table[] = "/proc/self/mountinfo";
        struct mount_found found;
        int r, more;

        more = r = find_mount(table, &(const struct mount_key) { .point = point }, &found);
        for (unsigned int i = 0; more > 0 && i < MAX_STACK; i++) {
                *ret_found = found;
                more = find_mount(
                        table,
                        &(const struct mount_key) { .point = point, .by_parent = true, .parent = ret_found->id },
                        &found);
        }
        return more < 0 ? more : r;
}

static bool is_local(const char *type) {
        uint64_t magic;

        return pl_fstype_magic(type, &magic) == 0;
}

/* --- by path --- */

struct walk {
        int fd;              /* where we are, O_PATH */
        char at[PATH_MAX];   /* and its name, without links; "" is the root */
        char rest[PATH_MAX]; /* what is still to be walked */
        unsigned int n_links;
        struct lookup *found;
};

/* Goes to what `fd` is, or fails with its errno. */
static int go(struct walk *walk, int fd) {
        if (fd < 0)
                return -errno;
        pl_close(walk->fd);
        walk->fd = fd;
        return 0;
}

static int go_up(struct walk *walk) {
        char *slash = strrchr(walk->at, '/');

        if (slash)
                *slash = '\0';
        return go(walk, openat(walk->fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
}

static int go_to_root(struct walk *walk) {
        walk->at[0] = '\0';
        return go(walk, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
}

/* What a link says comes before the rest. */
static int follow(struct walk *walk, int link) {
        char target[PATH_MAX], rest[PATH_MAX];
        ssize_t n;

        if (walk->n_links++ >= MAX_LINKS)
                return -ELOOP;
        n = readlinkat(link, "", target, sizeof target - 1);
        if (n < 0)
                return -errno;
        target[n] = '\0';
        memcpy(rest, walk->rest, sizeof rest);
        if (snprintf(walk->rest, sizeof walk->rest, "%s/%s", target, rest) >= (int)sizeof walk->rest)
                return -ENAMETOOLONG;
        return target[0] == '/' ? go_to_root(walk) : 0;
}

/* /proc/PID/fd/N is a link that says where it leads in words, but leads there whatever they say. */
static bool is_descriptor(const char *path, pid_t *ret_pid, unsigned int *ret_fd) {
        int n = 0;

        return sscanf(path, "/proc/%d/fd/%u%n", ret_pid, ret_fd, &n) == 2 && path[n] == '\0' && *ret_pid > 0;
}

/* Returns 0 to go on, 1 when it is known where the path leads, or a negative errno. */
static int go_down(struct walk *walk, const char *name) {
        _cleanup_(pl_closep) int fd = -1;
        size_t before = strlen(walk->at);
        struct mount_found mount;
        unsigned int number;
        struct stat st;
        pid_t pid;
        int r;

        if (before + strlen(name) + 2 > sizeof walk->at)
                return -ENAMETOOLONG;
        (void)sprintf(walk->at + before, "/%s", name);
        r = find_top_mount(walk->at, &mount);
        if (r < 0)
                return r;
        if (r > 0 && !is_local(mount.type)) {
                memcpy(walk->found->type, mount.type, sizeof mount.type);
                return 1;
        }
        /* Neither a link nor an automount point at the end of a path is followed. */
        fd = openat(walk->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISLNK(st.st_mode))
                return go(walk, pl_steal_fd(&fd));
        if (is_descriptor(walk->at, &pid, &number) && !walk->rest[strspn(walk->rest, "/")]) {
                r = lookup_fd(pid, number, walk->found);
                return r < 0 ? r : 1;
        }
        walk->at[before] = '\0';
        return follow(walk, fd);
}

static int walk_on(struct walk *walk) {
        char name[NAME_MAX + 1];
        int r = 0;

        while (r == 0) {
                char *from = walk->rest + strspn(walk->rest, "/");
                size_t n = strcspn(from, "/");

                if (n == 0)
                        return 0;
                if (n > NAME_MAX)
                        return -ENAMETOOLONG;
                memcpy(name, from, n);
                name[n] = '\0';
                memmove(walk->rest, from + n, strlen(from + n) + 1);
                if (strcmp(name, ".") != 0)
                        r = strcmp(name, "..") == 0 ? go_up(walk) : go_down(walk, name);
        }
        return r;
}

int lookup_path(const char *path, struct lookup *ret_found) {
        struct lookup found = { .fd = -1 };
        struct walk walk = { .fd = -1, .found = &found };
        char folder[PATH_MAX] = "";
        int r;

        if (!*path)
                return -ENOENT;
        if (*path != '/' && !getcwd(folder, sizeof folder))
                return -errno;
        if (snprintf(walk.rest, sizeof walk.rest, "%s/%s", folder, path) >= (int)sizeof walk.rest)
                return -ENAMETOOLONG;
        r = go_to_root(&walk);
        if (r == 0)
                r = walk_on(&walk);
        if (r == 0)
                found.fd = pl_steal_fd(&walk.fd);
        pl_close(walk.fd);
        if (r < 0)
                return r;
        *ret_found = found;
        return 0;
}

/* --- by descriptor --- */

/* The mount is known by fdinfo without a look at the file. Returns 0 or a negative errno. */
static int read_fdinfo(const char *path, int *ret_flags, unsigned int *ret_mount) {
        bool have_flags = false, have_mount = false;
        char line[256];
        unsigned int flags;
        FILE *f = fopen(path, "re");

        if (!f)
                return -errno;
        while (!(have_flags && have_mount) && fgets(line, sizeof line, f)) {
                if (sscanf(line, "flags: %o", &flags) == 1)
                        have_flags = true;
                if (sscanf(line, "mnt_id: %u", ret_mount) == 1)
                        have_mount = true;
        }
        (void)fclose(f);
        *ret_flags = (int)flags;
        return have_flags && have_mount ? 0 : -EIO;
}

/* Those of mounts that only the kernel has: no server is behind them. What only looks like one is opened by O_PATH all
 * the same, which asks nobody, and told by fdclass. */
static bool is_internal(const char *name) {
        static const char *const prefixes[] = { "/memfd:", "/SYSV", "/dev/zero", "/anon_hugepage", "/dmabuf:" };

        for (size_t i = 0; i < ELEMENTSOF(prefixes); i++)
                if (strncmp(name, prefixes[i], strlen(prefixes[i])) == 0)
                        return true;
        return *name != '/';
}

int lookup_fd(pid_t pid, unsigned int fd, struct lookup *ret_found) {
        struct lookup found = { .fd = -1 };
        struct mount_key key = { .by_id = true };
        struct mount_found mount;
        char path[64];
        ssize_t n;
        int r;

        (void)snprintf(found.fdinfo, sizeof found.fdinfo, "/proc/%d/fdinfo/%u", (int)pid, fd);
        r = read_fdinfo(found.fdinfo, &found.flags, &key.id);
        if (r < 0)
                return r;
        (void)snprintf(path, sizeof path, "/proc/%d/fd/%u", (int)pid, fd);
        n = readlink(path, found.name, sizeof found.name - 1);
        if (n < 0)
                return -errno;
        (void)snprintf(path, sizeof path, "/proc/%d/mountinfo", (int)pid);
        r = find_mount(path, &key, &mount);
        if (r < 0)
                return r;
        found.in_memory = r == 0 && is_internal(found.name);
        if (r > 0)
                memcpy(found.type, mount.type, sizeof mount.type);
        if (r > 0 ? is_local(mount.type) : found.in_memory) {
                (void)snprintf(path, sizeof path, "/proc/%d/fd/%u", (int)pid, fd);
                found.fd = open(path, O_PATH | O_CLOEXEC);
                if (found.fd < 0)
                        return -errno;
                found.type[0] = '\0';
        }
        *ret_found = found;
        return 0;
}
