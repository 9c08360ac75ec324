/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "field.h"

#include <err.h>
#include <stdio.h>
#include <string.h>

#include "pinleasectl.h"
#include "text.h"

static struct json_object *field(struct json_object *object, const char *name, enum json_type type) {
        struct json_object *value;

        if (!json_object_is_type(object, json_type_object) || !json_object_object_get_ex(object, name, &value))
                return NULL;
        return json_object_is_type(value, type) ? value : NULL;
}

struct json_object *field_object(struct json_object *object, const char *name) {
        return field(object, name, json_type_object);
}

struct json_object *field_array(struct json_object *object, const char *name) {
        return field(object, name, json_type_array);
}

const char *field_string(struct json_object *object, const char *name, size_t *ret_length) {
        struct json_object *value = field(object, name, json_type_string);

        if (!value)
                return NULL;
        *ret_length = (size_t)json_object_get_string_len(value);
        return json_object_get_string(value);
}

bool field_is(struct json_object *object, const char *name, const char *text) {
        size_t length;
        const char *string = field_string(object, name, &length);

        return string && length == strlen(text) && memcmp(string, text, length) == 0;
}

bool field_as_number(struct json_object *value, uint64_t *ret_number) {
        if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0)
                return false;
        *ret_number = json_object_get_uint64(value);
        return true;
}

bool field_number(struct json_object *object, const char *name, uint64_t *ret_number) {
        return field_as_number(field(object, name, json_type_int), ret_number);
}

uint64_t field_number_or_0(struct json_object *object, const char *name) {
        uint64_t number;

        return field_number(object, name, &number) ? number : 0;
}

char *field_printable(struct json_object *object, const char *name) {
        size_t length = 0;
        const char *text = field_string(object, name, &length);

        return length > 0 ? text_printable(text, length) : text_printable("-", 1);
}

char *field_list(struct json_object *object, const char *name) {
        struct json_object *array = field_array(object, name);
        char *list = NULL;
        size_t size, n = 0;
        FILE *f;

        f = open_memstream(&list, &size);
        if (!f)
                err(STATUS_FAILED, "%s", name);
        for (size_t i = 0; array && i < json_object_array_length(array); i++) {
                struct json_object *value = json_object_array_get_idx(array, i);

                if (json_object_is_type(value, json_type_string)) {
                        _cleanup_(pl_freep) char *printable =
                                text_printable(json_object_get_string(value), (size_t)json_object_get_string_len(value));

                        (void)fprintf(f, "%s%s", n++ > 0 ? " " : "", printable);
                }
        }
        if (n == 0)
                (void)fputc('-', f);
        if (fclose(f) != 0)
                err(STATUS_FAILED, "%s", name);
        return list;
}
