/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_BUILDER_H
#define PL_BUILDER_H

/* JSON in the making. What fails once, for want of memory, stays failed: nobody gets half of an object. */

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

struct builder {
        struct json_object *json;
        bool failed;
};

struct builder builder_object(void);
struct builder builder_array(void);

/* The value is taken over in any case; NULL is a failure. */
void builder_add(struct builder *object, const char *key, struct json_object *value);
void builder_append(struct builder *array, struct json_object *value);

void builder_number(struct builder *object, const char *key, uint64_t number);
void builder_text(struct builder *object, const char *key, const char *text);
void builder_null(struct builder *object, const char *key);

/* What was made, the caller's; NULL: something failed. */
struct json_object *builder_finish(struct builder *builder);

#endif
