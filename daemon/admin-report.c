/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "admin-report.h"

#include <inttypes.h>
#include <stdio.h>

#include "supervisor.h"

/* One packet holds some 400 users; who has more has `list`. */
#define MAX_USERS      300
#define MAX_REGISTRARS 5000

static void add_user(const struct account *account, void *userdata) {
        struct builder *users = userdata, user;

        if (users->failed || json_object_array_length(users->json) >= MAX_USERS)
                return;
        user = builder_object();
        builder_number(&user, "uid", account->uid);
        builder_number(&user, "sessions", account->n_sessions);
        builder_number(&user, "silent", account->n_silent);
        builder_add(&user, "credit", report_amount(&account->held));
        builder_append(users, builder_finish(&user));
}

static struct json_object *report_users(const struct accounts *accounts) {
        struct builder users = builder_array();

        accounts_each(accounts, add_user, &users);
        return builder_finish(&users);
}

static void add_limit(struct builder *object, const char *key, uint64_t limit) {
        if (limit == UINT64_MAX)
                builder_null(object, key);
        else
                builder_number(object, key, limit);
}

static struct json_object *report_limit(const struct credit_amount *limit) {
        struct builder b = builder_object();

        add_limit(&b, "pinned_bytes", limit->pinned);
        add_limit(&b, "odp_bytes", limit->odp);
        add_limit(&b, "registrations", limit->registrations);
        return builder_finish(&b);
}

static struct json_object *report_limits(const struct supervisor_config *config) {
        struct builder b = builder_object();

        builder_number(&b, "sessions", config->limits.sessions);
        builder_number(&b, "sessions_per_user", config->limits.sessions_per_user);
        builder_number(&b, "silent_per_user", config->limits.silent_per_user);
        builder_add(&b, "session", report_limit(&config->sessions.limits.session));
        builder_add(&b, "user", report_limit(&config->sessions.limits.user));
        builder_add(&b, "total", report_limit(&config->sessions.limits.total));
        return builder_finish(&b);
}

struct json_object *admin_report_status(const struct admin_call *call) {
        static const char *const states[] = {
                [SUPERVISOR_SETTLING] = "settling",
                [SUPERVISOR_SERVING] = "serving",
                [SUPERVISOR_DRAINING] = "draining",
                [SUPERVISOR_DRAINED] = "drained",
        };
        const struct supervisor *s = call->supervisor;
        struct builder b = builder_object();

        builder_text(&b, "version", PACKAGE_VERSION);
        builder_number(&b, "pid", (uint64_t)getpid());
        builder_number(&b, "started", s->started);
        builder_text(&b, "state", states[s->state]);
        builder_number(&b, "sessions", call->n_sessions);
        builder_number(&b, "silent", s->accounts.n_silent);
        builder_number(&b, "resumed", call->n_resumed);
        builder_number(&b, "other_version", call->n_other_version);
        builder_add(&b, "in_use", report_in_use(&call->totals));
        builder_add(&b, "credit", report_amount(&call->credit));
        builder_add(&b, "users", report_users(&s->accounts));
        builder_add(&b, "limits", report_limits(&s->config));
        return builder_finish(&b);
}

struct json_object *admin_report_metrics(const struct admin_call *call) {
        struct builder b = builder_object(), registrars = builder_array();
        const struct supervisor *s = call->supervisor;
        size_t n = 0;

        builder_number(&b, "sessions", call->n_sessions);
        builder_number(&b, "sessions_started", s->sessions.n_started);
        builder_number(&b, "sessions_turned_away", s->n_turned_away);
        builder_number(&b, "sessions_resumed", s->sessions.n_resumed);
        builder_number(&b, "silent", s->accounts.n_silent);
        for (const struct session *session = s->sessions.first; session && n < MAX_REGISTRARS; session = session->next)
                if (session->registrar_pid > 0) {
                        builder_append(&registrars, json_object_new_int64(session->registrar_pid));
                        n++;
                }
        builder_add(&b, "registrars", builder_finish(&registrars));
        report_metrics(&b, &call->totals);
        return builder_finish(&b);
}

static const char *state_of(const struct session *session) {
        if (session->state == SESSION_OTHER_VERSION)
                return "other-version";
        if (session->state == SESSION_STARTING)
                return "starting";
        return session->ending ? "ending" : "serving";
}

struct json_object *admin_report_session(struct session *session,
                                         int (*read_totals)(struct session *session, struct stats_totals *ret_totals)) {
        uint64_t now = pl_boottime_ms();
        struct stats_totals totals;
        struct builder b = builder_object();
        char id[24];

        (void)snprintf(id, sizeof id, "%" PRIu64, session->id);
        builder_text(&b, "type", "session");
        builder_text(&b, "id", id);
        builder_number(&b, "pid", (uint64_t)session->app_pid);
        builder_number(&b, "uid", session->account->uid);
        builder_number(&b, "gid", session->gid);
        builder_number(&b, "keeper_pid", (uint64_t)session->keeper_pid);
        builder_number(&b, "registrar_pid", (uint64_t)session->registrar_pid);
        builder_text(&b, "state", state_of(session));
        builder_number(&b, "age_ms", session->started_ms && session->started_ms < now ? now - session->started_ms : 0);
        builder_add(&b, "resumed", json_object_new_boolean(session->resumed));
        if (read_totals(session, &totals) < 0)
                totals = (struct stats_totals) { 0 };
        builder_add(&b, "in_use", report_in_use(&totals));
        builder_add(&b, "credit", report_amount(&session->held));
        return builder_finish(&b);
}

struct json_object *admin_report_counts(const struct admin_call *call) {
        struct builder b = builder_object();

        builder_number(&b, "sessions", call->n_sessions);
        builder_number(&b, "registrations", call->n_registrations);
        return builder_finish(&b);
}

struct json_object *admin_report_revoked(const struct admin_call *call) {
        struct builder b = builder_object();

        builder_number(&b, "sessions", call->n_sessions);
        builder_number(&b, "released", call->counts[REVOCATION_RELEASED]);
        builder_number(&b, "forced", call->counts[REVOCATION_FORCED]);
        builder_number(&b, "kept", call->counts[REVOCATION_KEPT]);
        builder_number(&b, "lost", call->n_lost);
        return builder_finish(&b);
}

struct json_object *admin_report_drained(const struct admin_call *call) {
        struct builder b = builder_object();

        builder_number(&b, "sessions", call->n_sessions);
        builder_number(&b, "left", call->left);
        return builder_finish(&b);
}
