/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_TEST_RUNNING_H
#define PL_TEST_RUNNING_H

/* A whole supervisor in a process of its own, with the test's sockets, whose sessions are fake_keeper's: apps and
 * administrators of it. */

#include <json-c/json.h>

#include "admin.h"
#include "service.h"
#include "supervisor.h"

struct running {
        char folder[32];
        char client[64], session[64], admin[64], roster[64], notify[64];
        int clients, sessions, admins; /* listening, as systemd's */
        int notices; /* what the service manager hears, a letter each: R(eady), S(topping) */
        pid_t manager;
        struct supervisor_config config;
        struct policy_base base; /* of its policy */
        void (*prepare)(void);   /* the last thing before it runs, in its process; NULL: nothing */
        pid_t pid;
};

/* Makes the sockets; the test may change the configuration. */
void running_setup(struct running *r);
void running_teardown(struct running *r);

/* Starts it, and waits until it says that it is ready. */
void running_start(struct running *r);

/* The same, without the waiting. */
void running_begin(struct running *r);
void running_expect_notice(struct running *r, char notice);

/* Signals it and waits for its end. Returns the wait status. */
int running_stop(struct running *r, int signal);

/* Connects as this user, if that is possible: root only. */
int running_connect(const char *path, uid_t uid, gid_t gid);

/* An app that says its first word: there is a session, whose keeper does what it is told. */
void running_app(const struct running *r, uid_t uid, struct fake_keeper *ret_keeper);

bool running_is_quiet(int fd);

/* So many registrations stand in its ledger. */
void keeper_fill(struct fake_keeper *keeper, uint32_t n);

/* --- administrators --- */

int admin_connect(const struct running *r);
void admin_send(int fd, uint32_t seq, const char *call);

/* The next packet: its body, which is the caller's. NULL: the connection has ended. */
struct json_object *admin_receive(int fd, uint16_t *ret_opcode, uint32_t *ret_seq);

/* Receives the rest of an answer. Returns the END, and the items if they are wanted. */
struct json_object *admin_receive_end(int fd, uint32_t seq, struct json_object **ret_items);

/* Both. */
struct json_object *admin_ask(int fd, const char *call, struct json_object **ret_items);

/* The code of the error; "": there is none. */
const char *admin_code(struct json_object *end);

/* A number in an object, by a path of members, "credit.pinned_bytes". */
int64_t admin_number(struct json_object *object, const char *path);
const char *admin_text(struct json_object *object, const char *name);

/* Asks: the answer is an error with this code ("": none), or one of the numbers of a method with one item, or of the END. */
void admin_expect_code(int fd, const char *call, const char *code);
int64_t admin_ask_number(int fd, const char *call, const char *path);
int64_t admin_ask_result(int fd, const char *call, const char *path);

#endif
