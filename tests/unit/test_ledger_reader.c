/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "ledger-reader.h"

static struct ledger_record make_record(uint32_t number, uint32_t index) {
        struct ledger_record record = {
                .id = (uint64_t)number << 32 | index,
                .length = 4096 + number,
                .offset = 8192,
                .device = 5,
                .inode = 6,
                .access = 7,
                .method = PINLEASE_METHOD_PINNED,
                .backing = PINLEASE_BACKING_SHMEM,
                .created_ms = 8,
                .bytes = 16384,
        };

        (void)snprintf(record.name, sizeof record.name, "/memfd:%u", number);
        return record;
}

static void must_create(uint32_t capacity, struct ledger *ledger, struct ledger_reader *reader) {
        assert_int_equal(ledger_create(capacity, ledger), 0);
        assert_int_equal(ledger_reader_init(reader, ledger->fd), 0);
        assert_int_equal(reader->capacity, capacity);
}

/* Not a ledger any more, as far as reading goes: an error, not what was on the stack. */
TEST(test_read_errors) {
        struct ledger_listing listing;
        struct ledger_reader reader;
        struct stats_totals totals;
        struct ledger ledger;
        uint32_t cursor = 0;
        int fd;

        must_create(4, &ledger, &reader);
        ledger_done(&ledger);
        assert_int_equal(ledger_reader_stats(&reader, &totals), -EBADF);
        assert_int_equal(ledger_reader_next(&reader, &cursor, &listing, 1), -EBADF);

        fd = testing_memfd(sizeof(struct ledger_header) - 1);
        reader.fd = fd;
        assert_int_equal(pwrite(fd, &(uint32_t) { 1 }, 4, offsetof(struct ledger_header, high_water)), 4);
        assert_int_equal(ftruncate(fd, 1000), 0);
        assert_int_equal(ledger_reader_stats(&reader, &totals), -EBADMSG);
        assert_int_equal(ledger_reader_next(&reader, &cursor, &listing, 1), -EBADMSG);
        assert_int_equal(ftruncate(fd, 17), 0);
        assert_int_equal(ledger_reader_next(&reader, &cursor, &listing, 1), -EBADMSG);
        assert_int_equal(cursor, 0);
        pl_close(fd);
}

static void assert_listed(const struct ledger_listing *listing, const struct ledger_record *record, enum ledger_state state) {
        assert_int_equal(listing->id, record->id);
        assert_int_equal(listing->length, record->length);
        assert_int_equal(listing->offset, record->offset);
        assert_int_equal(listing->device, record->device);
        assert_int_equal(listing->inode, record->inode);
        assert_int_equal(listing->bytes, record->bytes);
        assert_int_equal(listing->created_ms, record->created_ms);
        assert_int_equal(listing->access, record->access);
        assert_int_equal(listing->method, record->method);
        assert_int_equal(listing->backing, record->backing);
        assert_int_equal(listing->state, state);
        assert_string_equal(listing->name, record->name);
}

/* What is there of guards is what a session may have written: unknown bits and reasons, and one that holds for no
 * reason. */
TEST(test_guards) {
        static const struct {
                uint32_t written, listed;
        } table[] = {
                { 0, 0 },
                { 0x0000f, 0x00000f },
                { 0x1208, 0x001208 },
                { 0xffffff00, 0xffff00 },
                { 0xffffffff, 0x00000f },
                { 0x0f1001, 0x0f1001 },
                { 0x000101, 0x000001 },
                { 0xff0000f0, 0 },
        };
        struct ledger_record record = make_record(1, 0);
        struct ledger_listing listing;
        struct ledger_reader reader;
        struct ledger ledger;

        record.owner = 4711;
        must_create(4, &ledger, &reader);
        ledger_live(ledger_intent(&ledger, 0, &record));
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                uint32_t cursor = 0;

                atomic_store(&ledger.entries[0].guards, table[i].written);
                assert_int_equal(ledger_reader_next(&reader, &cursor, &listing, 1), 1);
                assert_int_equal(listing.guards, table[i].listed);
                assert_int_equal(listing.owner, 4711);
        }
        ledger_done(&ledger);
}

