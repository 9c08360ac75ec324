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

static void unlink_pending(struct pinlease *p, struct pl_registration *reg) {
        if (reg->pending_previous)
                reg->pending_previous->pending_next = reg->pending_next;
        else
                p->pending_first = reg->pending_next;
        if (reg->pending_next)
                reg->pending_next->pending_previous = reg->pending_previous;
        else
                p->pending_last = reg->pending_previous;
        reg->pending_previous = reg->pending_next = NULL;
}

static char *set_sentence(char **sentence, char *new) {
        free(*sentence);
        return *sentence = new;
}

/* Some of what is to be told of it is not, or has been. */
static void forget_pending(struct pinlease *p, struct pl_registration *reg, unsigned int which) {
        if (!(reg->pending & which))
                return;
        reg->pending &= ~which;
        if (which & (PL_PENDING_REVOKING | PL_PENDING_REVOKED))
                set_sentence(&reg->pending_sentence, NULL);
        if (which & PL_PENDING_SETTLED)
                set_sentence(&reg->settled_sentence, NULL);
        if (!reg->pending)
                unlink_pending(p, reg);
}

static void add_pending(struct pinlease *p, struct pl_registration *reg, unsigned int which) {
        if (!reg->pending) {
                reg->pending_previous = p->pending_last;
                if (p->pending_last)
                        p->pending_last->pending_next = reg;
                else
                        p->pending_first = reg;
                p->pending_last = reg;
        }
        reg->pending |= which;
        pl_events_wake(p);
}

/* What it says of the end of the registration takes the place of what was to be said before. */
static void set_revocation(struct pinlease *p, struct pl_registration *reg, unsigned int what, const struct pl_revoking *event) {
        /* Without memory for it there is a sentence of our own. */
        char *copy = strdup(event->sentence);

        (void)pthread_mutex_lock(&p->state);
        forget_pending(p, reg, PL_PENDING_REVOKING | PL_PENDING_REVOKED);
        reg->pending_deadline = pl_now_ms() + event->grace_ms;
        reg->pending_offset = event->offset;
        reg->pending_length = event->length;
        reg->pending_reason = event->reason;
        set_sentence(&reg->pending_sentence, copy);
        add_pending(p, reg, what);
        (void)pthread_mutex_unlock(&p->state);
}

void pl_events_revoking(struct pinlease *p, struct pl_registration *reg, const struct pl_revoking *event) {
        set_revocation(p, reg, PL_PENDING_REVOKING, event);
}

void pl_events_revoked(struct pinlease *p, struct pl_registration *reg, const struct pl_revoked *event) {
        struct pl_revoking same = { .offset = event->offset, .length = event->length, .reason = event->reason };

        memcpy(same.sentence, event->sentence, sizeof same.sentence);
        set_revocation(p, reg, PL_PENDING_REVOKED, &same);
}

void pl_events_settled(struct pinlease *p, struct pl_registration *reg, const struct pl_settled *event) {
        char *copy = strdup(event->sentence);

        (void)pthread_mutex_lock(&p->state);
        reg->gone = reg->released;
        reg->settled_size = event->size;
        set_sentence(&reg->settled_sentence, copy);
        add_pending(p, reg, PL_PENDING_SETTLED);
        (void)pthread_mutex_unlock(&p->state);
}

static void pop_pending(struct pinlease *p, struct pl_event *ret_event) {
        struct pl_registration *reg = p->pending_first;
        const char *sentence = reg->pending_sentence;
        uint64_t now = pl_now_ms();
        unsigned int what;

        *ret_event = (struct pl_event) { .reg = reg };
        reg->deliveries++;
        if (reg->pending & (PL_PENDING_REVOKING | PL_PENDING_REVOKED)) {
                bool revoked = reg->pending & PL_PENDING_REVOKED;

                what = PL_PENDING_REVOKING | PL_PENDING_REVOKED;
                ret_event->kind = revoked ? PL_EVENT_REVOKED : PL_EVENT_REVOKING;
                ret_event->offset = reg->pending_offset;
                ret_event->length = reg->pending_length;
                ret_event->reason = reg->pending_reason;
                /* It has waited here for a while. */
                ret_event->grace_ms = reg->pending_deadline > now ? (uint32_t)(reg->pending_deadline - now) : 0;
                if (!sentence)
                        sentence = revoked ? "The service has taken the registration away."
                                           : "The service takes the registration back.";
        } else {
                what = PL_PENDING_SETTLED;
                ret_event->kind = PL_EVENT_SETTLED;
                ret_event->size = reg->settled_size;
                sentence = reg->settled_sentence ? reg->settled_sentence : "The change of the file is over.";
        }
        (void)snprintf(ret_event->sentence, sizeof ret_event->sentence, "%s", sentence);
        forget_pending(p, reg, what);
}

/* --- notices, with `state` held: few, in the order in which they came ---------------------------------------------------- */

struct pl_waiting_notice {
        struct pl_waiting_notice *next;
        struct pl_registration *reg;
        uint32_t kind;
        uint64_t size;
        char sentence[PL_SENTENCE_MAX];
};

/* kind: 0: all that there is of the registration */
static void forget_notices(struct pinlease *p, const struct pl_registration *reg, uint32_t kind) {
        for (struct pl_waiting_notice **at = &p->notices; *at;) {
                struct pl_waiting_notice *notice = *at;

                if (notice->reg != reg || (kind && notice->kind != kind)) {
                        at = &notice->next;
                        continue;
                }
                *at = notice->next;
                free(notice);
        }
}

