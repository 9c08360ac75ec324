/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "policy-rules.h"

#include <stdio.h>
#include <string.h>

#include "pattern.h"
#include "policy-lint.h"
#include "proto.h"

/* --- words --- */

static const struct policy_word backings[] = {
        { "shmem", 1U << PINLEASE_BACKING_SHMEM }, { "hugetlb", 1U << PINLEASE_BACKING_HUGETLB },
        { "fsdax", 1U << PINLEASE_BACKING_FSDAX }, { "pagecache", 1U << PINLEASE_BACKING_PAGECACHE },
        { "devdax", 1U << PINLEASE_BACKING_DEVDAX }, { "dmabuf", 1U << PINLEASE_BACKING_DMABUF },
        { "anon", 1U << PINLEASE_BACKING_ANON }, { "other", 1U << PINLEASE_BACKING_OTHER },
        { NULL, 0 },
};
static const struct policy_word accesses[] = { { "read", POLICY_ACCESS_READ },
                                               { "write", POLICY_ACCESS_WRITE },
                                               { NULL, 0 } };
static const struct policy_word methods[] = { { "odp", PINLEASE_METHOD_ODP },
                                              { "pinned", PINLEASE_METHOD_PINNED },
                                              { "dmabuf", PINLEASE_METHOD_DMABUF },
                                              { NULL, 0 } };
static const struct policy_word guards[] = {
        { "seals", PINLEASE_GUARD_SEALS },
        { "lease", PINLEASE_GUARD_LEASE },
        { "modify", PINLEASE_GUARD_MODIFY },
        { "poison", PINLEASE_GUARD_POISON },
        { NULL, 0 },
};
static const struct policy_word layout_changes[] = { { "revoke", POLICY_LAYOUT_REVOKE },
                                                     { "notify", POLICY_LAYOUT_NOTIFY },
                                                     { NULL, 0 } };
static const struct policy_word forces[] = { { "stop", POLICY_FORCE_STOP },
                                             { "kill", POLICY_FORCE_KILL },
                                             { NULL, 0 } };

static const enum pattern_kind paths = PATTERN_PATH, names = PATTERN_NAME;

/* --- ranges: those of the options of pinleased --- */

static const struct policy_bounds version = { 1, 1, false };
static const struct policy_bounds request_size = { 0, UINT64_C(1) << 60, false };
static const struct policy_bounds grace = { 0, 600000, false };
static const struct policy_bounds session_bytes = { 0, UINT64_C(1) << 50, false };
static const struct policy_bounds session_registrations = { 1, 1 << 20, false };
static const struct policy_bounds shared_bytes = { 0, UINT64_C(1) << 60, true };
static const struct policy_bounds user_registrations = { 1, 1 << 30, true };
static const struct policy_bounds total_registrations = { 1, UINT64_C(1) << 40, true };
static const struct policy_bounds user_sessions = { 1, 1 << 20, true };
static const struct policy_bounds total_sessions = { 1, 1 << 20, false };

/* --- keys --- */

static const struct policy_key size_keys[] = {
        { "min", policy_read_size, offsetof(struct policy_rule, size_min), &request_size, false },
        { "max", policy_read_size, offsetof(struct policy_rule, size_max), &request_size, false },
        { NULL, NULL, 0, NULL, false },
};

static void read_match_size(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target) {
        struct policy_rule *rule = target;

        policy_read_inner(reader, node, key, rule);
        if (rule->size_min > rule->size_max)
                policy_wrong(reader, node, "No size is at least this \"min\" and at most this \"max\".");
}

