/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_LEDGER_H
#define PL_LEDGER_H

/*
 * The ledger of a session: what is registered, in memory shared by registrar (who writes), keeper (who reads when the
 * registrar is gone) and pinleased (who shows it, see ledger-reader.h). It must be true at every instant at which the
 * registrar can be killed:
 *
 *   FREE → INTENT           everything about the registration is written, the response is all ones
 *   INTENT: the ioctl runs  the kernel itself writes handle and keys into the entry, before the MR takes effect; or it runs in the app
 *                           (grant.h), and the registrar writes them once it has been told; of a dma-buf the kernel writes the keys
 *                           there, and the handle into the header's command, uverbs.h
 *   INTENT → LIVE           the registrar has seen the ioctl return
 *   LIVE → REVOKING         the app has been asked to let go
 *   LIVE or REVOKING → RETIRING → FREE  around the deregistration
 *
 * So an MR exists only if its entry is not FREE and the handle, as ledger_read() gives it, is not all ones (0 is a valid handle). The
 * reverse does not hold: an entry may name a handle that is gone, or that the app uses for something else by now.
 *
 * For whoever reads, the ledger is untrusted data: an entry is copied before it is looked at.
 *
 * Layout of the file: LEDGER_HEADER_SIZE bytes of header with the session's statistics, then the entries. Magic and version
 * come first in every version.
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stats.h"
#include "uverbs.h"

#define LEDGER_MAGIC     UINT64_C(0x31726467656c6c70)
#ifndef LEDGER_VERSION /* tests build others */
#define LEDGER_VERSION 4
#endif
#define LEDGER_NO_HANDLE UINT32_MAX

#define LEDGER_MAX_CAPACITY (1U << 20)
#define LEDGER_HEADER_SIZE  2048
#define LEDGER_NAME_MAX     104 /* with the NUL */

enum ledger_state {
        LEDGER_FREE = 0,
        LEDGER_INTENT = 1,
        LEDGER_LIVE = 2,
        LEDGER_RETIRING = 3,
        LEDGER_REVOKING = 4,
        N_LEDGER_STATES,
};

/* What a registration is; written once, before INTENT. */
/* Of a record: the app may be killed, if nothing else takes this from it. */
#define LEDGER_MAY_KILL (1U << 0)

struct ledger_record {
        uint64_t id; /* ledger_number() << 32 | index */
        uint64_t start; /* in the registrar's address space */
        uint64_t iova;
        uint64_t length;
        uint64_t offset; /* in the file */
        uint64_t device; /* of the file */
        uint64_t inode;
        uint32_t context; /* index */
        uint32_t pd;
        uint32_t access;
        uint16_t method;  /* enum pinlease_method */
        uint16_t backing; /* enum pinlease_backing */
        uint64_t created_ms; /* CLOCK_BOOTTIME */
        uint64_t bytes;      /* what has been charged for it */
        uint32_t owner;      /* of the file, when it was registered */
        uint32_t flags;      /* LEDGER_MAY_KILL */
        char name[LEDGER_NAME_MAX]; /* what the kernel called the descriptor, see mapping_name(); of a dma-buf see dmabuf_name() */
};

/* What a registration is called in front of people; not given twice in a session, unless the count runs over. */
static inline uint32_t ledger_number(uint64_t id) {
        return (uint32_t)(id >> 32);
}

struct ledger_entry {
        _Atomic uint32_t state;
        struct uverbs_mr_keys response; /* the kernel's output buffer */
        struct ledger_record record;
        _Atomic uint32_t guards; /* pl_guards_set(): what the app was told, and what has changed since */
        uint32_t reserved;
};

struct ledger_header {
        uint64_t magic;
        uint32_t version;
        uint32_t capacity;           /* entries */
        _Atomic uint32_t high_water; /* entries below this index have been used */
        _Atomic uint32_t reserved;
        _Atomic uint64_t busy_until; /* CLOCK_MONOTONIC, ms: the registrar is at work and not to be thought hung before; 0: no */
        uint64_t spare[4];
        struct stats stats;
        uint8_t room[LEDGER_HEADER_SIZE - 64 - sizeof(struct stats) - sizeof(struct uverbs_command)]; /* for more statistics */
        struct uverbs_command command; /* of the dma-buf that is being registered: one at a time */
};

struct ledger {
        int fd; /* memfd, sealed in size */
        size_t size;
        struct ledger_header *header;
        struct ledger_entry *entries;
};

/* Creates a ledger for `capacity` registrations. Its pages are taken when entries are used. */
int ledger_create(uint32_t capacity, struct ledger *ret_ledger);
void ledger_done(struct ledger *ledger);
/* What this process forks from now on does not have it. */
int ledger_keep_from_children(const struct ledger *ledger);

/* The writer's side. The index is the caller's to choose: any that is FREE. */
struct ledger_entry *ledger_intent(struct ledger *ledger, uint32_t index, const struct ledger_record *record);
/* What the kernel has written elsewhere, in place of it; before LIVE. */
void ledger_keys(struct ledger_entry *entry, const struct uverbs_mr_keys *keys);
void ledger_live(struct ledger_entry *entry);
void ledger_guards(struct ledger_entry *entry, uint32_t guards);
void ledger_revoking(struct ledger_entry *entry);
void ledger_retiring(struct ledger_entry *entry);
void ledger_free(struct ledger_entry *entry);

/* The writer is at work on something that may take so long, from now, before it says so again; what is more than
 * LEDGER_BUSY_MAX_MS is taken as that. 0: it is done. */
#define LEDGER_BUSY_MAX_MS (15 * 60 * 1000)
void ledger_busy(struct ledger *ledger, uint64_t ms);

/* The reader's side: a copy of an entry, with the handle wherever the kernel has written it; false if it is FREE or the index is
 * out of range. */
bool ledger_read(const struct ledger *ledger,
                 uint32_t index,
                 enum ledger_state *ret_state,
                 struct ledger_record *ret_record,
                 struct uverbs_mr_keys *ret_response);
/* Is there one with that flag? */
bool ledger_has_flag(const struct ledger *ledger, uint32_t flag);
uint32_t ledger_high_water(const struct ledger *ledger);
bool ledger_is_busy(const struct ledger *ledger, uint64_t now_ms);

#endif
