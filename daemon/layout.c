/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "layout.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "util.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

/* --- making one --------------------------------------------------------------------------------------------------------- */

struct builder {
        struct layout *layout;
        size_t allocated;
};

static bool continues(const struct layout_extent *before, const struct layout_extent *next) {
        return before->logical + before->length == next->logical && before->flags == next->flags &&
                (!(next->flags & LAYOUT_PLACED) || before->physical + before->length == next->physical);
}

/* -E2BIG: it is in too many pieces. */
static int append(struct builder *builder, const struct layout_extent *extent) {
        struct layout *layout = builder->layout;
        struct layout_extent *last = layout->n_extents > 0 ? layout->extents + layout->n_extents - 1 : NULL;

        if (extent->length == 0)
                return 0;
        if (last && continues(last, extent)) {
                last->length += extent->length;
                return 0;
        }
        if (layout->n_extents == LAYOUT_MAX_EXTENTS)
                return -E2BIG;
        if (layout->n_extents == builder->allocated) {
                size_t n = builder->allocated ? builder->allocated * 2 : 4;
                struct layout_extent *p = realloc(layout->extents, n * sizeof *p);

                if (!p)
                        return -ENOMEM;
                layout->extents = p;
                builder->allocated = n;
        }
        layout->extents[layout->n_extents++] = *extent;
        return 0;
}

/* --- what is in the page cache, or was and can be had back ------------------------------------------------------------------ */

/* cachestat(2), Linux 6.5; the distribution's headers may be older. */
struct range {
        uint64_t offset, length;
};

struct counts {
        uint64_t cached, dirty, writeback, evicted, recently_evicted;
};

/* Pages in swap count as evicted. Never for a file with DAX, whose page cache holds something else: Linux 7.3 oopses. */
static int count_pages(int fd, uint64_t offset, uint64_t length, uint64_t *ret_count) {
        struct range range = { .offset = offset, .length = length };
        struct counts counts;

        if (syscall(SYS_cachestat, fd, &range, &counts, 0) < 0)
                return -errno;
        *ret_count = counts.cached + counts.evicted;
        return 0;
}

/* A range of whole pages, halved until each half is all there or not there at all. */
static int read_pages(struct builder *builder, int fd, uint64_t offset, uint64_t length, uint64_t page) {
        uint64_t count = 0, half = length / page / 2 * page;
        int r;

        r = count_pages(fd, offset, length, &count);
        if (r < 0 || count == 0)
                return r;
        if (count >= length / page || half == 0) {
                const struct layout_extent extent = { .logical = offset, .length = length };

                return append(builder, &extent);
        }
        r = read_pages(builder, fd, offset, half, page);
        if (r == 0)
                r = read_pages(builder, fd, offset + half, length - half, page);
        return r;
}

static int read_cache(struct builder *builder, int fd, const struct pl_fdclass *class) {
        uint64_t page = class->page_size, size = builder->layout->size;

        if (size == 0)
                return 0;
        if (size > INT64_MAX)
                return -EFBIG;
        return read_pages(builder, fd, 0, (size + page - 1) / page * page, page);
}

/* --- hugetlb: what this process has mapped ----------------------------------------------------------------------------------- */

/* The kernel tells nobody where such a file has holes: lseek(2) knows none, cachestat(2) refuses. But punching one takes it out of all
 * page tables, nothing else does, and mincore(2) shows that of one's own. */
struct views {
        uint8_t *pages; /* one for each of the file */
        uint64_t n, page;
        int error;
};

enum { NOT_MAPPED, ABSENT, PRESENT };

static void read_view(struct views *views, const struct mapping_view *view) {
        static const uint64_t small = 4096;

        for (uint64_t at = 0; at < view->length && views->error == 0; at += views->page) {
                uint64_t i = (view->offset + at) / views->page;
                unsigned char present;

                if (i >= views->n || views->pages[i] == PRESENT)
                        continue;
                if (mincore((void *)(uintptr_t)(view->base + at), small, &present) < 0)
                        views->error = -errno;
                else
                        views->pages[i] = present & 1 ? PRESENT : ABSENT;
        }
}

#define MAX_HUGE_PAGES (1U << 20)

static int read_hugetlb(struct builder *builder, const struct pl_fdclass *class, const struct mapping_table *mappings) {
        _cleanup_(pl_freep) uint8_t *pages = NULL;
        struct views views = { .page = class->page_size };
        int r = 0;

        views.n = (builder->layout->size + class->page_size - 1) / class->page_size;
        if (views.n > MAX_HUGE_PAGES)
                return -E2BIG;
        pages = views.pages = calloc(views.n, 1);
        if (!pages && views.n > 0)
                return -ENOMEM;

        for (const struct mapping *m = mappings ? mapping_from(mappings, 0) : NULL; m; m = mapping_younger(m)) {
                struct mapping_view view = mapping_view(m);

                if (view.dev == class->dev && view.inode == class->inode)
                        read_view(&views, &view);
        }
        /* What is not mapped may be there or not. It counts as there, because when it is mapped, and pinned, it will be. */
        for (uint64_t i = 0; i < views.n && views.error == 0 && r == 0; i++)
                if (pages[i] != ABSENT) {
                        const struct layout_extent extent = { .logical = i * views.page, .length = views.page };

                        r = append(builder, &extent);
                }
        return views.error < 0 ? views.error : r;
}

