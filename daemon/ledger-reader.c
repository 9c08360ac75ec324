/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ledger-reader.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "proto.h"
#include "util.h"

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

/* What comes first in every version. */
struct beginning {
        uint64_t magic;
        uint32_t version;
        uint32_t capacity; /* since version 1 */
};

_Static_assert(offsetof(struct ledger_header, magic) == offsetof(struct beginning, magic), "magic");
_Static_assert(offsetof(struct ledger_header, version) == offsetof(struct beginning, version), "version");
_Static_assert(offsetof(struct ledger_header, capacity) == offsetof(struct beginning, capacity), "capacity");

/* All of it, or an error: a ledger cannot become shorter. */
static int read_all(int fd, void *ret_bytes, size_t size, uint64_t offset) {
        ssize_t n;

        do
                n = pread(fd, ret_bytes, size, (off_t)offset);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        return (size_t)n == size ? 0 : -EBADMSG;
}

bool ledger_reader_is_safe(int fd) {
        int seals = fcntl(fd, F_GET_SEALS);

        return seals >= 0 && seals & F_SEAL_SHRINK && seals & F_SEAL_GROW;
}

int ledger_reader_init(struct ledger_reader *reader, int fd) {
        struct beginning beginning;
        struct stat st;
        int r, seals;

        /* Only files in memory have seals, so nobody else is asked after this. */
        seals = fcntl(fd, F_GET_SEALS);
        if (seals < 0 || (seals & SEALS) != SEALS)
                return -EBADMSG;
        if (fstat(fd, &st) < 0)
                return -errno;

        r = read_all(fd, &beginning, sizeof beginning, 0);
        if (r < 0)
                return r;
        if (beginning.magic != LEDGER_MAGIC)
                return -EBADMSG;
        if (beginning.version != LEDGER_VERSION)
                return -EPROTONOSUPPORT;
        if (beginning.capacity > LEDGER_MAX_CAPACITY ||
            (uint64_t)st.st_size != sizeof(struct ledger_header) + beginning.capacity * sizeof(struct ledger_entry))
                return -EBADMSG;

        *reader = (struct ledger_reader) { .fd = fd, .capacity = beginning.capacity };
        return 0;
}

static uint64_t at_most(uint64_t n, uint64_t limit) {
        return n < limit ? n : limit;
}

int ledger_reader_stats(const struct ledger_reader *reader, struct stats_totals *ret_totals) {
        uint64_t numbers[sizeof(struct stats_totals) / sizeof(uint64_t)];
        int r;

        r = read_all(reader->fd, numbers, sizeof numbers, offsetof(struct ledger_header, stats));
        if (r < 0)
                return r;

        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                numbers[i] = at_most(numbers[i], LEDGER_READER_MAX_COUNT);
        memcpy(ret_totals, numbers, sizeof *ret_totals);
        for (unsigned int i = 0; i < N_STATS_METHODS; i++)
                ret_totals->live[i].registrations = at_most(ret_totals->live[i].registrations, reader->capacity);
        return 0;
}

static enum pinlease_method known_method(uint16_t method) {
        return method == PINLEASE_METHOD_ODP || method == PINLEASE_METHOD_PINNED || method == PINLEASE_METHOD_DMABUF
                       ? (enum pinlease_method)method
                       : 0;
}

/* One that holds has no reason why it does not, and one that does not has one. 0: the session says nothing about
 * guards. */
static uint32_t known_guards(uint32_t guards) {
        uint32_t known = 0;

        for (unsigned int i = 0; i < PL_N_GUARDS; i++) {
                unsigned int reason = pl_guard_reason(guards, i);

                if (pl_guards_held(guards) >> i & 1)
                        known = pl_guards_set(known, i, 0);
                else if (reason > 0)
                        known = pl_guards_set(known, i, reason);
        }
        return known;
}

/* The entry is a copy. */
static void list(const struct ledger_entry *entry, uint32_t index, struct ledger_listing *ret) {
        const struct ledger_record *record = &entry->record;
        uint32_t state = atomic_load_explicit(&entry->state, memory_order_relaxed);

        *ret = (struct ledger_listing) {
                .id = (uint64_t)ledger_number(record->id) << 32 | index,
                .length = record->length,
                .offset = record->offset,
                .device = record->device,
                .inode = record->inode,
                .bytes = record->bytes,
                .created_ms = record->created_ms,
                .owner = record->owner,
                .guards = known_guards(atomic_load_explicit(&entry->guards, memory_order_relaxed)),
                .access = record->access,
                .state = state < N_LEDGER_STATES ? (enum ledger_state)state : LEDGER_FREE,
                .method = known_method(record->method),
                .backing = record->backing <= PINLEASE_BACKING_ANON ? (enum pinlease_backing)record->backing
                                                                         : PINLEASE_BACKING_OTHER,
        };
        /* Nothing after the end, wherever it is. */
        memcpy(ret->name, record->name, strnlen(record->name, sizeof ret->name - 1));
}

int ledger_reader_next(const struct ledger_reader *reader, uint32_t *cursor, struct ledger_listing *ret_listings, size_t n) {
        struct ledger_entry entries[LEDGER_READER_STRETCH];
        uint32_t first = *cursor, high, n_entries;
        size_t found = 0;
        int r;

        r = read_all(reader->fd, &high, sizeof high, offsetof(struct ledger_header, high_water));
        if (r < 0)
                return r;
        if (high > reader->capacity)
                high = reader->capacity;
        if (first >= high)
                return 0;

        n_entries = high - first < LEDGER_READER_STRETCH ? high - first : LEDGER_READER_STRETCH;
        r = read_all(reader->fd,
                     entries,
                     n_entries * sizeof entries[0],
                     sizeof(struct ledger_header) + (uint64_t)first * sizeof entries[0]);
        if (r < 0)
                return r;

        for (uint32_t i = 0; i < n_entries && found < n; i++) {
                if (atomic_load_explicit(&entries[i].state, memory_order_relaxed) != LEDGER_FREE)
                        list(entries + i, first + i, ret_listings + found++);
                *cursor = first + i + 1;
        }
        return found > 0 ? (int)found : -EAGAIN;
}