TEST(test_states) {
        struct ledger_record record = make_record(12, 2);
        struct ledger_listing listing;
        struct ledger_reader reader;
        struct ledger_entry *entry;
        struct ledger ledger;
        uint32_t cursor = 0;

        must_create(8, &ledger, &reader);
        assert_int_equal(ledger_reader_next(&reader, &cursor, &listing, 1), 0);

        entry = ledger_intent(&ledger, 2, &record);
        for (enum ledger_state state = LEDGER_INTENT; state < N_LEDGER_STATES; state++) {
                atomic_store(&entry->state, (uint32_t)state);
                cursor = 0;
                assert_int_equal(ledger_reader_next(&reader, &cursor, &listing, 1), 1);
                assert_listed(&listing, &record, state);
                assert_int_equal(ledger_number(listing.id), 12);
                assert_int_equal(ledger_reader_next(&reader, &cursor, &listing, 1), 0);
                assert_int_equal(ledger_reader_next(&reader, &cursor, &listing, 1), 0);
        }
        ledger_free(entry);
        cursor = 0;
        assert_int_equal(ledger_reader_next(&reader, &cursor, &listing, 1), -EAGAIN);
        assert_int_equal(ledger_reader_next(&reader, &cursor, &listing, 1), 0);
        ledger_done(&ledger);
}

/* Every registration is listed once, however many are taken at a time, wherever the gaps are. */
TEST(test_all_are_listed) {
        static const unsigned int densities[] = { 1, 2, 10, 300 };
        struct testing_random random;
        const uint32_t capacity = 1000;

        testing_seed(&random, "lists");
        for (size_t d = 0; d < ELEMENTSOF(densities); d++)
                for (size_t n = 1; n <= 70; n += 1 + n / 4) {
                        struct ledger_listing listings[70];
                        unsigned int used = 0, listed = 0, calls = 0;
                        struct ledger_reader reader;
                        bool is_used[1000] = { 0 };
                        struct ledger ledger;
                        uint32_t cursor = 0;
                        int r;

                        must_create(capacity, &ledger, &reader);
                        for (uint32_t i = 0; i < capacity; i++)
                                if (testing_below(&random, densities[d]) == 0) {
                                        struct ledger_record record = make_record(i + 100, i);

                                        ledger_live(ledger_intent(&ledger, i, &record));
                                        is_used[i] = true;
                                        used++;
                                }

                        while ((r = ledger_reader_next(&reader, &cursor, listings, n)) != 0) {
                                assert_true(r == -EAGAIN || (r > 0 && (size_t)r <= n));
                                assert_true(++calls <= capacity / LEDGER_READER_STRETCH + 1 + used);
                                for (int i = 0; i < r; i++) {
                                        uint32_t index = (uint32_t)listings[i].id;
                                        struct ledger_record record = make_record(index + 100, index);

                                        assert_true(is_used[index]);
                                        is_used[index] = false;
                                        assert_listed(listings + i, &record, LEDGER_LIVE);
                                        listed++;
                                }
                        }
                        assert_int_equal(listed, used);
                        /* With room for a stretch nothing is read twice. */
                        if (n >= LEDGER_READER_STRETCH)
                                assert_true(calls <= capacity / LEDGER_READER_STRETCH + 1);
                        ledger_done(&ledger);
                }
}

/* Odd, but no harm: nobody to fill in, a place beyond the end. */
TEST(test_odd_calls) {
        struct ledger_record record = make_record(1, 0);
        struct ledger_listing listing;
        struct ledger_reader reader;
        struct ledger ledger;
        uint32_t cursor = 0;

        must_create(2, &ledger, &reader);
        ledger_live(ledger_intent(&ledger, 0, &record));
        assert_int_equal(ledger_reader_next(&reader, &cursor, NULL, 0), -EAGAIN);
        assert_int_equal(cursor, 0);
        for (cursor = 1; cursor > 0; cursor = cursor < UINT32_MAX / 3 ? cursor * 3 : cursor == UINT32_MAX ? 0 : UINT32_MAX) {
                uint32_t before = cursor;

                assert_int_equal(ledger_reader_next(&reader, &cursor, &listing, 1), 0);
                assert_int_equal(cursor, before);
        }
        ledger_done(&ledger);
}

