/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy-json.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>

#include "utf8.h"
#include "util.h"

/* Columns are those that an editor shows: characters, a tab being one. */
static uint32_t column_of(const struct policy_json *json, uint32_t offset) {
        uint32_t column = 1;

        while (offset > 0 && json->text[offset - 1] != '\n')
                column += ((uint8_t)json->text[--offset] & 0xc0) != 0x80;
        return column;
}

/* From the last place, forward or back: mostly it is near. */
void policy_json_place(struct policy_json *json, uint32_t offset, uint32_t *ret_line, uint32_t *ret_column) {
        bool known = true;

        for (; json->at < offset; json->at++) {
                uint8_t c = (uint8_t)json->text[json->at];

                if (c == '\n') {
                        json->line++;
                        json->column = 1;
                } else
                        json->column += (c & 0xc0) != 0x80;
        }
        while (json->at > offset) {
                uint8_t c = (uint8_t)json->text[--json->at];

                if (c == '\n') {
                        json->line--;
                        known = false;
                } else
                        json->column -= (c & 0xc0) != 0x80;
        }
        if (!known)
                json->column = column_of(json, offset);
        *ret_line = json->line;
        *ret_column = json->column;
}

/* --- the walk --- */

struct walk {
        struct policy_json *json;
        struct policy_json_error *error;
        uint32_t at;
        uint32_t capacity;
        uint32_t parents[POLICY_JSON_MAX_DEPTH];
        unsigned int depth;
};

static int wrong_at(struct walk *walk, size_t offset, const char *sentence) {
        *walk->error = (struct policy_json_error) { .offset = (uint32_t)offset, .sentence = sentence };
        return -EBADMSG;
}

static int wrong(struct walk *walk, const char *sentence) {
        return wrong_at(walk, walk->at, sentence);
}

/* The next byte; 0 at the end: there is no NUL in the text. */
static char peek(const struct walk *walk) {
        return walk->at < walk->json->size ? walk->json->text[walk->at] : '\0';
}

static void skip_space(struct walk *walk) {
        for (char c = peek(walk); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = peek(walk))
                walk->at++;
}

static int add_node(struct walk *walk, enum policy_json_type type, uint32_t *ret_node) {
        struct policy_json *json = walk->json;

        if (json->n_nodes == walk->capacity) {
                uint32_t capacity = walk->capacity ? 2 * walk->capacity : 256;
                void *nodes = realloc(json->nodes, capacity * sizeof *json->nodes);

                if (!nodes)
                        return -ENOMEM;
                json->nodes = nodes;
                walk->capacity = capacity;
        }
        *ret_node = json->n_nodes++;
        json->nodes[*ret_node] = (struct policy_json_node) { .start = walk->at, .type = type };
        return 0;
}

/* What json-c lets pass and RFC 8259 does not. */
static bool is_plain_number(const char *text, size_t n) {
        static const char characters[] = "+-.0123456789eE";

        for (size_t i = 0; i < n; i++) {
                if (!memchr(characters, text[i], sizeof characters - 1))
                        return false;
                if (text[i] == '.' && (i + 1 == n || text[i + 1] < '0' || text[i + 1] > '9'))
                        return false;
        }
        return text[0] == '-' || (text[0] >= '0' && text[0] <= '9');
}

/* The scalar between two bytes, by json-c; NULL: there is none, or it is null (*ret_error tells). */
static struct json_object *parse_scalar(struct policy_json *json,
                                        uint32_t start,
                                        uint32_t end,
                                        enum json_tokener_error *ret_error) {
        struct json_object *value;

        json_tokener_reset(json->tokener);
        value = json_tokener_parse_ex(json->tokener, json->text + start, (int)(end - start));
        *ret_error = json_tokener_get_error(json->tokener);
        if (*ret_error == json_tokener_continue) {
                value = json_tokener_parse_ex(json->tokener, "", 1); /* a number ends where something else begins */
                *ret_error = json_tokener_get_error(json->tokener);
        } else if (*ret_error == json_tokener_success && json_tokener_get_parse_end(json->tokener) != end - start)
                *ret_error = json_tokener_error_parse_unexpected;
        return value;
}

static int check_scalar(struct walk *walk, uint32_t node, const char *sentence) {
        struct policy_json_node *n = walk->json->nodes + node;
        enum json_tokener_error error;

        n->end = walk->at;
        n->next = node + 1;
        json_object_put(parse_scalar(walk->json, n->start, n->end, &error));
        return error == json_tokener_success ? 0 : wrong_at(walk, n->start, sentence);
}

