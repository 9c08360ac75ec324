/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_TEST_CHANGES_FIXTURE_H
#define PL_TEST_CHANGES_FIXTURE_H

/* What is made of the reports of guards: by guards that only do what the test wants. */

#include "changes.h"
#include "revoke_fixture.h"

#define GRACE_MS 3000 /* of the built-in policy */

#define BREAK_FAILED "ef88e3d433a54278ae03177264e419b2"
#define MEMORY_FAILURE "48704f47a5b740859271ddddeac17e02"

extern struct fixture f;
extern struct guards guards;
extern struct changes changes;
extern struct control_message sent[64]; /* to the keeper, what expect_sent() has not taken */
extern unsigned int n_sent, n_let_go;
extern bool lease_back; /* the lease can be had again */

void begin_test(void);
void end_test(void);

/* The first file of the fixture, of which something has been registered. */
struct guarded *the_file(void);
void report(enum guard_report_kind kind, uint64_t offset, uint64_t length);
void ask(void);

/* As the registrar does: results, and what is due. */
void turn(void);

void expect_sent(enum control_type type);
struct pl_packet expect_event(enum pl_opcode opcode);
void expect_no_event(void);
void release(uint64_t id);

/* The answer to the last BREAK. Returns its cookie. */
uint64_t others_are_done(unsigned int error);

#endif
