/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_RULED_H
#define TEST_RULED_H

/* A pinleased of the case's own with a policy of the case's own. Failures end the case. */

#include "instance.h"

struct ruled {
        char folder[32], path[64];
        struct instance instance;
};

struct ruled ruled_start(const char *text);
/* The file only. */
void ruled_write(const struct ruled *ruled, const char *text);
/* And tells the service. */
void ruled_reload(const struct ruled *ruled, const char *text);
void ruled_stop(struct ruled *ruled);

#endif
