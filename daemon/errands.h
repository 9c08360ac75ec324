/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_ERRANDS_H
#define PL_ERRANDS_H

/* What the registrar cannot do and has its keeper do. The userdata is the registrar. */

#include "registrar.h"

/* What is done to the app. */
extern const struct force_ops errands_force;

/* Is there a keeper? */
bool errands_are_run(const struct registrar *r);

/* registrar_state.raise. And what is not needed any more: returns 0, also when the keeper does not take it now, or a negative errno
 * that ends the session. */
int errands_raise(void *userdata, uint64_t total, int *ret_error);
int errands_lower(struct registrar *r);

/* guards_config.lend and unlend. */
int errands_lend(void *userdata, const struct guarded *file, int *ret_bell);
void errands_unlend(void *userdata, uint32_t id);

#endif
