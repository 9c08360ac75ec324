/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A ledger as pinleased gets it: one byte of flags, then the file. Flags: 1 what is named by the others is put right (magic,
 * version, size by the header's capacity); 2 no seals; 4 the file is as long as the input. The rest of a file is zeros.
 */

#include "fuzz.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "proto.h"
#include "report.h"
#include "util.h"

#define FLAG_RIGHT    1
#define FLAG_UNSEALED 2
#define FLAG_SHORT    4

/* Larger ones take long to read and have nothing new in them. */
#define MAX_CAPACITY 300

static int make_file(unsigned int flags, const uint8_t *bytes, size_t size) {
        struct ledger_header header = { 0 };
        size_t file_size = size;
        int fd;

        memcpy(&header, bytes, size < sizeof header ? size : sizeof header);
        if (flags & FLAG_RIGHT) {
                header.magic = LEDGER_MAGIC;
                header.version = LEDGER_VERSION;
        }
        if (!(flags & FLAG_SHORT)) {
                if (header.capacity > MAX_CAPACITY)
                        header.capacity %= MAX_CAPACITY + 1;
                file_size = sizeof header + header.capacity * sizeof(struct ledger_entry);
        }

        fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        MUST(fd >= 0);
        MUST(pwrite(fd, bytes, size, 0) == (ssize_t)size);
        if (!(flags & FLAG_SHORT))
                MUST(pwrite(fd, &header, sizeof header, 0) == sizeof header);
        MUST(ftruncate(fd, (off_t)file_size) == 0);
        if (!(flags & FLAG_UNSEALED))
                MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0);
        return fd;
}

/* JSON that a terminal, and another parser, can do something with: UTF-8 without control characters. */
static size_t check_json(struct json_object *object) {
        const char *text;
        size_t n = 0;

        MUST(object);
        text = json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN);
        MUST(text);
        for (const uint8_t *c = (const uint8_t *)text; *c; n++) {
                unsigned int more = *c < 0x80 ? 0 : *c < 0xe0 ? 1 : *c < 0xf0 ? 2 : 3;

                MUST(*c >= 0x20 && *c != 0x7f && (*c < 0x80 || (*c >= 0xc2 && *c <= 0xf4)));
                MUST(*c != 0xc2 || c[1] >= 0xa0); /* C1 */
                for (c++; more > 0; more--, c++, n++)
                        MUST((*c & 0xc0) == 0x80);
        }
        return n;
}

static void check_listing(const struct ledger_reader *reader, const struct ledger_listing *listing) {
        struct json_object *item, *again, *value;
        char shown[REPORT_NAME_MAX];

        MUST((uint32_t)listing->id < reader->capacity);
        MUST(listing->state < N_LEDGER_STATES);
        MUST(listing->backing <= PINLEASE_BACKING_ANON);
        MUST(listing->method == 0 || listing->method == PINLEASE_METHOD_ODP || listing->method == PINLEASE_METHOD_PINNED);
        /* A guard holds, or there is a reason why it does not, or nothing is known of it. */
        MUST(pl_guards_held(listing->guards) <= PINLEASE_GUARD_ALL && listing->guards >> (8 + 4 * PL_N_GUARDS) == 0);
        for (unsigned int i = 0; i < PL_N_GUARDS; i++)
                MUST(!(pl_guards_held(listing->guards) >> i & 1) || pl_guard_reason(listing->guards, i) == 0);
        MUST(memchr(listing->name, '\0', sizeof listing->name));

        item = report_registration(7, listing, UINT64_C(1) << 40);
        MUST(check_json(item) < REPORT_MAX_REGISTRATION);

        /* Whoever parses it has what was in the ledger. */
        again = json_tokener_parse(json_object_to_json_string(item));
        MUST(again && json_object_equal(item, again));
        MUST(json_object_object_get_ex(again, "length", &value) && json_object_get_uint64(value) == listing->length);
        MUST(json_object_object_get_ex(again, "bytes", &value) && json_object_get_uint64(value) == listing->bytes);
        MUST(json_object_object_get_ex(again, "name", &value));
        report_name(listing->name, shown);
        MUST(strcmp(json_object_get_string(value), shown) == 0);
        json_object_put(again);
        json_object_put(item);
}

/* Takes n at a time. Returns how many were listed; the sum of their numbers tells whether others are. */
static unsigned int list(const struct ledger_reader *reader, size_t n, uint64_t *ret_sum) {
        struct ledger_listing listings[LEDGER_READER_STRETCH];
        unsigned int listed = 0, calls = 0;
        uint32_t cursor = 0;
        int r;

        *ret_sum = 0;
        while ((r = ledger_reader_next(reader, &cursor, listings, n)) != 0) {
                MUST(r == -EAGAIN || (r > 0 && (size_t)r <= n));
                MUST(++calls <= reader->capacity + 1 && cursor <= reader->capacity);
                for (int i = 0; i < r; i++, listed++) {
                        if (n == LEDGER_READER_STRETCH)
                                check_listing(reader, listings + i);
                        *ret_sum += listings[i].id;
                }
        }
        MUST(listed <= reader->capacity);
        return listed;
}

static void check_stats(const struct ledger_reader *reader) {
        struct stats_totals totals, sum = { 0 };
        uint64_t numbers[sizeof totals / sizeof(uint64_t)];
        struct json_object *item;
        struct builder object;

        MUST(ledger_reader_stats(reader, &totals) == 0);
        memcpy(numbers, &totals, sizeof numbers);
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                MUST(numbers[i] <= LEDGER_READER_MAX_COUNT);
        for (unsigned int i = 0; i < N_STATS_METHODS; i++)
                MUST(totals.live[i].registrations <= reader->capacity);

        for (unsigned int i = 0; i < 3; i++)
                stats_totals_add(&sum, &totals);
        MUST(sum.deregistered == 3 * totals.deregistered);

        object = builder_object();
        report_metrics(&object, &sum);
        item = builder_finish(&object);
        MUST(item);
        MUST(check_json(item) < 16384);
        json_object_put(item);
        item = report_in_use(&totals);
        (void)check_json(item);
        json_object_put(item);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct ledger_reader reader = { .fd = -1 };
        uint64_t sum, sum_again;
        unsigned int listed;
        int fd, r;

        if (size < 1 || size > FUZZ_MAX_INPUT)
                return 0;
        fd = make_file(data[0], data + 1, size - 1);

        r = ledger_reader_init(&reader, fd);
        MUST(r == 0 || r == -EBADMSG || r == -EPROTONOSUPPORT);
        MUST(r != 0 || !(data[0] & FLAG_UNSEALED));
        if (r == 0) {
                listed = list(&reader, LEDGER_READER_STRETCH, &sum);
                MUST(list(&reader, 1 + data[0] % 7, &sum_again) == listed && sum == sum_again);
                check_stats(&reader);
        }
        pl_close(fd);
        return 0;
}
