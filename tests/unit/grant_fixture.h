/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_GRANT_FIXTURE_H
#define PL_GRANT_FIXTURE_H

/* A session with a device, and private memory that it is asked for. */

#include "fake_uverbs.h"
#include "grant.h"
#include "request_fixture.h"

#define ADDRESS UINT64_C(0x7f0000001000)

extern struct fixture f;
extern uint32_t context;

/* What the keeper was asked for: all that the app may pin by itself. */
extern struct raised {
        unsigned int n;
        uint64_t total;
        int error, fatal;
} raised;

void begin_test(void);
int command_fd(void);
struct pl_grant ask_for(uint64_t length);

/* By ODP. */
struct pl_grant_reply must_grant(uint64_t length);
void refused_grant(const struct pl_grant *request, enum pinlease_code code);
struct pl_grant_commit commit_of(uint64_t id, const struct fake_mr *mr);
void must_commit(const struct pl_grant_commit *commit);
void refused_commit(const struct pl_grant_commit *commit, enum pinlease_code code);
/* Granted, registered, committed. */
uint64_t must_have(uint64_t length, uint32_t *ret_handle);

#endif
