/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "ledger-reader.h"

/* What is taken for a ledger, and what is not. */

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static void assert_init(int fd, int result) {
        struct ledger_reader reader = { .fd = -77, .capacity = 77 };

        assert_int_equal(ledger_reader_init(&reader, fd), result);
        if (result < 0) {
                assert_int_equal(reader.fd, -77);
                assert_int_equal(reader.capacity, 77);
        }
}

TEST(test_not_ledgers) {
        static const char *const paths[] = { "/dev/null", "/dev/zero", "/dev/shm", "/proc/self/status", "/proc/self/mem", "/" };
        int pair[2], fd;

        assert_init(-1, -EBADMSG);
        assert_init(9999, -EBADMSG);
        for (size_t i = 0; i < ELEMENTSOF(paths); i++) {
                fd = open(paths[i], O_RDONLY | O_CLOEXEC);
                assert_true(fd >= 0);
                assert_init(fd, -EBADMSG);
                pl_close(fd);
                fd = open(paths[i], O_PATH | O_CLOEXEC);
                assert_true(fd >= 0);
                assert_init(fd, -EBADMSG);
                pl_close(fd);
        }
        assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
        assert_init(pair[0], -EBADMSG);
        pl_close(pair[0]);
        pl_close(pair[1]);
        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
        assert_init(pair[0], -EBADMSG);
        pl_close(pair[0]);
        pl_close(pair[1]);
}

/* A file that may be cut off is none, whatever is in it. */
TEST(test_seals) {
        for (int seals = 0; seals <= SEALS; seals++) {
                struct ledger_header header = { .magic = LEDGER_MAGIC, .version = LEDGER_VERSION };
                int fd = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);

                assert_true(fd >= 0);
                assert_int_equal(write(fd, &header, sizeof header), sizeof header);
                assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
                assert_init(fd, seals == SEALS ? 0 : -EBADMSG);
                /* Later additions do no harm. */
                if (seals == 0) {
                        assert_int_equal(fcntl(fd, F_ADD_SEALS, SEALS | F_SEAL_WRITE), 0);
                        assert_init(fd, 0);
                }
                pl_close(fd);
        }
}

static int sealed(const void *bytes, size_t n, uint64_t size) {
        int fd = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, bytes, n, 0), n);
        assert_int_equal(ftruncate(fd, (off_t)size), 0);
        assert_int_equal(fcntl(fd, F_ADD_SEALS, SEALS), 0);
        return fd;
}

static void assert_header(const struct ledger_header *header, uint64_t size, int result) {
        int fd = sealed(header, sizeof *header, size);

        assert_init(fd, result);
        pl_close(fd);
}

TEST(test_headers) {
        static const uint32_t versions[] = { 0, 1, LEDGER_VERSION + 1, 0x80000000, UINT32_MAX };
        static const uint32_t capacities[] = { 0, 1, 2, 63, 64, 65, 32768, LEDGER_MAX_CAPACITY };
        struct ledger_header header = { .magic = LEDGER_MAGIC, .version = LEDGER_VERSION };
        uint64_t size = sizeof header;

        /* Of another version only that is looked at: neither size nor capacity has a meaning. */
        for (size_t i = 0; i < ELEMENTSOF(versions); i++) {
                header.version = versions[i];
                header.capacity = UINT32_MAX;
                assert_header(&header, size, -EPROTONOSUPPORT);
                assert_header(&header, 16, -EPROTONOSUPPORT);
                assert_header(&header, 15, -EBADMSG);
                assert_header(&header, 0, -EBADMSG);
                header.magic++;
                assert_header(&header, size, -EBADMSG);
                header.magic--;
        }

        header.version = LEDGER_VERSION;
        for (size_t i = 0; i < ELEMENTSOF(capacities); i++) {
                uint64_t right = size + (uint64_t)capacities[i] * sizeof(struct ledger_entry);

                header.capacity = capacities[i];
                assert_header(&header, right, 0);
                assert_header(&header, right - 1, -EBADMSG);
                assert_header(&header, right + 1, -EBADMSG);
                header.magic = 0;
                assert_header(&header, right, -EBADMSG);
                header.magic = LEDGER_MAGIC;
        }
        header.capacity = LEDGER_MAX_CAPACITY + 1;
        assert_header(&header, size + (LEDGER_MAX_CAPACITY + UINT64_C(1)) * sizeof(struct ledger_entry), -EBADMSG);
        header.capacity = UINT32_MAX;
        assert_header(&header, size + UINT32_MAX * (uint64_t)sizeof(struct ledger_entry), -EBADMSG);
        assert_header(&header, (uint32_t)(size + UINT32_MAX * (uint64_t)sizeof(struct ledger_entry)), -EBADMSG);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_not_ledgers),
                CHECKED(test_seals),
                CHECKED(test_headers),
        };

        return cmocka_run_group_tests_name("ledger-format", tests, NULL, NULL);
}
