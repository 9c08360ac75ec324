/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mr.h"

#include "util.h"

#define BUSY_TRIES 400
#define BUSY_SLEEP_NS 5000000

/*
 * Of a dma-buf a driver may have left what is 0: then only the keys tell, and of the two the remote one may be 0 for all that peers
 * cannot reach.
 */
static bool is_ours(const struct ledger_record *record, const struct uverbs_mr_keys *keys, const struct uverbs_mr_info *info) {
        bool may_be_unset = record->method == PINLEASE_METHOD_DMABUF;

        return info->lkey == keys->lkey && info->rkey == keys->rkey &&
               (info->length == record->length || (may_be_unset && info->length == 0)) &&
               (info->iova == record->iova || (may_be_unset && info->iova == 0));
}

int mr_try(const struct uverbs_ops *uverbs,
           const struct uverbs_device *device,
           const struct ledger_record *record,
           const struct uverbs_mr_keys *keys) {
        struct uverbs_mr_info info;
        int r;

        r = uverbs->query_mr(device, keys->handle, &info);
        if (r == 0 && !is_ours(record, keys, &info))
                return MR_FOREIGN;
        if (r == 0)
                r = uverbs->dereg_mr(device, keys->handle);
        if (r == 0)
                return MR_DESTROYED;
        /* EIO: the device has been removed, and everything on it. */
        return r == -ENOENT || r == -EIO ? (int)MR_FOREIGN : r;
}

enum mr_outcome mr_destroy(const struct uverbs_ops *uverbs,
                           const struct uverbs_device *device,
                           const struct ledger_record *record,
                           const struct uverbs_mr_keys *keys) {
        for (unsigned int i = 0; i < BUSY_TRIES; i++) {
                int r = mr_try(uverbs, device, record, keys);

                if (r >= 0)
                        return (enum mr_outcome)r;
                if (r != -EBUSY)
                        return MR_KEPT;
                (void)nanosleep(&(struct timespec) { .tv_nsec = BUSY_SLEEP_NS }, NULL);
        }
        return MR_KEPT;
}
