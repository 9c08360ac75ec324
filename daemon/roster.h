/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_ROSTER_H
#define PL_ROSTER_H

/*
 * A file that says which keepers there are, so that a pinleased that has been started anew knows whom to wait for before it
 * deals out credit, or says what is registered. Written in place through a shared mapping: it is true after a SIGKILL.
 *
 * A process is known by its number and its start time, so that a number used again is nobody.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct roster_entry; /* in the file */

struct roster {
        struct roster_header *header;
        size_t size;
        uint32_t capacity;
        uint32_t n_expected; /* keepers that lived when it was opened and have not come yet */
        uint32_t hint;       /* where to look for a free entry */
};

/* Opens or makes the file, with room for so many keepers (more, if more of a former pinleased live). What is no roster, or one of
 * another layout, is replaced. */
int roster_open(const char *path, uint32_t capacity, struct roster *ret_roster);
void roster_close(struct roster *roster);

/* The highest session number that has been given out; and the next one. */
uint64_t roster_next_id(struct roster *roster);

/* Is this process one of those that have been noted, here or by a former pinleased? */
bool roster_knows(const struct roster *roster, pid_t keeper);

/* A keeper is there. Returns 0, -ENOSPC, or what the look into /proc failed with. */
int roster_add(struct roster *roster, uint64_t session, pid_t keeper);
void roster_remove(struct roster *roster, uint64_t session, pid_t keeper);

/* One that may be expected has come. */
void roster_claim(struct roster *roster, uint64_t session, pid_t keeper);

/* Forgets those expected that have died meanwhile. Returns how many are still to come. */
uint32_t roster_expected(struct roster *roster);

#endif
