/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "admin-report.h"

#include <inttypes.h>
#include <stdio.h>

#include "supervisor.h"

/* An object in the making; what fails once stays failed. */
struct builder {
        struct json_object *object;
        bool failed;
};

static struct builder begin(void) {
        struct builder b = { .object = json_object_new_object() };

        b.failed = !b.object;
        return b;
}

static void put(struct builder *b, const char *name, struct json_object *value) {
        if (!value || b->failed || json_object_object_add(b->object, name, value) < 0) {
                json_object_put(value);
                b->failed = true;
        }
}

static void put_number(struct builder *b, const char *name, uint64_t number) {
        put(b, name, json_object_new_uint64(number));
}

static void put_string(struct builder *b, const char *name, const char *text) {
        put(b, name, json_object_new_string(text));
}

static struct json_object *finish(struct builder *b) {
        if (!b->failed)
                return b->object;
        json_object_put(b->object);
        return NULL;
}

struct users {
        struct json_object *array;
        bool failed;
};

static void add_user(const struct account *account, void *userdata) {
        struct users *users = userdata;
        struct builder b = begin();
        struct json_object *user;

        put_number(&b, "uid", account->uid);
        put_number(&b, "sessions", account->n_sessions);
        put_number(&b, "silent", account->n_silent);
        put(&b, "credit", report_amount(&account->held));
        user = finish(&b);
        if (!user || json_object_array_add(users->array, user) < 0) {
                json_object_put(user);
                users->failed = true;
        }
}

/* One packet holds some 400 users; who has more has `list`. */
#define MAX_USERS 300

static void add_user_if_room(const struct account *account, void *userdata) {
        const struct users *users = userdata;

        if (!users->failed && json_object_array_length(users->array) < MAX_USERS)
                add_user(account, userdata);
}

static struct json_object *report_users(const struct accounts *accounts) {
        struct users users = { .array = json_object_new_array() };

        if (!users.array)
                return NULL;
        accounts_each(accounts, add_user_if_room, &users);
        if (!users.failed)
                return users.array;
        json_object_put(users.array);
        return NULL;
}

static struct json_object *report_limits(const struct supervisor_config *config) {
        struct builder b = begin();

        put_number(&b, "sessions", config->limits.sessions);
        put_number(&b, "sessions_per_user", config->limits.sessions_per_user);
        put_number(&b, "silent_per_user", config->limits.silent_per_user);
        put(&b, "session", report_amount(&config->sessions.session_limits));
        put(&b, "user", report_amount(&config->sessions.user_limits));
        return finish(&b);
}

struct json_object *admin_report_status(const struct admin_call *call) {
        static const char *const states[] = {
                [SUPERVISOR_SETTLING] = "settling",
                [SUPERVISOR_SERVING] = "serving",
                [SUPERVISOR_DRAINING] = "draining",
                [SUPERVISOR_DRAINED] = "drained",
        };
        const struct supervisor *s = call->supervisor;
        struct builder b = begin();

        put_string(&b, "version", PACKAGE_VERSION);
        put_number(&b, "pid", (uint64_t)getpid());
        put_number(&b, "started", s->started);
        put_string(&b, "state", states[s->state]);
        put_number(&b, "sessions", call->n_sessions);
        put_number(&b, "silent", s->accounts.n_silent);
        put_number(&b, "resumed", call->n_resumed);
        put_number(&b, "other_version", call->n_other_version);
        put(&b, "in_use", report_in_use(&call->totals));
        put(&b, "credit", report_amount(&call->credit));
        put(&b, "users", report_users(&s->accounts));
        put(&b, "limits", report_limits(&s->config));
        return finish(&b);
}

struct json_object *admin_report_metrics(const struct admin_call *call) {
        const struct supervisor *s = call->supervisor;
        struct json_object *registrars = json_object_new_array();
        struct builder b = begin();
        size_t n = 0;

        put_number(&b, "sessions", call->n_sessions);
        put_number(&b, "sessions_started", s->sessions.n_started);
        put_number(&b, "sessions_turned_away", s->n_turned_away);
        put_number(&b, "sessions_resumed", s->sessions.n_resumed);
        put_number(&b, "silent", s->accounts.n_silent);
        for (const struct session *session = s->sessions.first; session && registrars && n < 5000; session = session->next)
                if (session->registrar_pid > 0) {
                        struct json_object *pid = json_object_new_int64(session->registrar_pid);

                        n++;
                        if (!pid || json_object_array_add(registrars, pid) < 0) {
                                json_object_put(pid);
                                b.failed = true;
                        }
                }
        put(&b, "registrars", registrars);
        if (b.failed || report_metrics(b.object, &call->totals) < 0)
                b.failed = true;
        return finish(&b);
}

static const char *state_of(const struct session *session) {
        if (session->state == SESSION_OTHER_VERSION)
                return "other-version";
        if (session->state == SESSION_STARTING)
                return "starting";
        return session->ending ? "ending" : "serving";
}

struct json_object *admin_report_session(const struct session *session,
                                         int (*read_totals)(const struct session *session, struct stats_totals *ret_totals)) {
        uint64_t now = pl_boottime_ms();
        struct stats_totals totals;
        struct builder b = begin();
        char id[24];

        (void)snprintf(id, sizeof id, "%" PRIu64, session->id);
        put_string(&b, "type", "session");
        put_string(&b, "id", id);
        put_number(&b, "pid", (uint64_t)session->app_pid);
        put_number(&b, "uid", session->account->uid);
        put_number(&b, "gid", session->gid);
        put_number(&b, "keeper_pid", (uint64_t)session->keeper_pid);
        put_number(&b, "registrar_pid", (uint64_t)session->registrar_pid);
        put_string(&b, "state", state_of(session));
        put_number(&b, "age_ms", session->started_ms && session->started_ms < now ? now - session->started_ms : 0);
        put(&b, "resumed", json_object_new_boolean(session->resumed));
        if (read_totals(session, &totals) < 0)
                totals = (struct stats_totals) { 0 };
        put(&b, "in_use", report_in_use(&totals));
        put(&b, "credit", report_amount(&session->held));
        return finish(&b);
}

struct json_object *admin_report_counts(const struct admin_call *call) {
        struct builder b = begin();

        put_number(&b, "sessions", call->n_sessions);
        put_number(&b, "registrations", call->n_registrations);
        return finish(&b);
}

struct json_object *admin_report_revoked(const struct admin_call *call) {
        struct builder b = begin();

        put_number(&b, "sessions", call->n_sessions);
        put_number(&b, "released", call->counts[REVOCATION_RELEASED]);
        put_number(&b, "forced", call->counts[REVOCATION_FORCED]);
        put_number(&b, "kept", call->counts[REVOCATION_KEPT]);
        put_number(&b, "lost", call->n_lost);
        return finish(&b);
}

struct json_object *admin_report_drained(const struct admin_call *call) {
        struct builder b = begin();

        put_number(&b, "sessions", call->n_sessions);
        put_number(&b, "left", call->left);
        return finish(&b);
}