static int walk_string(struct walk *walk) {
        uint32_t node;
        int r = add_node(walk, POLICY_JSON_STRING, &node);

        if (r < 0)
                return r;
        for (walk->at++; peek(walk) != '"'; walk->at++) {
                uint8_t c = (uint8_t)peek(walk);

                if (walk->at >= walk->json->size || c == '\n')
                        return wrong_at(walk,
                                        walk->json->nodes[node].start,
                                        "This text has no closing quotation mark on its line.");
                if (c < 0x20)
                        return wrong(walk, "A control character is in a text: write it as \\u and four digits.");
                if (c == '\\')
                        walk->at++;
        }
        walk->at++;
        return check_scalar(
                walk,
                node,
                "There is an escape in this text that JSON does not have: \\\" \\\\ \\/ \\b \\f \\n \\r \\t and \\u "
                "with four digits are all.");
}

static bool is_word_character(char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '+' || c == '-' ||
               c == '.' || c == '_';
}

static int walk_word(struct walk *walk) {
        const char *word = walk->json->text + walk->at;
        enum policy_json_type type = POLICY_JSON_NUMBER;
        uint32_t node, n = 0;
        int r;

        while (walk->at + n < walk->json->size && is_word_character(word[n]))
                n++;
        if (n == 0)
                return wrong(walk,
                             walk->at < walk->json->size ? "A value is expected here."
                                                         : "The text ends where a value is expected.");
        if ((n == 4 && memcmp(word, "true", 4) == 0) || (n == 5 && memcmp(word, "false", 5) == 0))
                type = POLICY_JSON_BOOLEAN;
        else if (n == 4 && memcmp(word, "null", 4) == 0)
                type = POLICY_JSON_NULL;
        else if (!is_plain_number(word, n))
                return wrong(walk,
                             "This is no value of JSON: texts are in quotation marks, numbers decimal, words true, "
                             "false and null.");
        r = add_node(walk, type, &node);
        if (r < 0)
                return r;
        walk->at += n;
        return check_scalar(walk, node, "This is no number of JSON.");
}

/* Opens, or walks over a scalar. */
static int walk_value(struct walk *walk) {
        char c = peek(walk);
        uint32_t node;
        int r;

        if (c == '"')
                return walk_string(walk);
        if (c != '{' && c != '[')
                return walk_word(walk);
        if (walk->depth == POLICY_JSON_MAX_DEPTH)
                return wrong(walk, "Values are nested deeper than 16, which nothing in a policy needs to be.");
        r = add_node(walk, c == '{' ? POLICY_JSON_OBJECT : POLICY_JSON_ARRAY, &node);
        if (r < 0)
                return r;
        walk->parents[walk->depth++] = node;
        walk->at++;
        return 0;
}

static int walk_key(struct walk *walk) {
        int r;

        if (peek(walk) != '"')
                return wrong(walk, "A key in quotation marks is expected here.");
        r = walk_string(walk);
        if (r < 0)
                return r;
        skip_space(walk);
        if (peek(walk) != ':')
                return wrong(walk, "A colon is expected after a key.");
        walk->at++;
        skip_space(walk);
        return 0;
}

/* The next step within the innermost parent: its end, or a value. */
static int walk_on(struct walk *walk) {
        uint32_t index = walk->parents[walk->depth - 1];
        struct policy_json_node *parent = walk->json->nodes + index;
        bool object = parent->type == POLICY_JSON_OBJECT;
        char c;
        int r;

        skip_space(walk);
        c = peek(walk);
        if (c == (object ? '}' : ']')) {
                parent->end = ++walk->at;
                parent->next = walk->json->n_nodes;
                walk->depth--;
                return 0;
        }
        if (walk->at >= walk->json->size)
                return wrong_at(walk,
                                parent->start,
                                object ? "The text ends before this { is closed."
                                       : "The text ends before this [ is closed.");
        if (parent->n > 0) {
                if (c != ',')
                        return wrong(walk,
                                     object ? "A comma or } is expected here." : "A comma or ] is expected here.");
                walk->at++;
                skip_space(walk);
                c = peek(walk);
                if (c == '}' || c == ']')
                        return wrong(walk, "There is nothing after the last comma: JSON does not allow one there.");
        }
        parent->n++;
        r = object ? walk_key(walk) : 0;
        return r < 0 ? r : walk_value(walk);
}

static int check_bytes(struct walk *walk) {
        struct policy_json *json = walk->json;

        for (size_t i = 0; i < json->size;) {
                uint32_t c;
                size_t n = pl_utf8_decode(json->text + i, json->size - i, &c);

                if (n == 0)
                        return wrong_at(walk, i, "This is not UTF-8.");
                if (c == 0)
                        return wrong_at(walk, i, "There is a NUL byte here.");
                if (c == 0xfeff && i == 0)
                        return wrong_at(walk, i, "The text begins with a byte order mark: JSON has none.");
                i += n;
        }
        return 0;
}

