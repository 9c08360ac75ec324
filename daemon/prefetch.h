/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_PREFETCH_H
#define PL_PREFETCH_H

/*
 * An ODP registration's pages made known to the device at once, by a rule or by the app's wish, so that nobody's first
 * access waits for them to be faulted in.
 *
 * By ADVISE_MR with faulting: without (PREFETCH_NO_FAULT) the kernel takes what the registering process has in its page
 * tables, which for a file that has only just been mapped is nothing. But what is faulted in, in this process, is
 * charged to it if it is allocated for that; so only what is in memory already is faulted in, as what is pinned. Of a
 * range that is not, the app has nothing prefetched but what happens to be mapped: it touches it first, as the library
 * does.
 */

#include "state.h"

/* fd is borrowed; of private memory -1. Returns whether the whole range has been made known. If not, nothing is lost: the first access
 * faults. */
bool prefetch(struct registrar_state *state,
              const struct ledger_record *record,
              const struct uverbs_mr_keys *keys,
              int fd);

#endif
