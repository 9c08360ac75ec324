/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_POLICY_FILES_H
#define PL_POLICY_FILES_H

/* Files as an administrator has left them: found, in their order, and read whole or not at all. Nothing here waits:
 * what is no regular file is not opened. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct policy_owner {
        bool check;
        uid_t uid;
};

/* Reads at most so many bytes. Returns 0 and the text (the caller's to free, with a NUL behind it), or a negative errno
 * and what is wrong with it (for -ENOENT as well; static, or in a buffer that the next call uses again). */
int policy_file_read(const char *path,
                     const struct policy_owner *owner,
                     size_t most,
                     char **ret_text,
                     size_t *ret_size,
                     const char **ret_why);

/* Is the folder, if it is there, one that nobody else may write to? Returns 0, or a negative errno and what is wrong with it. */
int policy_folder_check(const char *path, const struct policy_owner *owner, const char **ret_why);

/* The paths of what ends with .json in a folder, in the order of their names' bytes; nothing if there is no such
 * folder. Returns 0, or a negative errno and what is wrong. */
int policy_folder_list(const char *path,
                       const struct policy_owner *owner,
                       size_t most,
                       char ***ret_paths,
                       size_t *ret_n,
                       const char **ret_why);

void policy_paths_free(char **paths, size_t n);

/* Is there something of this name, be it a link that leads nowhere? */
bool policy_file_exists(const char *path);

#endif
