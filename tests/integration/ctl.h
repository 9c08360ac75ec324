/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_CTL_H
#define TEST_CTL_H

/* pinleasectl as an administrator runs it, and what it says. Failures end the case. */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Exit statuses, as its manual page has them. */
enum {
        CTL_DONE = 0,
        CTL_FAILED = 1,
        CTL_USAGE = 2,
        CTL_UNREACHABLE = 3,
        CTL_NOT_PERMITTED = 4,
        CTL_NOT_FOUND = 5,
};

/* Who asks whom. */
struct ctl {
        const char *directory; /* of an instance's sockets; NULL: the service */
        const char *user;      /* NULL: root */
};

struct ctl_answer {
        int status;
        char *out, *err;
};

/* Arguments follow, then NULL. ctl: NULL: root asks the service. */
struct ctl_answer ctl_run(const struct ctl *ctl, ...) __attribute__((sentinel));
struct ctl_answer ctl_run_array(const struct ctl *ctl, const char *const arguments[]);
void ctl_done(struct ctl_answer *answer);

/* The status is that, else the case fails, with what was said. */
void ctl_expect(const struct ctl_answer *answer, int status);

/* With --json: the documents, an array, each of which is as doc/ADMIN.md says (schema.h). The exit status is 0. */
struct json_object *ctl_json(const struct ctl *ctl, ...) __attribute__((sentinel));

/* The same, begun and not waited for. */
struct ctl_job {
        pid_t pid;
        int pidfd, out, err;
};
struct ctl_job ctl_begin(const struct ctl *ctl, const char *const arguments[]);
struct ctl_answer ctl_end(struct ctl_job *job);

/* What a command that ended with --json has said, whatever its status. Takes the texts over. */
struct json_object *ctl_documents(const char *command, struct ctl_answer *answer);

/* The admin socket without pinleasectl: a connection, and a call by it, given as JSON. */
int ctl_connect(const struct ctl *ctl);
void ctl_call(int sock, const char *json);
/* The same, where pinleased may be gone: a negative errno, then. */
int ctl_try_connect(const struct ctl *ctl);
int ctl_try_call(int sock, const char *json);
/* The next packet's object; NULL: the connection has ended. *ret_end: it was the last of the answer. */
struct json_object *ctl_receive(int sock, bool *ret_end);

/* A lone document: the only one, for status and metrics, or the last one, a result. */
struct json_object *ctl_last(struct json_object *documents);

/* Members; the case fails if they are not there. */
struct json_object *ctl_get(struct json_object *object, const char *name);
long long ctl_number(struct json_object *object, const char *name);
const char *ctl_text(struct json_object *object, const char *name);

/* The first document of this type with this text, or number as text, as its member. NULL: there is none. */
struct json_object *ctl_find(struct json_object *documents, const char *type, const char *name, const char *value);
unsigned int ctl_count(struct json_object *documents, const char *type);

/* The lines of a journal of this boot that match, as journalctl has it ("MESSAGE_ID=…"), as an array of objects. */
struct json_object *ctl_journal(const char *match, ...) __attribute__((sentinel));

/* A message of doc/OPERATIONS.md. */
struct ctl_message {
        const char *id;         /* as a match: "MESSAGE_ID=…" */
        const char *identifier; /* who says so */
        const char *priority;
};
/* How often it has been said of an app of root's. It has that priority, and names a session. */
unsigned int ctl_said(const struct ctl_message *message, pid_t app);
/* At least once, sooner or later: the journal writes when it has time. */
void ctl_await_said(const struct ctl_message *message, pid_t app);
/* So often, sooner or later. */
void ctl_expect_said(const struct ctl_message *message, pid_t app, unsigned int times);

#endif
