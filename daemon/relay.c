/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "relay.h"

#include "control.h"
#include "util.h"

void relay_hold(struct relay *relay, int policy) {
        pl_close(relay->policy);
        relay->policy = policy;
}

void relay_turn(struct relay *relay, int control) {
        if (relay->policy < 0 || control < 0)
                return;
        if (control_send(control, &(struct control_message) { .type = CONTROL_POLICY }, relay->policy) == 0)
                relay->policy = pl_close(relay->policy);
}

void relay_done(struct relay *relay) {
        relay->policy = pl_close(relay->policy);
}
