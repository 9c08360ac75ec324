/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy-values.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fstype.h"
#include "pattern.h"
#include "proto.h"

/* --- numbers --- */

struct unit {
        const char *name;
        uint64_t factor;
};

static const struct unit no_units[] = { { NULL, 0 } };
static const struct unit sizes[] = {
        { "K", UINT64_C(1) << 10 },
        { "M", UINT64_C(1) << 20 },
        { "G", UINT64_C(1) << 30 },
        { "T", UINT64_C(1) << 40 },
        { NULL, 0 },
};
static const struct unit times[] = { { "ms", 1 }, { "s", 1000 }, { "min", 60000 }, { NULL, 0 } };

/* Digits, nothing before and what follows in *ret_rest. Returns 0, -EINVAL or -ERANGE. */
static int parse_digits(const char *text, uint64_t *ret_number, const char **ret_rest) {
        uint64_t number = 0;
        int r = 0;

        if (*text < '0' || *text > '9')
                return -EINVAL;
        for (; *text >= '0' && *text <= '9'; text++)
                if (__builtin_mul_overflow(number, 10U, &number) ||
                    __builtin_add_overflow(number, (uint64_t)(*text - '0'), &number))
                        r = -ERANGE;
        *ret_number = number;
        *ret_rest = text;
        return r;
}

static int parse_with_unit(const char *text, const struct unit *units, uint64_t *ret_number) {
        const char *rest;
        int r = parse_digits(text, ret_number, &rest);

        if (r == -EINVAL)
                return r;
        for (; units->name; units++)
                if (strcmp(rest, units->name) == 0)
                        return r < 0 || __builtin_mul_overflow(*ret_number, units->factor, ret_number) ? -ERANGE : 0;
        return -EINVAL;
}

/* As an administrator would write it: 1073741824 is 1G, 90000 is 90s. */
static void format_number(uint64_t number, const struct unit *units, char ret_text[32]) {
        const struct unit *best = NULL;

        for (; number > 0 && units->name; units++)
                if (number % units->factor == 0)
                        best = units;
        if (best)
                (void)snprintf(ret_text, 32, "%" PRIu64 "%s", number / best->factor, best->name);
        else
                (void)snprintf(ret_text, 32, "%" PRIu64, number);
}

/* Returns whether there is a number; if not, that has been said. */
static bool read_number(struct policy_reader *reader,
                        uint32_t node,
                        const struct policy_bounds *bounds,
                        const struct unit *units,
                        const char *what,
                        uint64_t *ret_number) {
        bool is_text = reader->json.nodes[node].type == POLICY_JSON_STRING;
        char least[32], most[32];
        uint64_t number = 0;
        int r;

        if (is_text && (units->name || bounds->none)) {
                _cleanup_(pl_freep) char *text = policy_text_of(reader, node, what);

                if (!text)
                        return false;
                if (bounds->none && strcmp(text, "none") == 0) {
                        *ret_number = UINT64_MAX;
                        return true;
                }
                r = parse_with_unit(text, units, &number);
        } else if (reader->json.nodes[node].type == POLICY_JSON_NUMBER)
                r = policy_json_number(&reader->json, node, &number);
        else {
                policy_wrong_type(reader, node, what);
                return false;
        }

        if (r == 0 && number >= bounds->min && number <= bounds->max) {
                *ret_number = number;
                return true;
        }
        format_number(bounds->min, units, least);
        format_number(bounds->max, units, most);
        if (r == -EINVAL)
                policy_wrong(reader, node, "This should be %s.", what);
        else if (bounds->min == bounds->max)
                policy_wrong(reader, node, "This is out of range: it can only be %s.", least);
        else
                policy_wrong(
                        reader, node, "This is out of range: it should be a whole number from %s to %s.", least, most);
        return false;
}

void policy_read_size(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target) {
        const struct policy_bounds *bounds = key->what;

        (void)read_number(reader,
                          node,
                          bounds,
                          sizes,
                          bounds->none ? "a number of bytes, a text such as \"16G\" (K, M, G or T), or \"none\""
                                       : "a number of bytes, or a text such as \"16G\" (K, M, G or T)",
                          target);
}

static const char *count_text(const struct policy_bounds *bounds) {
        return bounds->none ? "a number, or \"none\"" : "a number";
}

void policy_read_count(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target) {
        (void)read_number(reader, node, key->what, no_units, count_text(key->what), target);
}

void policy_read_count32(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target) {
        uint64_t number;

        if (read_number(reader, node, key->what, no_units, count_text(key->what), &number))
                *(uint32_t *)target = number > UINT32_MAX ? UINT32_MAX : (uint32_t)number;
}

void policy_read_time(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target) {
        uint64_t number;

        if (read_number(reader,
                        node,
                        key->what,
                        times,
                        "a number of milliseconds, or a text such as \"2s\" (ms, s or min)",
                        &number))
                *(uint32_t *)target = (uint32_t)number;
}

