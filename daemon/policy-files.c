/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy-files.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "util.h"

static const char *of_errno(const char *what) {
        static char sentence[200];

        (void)snprintf(sentence, sizeof sentence, "It cannot be %s: %s.", what, strerror(errno));
        return sentence;
}

bool policy_file_exists(const char *path) {
        struct stat st;

        return lstat(path, &st) == 0 || errno != ENOENT;
}

static const char *wrong_owner(const struct stat *st, const struct policy_owner *owner) {
        static char sentence[200];

        if (!owner->check)
                return NULL;
        if (st->st_uid != owner->uid) {
                (void)snprintf(sentence,
                               sizeof sentence,
                               "It belongs to user %u, who could allow anything by it: chown it to user %u.",
                               st->st_uid,
                               owner->uid);
                return sentence;
        }
        if (st->st_mode & (S_IWGRP | S_IWOTH)) {
                (void)snprintf(sentence,
                               sizeof sentence,
                               "Others than its owner may write it (mode %03o): chmod go-w.",
                               st->st_mode & 0777);
                return sentence;
        }
        return NULL;
}

static const char *wrong_kind(mode_t mode) {
        switch (mode & S_IFMT) {
        case S_IFREG:
                return NULL;
        case S_IFDIR:
                return "It is a folder, and should be a file.";
        case S_IFIFO:
                return "It is a FIFO, and should be a file: nobody waits for what may come out of it.";
        case S_IFSOCK:
                return "It is a socket, and should be a file.";
        default:
                return "It is a device, and should be a file.";
        }
}

/* Asked of the name first, so that no device is opened (a tape would be rewound), and then of what has been opened.
 * Links are followed: what counts is what they lead to. */
static int open_file(const char *path, const struct policy_owner *owner, struct stat *ret_st, const char **ret_why) {
        _cleanup_(pl_closep) int fd = -1;

        if (stat(path, ret_st) < 0) {
                int r = -errno;

                *ret_why = r == -ENOENT && policy_file_exists(path) ? "It is a link that leads nowhere."
                           : r == -ENOENT                           ? "There is no such file."
                                                                    : of_errno("looked at");
                return r;
        }
        *ret_why = wrong_kind(ret_st->st_mode);
        if (*ret_why)
                return -EBADF;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0 || fstat(fd, ret_st) < 0) {
                int r = -errno;

                *ret_why = of_errno("opened");
                return r;
        }
        *ret_why = wrong_kind(ret_st->st_mode);
        if (!*ret_why)
                *ret_why = wrong_owner(ret_st, owner);
        return *ret_why ? -EPERM : pl_steal_fd(&fd);
}

/* Up to one byte more than there should be. Returns how many, or a negative errno. */
static ssize_t read_all(int fd, char *buffer, size_t size) {
        size_t n = 0;

        while (n < size) {
                ssize_t k = read(fd, buffer + n, size - n);

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                if (k == 0)
                        break;
                n += (size_t)k;
        }
        return (ssize_t)n;
}

/* Half of the old and half of the new would be a policy that nobody has written. */
static bool has_changed(int fd, const struct stat *before) {
        struct stat st;

        return fstat(fd, &st) < 0 || st.st_size != before->st_size || st.st_mtim.tv_sec != before->st_mtim.tv_sec ||
               st.st_mtim.tv_nsec != before->st_mtim.tv_nsec || st.st_ctim.tv_sec != before->st_ctim.tv_sec ||
               st.st_ctim.tv_nsec != before->st_ctim.tv_nsec;
}

