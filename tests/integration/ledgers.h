/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_LEDGERS_H
#define TEST_LEDGERS_H

/* The ledger of a session, as its keeper has it: not what pinleased makes of it. For root. Failures end the case. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ledgers_entry {
        bool live; /* else on its way to that, or from it */
        uint64_t id, offset, length;
        dev_t device;
        ino_t inode;
        uint32_t handle, lkey, rkey;
        uint32_t guards; /* pl_guards_set() */
};

/* Those that are in use, up to n. Returns how many there are; -1: the keeper is gone. */
ssize_t ledgers_read(pid_t keeper, struct ledgers_entry *ret_entries, size_t n);

/* Has the process the file open? */
bool ledgers_holds_file(pid_t pid, dev_t device, ino_t inode);

#endif
