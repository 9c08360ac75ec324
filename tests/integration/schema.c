/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "schema.h"

#include <string.h>

#include "harness.h"

struct member {
        const char *name;
        void (*check)(const char *name, struct json_object *value, const void *argument);
        const void *argument;
};

static _Noreturn void wrong(const char *name, struct json_object *value, const char *should) {
        FAIL("%s is %.200s, should be %s", name, json_object_to_json_string(value), should);
}

static void object_of(const char *name, struct json_object *value, const void *argument) {
        const struct member *members = argument;
        int n = 0;

        if (!json_object_is_type(value, json_type_object))
                wrong(name, value, "an object");
        for (const struct member *m = members; m->name; m++, n++) {
                struct json_object *part;

                if (!json_object_object_get_ex(value, m->name, &part))
                        wrong(name, value, m->name);
                m->check(m->name, part, m->argument);
        }
        /* Members that are not on the page are none of the schema. */
        if (json_object_object_length(value) != n)
                wrong(name, value, "without what doc/ADMIN.md does not mention");
}

static void text(const char *name, struct json_object *value, const void *argument _unused_) {
        if (!json_object_is_type(value, json_type_string))
                wrong(name, value, "a string");
}

static void number(const char *name, struct json_object *value, const void *argument _unused_) {
        if (!json_object_is_type(value, json_type_int) ||
            (json_object_get_int64(value) < 0 && json_object_get_uint64(value) == 0))
                wrong(name, value, "a number that is not negative");
}

static void truth(const char *name, struct json_object *value, const void *argument _unused_) {
        if (!json_object_is_type(value, json_type_boolean))
                wrong(name, value, "true or false");
}

/* argument: NULL-terminated */
static void one_of(const char *name, struct json_object *value, const void *argument) {
        text(name, value, NULL);
        for (const char *const *p = argument; *p; p++)
                if (strcmp(*p, json_object_get_string(value)) == 0)
                        return;
        wrong(name, value, "one of the names in doc/ADMIN.md");
}

static void id(const char *name, struct json_object *value, const void *argument) {
        const char *parts = argument, *p;
        unsigned int points = 0;

        text(name, value, NULL);
        for (p = json_object_get_string(value); *p; p++)
                if (*p == '.')
                        points++;
                else if (*p < '0' || *p > '9')
                        wrong(name, value, "an ID");
        if (points != (unsigned int)(parts[0] - '1'))
                wrong(name, value, "an ID of its kind");
}

struct array {
        void (*check)(const char *name, struct json_object *value, const void *argument);
        const void *argument;
};

static void array_of(const char *name, struct json_object *value, const void *argument) {
        const struct array *a = argument;

        if (!json_object_is_type(value, json_type_array))
                wrong(name, value, "an array");
        for (size_t i = 0; i < json_object_array_length(value); i++)
                a->check(name, json_object_array_get_idx(value, i), a->argument);
}

/* Names, whatever they are, with numbers. */
static void numbers_by_name(const char *name, struct json_object *value, const void *argument _unused_) {
        if (!json_object_is_type(value, json_type_object))
                wrong(name, value, "an object");
        json_object_object_foreach(value, key, part) {
                number(key, part, NULL);
        }
}

#define NAMES(...) ((const void *)(const char *const[]) { __VA_ARGS__, NULL })
#define MEMBERS(...) ((const void *)(const struct member[]) { __VA_ARGS__, { 0 } })

static const struct member amount[] = {
        { "pinned_bytes", number, NULL },
        { "odp_bytes", number, NULL },
        { "registrations", number, NULL },
        { 0 },
};

static void number_or_none(const char *name, struct json_object *value, const void *argument) {
        if (value)
                number(name, value, argument);
}

static const struct member limit[] = {
        { "pinned_bytes", number_or_none, NULL },
        { "odp_bytes", number_or_none, NULL },
        { "registrations", number_or_none, NULL },
        { 0 },
};

static const struct member user[] = {
        { "uid", number, NULL },
        { "sessions", number, NULL },
        { "silent", number, NULL },
        { "credit", object_of, amount },
        { 0 },
};

static const struct member limits[] = {
        { "sessions", number, NULL },    { "sessions_per_user", number, NULL }, { "silent_per_user", number, NULL },
        { "session", object_of, limit }, { "user", object_of, limit },          { "total", object_of, limit },
        { 0 },
};

static const struct member status[] = {
        { "version", text, NULL },
        { "pid", number, NULL },
        { "started", number, NULL },
        { "state", one_of, NAMES("serving", "draining", "drained") },
        { "sessions", number, NULL },
        { "silent", number, NULL },
        { "resumed", number, NULL },
        { "other_version", number, NULL },
        { "in_use", object_of, amount },
        { "credit", object_of, amount },
        { "users", array_of, &(const struct array) { object_of, user } },
        { "limits", object_of, limits },
        { 0 },
};

static const struct member session[] = {
        { "type", one_of, NAMES("session") },
        { "id", id, "1" },
        { "pid", number, NULL },
        { "uid", number, NULL },
        { "gid", number, NULL },
        { "keeper_pid", number, NULL },
        { "registrar_pid", number, NULL },
        { "state", one_of, NAMES("starting", "serving", "ending", "other-version") },
        { "age_ms", number, NULL },
        { "resumed", truth, NULL },
        { "in_use", object_of, amount },
        { "credit", object_of, amount },
        { 0 },
};

static const char *const guard_names[] = { "seals", "lease", "modify", "poison", NULL };

