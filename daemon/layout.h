/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_LAYOUT_H
#define PL_LAYOUT_H

/*
 * Where a file has its memory: which parts of it there are, and, on a block device, in which blocks. Two layouts, of an earlier
 * and a later time, tell what the file has lost in between.
 *
 * Nothing here waits for who is just writing to the file: whoever may write can make a write(2) last as long as it likes, and
 * the kernel holds the inode's lock (i_rwsem) all that time. So what is asked depends on which calls take that lock (Linux 7.3):
 *
 *   shmem         cachestat(2), as lseek(2) for holes takes it
 *   hugetlb       mincore(2) of this process's own mappings: nothing else tells of holes, and these only if the file has got smaller
 *   xfs           FIEMAP, which does without
 *   ext4, DAX     FIEMAP after a read that would have failed at once, had the lock been taken. What is left is an instant
 *   ext4, others  cachestat(2): where something is cut out, nothing remains in the page cache, while a page that has only been
 *                 reclaimed leaves a trace. Believed only if the file has fewer blocks, or another size and no more blocks
 *
 * None of them waits for a frozen file system.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fdclass.h"
#include "mapping.h"

/* A file in more pieces is watched by its size only. */
#define LAYOUT_MAX_EXTENTS 1024

enum layout_flags {
        LAYOUT_PLACED    = 1 << 0, /* physical is known, and will stay */
        LAYOUT_UNWRITTEN = 1 << 1, /* allocated, reads as zeros */
        LAYOUT_SHARED    = 1 << 2, /* with another file: writing moves it */
};

struct layout_extent {
        uint64_t logical, length, physical;
        unsigned int flags;
};

/* A layout that is all zeros is valid, and knows nothing. */
struct layout {
        uint64_t size;
        uint64_t blocks; /* of 512 bytes, st_blocks */
        bool known;      /* extents are; else there is no more than size and blocks */
        struct layout_extent *extents; /* by logical; those that touch and continue each other are one */
        size_t n_extents;
};

/* Size and blocks. Never waits. Returns 0 or a negative errno. */
int layout_stat(int fd, uint64_t *ret_size, uint64_t *ret_blocks);

/*
 * Reads the layout. `mappings`, which may be NULL, is what is mapped of it in this process: how the holes of huge-page memory are
 * found. Returns 0; -EAGAIN: somebody is changing the file just now, ask again later; or another negative errno.
 */
int layout_read(int fd, const struct pl_fdclass *class, const struct mapping_table *mappings, struct layout *ret_layout);

typedef void layout_lost(void *userdata, uint64_t offset, uint64_t length);

/*
 * Calls lost() for each range that the file had and has not any more, in order, none touching another: cut off, punched out, or now
 * in other blocks (but not where the page cache has kept the pages). length UINT64_MAX: to the end. To grow, and to have memory where
 * there was none, is no loss.
 */
void layout_compare(const struct pl_fdclass *class,
                    const struct layout *before,
                    const struct layout *now,
                    layout_lost *lost,
                    void *userdata);

/* Frees, and makes it one that knows nothing. */
/* Is there memory, as far as is known, for each byte of the range? True also if nothing is known. */
bool layout_has(const struct layout *layout, uint64_t offset, uint64_t length);

void layout_done(struct layout *layout);

#endif
