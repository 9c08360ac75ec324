/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PINLEASECTL_FIELD_H
#define PINLEASECTL_FIELD_H

/* Members of JSON objects that somebody else has made: any may be missing, or of another type, which is the same. */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An object's member that is an object or an array; NULL if there is none. `object` may be NULL everywhere. */
struct json_object *field_object(struct json_object *object, const char *name);
struct json_object *field_array(struct json_object *object, const char *name);

/* A string may have NULs in it. Returns NULL if there is none. */
const char *field_string(struct json_object *object, const char *name, size_t *ret_length);
bool field_is(struct json_object *object, const char *name, const char *text);

/* A whole number that is not negative. */
bool field_number(struct json_object *object, const char *name, uint64_t *ret_number);
bool field_as_number(struct json_object *value, uint64_t *ret_number);
uint64_t field_number_or_0(struct json_object *object, const char *name);

/* Printable, "-" if there is none; to be freed. */
char *field_printable(struct json_object *object, const char *name);

/* The members of an array of strings with blanks in between, printable, "-" if there is none; to be freed. */
char *field_list(struct json_object *object, const char *name);

#endif