void policy_read_flag(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target) {
        (void)key;
        if (reader->json.nodes[node].type != POLICY_JSON_BOOLEAN)
                policy_wrong_type(reader, node, "true or false");
        else
                *(uint8_t *)target = policy_json_boolean(&reader->json, node);
}

/* --- words --- */

static const char *next_word(const void *userdata, size_t i) {
        return ((const struct policy_word *)userdata)[i].name;
}

static void list_words(const struct policy_word *words, char *ret_text, size_t size) {
        size_t n = 0;

        *ret_text = '\0';
        for (size_t i = 0; words[i].name && n < size; i++)
                n += (size_t)snprintf(ret_text + n,
                                      size - n,
                                      "%s\"%s\"",
                                      i == 0              ? ""
                                      : words[i + 1].name ? ", "
                                                          : " or ",
                                      words[i].name);
}

static bool find_word(struct policy_reader *reader,
                      uint32_t node,
                      const struct policy_word *words,
                      uint32_t *ret_value) {
        _cleanup_(pl_freep) char *text = NULL;
        const char *nearest;
        char all[256];

        list_words(words, all, sizeof all);
        text = policy_text_of(reader, node, all);
        if (!text)
                return false;
        for (size_t i = 0; words[i].name; i++)
                if (strcmp(words[i].name, text) == 0) {
                        *ret_value = words[i].value;
                        return true;
                }
        nearest = policy_nearest(text, next_word, words);
        if (nearest)
                policy_wrong(reader, node, "\"%.60s\" is unknown here. Should it be \"%s\"?", text, nearest);
        else
                policy_wrong(reader, node, "\"%.60s\" is unknown here: it should be %s.", text, all);
        return false;
}

void policy_read_word(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target) {
        uint32_t value;

        if (find_word(reader, node, key->what, &value))
                *(uint8_t *)target = (uint8_t)value;
}

static void add_word(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *userdata) {
        uint32_t *set = userdata, value;

        if (find_word(reader, node, key->what, &value))
                *set |= value;
}

void policy_read_words(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target) {
        *(uint32_t *)target = 0;
        policy_each(reader, node, key, add_word, target);
}

static void add_in_order(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *userdata) {
        struct policy_order *order = userdata;
        uint32_t value;

        if (!find_word(reader, node, key->what, &value))
                return;
        for (unsigned int i = 0; i < order->n; i++)
                if (order->values[i] == value) {
                        policy_wrong(reader, node, "This is in the list already.");
                        return;
                }
        /* There are no more different ones. */
        if (order->n < POLICY_MAX_METHODS)
                order->values[order->n++] = (uint8_t)value;
}

void policy_read_order(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target) {
        *(struct policy_order *)target = (struct policy_order) { 0 };
        policy_each(reader, node, key, add_in_order, target);
}

/* --- texts --- */

static void put_text(struct policy_reader *reader, uint32_t node, size_t most, void *target) {
        _cleanup_(pl_freep) char *text = policy_text_of(reader, node, "a text");

        if (!text)
                return;
        if (!*text)
                policy_wrong(reader, node, "The text is empty.");
        else if (strlen(text) > most)
                policy_wrong(reader, node, "The text has %zu bytes, and should have %zu at most.", strlen(text), most);
        else if (!reader->builtin && most < PL_RULE_MAX && strncmp(text, "builtin:", 8) == 0)
                policy_wrong(reader, node, "Names that begin with \"builtin:\" are those of the built-in rules.");
        else
                *(uint32_t *)target = policy_build_text(reader->build, text);
}

void policy_read_name(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target) {
        (void)key;
        put_text(reader, node, PL_RULE_MAX - 1, target);
}

void policy_read_message(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target) {
        (void)key;
        put_text(reader, node, POLICY_MAX_MESSAGE, target);
}

/* --- lists --- */

struct items {
        char *data;
        size_t n, capacity; /* elements */
        size_t size;        /* of an element */
};

static void items_done(struct items *items) {
        free(items->data);
}

static void items_add(struct policy_reader *reader, struct items *items, const void *element) {
        if (items->n == items->capacity) {
                size_t capacity = 2 * items->capacity + 8;
                char *data = realloc(items->data, capacity * items->size);

                if (!data) {
                        reader->error = -ENOMEM;
                        return;
                }
                items->data = data;
                items->capacity = capacity;
        }
        memcpy(items->data + items->size * items->n++, element, items->size);
}

static void read_list(struct policy_reader *reader,
                      uint32_t node,
                      const struct policy_key *key,
                      policy_item_fn add,
                      size_t size,
                      size_t alignment,
                      void *target) {
        _cleanup_(items_done) struct items items = { .size = size };

        policy_each(reader, node, key, add, &items);
        *(struct policy_list *)target = policy_build_list(reader->build, items.data, items.n, size, alignment);
}

