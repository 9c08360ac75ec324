/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "release.h"

#include <stdio.h>

#include "registry.h"
#include "util.h"

/* *ret_asked: what is to be awaited. */
static int ask(struct pinlease *p, const struct pl_registration *reg, bool release, struct pl_header *ret_asked) {
        /* Without guards there is nothing to wait for. */
        uint16_t opcode = release && p->features & PL_FEATURE_GUARDS ? PL_OP_RELEASE : PL_OP_DEREGISTER;
        struct pl_packet request;
        int r;

        pl_packet_init(&request, opcode, 0);
        if (opcode == PL_OP_RELEASE)
                request.body.release.id = reg->id;
        else
                request.body.deregister.id = reg->id;
        r = pl_session_send(p, &request, -1);
        if (r >= 0)
                *ret_asked = request.header;
        return r;
}

static int await_answer(struct pinlease *p, struct pl_registration *reg, const struct pl_header *asked) {
        struct pl_packet reply;
        int r;

        r = pl_session_await(p, asked, &reply);
        /* It was taken away while we asked, which we have been told before the answer. */
        if (r < 0 && !(r == -ENOENT && reg->revoked))
                return r;
        if (!reg->revoked)
                reg->settles = asked->opcode == PL_OP_RELEASE && reply.body.release_reply.settles;
        return 0;
}

/*
 * Gives it back to the service, if that has not taken it already. With `io` held. *ret_settles: SETTLED will come of
 * it, or is here already. The caller's object is as it was.
 */
static int give_back(struct pinlease *p, struct pl_registration *reg, bool release, bool *ret_settles) {
        struct pl_header asked;
        int r;

        if (p->ended)
                return pl_session_refuse_ended(p);
        if (!reg->revoked) {
                r = ask(p, reg, release, &asked);
                if (r >= 0)
                        r = await_answer(p, reg, &asked);
                if (r < 0)
                        return r;
        }
        *ret_settles = reg->settles;
        return 0;
}

_public_ int pinlease_dereg(struct pinlease *p, struct pinlease_mr *mr) {
        struct pl_registration *reg = (struct pl_registration *)mr;
        bool settles;
        int r;

        r = pl_session_check_owner(p);
        if (r < 0)
                return r;

        (void)pthread_mutex_lock(&p->io);
        r = give_back(p, reg, false, &settles);
        /* The session that ends takes its registrations along. */
        if (r >= 0 || p->ended)
                pl_registry_remove(p, reg);
        pl_session_leave(p);
        return r;
}

_public_ int pinlease_release(struct pinlease *p, struct pinlease_mr *mr) {
        struct pl_registration *reg = (struct pl_registration *)mr;
        bool settles;
        int r;

        r = pl_session_check_owner(p);
        if (r < 0)
                return r;

        (void)pthread_mutex_lock(&p->io);
        r = give_back(p, reg, true, &settles);
        if (r >= 0) {
                reg->revoked = true;
                /* Its cookie and its number are kept until SETTLED, if that is not waiting to be delivered already. */
                pl_registry_unlink(p, reg);
                if (pl_events_only_settled(p, reg))
                        r = 1;
                else if (settles) {
                        reg->released = true;
                        pl_registry_add(p, reg);
                        r = 1;
                } else
                        pl_events_free_registration(p, reg);
        } else if (p->ended)
                pl_registry_remove(p, reg);
        pl_session_leave(p);
        return r;
}

static void tell_revoked(struct pinlease *p, const struct pl_event *asked) {
        struct pl_revoked event = { .offset = asked->offset, .length = asked->length, .reason = asked->reason };

        asked->reg->revoked = true;
        (void)snprintf(event.sentence,
                       sizeof event.sentence,
                       "The service has asked for this registration. This program does not say what is to be done then, so "
                       "the library has given it back at once. RDMA to it fails with a remote access error.");
        pl_events_revoked(p, asked->reg, &event);
}

void pl_release_unasked(struct pinlease *p, const struct pl_event *events, size_t n) {
        struct pl_header asked[PL_REQUESTS_MAX];
        bool sent[PL_REQUESTS_MAX] = { false };

        (void)pthread_mutex_lock(&p->io);
        for (size_t i = 0; i < n && !p->ended; i++) {
                const struct pl_registration *reg = events[i].reg;

                /* Another thread may have given it back, or the service taken it away, since the event was taken from its
                 * list. */
                if (reg->gone || reg->revoked)
                        continue;
                sent[i] = ask(p, reg, true, asked + i) >= 0;
        }
        for (size_t i = 0; i < n && !p->ended; i++)
                if (sent[i] && await_answer(p, events[i].reg, asked + i) >= 0 && !events[i].reg->revoked)
                        tell_revoked(p, events + i);
        (void)pthread_mutex_unlock(&p->io);
}
