/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* A file of a policy. Whatever it is, there is a block that is right, or at least one error with a place that is in the
 * text; and what is taken for JSON here is JSON to json-c as well. */

#include "fuzz.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "pattern.h"
#include "policy-json.h"
#include "policy-load.h"
#include "utf8.h"
#include "util.h"

static void check_text(const char *text) {
        size_t length = strlen(text);

        while (length > 0) {
                uint32_t c;
                size_t n = pl_utf8_decode(text, length, &c);

                MUST(n > 0 && pl_utf8_is_harmless(c));
                text += n;
                length -= n;
        }
}

/* Keys that are there twice json-c has once. */
static void compare(struct policy_json *json, uint32_t node, struct json_object *value) {
        static const enum json_type types[] = { json_type_object, json_type_array,   json_type_string,
                                                json_type_int,    json_type_boolean, json_type_null };
        const struct policy_json_node *n = json->nodes + node;
        uint32_t child = node + 1;

        if (n->type == POLICY_JSON_NUMBER)
                MUST(json_object_is_type(value, json_type_int) || json_object_is_type(value, json_type_double));
        else
                MUST(json_object_get_type(value) == types[n->type]);
        MUST(n->start < n->end && n->end <= json->size && n->next > node && n->next <= json->n_nodes);
        if (n->type == POLICY_JSON_ARRAY)
                MUST(json_object_array_length(value) == n->n);
        if (n->type == POLICY_JSON_OBJECT)
                MUST((uint32_t)json_object_object_length(value) <= n->n);
        for (uint32_t i = 0; i < n->n; i++) {
                if (n->type == POLICY_JSON_ARRAY)
                        compare(json, child, json_object_array_get_idx(value, i));
                else {
                        _cleanup_(pl_freep) char *key = NULL;
                        int r = policy_json_text(json, child, &key);

                        MUST(r == 0 || r == -EBADMSG);
                        MUST(r < 0 || json_object_object_get_ex(value, key, NULL));
                        child = json->nodes[child].next;
                }
                child = json->nodes[child].next;
        }
        MUST(child == n->next);
}

static void check_json(const char *text, size_t size) {
        struct json_tokener *tokener = json_tokener_new_ex(POLICY_JSON_MAX_DEPTH + 2);
        struct policy_json_error error;
        struct policy_json json;
        int r;

        MUST(tokener);
        r = policy_json_init(&json, text, size, &error);
        MUST(r == 0 || (r == -EBADMSG && error.offset <= size && error.sentence));
        if (r == 0) {
                struct json_object *value;

                json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
                value = json_tokener_parse_ex(tokener, text, (int)size);
                if (json_tokener_get_error(tokener) == json_tokener_continue)
                        value = json_tokener_parse_ex(tokener, "", 1);
                MUST(json_tokener_get_error(tokener) == json_tokener_success);
                compare(&json, 0, value);
                json_object_put(value);
        }
        policy_json_done(&json);
        json_tokener_free(tokener);
}

/* What a request has to do with a rule is decided elsewhere; but no pattern may go wrong with any text. */
static void check_patterns(const struct policy_block *block) {
        for (uint32_t i = 0; i < block->n_rules; i++) {
                const struct policy_rule *rule = policy_rules(block) + i;
                const uint32_t *patterns = (const uint32_t *)(const void *)((const char *)block + rule->paths.offset);

                for (uint32_t k = 0; k < rule->paths.n; k++) {
                        const char *pattern = policy_text(block, patterns[k]);

                        MUST(!pattern_wrong(pattern, PATTERN_PATH));
                        MUST(pattern_covers(pattern, pattern));
                        MUST(!pattern_match(pattern, "relative"));
                        (void)pattern_match(pattern, "/a/b/c/aaaaaaaaaaaaaaaaaaaaaaaa/b");
                }
        }
}

static void check_problems(const struct policy_problems *problems) {
        MUST(problems->n <= POLICY_MAX_PROBLEMS && problems->n <= problems->n_errors + problems->n_warnings);
        MUST(problems->n_errors == 0 || problems->n > 0);
        for (size_t i = 0; i < problems->n; i++) {
                const struct policy_problem *problem = problems->list + i;
                char *line = policy_problem_format(problem);

                MUST(line && *problem->sentence);
                MUST(problem->line > 0 && problem->column > 0);
                check_text(line);
                free(line);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct policy_problems problems = { 0 };
        struct policy_block *block = NULL;
        char path[64];
        const char *const files[] = { path };
        const struct policy_source source = { .files = files, .n_files = 1, .lease_break_ms = 45000 };
        int fd, r;

        if (size > FUZZ_MAX_INPUT)
                return 0;
        check_json((const char *)data, size);

        fd = memfd_create("policy", MFD_CLOEXEC);
        MUST(fd >= 0);
        MUST(write(fd, data, size) == (ssize_t)size);
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        r = policy_load(&source, &problems, &block);
        MUST(r == 0 || r == -EBADMSG);
        MUST((r == 0) == (problems.n_errors == 0) && (r == 0) == (block != NULL));
        check_problems(&problems);
        if (block) {
                MUST(policy_block_check(block, block->size) == 0);
                check_patterns(block);
        }
        free(block);
        policy_problems_done(&problems);
        pl_close(fd);
        return 0;
}
