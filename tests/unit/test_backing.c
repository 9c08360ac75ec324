/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <infiniband/verbs.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "backing.h"

#define SIZE  65536
#define PLACE 0x7f0000000000

#define READING (IBV_ACCESS_REMOTE_READ)
#define WRITING (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ)

static const struct pl_fdclass shmem = {
        .kind = PL_FD_SHMEM,
        .mode = S_IFREG,
        .flags = O_RDWR,
        .page_size = 4096,
        .size = SIZE,
};

static struct pl_register make(uint64_t offset, uint64_t length, uint64_t address, uint32_t access) {
        return (struct pl_register) { .offset = offset, .length = length, .address = address, .access = access };
}

static void expect(const struct pl_fdclass *class, struct pl_register request, enum pinlease_code code) {
        struct refusal refusal;
        int r = backing_check(class, &request, &refusal);

        if (code == PINLEASE_CODE_NONE)
                assert_int_equal(r, 0);
        else
                testing_assert_refusal(r, &refusal, code);
}

TEST(test_range) {
        static const struct {
                uint64_t offset, length, address;
                enum pinlease_code code;
        } cases[] = {
                { 0, SIZE, PLACE, PINLEASE_CODE_NONE },
                { 0, 1, PLACE, PINLEASE_CODE_NONE },
                { SIZE - 1, 1, PLACE + 4095, PINLEASE_CODE_NONE },
                { 4097, 3, PLACE + 1, PINLEASE_CODE_NONE },

                { 0, 0, PLACE, PINLEASE_CODE_ZERO_LENGTH },
                { UINT64_MAX, 0, PLACE, PINLEASE_CODE_ZERO_LENGTH },

                { UINT64_MAX, 1, PLACE, PINLEASE_CODE_RANGE_OVERFLOW },
                { 1, UINT64_MAX, PLACE + 1, PINLEASE_CODE_RANGE_OVERFLOW },
                { UINT64_MAX - 4096, 4096, PLACE, PINLEASE_CODE_RANGE_OVERFLOW },
                { 0, 4096, UINT64_MAX - 4095, PINLEASE_CODE_RANGE_OVERFLOW },
                { 0, 4096, UINT64_MAX - 8191, PINLEASE_CODE_RANGE_OVERFLOW },
                { (uint64_t)INT64_MAX + 1, 4096, PLACE, PINLEASE_CODE_RANGE_OVERFLOW },
                { (uint64_t)INT64_MAX - 4095, 8192, PLACE, PINLEASE_CODE_RANGE_OVERFLOW },

                { 0, SIZE + 1, PLACE, PINLEASE_CODE_BEYOND_END },
                { SIZE, 1, PLACE, PINLEASE_CODE_BEYOND_END },
                { SIZE - 1, 2, PLACE + 4095, PINLEASE_CODE_BEYOND_END },
                { UINT64_C(1) << 50, 4096, PLACE, PINLEASE_CODE_BEYOND_END },

                { 0, 4096, 0, PINLEASE_CODE_MISALIGNED },
                { 0, 4096, PLACE + 1, PINLEASE_CODE_MISALIGNED },
                { 1, 4096, PLACE, PINLEASE_CODE_MISALIGNED },
                { 2048, 4096, PLACE + 1024, PINLEASE_CODE_MISALIGNED },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                expect(&shmem, make(cases[i].offset, cases[i].length, cases[i].address, READING), cases[i].code);
}

/* Rounding up to a whole huge page must not overflow after the check. */
TEST(test_range_huge) {
        struct pl_fdclass huge = shmem;

        huge.kind = PL_FD_HUGETLB;
        huge.page_size = 2 << 20;
        huge.size = 4 << 20;
        expect(&huge, make(0, 4 << 20, PLACE, WRITING), PINLEASE_CODE_NONE);
        expect(&huge, make(4096, 4096, PLACE + 4096, WRITING), PINLEASE_CODE_NONE);
        expect(&huge, make(0, (4 << 20) + 1, PLACE, WRITING), PINLEASE_CODE_BEYOND_END);
        expect(&huge, make(0, 4096, UINT64_MAX - (1 << 20) + 1, WRITING), PINLEASE_CODE_RANGE_OVERFLOW);
}

TEST(test_access_bits) {
        const uint32_t single_ok = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_MW_BIND |
                IBV_ACCESS_RELAXED_ORDERING | 1U << 8 | 1U << 9;

        expect(&shmem, make(0, 1, PLACE, 0), PINLEASE_CODE_NONE);
        for (unsigned int bit = 0; bit < 32; bit++)
                expect(&shmem,
                       make(0, 1, PLACE, 1U << bit),
                       single_ok & 1U << bit ? PINLEASE_CODE_NONE : PINLEASE_CODE_BAD_ACCESS);

        expect(&shmem, make(0, 1, PLACE, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE), PINLEASE_CODE_NONE);
        expect(&shmem, make(0, 1, PLACE, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_ATOMIC), PINLEASE_CODE_NONE);
        expect(&shmem, make(0, 1, PLACE, IBV_ACCESS_MW_BIND | IBV_ACCESS_REMOTE_WRITE), PINLEASE_CODE_BAD_ACCESS);
        expect(&shmem, make(0, 1, PLACE, WRITING | IBV_ACCESS_ON_DEMAND), PINLEASE_CODE_BAD_ACCESS);
        expect(&shmem, make(0, 1, PLACE, WRITING | IBV_ACCESS_ZERO_BASED), PINLEASE_CODE_BAD_ACCESS);
        expect(&shmem, make(0, 1, PLACE, WRITING | IBV_ACCESS_HUGETLB), PINLEASE_CODE_BAD_ACCESS);
        expect(&shmem, make(0, 1, PLACE, UINT32_MAX), PINLEASE_CODE_BAD_ACCESS);
}

/* The kernel's own rule: ib_access_writable(). */
TEST(test_writable) {
        for (unsigned int bit = 0; bit < 32; bit++)
                assert_int_equal(backing_access_writable(1U << bit),
                                 bit == 0 /* LOCAL_WRITE */ || bit == 1 /* REMOTE_WRITE */ ||
                                         bit == 3 /* REMOTE_ATOMIC */ || bit == 4 /* MW_BIND */);
        assert_false(backing_access_writable(0));
}

TEST(test_mode) {
        static const uint32_t writing[] = { IBV_ACCESS_LOCAL_WRITE, IBV_ACCESS_MW_BIND, WRITING };
        struct pl_fdclass class = shmem;

        for (size_t i = 0; i < ELEMENTSOF(writing); i++) {
                class.flags = O_RDWR | O_NONBLOCK;
                expect(&class, make(0, 1, PLACE, writing[i]), PINLEASE_CODE_NONE);
                class.flags = O_RDONLY;
                expect(&class, make(0, 1, PLACE, writing[i]), PINLEASE_CODE_FD_MODE);
                class.flags = O_WRONLY;
                expect(&class, make(0, 1, PLACE, writing[i]), PINLEASE_CODE_FD_MODE);
        }
        class.flags = O_RDONLY;
        expect(&class, make(0, 1, PLACE, READING), PINLEASE_CODE_NONE);
        class.flags = O_WRONLY;
        expect(&class, make(0, 1, PLACE, READING), PINLEASE_CODE_FD_MODE);
        expect(&class, make(0, 1, PLACE, 0), PINLEASE_CODE_FD_MODE);
}

TEST(test_seals) {
        static const struct {
                int seals;
                enum pinlease_code code;
        } cases[] = {
                { F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL, PINLEASE_CODE_NONE },
                { F_SEAL_WRITE, PINLEASE_CODE_SEALED },
                { F_SEAL_FUTURE_WRITE, PINLEASE_CODE_SEALED },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct pl_fdclass class = shmem;

                class.seals = cases[i].seals;
                expect(&class, make(0, 1, PLACE, WRITING), cases[i].code);
                expect(&class, make(0, 1, PLACE, READING), PINLEASE_CODE_NONE);
        }
}

TEST(test_identify) {
        static const struct {
                struct pl_fdclass class;
                enum pinlease_backing backing;
                enum pinlease_code code;
        } cases[] = {
                { { .kind = PL_FD_SHMEM }, PINLEASE_BACKING_SHMEM, 0 },
                { { .kind = PL_FD_HUGETLB }, PINLEASE_BACKING_HUGETLB, 0 },
                { { .kind = PL_FD_FILE, .fs_magic = EXT4_SUPER_MAGIC }, PINLEASE_BACKING_PAGECACHE, 0 },
                { { .kind = PL_FD_FILE, .fs_magic = 0x58465342 }, PINLEASE_BACKING_PAGECACHE, 0 },
                { { .kind = PL_FD_FILE, .fs_magic = EXT4_SUPER_MAGIC, .dax = true }, PINLEASE_BACKING_FSDAX, 0 },
                { { .kind = PL_FD_FILE, .fs_magic = 0x58465342, .dax = true }, PINLEASE_BACKING_FSDAX, 0 },
                { { .kind = PL_FD_FILE, .fs_magic = BTRFS_SUPER_MAGIC }, PINLEASE_BACKING_PAGECACHE, 0 },
                { { .kind = PL_FD_FILE, .fs_magic = F2FS_SUPER_MAGIC }, PINLEASE_BACKING_PAGECACHE, 0 },
                { { .kind = PL_FD_FILE, .fs_magic = MSDOS_SUPER_MAGIC }, PINLEASE_BACKING_PAGECACHE, 0 },
                { { .kind = PL_FD_FILE, .fs_magic = SQUASHFS_MAGIC }, PINLEASE_BACKING_PAGECACHE, 0 },
                { { .kind = PL_FD_FILE, .fs_magic = RAMFS_MAGIC }, PINLEASE_BACKING_OTHER, 0 },
                { { .kind = PL_FD_FILE, .fs_magic = 0x15013346, .dax = true }, PINLEASE_BACKING_OTHER, 0 },
                { { .kind = PL_FD_FILE, .fs_magic = PROC_SUPER_MAGIC }, 0, PINLEASE_CODE_BAD_FS },
                { { .kind = PL_FD_FILE, .fs_magic = OVERLAYFS_SUPER_MAGIC }, 0, PINLEASE_CODE_BAD_FS },
                { { .kind = PL_FD_FILE, .fs_magic = FUSE_SUPER_MAGIC, .dax = true }, 0, PINLEASE_CODE_BAD_FS },
                { { .kind = PL_FD_DEVDAX, .mode = S_IFCHR, .dax = true }, PINLEASE_BACKING_DEVDAX, 0 },
                { { .kind = PL_FD_DMABUF }, PINLEASE_BACKING_DMABUF, 0 },
                { { .kind = PL_FD_PATH }, 0, PINLEASE_CODE_PATH_FD },
                { { .kind = PL_FD_CHARDEV, .mode = S_IFCHR }, 0, PINLEASE_CODE_NOT_MEMORY },
                { { .kind = PL_FD_OTHER, .mode = S_IFIFO }, 0, PINLEASE_CODE_NOT_MEMORY },
                { { .kind = PL_FD_OTHER, .mode = S_IFSOCK }, 0, PINLEASE_CODE_NOT_MEMORY },
                { { .kind = PL_FD_OTHER, .mode = S_IFDIR }, 0, PINLEASE_CODE_NOT_MEMORY },
                { { .kind = PL_FD_OTHER, .mode = S_IFBLK }, 0, PINLEASE_CODE_NOT_MEMORY },
                { { .kind = PL_FD_OTHER }, 0, PINLEASE_CODE_NOT_MEMORY },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                enum pinlease_backing backing = PINLEASE_BACKING_OTHER;
                struct refusal refusal;
                int r = backing_identify(&cases[i].class, &backing, &refusal);

                if (cases[i].code != 0)
                        testing_assert_refusal(r, &refusal, cases[i].code);
                else {
                        assert_int_equal(r, 0);
                        assert_int_equal(backing, cases[i].backing);
                }
        }
}

/* Whole units are mapped, whatever of them is registered. */
TEST(test_device) {
        static const uint64_t unit = 2 << 20;
        static const struct {
                uint64_t offset, length, address;
                enum pinlease_code code;
        } cases[] = {
                { 0, 4 << 20, PLACE, PINLEASE_CODE_NONE },
                { unit, unit, PLACE, PINLEASE_CODE_NONE },
                { unit + 5, 1, PLACE + 5, PINLEASE_CODE_NONE },
                { 4096, 4096, PLACE + 4096, PINLEASE_CODE_NONE },
                { 4096, 4096, PLACE + 3 * unit + 4096, PINLEASE_CODE_NONE },
                { 0, 4096, PLACE + 4096, PINLEASE_CODE_MISALIGNED },
                { 4096, 4096, PLACE, PINLEASE_CODE_MISALIGNED },
                { 0, 4096, 0, PINLEASE_CODE_MISALIGNED },
                { 0, (4 << 20) + 1, PLACE, PINLEASE_CODE_BEYOND_END },
                { 4 << 20, 1, PLACE, PINLEASE_CODE_BEYOND_END },
                { 0, 4096, UINT64_MAX - unit + 1, PINLEASE_CODE_RANGE_OVERFLOW },
        };
        struct pl_fdclass device = {
                .kind = PL_FD_DEVDAX,
                .mode = S_IFCHR,
                .flags = O_RDWR,
                .page_size = 4096,
                .align = unit,
                .size = 4 << 20,
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                expect(&device, make(cases[i].offset, cases[i].length, cases[i].address, WRITING), cases[i].code);
        device.flags = O_RDONLY;
        expect(&device, make(0, 4096, PLACE, WRITING), PINLEASE_CODE_FD_MODE);
        expect(&device, make(0, 4096, PLACE, READING), PINLEASE_CODE_NONE);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_range),
                CHECKED(test_range_huge),
                CHECKED(test_access_bits),
                CHECKED(test_writable),
                CHECKED(test_mode),
                CHECKED(test_seals),
                CHECKED(test_identify),
                CHECKED(test_device),
        };

        return cmocka_run_group_tests_name("backing", tests, NULL, NULL);
}