static void guards_missing(const char *name, struct json_object *value, const void *argument _unused_) {
        static const char *const reasons[] = {
                "not-for-this", "not-sealed",   "not-owner",   "open-elsewhere", "other-lease", "meddled",
                "reader",       "no-resources", "unsupported", "changing",       "unknown",     NULL,
        };

        if (!json_object_is_type(value, json_type_object))
                wrong(name, value, "an object");
        json_object_object_foreach(value, key, part) {
                struct json_object *guard = json_object_new_string(key);

                one_of(key, guard, guard_names);
                json_object_put(guard);
                one_of(key, part, reasons);
        }
}

static const struct member registration[] = {
        { "type", one_of, NAMES("registration") },
        { "id", id, "2" },
        { "session", id, "1" },
        { "state", one_of, NAMES("intent", "live", "revoking", "retiring", "unknown") },
        { "backing", one_of, NAMES("shmem", "hugetlb", "fsdax", "pagecache", "devdax", "dmabuf", "anon", "other") },
        { "name", text, NULL },
        { "device", number, NULL },
        { "inode", number, NULL },
        { "offset", number, NULL },
        { "length", number, NULL },
        { "bytes", number, NULL },
        { "access", array_of, &(const struct array) { text, NULL } },
        { "method", one_of, NAMES("pinned", "odp", "dmabuf", "unknown") },
        { "age_ms", number, NULL },
        { "guards", array_of, &(const struct array) { one_of, guard_names } },
        { "guards_missing", guards_missing, NULL },
        { 0 },
};

static const struct member live[] = { { "registrations", number, NULL }, { "bytes", number, NULL }, { 0 } };
static const struct member by_method[] = {
        { "pinned", number, NULL },
        { "odp", number, NULL },
        { "dmabuf", number, NULL },
        { 0 },
};
static const struct array numbers = { number, NULL }, texts = { text, NULL };

static const struct member latency[] = {
        { "bounds_us", array_of, &numbers },
        { "counts", array_of, &numbers },
        { "sum_us", number, NULL },
        { 0 },
};

static const struct member metrics[] = {
        { "sessions", number, NULL },
        { "sessions_started", number, NULL },
        { "sessions_turned_away", number, NULL },
        { "sessions_resumed", number, NULL },
        { "silent", number, NULL },
        { "live",
          object_of,
          MEMBERS({ "pinned", object_of, live }, { "odp", object_of, live }, { "dmabuf", object_of, live }) },
        { "registered", object_of, by_method },
        { "deregistered", number, NULL },
        { "refusals", numbers_by_name, NULL },
        { "revocations",
          object_of,
          MEMBERS({ "released", number, NULL }, { "forced", number, NULL }, { "kept", number, NULL }) },
        { "latency", object_of, MEMBERS({ "register", object_of, latency }, { "deregister", object_of, latency }) },
        { "registrars", array_of, &numbers },
        { 0 },
};

static const struct member list_result[] = { { "sessions", number, NULL }, { "registrations", number, NULL }, { 0 } };

static const struct member revoke_result[] = {
        { "sessions", number, NULL }, { "released", number, NULL }, { "forced", number, NULL },
        { "kept", number, NULL },     { "lost", number, NULL },     { 0 },
};

static const struct member port[] = {
        { "port", number, NULL },
        { "state", text, NULL },
        { "link_layer", text, NULL },
        { 0 },
};

static const struct member odp[] = {
        { "supported", truth, NULL },
        { "implicit", truth, NULL },
        { "rc", array_of, &texts },
        { "uc", array_of, &texts },
        { "ud", array_of, &texts },
        { "xrc", array_of, &texts },
        { 0 },
};

static const struct member device[] = {
        { "type", one_of, NAMES("device") },
        { "name", text, NULL },
        { "driver", text, NULL },
        { "transport", text, NULL },
        { "firmware", text, NULL },
        { "ports", array_of, &(const struct array) { object_of, port } },
        { "odp", object_of, odp },
        { "dmabuf", one_of, NAMES("yes", "no", "unknown") },
        { "limits",
          object_of,
          MEMBERS({ "max_mr", number, NULL },
                  { "max_mr_size", number, NULL },
                  { "max_pd", number, NULL },
                  { "page_size_cap", number, NULL }) },
        { 0 },
};

static const struct {
        const char *command;
        const struct member *item, *result; /* item NULL: by their type */
} commands[] = {
        { "status", status, NULL },        { "list", NULL, list_result }, { "show", NULL, list_result },
        { "revoke", NULL, revoke_result }, { "metrics", metrics, NULL },  { "devices", device, NULL },
};

static void check_item(struct json_object *item) {
        struct json_object *type;

        if (!json_object_object_get_ex(item, "type", &type))
                wrong("an item", item, "of a type");
        object_of("an item", item, strcmp(json_object_get_string(type), "session") == 0 ? session : registration);
}

void schema_check(const char *command, struct json_object *documents) {
        size_t n = json_object_array_length(documents);

        for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
                if (strcmp(commands[i].command, command) != 0)
                        continue;
                for (size_t k = 0; k < n; k++) {
                        struct json_object *document = json_object_array_get_idx(documents, k);
                        bool last = k == n - 1;

                        if (last && json_object_object_length(document) == 0)
                                continue; /* an empty result */
                        if (last && commands[i].result)
                                object_of("the result", document, commands[i].result);
                        else if (commands[i].item)
                                object_of("an item", document, commands[i].item);
                        else
                                check_item(document);
                }
                return;
        }
        FAIL("there is no schema for %s", command);
}
