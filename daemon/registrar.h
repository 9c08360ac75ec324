/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_REGISTRAR_H
#define PL_REGISTRAR_H

/*
 * The process that talks to the app: receives requests, runs them (request.h), answers. Parses everything that is hostile
 * and has no privilege; whatever it does or fails to do, the keeper cleans up behind it.
 */

#include "request.h"

struct registrar_config {
        int client;  /* the app's socket; owned */
        int control; /* to the keeper; owned */
        uint64_t session;
        struct credit_limits limits;
        unsigned int hello_timeout_ms;
};

/* Runs until the app or the service ends the session, then gives everything up and exits the process. */
_Noreturn void registrar_run(const struct registrar_config *config, const struct uverbs_ops *uverbs, struct ledger *ledger);

#endif
