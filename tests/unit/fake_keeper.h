/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_FAKE_KEEPER_H
#define PL_FAKE_KEEPER_H

/*
 * A session program for tests of pinleased: a keeper without a registrar, that does what it is told to over the connection
 * that would be its app's. Its line to pinleased is the real one (uplink.c), as are its ledger and its arguments.
 */

#include "control.h"

enum fake_keeper_what {
        FAKE_INTRODUCE,    /* first: as a keeper does */
        FAKE_INTRODUCE_AS, /* or with this introduction, and no successor looked for */
        FAKE_SEND, /* these bytes to pinleased, with the ledger if value is 1; no introduction is needed before */
        FAKE_WANT,
        FAKE_RETURN,   /* as much of the amount as it holds */
        FAKE_TELL,     /* this message */
        FAKE_DROP,     /* loses its connection to pinleased */
        FAKE_FILL,     /* so many registrations stand in the ledger */
        FAKE_REGISTER, /* registration `value` stands in the ledger: the message's device, inode, offset, length; id:
                          owner */
        FAKE_LIE,      /* its ledger is none any more */
        FAKE_STATE,    /* answers with a fake_keeper_state */
        FAKE_EXIT,     /* with this status */
};

struct fake_keeper_command {
        uint32_t what;
        uint32_t value;
        struct credit_amount amount;
        union {
                struct control_introduction introduction;
                struct control_message message;
                char bytes[256];
        };
};

struct fake_keeper_state {
        uint64_t session;
        struct credit_amount held;
        uint32_t connected, welcome, wanting;
        uint32_t n_attempts;   /* to find a successor */
        uint32_t n_credit;     /* answers */
        uint32_t n_going_away;
        uint32_t n_revoke;
        uint32_t n_break_over;
        uint32_t n_policy;
        uint32_t policy_rules; /* of the last */
        struct control_message credit, revoke, going_away, break_over; /* the last of each */
};

#endif
