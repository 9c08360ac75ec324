/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_PRIVATE_H
#define TEST_PRIVATE_H

/* A program that has private memory registered, by the library. */

#include <pinlease/pinlease.h>

#include "fixture.h"
#include "harness.h"

struct user {
        struct rdma rdma;
        struct pinlease *p;
        uint8_t *memory;
        uint64_t length;
};

/* path: of the service's socket, NULL: the real one. */
struct user user_open(const char *path, uint64_t length, const struct pinlease_listener *listener, void *userdata);
void user_close(struct user *u);

uint8_t *private_new(uint64_t length);
int user_try_reg(struct user *u, void *address, uint64_t length, unsigned int methods, struct pinlease_mr **ret_mr);
/* All of it, by this method. */
struct pinlease_mr *user_reg(struct user *u, unsigned int method);
void user_expect_refusal(struct user *u, void *address, unsigned int methods, enum pinlease_code code);

#endif
