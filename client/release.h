/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_RELEASE_H
#define PL_RELEASE_H

/* Registrations given back. Most of it is called by its public name: see pinlease/pinlease.h. */

#include "session.h"

/*
 * The app is asked for a registration and has no function for that: it is given back at once, and the caller, who knows
 * nothing of it, keeps a valid object, as if it had been taken away. Errors are of no interest: then it will be. Takes `io`.
 */
void pl_release_unasked(struct pinlease *p, struct pl_registration *reg, const struct pinlease_revocation *revocation);

#endif
