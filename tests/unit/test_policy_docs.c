/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The loader's tables, daemon/policy.schema.json and pinlease-policy(5) say the same: which keys there are, which words
 * they take, and what an example is worth.
 */

#include <stdio.h>
#include <string.h>

#include "fstype.h"
#include "json_schema.h"
#include "policy-rules.h"
#include "policy_fixture.h"

#define MAX_KEYS 100

static char *read_source(const char *name) {
        const char *srcdir = getenv("srcdir");
        char path[4096], *text = NULL;
        size_t size = 0;
        FILE *f;

        (void)snprintf(path, sizeof path, "%s/%s", srcdir ? srcdir : ".", name);
        f = fopen(path, "re");
        if (!f)
                fail_msg("%s: srcdir names the source folder", path);
        assert_true(getdelim(&text, &size, '\0', f) > 0);
        (void)fclose(f);
        return text;
}

static struct json_object *read_schema(void) {
        char *text = read_source("daemon/policy.schema.json");
        struct json_object *schema = json_tokener_parse(text);

        assert_non_null(schema);
        free(text);
        return schema;
}

/* --- keys --- */

struct keys {
        struct {
                char path[64];
                const struct policy_word *words; /* of the loader */
                struct json_object *schema;      /* of the schema */
        } list[MAX_KEYS];
        size_t n;
};

static void add_key(struct keys *keys, const char *path, const struct policy_word *words, struct json_object *schema) {
        assert_true(keys->n < MAX_KEYS);
        (void)snprintf(keys->list[keys->n].path, sizeof keys->list[keys->n].path, "%s", path);
        keys->list[keys->n].words = words;
        keys->list[keys->n++].schema = schema;
}

static int compare(const void *a, const void *b) {
        return strcmp(a, b); /* the path is first */
}

static void sort(struct keys *keys) {
        qsort(keys->list, keys->n, sizeof keys->list[0], compare);
}

static void visit(const char *path, const struct policy_key *key, void *userdata) {
        bool words =
                key->read == policy_read_word || key->read == policy_read_words || strcmp(path, "rules.methods") == 0;

        add_key(userdata, path, words ? key->what : NULL, NULL);
}

static void keys_of_loader(struct keys *keys) {
        *keys = (struct keys) { 0 };
        policy_keys_visit(visit, keys);
        sort(keys);
}

/* What is in a list has its keys where the list is. */
static void walk_schema(struct keys *keys, struct json_object *root, struct json_object *schema, const char *prefix) {
        struct json_object *properties, *items;

        schema = json_schema_follow(root, schema);
        if (json_object_object_get_ex(schema, "items", &items))
                walk_schema(keys, root, items, prefix);
        if (!json_object_object_get_ex(schema, "properties", &properties))
                return;
        json_object_object_foreach(properties, name, inner) {
                char path[64];

                (void)snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", name);
                add_key(keys, path, NULL, inner);
                walk_schema(keys, root, inner, path);
        }
}

static void expect_same(const struct keys *loader, const struct keys *other, const char *what) {
        for (size_t i = 0; i < loader->n && i < other->n; i++)
                if (strcmp(loader->list[i].path, other->list[i].path) != 0)
                        fail_msg("the loader knows %s, %s has %s", loader->list[i].path, what, other->list[i].path);
        assert_int_equal(loader->n, other->n);
        assert_true(loader->n > 30);
}

static void collect_words(struct json_object *root, struct json_object *schema, struct json_object *words) {
        struct json_object *part;

        schema = json_schema_follow(root, schema);
        if (json_object_object_get_ex(schema, "enum", &part))
                for (size_t i = 0; i < json_object_array_length(part); i++)
                        json_object_object_add(words,
                                               json_object_get_string(json_object_array_get_idx(part, i)),
                                               json_object_new_boolean(true));
        if (json_object_object_get_ex(schema, "items", &part))
                collect_words(root, part, words);
        if (json_object_object_get_ex(schema, "anyOf", &part))
                for (size_t i = 0; i < json_object_array_length(part); i++)
                        collect_words(root, json_object_array_get_idx(part, i), words);
}

