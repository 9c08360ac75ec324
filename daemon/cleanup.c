/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cleanup.h"

#include "util.h"

/* EBUSY: somebody else's call is on the handle at this instant, ours or theirs. It passes; see KERNEL in doc/ARCHITECTURE.md. */
#define BUSY_TRIES    400
#define BUSY_SLEEP_NS 5000000

enum outcome { DESTROYED, FOREIGN, KEPT };

static enum outcome destroy(const struct uverbs_ops *uverbs,
                            const struct uverbs_device *device,
                            const struct ledger_record *record,
                            const struct uverbs_mr_keys *response) {
        for (unsigned int i = 0; i < BUSY_TRIES; i++) {
                struct uverbs_mr_info info;
                int r;

                r = uverbs->query_mr(device, response->handle, &info);
                if (r == 0 && (info.rkey != response->rkey || info.length != record->length || info.iova != record->iova))
                        return FOREIGN;
                if (r == 0) {
                        r = uverbs->dereg_mr(device, response->handle);
                        if (r == 0)
                                return DESTROYED;
                }
                if (r == -ENOENT || r == -EIO)
                        return FOREIGN;
                if (r != -EBUSY)
                        return KEPT;
                (void)nanosleep(&(struct timespec) { .tv_nsec = BUSY_SLEEP_NS }, NULL);
        }
        return KEPT;
}

struct cleanup_result cleanup_ledger(const struct ledger *ledger,
                                     const struct uverbs_ops *uverbs,
                                     const struct cleanup_context *contexts,
                                     unsigned int n_contexts) {
        struct cleanup_result result = { 0 };
        uint32_t n = ledger_high_water(ledger);

        for (uint32_t i = 0; i < n; i++) {
                struct uverbs_mr_keys response;
                struct ledger_record record;
                enum ledger_state state;

                if (!ledger_read(ledger, i, &state, &record, &response))
                        continue;
                if (response.handle == LEDGER_NO_HANDLE)
                        continue;
                if (record.context >= n_contexts || contexts[record.context].device.fd < 0)
                        continue;

                switch (destroy(uverbs, &contexts[record.context].device, &record, &response)) {
                case DESTROYED:
                        result.destroyed++;
                        break;
                case FOREIGN:
                        result.foreign++;
                        break;
                case KEPT:
                        result.kept++;
                        break;
                }
        }
        return result;
}
