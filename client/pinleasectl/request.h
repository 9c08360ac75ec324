/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PINLEASECTL_REQUEST_H
#define PINLEASECTL_REQUEST_H

/* What the command line asks for, as parameters of a call and as words for messages. */

#include <json-c/json.h>

#include "pinleasectl.h"

/* How long an answer, or its next part, may take. */
#define REQUEST_PATIENCE_MS 10000

struct request {
        struct json_object *parameters;
        char *what; /* "revoke --pid 4711", printable */
};

enum status request_init(struct request *request, const struct options *options);
void request_done(struct request *request);

/* The service answers a revoke or a drain when the grace time is over, and some time for what has to be done by force. */
uint64_t request_long_patience_ms(const struct options *options);

#endif
