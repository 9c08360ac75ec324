/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "cleanup.h"

struct cleanup_result cleanup_ledger(const struct ledger *ledger,
                                     struct force *force,
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

                force->may_kill = record.flags & LEDGER_MAY_KILL;
                switch (force_mr(force, &contexts[record.context].device, &record, &response)) {
                case MR_DESTROYED:
                        result.destroyed++;
                        break;
                case MR_FOREIGN:
                        result.foreign++;
                        break;
                case MR_KEPT:
                        result.kept++;
                        break;
                }
        }
        force_end(force);
        return result;
}