static const struct policy_key match_keys[] = {
        { "backing", policy_read_words, offsetof(struct policy_rule, backings), backings, false },
        { "access", policy_read_words, offsetof(struct policy_rule, access), accesses, false },
        { "fs_type", policy_read_fs_types, offsetof(struct policy_rule, fs_types), NULL, false },
        { "path", policy_read_patterns, offsetof(struct policy_rule, paths), &paths, false },
        { "uid", policy_read_ids, offsetof(struct policy_rule, uids), NULL, false },
        { "gid", policy_read_ids, offsetof(struct policy_rule, gids), NULL, false },
        { "cgroup", policy_read_patterns, offsetof(struct policy_rule, cgroups), &paths, false },
        { "size", read_match_size, 0, size_keys, false },
        { "device", policy_read_patterns, offsetof(struct policy_rule, devices), &names, false },
        { "exporter", policy_read_patterns, offsetof(struct policy_rule, exporters), &names, false },
        { NULL, NULL, 0, NULL, false },
};

static void read_methods(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target) {
        struct policy_rule *rule = target;
        struct policy_order order;

        policy_read_order(reader, node, key, &order);
        rule->n_methods = order.n;
        memcpy(rule->methods, order.values, sizeof rule->methods);
}

static bool has_pinned(const struct policy_rule *rule) {
        for (unsigned int i = 0; i < rule->n_methods; i++)
                if (rule->methods[i] == PINLEASE_METHOD_PINNED)
                        return true;
        return false;
}

enum rule_key { NAME, MATCH, ALLOW, MESSAGE, METHODS, GUARDS, LAYOUT, GRACE, FORCE, PREFETCH, N_RULE_KEYS };

static const struct policy_key rule_keys[] = {
        [NAME] = { "name", policy_read_name, offsetof(struct policy_rule, name), NULL, false },
        [MATCH] = { "match", policy_read_inner, 0, match_keys, false },
        [ALLOW] = { "allow", policy_read_flag, offsetof(struct policy_rule, allow), NULL, true },
        [MESSAGE] = { "message", policy_read_message, offsetof(struct policy_rule, message), NULL, false },
        [METHODS] = { "methods", read_methods, 0, methods, false },
        [GUARDS] = { "guards", policy_read_words, offsetof(struct policy_rule, guards), guards, false },
        [LAYOUT] = { "on_layout_change",
                     policy_read_word,
                     offsetof(struct policy_rule, on_layout_change),
                     layout_changes,
                     false },
        [GRACE] = { "grace", policy_read_time, offsetof(struct policy_rule, grace_ms), &grace, false },
        [FORCE] = { "force", policy_read_word, offsetof(struct policy_rule, force), forces, false },
        [PREFETCH] = { "prefetch", policy_read_flag, offsetof(struct policy_rule, prefetch), NULL, false },
        [N_RULE_KEYS] = { NULL, NULL, 0, NULL, false },
};

static const struct policy_key defaults_keys[] = {
        { "on_layout_change",
          policy_read_word,
          offsetof(struct policy_defaults, on_layout_change),
          layout_changes,
          false },
        { "grace", policy_read_time, offsetof(struct policy_defaults, grace_ms), &grace, false },
        { "force", policy_read_word, offsetof(struct policy_defaults, force), forces, false },
        { NULL, NULL, 0, NULL, false },
};

#define LIMIT(field) offsetof(struct policy_limits, field)
static const struct policy_key session_keys[] = {
        { "registrations", policy_read_count, LIMIT(session.registrations), &session_registrations, false },
        { "pinned", policy_read_size, LIMIT(session.pinned), &session_bytes, false },
        { "odp", policy_read_size, LIMIT(session.odp), &session_bytes, false },
        { NULL, NULL, 0, NULL, false },
};
static const struct policy_key user_keys[] = {
        { "sessions", policy_read_count32, LIMIT(user_sessions), &user_sessions, false },
        { "registrations", policy_read_count, LIMIT(user.registrations), &user_registrations, false },
        { "pinned", policy_read_size, LIMIT(user.pinned), &shared_bytes, false },
        { "odp", policy_read_size, LIMIT(user.odp), &shared_bytes, false },
        { NULL, NULL, 0, NULL, false },
};
static const struct policy_key total_keys[] = {
        { "sessions", policy_read_count32, LIMIT(total_sessions), &total_sessions, false },
        { "registrations", policy_read_count, LIMIT(total.registrations), &total_registrations, false },
        { "pinned", policy_read_size, LIMIT(total.pinned), &shared_bytes, false },
        { "odp", policy_read_size, LIMIT(total.odp), &shared_bytes, false },
        { NULL, NULL, 0, NULL, false },
};
static const struct policy_key limits_keys[] = {
        { "session", policy_read_inner, 0, session_keys, false },
        { "user", policy_read_inner, 0, user_keys, false },
        { "total", policy_read_inner, 0, total_keys, false },
        { NULL, NULL, 0, NULL, false },
};

