/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_ADMIN_PARAMS_H
#define PL_ADMIN_PARAMS_H

/* What an administrator asks for, strictly read: what is not known is an error, and the error says what. */

#include "admin-call.h"

/* Fills in method, filter and grace, or the call's error. */
void admin_params_parse(struct admin_call *call, const char *text, size_t length);

#endif
