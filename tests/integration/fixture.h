/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_FIXTURE_H
#define TEST_FIXTURE_H

/* What most cases begin with: a session with a verbs context attached to it. */

#include "memory.h"
#include "raw.h"
#include "rdma.h"

#define ACCESS_READ_WRITE ((uint32_t)(IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ))
#define ACCESS_READ ((uint32_t)IBV_ACCESS_REMOTE_READ)

struct fixture {
        struct rdma rdma;
        struct raw raw;
        uint32_t context;
};

/*
 * path: of the service's socket, NULL: the real one. Where devices belong to network namespaces, the process moves to
 * hosta first: the service stays outside, with no device in sight.
 */
struct fixture fixture_open(const char *path);
void fixture_close(struct fixture *f);

/* The request for a whole piece of memory, writable. methods: PINLEASE_METHOD_… */
struct pl_register fixture_request(const struct fixture *f, const struct memory *memory, uint32_t methods);
/* Asked and answered. */
struct pl_register_reply fixture_register(struct fixture *f, const struct memory *memory, uint32_t methods);
enum pinlease_code fixture_try(struct fixture *f,
                               const struct pl_register *request,
                               int fd,
                               struct pl_register_reply *ret_reply);

/* Moves to a host's network namespace if devices are tied to those. */
void enter_host(const char *name);

/* Another session, in a process of its own, that registers, transfers and deregisters until it is told to stop. */
struct app bystander_start(const char *path);
/* Waits until it has done some more rounds from now on: nothing that goes on delays it for ever. */
void bystander_proves(struct app *bystander);
void bystander_stop(struct app *bystander);

#endif
