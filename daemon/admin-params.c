/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "admin-params.h"

#include <inttypes.h>
#include <string.h>

#include "admin.h"
#include "util.h"

#define MAX_DEPTH 8

enum param { PARAM_ID, PARAM_PID, PARAM_UID, PARAM_DEVICE, PARAM_INODE, PARAM_GRACE, N_PARAMS };

static const char *const param_names[N_PARAMS] = {
        [PARAM_ID] = "id",
        [PARAM_PID] = "pid",
        [PARAM_UID] = "uid",
        [PARAM_DEVICE] = "device",
        [PARAM_INODE] = "inode",
        [PARAM_GRACE] = "grace_ms",
};

#define WHICH (1U << PARAM_ID | 1U << PARAM_PID | 1U << PARAM_UID | 1U << PARAM_DEVICE | 1U << PARAM_INODE)

static const struct {
        const char *name;
        unsigned int params; /* that it takes */
} methods[N_ADMIN_METHODS] = {
        [ADMIN_STATUS] = { "status", 0 },
        [ADMIN_LIST] = { "list", WHICH },
        [ADMIN_REVOKE] = { "revoke", WHICH | 1U << PARAM_GRACE },
        [ADMIN_RELEASE] = { "release", 1U << PARAM_DEVICE | 1U << PARAM_GRACE },
        [ADMIN_DRAIN] = { "drain", 1U << PARAM_GRACE },
        [ADMIN_UNDRAIN] = { "undrain", 0 },
        [ADMIN_RELOAD] = { "reload", 0 },
        [ADMIN_METRICS] = { "metrics", 0 },
};

/* Digits, up to `end` or the end of the text. Returns what follows, or NULL. */
static const char *parse_digits(const char *text, uint64_t *ret_number) {
        char *end;

        if (*text < '0' || *text > '9')
                return NULL;
        errno = 0;
        *ret_number = strtoull(text, &end, 10);
        return errno ? NULL : end;
}

/* "7" or "7.12". */
static bool parse_id(const char *text, struct admin_filter *filter) {
        const char *rest = parse_digits(text, &filter->session);

        filter->by_session = true;
        if (!rest || filter->session == 0)
                return false;
        if (*rest == '.') {
                filter->by_registration = true;
                rest = parse_digits(rest + 1, &filter->registration);
        }
        return rest && *rest == 0;
}

static bool parse_number(struct json_object *value, uint64_t max, uint64_t *ret_number) {
        if (!json_object_is_type(value, json_type_int) || json_object_get_int64(value) < 0)
                return false;
        *ret_number = json_object_get_uint64(value);
        return *ret_number <= max;
}

static bool parse_param(struct admin_call *call, enum param param, struct json_object *value) {
        struct admin_filter *f = &call->filter;

        switch (param) {
        case PARAM_ID:
                return json_object_is_type(value, json_type_string) &&
                       strlen(json_object_get_string(value)) == (size_t)json_object_get_string_len(value) &&
                       parse_id(json_object_get_string(value), f);
        case PARAM_PID:
                f->by_pid = true;
                return parse_number(value, INT32_MAX, &f->pid);
        case PARAM_UID:
                f->by_uid = true;
                return parse_number(value, UINT32_MAX, &f->uid);
        case PARAM_DEVICE:
                *(call->method == ADMIN_RELEASE ? &f->by_device : &f->by_file) = true;
                return parse_number(value, UINT64_MAX, &f->device);
        case PARAM_INODE:
                f->by_file = true;
                return parse_number(value, UINT64_MAX, &f->inode);
        default:
                return parse_number(value, PL_ADMIN_MAX_GRACE_MS, &call->grace_ms);
        }
}

/* As much of a name as a sentence has room for, in whole characters: the tokener has checked that it is UTF-8. */
#define NAME_MAX_SHOWN 40
static int shown(const char *name) {
        size_t n = strnlen(name, NAME_MAX_SHOWN + 1);

        if (n > NAME_MAX_SHOWN)
                for (n = NAME_MAX_SHOWN; n > 0 && ((unsigned char)name[n] & 0xc0) == 0x80;)
                        n--;
        return (int)n;
}

