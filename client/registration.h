/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_REGISTRATION_H
#define PL_REGISTRATION_H

/* Verbs contexts and the registrations on them. Most of it is called by its public name: see pinlease/pinlease.h. */

#include "fdclass.h"
#include "session.h"
#include "uverbs.h"

/* What the caller asks for, once it has been looked at. */
struct pl_wish {
        struct ibv_pd *pd;
        int fd; /* -1: there is none */
        uint64_t offset, length;
        void *address;
        bool dmabuf; /* and only that; the address is an iova */
        unsigned int access;
        struct pinlease_reg_options options;
        struct pl_fdclass class;
};

/*
 * A registration, from its wish to *ret_reg: checks arguments, has the memory looked at, and has it registered, with `io` held, by
 * `make`, which adds it to the registry. Each of them returns a negative errno, recorded, as does this.
 */
int pl_wish_fulfil(struct pinlease *p,
                   struct pl_wish *wish,
                   const struct pinlease_reg_options *options,
                   int (*look)(const struct pinlease *p, struct pl_wish *wish),
                   int (*make)(struct pinlease *p, const struct pl_wish *wish, struct pl_registration *reg),
                   struct pinlease_mr **ret_reg);

/* What of the registration is the wish's own, and the keys. Id, iova, method, backing, guards and flags are for who has the answer. */
void pl_wish_granted(const struct pl_wish *wish,
                     const struct pl_context *context,
                     const struct uverbs_mr_keys *keys,
                     struct pl_registration *ret_reg);

/* As they go over the wire. */
uint16_t pl_wish_methods(const struct pl_wish *wish);

/* The context as the service knows it; attaches it if need be. With `io` held. Returns 0 or a negative errno, recorded. */
int pl_context_get(struct pinlease *p, struct ibv_context *verbs, struct pl_context **ret_context);

/*
 * Gives every verbs context back to the caller alone, and with it what is registered there. With `io` held. Errors are
 * of no interest: what is left goes with the session.
 */
void pl_registration_detach_all(struct pinlease *p);

#endif
