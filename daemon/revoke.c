/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "revoke.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "grant.h"

/* How long it works before it looks whether there is something else to do. */
#define SLICE_MS 5

/* Less time than an app has been told, by so little, is the same. */
#define SAME_MS 50

/* How often what the kernel keeps is tried again. */
#define KEPT_MS 1000

/* What the app is still to be told; at most one of the two. And: the kernel keeps it. */
#define TELL_REVOKING (1 << 2)
#define TELL_REVOKED  (1 << 3)
#define KEPT          (1 << 4)
/* The file is still to settle; it has, and the app is to be told. */
#define AWAITS        (1 << 5)
#define TELL_SETTLED  (1 << 6)

#define TELL (TELL_REVOKING | TELL_REVOKED | TELL_SETTLED)

static const struct {
        const char *revoking, *revoked;
} sentences[] = {
        [0] = {
                "The service takes this registration back. Deregister it within the grace time: after that it is taken away, and "
                "RDMA to it fails with a remote access error.",
                "The service has taken this registration away, which was not deregistered in time. RDMA to it fails with a "
                "remote access error.",
        },
        [PL_REVOKED_BY_ADMINISTRATOR] = {
                "The administrator takes this registration back. Deregister it within the grace time: after that it is taken "
                "away, and RDMA to it fails with a remote access error.",
                "The administrator has had this registration taken away, which was not deregistered in time. RDMA to it fails "
                "with a remote access error.",
        },
        [PL_REVOKED_LAYOUT_CHANGE] = {
                "The file is being changed, by another program as a rule, which waits for this. Stop using the registration and "
                "release it within the grace time: after that it is taken away, and RDMA to it fails with a remote access error. "
                "When the file has settled it can be registered again.",
                "The file is being changed, and this registration, which was not released in time, has been taken away before "
                "that. RDMA to it fails with a remote access error. When the file has settled it can be registered again.",
        },
        [PL_REVOKED_BY_POLICY] = {
                "The administrator's rules have changed, and refuse this registration now. Deregister it within the grace time: after "
                "that it is taken away, and RDMA to it fails with a remote access error.",
                "The administrator's rules have changed, and refuse this registration, which was not deregistered in time: it has "
                "been taken away. RDMA to it fails with a remote access error.",
        },
        [PL_REVOKED_MEMORY_FAILURE] = {
                "The memory is broken. Deregister it at once.",
                "The memory is broken: the registration has been taken away. RDMA to it fails with a remote access error. What "
                "the broken bytes held is lost; read what is left of them with care, reading them raises SIGBUS.",
        },
};

static struct registration *registration_at(const struct revoker *r, uint32_t slot) {
        return r->state->registrations + slot;
}

/* `what` in place of what the app was to be told of its end; that the file has settled comes after that. */
static void set_tell(struct revoker *r, struct registration *registration, uint8_t what) {
        uint8_t before = registration->flags & TELL;
        uint8_t after = (uint8_t)((before & TELL_SETTLED) | what);

        if (before)
                r->n_untold--;
        if (after)
                r->n_untold++;
        registration->flags = (uint8_t)((registration->flags & ~TELL) | after);
}

static void set_awaits(struct revoker *r, struct registration *registration, bool awaits) {
        if (awaits == ((registration->flags & AWAITS) != 0))
                return;
        registration->flags ^= AWAITS;
        if (awaits)
                r->n_awaiting++;
        else
                r->n_awaiting--;
}

/* Tells every revocation that covers it what has become of a registration. */
static void settle(struct revoker *r, struct registration *registration, enum revocation_outcome outcome) {
        for (unsigned int i = 0; i < REVOKE_PLACES; i++)
                if (registration->revocations & (1U << i)) {
                        assert(r->revocations[i].waiting > 0);
                        if (--r->revocations[i].waiting == 0)
                                r->n_over++;
                        r->revocations[i].counts[outcome]++;
                }
        registration->revocations = 0;
}

static void set_kept(struct revoker *r, struct registration *registration, bool kept) {
        if (kept == ((registration->flags & KEPT) != 0))
                return;
        registration->flags ^= KEPT;
        if (kept)
                r->n_kept++;
        else
                r->n_kept--;
}

/* registrar_state.gone */
static bool on_gone(void *userdata, uint32_t slot) {
        struct revoker *r = userdata;
        struct registration *registration = registration_at(r, slot);

        settle(r, registration, r->forcing ? REVOCATION_FORCED : REVOCATION_RELEASED);
        set_kept(r, registration, false);
        set_tell(r, registration, r->forcing && r->tells ? TELL_REVOKED : 0);
        set_awaits(r,
                   registration,
                   r->settles && (r->forcing || r->releasing) && registration->flags & REGISTRATION_REVOKING &&
                           registration->reason == PL_REVOKED_LAYOUT_CHANGE);
        return registration->flags & (TELL_REVOKED | AWAITS);
}

