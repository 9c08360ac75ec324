/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy-reader.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "utf8.h"

/* --- what is wrong --- */

static void _printf_(4, 0)
        say(struct policy_reader *reader, uint32_t node, bool warning, const char *format, va_list ap) {
        struct policy_problem *problem = policy_problems_add(reader->problems, warning);

        if (!problem)
                return;
        problem->source = reader->source;
        (void)snprintf(problem->file, sizeof problem->file, "%s", reader->file);
        policy_json_place(&reader->json, reader->json.nodes[node].start, &problem->line, &problem->column);
        policy_json_path(&reader->json, node, problem->path, sizeof problem->path);
        (void)vsnprintf(problem->sentence, sizeof problem->sentence, format, ap);
}

void policy_wrong(struct policy_reader *reader, uint32_t node, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        say(reader, node, false, format, ap);
        va_end(ap);
}

void policy_doubt(struct policy_reader *reader, uint32_t node, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        say(reader, node, true, format, ap);
        va_end(ap);
}

void policy_wrong_type(struct policy_reader *reader, uint32_t node, const char *what) {
        policy_wrong(reader,
                     node,
                     "This is %s, and should be %s.",
                     policy_json_type_name(reader->json.nodes[node].type),
                     what);
}

struct policy_place policy_place(struct policy_reader *reader, uint32_t node) {
        struct policy_place place;

        policy_json_place(&reader->json, reader->json.nodes[node].start, &place.line, &place.column);
        return place;
}

/* Texts get into the journal, and to terminals. */
static bool is_harmless(const char *text) {
        size_t length = strlen(text);

        while (length > 0) {
                uint32_t c;
                size_t n = pl_utf8_decode(text, length, &c);

                if (n == 0 || !pl_utf8_is_harmless(c))
                        return false;
                text += n;
                length -= n;
        }
        return true;
}

char *policy_text_of(struct policy_reader *reader, uint32_t node, const char *what) {
        char *text;
        int r;

        if (reader->json.nodes[node].type != POLICY_JSON_STRING) {
                policy_wrong_type(reader, node, what);
                return NULL;
        }
        r = policy_json_text(&reader->json, node, &text);
        if (r == -ENOMEM)
                reader->error = r;
        if (r == 0 && is_harmless(text))
                return text;
        if (r == 0)
                free(text);
        if (r == 0 || r == -EBADMSG)
                policy_wrong(reader,
                             node,
                             "There are characters in this text that cannot be seen, or that turn it around: write it "
                             "without.");
        return NULL;
}

/* --- words that are nearly right --- */

#define MAX_WORD 40

/* How many characters have to be put in, taken out, or replaced. */
static unsigned int distance(const char *a, size_t n_a, const char *b, size_t n_b) {
        unsigned int row[MAX_WORD + 1];

        for (unsigned int k = 0; k <= n_b; k++)
                row[k] = k;
        for (unsigned int i = 1; i <= n_a; i++) {
                unsigned int diagonal = row[0];

                row[0] = i;
                for (unsigned int k = 1; k <= n_b; k++) {
                        unsigned int best = diagonal + (a[i - 1] != b[k - 1]);

                        diagonal = row[k];
                        if (row[k] + 1 < best)
                                best = row[k] + 1;
                        if (row[k - 1] + 1 < best)
                                best = row[k - 1] + 1;
                        row[k] = best;
                }
        }
        return row[n_b];
}

const char *policy_nearest(const char *text,
                           const char *(*next)(const void *userdata, size_t i),
                           const void *userdata) {
        const char *nearest = NULL, *word;
        size_t length = strlen(text);
        unsigned int least = length < 5 ? 1 : 1 + (unsigned int)length / 4;

        if (length > MAX_WORD)
                return NULL;
        for (size_t i = 0; (word = next(userdata, i)); i++) {
                unsigned int d = distance(text, length, word, strlen(word));

                if (d < least || (d == least && !nearest)) {
                        nearest = word;
                        least = d;
                }
        }
        return nearest;
}

/* --- objects --- */

static const char *next_key(const void *userdata, size_t i) {
        return ((const struct policy_key *)userdata)[i].name;
}

static void unknown_key(struct policy_reader *reader, uint32_t node, const char *name, const struct policy_key *keys) {
        const char *nearest = policy_nearest(name, next_key, keys);
        char known[256] = "";

        if (nearest) {
                policy_wrong(reader, node, "There is no key of this name here. Should it be \"%s\"?", nearest);
                return;
        }
        for (size_t i = 0, n = 0; keys[i].name && n < sizeof known; i++)
                n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i > 0 ? ", " : "", keys[i].name);
        policy_wrong(reader, node, "There is no key of this name here. There are: %s.", known);
}

static void missing_keys(struct policy_reader *reader,
                         uint32_t node,
                         const struct policy_key *keys,
                         unsigned int seen) {
        for (size_t i = 0; keys[i].name; i++)
                if (keys[i].needed && !(seen & 1U << i))
                        policy_wrong(reader, node, "The key \"%s\" is missing.", keys[i].name);
}

unsigned int policy_read_object(struct policy_reader *reader,
                                uint32_t node,
                                const struct policy_key *keys,
                                void *target,
                                uint32_t ret_nodes[POLICY_MAX_KEYS]) {
        const struct policy_json_node *nodes = reader->json.nodes;
        unsigned int seen = 0;

        if (nodes[node].type != POLICY_JSON_OBJECT) {
                policy_wrong_type(reader, node, "an object: { ... }");
                return 0;
        }
        for (uint32_t i = 0, key = node + 1; i < nodes[node].n && !reader->error; i++) {
                uint32_t value = nodes[key].next;
                _cleanup_(pl_freep) char *name = NULL;
                unsigned int k = 0;
                int r = policy_json_text(&reader->json, key, &name);

                if (r == -ENOMEM) {
                        reader->error = r;
                        break;
                }
                while (r == 0 && keys[k].name && strcmp(keys[k].name, name) != 0)
                        k++;
                if (r < 0 || !keys[k].name)
                        unknown_key(reader, key, r < 0 ? "" : name, keys);
                else if (seen & 1U << k)
                        policy_wrong(reader, key, "This key is there a second time: only one of them can count.");
                else {
                        seen |= 1U << k;
                        if (ret_nodes)
                                ret_nodes[k] = value;
                        keys[k].read(reader, value, keys + k, (char *)target + keys[k].offset);
                }
                key = nodes[value].next;
        }
        missing_keys(reader, node, keys, seen);
        return seen;
}

void policy_read_inner(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target) {
        (void)policy_read_object(reader, node, key->what, target, NULL);
}

void policy_each(struct policy_reader *reader,
                 uint32_t node,
                 const struct policy_key *key,
                 policy_item_fn item,
                 void *userdata) {
        const struct policy_json_node *nodes = reader->json.nodes;

        if (nodes[node].type != POLICY_JSON_ARRAY) {
                item(reader, node, key, userdata);
                return;
        }
        if (nodes[node].n == 0)
                policy_wrong(
                        reader, node, "The list is empty. Leave the key \"%s\" out, or put something in.", key->name);
        for (uint32_t i = 0, child = node + 1; i < nodes[node].n && !reader->error; i++, child = nodes[child].next)
                item(reader, child, key, userdata);
}
