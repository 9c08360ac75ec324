/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_JSON_SCHEMA_H
#define PL_JSON_SCHEMA_H

/* As much of JSON Schema (draft 2020-12) as daemon/policy.schema.json uses. A keyword that is not known here fails the
 * test. */

#include <json-c/json.h>
#include <stdbool.h>

/* Is the value right by the schema? `root` is for references. */
bool json_schema_takes(struct json_object *root, struct json_object *schema, struct json_object *value);

/* What a reference leads to; the schema itself, if it is none. */
struct json_object *json_schema_follow(struct json_object *root, struct json_object *schema);

#endif
