/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pinlease-explain --json; doc/ADMIN.md describes it. */

#include "explain.h"

#include "builder.h"

/* Texts of others are escaped as for a terminal: JSON has to be UTF-8 as well. */
static void add_text(struct builder *object, const char *key, const char *text) {
        _cleanup_(pl_freep) char *harmless = explain_harmless(text);

        builder_text(object, key, harmless);
}

static void add_flag(struct builder *object, const char *key, bool flag) {
        builder_add(object, key, json_object_new_boolean(flag));
}

static struct json_object *methods_array(unsigned int methods) {
        struct builder array = builder_array();

        for (unsigned int method = 1; method <= methods; method <<= 1)
                if (methods & method)
                        builder_append(&array, json_object_new_string(pl_method_name(method)));
        return builder_finish(&array);
}

static struct json_object *memory(const struct explanation *e) {
        struct builder object = builder_object();

        builder_text(&object, "what", pl_fdclass_name(&e->class));
        if (e->has_backing) {
                builder_text(&object, "backing", pl_backing_name(e->backing));
                builder_number(&object, "size", e->class.size);
        }
        if (e->class.kind == PL_FD_HANGING && *e->found.type)
                add_text(&object, "fs_type", e->found.type);
        if (e->place.known) {
                add_text(&object, "place", e->place.path);
                add_flag(&object, "place_certain", e->place.certain);
        }
        if (e->exporter_known)
                add_text(&object, "exporter", e->exporter);
        return builder_finish(&object);
}

static struct json_object *request(const struct explanation *e) {
        struct builder object = builder_object();

        builder_text(&object, "access", e->question.writable ? "write" : "read");
        builder_number(&object, "offset", e->request.offset);
        builder_number(&object, "length", e->request.length);
        builder_add(&object, "methods", methods_array(e->question.accepted));
        return builder_finish(&object);
}

static struct json_object *subject(const struct explanation *e) {
        struct builder object = builder_object(), gids = builder_array();

        builder_number(&object, "uid", e->subject->uid);
        for (size_t i = 0; i < e->subject->n_gids; i++)
                builder_append(&gids, json_object_new_uint64(e->subject->gids[i]));
        builder_add(&object, "gids", builder_finish(&gids));
        if (e->subject->cgroup)
                add_text(&object, "cgroup", e->subject->cgroup);
        return builder_finish(&object);
}

static struct json_object *device(const struct explanation *e) {
        struct builder object = builder_object();

        if (e->question.device)
                add_text(&object, "name", e->question.device);
        builder_add(&object, "offers", methods_array(e->question.offered));
        builder_add(&object, "unsound", methods_array(e->question.unsound));
        add_flag(&object, "assumed", e->device_assumed);
        return builder_finish(&object);
}

static struct builder rule_object(const struct explanation *e, const struct policy_rule *rule) {
        struct builder object = builder_object();

        add_text(&object, "name", policy_text(e->policy, rule->name));
        add_text(&object, "file", policy_text(e->policy, rule->file));
        builder_number(&object, "line", rule->line);
        builder_number(&object, "column", rule->column);
        return object;
}

static struct json_object *guards(const struct explanation *e) {
        static const char *const words[] = {
                [FORECAST_HOLDS] = "yes",
                [FORECAST_PERHAPS] = "perhaps",
                [FORECAST_NOT] = "no",
        };
        struct builder array = builder_array();

        for (unsigned int i = 0; i < N_GUARDS; i++) {
                struct builder object = builder_object();

                builder_text(&object, "name", pl_guard_name(1U << i));
                add_flag(&object, "required", e->rule && e->rule->guards & 1U << i);
                builder_text(&object, "holds", words[e->guards[i].forecast]);
                builder_text(&object, "why", e->guards[i].why);
                builder_append(&array, builder_finish(&object));
        }
        return builder_finish(&array);
}

