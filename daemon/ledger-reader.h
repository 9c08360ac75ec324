/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_LEDGER_READER_H
#define PL_LEDGER_READER_H

/*
 * How pinleased reads the ledger of a session. It is written by a process that a hostile app talks to: nothing in it is
 * believed, and nothing of it is mapped. What comes out is in range, but may be untrue; it may also be half of one instant
 * and half of another, for the session goes on meanwhile.
 *
 * The keeper has made the file and sealed its size. Reading it waits for nobody.
 */

#include <stddef.h>

#include "ledger.h"

/* So many entries are looked at by one call. */
#define LEDGER_READER_STRETCH 64

/* No counter of one session is taken for more: the largest number that every reader of JSON has exactly. */
#define LEDGER_READER_MAX_COUNT ((UINT64_C(1) << 53) - 1)

struct ledger_reader {
        int fd;            /* borrowed */
        uint32_t capacity; /* that the file has, whatever its header will say */
};

/* A registration. Numbers are the session's own word. */
struct ledger_listing {
        uint64_t id; /* what CONTROL_REVOKE takes */
        uint64_t length;
        uint64_t offset;
        uint64_t device;
        uint64_t inode;
        uint64_t bytes;
        uint64_t created_ms; /* CLOCK_BOOTTIME */
        uint32_t owner;      /* of the file */
        uint32_t guards;     /* pl_guards_set(), of known guards and any reasons */
        uint32_t access;
        enum ledger_state state;       /* LEDGER_FREE: unknown */
        enum pinlease_method method;   /* exactly one; 0: unknown */
        enum pinlease_backing backing; /* PINLEASE_BACKING_OTHER also for what is unknown */
        char name[LEDGER_NAME_MAX];    /* any bytes, then NUL */
};

/* May this descriptor be read here? Any may be given. A file in memory, sealed in size: reading it waits for nobody. What is in it may
 * be a lie, also that it is no ledger; a session does not get out of sight by it. */
bool ledger_reader_is_safe(int fd);

/*
 * Returns 0; -EBADMSG: this is no ledger; -EPROTONOSUPPORT: it is one of another version, and nothing else is known; or the
 * negative errno of reading. Any descriptor may be given.
 */
int ledger_reader_init(struct ledger_reader *reader, int fd);

/* What the session has counted. Returns 0 or a negative errno. */
int ledger_reader_stats(const struct ledger_reader *reader, struct stats_totals *ret_totals);

/*
 * Goes on at *cursor, which is 0 at first, and fills in up to n registrations; LEDGER_READER_STRETCH is a good n, less reads
 * the same again. Returns how many; 0 at the end; -EAGAIN if none was found yet, but there may be more: call again, when
 * there is time; or another negative errno. The state at one instant is not to be had: what comes or goes meanwhile may be
 * listed or not.
 */
int ledger_reader_next(const struct ledger_reader *reader, uint32_t *cursor, struct ledger_listing *ret_listings, size_t n);

#endif
