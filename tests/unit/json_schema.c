/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json_schema.h"

#include <regex.h>
#include <string.h>

#include "testing.h"

struct json_object *json_schema_follow(struct json_object *root, struct json_object *schema) {
        struct json_object *ref, *defs, *target;
        const char *name;

        if (!json_object_is_type(schema, json_type_object) || !json_object_object_get_ex(schema, "$ref", &ref))
                return schema;
        name = json_object_get_string(ref);
        assert_int_equal(strncmp(name, "#/$defs/", 8), 0);
        assert_true(json_object_object_get_ex(root, "$defs", &defs));
        if (!json_object_object_get_ex(defs, name + 8, &target))
                fail_msg("%s leads nowhere", name);
        return target;
}

static bool is_type(const char *type, struct json_object *value) {
        static const struct {
                const char *name;
                enum json_type type;
        } types[] = {
                { "object", json_type_object }, { "array", json_type_array },     { "string", json_type_string },
                { "integer", json_type_int },   { "boolean", json_type_boolean },
        };

        for (size_t i = 0; i < ELEMENTSOF(types); i++)
                if (strcmp(types[i].name, type) == 0)
                        return json_object_is_type(value, types[i].type);
        fail_msg("type %s", type);
        return false;
}

static bool has(struct json_object *list, struct json_object *value) {
        for (size_t i = 0; i < json_object_array_length(list); i++)
                if (json_object_equal(json_object_array_get_idx(list, i), value))
                        return true;
        return false;
}

static bool matches(const char *pattern, struct json_object *value) {
        regex_t regex;
        bool result;

        if (!json_object_is_type(value, json_type_string))
                return true;
        assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
        result = regexec(&regex, json_object_get_string(value), 0, NULL, 0) == 0;
        regfree(&regex);
        return result;
}

static bool is_unique(struct json_object *list) {
        for (size_t i = 0; i < json_object_array_length(list); i++)
                for (size_t k = 0; k < i; k++)
                        if (json_object_equal(json_object_array_get_idx(list, i), json_object_array_get_idx(list, k)))
                                return false;
        return true;
}

static bool any_takes(struct json_object *root, struct json_object *schemas, struct json_object *value) {
        for (size_t i = 0; i < json_object_array_length(schemas); i++)
                if (json_schema_takes(root, json_object_array_get_idx(schemas, i), value))
                        return true;
        return false;
}

static bool takes_object(struct json_object *root,
                         const char *keyword,
                         struct json_object *schema,
                         struct json_object *argument,
                         struct json_object *value) {
        struct json_object *known = json_object_object_get(schema, "properties"), *part;

        if (strcmp(keyword, "required") == 0) {
                for (size_t i = 0; i < json_object_array_length(argument); i++)
                        if (!json_object_object_get_ex(
                                    value, json_object_get_string(json_object_array_get_idx(argument, i)), NULL))
                                return false;
                return true;
        }
        json_object_object_foreach(value, key, member) {
                bool is_known = known && json_object_object_get_ex(known, key, &part);

                if (strcmp(keyword, "additionalProperties") == 0 && !is_known && !json_object_get_boolean(argument))
                        return false;
                if (strcmp(keyword, "properties") == 0 && is_known && !json_schema_takes(root, part, member))
                        return false;
        }
        return true;
}

static bool takes_array(struct json_object *root,
                        const char *keyword,
                        struct json_object *argument,
                        struct json_object *value) {
        if (strcmp(keyword, "minItems") == 0)
                return json_object_array_length(value) >= json_object_get_uint64(argument);
        if (strcmp(keyword, "uniqueItems") == 0)
                return is_unique(value);
        for (size_t i = 0; i < json_object_array_length(value); i++)
                if (!json_schema_takes(root, argument, json_object_array_get_idx(value, i)))
                        return false;
        return true;
}

static bool is_one_of(const char *keyword, const char *const *keywords) {
        for (; *keywords; keywords++)
                if (strcmp(keyword, *keywords) == 0)
                        return true;
        return false;
}

static bool takes_number(const char *keyword, struct json_object *argument, struct json_object *value) {
        int64_t number = json_object_get_int64(value), bound = json_object_get_int64(argument);

        if (!json_object_is_type(value, json_type_int))
                return true;
        return strcmp(keyword, "minimum") == 0 ? number >= bound : number <= bound;
}

static bool takes_length(const char *keyword, struct json_object *argument, struct json_object *value) {
        int length = json_object_get_string_len(value), bound = json_object_get_int(argument);

        if (!json_object_is_type(value, json_type_string))
                return true;
        return strcmp(keyword, "minLength") == 0 ? length >= bound : length <= bound;
}

static bool takes(struct json_object *root,
                  struct json_object *schema,
                  const char *keyword,
                  struct json_object *argument,
                  struct json_object *value) {
        static const char *const silent[] = { "$schema", "$defs", "title", "description", "then", "else", NULL };
        static const char *const objects[] = { "properties", "required", "additionalProperties", NULL };
        static const char *const arrays[] = { "items", "minItems", "uniqueItems", NULL };
        static const char *const numbers[] = { "minimum", "maximum", NULL };
        static const char *const lengths[] = { "minLength", "maxLength", NULL };

        if (is_one_of(keyword, silent))
                return true;
        if (is_one_of(keyword, objects))
                return !json_object_is_type(value, json_type_object) ||
                       takes_object(root, keyword, schema, argument, value);
        if (is_one_of(keyword, arrays))
                return !json_object_is_type(value, json_type_array) || takes_array(root, keyword, argument, value);
        if (is_one_of(keyword, numbers))
                return takes_number(keyword, argument, value);
        if (is_one_of(keyword, lengths))
                return takes_length(keyword, argument, value);
        if (strcmp(keyword, "type") == 0)
                return is_type(json_object_get_string(argument), value);
        if (strcmp(keyword, "enum") == 0)
                return has(argument, value);
        if (strcmp(keyword, "const") == 0)
                return json_object_equal(argument, value);
        if (strcmp(keyword, "pattern") == 0)
                return matches(json_object_get_string(argument), value);
        if (strcmp(keyword, "anyOf") == 0)
                return any_takes(root, argument, value);
        if (strcmp(keyword, "if") == 0) {
                const char *branch = json_schema_takes(root, argument, value) ? "then" : "else";
                struct json_object *next;

                return !json_object_object_get_ex(schema, branch, &next) || json_schema_takes(root, next, value);
        }
        fail_msg("the schema has a keyword that is not known here: %s", keyword);
        return false;
}

bool json_schema_takes(struct json_object *root, struct json_object *schema, struct json_object *value) {
        schema = json_schema_follow(root, schema);
        if (json_object_is_type(schema, json_type_boolean))
                return json_object_get_boolean(schema);
        json_object_object_foreach(schema, keyword, argument) {
                if (!takes(root, schema, keyword, argument, value))
                        return false;
        }
        return true;
}