int policy_file_read(const char *path,
                     const struct policy_owner *owner,
                     size_t most,
                     char **ret_text,
                     size_t *ret_size,
                     const char **ret_why) {
        static char too_large[100];
        _cleanup_(pl_freep) char *text = NULL;
        _cleanup_(pl_closep) int fd = -1;
        struct stat st;
        ssize_t n;

        fd = open_file(path, owner, &st, ret_why);
        if (fd < 0)
                return fd;
        if ((uint64_t)st.st_size > most) {
                (void)snprintf(too_large, sizeof too_large, "It is larger than %zu bytes.", most);
                *ret_why = too_large;
                return -EFBIG;
        }
        text = malloc((size_t)st.st_size + 2);
        if (!text)
                return -ENOMEM;
        n = read_all(fd, text, (size_t)st.st_size + 1);
        if (n < 0) {
                errno = (int)-n;
                *ret_why = of_errno("read");
                return (int)n;
        }
        if (n != st.st_size || has_changed(fd, &st)) {
                *ret_why = "It was changed while it was read. Write another file, and rename it.";
                return -EAGAIN;
        }
        text[n] = '\0';
        *ret_text = text;
        text = NULL;
        *ret_size = (size_t)n;
        return 0;
}

/* --- folders --- */

int policy_folder_check(const char *path, const struct policy_owner *owner, const char **ret_why) {
        struct stat st;

        if (stat(path, &st) < 0)
                return 0; /* nothing in it will be found either */
        *ret_why = wrong_owner(&st, owner);
        return *ret_why ? -EPERM : 0;
}

void policy_paths_free(char **paths, size_t n) {
        for (size_t i = 0; i < n; i++)
                free(paths[i]);
        free(paths);
}

static bool is_policy(const char *name) {
        size_t n = strlen(name);

        return name[0] != '.' && n > 5 && strcmp(name + n - 5, ".json") == 0;
}

static int compare(const void *a, const void *b) {
        return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_path(const char *folder, const char *name, char ***paths, size_t *n) {
        char **more = realloc(*paths, (*n + 1) * sizeof *more);

        if (!more)
                return -ENOMEM;
        *paths = more;
        if (asprintf(&more[*n], "%s/%s", folder, name) < 0)
                return -ENOMEM;
        (*n)++;
        return 0;
}

static int read_folder(DIR *folder, const char *path, size_t most, char ***paths, size_t *n, const char **ret_why) {
        const struct dirent *entry;
        int r;

        while ((errno = 0, entry = readdir(folder))) {
                if (!is_policy(entry->d_name))
                        continue;
                if (*n == most) {
                        *ret_why = "There are more files in it than are read.";
                        return -E2BIG;
                }
                r = add_path(path, entry->d_name, paths, n);
                if (r < 0)
                        return r;
        }
        if (errno == 0)
                return 0;
        r = -errno;
        *ret_why = of_errno("read");
        return r;
}

int policy_folder_list(const char *path,
                       const struct policy_owner *owner,
                       size_t most,
                       char ***ret_paths,
                       size_t *ret_n,
                       const char **ret_why) {
        char **paths = NULL;
        size_t n = 0;
        struct stat st;
        DIR *folder;
        int fd, r;

        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) {
                r = -errno;
                if (r == -ENOENT && !policy_file_exists(path)) {
                        *ret_paths = NULL;
                        *ret_n = 0;
                        return 0;
                }
                *ret_why = r == -ENOENT    ? "It is a link that leads nowhere."
                           : r == -ENOTDIR ? "It is no folder."
                                           : of_errno("opened");
                return r;
        }
        *ret_why = fstat(fd, &st) < 0 ? of_errno("looked at") : wrong_owner(&st, owner);
        folder = *ret_why ? NULL : fdopendir(fd);
        if (!folder) {
                pl_close(fd);
                if (!*ret_why)
                        return -ENOMEM;
                return -EPERM;
        }
        r = read_folder(folder, path, most, &paths, &n, ret_why);
        (void)closedir(folder);
        if (r < 0) {
                policy_paths_free(paths, n);
                return r;
        }
        if (n > 0)
                qsort(paths, n, sizeof *paths, compare);
        *ret_paths = paths;
        *ret_n = n;
        return 0;
}
