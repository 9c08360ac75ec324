/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_LINE_H
#define PL_LINE_H

/*
 * The registrar's line to its keeper: one socket, on which something is said, waited for, and heard that nobody asked for.
 * A wait is bounded, ends when the app hangs up, and leaves nothing else undone meanwhile: the keeper's PING is answered,
 * and the registrar's other duties go on (tend).
 *
 * Credit comes by it as well. The keeper asks pinleased; where that is being replaced, no answer comes for a while, and the
 * keeper repeats the question to the successor. So at most one question is open, also beyond the request that needed it.
 */

#include "control.h"

/* How long the keeper may take to take a descriptor over, and how long a request waits for credit. */
#define KEEPER_TIMEOUT_MS 5000
#define CREDIT_TIMEOUT_MS 10000

struct line_ops {
        /* A message that is none of the line's own business. Returns 0, or a negative errno that ends the session. */
        int (*handle)(void *userdata, const struct control_message *message);

        /* CONTROL_POLICY. The descriptor is borrowed. */
        int (*policy)(void *userdata, int fd);

        /* Called again and again while an answer is waited for, inside of a request. Returns 0 and how long may be waited
         * before the next call (-1: any time), or a negative errno that ends the session. */
        int (*tend)(void *userdata, int *ret_timeout_ms);
};

struct line {
        int fd;     /* to the keeper; borrowed */
        int client; /* whose hang-up ends a wait; -1: nobody's; borrowed */
        struct credit *credit;
        const struct line_ops *ops;
        void *userdata;

        bool telling; /* an ACK is due */
        bool asking;  /* a CREDIT is due */
        struct control_message ack, answer; /* the last of each */
        int ack_fd; /* what came with that; -1: nothing */
};

/* The credit then asks by this line. */
void line_init(struct line *line, int fd, int client, struct credit *credit, const struct line_ops *ops, void *userdata);

/* All functions return 0, or a negative errno that ends the session. */

/* Sends without waiting; -EAGAIN: the keeper does not read. */
int line_send(const struct line *line, const struct control_message *message);

/* Handles what has come. Credit is added to what is held, whenever it comes. */
int line_drain(struct line *line);

/* Tells the keeper and waits until it has done so. fd: -1, or a descriptor to go with it. */
int line_tell(struct line *line, const struct control_message *message, int fd);

/* The same, for what the keeper may be unable to do: *ret_error is 0 or a negative errno that is no matter of the session's; and
 * for what comes back with the answer: *ret_fd is the caller's, -1: nothing. */
int line_try(struct line *line, const struct control_message *message, int fd, int *ret_error, int *ret_fd);

/* Is there something to give back? Not while a question is open. */
bool line_has_surplus(const struct line *line);

/* Gives it back. What the keeper does not take now stays held. */
int line_return_surplus(struct line *line);

#endif
