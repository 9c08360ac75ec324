/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_SCHEMA_H
#define TEST_SCHEMA_H

/* Is what pinleasectl --json says what doc/ADMIN.md says, no member less and none more? If not, the case ends. */

#include <json-c/json.h>

/* All the documents of a command's answer. */
void schema_check(const char *command, struct json_object *documents);

#endif
