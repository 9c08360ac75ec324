/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_FORCE_H
#define PL_FORCE_H

/*
 * Taking a memory region away from an app that does not let go of it, whatever the app does meanwhile. A ladder, each
 * rung with its time:
 *
 *   1. deregister
 *   2. EBUSY, another call is on the handle: again and again, for 20 ms
 *   3. EINVAL, a memory window is bound: deallocate the context's windows, and again, for 20 ms
 *   4. the same with the app stopped, for 100 ms
 *   5. the same with the app killed, if that is allowed
 *   6. kept: the caller says so loudly, and tries again
 *
 * Queue pairs are left alone: destroying one with a window of type 2 bound takes up to a minute, and does not help.
 * Which window is bound to which memory region the kernel does not tell, so the third rung takes all windows of the
 * context.
 *
 * An app is stopped once for as many memory regions as can be had in that time, and if that brought nothing, not again
 * for a while. Any number of memory regions is waited for no longer than a second, and later a fifth of the time: what
 * is left then gets a few tries each.
 */

#include <stdbool.h>

#include "mr.h"

/* What is done to the app. Each returns 0 or a negative errno. */
struct force_ops {
        /* It stands still, or is about to, until it is released; for a short while in any case. */
        int (*stop)(void *userdata);
        void (*release)(void *userdata);
        /* It is dead. */
        int (*kill)(void *userdata);
};

struct force {
        const struct uverbs_ops *uverbs;
        const struct force_ops *ops; /* NULL: nothing is done to the app */
        void *userdata;
        bool may_kill;

        /* Own. */
        bool stopped, fruitful, killed;
        uint64_t stopped_until; /* when this stop is over, at the latest */
        uint64_t next_stop;
        uint64_t waited_ms; /* out of what may be waited for altogether, */
        uint64_t waited_at; /* at that time; 0: never */
};

/* Destroys it, see mr.h: nothing but what the ledger names. The app may stand still after that. */
enum mr_outcome force_mr(struct force *force,
                         const struct uverbs_device *device,
                         const struct ledger_record *record,
                         const struct uverbs_mr_keys *keys);

/* Does the app stand still, and is there time left? Then this is the time to go on with the next. */
bool force_holds(const struct force *force);

/* Lets the app go on, if it has been stopped. Whoever calls force_mr() calls this before doing anything else. */
void force_end(struct force *force);

#endif