void pl_events_notice(struct pinlease *p, struct pl_registration *reg, const struct pl_notice *event) {
        struct pl_waiting_notice *notice = malloc(sizeof *notice), **last;

        if (!notice)
                return;
        *notice = (struct pl_waiting_notice) { .reg = reg, .kind = event->kind, .size = event->size };
        memcpy(notice->sentence, event->sentence, sizeof notice->sentence);

        (void)pthread_mutex_lock(&p->state);
        forget_notices(p, reg, event->kind);
        for (last = &p->notices; *last;)
                last = &(*last)->next;
        *last = notice;
        pl_events_wake(p);
        (void)pthread_mutex_unlock(&p->state);
}

static void pop_notice(struct pinlease *p, struct pl_event *ret_event) {
        struct pl_waiting_notice *notice = p->notices;

        *ret_event = (struct pl_event) {
                .kind = PL_EVENT_NOTICE,
                .reg = notice->reg,
                .reason = notice->kind,
                .size = notice->size,
        };
        memcpy(ret_event->sentence, notice->sentence, sizeof ret_event->sentence);
        notice->reg->deliveries++;
        p->notices = notice->next;
        free(notice);
}

/* --- delivery ------------------------------------------------------------------------------------------------------------ */

static bool nothing_waits(const struct pinlease *p) {
        return p->n_events == 0 && !p->pending_first && !p->notices;
}

static bool next_is_revoking(const struct pinlease *p) {
        return p->n_events == 0 && p->pending_first && p->pending_first->pending & PL_PENDING_REVOKING;
}

static bool pop(struct pinlease *p, bool only_revoking, struct pl_event *ret_event) {
        bool found = true;

        (void)pthread_mutex_lock(&p->state);
        if (only_revoking && !next_is_revoking(p))
                found = false;
        else if (p->n_events > 0) {
                *ret_event = (struct pl_event) { .kind = PL_EVENT_GOING_AWAY, .grace_ms = p->events[0].grace_ms };
                memcpy(ret_event->sentence, p->events[0].sentence, sizeof ret_event->sentence);
                p->n_events--;
                memmove(p->events, p->events + 1, p->n_events * sizeof p->events[0]);
        } else if (p->pending_first)
                pop_pending(p, ret_event);
        else if (p->notices)
                pop_notice(p, ret_event);
        else
                found = false;
        /* The end of the session is still to be told. */
        if (nothing_waits(p) && !(p->ended && !p->end_notified))
                clear_wake(p);
        (void)pthread_mutex_unlock(&p->state);
        return found;
}

bool pl_events_pop(struct pinlease *p, struct pl_event *ret_event) {
        return pop(p, false, ret_event);
}

bool pl_events_pop_revoking(struct pinlease *p, struct pl_event *ret_event) {
        return pop(p, true, ret_event);
}

static void free_registration(struct pl_registration *reg) {
        free(reg->pending_sentence);
        free(reg->settled_sentence);
        free(reg);
}

void pl_events_delivered(struct pinlease *p, const struct pl_event *event) {
        bool last;

        if (!event->reg)
                return;
        (void)pthread_mutex_lock(&p->state);
        last = --event->reg->deliveries == 0 && event->reg->gone && !event->reg->pending;
        (void)pthread_mutex_unlock(&p->state);
        if (last)
                free_registration(event->reg);
}

void pl_events_free_registration(struct pinlease *p, struct pl_registration *reg) {
        bool in_use;

        (void)pthread_mutex_lock(&p->state);
        forget_pending(p, reg, ~0U);
        forget_notices(p, reg, 0);
        reg->gone = true;
        in_use = reg->deliveries > 0;
        (void)pthread_mutex_unlock(&p->state);
        if (!in_use)
                free_registration(reg);
}

bool pl_events_only_settled(struct pinlease *p, struct pl_registration *reg) {
        bool settled;

        (void)pthread_mutex_lock(&p->state);
        forget_pending(p, reg, PL_PENDING_REVOKING | PL_PENDING_REVOKED);
        forget_notices(p, reg, 0);
        reg->gone = settled = reg->pending & PL_PENDING_SETTLED;
        (void)pthread_mutex_unlock(&p->state);
        return settled;
}

void pl_events_free(struct pinlease *p) {
        for (struct pl_registration *next, *reg = p->pending_first; reg; reg = next) {
                next = reg->pending_next;
                if (reg->gone)
                        free_registration(reg);
        }
        for (struct pl_registration *next, *reg = p->registrations; reg; reg = next) {
                next = reg->next;
                free_registration(reg);
        }
        while (p->notices) {
                struct pl_waiting_notice *notice = p->notices;

                p->notices = notice->next;
                free(notice);
        }
}

void pl_events_take_end(struct pinlease *p, bool *ret_ended, bool *ret_notify) {
        (void)pthread_mutex_lock(&p->state);
        *ret_ended = p->ended && nothing_waits(p);
        *ret_notify = *ret_ended && !p->end_notified;
        if (*ret_notify) {
                p->end_notified = true;
                clear_wake(p);
        }
        (void)pthread_mutex_unlock(&p->state);
}