/* The descriptor's own place in the file is nobody's business, and nothing is mapped. */
TEST(test_leaves_no_trace) {
        unsigned int views;
        struct ledger_record record = make_record(1, 0);
        struct ledger_listing listing;
        struct ledger_reader reader;
        struct stats_totals totals;
        struct stat before, after;
        struct ledger ledger;
        uint32_t cursor = 0;

        must_create(32768, &ledger, &reader);
        ledger_live(ledger_intent(&ledger, 0, &record));
        /* It says that it is full: the whole file is read, and that takes no memory. */
        atomic_store(&ledger.header->high_water, UINT32_MAX);
        views = testing_count_views();
        assert_int_equal(fstat(ledger.fd, &before), 0);
        assert_int_equal(lseek(ledger.fd, 5, SEEK_SET), 5);
        assert_int_equal(ledger_reader_stats(&reader, &totals), 0);
        while (ledger_reader_next(&reader, &cursor, &listing, 1) != 0)
                ;
        assert_int_equal(cursor, 32768);
        assert_int_equal(lseek(ledger.fd, 0, SEEK_CUR), 5);
        assert_int_equal(fstat(ledger.fd, &after), 0);
        assert_int_equal(before.st_blocks, after.st_blocks);
        assert_int_equal(testing_count_views(), views);
        ledger_done(&ledger);
}

TEST(test_stats) {
        struct stats_totals totals, expected = { 0 };
        uint64_t numbers[sizeof totals / 8];
        struct ledger_reader reader;
        struct ledger ledger;

        must_create(10, &ledger, &reader);
        assert_int_equal(ledger_reader_stats(&reader, &totals), 0);
        assert_memory_equal(&totals, &expected, sizeof totals);

        stats_registered(&ledger.header->stats, PINLEASE_METHOD_ODP, 4096);
        stats_refused(&ledger.header->stats, PINLEASE_CODE_BUSY);
        stats_latency(&ledger.header->stats, STATS_DEREGISTER, 100);
        expected.registered[STATS_ODP] = expected.live[STATS_ODP].registrations = 1;
        expected.live[STATS_ODP].bytes = 4096;
        expected.refusals[PINLEASE_CODE_BUSY] = 1;
        expected.latency[STATS_DEREGISTER].counts[3] = 1;
        expected.latency[STATS_DEREGISTER].sum_us = 100;
        assert_int_equal(ledger_reader_stats(&reader, &totals), 0);
        assert_memory_equal(&totals, &expected, sizeof totals);

        /* Lies are kept within bounds, so that they do not spoil a sum. */
        memset(&ledger.header->stats, 0xff, sizeof ledger.header->stats);
        assert_int_equal(ledger_reader_stats(&reader, &totals), 0);
        for (unsigned int i = 0; i < N_STATS_METHODS; i++) {
                assert_int_equal(totals.live[i].registrations, 10);
                totals.live[i].registrations = LEDGER_READER_MAX_COUNT;
        }
        memcpy(numbers, &totals, sizeof numbers);
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                assert_int_equal(numbers[i], LEDGER_READER_MAX_COUNT);
        ledger_done(&ledger);
}

/* --- lies ---------------------------------------------------------------------------------------------------------- */

/* Whatever is in the file, this holds of what comes out. */
static void assert_sane(const struct ledger_reader *reader, const struct ledger_listing *listing) {
        size_t n = strnlen(listing->name, sizeof listing->name);

        assert_true((uint32_t)listing->id < reader->capacity);
        assert_true(listing->state < N_LEDGER_STATES);
        assert_true(listing->method == 0 || listing->method == PINLEASE_METHOD_ODP || listing->method == PINLEASE_METHOD_PINNED ||
                    listing->method == PINLEASE_METHOD_DMABUF);
        assert_true(listing->backing <= PINLEASE_BACKING_ANON);
        assert_true(n < sizeof listing->name);
        for (; n < sizeof listing->name; n++)
                assert_int_equal(listing->name[n], 0);
}