/* --- files on ext4 and xfs: their blocks -------------------------------------------------------------------------------------- */

/*
 * On ext4 FIEMAP waits for the inode's lock, uninterruptibly. A read that may not wait does not: it fails. This one begins beyond the
 * end of any file, so it reads nothing.
 */
static bool is_locked(int fd, const struct pl_fdclass *class) {
        char byte;
        struct iovec v = { .iov_base = &byte, .iov_len = 1 };

        if (class->fs_magic != EXT4_SUPER_MAGIC)
                return false;
        return preadv2(fd, &v, 1, INT64_MAX - 65535, RWF_NOWAIT) < 0 && errno == EAGAIN;
}

static struct layout_extent from_fiemap(const struct fiemap_extent *e) {
        const unsigned int nowhere = FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_ENCODED |
                FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_DATA_TAIL;
        struct layout_extent extent = { .logical = e->fe_logical, .length = e->fe_length };

        /* What is only going to be allocated has no place yet. */
        if (!(e->fe_flags & nowhere)) {
                extent.physical = e->fe_physical;
                extent.flags |= LAYOUT_PLACED;
        }
        if (e->fe_flags & FIEMAP_EXTENT_UNWRITTEN)
                extent.flags |= LAYOUT_UNWRITTEN;
        if (e->fe_flags & FIEMAP_EXTENT_SHARED)
                extent.flags |= LAYOUT_SHARED;
        return extent;
}

static void cut(struct layout_extent *extent, uint64_t start) {
        uint64_t head = start - extent->logical;

        head = head < extent->length ? head : extent->length;
        extent->logical += head;
        extent->length -= head;
        extent->physical += extent->flags & LAYOUT_PLACED ? head : 0;
}

#define EXTENTS_AT_ONCE 64

static int read_blocks(struct builder *builder, int fd, const struct pl_fdclass *class) {
        union {
                struct fiemap map;
                uint8_t bytes[sizeof(struct fiemap) + EXTENTS_AT_ONCE * sizeof(struct fiemap_extent)];
        } u;
        uint64_t at = 0, size = builder->layout->size;

        while (at < size) {
                const struct fiemap_extent *last;
                uint64_t begun = at;

                if (is_locked(fd, class))
                        return -EAGAIN;
                memset(&u.map, 0, sizeof u.map);
                u.map.fm_start = at;
                u.map.fm_length = size - at;
                u.map.fm_extent_count = EXTENTS_AT_ONCE;
                /* Without FIEMAP_FLAG_SYNC, which would write the file back first. */
                if (ioctl(fd, FS_IOC_FIEMAP, &u.map) < 0)
                        return -errno;
                if (u.map.fm_mapped_extents == 0)
                        return 0;
                for (unsigned int i = 0; i < u.map.fm_mapped_extents; i++) {
                        struct layout_extent extent = from_fiemap(u.map.fm_extents + i);
                        int r;

                        /* The first may begin earlier. */
                        if (extent.logical < at)
                                cut(&extent, at);
                        r = append(builder, &extent);
                        if (r < 0)
                                return r;
                }
                last = u.map.fm_extents + u.map.fm_mapped_extents - 1;
                at = last->fe_logical + last->fe_length;
                /* Else, between two calls, it has become another file; or there is no progress. */
                if (last->fe_flags & FIEMAP_EXTENT_LAST || at <= begun)
                        return 0;
        }
        return 0;
}

/* In the page cache, not on persistent memory, and to be looked for there: but for xfs, whose blocks say more. On
 * others FIEMAP waits for who is just writing; or blocks say nothing of the pages, as where each write goes to new ones
 * (btrfs, f2fs). */
static bool is_cached(const struct pl_fdclass *class) {
        return class->kind == PL_FD_FILE && class->fs_magic != XFS_SUPER_MAGIC && !class->dax;
}

/* --- reading ------------------------------------------------------------------------------------------------------------------ */

int layout_stat(int fd, uint64_t *ret_size, uint64_t *ret_blocks) {
        struct statx sx;

        if (statx(fd, "", AT_EMPTY_PATH, STATX_SIZE | STATX_BLOCKS, &sx) < 0)
                return -errno;
        *ret_size = sx.stx_size;
        *ret_blocks = sx.stx_blocks;
        return 0;
}

static void layout_donep(struct layout *layout) {
        layout_done(layout);
}

