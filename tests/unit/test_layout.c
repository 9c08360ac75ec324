/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a file has lost, from what it was and what it is. */

#include "testing.h"

#include "layout.h"

struct losses {
        uint64_t offset[8], length[8];
        unsigned int n;
};

static void lose(void *userdata, uint64_t offset, uint64_t length) {
        struct losses *losses = userdata;

        assert_true(losses->n < ELEMENTSOF(losses->offset));
        losses->offset[losses->n] = offset;
        losses->length[losses->n++] = length;
}

#define PLACED(at, n, where) { .logical = (at), .length = (n), .physical = (where), .flags = LAYOUT_PLACED }
#define EXTENTS(...) .known = true, .extents = (struct layout_extent[]) { __VA_ARGS__ }, \
        .n_extents = sizeof((struct layout_extent[]) { __VA_ARGS__ }) / sizeof(struct layout_extent)

static void assert_losses(const struct pl_fdclass *class,
                          const struct layout *before,
                          const struct layout *now,
                          unsigned int n,
                          const uint64_t *expected) {
        struct losses losses = { .n = 0 };

        layout_compare(class, before, now, lose, &losses);
        assert_int_equal(losses.n, n);
        for (unsigned int i = 0; i < n; i++) {
                assert_int_equal(losses.offset[i], expected[2 * i]);
                assert_int_equal(losses.length[i], expected[2 * i + 1]);
        }
}

static const struct pl_fdclass dax = { .kind = PL_FD_FILE, .fs_magic = 0x58465342, .dax = true };
static const struct pl_fdclass cached = { .kind = PL_FD_FILE, .fs_magic = 0x58465342 };
static const struct pl_fdclass ext4_cached = { .kind = PL_FD_FILE, .fs_magic = 0xef53 };
static const struct pl_fdclass hugetlb = { .kind = PL_FD_HUGETLB };

TEST(test_blocks_are_compared) {
        const struct layout before = { .size = 100, EXTENTS(PLACED(0, 40, 1000), PLACED(60, 80, 2000)) };
        const struct layout split = { .size = 100, EXTENTS(PLACED(0, 10, 1000), PLACED(10, 80, 1010), PLACED(90, 10, 2030)) };
        const struct layout inserted = { .size = 110, EXTENTS(PLACED(0, 20, 1000), PLACED(30, 20, 1020), PLACED(70, 80, 2000)) };
        const struct layout collapsed = { .size = 90, EXTENTS(PLACED(0, 30, 1000), PLACED(50, 80, 2000)) };
        const struct layout gone = { .size = 50, .known = true };
        const struct layout beyond = { .size = 100, EXTENTS(PLACED(0, 40, 1000), PLACED(60, 40, 2000)) };
        const struct layout unknown = { .size = 99 };

        assert_losses(&dax, &before, &before, 0, NULL);
        assert_losses(&dax, &before, &beyond, 0, NULL);
        assert_losses(&dax, &before, &split, 1, (uint64_t[]) { 60, 30 });
        assert_losses(&dax, &before, &inserted, 2, (uint64_t[]) { 20, 20, 60, 40 });
        assert_losses(&dax, &before, &collapsed, 2, (uint64_t[]) { 30, 10, 60, UINT64_MAX });
        assert_losses(&dax, &before, &gone, 2, (uint64_t[]) { 0, 40, 50, UINT64_MAX });
        assert_losses(&dax, &before, &unknown, 1, (uint64_t[]) { 99, UINT64_MAX });
        assert_losses(&dax, &unknown, &before, 0, NULL);
        assert_losses(&dax, &gone, &before, 0, NULL);
}

TEST(test_blocks_that_become_others) {
        const unsigned int p = LAYOUT_PLACED, u = LAYOUT_PLACED | LAYOUT_UNWRITTEN, s = LAYOUT_PLACED | LAYOUT_SHARED;
        const struct {
                unsigned int before, now;
                uint64_t moved;
                bool dax_loss, cached_loss;
        } cases[] = {
                { p, p, 0, false, false }, { p, p, 1, true, true },  { 0, p, 1, false, false }, { 0, 0, 0, false, false },
                { p, 0, 0, true, true },   { u, p, 0, false, false }, { p, u, 0, true, true },   { u, u, 1, true, true },
                { s, p, 1, true, false },  { s, p, 0, false, false }, { s, 0, 0, true, true },   { p, s, 0, false, false },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                const struct layout before = { .size = 10, EXTENTS({ .length = 10, .physical = 50, .flags = cases[i].before }) };
                const struct layout now = { .size = 10,
                                            EXTENTS({ .length = 10, .physical = 50 + cases[i].moved, .flags = cases[i].now }) };

                assert_losses(&dax, &before, &now, cases[i].dax_loss, (uint64_t[]) { 0, 10 });
                assert_losses(&cached, &before, &now, cases[i].cached_loss, (uint64_t[]) { 0, 10 });
        }
}

/* A page that is not in the page cache, or not mapped, says something only if the file has become smaller. */
TEST(test_holes_need_proof) {
        const struct layout before = { .size = 100, .blocks = 10, EXTENTS({ .length = 100 }) };
        struct layout now = { .size = 100, .blocks = 10, EXTENTS({ .length = 50 }) };

        assert_losses(&ext4_cached, &before, &now, 0, NULL);
        assert_losses(&hugetlb, &before, &now, 0, NULL);
        now.blocks = 9;
        assert_losses(&ext4_cached, &before, &now, 1, (uint64_t[]) { 50, 50 });
        assert_losses(&hugetlb, &before, &now, 1, (uint64_t[]) { 50, 50 });
        now.blocks = 10;
        now.size = 120; /* inserted */
        assert_losses(&ext4_cached, &before, &now, 1, (uint64_t[]) { 50, 50 });
        now.blocks = 12; /* appended */
        assert_losses(&ext4_cached, &before, &now, 0, NULL);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_blocks_are_compared),
                CHECKED(test_blocks_that_become_others),
                CHECKED(test_holes_need_proof),
        };

        return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}
