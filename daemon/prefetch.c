/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "prefetch.h"

#include "backing.h"
#include "residency.h"

/* Would faulting it in allocate none of the memory that the app should pay for? */
static bool may_fault(const struct ledger_record *record, int fd) {
        switch (record->backing) {
        case PINLEASE_BACKING_SHMEM:
        case PINLEASE_BACKING_PAGECACHE:
                return residency_check(fd, record->offset, record->start, record->length) > 0;
        case PINLEASE_BACKING_HUGETLB: /* reserved for who has made the file, not charged to whoever faults it in */
        case PINLEASE_BACKING_FSDAX:   /* the file's own blocks */
        case PINLEASE_BACKING_ANON:    /* faulted in in the app, and charged to it */
                return true;
        default:
                return false;
        }
}

bool prefetch(struct registrar_state *state,
              const struct ledger_record *record,
              const struct uverbs_mr_keys *keys,
              int fd) {
        enum uverbs_prefetch how = UVERBS_PREFETCH_MAPPED;

        if (may_fault(record, fd))
                how = backing_access_writable(record->access) ? UVERBS_PREFETCH_WRITE : UVERBS_PREFETCH_READ;
        state_busy(state, record->length);
        return state->uverbs->prefetch(&state->contexts[record->context].device,
                                       record->pd,
                                       keys->lkey,
                                       record->iova,
                                       record->length,
                                       how) == 0 &&
               how != UVERBS_PREFETCH_MAPPED;
}
