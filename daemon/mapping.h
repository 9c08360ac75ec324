/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_MAPPING_H
#define PL_MAPPING_H

/*
 * The registrar's own mappings of the memory it registers. The kernel takes pages from the caller's address space, so a
 * file has to be mapped here before it can be registered; a mapping is kept and shared while any registration uses it,
 * because page-table entries are what makes a registration of mapped memory ten times faster than one of fresh memory.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "fdclass.h"

struct mapping;

struct mapping_table {
        void *objects; /* tsearch(3) tree, by device and inode */
        unsigned int n_views;
        struct mapping *first, *last; /* all views, in the order in which they were made */
        uint64_t n_made;
};

struct mapping_request {
        const struct pl_fdclass *class;
        int fd;
        uint64_t offset, length;
        uint64_t address;   /* where the app has `offset` */
        bool writable;
        bool exact_address; /* prefer a view in which `offset` lies at `address` */
};

/*
 * Finds a view of the file that covers the range, or makes one, and takes a reference.
 *
 * exact_address is for ODP: rxe looks ODP pages up by iova, so an ODP registration works there only if its iova is its
 * address in the registering process. With the view where the app has its own, the app's address can be the iova. If that
 * place is taken here, a view elsewhere is what comes back.
 *
 * ret_start is the address of `offset` in this process. Returns 0 or a negative errno of mmap.
 */
int mapping_get(struct mapping_table *table,
                const struct mapping_request *request,
                struct mapping **ret_mapping,
                uint64_t *ret_start);

/*
 * What the kernel called the descriptor when the last view of its file was made: "/mnt/file", "/memfd:buffer (deleted)", also
 * "". Of a long name the end, after "…". The array is filled up with NULs.
 */
#define MAPPING_NAME_MAX 104
const char *mapping_name(const struct mapping *mapping);

/* For who looks at all views: in the order in which they were made. */
struct mapping_view {
        uint64_t number; /* from 1 on; never used twice */
        uint64_t base, length;
        dev_t dev;
        uint64_t inode, offset; /* what lies at `base` */
};

/* The oldest view whose number is at least that; NULL: none. Costs a walk, mapping_younger() none; but between two calls of that
 * no view may go. */
const struct mapping *mapping_from(const struct mapping_table *table, uint64_t number);
const struct mapping *mapping_younger(const struct mapping *mapping);
struct mapping_view mapping_view(const struct mapping *mapping);

/* Drops a reference; the last one unmaps. Returns NULL. */
struct mapping *mapping_put(struct mapping_table *table, struct mapping *mapping);

#endif
