/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_TEST_REVOKE_FIXTURE_H
#define PL_TEST_REVOKE_FIXTURE_H

/* A session with registrations to be revoked, and nobody but the test to let time pass. */

#include "revoke.h"
#include "testing.h"

#define PAGE     UINT64_C(4096)
#define CAPACITY 64

struct fixture {
        struct registrar_state state;
        struct revoker revoker;
        int files[2];
};

void fixture_init(struct fixture *f);
void fixture_done(struct fixture *f);

/* A page of the one file or the other. Returns its id. */
uint64_t reg(struct fixture *f, unsigned int file);
uint64_t reg_page(struct fixture *f, unsigned int file, uint64_t page);

int begin(struct fixture *f, enum control_selector selector, uint64_t id, uint32_t grace_ms, uint64_t cookie);

void pass(unsigned int ms);
/* Does everything that is due by now. */
void work(struct fixture *f);

#endif
