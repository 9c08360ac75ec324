/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <rdma/rdma_user_ioctl_cmds.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "ledger.h"

#define CAPACITY 8

static struct ledger_record make_record(uint64_t id) {
        return (struct ledger_record) {
                .id = id,
                .start = 0x10000,
                .iova = 0x20000,
                .length = 4096,
                .context = 3,
                .pd = 1,
                .method = PINLEASE_METHOD_PINNED,
                .backing = PINLEASE_BACKING_SHMEM,
                .created_ms = 12345,
                .bytes = 8192,
                .name = "/memfd:buffer (deleted)",
        };
}

TEST(test_new) {
        struct ledger ledger;
        struct stat st;

        assert_int_equal(ledger_create(CAPACITY, &ledger), 0);
        assert_int_equal(ledger.header->magic, LEDGER_MAGIC);
        assert_int_equal(ledger.header->version, LEDGER_VERSION);
        assert_int_equal(ledger.header->capacity, CAPACITY);
        assert_int_equal(ledger_high_water(&ledger), 0);
        assert_false(ledger_is_busy(&ledger, pl_now_ms()));
        assert_int_equal(fcntl(ledger.fd, F_GETFD), FD_CLOEXEC);

        for (uint32_t i = 0; i < CAPACITY + 2; i++) {
                struct uverbs_mr_keys response;
                struct ledger_record record;
                enum ledger_state state;

                assert_false(ledger_read(&ledger, i, &state, &record, &response));
        }

        /* Whoever holds the descriptor cannot cut it off under the other's mapping. */
        assert_int_equal(fcntl(ledger.fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW), F_SEAL_SHRINK | F_SEAL_GROW);
        assert_int_equal(fstat(ledger.fd, &st), 0);
        assert_int_equal(ftruncate(ledger.fd, 0), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(ftruncate(ledger.fd, st.st_size + 1), -1);
        assert_int_equal(errno, EPERM);
        assert_int_equal(fcntl(ledger.fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
        ledger_done(&ledger);
        assert_int_equal(ledger.fd, -1);
        ledger_done(&ledger);
}

/* What a reader sees at each step of a registration's life. */
TEST(test_life) {
        struct ledger_record record = make_record(77), seen;
        struct uverbs_mr_keys response;
        struct ledger_entry *entry;
        enum ledger_state state;
        struct ledger ledger;

        assert_int_equal(ledger_create(CAPACITY, &ledger), 0);

        entry = ledger_intent(&ledger, 5, &record);
        assert_int_equal(ledger_high_water(&ledger), 6);
        assert_true(ledger_read(&ledger, 5, &state, &seen, &response));
        assert_int_equal(state, LEDGER_INTENT);
        assert_memory_equal(&seen, &record, sizeof seen);
        assert_int_equal(response.handle, LEDGER_NO_HANDLE);
        assert_false(ledger_read(&ledger, 4, &state, &seen, &response));

        /* The kernel writes in the middle of INTENT. */
        entry->response = (struct uverbs_mr_keys) { .handle = 0, .lkey = 1, .rkey = 2 };
        assert_true(ledger_read(&ledger, 5, &state, &seen, &response));
        assert_int_equal(state, LEDGER_INTENT);
        assert_int_equal(response.handle, 0);

        ledger_live(entry);
        assert_true(ledger_read(&ledger, 5, &state, &seen, &response));
        assert_int_equal(state, LEDGER_LIVE);
        assert_int_equal(response.rkey, 2);

        ledger_revoking(entry);
        assert_true(ledger_read(&ledger, 5, &state, &seen, &response));
        assert_int_equal(state, LEDGER_REVOKING);
        assert_int_equal(response.rkey, 2);
        assert_memory_equal(&seen, &record, sizeof seen);

        ledger_retiring(entry);
        assert_true(ledger_read(&ledger, 5, &state, &seen, &response));
        assert_int_equal(state, LEDGER_RETIRING);

        ledger_free(entry);
        assert_false(ledger_read(&ledger, 5, &state, &seen, &response));

        /* Used again: nothing of the old registration shines through. */
        record = make_record(78);
        ledger_intent(&ledger, 5, &record);
        assert_true(ledger_read(&ledger, 5, &state, &seen, &response));
        assert_int_equal(seen.id, 78);
        assert_int_equal(response.handle, LEDGER_NO_HANDLE);
        assert_int_equal(response.lkey, UINT32_MAX);
        assert_int_equal(response.rkey, UINT32_MAX);

        /* High water never falls, and a lower index does not raise it. */
        ledger_intent(&ledger, 2, &record);
        assert_int_equal(ledger_high_water(&ledger), 6);
        ledger_done(&ledger);
}

/* A registrar that has been taken over may write anything anywhere in the ledger. */
TEST(test_lies) {
        struct uverbs_mr_keys response;
        struct ledger_record record;
        enum ledger_state state;
        struct ledger ledger;

        assert_int_equal(ledger_create(CAPACITY, &ledger), 0);

        memset(ledger.header, 0xff, sizeof *ledger.header);
        assert_int_equal(ledger_high_water(&ledger), CAPACITY);
        for (uint32_t i = 0; i < CAPACITY + 100; i++)
                assert_false(ledger_read(&ledger, i, &state, &record, &response));
        assert_false(ledger_read(&ledger, UINT32_MAX, &state, &record, &response));

        for (unsigned int lie = 0; lie < 300; lie++) {
                atomic_store(&ledger.entries[0].state, lie);
                assert_int_equal(ledger_read(&ledger, 0, &state, &record, &response),
                                 lie >= LEDGER_INTENT && lie <= LEDGER_REVOKING);
        }

        ledger.header->capacity = 1;
        atomic_store(&ledger.entries[CAPACITY - 1].state, LEDGER_LIVE);
        assert_true(ledger_read(&ledger, CAPACITY - 1, &state, &record, &response));
        ledger_done(&ledger);
}

TEST(test_busy) {
        struct ledger ledger;

        assert_int_equal(ledger_create(1, &ledger), 0);
        ledger_busy(&ledger, 60000);
        assert_true(ledger_is_busy(&ledger, pl_now_ms()));
        assert_false(ledger_is_busy(&ledger, pl_now_ms() + 60001));
        ledger_busy(&ledger, 0);
        assert_false(ledger_is_busy(&ledger, 1));

        /* More than is believed counts as what is believed, from the writer's own hand; from anybody else's as nothing. */
        ledger_busy(&ledger, UINT64_MAX);
        assert_true(ledger_is_busy(&ledger, pl_now_ms() + 1));
        assert_false(ledger_is_busy(&ledger, pl_now_ms() + LEDGER_BUSY_MAX_MS + 1));
        atomic_store(&ledger.header->busy_until, UINT64_MAX);
        assert_false(ledger_is_busy(&ledger, pl_now_ms()));
        ledger_done(&ledger);
}

/* The kernel writes into the entry itself, for every entry of a ledger: what is outside of it would be lost. */
TEST(test_response_is_inside) {
        struct ledger ledger;

        assert_int_equal(ledger_create(CAPACITY, &ledger), 0);
        assert_int_equal((uint8_t *)ledger.entries - (uint8_t *)ledger.header, LEDGER_HEADER_SIZE);
        assert_int_equal(ledger.size, LEDGER_HEADER_SIZE + CAPACITY * sizeof(struct ledger_entry));
        for (uint32_t i = 0; i < CAPACITY; i++) {
                struct ledger_record record = make_record(i + 1);
                struct ledger_entry *entry = ledger_intent(&ledger, i, &record);
                const uint8_t *response = (const uint8_t *)&entry->response;

                assert_ptr_equal(entry, ledger.entries + i);
                assert_true(response >= (uint8_t *)entry);
                assert_true(response + sizeof entry->response <= (uint8_t *)(entry + 1));
                assert_true((uint8_t *)(entry + 1) <= (uint8_t *)ledger.header + ledger.size);
        }
        ledger_done(&ledger);
}

TEST(test_number) {
        assert_int_equal(ledger_number(0), 0);
        assert_int_equal(ledger_number((UINT64_C(12) << 32) | 3), 12);
        assert_int_equal(ledger_number(UINT64_MAX), UINT32_MAX);
}

/* A session that counts, and has little registered, has one page of ledger. */
TEST(test_idle_is_small) {
        struct ledger_record record = make_record(1);
        struct ledger ledger;
        struct stat st;

        assert_int_equal(ledger_create(32768, &ledger), 0);
        stats_registered(&ledger.header->stats, PINLEASE_METHOD_ODP, 4096);
        stats_refused(&ledger.header->stats, STATS_N_CODES - 1);
        stats_latency(&ledger.header->stats, STATS_DEREGISTER, UINT64_MAX);
        for (uint32_t i = 0; i < 9; i++)
                ledger_free(ledger_intent(&ledger, i, &record));
        assert_int_equal(fstat(ledger.fd, &st), 0);
        assert_int_equal(st.st_blocks * 512, 4096);
        ledger_done(&ledger);
}

/* Shared: what one process writes, the other reads. */
TEST(test_shared) {
        struct ledger_record record = make_record(1);
        struct ledger ledger;
        void *other;

        assert_int_equal(ledger_create(CAPACITY, &ledger), 0);
        other = mmap(NULL, ledger.size, PROT_READ, MAP_SHARED, ledger.fd, 0);
        assert_ptr_not_equal(other, MAP_FAILED);
        ledger_live(ledger_intent(&ledger, 0, &record));
        assert_memory_equal(other, ledger.header, ledger.size);
        assert_int_equal(munmap(other, ledger.size), 0);
        ledger_done(&ledger);
}

TEST(test_sizes) {
        static const uint32_t capacities[] = { 0, 1, 2, 4096, 1000000 };

        for (size_t i = 0; i < ELEMENTSOF(capacities); i++) {
                struct ledger ledger;
                struct stat st;

                assert_int_equal(ledger_create(capacities[i], &ledger), 0);
                assert_int_equal(fstat(ledger.fd, &st), 0);
                assert_int_equal(st.st_size, LEDGER_HEADER_SIZE + (uint64_t)capacities[i] * 224);
                /* Its pages are taken when entries are used. */
                assert_true(st.st_blocks * 512 <= 4096);
                ledger_done(&ledger);
        }
}

/* The handle that the kernel has written into the command is read there, and only where there can be none elsewhere. */
TEST(test_handle_in_command) {
        static const struct {
                uint32_t state;
                uint16_t method;
                struct uverbs_mr_keys response;
                bool command;
        } cases[] = {
                { LEDGER_INTENT, PINLEASE_METHOD_DMABUF, { LEDGER_NO_HANDLE, 7, 8 }, true },
                { LEDGER_INTENT, PINLEASE_METHOD_DMABUF, { LEDGER_NO_HANDLE, 0, 0 }, true },
                { LEDGER_INTENT, PINLEASE_METHOD_DMABUF, { LEDGER_NO_HANDLE, 7, UINT32_MAX }, true },
                { LEDGER_INTENT, PINLEASE_METHOD_DMABUF, { LEDGER_NO_HANDLE, UINT32_MAX, 8 }, true },
                /* No keys: the driver may not even have been asked. */
                { LEDGER_INTENT, PINLEASE_METHOD_DMABUF, { LEDGER_NO_HANDLE, UINT32_MAX, UINT32_MAX }, false },
                /* The registrar has seen the answer. */
                { LEDGER_INTENT, PINLEASE_METHOD_DMABUF, { 0, 7, 8 }, false },
                { LEDGER_INTENT, PINLEASE_METHOD_DMABUF, { 5, 7, 8 }, false },
                { LEDGER_LIVE, PINLEASE_METHOD_DMABUF, { LEDGER_NO_HANDLE, 7, 8 }, false },
                { LEDGER_REVOKING, PINLEASE_METHOD_DMABUF, { LEDGER_NO_HANDLE, 7, 8 }, false },
                { LEDGER_RETIRING, PINLEASE_METHOD_DMABUF, { LEDGER_NO_HANDLE, 7, 8 }, false },
                { LEDGER_INTENT, PINLEASE_METHOD_ODP, { LEDGER_NO_HANDLE, 7, 8 }, false },
                { LEDGER_INTENT, PINLEASE_METHOD_PINNED, { LEDGER_NO_HANDLE, 7, 8 }, false },
                { LEDGER_INTENT, 0, { LEDGER_NO_HANDLE, 7, 8 }, false },
                { LEDGER_INTENT, PINLEASE_METHOD_ANY, { LEDGER_NO_HANDLE, 7, 8 }, false },
                { LEDGER_INTENT, UINT16_MAX, { LEDGER_NO_HANDLE, 7, 8 }, false },
        };
        struct ib_uverbs_ioctl_hdr *header;
        struct ledger ledger;

        assert_int_equal(ledger_create(CAPACITY, &ledger), 0);
        header = (struct ib_uverbs_ioctl_hdr *)ledger.header->command.words;
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                struct ledger_record record = make_record(i);
                struct uverbs_mr_keys response;
                struct ledger_entry *entry;
                enum ledger_state state;

                record.method = cases[i].method;
                entry = ledger_intent(&ledger, 2, &record);
                atomic_store(&entry->state, cases[i].state);
                entry->response = cases[i].response;
                /* Whatever else is in it: it is one number that is taken. */
                memset(&ledger.header->command, (int)(i * 37), sizeof ledger.header->command);
                header->attrs[0].data = UINT64_C(0xabcdef0100000033);

                assert_true(ledger_read(&ledger, 2, &state, &record, &response));
                assert_int_equal(response.handle, cases[i].command ? 0x33 : cases[i].response.handle);
                assert_int_equal(response.lkey, cases[i].response.lkey);
                assert_int_equal(response.rkey, cases[i].response.rkey);
                assert_int_equal(entry->response.handle, cases[i].response.handle);
                ledger_free(entry);
        }
        ledger_done(&ledger);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_handle_in_command),
                CHECKED(test_new),
                CHECKED(test_life),
                CHECKED(test_lies),
                CHECKED(test_busy),
                CHECKED(test_response_is_inside),
                CHECKED(test_number),
                CHECKED(test_idle_is_small),
                CHECKED(test_shared),
                CHECKED(test_sizes),
        };

        return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
