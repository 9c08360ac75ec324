/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_UPLINK_H
#define PL_UPLINK_H

/*
 * A keeper's connection to pinleased, whichever one it is: the one that started the session, or a successor, to which the
 * keeper connects by itself and introduces itself. What the session holds in credit is the keeper's to know; a pinleased
 * has it from the introduction, and by messages after that. So a message that cannot be sent is no matter: the connection
 * is dropped, and the next introduction says all.
 */

#include <stdbool.h>

#include "control.h"

/* How long after a failed attempt the next one comes: doubled each time, between these. */
#define UPLINK_RETRY_MIN_MS 50
#define UPLINK_RETRY_MAX_MS 2000

/* What waits longer than it was to wait is not asked for again. */
#define UPLINK_BREAK_MARGIN_MS 20000

/* A BREAK that has not been answered. */
struct uplink_break {
        uint64_t cookie; /* the registrar's */
        uint64_t device, inode, offset, length;
        uint64_t due; /* CLOCK_MONOTONIC, ms; 0: free */
        uint32_t reason;
};

struct uplink {
        const char *path; /* of the socket for sessions; NULL: no successor is looked for */
        struct control_introduction introduction;
        int ledger; /* borrowed */
        int fd;     /* -1: not connected */
        bool welcome;
        bool wanting;                /* more credit has been asked for, and not answered */
        struct credit_amount wanted;
        uint64_t next_attempt;       /* when not connected; 0: never */
        unsigned int retry_ms;
        struct uplink_break breaks[CONTROL_MAX_BREAKS];
};

/* Takes the socket over and introduces the keeper. The introduction's credit is what the session begins with. */
void uplink_init(struct uplink *uplink,
                 int fd,
                 const char *path,
                 const struct control_introduction *introduction,
                 int ledger);
void uplink_done(struct uplink *uplink);

/* No successor is looked for any more. */
void uplink_retire(struct uplink *uplink);

/* To be called when its time has come, or earlier: connects if that is due. */
void uplink_turn(struct uplink *uplink, uint64_t now_ms);

/* Receives one message, and what comes with it: *ret_fd is the caller's, -1: nothing. Returns 0, or -EAGAIN if there is none for the
 * keeper; keeps the books of credit, and the connection. */
int uplink_recv(struct uplink *uplink, struct control_message *ret_message, int *ret_fd);

/* Asks for more credit, again after a reconnect, until there is an answer. -EPROTO: that is still due, and a second one would
 * be credit that nobody has. */
int uplink_want(struct uplink *uplink, const struct credit_amount *amount);

/* Gives credit back. -EPROTO: more than the session holds. */
int uplink_return(struct uplink *uplink, const struct credit_amount *amount);

/* Sends a BREAK, again after a reconnect, until it is over. -EBUSY: too many are open; -EPROTO: there is one of that
 * cookie. */
int uplink_break(struct uplink *uplink, const struct control_message *message);

/* Until when a BREAK is to be waited for whose answer can still come; 0: there is none. */
uint64_t uplink_waits_until(const struct uplink *uplink);

/* Something that only matters to the pinleased that asked for it. */
void uplink_tell(struct uplink *uplink, const struct control_message *message);

#endif