void revoker_init(struct revoker *r, struct registrar_state *state) {
        *r = (struct revoker) { .state = state, .force.uverbs = state->uverbs };
        state->gone = on_gone;
        state->gone_userdata = r;
}

void revoker_done(struct revoker *r) {
        r->state->gone = NULL;
}

/* The earliest of the revocations that cover it; 0: none does. */
static uint64_t deadline_of(const struct revoker *r, const struct registration *registration) {
        uint64_t deadline = 0;

        for (unsigned int i = 0; i < REVOKE_PLACES; i++)
                if (registration->revocations & (1U << i))
                        deadline = pl_earlier(deadline, r->revocations[i].deadline);
        return deadline;
}

/* Does the app have to know, of a revocation that ends earlier than those it knows? Not of the moments by which two sessions that hear
 * of the same change differ. */
static bool is_news(const struct registration *registration, const struct revocation *revocation, uint64_t before) {
        return !before || registration->reason != (uint8_t)revocation->reason || before - revocation->deadline > SAME_MS;
}

/* Puts a registration under a revocation. The app is told once more only if it has less time than it thinks. */
static void cover(struct revoker *r, uint32_t slot, unsigned int index, const struct revocation_order *order) {
        struct registration *registration = registration_at(r, slot);
        const struct ledger_record *record = &r->state->ledger.entries[slot].record;
        struct revocation *revocation = r->revocations + index;
        uint64_t before = deadline_of(r, registration);

        /* Nothing is registered yet: its commit is refused. */
        if (registration->flags & REGISTRATION_OPEN) {
                grant_drop(r->state, slot);
                return;
        }
        if (!before || revocation->deadline < before) {
                uint64_t end = pl_range_end(record->offset, record->length), last = end;
                bool news = is_news(registration, revocation, before);

                registration->reason = (uint8_t)revocation->reason;
                registration->hit_offset = record->offset;
                if (order->selector == CONTROL_SELECT_FILE) {
                        if (order->offset > record->offset)
                                registration->hit_offset = order->offset;
                        last = pl_range_end(order->offset, order->length);
                }
                registration->hit_length = (last < end ? last : end) - registration->hit_offset;
                if (news && r->tells && !(registration->flags & KEPT))
                        set_tell(r, registration, TELL_REVOKING);
        }
        /* It has been tried in vain already, and is tried again at once. */
        if (registration->flags & KEPT)
                r->kept_retry = 0;

        registration->flags |= REGISTRATION_REVOKING;
        if (!(registration->revocations & 1U << index))
                revocation->waiting++;
        registration->revocations |= (uint16_t)(1U << index);
        ledger_revoking(r->state->ledger.entries + slot);
}

static bool matches(const struct revocation_order *order,
                    const struct registration *registration,
                    const struct ledger_record *record) {
        if (order->spare_notified && registration->terms.notify)
                return false;
        if (order->only_refused && !registration->terms.refused)
                return false;
        switch (order->selector) {
        case CONTROL_SELECT_FILE:
                return record->device == order->device && record->inode == order->inode &&
                       record->offset < pl_range_end(order->offset, order->length) &&
                       order->offset < pl_range_end(record->offset, record->length);
        case CONTROL_SELECT_DEVICE:
                return record->device == order->device;
        default:
                return true;
        }
}

static void cover_matching(struct revoker *r, const struct revocation_order *order, unsigned int index) {
        for (uint32_t slot = 0; slot < r->state->n_registrations; slot++)
                if (registration_is_there(registration_at(r, slot)) &&
                    matches(order, registration_at(r, slot), &r->state->ledger.entries[slot].record))
                        cover(r, slot, index, order);
}

/* Is it more of the same? What is found out about a file in one moment may come in many pieces. */
static bool goes_on(const struct revocation *revocation, const struct revocation_order *order, uint64_t deadline) {
        return revocation->active && revocation->here && order->here && revocation->reason == order->reason &&
               revocation->device == order->device && revocation->inode == order->inode &&
               revocation->deadline <= deadline && deadline - revocation->deadline <= SAME_MS;
}

static void reopen(struct revoker *r, struct revocation *revocation) {
        if (revocation->waiting == 0)
                r->n_over--;
        revocation->cursor = 0;
}

