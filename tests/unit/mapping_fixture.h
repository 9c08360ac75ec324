/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_MAPPING_FIXTURE_H
#define PL_MAPPING_FIXTURE_H

/* A file in memory, and a table of its mappings. */

#include "mapping.h"
#include "testing.h"

#define PAGE UINT64_C(4096)
#define SIZE (16 * PAGE)

struct mapping_fixture {
        struct mapping_table table;
        struct pl_fdclass class;
        int fd;
        uint64_t address; /* room for the whole file, nothing mapped there */
};

void mapping_fixture_init(struct mapping_fixture *f);
void mapping_fixture_done(struct mapping_fixture *f);
int mapping_fixture_get(struct mapping_fixture *f,
                        uint64_t offset,
                        uint64_t length,
                        uint64_t address,
                        bool writable,
                        bool exact,
                        struct mapping **ret_mapping,
                        uint64_t *ret_start);
struct mapping *mapping_fixture_must(struct mapping_fixture *f,
                                     uint64_t offset,
                                     uint64_t length,
                                     uint64_t address,
                                     bool writable,
                                     bool exact,
                                     uint64_t *ret_start);

#endif