TEST(test_schema_keys) {
        struct json_object *schema = read_schema();
        struct keys loader, other = { 0 };

        keys_of_loader(&loader);
        walk_schema(&other, schema, schema, "");
        sort(&other);
        expect_same(&loader, &other, "the schema");
        for (size_t i = 0; i < loader.n; i++) {
                struct json_object *words = json_object_new_object();
                int n = 0;

                collect_words(schema, other.list[i].schema, words);
                for (const struct policy_word *word = loader.list[i].words; word && word->name; word++, n++)
                        if (!json_object_object_get_ex(words, word->name, NULL))
                                fail_msg("%s: the schema has no \"%s\"", loader.list[i].path, word->name);
                if (strcmp(loader.list[i].path, "rules.match.fs_type") == 0) {
                        for (; pl_fstype_name((size_t)n); n++)
                                assert_true(json_object_object_get_ex(words, pl_fstype_name((size_t)n), NULL));
                        assert_int_equal(json_object_object_length(words), n);
                }
                if (loader.list[i].words)
                        assert_int_equal(json_object_object_length(words), n);
                json_object_put(words);
        }
        json_object_put(schema);
}

/* An entry's heading is a line with nothing but the key in bold. Keys of rules are named without that. */
TEST(test_manual_keys) {
        char *text = read_source("doc/man/pinlease-policy.5.scd"), *section, *rest, *line;
        struct keys loader, manual = { 0 };

        section = rest = strdup(strstr(text, "\n# KEYS\n"));
        while ((line = strsep(&rest, "\n"))) {
                size_t n = strlen(line);
                char path[64];

                if (strncmp(line, "# EXAMPLES", 10) == 0)
                        break;
                if (n < 3 || line[0] != '*' || line[n - 1] != '*' || strchr(line, ' '))
                        continue;
                (void)snprintf(path, sizeof path, "%.*s", (int)n - 2, line + 1);
                add_key(&manual, path, NULL, NULL);
        }
        sort(&manual);

        keys_of_loader(&loader);
        for (size_t i = 0; i < loader.n; i++)
                if (strncmp(loader.list[i].path, "rules.", 6) == 0)
                        memmove(loader.list[i].path, loader.list[i].path + 6, strlen(loader.list[i].path) - 5);
        sort(&loader);
        expect_same(&loader, &manual, "the manual page");

        for (size_t i = 0; i < loader.n; i++) {
                char heading[80], word_text[80];
                const char *entry, *end;

                (void)snprintf(heading, sizeof heading, "\n*%s*\n", loader.list[i].path);
                entry = strstr(text, heading) + 1;
                end = strstr(entry, "\n*");
                /* Defaults say what is built in, and leave the words to the rule's own key. */
                for (const struct policy_word *word = loader.list[i].words;
                     word && word->name && strncmp(loader.list[i].path, "defaults.", 9) != 0;
                     word++) {
                        const char *found;

                        (void)snprintf(word_text, sizeof word_text, "_%s_", word->name);
                        found = strstr(entry, word_text);
                        if (!found || found > end)
                                fail_msg("the manual page does not say what \"%s\" of %s is",
                                         word->name,
                                         loader.list[i].path);
                }
        }
        free(section);
        free(text);
}

/* --- examples --- */

struct examples {
        struct policy_fixture fixture;
        struct json_object *schema;
        unsigned int n;
};

/* Both, or neither. */
static void try_text(struct examples *examples, const char *text, size_t size, bool right) {
        struct json_tokener *tokener = json_tokener_new();
        struct json_object *value = json_tokener_parse_ex(tokener, text, (int)size);

        assert_non_null(value);
        if (json_schema_takes(examples->schema, examples->schema, value) != right)
                fail_msg("the schema does %stake\n%.*s", right ? "not " : "", (int)size, text);
        policy_fixture_write(&examples->fixture, "policy.json", text, size);
        policy_fixture_load(&examples->fixture);
        if ((examples->fixture.result == 0) != right || (right && examples->fixture.problems.n > 0))
                fail_msg("the loader says %s of\n%.*s",
                         examples->fixture.problems.n > 0 ? examples->fixture.problems.list[0].sentence : "nothing",
                         (int)size,
                         text);
        json_object_put(value);
        json_tokener_free(tokener);
        examples->n++;
}

