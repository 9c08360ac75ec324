/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_RELEASE_H
#define PL_RELEASE_H

/* Registrations given back. Most of it is called by its public name: see pinlease/pinlease.h. */

#include "events.h"

/*
 * The app is asked for registrations, PL_REQUESTS_MAX at most, and has no function for that: they are given back at once, and
 * the caller, who knows nothing of it, keeps valid objects, as if they had been taken away. Errors are of no interest: then they
 * will be. Takes `io`.
 */
void pl_release_unasked(struct pinlease *p, const struct pl_event *events, size_t n);

#endif