#define REVOKE_NEEDS "revoke needs exactly one of id, pid, uid, or device with inode."

#define RELEASE_NEEDS "release needs the device of a file system."

/* Without memory for the answer it is wrong all the same. Returns false. */
#define wrong(call, ...) ((call)->wrong = true, (call)->error = admin_error("bad-call", __VA_ARGS__), false)

static bool parse_params(struct admin_call *call, struct json_object *params) {
        unsigned int seen = 0, which;
        bool file;

        json_object_object_foreach(params, name, value) {
                enum param param = 0;

                while (param < N_PARAMS && strcmp(param_names[param], name) != 0)
                        param++;
                if (param == N_PARAMS || !(methods[call->method].params & 1U << param))
                        return wrong(call, "%s has no parameter \"%.*s\".", methods[call->method].name, shown(name), name);
                if (!parse_param(call, param, value))
                        return wrong(call, "The parameter \"%s\" has a value that it cannot have.", name);
                seen |= 1U << param;
        }

        if (call->method == ADMIN_RELEASE)
                return call->filter.by_device || wrong(call, RELEASE_NEEDS);
        file = seen & 1U << PARAM_DEVICE;
        if (file != !!(seen & 1U << PARAM_INODE))
                return wrong(call, "\"device\" and \"inode\" go together.");
        which = seen & WHICH & ~(1U << PARAM_INODE);
        if (call->method == ADMIN_REVOKE && (which == 0 || which & (which - 1)))
                return wrong(call, REVOKE_NEEDS);
        return true;
}

static bool parse_call(struct admin_call *call, struct json_object *root) {
        struct json_object *method = NULL, *params = NULL;
        const char *name;

        json_object_object_foreach(root, key, value) {
                if (strcmp(key, "method") == 0)
                        method = value;
                else if (strcmp(key, "parameters") == 0)
                        params = value;
                else
                        return wrong(call, "A call has no member \"%.*s\".", shown(key), key);
        }
        if (!json_object_is_type(method, json_type_string) ||
            strlen(json_object_get_string(method)) != (size_t)json_object_get_string_len(method))
                return wrong(call, "A call needs a \"method\".");
        if (params && !json_object_is_type(params, json_type_object))
                return wrong(call, "\"parameters\" is an object.");

        name = json_object_get_string(method);
        for (unsigned int m = ADMIN_NONE + 1; m < N_ADMIN_METHODS; m++)
                if (strcmp(name, methods[m].name) == 0) {
                        call->method = m;
                        if (params)
                                return parse_params(call, params);
                        return m == ADMIN_REVOKE    ? wrong(call, REVOKE_NEEDS)
                               : m == ADMIN_RELEASE ? wrong(call, RELEASE_NEEDS)
                                                    : true;
                }
        return wrong(call, "There is no method \"%.*s\".", shown(name), name);
}

void admin_params_parse(struct admin_call *call, const char *text, size_t length) {
        struct json_tokener *tokener = json_tokener_new_ex(MAX_DEPTH);
        struct json_object *root = NULL;

        /* So that there is a call to be answered with an error. */
        call->method = ADMIN_STATUS;
        if (tokener && length > 0 && length <= INT32_MAX) {
                json_tokener_set_flags(tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
                root = json_tokener_parse_ex(tokener, text, (int)length);
                if (json_tokener_get_error(tokener) != json_tokener_success || json_tokener_get_parse_end(tokener) != length) {
                        json_object_put(root);
                        root = NULL;
                }
        }
        if (tokener)
                json_tokener_free(tokener);

        if (json_object_is_type(root, json_type_object))
                (void)parse_call(call, root);
        else
                (void)wrong(call, "The call is not one JSON object.");
        json_object_put(root);
}