/* Blocks between fences that are an object with a version. */
static void try_page(struct examples *examples, const char *name) {
        char *text = read_source(name), *at = text;

        while ((at = strstr(at, "\n```"))) {
                char *begin = strchr(at + 1, '\n'), *end = begin ? strstr(begin, "\n```") : NULL;

                assert_non_null(end);
                if (begin[1] == '{' && strncmp(begin + 2 + strspn(begin + 2, " \n"), "\"version\"", 9) == 0)
                        try_text(examples, begin + 1, (size_t)(end - begin), true);
                at = end + 4;
        }
        free(text);
}

TEST(test_examples) {
        static const char *const pages[] = {
                "doc/man/pinlease-policy.5.scd", "README.md", "doc/OPERATIONS.md", "SECURITY.md"
        };
        struct examples examples = { .schema = read_schema() };

        policy_fixture_begin(&examples.fixture);
        for (size_t i = 0; i < ELEMENTSOF(pages); i++)
                try_page(&examples, pages[i]);
        assert_true(examples.n >= 3);
        policy_fixture_end(&examples.fixture);
        json_object_put(examples.schema);
}

TEST(test_builtin) {
        struct json_object *schema = read_schema(), *value = json_tokener_parse(policy_default_text);
        char *shipped = read_source("daemon/policy-default.json");

        assert_string_equal(shipped, policy_default_text);
        assert_true(json_schema_takes(schema, schema, value));
        free(shipped);
        json_object_put(value);
        json_object_put(schema);
}

/* The schema is there to find mistakes while they are typed: what it lets pass, the loader may refuse; these both have
 * to find. */
TEST(test_schema_refuses) {
        static const char *const wrong[] = {
                "[]",
                "{}",
                "{\"version\": 2}",
                "{\"version\": \"1\"}",
                "{\"version\": 1, \"rule\": []}",
                "{\"version\": 1, \"rules\": {}}",
                "{\"version\": 1, \"rules\": [{}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": 1}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"message\": \"x\"}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": false, \"methods\": \"odp\"}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": false, \"prefetch\": false}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"methods\": []}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"methods\": [\"odp\", \"odp\"]}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"methods\": \"devbuf\"}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"guards\": [\"lock\"]}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"grace\": \"2 s\"}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"grace\": 600001}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"name\": \"\"}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"force\": [\"kill\"]}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"match\": []}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"match\": {\"path\": \"mnt\"}}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"match\": {\"device\": \"/dev/x\"}}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"match\": {\"exporter\": [\"udmabuf\", \"/x\"]}}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"match\": {\"uid\": -1}}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"match\": {\"uid\": [4294967295]}}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"match\": {\"gid\": \"users\"}}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"match\": {\"fs_type\": \"fuse\"}}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"match\": {\"fs_type\": \"0x123456789\"}}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"match\": {\"size\": \"1M\"}}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"match\": {\"size\": {\"least\": 1}}}]}",
                "{\"version\": 1, \"rules\": [{\"allow\": true, \"match\": {\"size\": {\"min\": \"none\"}}}]}",
                "{\"version\": 1, \"defaults\": {\"methods\": \"odp\"}}",
                "{\"version\": 1, \"defaults\": {\"grace\": \"none\"}}",
                "{\"version\": 1, \"limits\": {\"session\": {\"pinned\": \"none\"}}}",
                "{\"version\": 1, \"limits\": {\"session\": {\"sessions\": 1}}}",
                "{\"version\": 1, \"limits\": {\"user\": {\"sessions\": 0}}}",
                "{\"version\": 1, \"limits\": {\"total\": {\"sessions\": \"none\"}}}",
                "{\"version\": 1, \"limits\": {\"total\": {\"odp\": true}}}",
        };
        struct examples examples = { .schema = read_schema() };

        policy_fixture_begin(&examples.fixture);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++)
                try_text(&examples, wrong[i], strlen(wrong[i]), false);
        policy_fixture_end(&examples.fixture);
        json_object_put(examples.schema);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_schema_keys), CHECKED(test_manual_keys),    CHECKED(test_examples),
                CHECKED(test_builtin),     CHECKED(test_schema_refuses),
        };

        return cmocka_run_group_tests_name("policy-docs", tests, NULL, NULL);
}