static void read_defaults(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target);
static void read_rules(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target);

static const struct policy_key file_keys[] = {
        { "version", policy_read_count32, offsetof(struct policy_whole, version), &version, true },
        { "defaults", read_defaults, 0, defaults_keys, false },
        { "limits", policy_read_inner, offsetof(struct policy_whole, limits), limits_keys, false },
        { "rules", read_rules, 0, rule_keys, false },
        { NULL, NULL, 0, NULL, false },
};

/* --- reading --- */

static void read_defaults(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target) {
        struct policy_defaults *defaults = &((struct policy_whole *)target)->defaults;
        uint32_t nodes[POLICY_MAX_KEYS];

        if (!(policy_read_object(reader, node, key->what, defaults, nodes) & 1U << 1))
                return;
        defaults->grace = policy_place(reader, nodes[1]);
        defaults->grace_source = reader->source;
}

#define UNKNOWN 0xff

/* Who refuses says why, and does nothing; who allows has nothing to say. */
static void check_actions(struct policy_reader *reader,
                          const struct policy_rule *rule,
                          unsigned int seen,
                          const uint32_t nodes[]) {
        if (rule->allow == UNKNOWN)
                return; /* it is missing, or wrong */
        if (rule->allow && (seen & 1U << MESSAGE))
                policy_wrong(
                        reader, nodes[MESSAGE], "A rule that allows refuses nobody: its message would never be seen.");
        for (unsigned int i = METHODS; !rule->allow && i < N_RULE_KEYS; i++)
                if (seen & 1U << i)
                        policy_wrong(reader,
                                     nodes[i],
                                     "A rule that does not allow has no \"%s\": leave it out, or allow.",
                                     rule_keys[i].name);
}

/* A rule without a name is called by where it stands: "policy.json:12". */
static uint32_t make_name(struct policy_reader *reader, uint32_t line) {
        const char *slash = strrchr(reader->file, '/'), *base = slash ? slash + 1 : reader->file;
        char name[PL_RULE_MAX];
        size_t n = strlen(base) < 36 ? strlen(base) : 36;

        while (n > 0 && ((uint8_t)base[n] & 0xc0) == 0x80)
                n--;
        (void)snprintf(name, sizeof name, "%.*s:%u", (int)n, base, line);
        return policy_build_text(reader->build, name);
}