/* Reads everything. Returns how many were listed. */
static unsigned int read_everything(const struct ledger_reader *reader, struct ledger_listing *ret_last) {
        struct ledger_listing listings[LEDGER_READER_STRETCH];
        struct stats_totals totals;
        uint32_t cursor = 0, before = 0;
        unsigned int listed = 0;
        int r;

        assert_int_equal(ledger_reader_stats(reader, &totals), 0);
        assert_true(totals.live[STATS_PINNED].registrations <= reader->capacity);
        assert_true(totals.refusals[STATS_N_CODES - 1] <= LEDGER_READER_MAX_COUNT);
        while ((r = ledger_reader_next(reader, &cursor, listings, ELEMENTSOF(listings))) != 0) {
                assert_true(r > 0 || r == -EAGAIN);
                /* A high water that rises meanwhile costs more calls, never the end of them. */
                assert_true(cursor > before && cursor <= reader->capacity);
                before = cursor;
                for (int i = 0; i < r; i++, listed++) {
                        assert_sane(reader, listings + i);
                        *ret_last = listings[i];
                }
        }
        assert_true(listed <= reader->capacity);
        return listed;
}

/* Every byte of an entry, and of the header, at its extremes and at others. */
TEST(test_every_byte_lies) {
        static const uint8_t values[] = { 0, 1, 2, 3, 4, 5, 0x7f, 0x80, 0xff };
        struct ledger_record record = make_record(7, 1);
        struct ledger_listing listing;
        struct ledger_reader reader;
        struct ledger ledger;
        uint8_t *bytes;

        must_create(3, &ledger, &reader);
        ledger_live(ledger_intent(&ledger, 1, &record));
        for (size_t i = 0; i < ledger.size; i++) {
                uint8_t was;

                bytes = (uint8_t *)ledger.header + i;
                was = *bytes;
                for (size_t v = 0; v < ELEMENTSOF(values); v++) {
                        *bytes = values[v];
                        (void)read_everything(&reader, &listing);
                        /* Once more from the beginning: it is a ledger, of this version or another, or not. */
                        if (v == 0) {
                                struct ledger_reader again;
                                int r = ledger_reader_init(&again, ledger.fd);

                                assert_true(r == 0 || (i < 16 && (r == -EBADMSG || r == -EPROTONOSUPPORT)));
                        }
                }
                *bytes = was;
        }
        assert_int_equal(read_everything(&reader, &listing), 1);
        assert_listed(&listing, &record, LEDGER_LIVE);
        ledger_done(&ledger);
}

/* Each method there is is listed as that, and no set of them. */
TEST(test_methods) {
        struct ledger_record record = make_record(1, 0);
        struct ledger_listing listing;
        struct ledger_reader reader;
        struct ledger_entry *entry;
        struct ledger ledger;

        must_create(1, &ledger, &reader);
        entry = ledger_intent(&ledger, 0, &record);
        ledger_live(entry);
        for (uint16_t method = 0; method <= 2 * PINLEASE_METHOD_ANY; method++) {
                bool known = method && !(method & (method - 1)) && method <= PINLEASE_METHOD_ANY;

                entry->record.method = method;
                assert_int_equal(read_everything(&reader, &listing), 1);
                assert_int_equal(listing.method, known ? method : 0);
        }
        ledger_done(&ledger);
}

