/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_TEST_ORDERS_H
#define PL_TEST_ORDERS_H

/* A registrar with an app and a keeper who gives orders. */

#include "rawclient.h"
#include "testing.h"

#define ORDERS_MANY 1000
extern const struct credit_amount orders_large;

/* A session with a verbs context, and so much credit to begin with. */
void orders_start(struct rawclient *c, const struct credit_amount *credit);
void orders_end(struct rawclient *c);

/* A page, against the pinned credit. */
void orders_make_register(struct pl_packet *packet);
uint64_t orders_register(struct rawclient *c, int fd);
void orders_deregister(struct rawclient *c, uint64_t id);

void orders_say(struct rawclient *c, const struct control_message *message);
void orders_order(struct rawclient *c, enum control_selector selector, uint64_t id, uint32_t grace_ms, uint64_t cookie);

/* Waits for the next answer to a REVOKE. */
void orders_expect_revoked(
        struct rawclient *c, uint64_t cookie, uint32_t error, uint32_t released, uint32_t forced, uint32_t kept);

/* The registrar has seen everything that was said before. */
void orders_turn_around(struct rawclient *c);

void orders_expect_event(struct rawclient *c, uint16_t opcode, uint64_t id);

#endif
