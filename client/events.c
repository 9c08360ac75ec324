/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "events.h"

#include <stdio.h>
#include <string.h>

#include "util.h"

void pl_events_wake(struct pinlease *p) {
        uint64_t one = 1;

        /* Fails only when the counter is full, and then it polls readable all the same. */
        if (write(p->event_fd, &one, sizeof one) < 0)
                return;
}

static void clear_wake(struct pinlease *p) {
        uint64_t count;

        /* Fails only when it is clear already. */
        if (read(p->event_fd, &count, sizeof count) < 0)
                return;
}

/* With the queue full the newest event takes the place of the one before: of several notices to go, the last counts. */
void pl_events_going_away(struct pinlease *p, const struct pl_going_away *event) {
        (void)pthread_mutex_lock(&p->state);
        if (p->n_events == PL_EVENTS_MAX)
                p->n_events--;
        p->events[p->n_events++] = *event;
        pl_events_wake(p);
        (void)pthread_mutex_unlock(&p->state);
}

bool pl_events_full(struct pinlease *p) {
        bool full;

        (void)pthread_mutex_lock(&p->state);
        full = p->n_events == PL_EVENTS_MAX;
        (void)pthread_mutex_unlock(&p->state);
        return full;
}

/* --- registrations about which there is something to tell: a list in the order in which it came, with `state` held --- */

static void forget_pending(struct pinlease *p, struct pl_registration *reg) {
        if (!reg->pending)
                return;
        if (reg->pending_previous)
                reg->pending_previous->pending_next = reg->pending_next;
        else
                p->pending_first = reg->pending_next;
        if (reg->pending_next)
                reg->pending_next->pending_previous = reg->pending_previous;
        else
                p->pending_last = reg->pending_previous;
        reg->pending_previous = reg->pending_next = NULL;
        reg->pending = PL_PENDING_NONE;
        free(reg->pending_sentence);
        reg->pending_sentence = NULL;
}

static void set_pending(struct pinlease *p,
                        struct pl_registration *reg,
                        enum pl_pending what,
                        uint32_t grace_ms,
                        const char *sentence) {
        /* Without memory for it there is a sentence of our own. */
        char *copy = strdup(sentence);

        (void)pthread_mutex_lock(&p->state);
        forget_pending(p, reg);
        reg->pending = what;
        reg->pending_deadline = pl_now_ms() + grace_ms;
        reg->pending_sentence = copy;
        reg->pending_previous = p->pending_last;
        if (p->pending_last)
                p->pending_last->pending_next = reg;
        else
                p->pending_first = reg;
        p->pending_last = reg;
        pl_events_wake(p);
        (void)pthread_mutex_unlock(&p->state);
}

void pl_events_revoking(struct pinlease *p, struct pl_registration *reg, const struct pl_revoking *event) {
        set_pending(p, reg, PL_PENDING_REVOKING, event->grace_ms, event->sentence);
}

void pl_events_revoked(struct pinlease *p, struct pl_registration *reg, const struct pl_revoked *event) {
        set_pending(p, reg, PL_PENDING_REVOKED, 0, event->sentence);
}

static void pop_pending(struct pinlease *p, struct pl_event *ret_event) {
        struct pl_registration *reg = p->pending_first;
        bool revoked = reg->pending == PL_PENDING_REVOKED;
        uint64_t now = pl_now_ms();

        *ret_event = (struct pl_event) {
                .kind = revoked ? PL_EVENT_REVOKED : PL_EVENT_REVOKING,
                .reg = reg,
                /* It has waited here for a while. */
                .grace_ms = reg->pending_deadline > now ? (uint32_t)(reg->pending_deadline - now) : 0,
        };
        (void)snprintf(ret_event->sentence,
                       sizeof ret_event->sentence,
                       "%s",
                       reg->pending_sentence ? reg->pending_sentence
                               : revoked     ? "The service has taken the registration away."
                                             : "The service takes the registration back.");
        forget_pending(p, reg);
        reg->deliveries++;
}

bool pl_events_pop(struct pinlease *p, struct pl_event *ret_event) {
        bool found = true;

        (void)pthread_mutex_lock(&p->state);
        if (p->n_events > 0) {
                *ret_event = (struct pl_event) { .kind = PL_EVENT_GOING_AWAY, .grace_ms = p->events[0].grace_ms };
                memcpy(ret_event->sentence, p->events[0].sentence, sizeof ret_event->sentence);
                p->n_events--;
                memmove(p->events, p->events + 1, p->n_events * sizeof p->events[0]);
        } else if (p->pending_first)
                pop_pending(p, ret_event);
        else
                found = false;
        /* The end of the session is still to be told. */
        if (p->n_events == 0 && !p->pending_first && !(p->ended && !p->end_notified))
                clear_wake(p);
        (void)pthread_mutex_unlock(&p->state);
        return found;
}

void pl_events_delivered(struct pinlease *p, const struct pl_event *event) {
        bool last;

        if (!event->reg)
                return;
        (void)pthread_mutex_lock(&p->state);
        last = --event->reg->deliveries == 0 && event->reg->gone;
        (void)pthread_mutex_unlock(&p->state);
        if (last)
                free(event->reg);
}

void pl_events_free_registration(struct pinlease *p, struct pl_registration *reg) {
        bool in_use;

        (void)pthread_mutex_lock(&p->state);
        forget_pending(p, reg);
        reg->gone = true;
        in_use = reg->deliveries > 0;
        (void)pthread_mutex_unlock(&p->state);
        if (!in_use)
                free(reg);
}

void pl_events_take_end(struct pinlease *p, bool *ret_ended, bool *ret_notify) {
        (void)pthread_mutex_lock(&p->state);
        *ret_ended = p->ended && p->n_events == 0 && !p->pending_first;
        *ret_notify = *ret_ended && !p->end_notified;
        if (*ret_notify) {
                p->end_notified = true;
                clear_wake(p);
        }
        (void)pthread_mutex_unlock(&p->state);
}