/* A place for it. Returns 0; 1: that of one that is under way, which goes on; -EBUSY. */
static int take_place(struct revoker *r, const struct revocation_order *order, unsigned int *ret_index) {
        bool failure = order->here && order->reason == PL_REVOKED_MEMORY_FAILURE;
        unsigned int index = failure ? REVOKE_FAILURES : REVOKE_MAX;
        uint64_t deadline = pl_now_ms() + order->grace_ms;

        for (unsigned int i = 0; i < REVOKE_MAX && !failure; i++) {
                if (goes_on(r->revocations + i, order, deadline)) {
                        index = i;
                        break;
                }
                if (index == REVOKE_MAX && !r->revocations[i].active)
                        index = i;
        }
        if (!failure && index == REVOKE_MAX)
                return -EBUSY;

        *ret_index = index;
        if (r->revocations[index].active) {
                reopen(r, r->revocations + index);
                return 1;
        }
        r->revocations[index] = (struct revocation) {
                .active = true,
                .reason = order->reason,
                .here = order->here,
                .cookie = order->cookie,
                .device = order->device,
                .inode = order->inode,
                .deadline = deadline,
        };
        return 0;
}

int revoker_begin(struct revoker *r, const struct revocation_order *order) {
        unsigned int index;
        uint32_t slot;
        int k;

        if (order->selector < CONTROL_SELECT_ALL || order->selector > CONTROL_SELECT_DEVICE)
                return -EINVAL;
        k = take_place(r, order, &index);
        if (k < 0)
                return k;
        if (order->selector != CONTROL_SELECT_ID)
                cover_matching(r, order, index);
        else if (state_find(r->state, order->id, &slot) == 0)
                cover(r, slot, index, order);
        if (r->revocations[index].waiting == 0)
                r->n_over++;
        return k;
}

static void force(struct revoker *r, uint32_t slot) {
        struct registration *registration = registration_at(r, slot);
        int k;

        r->forcing = true;
        k = request_force(r->state, slot, &r->force);
        r->forcing = false;
        if (k == 0)
                return;

        if (r->n_kept == 0)
                r->kept_retry = pl_now_ms() + KEPT_MS;
        set_kept(r, registration, true);
        settle(r, registration, REVOCATION_KEPT);
}

/* An app that stands still is made the most of. */
static bool is_over(const struct revoker *r, uint64_t end) {
        return pl_now_ms() >= end && !force_holds(&r->force);
}

/* Goes on with the slots from *cursor on. Returns false if the slice is over before the end is reached. */
static bool force_covered(struct revoker *r, struct revocation *revocation, uint16_t bit, uint64_t end) {
        for (; revocation->cursor < r->state->n_registrations && revocation->waiting > 0; revocation->cursor++)
                if (registration_at(r, revocation->cursor)->revocations & bit) {
                        if (is_over(r, end))
                                return false;
                        force(r, revocation->cursor);
                }
        return true;
}

static void force_kept(struct revoker *r, uint64_t end) {
        for (; r->kept_cursor < r->state->n_registrations && r->n_kept > 0; r->kept_cursor++)
                if (registration_at(r, r->kept_cursor)->flags & KEPT) {
                        if (is_over(r, end))
                                return;
                        force(r, r->kept_cursor);
                }
        r->kept_cursor = 0;
        r->kept_retry = pl_now_ms() + KEPT_MS;
}

static void work(struct revoker *r) {
        uint64_t now = pl_now_ms(), end = now + SLICE_MS;

        for (unsigned int i = 0; i < REVOKE_PLACES; i++) {
                struct revocation *revocation = r->revocations + i;

                if (revocation->active && revocation->waiting > 0 && revocation->deadline <= now &&
                    !force_covered(r, revocation, (uint16_t)(1U << i), end))
                        return;
        }
        if (r->n_kept > 0 && r->kept_retry <= now)
                force_kept(r, end);
}

void revoker_work(struct revoker *r) {
        work(r);
        force_end(&r->force);
}

uint64_t revoker_due(const struct revoker *r) {
        uint64_t due = 0;

        for (unsigned int i = 0; i < REVOKE_PLACES; i++)
                if (r->revocations[i].active && r->revocations[i].waiting > 0)
                        due = pl_earlier(due, r->revocations[i].deadline);
        /* 0 is "at once" there, "never" here. */
        return r->n_kept > 0 ? pl_earlier(due, r->kept_retry ? r->kept_retry : 1) : due;
}