int policy_json_init(struct policy_json *json, const char *text, size_t size, struct policy_json_error *ret_error) {
        struct walk walk = { .json = json, .error = ret_error };
        int r;

        *json = (struct policy_json) { .text = text, .size = size, .line = 1, .column = 1 };
        json->tokener = json_tokener_new_ex(2);
        if (!json->tokener)
                return -ENOMEM;
        json_tokener_set_flags(json->tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);

        r = check_bytes(&walk);
        if (r < 0)
                return r;
        skip_space(&walk);
        if (walk.at >= size)
                return wrong(&walk, "There is nothing in it. The smallest policy is { \"version\": 1 }.");
        r = walk_value(&walk);
        while (r == 0 && walk.depth > 0)
                r = walk_on(&walk);
        if (r < 0)
                return r;
        skip_space(&walk);
        return walk.at < size ? wrong(&walk, "There is something after the end.") : 0;
}

void policy_json_done(struct policy_json *json) {
        if (json->tokener)
                json_tokener_free(json->tokener);
        free(json->nodes);
        *json = (struct policy_json) { 0 };
}

/* --- what is there --- */

int policy_json_text(struct policy_json *json, uint32_t node, char **ret_text) {
        const struct policy_json_node *n = json->nodes + node;
        enum json_tokener_error error;
        struct json_object *value = parse_scalar(json, n->start, n->end, &error);
        int r = -ENOMEM;

        if (value && strlen(json_object_get_string(value)) != (size_t)json_object_get_string_len(value))
                r = -EBADMSG;
        else if (value) {
                *ret_text = strdup(json_object_get_string(value));
                r = *ret_text ? 0 : -ENOMEM;
        }
        json_object_put(value);
        return r;
}

/* Not json_object_get_uint64(): that makes what does not fit the largest number that does, and of -1 nothing. */
int policy_json_number(const struct policy_json *json, uint32_t node, uint64_t *ret_number) {
        const struct policy_json_node *n = json->nodes + node;
        uint64_t number = 0;

        for (uint32_t i = n->start; i < n->end; i++) {
                char c = json->text[i];

                if (c < '0' || c > '9' || __builtin_mul_overflow(number, 10U, &number) ||
                    __builtin_add_overflow(number, (uint64_t)(c - '0'), &number))
                        return -ERANGE;
        }
        *ret_number = number;
        return 0;
}

bool policy_json_boolean(const struct policy_json *json, uint32_t node) {
        return json->text[json->nodes[node].start] == 't';
}

const char *policy_json_type_name(enum policy_json_type type) {
        static const char *const names[] = { "an object", "a list", "a text", "a number", "true or false", "null" };

        return names[type];
}

/* --- paths --- */

/* A key as it is written, escapes and all; what is no plain word in brackets. */
static void append_key(const struct policy_json *json, const struct policy_json_node *key, FILE *f) {
        const char *text = json->text + key->start + 1;
        size_t n = key->end - key->start - 2, escaped_size = PL_UTF8_ESCAPED(n);
        _cleanup_(pl_freep) char *escaped = malloc(escaped_size);
        bool plain = n > 0;

        for (size_t i = 0; i < n; i++)
                plain = plain && is_word_character(text[i]);
        if (!escaped)
                return;
        pl_utf8_escape(text, n, escaped);
        (void)fprintf(f, plain ? ".%s" : "[\"%s\"]", escaped);
}

static void append_step(const struct policy_json *json, uint32_t *parent, uint32_t node, FILE *f) {
        const struct policy_json_node *p = json->nodes + *parent;
        uint32_t child = *parent + 1;

        for (uint32_t i = 0; i < p->n; i++) {
                uint32_t key = child;

                if (p->type == POLICY_JSON_OBJECT)
                        child = json->nodes[key].next;
                if (node < json->nodes[child].next) {
                        if (p->type == POLICY_JSON_OBJECT)
                                append_key(json, json->nodes + key, f);
                        else
                                (void)fprintf(f, "[%u]", i);
                        *parent = node == key ? node : child;
                        return;
                }
                child = json->nodes[child].next;
        }
        *parent = node;
}

void policy_json_path(const struct policy_json *json, uint32_t node, char *ret_path, size_t size) {
        _cleanup_(pl_freep) char *path = NULL;
        size_t n = 0;
        FILE *f = open_memstream(&path, &n);

        *ret_path = '\0';
        if (!f)
                return;
        (void)fputc('$', f);
        for (uint32_t at = 0; at != node;)
                append_step(json, &at, node, f);
        if (fclose(f) != 0)
                return;
        if (n < size)
                memcpy(ret_path, path, n + 1);
        else {
                const char *rest = path + n - (size - 4);

                while (((uint8_t)*rest & 0xc0) == 0x80)
                        rest++;
                (void)snprintf(ret_path, size, "...%s", rest);
        }
}
