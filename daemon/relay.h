/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_RELAY_H
#define PL_RELAY_H

/* The policy on its way from pinleased to the registrar: the keeper holds the newest until it could be passed on. */

struct relay {
        int policy; /* -1: none is held */
};

/* Owns the descriptor from here on; -1 is accepted. */
void relay_hold(struct relay *relay, int policy);

/* Passes it on, if the registrar's socket takes it now; else the next time. control: -1: there is nobody any more. */
void relay_turn(struct relay *relay, int control);

void relay_done(struct relay *relay);

#endif
