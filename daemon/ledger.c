/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ledger.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "util.h"

/* The layout is read by other processes. Header, statistics and the first entries share a page: an idle session has one. */
_Static_assert(sizeof(struct ledger_record) == 200, "record");
_Static_assert(sizeof(struct ledger_entry) == 224, "entry");
_Static_assert(offsetof(struct ledger_header, stats) == 64, "statistics");
_Static_assert(sizeof(struct ledger_header) == LEDGER_HEADER_SIZE, "header");

static int map(int fd, size_t size, struct ledger *ret_ledger) {
        void *p;

        p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
                return -errno;

        *ret_ledger = (struct ledger) {
                .fd = fd,
                .size = size,
                .header = p,
                .entries = (struct ledger_entry *)((struct ledger_header *)p + 1),
        };
        return 0;
}

int ledger_create(uint32_t capacity, struct ledger *ret_ledger) {
        size_t size = sizeof(struct ledger_header) + (size_t)capacity * sizeof(struct ledger_entry);
        _cleanup_(pl_closep) int fd = -1;
        int r;

        fd = memfd_create("pinlease-ledger", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (fd < 0)
                return -errno;
        if (ftruncate(fd, (off_t)size) < 0)
                return -errno;
        if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
                return -errno;

        r = map(fd, size, ret_ledger);
        if (r < 0)
                return r;

        ret_ledger->header->magic = LEDGER_MAGIC;
        ret_ledger->header->version = LEDGER_VERSION;
        ret_ledger->header->capacity = capacity;
        pl_steal_fd(&fd);
        return 0;
}

void ledger_done(struct ledger *ledger) {
        if (ledger->header)
                (void)munmap(ledger->header, ledger->size);
        ledger->fd = pl_close(ledger->fd);
        ledger->header = NULL;
        ledger->entries = NULL;
}

/* The capacity that was mapped; what the header says may have been written over. */
static uint32_t capacity_of(const struct ledger *ledger) {
        return (uint32_t)((ledger->size - sizeof(struct ledger_header)) / sizeof(struct ledger_entry));
}

int ledger_keep_from_children(const struct ledger *ledger) {
        return madvise(ledger->header, ledger->size, MADV_DONTFORK) < 0 ? -errno : 0;
}

struct ledger_entry *ledger_intent(struct ledger *ledger, uint32_t index, const struct ledger_record *record) {
        struct ledger_entry *entry = ledger->entries + index;

        entry->record = *record;
        memset(&entry->response, 0xff, sizeof entry->response);
        if (atomic_load(&ledger->header->high_water) <= index)
                atomic_store(&ledger->header->high_water, index + 1);
        /* Everything above is visible before the state is: a reader who sees INTENT sees a whole entry. */
        atomic_store_explicit(&entry->state, LEDGER_INTENT, memory_order_release);
        return entry;
}

void ledger_guards(struct ledger_entry *entry, uint32_t guards) {
        atomic_store_explicit(&entry->guards, guards, memory_order_relaxed);
}

/* The handle last: a reader who sees it sees the keys, by which alone it is known. */
void ledger_keys(struct ledger_entry *entry, const struct uverbs_mr_keys *keys) {
        entry->response.lkey = keys->lkey;
        entry->response.rkey = keys->rkey;
        __atomic_store_n(&entry->response.handle, keys->handle, __ATOMIC_RELEASE);
}

void ledger_live(struct ledger_entry *entry) {
        atomic_store_explicit(&entry->state, LEDGER_LIVE, memory_order_release);
}

void ledger_revoking(struct ledger_entry *entry) {
        atomic_store_explicit(&entry->state, LEDGER_REVOKING, memory_order_release);
}

void ledger_retiring(struct ledger_entry *entry) {
        atomic_store_explicit(&entry->state, LEDGER_RETIRING, memory_order_release);
}

void ledger_free(struct ledger_entry *entry) {
        atomic_store_explicit(&entry->state, LEDGER_FREE, memory_order_release);
}

void ledger_busy(struct ledger *ledger, uint64_t ms) {
        if (ms > LEDGER_BUSY_MAX_MS)
                ms = LEDGER_BUSY_MAX_MS;
        atomic_store(&ledger->header->busy_until, ms ? pl_now_ms() + ms : 0);
}

/* Keys, but no handle: the registrar was killed before it saw the answer. */
static bool is_in_command(enum ledger_state state, const struct ledger_record *record, const struct uverbs_mr_keys *keys) {
        return state == LEDGER_INTENT && record->method == PINLEASE_METHOD_DMABUF && keys->handle == LEDGER_NO_HANDLE &&
               (keys->lkey != UINT32_MAX || keys->rkey != UINT32_MAX);
}

bool ledger_read(const struct ledger *ledger,
                 uint32_t index,
                 enum ledger_state *ret_state,
                 struct ledger_record *ret_record,
                 struct uverbs_mr_keys *ret_response) {
        const struct ledger_entry *entry;
        uint32_t state;

        if (index >= capacity_of(ledger))
                return false;

        entry = ledger->entries + index;
        state = atomic_load_explicit(&entry->state, memory_order_acquire);
        if (state == LEDGER_FREE || state >= N_LEDGER_STATES)
                return false;

        *ret_state = (enum ledger_state)state;
        *ret_record = entry->record;
        memcpy(ret_response, &entry->response, sizeof *ret_response);
        if (is_in_command(*ret_state, ret_record, ret_response)) {
                struct uverbs_command command;

                memcpy(&command, &ledger->header->command, sizeof command);
                ret_response->handle = uverbs_command_handle(&command);
        }
        return true;
}

bool ledger_has_flag(const struct ledger *ledger, uint32_t flag) {
        for (uint32_t i = 0; i < ledger_high_water(ledger); i++) {
                struct uverbs_mr_keys response;
                struct ledger_record record;
                enum ledger_state state;

                if (ledger_read(ledger, i, &state, &record, &response) && record.flags & flag)
                        return true;
        }
        return false;
}

uint32_t ledger_high_water(const struct ledger *ledger) {
        uint32_t high = atomic_load(&ledger->header->high_water), capacity = capacity_of(ledger);

        return high < capacity ? high : capacity;
}

bool ledger_is_busy(const struct ledger *ledger, uint64_t now_ms) {
        uint64_t until = atomic_load(&ledger->header->busy_until);

        return until > now_ms && until - now_ms <= LEDGER_BUSY_MAX_MS;
}
