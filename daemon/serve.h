/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_SERVE_H
#define PL_SERVE_H

/* The app's requests: judged, handed to request.h, answered. */

#include "registrar.h"
#include "wire.h"

/* Takes the descriptors that came. Returns 0, or a negative errno that ends the session. */
int serve_packet(struct registrar *r, struct pl_received *received);

#endif