static void add_pattern(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *userdata) {
        const enum pattern_kind *kind = key->what;
        _cleanup_(pl_freep) char *text = NULL;
        const char *why;
        uint32_t offset;

        text = policy_text_of(reader, node, "a pattern, which is a text");
        why = text ? pattern_wrong(text, *kind) : NULL;
        if (why)
                policy_wrong(reader, node, "This pattern never matches: %s.", why);
        if (!text || why)
                return;
        offset = policy_build_text(reader->build, text);
        items_add(reader, userdata, &offset);
}

void policy_read_patterns(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target) {
        read_list(reader, node, key, add_pattern, sizeof(uint32_t), _Alignof(uint32_t), target);
}

/* 2^32 - 1 is nobody: (uid_t)-1. */
#define MAX_ID (UINT32_MAX - 1)

static int parse_range(const char *text, uint64_t *ret_first, uint64_t *ret_last) {
        const char *rest;
        int r;

        if (parse_digits(text, ret_first, &rest) < 0)
                return -EINVAL;
        *ret_last = *ret_first;
        if (!*rest)
                return 0;
        if (*rest != '-')
                return -EINVAL;
        r = parse_digits(rest + 1, ret_last, &rest);
        return r < 0 || *rest ? -EINVAL : 0;
}

static void add_ids(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *userdata) {
        static const char what[] = "a number, or a range in a text such as \"2000-2999\"";
        uint64_t first, last;
        int r;

        (void)key;
        if (reader->json.nodes[node].type == POLICY_JSON_NUMBER) {
                r = policy_json_number(&reader->json, node, &first);
                last = first;
        } else {
                _cleanup_(pl_freep) char *text = policy_text_of(reader, node, what);

                if (!text)
                        return;
                r = parse_range(text, &first, &last);
        }
        if (r == -EINVAL)
                policy_wrong(reader, node, "This should be %s.", what);
        else if (r < 0 || first > MAX_ID || last > MAX_ID)
                policy_wrong(reader, node, "This is out of range: it should be a whole number from 0 to %u.", MAX_ID);
        else if (first > last)
                policy_wrong(reader,
                             node,
                             "The range ends before it begins: it should be \"%" PRIu64 "-%" PRIu64 "\".",
                             last,
                             first);
        else
                items_add(reader, userdata, &(const struct policy_range) { (uint32_t)first, (uint32_t)last });
}

void policy_read_ids(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target) {
        read_list(reader, node, key, add_ids, sizeof(struct policy_range), _Alignof(struct policy_range), target);
}

static const char *next_fs_type(const void *userdata, size_t i) {
        (void)userdata;
        return pl_fstype_name(i);
}

/* "0x" and up to eight hexadecimal digits: what statfs(2) says of one that has no name here. */
static bool parse_magic(const char *text, uint64_t *ret_magic) {
        char *end;

        if (strncmp(text, "0x", 2) != 0 || strlen(text) > 10 ||
            strspn(text + 2, "0123456789abcdefABCDEF") != strlen(text + 2))
                return false;
        *ret_magic = strtoull(text, &end, 16);
        return text[2] != '\0';
}

static void add_fs_type(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *userdata) {
        _cleanup_(pl_freep) char *text = NULL;
        const char *nearest;
        uint64_t magic = 0;

        (void)key;
        text = policy_text_of(reader, node, "the name of a file system, such as \"ext4\"");
        if (!text)
                return;
        if (strncmp(text, "fuse", 4) == 0 || strcmp(text, "virtiofs") == 0 ||
            (parse_magic(text, &magic) && magic == PL_FSTYPE_FUSE)) {
                policy_wrong(reader,
                             node,
                             "Files of FUSE are never registered, whatever a rule says: their server could hold up "
                             "whoever touches them.");
                return;
        }
        if (magic != 0 && !pl_fstype_is_local(magic))
                policy_doubt(reader,
                             node,
                             "Whether files of the file system \"%.60s\" could hold up whoever touches them is not known: they are "
                             "never registered, whatever a rule says.",
                             text);
        if (magic != 0 || pl_fstype_magic(text, &magic) == 0) {
                items_add(reader, userdata, &magic);
                return;
        }
        nearest = strlen(text) > 3 ? policy_nearest(text, next_fs_type, NULL) : NULL; /* nfs is not xfs */
        if (nearest)
                policy_wrong(reader,
                             node,
                             "The file system \"%.60s\" has no name here. Should it be \"%s\"?",
                             text,
                             nearest);
        else
                policy_wrong(reader,
                             node,
                             "The file system \"%.60s\" has no name here: give its number, as \"0x\" and what stat -f "
                             "-c %%t says of it.",
                             text);
}

void policy_read_fs_types(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target) {
        read_list(reader, node, key, add_fs_type, sizeof(uint64_t), _Alignof(uint64_t), target);
}
