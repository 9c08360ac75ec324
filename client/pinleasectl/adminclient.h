/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PINLEASECTL_ADMINCLIENT_H
#define PINLEASECTL_ADMINCLIENT_H

/*
 * Calls over the admin socket. The only place that touches it. Whatever listens there is not trusted: what it sends is
 * checked, is not kept longer than one packet, and is waited for only so long.
 */

#include <json-c/json.h>

#include "pinleasectl.h"

struct admin;

/* NULL-safe; returns NULL. */
struct admin *admin_close(struct admin *admin);

static inline void admin_closep(struct admin **admin) {
        *admin = admin_close(*admin);
}

/* A part of an answer: an item, or its end. The text is the object as it was sent; it does not end with a NUL. */
struct answer {
        bool is_end;
        struct json_object *object;
        const char *text;
        size_t length;
};

/* Is told of every item and of the end, also if that is an error. A status other than STATUS_OK gives the call up. */
typedef enum status admin_handler(void *userdata, const struct answer *answer);

struct call {
        const char *what; /* for messages: "revoke 7.12" */
        const char *method;
        struct json_object *parameters; /* borrowed; may be NULL */
        uint64_t patience_ms;           /* at most between two packets */
        admin_handler *handler;
        void *userdata;
};

/* For a command: connects if that is needed, and keeps the connection for the next one. With --json every document is printed here; the handler prints
 * nothing then, but still sees it. */
enum status admin_run(struct context *context, const struct call *call);

#endif
