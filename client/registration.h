/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_REGISTRATION_H
#define PL_REGISTRATION_H

/* Verbs contexts and the registrations on them. Most of it is called by its public name: see pinlease/pinlease.h. */

#include "session.h"

/*
 * Gives every verbs context back to the caller alone, and with it what is registered there. With `io` held. Errors are
 * of no interest: what is left goes with the session.
 */
void pl_registration_detach_all(struct pinlease *p);

#endif
