/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "view.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "ctl.h"
#include "harness.h"

bool amount_equal(const struct amount *a, const struct amount *b) {
        return a->pinned == b->pinned && a->odp == b->odp && a->registrations == b->registrations;
}

void amount_add(struct amount *sum, const struct amount *more) {
        sum->pinned += more->pinned;
        sum->odp += more->odp;
        sum->registrations += more->registrations;
}

const char *amount_text(const struct amount *amount) {
        static char texts[2][96];
        static unsigned int next;
        char *text = texts[next++ % ELEMENTSOF(texts)];

        (void)snprintf(text,
                       sizeof texts[0],
                       "%" PRIu64 " pinned, %" PRIu64 " odp, %" PRIu64 " registrations",
                       amount->pinned,
                       amount->odp,
                       amount->registrations);
        return text;
}

/* --- asking --- */

typedef void item_handler(struct json_object *item, void *userdata);

/* One attempt. False: whoever was asked is gone. */
static bool try_ask(const char *directory, const char *method, item_handler *handler, void *userdata) {
        int sock = ctl_try_connect(&(const struct ctl) { .directory = directory });
        bool end = false, lost;
        char call[64];

        (void)snprintf(call, sizeof call, "{\"method\":\"%s\"}", method);
        lost = sock < 0 || ctl_try_call(sock, call) < 0;
        while (!lost && !end) {
                struct json_object *object = ctl_receive(sock, &end);

                if (object && end && json_object_object_get(object, "error"))
                        FAIL("%s: %s", method, json_object_to_json_string(object));
                if (object && !end)
                        handler(object, userdata);
                lost = !object;
                json_object_put(object);
        }
        if (sock >= 0)
                close(sock);
        return end;
}

/* --- understanding --- */

static struct amount amount(struct json_object *object, const char *name) {
        struct json_object *value = ctl_get(object, name);

        return (struct amount) {
                (uint64_t)ctl_number(value, "pinned_bytes"),
                (uint64_t)ctl_number(value, "odp_bytes"),
                (uint64_t)ctl_number(value, "registrations"),
        };
}

static void text(struct json_object *object, const char *name, char *ret_text, size_t size) {
        (void)snprintf(ret_text, size, "%s", ctl_text(object, name));
}

static void take_registration(struct view_session *s, struct json_object *item) {
        const char *id = ctl_text(item, "id"), *dot = strchr(id, '.');

        CHECK(dot);
        CHECK_EQUAL(strtoull(id, NULL, 10), s->id);
        if (s->n_registrations < VIEW_IDS)
                s->ids[s->n_registrations] = strtoull(dot + 1, NULL, 10);
        s->n_registrations++;
}

static void take_listed(struct json_object *item, void *userdata) {
        struct view *view = userdata;
        struct view_session *s;
        char type[16];

        text(item, "type", type, sizeof type);
        if (strcmp(type, "registration") == 0) {
                CHECK(view->n > 0);
                take_registration(view->sessions + view->n - 1, item);
                return;
        }
        CHECK(view->n < VIEW_SESSIONS);
        s = view->sessions + view->n++;
        *s = (struct view_session) {
                .id = strtoull(ctl_text(item, "id"), NULL, 10),
                .pid = (pid_t)ctl_number(item, "pid"),
                .keeper = (pid_t)ctl_number(item, "keeper_pid"),
                .registrar = (pid_t)ctl_number(item, "registrar_pid"),
                .uid = (uid_t)ctl_number(item, "uid"),
                .resumed = json_object_get_boolean(ctl_get(item, "resumed")),
                .in_use = amount(item, "in_use"),
                .credit = amount(item, "credit"),
        };
        text(item, "state", s->state, sizeof s->state);
}

static void take_status(struct json_object *item, void *userdata) {
        struct status *status = userdata;
        struct json_object *users = ctl_get(item, "users");

        *status = (struct status) {
                .pid = (pid_t)ctl_number(item, "pid"),
                .sessions = (unsigned int)ctl_number(item, "sessions"),
                .silent = (unsigned int)ctl_number(item, "silent"),
                .resumed = (unsigned int)ctl_number(item, "resumed"),
                .other_version = (unsigned int)ctl_number(item, "other_version"),
                .in_use = amount(item, "in_use"),
                .credit = amount(item, "credit"),
        };
        text(item, "state", status->state, sizeof status->state);
        for (size_t i = 0; i < json_object_array_length(users); i++) {
                struct json_object *user = json_object_array_get_idx(users, i);

                CHECK(status->n_users < VIEW_USERS);
                status->users[status->n_users++] = (struct view_user) {
                        .uid = (uid_t)ctl_number(user, "uid"),
                        .sessions = (unsigned int)ctl_number(user, "sessions"),
                        .credit = amount(user, "credit"),
                };
        }
}

struct question {
        const char *directory, *method;
        item_handler *handler;
        void *answer;
        size_t size;
};

static bool is_answered(const void *argument) {
        const struct question *q = argument;

        memset(q->answer, 0, q->size);
        return try_ask(q->directory, q->method, q->handler, q->answer);
}

static void ask(const struct question *q) {
        if (!eventually(is_answered, q))
                FAIL("%s: nobody answers", q->method);
}

void view_list(const char *directory, struct view *ret_view) {
        ask(&(const struct question) { directory, "list", take_listed, ret_view, sizeof *ret_view });
}

void view_status(const char *directory, struct status *ret_status) {
        ask(&(const struct question) { directory, "status", take_status, ret_status, sizeof *ret_status });
}

const struct view_session *view_of(const struct view *view, pid_t app) {
        const struct view_session *found = NULL;

        for (unsigned int i = 0; i < view->n; i++)
                if (view->sessions[i].pid == app) {
                        if (found)
                                FAIL("process %d has two sessions", (int)app);
                        found = view->sessions + i;
                }
        if (!found)
                FAIL("the session of process %d is not listed", (int)app);
        return found;
}

const struct view_user *view_user(const struct status *status, uid_t uid) {
        for (unsigned int i = 0; i < status->n_users; i++)
                if (status->users[i].uid == uid)
                        return status->users + i;
        return NULL;
}

static bool has_no_session(const void *argument) {
        struct status status;

        view_status(argument, &status);
        return status.sessions == 0 && status.silent == 0;
}

void view_expect_nothing(const char *directory) {
        const struct amount nothing = { 0 };
        struct status status;

        if (!eventually(has_no_session, directory))
                FAIL("there are sessions still");
        view_status(directory, &status);
        if (!amount_equal(&status.credit, &nothing) || !amount_equal(&status.in_use, &nothing))
                FAIL("without a session, credit is %s; in use are %s", amount_text(&status.credit), amount_text(&status.in_use));
        CHECK_EQUAL(status.n_users, 0);
}