int layout_read(int fd, const struct pl_fdclass *class, const struct mapping_table *mappings, struct layout *ret_layout) {
        _cleanup_(layout_donep) struct layout layout = { 0 };
        struct builder builder = { .layout = &layout };
        int r;

        r = layout_stat(fd, &layout.size, &layout.blocks);
        if (r < 0)
                return r;

        switch (class->kind) {
        case PL_FD_SHMEM:
                r = read_cache(&builder, fd, class);
                break;
        case PL_FD_HUGETLB:
                r = read_hugetlb(&builder, class, mappings);
                break;
        case PL_FD_FILE:
                if (is_cached(class))
                        r = read_cache(&builder, fd, class);
                else if (class->fs_magic == XFS_SUPER_MAGIC || class->fs_magic == EXT4_SUPER_MAGIC)
                        r = read_blocks(&builder, fd, class);
                else
                        r = -EOPNOTSUPP;
                break;
        default:
                return -EINVAL;
        }
        if (r == -EAGAIN || r == -ENOMEM)
                return r;
        layout.known = r == 0;
        if (!layout.known) {
                free(layout.extents);
                layout.extents = NULL;
                layout.n_extents = 0;
        }

        *ret_layout = layout;
        layout = (struct layout) { 0 };
        return 0;
}

/* --- comparing ---------------------------------------------------------------------------------------------------------------- */

struct comparison {
        layout_lost *lost;
        void *userdata;
        uint64_t start, end; /* of what is lost and not told yet; equal: nothing */
};

static void flush(struct comparison *c) {
        if (c->start < c->end)
                c->lost(c->userdata, c->start, c->end == UINT64_MAX ? UINT64_MAX : c->end - c->start);
        c->start = c->end = 0;
}

static void lose(struct comparison *c, uint64_t start, uint64_t end) {
        if (start >= end)
                return;
        if (c->start < c->end && start <= c->end) {
                c->end = end > c->end ? end : c->end;
                return;
        }
        flush(c);
        c->start = start;
        c->end = end;
}

/* What is not there any more can only have been cut out if the file has become smaller. */
static bool holes_count(const struct pl_fdclass *class, const struct layout *before, const struct layout *now) {
        if (class->kind == PL_FD_HUGETLB)
                return now->blocks < before->blocks;
        if (is_cached(class))
                return now->blocks < before->blocks || (now->size != before->size && now->blocks == before->blocks);
        return true;
}

/* Two extents at the same place of the file. */
static bool is_other(const struct pl_fdclass *class, const struct layout_extent *before, const struct layout_extent *now) {
        if (!(before->flags & LAYOUT_PLACED))
                return false;
        /* What has had blocks and is to be allocated again was away in between. */
        if (!(now->flags & LAYOUT_PLACED))
                return true;
        if (now->flags & LAYOUT_UNWRITTEN && !(before->flags & LAYOUT_UNWRITTEN))
                return true;
        /* Writing to blocks that are shared moves the file, but not its pages in the page cache. */
        if (!class->dax && before->flags & LAYOUT_SHARED)
                return false;
        return before->physical - before->logical != now->physical - now->logical;
}

void layout_compare(const struct pl_fdclass *class,
                    const struct layout *before,
                    const struct layout *now,
                    layout_lost *lost,
                    void *userdata) {
        struct comparison c = { .lost = lost, .userdata = userdata };
        uint64_t limit = before->size < now->size ? before->size : now->size;
        bool known = before->known && now->known && holes_count(class, before, now);
        size_t j = 0;

        for (size_t i = 0; known && i < before->n_extents; i++) {
                const struct layout_extent *b = before->extents + i;
                uint64_t at = b->logical, end = b->logical + b->length;

                /* File systems allocate beyond the end, and take that back. */
                end = end < limit ? end : limit;
                while (j < now->n_extents && now->extents[j].logical + now->extents[j].length <= at)
                        j++;
                for (size_t k = j; at < end; k++) {
                        const struct layout_extent *n = k < now->n_extents ? now->extents + k : NULL;
                        uint64_t from = n && n->logical < end ? n->logical : end, to;

                        if (at < from)
                                lose(&c, at, from);
                        at = at < from ? from : at;
                        if (at >= end)
                                break;
                        to = n->logical + n->length < end ? n->logical + n->length : end;
                        if (is_other(class, b, n))
                                lose(&c, at, to);
                        at = to;
                }
        }
        if (now->size < before->size)
                lose(&c, now->size, UINT64_MAX);
        flush(&c);
}

bool layout_has(const struct layout *layout, uint64_t offset, uint64_t length) {
        uint64_t end = pl_range_end(offset, length);

        for (size_t i = 0; i < layout->n_extents && offset < end; i++) {
                const struct layout_extent *e = layout->extents + i;

                if (e->logical > offset)
                        break;
                if (e->logical + e->length > offset)
                        offset = e->logical + e->length;
        }
        return !layout->known || offset >= end;
}

void layout_done(struct layout *layout) {
        free(layout->extents);
        *layout = (struct layout) { 0 };
}