static void make_event(const struct revoker *r, uint32_t slot, struct pl_packet *packet) {
        const struct registration *registration = registration_at(r, slot);
        unsigned int sentence = registration->reason < ELEMENTSOF(sentences) ? registration->reason : 0;
        uint64_t now = pl_now_ms(), deadline = deadline_of(r, registration);

        if (registration->flags & TELL_REVOKED) {
                struct pl_revoked *revoked = &packet->body.revoked;

                pl_packet_init(packet, PL_OP_REVOKED, 0);
                revoked->id = registration->id;
                revoked->offset = registration->hit_offset;
                revoked->length = registration->hit_length;
                revoked->reason = registration->reason;
                (void)snprintf(revoked->sentence, sizeof revoked->sentence, "%s", sentences[sentence].revoked);
        } else if (registration->flags & TELL_REVOKING) {
                struct pl_revoking *revoking = &packet->body.revoking;

                pl_packet_init(packet, PL_OP_REVOKING, 0);
                revoking->id = registration->id;
                revoking->offset = registration->hit_offset;
                revoking->length = registration->hit_length;
                revoking->reason = registration->reason;
                revoking->grace_ms = deadline > now ? (uint32_t)(deadline - now) : 0;
                (void)snprintf(revoking->sentence, sizeof revoking->sentence, "%s", sentences[sentence].revoking);
        } else {
                struct pl_settled *settled = &packet->body.settled;

                pl_packet_init(packet, PL_OP_SETTLED, 0);
                settled->id = registration->id;
                settled->size = registration->settled_size;
                (void)snprintf(settled->sentence,
                               sizeof settled->sentence,
                               "The change of the file is over; it has %" PRIu64 " bytes now, and can be registered again.",
                               settled->size);
        }
}

bool revoker_next_event(struct revoker *r, struct pl_packet *ret_packet) {
        if (r->n_untold == 0)
                return false;

        /* In turn, so that nobody is passed over. */
        while (r->tell_cursor >= r->state->n_registrations || !(registration_at(r, r->tell_cursor)->flags & TELL))
                r->tell_cursor = r->tell_cursor + 1 < r->state->n_registrations ? r->tell_cursor + 1 : 0;
        make_event(r, r->tell_cursor, ret_packet);
        return true;
}

static void free_if_done(struct revoker *r, uint32_t slot) {
        const struct registration *registration = registration_at(r, slot);

        if (registration->flags & REGISTRATION_GONE && !(registration->flags & (TELL | AWAITS)))
                state_slot_put(r->state, slot);
}

static void forget_settled(struct revoker *r, struct registration *registration) {
        if (!(registration->flags & TELL_SETTLED))
                return;
        registration->flags &= (uint8_t)~TELL_SETTLED;
        if (!(registration->flags & TELL))
                r->n_untold--;
}

void revoker_told(struct revoker *r) {
        struct registration *registration = registration_at(r, r->tell_cursor);

        if (registration->flags & (TELL_REVOKING | TELL_REVOKED))
                set_tell(r, registration, 0);
        else
                forget_settled(r, registration);
        free_if_done(r, r->tell_cursor);
}

bool revoker_dismiss(struct revoker *r, uint64_t id, bool release) {
        struct registration *registration;
        uint32_t slot = (uint32_t)id;

        if (id == 0 || slot >= r->state->n_registrations || registration_at(r, slot)->id != id ||
            !(registration_at(r, slot)->flags & REGISTRATION_GONE))
                return false;
        registration = registration_at(r, slot);
        set_tell(r, registration, 0);
        if (!release) {
                set_awaits(r, registration, false);
                forget_settled(r, registration);
        }
        free_if_done(r, slot);
        return true;
}

int revoker_release(struct revoker *r, uint64_t id, struct refusal *ret_refusal) {
        int k;

        r->releasing = true;
        k = request_deregister(r->state, id, ret_refusal);
        r->releasing = false;
        return k;
}

bool revoker_will_settle(const struct revoker *r, uint64_t id) {
        uint32_t slot = (uint32_t)id;

        return slot < r->state->n_registrations && registration_at(r, slot)->id == id &&
               registration_at(r, slot)->flags & (AWAITS | TELL_SETTLED);
}

void revoker_settled(struct revoker *r, uint64_t device, uint64_t inode, uint64_t size) {
        for (uint32_t slot = 0; slot < r->state->n_registrations && r->n_awaiting > 0; slot++) {
                const struct ledger_record *record = &r->state->ledger.entries[slot].record;
                struct registration *registration = registration_at(r, slot);

                if (!(registration->flags & AWAITS) || record->device != device || record->inode != inode)
                        continue;
                set_awaits(r, registration, false);
                if (!(registration->flags & TELL))
                        r->n_untold++;
                registration->flags |= TELL_SETTLED;
                registration->settled_size = size;
        }
}

struct revocation *revoker_result(struct revoker *r) {
        if (r->n_over == 0)
                return NULL;
        for (unsigned int i = 0; i < REVOKE_PLACES; i++)
                if (r->revocations[i].active && r->revocations[i].waiting == 0)
                        return r->revocations + i;
        return NULL;
}

void revoker_forget(struct revoker *r, struct revocation *revocation) {
        revocation->active = false;
        r->n_over--;
}
