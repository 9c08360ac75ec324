/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_MEMORY_H
#define TEST_MEMORY_H

/* Memory of every kind that the guest has, opened, mapped and touched. Failures end the case. */

#include <stdbool.h>
#include <stdint.h>

enum memory_kind {
        MEMORY_MEMFD,
        MEMORY_TMPFS,
        MEMORY_HUGETLB,
        MEMORY_EXT4_DAX,
        MEMORY_XFS_DAX,
        MEMORY_EXT4,
        MEMORY_XFS,
        MEMORY_DEVDAX,
        N_MEMORY_KINDS,
};

struct memory {
        int fd;
        uint8_t *start;
        uint64_t length;
};

const char *memory_name(enum memory_kind kind);

/* A new object of length bytes (huge pages: rounded up), every page of it present; files are unlinked already. Device-dax: there is
 * one, and this is its beginning, rounded up as well. */
struct memory memory_new(enum memory_kind kind, uint64_t length);
void memory_free(struct memory *memory);

/* Part of a file on persistent memory is broken for good: it is put into the list that the device's driver asks before it lets
 * anybody at it, as after a real failure. Nobody should get those blocks later: the file has to stay. */
void memory_note_bad_blocks(int fd, uint64_t offset, uint64_t length);

/* A new file below a folder, not unlinked yet: path gets its name. */
int memory_file(const char *folder, char *path, uint64_t size);

#endif
