/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_KEEPER_H
#define PL_KEEPER_H

/*
 * The registrar's parent. Parses nothing from the app. Holds a copy of every command fd, closes for the registrar what may
 * take long, watches the app, the registrar and pinleased, and when the registrar ends, is killed or hangs, destroys what it
 * leaves registered and gives up its leases. Sets the registrar's pin ceiling to what pinleased hands out, and the
 * app's own where a rule has private memory pinned.
 *
 * A registrar that hangs is found by heartbeat only: a process that is stuck in the kernel dies of no signal, so its pidfd
 * stays silent and its sockets stay open.
 */

#include <sys/types.h>

#include "cleanup.h"
#include "control.h"
#include "ledger.h"
#include "uverbs.h"

struct keeper_config {
        int client;     /* the app's socket: to shut it down, never read; owned */
        int control;    /* to the registrar; owned */
        int supervisor; /* to pinleased; owned */
        const char *session_socket; /* where a successor of pinleased is found; NULL: nowhere */
        struct control_introduction introduction;
        int app;        /* pidfd of the app; -1: not known; owned */
        int app_state;  /* freeze_open_state(); owned */
        int registrar;  /* pidfd; owned */
        bool pins_private; /* policy_pins_private(), of what the registrar began with */
        unsigned int heartbeat_ms; /* how often the registrar is asked */
        unsigned int hang_ms;      /* how long it may owe the answer, on top of what a running ioctl may take */
};

/* Runs until the session is over and cleaned up. Returns the exit status. */
int keeper_run(const struct keeper_config *config, const struct uverbs_ops *uverbs, struct ledger *ledger);

#endif