/* What is not known becomes "unknown", what is no name is cut, a slot is where it is. */
TEST(test_lies_are_sanitised) {
        struct ledger_record record = make_record(7, 1);
        struct ledger_listing listing;
        struct ledger_reader reader;
        struct ledger_entry *entry;
        struct ledger ledger;

        must_create(3, &ledger, &reader);
        entry = ledger_intent(&ledger, 1, &record);
        atomic_store(&entry->state, 77);
        entry->record.method = PINLEASE_METHOD_ANY;
        entry->record.backing = PINLEASE_BACKING_ANON + 1;
        entry->record.id = UINT64_MAX;
        memset(entry->record.name, 'x', sizeof entry->record.name);
        assert_int_equal(read_everything(&reader, &listing), 1);
        assert_int_equal(listing.state, LEDGER_FREE);
        assert_int_equal(listing.method, 0);
        assert_int_equal(listing.backing, PINLEASE_BACKING_OTHER);
        assert_int_equal(listing.id, UINT64_MAX << 32 | 1);
        assert_int_equal(strlen(listing.name), LEDGER_NAME_MAX - 1);

        entry->record.name[5] = '\0';
        assert_int_equal(read_everything(&reader, &listing), 1);
        assert_string_equal(listing.name, "xxxxx");

        /* The capacity is that of the file; too low a high water hides, as a session may. */
        ledger.header->capacity = UINT32_MAX;
        atomic_store(&ledger.header->high_water, UINT32_MAX);
        assert_int_equal(read_everything(&reader, &listing), 1);
        atomic_store(&ledger.header->high_water, 1);
        assert_int_equal(read_everything(&reader, &listing), 0);
        ledger_done(&ledger);
}

/* Fields of an entry at extremes and at random, all at once. */
TEST(test_random_lies) {
        static const uint64_t extremes[] = { 0, 1, 2, 3, 4, 0x7fffffff, 0x80000000, 0xffffffff, UINT64_MAX / 2, UINT64_MAX };
        unsigned int rounds = testing_rounds(3000);
        struct testing_random random;

        testing_seed(&random, "lying ledgers");
        for (unsigned int round = 0; round < rounds; round++) {
                uint32_t capacity = testing_below(&random, 200);
                struct ledger_listing listing;
                struct ledger_reader reader;
                struct ledger ledger;
                uint8_t *bytes;

                must_create(capacity, &ledger, &reader);
                bytes = (uint8_t *)ledger.header;
                atomic_store(&ledger.header->high_water, capacity);
                for (unsigned int lies = testing_below(&random, 2000); lies > 0; lies--) {
                        uint64_t lie = testing_below(&random, 2) ? extremes[testing_below(&random, ELEMENTSOF(extremes))] :
                                                                   testing_random(&random);
                        size_t size = (size_t)1 << testing_below(&random, 4);
                        size_t at = testing_below(&random, (unsigned int)(ledger.size / size)) * size;

                        memcpy(bytes + at, &lie, size);
                }
                (void)read_everything(&reader, &listing);
                (void)ledger_reader_init(&reader, ledger.fd);
                ledger_done(&ledger);
        }
}

static _Noreturn void scribble(const struct ledger *ledger, uint64_t seed) {
        uint8_t *bytes = (uint8_t *)ledger->header;

        for (uint64_t x = seed | 1;; x ^= x << 13, x ^= x >> 7, x ^= x << 17)
                memcpy(bytes + x % (ledger->size - 8), &x, 8);
}

/* The ledger changes while it is read. */
TEST(test_torn_reads) {
        unsigned int rounds = testing_rounds(2000), listed = 0;
        struct testing_random random;
        struct ledger_listing listing;
        struct ledger_reader reader;
        struct ledger ledger;
        pid_t pid;

        testing_seed(&random, "torn reads");
        must_create(300, &ledger, &reader);
        pid = testing_fork();
        assert_true(pid >= 0);
        if (pid == 0)
                scribble(&ledger, testing_random(&random));
        for (unsigned int i = 0; i < rounds || listed == 0; i++)
                listed += read_everything(&reader, &listing);
        assert_int_equal(kill(pid, SIGKILL), 0);
        (void)testing_wait_child(pid);
        ledger_done(&ledger);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_read_errors),    CHECKED(test_states),          CHECKED(test_guards),
                CHECKED(test_all_are_listed), CHECKED(test_odd_calls),       CHECKED(test_leaves_no_trace),
                CHECKED(test_stats),          CHECKED(test_every_byte_lies), CHECKED(test_lies_are_sanitised),
                CHECKED(test_random_lies),    CHECKED(test_torn_reads),      CHECKED(test_methods),
        };

        return cmocka_run_group_tests_name("ledger-reader", tests, NULL, NULL);
}
