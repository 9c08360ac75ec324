/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_CONTROL_H
#define PL_CONTROL_H

/*
 * What pinleased, keeper and registrar of one version say to each other, over socket pairs. They are of the same
 * installation; the receiver checks all the same that a message is whole.
 */

#include <stdint.h>

enum control_type {
        CONTROL_GOING_AWAY = 1,   /* supervisor → keeper → registrar; value: grace, ms */
        CONTROL_PING = 2,         /* keeper → registrar: do you still turn? */
        CONTROL_PONG = 3,         /* registrar → keeper */
        CONTROL_CONTEXT_ADD = 4,  /* registrar → keeper, with a copy of the command fd; context, value: driver id */
        CONTROL_CONTEXT_DROP = 5, /* registrar → keeper: nothing is registered on the context any more */
        CONTROL_ACK = 6,          /* keeper → registrar: add or drop done; value: 0 or a positive errno */
        CONTROL_BYE = 7,          /* registrar → keeper: all is given up and closed, nothing more will be asked of the kernel */
};

struct control_message {
        uint32_t type;
        uint32_t context;
        uint32_t value;
        uint32_t reserved;
};

int control_pair(int ret_fds[2]);

/* Sends without waiting. fd: -1 or a descriptor to go with it. Returns 0 or a negative errno (-ECONNRESET: closed). */
int control_send(int sock, const struct control_message *message, int fd);

/* Receives without waiting. Returns 0, -EAGAIN, -ECONNRESET when the other side has closed or sent something broken, or a
 * negative errno. *ret_fd is always set: what came is the caller's, also with something broken, who knows best how to close
 * it; -1: none came. */
int control_recv(int sock, struct control_message *ret_message, int *ret_fd);

#endif