static void read_rule(struct policy_reader *reader, uint32_t node, struct policy_draft *draft) {
        const struct policy_place place = policy_place(reader, node);
        struct policy_rule *rule = &draft->rule;
        uint32_t nodes[POLICY_MAX_KEYS];
        unsigned int seen;

        *rule = (struct policy_rule) {
                .line = place.line,
                .column = place.column,
                .access = POLICY_ACCESS_ANY,
                .size_max = UINT64_MAX,
                .allow = UNKNOWN,
                .builtin = reader->builtin,
        };
        seen = policy_read_object(reader, node, rule_keys, rule, nodes);
        check_actions(reader, rule, seen, nodes);
        rule->allow = rule->allow == 1;

        if (seen & 1U << NAME)
                draft->named = policy_place(reader, nodes[NAME]);
        else
                rule->name = make_name(reader, place.line);
        if (seen & 1U << GRACE)
                draft->grace = policy_place(reader, nodes[GRACE]);

        if (rule->allow && !(seen & 1U << METHODS)) {
                rule->n_methods = 3;
                rule->methods[0] = PINLEASE_METHOD_DMABUF;
                rule->methods[1] = PINLEASE_METHOD_ODP;
                rule->methods[2] = PINLEASE_METHOD_PINNED;
        }
        else
                rule->pins_private = rule->allow && rule->backings & 1U << PINLEASE_BACKING_ANON && has_pinned(rule);
        if (!rule->allow)
                rule->n_methods = 0;
        if (seen & 1U << MATCH)
                policy_lint_match(reader, nodes[MATCH], rule);
        if (seen & 1U << GUARDS)
                policy_lint_guards(reader, nodes[GUARDS], rule);
        if (seen & 1U << METHODS)
                policy_lint_methods(reader, nodes[METHODS], rule);
        if (seen & 1U << PREFETCH)
                policy_lint_prefetch(reader, nodes[PREFETCH], rule);
}

static struct policy_draft *add_draft(struct policy_reader *reader, struct policy_whole *whole) {
        if (whole->n_drafts == whole->allocated) {
                size_t allocated = 2 * whole->allocated + 16;
                struct policy_draft *drafts = realloc(whole->drafts, allocated * sizeof *drafts);

                if (!drafts) {
                        reader->error = -ENOMEM;
                        return NULL;
                }
                whole->drafts = drafts;
                whole->allocated = allocated;
        }
        return whole->drafts + whole->n_drafts++;
}

static void read_rules(struct policy_reader *reader, uint32_t node, const struct policy_key *key, void *target) {
        const struct policy_json_node *nodes = reader->json.nodes;
        struct policy_whole *whole = target;
        uint32_t file = policy_build_text(reader->build, reader->builtin ? "builtin" : reader->file);

        (void)key;
        if (nodes[node].type != POLICY_JSON_ARRAY) {
                policy_wrong_type(reader, node, "a list of rules: [ { ... }, ... ]");
                return;
        }
        for (uint32_t i = 0, child = node + 1; i < nodes[node].n && !reader->error; i++, child = nodes[child].next) {
                struct policy_draft *draft;

                if (whole->n_drafts == POLICY_MAX_RULES) {
                        if (!whole->too_many)
                                policy_wrong(reader,
                                             child,
                                             "There are more than %u rules, the built-in ones included.",
                                             POLICY_MAX_RULES);
                        whole->too_many = true;
                        return;
                }
                draft = add_draft(reader, whole);
                if (!draft)
                        return;
                *draft = (struct policy_draft) { .source = reader->source, .index = i };
                read_rule(reader, child, draft);
                draft->rule.file = file;
        }
}

void policy_read_file(struct policy_reader *reader, struct policy_whole *whole) {
        (void)policy_read_object(reader, 0, file_keys, whole, NULL);
}

void policy_whole_done(struct policy_whole *whole) {
        free(whole->drafts);
        *whole = (struct policy_whole) { 0 };
}

/* --- what there is --- */

static bool has_keys(const struct policy_key *key) {
        return key->read == policy_read_inner || key->read == read_defaults || key->read == read_rules ||
               key->read == read_match_size;
}

static void visit_keys(const char *prefix,
                       const struct policy_key *keys,
                       void (*visit)(const char *path, const struct policy_key *key, void *userdata),
                       void *userdata) {
        for (; keys->name; keys++) {
                char path[128];

                (void)snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", keys->name);
                visit(path, keys, userdata);
                if (has_keys(keys))
                        visit_keys(path, keys->what, visit, userdata);
        }
}

void policy_keys_visit(void (*visit)(const char *path, const struct policy_key *key, void *userdata), void *userdata) {
        visit_keys("", file_keys, visit, userdata);
}
