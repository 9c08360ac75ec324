/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "force.h"

#include "util.h"

#define BUSY_MS 20
#define WINDOWS_MS 20
#define STOPPED_MS 100
#define KILLED_MS 100

/* What is waited for altogether; it comes back with time, a fifth of it. */
#define PATIENCE_MS    1000
#define PATIENCE_SHARE 5

/* When an app is stopped again that was stopped in vain. */
#define AGAIN_MS 10000

/* Whatever the time: a machine may stand still. */
#define MIN_TRIES 3

#define SLEEP_NS 200000

#define WINDOWS_AT_ONCE 256
#define WINDOWS_ROUNDS 64

/* Returns whether there were any. What a thread of the app deallocates, or uses, at this instant is left out. */
static bool free_windows(const struct uverbs_ops *uverbs, const struct uverbs_device *device) {
        bool any = false;

        for (unsigned int round = 0; round < WINDOWS_ROUNDS; round++) {
                uint32_t handles[WINDOWS_AT_ONCE], n, freed = 0;

                if (uverbs->list_windows(device, handles, WINDOWS_AT_ONCE, &n) < 0)
                        break;
                for (uint32_t i = 0; i < n; i++)
                        if (uverbs->dealloc_window(device, handles[i]) == 0)
                                freed++;
                any = any || n > 0;
                if (n < WINDOWS_AT_ONCE || freed == 0)
                        break;
        }
        return any;
}

/* The first three rungs. Times are in ms from now. */
static enum mr_outcome try_for(const struct force *force,
                               const struct uverbs_device *device,
                               const struct ledger_record *record,
                               const struct uverbs_mr_keys *keys,
                               unsigned int busy_ms,
                               unsigned int windows_ms) {
        uint64_t end = pl_now_ms() + busy_ms;
        bool windows = false;

        for (unsigned int n = 1;; n++) {
                int r = mr_try(force->uverbs, device, record, keys);

                if (r >= 0)
                        return (enum mr_outcome)r;
                if (r != -EBUSY && r != -EINVAL)
                        return MR_KEPT;
                if (r == -EINVAL && !windows) {
                        windows = true;
                        end = pl_now_ms() + windows_ms;
                }
                if (n >= MIN_TRIES && pl_now_ms() >= end)
                        return MR_KEPT;
                /* Nothing to wait for if windows were there: before the next is bound. */
                if (r == -EBUSY || !free_windows(force->uverbs, device))
                        (void)nanosleep(&(struct timespec) { .tv_nsec = SLEEP_NS }, NULL);
        }
}

bool force_holds(const struct force *force) {
        return force->stopped && pl_now_ms() < force->stopped_until;
}

static void release(struct force *force) {
        if (!force->stopped)
                return;
        force->ops->release(force->userdata);
        force->stopped = false;
        if (!force->fruitful)
                force->next_stop = pl_now_ms() + AGAIN_MS;
}

void force_end(struct force *force) {
        release(force);
}

/* How much of it is left. */
static unsigned int patience(struct force *force) {
        uint64_t now = pl_now_ms(), back = force->waited_at ? (now - force->waited_at) / PATIENCE_SHARE : PATIENCE_MS;

        force->waited_ms -= back < force->waited_ms ? back : force->waited_ms;
        force->waited_at = now;
        return force->waited_ms < PATIENCE_MS ? (unsigned int)(PATIENCE_MS - force->waited_ms) : 0;
}

/* Returns whether the app has been stopped just now. */
static bool stop(struct force *force) {
        uint64_t now = pl_now_ms();

        if (!force->ops || force->killed || force->stopped || now < force->next_stop)
                return false;
        if (force->ops->stop(force->userdata) < 0) {
                force->next_stop = now + AGAIN_MS;
                return false;
        }
        force->stopped = true;
        force->fruitful = false;
        force->stopped_until = pl_now_ms() + STOPPED_MS;
        return true;
}

static bool kill_app(struct force *force) {
        if (!force->may_kill || !force->ops || force->killed)
                return false;
        release(force);
        force->killed = force->ops->kill(force->userdata) == 0;
        return force->killed;
}

static unsigned int time_left(const struct force *force) {
        uint64_t now = pl_now_ms();

        return force->stopped_until > now ? (unsigned int)(force->stopped_until - now) : 0;
}

static unsigned int at_most(unsigned int ms, unsigned int limit) {
        return ms < limit ? ms : limit;
}

/* Before the app is stopped, or while it is. */
static enum mr_outcome try_patiently(struct force *force,
                                     const struct uverbs_device *device,
                                     const struct ledger_record *record,
                                     const struct uverbs_mr_keys *keys) {
        enum mr_outcome outcome;
        unsigned int left;

        if (force->stopped && !force_holds(force))
                release(force);
        if (force->stopped) {
                left = time_left(force);
                outcome = try_for(force, device, record, keys, left, left);
        } else {
                left = patience(force);
                outcome = try_for(force, device, record, keys, at_most(BUSY_MS, left), at_most(WINDOWS_MS, left));
                force->waited_ms += pl_now_ms() - force->waited_at;
        }
        if (outcome != MR_KEPT)
                force->fruitful = true;
        return outcome;
}

enum mr_outcome force_mr(struct force *force,
                         const struct uverbs_device *device,
                         const struct ledger_record *record,
                         const struct uverbs_mr_keys *keys) {
        enum mr_outcome outcome;

        outcome = try_patiently(force, device, record, keys);
        if (outcome == MR_KEPT && stop(force))
                outcome = try_patiently(force, device, record, keys);
        if (outcome == MR_KEPT && kill_app(force))
                outcome = try_for(force, device, record, keys, KILLED_MS, KILLED_MS);
        return outcome;
}
