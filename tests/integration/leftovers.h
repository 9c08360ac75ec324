/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_LEFTOVERS_H
#define TEST_LEFTOVERS_H

/*
 * Once the apps are gone nothing may be left: no pinned page, no memory region, no verbs context, no process and no
 * ledger of the service.
 */

#include <stdbool.h>
#include <stddef.h>

/* Processes of the service (keepers, registrars, closers) that were there before. */
struct leftovers {
        unsigned int processes;
};

void leftovers_note(struct leftovers *ret_before);

/* Waits for nothing more than before to be left, PATIENCE_MS at most. If something is, says what. */
bool leftovers_none(const struct leftovers *before, char *ret_what, size_t size);

/* What `rdma resource show` lists of kinds ("mr ctx"), as one line; of both hosts where each has its own devices. "" if nothing. */
void leftovers_rdma(const char *kinds, char *ret_text, size_t size);

/* nr_foll_pin_acquired - nr_foll_pin_released: the pages that are pinned at this moment. */
long long leftovers_pinned(void);

#endif
