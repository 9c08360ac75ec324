/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mapping_fixture.h"

#include "wraps.h"

void mapping_fixture_init(struct mapping_fixture *f) {
        wraps_reset();
        *f = (struct mapping_fixture) { .fd = testing_memfd(SIZE), .address = testing_free_address(SIZE) };
        assert_int_equal(pl_fdclass_get(f->fd, &f->class), 0);
}

void mapping_fixture_done(struct mapping_fixture *f) {
        assert_int_equal(f->table.n_views, 0);
        assert_null(f->table.objects);
        pl_close(f->fd);
}

int mapping_fixture_get(struct mapping_fixture *f,
                        uint64_t offset,
                        uint64_t length,
                        uint64_t address,
                        bool writable,
                        bool exact,
                        struct mapping **ret_mapping,
                        uint64_t *ret_start) {
        return mapping_get(&f->table,
                           &(struct mapping_request) {
                                   .class = &f->class,
                                   .fd = f->fd,
                                   .offset = offset,
                                   .length = length,
                                   .address = address,
                                   .writable = writable,
                                   .exact_address = exact,
                           },
                           ret_mapping,
                           ret_start);
}

struct mapping *mapping_fixture_must(struct mapping_fixture *f,
                                     uint64_t offset,
                                     uint64_t length,
                                     uint64_t address,
                                     bool writable,
                                     bool exact,
                                     uint64_t *ret_start) {
        struct mapping *mapping;

        assert_int_equal(mapping_fixture_get(f, offset, length, address, writable, exact, &mapping, ret_start), 0);
        return mapping;
}
