/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_REGISTRY_H
#define PL_REGISTRY_H

/* The registrations of a session, all of them and by the service's number. With `io` held. */

#include "session.h"

void pl_registry_add(struct pinlease *p, struct pl_registration *reg);

/* Takes it out. */
void pl_registry_unlink(struct pinlease *p, struct pl_registration *reg);

/* Takes it out and frees it, see pl_events_free_registration(). */
void pl_registry_remove(struct pinlease *p, struct pl_registration *reg);

/* NULL: there is none. */
struct pl_registration *pl_registry_find(const struct pinlease *p, uint64_t id);

#endif
