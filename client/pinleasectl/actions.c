/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* pinleasectl revoke, release, drain, undrain, reload: what changes something. */

#include <err.h>
#include <inttypes.h>
#include <stdio.h>

#include "adminclient.h"
#include "field.h"
#include "pinleasectl.h"
#include "request.h"

struct action {
        struct context *context;
        uint64_t kept; /* registrations, or sessions */
        void (*print)(struct action *action, struct json_object *result);
};

static void print_revoke(struct action *action, struct json_object *result) {
        struct terminal *t = &action->context->terminal;

        action->kept = field_number_or_0(result, "kept");
        if (action->context->options->json)
                return;
        terminal_pairf(t, 0, "let go by apps", "%" PRIu64, field_number_or_0(result, "released"));
        terminal_pairf(t, 0, "taken away", "%" PRIu64, field_number_or_0(result, "forced"));
        terminal_pairf(t, 0, "kept", "%" PRIu64, action->kept);
        terminal_pairf(t,
                       0,
                       "sessions",
                       "%" PRIu64 ", of which %" PRIu64 " have ended meanwhile",
                       field_number_or_0(result, "sessions"),
                       field_number_or_0(result, "lost"));
}

static void print_drain(struct action *action, struct json_object *result) {
        action->kept = field_number_or_0(result, "left");
        if (!action->context->options->json)
                terminal_pairf(&action->context->terminal,
                               0,
                               "drained",
                               "of %" PRIu64 " sessions, %" PRIu64 " are left; connections wait until undrain",
                               field_number_or_0(result, "sessions"),
                               action->kept);
}

static void print_undrain(struct action *action, _unused_ struct json_object *result) {
        if (!action->context->options->json)
                terminal_line(&action->context->terminal, NULL, "Sessions are accepted again.");
}

static void print_reload(struct action *action, struct json_object *result) {
        if (!action->context->options->json)
                terminal_pairf(&action->context->terminal,
                               0,
                               "policy",
                               "%" PRIu64 " rules, %" PRIu64 " warnings; what it refuses is being given back",
                               field_number_or_0(result, "rules"),
                               field_number_or_0(result, "warnings"));
}

static enum status print_answer(void *userdata, const struct answer *answer) {
        struct action *action = userdata;

        if (answer->is_end && !json_object_object_get_ex(answer->object, "error", NULL))
                action->print(action, answer->object);
        return STATUS_OK;
}

static enum status run(struct action *action, const char *method, uint64_t patience_ms) {
        struct request request;
        enum status status;

        status = request_init(&request, action->context->options);
        if (status == STATUS_OK) {
                struct call call = {
                        .what = request.what,
                        .method = method,
                        .parameters = request.parameters,
                        .patience_ms = patience_ms,
                        .handler = print_answer,
                        .userdata = action,
                };

                status = admin_run(action->context, &call);
        }
        request_done(&request);
        return status;
}

static enum status take_back(struct context *context, const char *method) {
        struct action action = { .context = context, .print = print_revoke };
        enum status status = run(&action, method, request_long_patience_ms(context->options));

        if (status != STATUS_OK || action.kept == 0)
                return status;
        warnx("%" PRIu64 " registrations are kept by the kernel: a memory window is bound to them. They go with their app",
              action.kept);
        return STATUS_FAILED;
}

enum status revoke_run(struct context *context) {
        return take_back(context, "revoke");
}

enum status release_run(struct context *context) {
        return take_back(context, "release");
}

enum status drain_run(struct context *context) {
        struct action action = { .context = context, .print = print_drain };
        enum status status = run(&action, "drain", request_long_patience_ms(context->options));

        if (status != STATUS_OK || action.kept == 0)
                return status;
        warnx("%" PRIu64 " sessions have not ended; see pinleasectl list", action.kept);
        return STATUS_FAILED;
}

enum status undrain_run(struct context *context) {
        struct action action = { .context = context, .print = print_undrain };

        return run(&action, "undrain", REQUEST_PATIENCE_MS);
}

enum status reload_run(struct context *context) {
        struct action action = { .context = context, .print = print_reload };

        return run(&action, "reload", REQUEST_PATIENCE_MS);
}
