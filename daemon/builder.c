/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "builder.h"

#include "util.h"

static struct builder begin(struct json_object *json) {
        return (struct builder) { .json = json, .failed = !json };
}

struct builder builder_object(void) {
        return begin(json_object_new_object());
}

struct builder builder_array(void) {
        return begin(json_object_new_array());
}

void builder_add(struct builder *object, const char *key, struct json_object *value) {
        if (value && !object->failed && json_object_object_add(object->json, key, value) == 0)
                return;
        json_object_put(value);
        object->failed = true;
}

void builder_append(struct builder *array, struct json_object *value) {
        if (value && !array->failed && json_object_array_add(array->json, value) == 0)
                return;
        json_object_put(value);
        array->failed = true;
}

void builder_number(struct builder *object, const char *key, uint64_t number) {
        builder_add(object, key, json_object_new_uint64(number));
}

void builder_text(struct builder *object, const char *key, const char *text) {
        builder_add(object, key, json_object_new_string(text));
}

/* To json-c null is no value, which to the others is one that could not be made. */
void builder_null(struct builder *object, const char *key) {
        if (!object->failed && json_object_object_add(object->json, key, NULL) < 0)
                object->failed = true;
}

struct json_object *builder_finish(struct builder *builder) {
        if (!builder->failed)
                return builder->json;
        json_object_put(builder->json);
        return NULL;
}
