/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_LASTREFUSAL_H
#define PL_LASTREFUSAL_H

/*
 * Why the calling thread's last call failed. Kept per thread: one place for pinlease_connect(), one for the session
 * that failed last. Nothing here takes a lock or allocates.
 */

#include "pinlease/pinlease.h"
#include "proto.h"
#include "util.h"

/*
 * Records a refusal. serial: the session's, 0 for pinlease_connect(). error: a positive errno, which "%m" in the format
 * spells out. Returns -error, so that "return pl_refuse(…)" is the usual way to fail.
 */
int pl_refuse(uint64_t serial, enum pinlease_code code, int error, const char *format, ...) _printf_(4, 5);

/* The same from the service's own words. The strings must end and error must be an errno. Returns -refused->error. */
int pl_refuse_as_told(uint64_t serial, const struct pl_refused *refused);

/* Never NULL; a refusal that says nothing if the last one of this thread was another session's. */
const struct pinlease_refusal *pl_refusal_get(uint64_t serial);

#endif