static struct json_object *others(const struct explanation *e) {
        const struct policy_rule *rules = policy_rules(e->policy);
        uint32_t n = e->rule ? (uint32_t)(e->rule - rules) : e->policy->n_rules;
        struct builder array = builder_array();

        for (uint32_t i = 0; i < n; i++) {
                enum policy_mismatch mismatch = policy_match(e->policy, rules + i, e->subject, &e->question);
                _cleanup_(pl_freep) char *wanted = explain_wanted(e, rules + i, mismatch);
                struct builder object = rule_object(e, rules + i);

                builder_text(&object, "mismatch", explain_mismatch_name(mismatch));
                builder_text(&object, "wants", wanted);
                builder_append(&array, builder_finish(&object));
        }
        return builder_finish(&array);
}

static struct json_object *refusal(const struct explanation *e) {
        struct builder object = builder_object();

        builder_text(&object, "code", pl_code_name(e->refusal.code));
        add_text(&object, "message", e->refusal.sentence);
        return builder_finish(&object);
}

static struct json_object *instead(const struct explanation *e) {
        struct builder array = builder_array();

        for (size_t i = 0; i < e->n_ways; i++) {
                const struct explain_way *way = e->ways + i;
                _cleanup_(pl_freep) char *text = explain_way_text(way);
                struct builder object = builder_object();

                builder_text(&object, "what", text);
                builder_text(&object, "access", e->question.writable && !way->reading ? "write" : "read");
                builder_text(&object, "backing", pl_backing_name(way->memory ? way->backing : e->backing));
                add_flag(&object, "other_device", way->device);
                builder_text(&object, "method", pl_method_name(way->method));
                builder_append(&array, builder_finish(&object));
        }
        return builder_finish(&array);
}

static void add_decision(const struct explanation *e, struct builder *object) {
        struct builder methods;

        if (e->result < 0) {
                builder_add(object, "refusal", refusal(e));
                builder_add(object, "instead", instead(e));
                return;
        }
        methods = builder_array();
        for (unsigned int i = 0; i < e->decision.n_methods; i++)
                builder_append(&methods, json_object_new_string(pl_method_name(e->decision.methods[i])));
        builder_add(object, "methods", builder_finish(&methods));
        builder_text(object,
                     "on_layout_change",
                     e->rule->on_layout_change == POLICY_LAYOUT_NOTIFY && e->decision.methods[0] == PINLEASE_METHOD_ODP
                             ? "notify"
                             : "revoke");
        builder_number(object, "grace_ms", e->rule->grace_ms);
        builder_text(object, "force", e->rule->force == POLICY_FORCE_KILL ? "kill" : "stop");
        add_flag(object, "prefetch", e->rule->prefetch && e->decision.methods[0] == PINLEASE_METHOD_ODP);
}

int explain_print_json(const struct explanation *e, FILE *out) {
        struct builder object = builder_object();
        struct json_object *json;

        builder_text(&object, "type", "explanation");
        if (e->options->path)
                add_text(&object, "path", e->options->path);
        else {
                builder_number(&object, "pid", (uint64_t)e->options->pid);
                builder_number(&object, "fd", e->options->fd);
        }
        add_flag(&object, "allowed", e->result == 0);
        add_decision(e, &object);
        builder_add(&object, "memory", memory(e));
        if (e->has_backing) {
                builder_add(&object, "request", request(e));
                builder_add(&object, "subject", subject(e));
                builder_add(&object, "device", device(e));
                builder_add(&object, "guards", guards(e));
        }
        if (e->asked) {
                if (e->rule) {
                        struct builder rule = rule_object(e, e->rule);

                        builder_add(&object, "rule", builder_finish(&rule));
                }
                builder_add(&object, "other_rules", others(e));
        }
        json = builder_finish(&object);
        if (!json)
                return -ENOMEM;
        (void)fprintf(out,
                      "%s\n",
                      json_object_to_json_string_ext(json, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE));
        json_object_put(json);
        return 0;
}
