/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_INSTANCE_H
#define TEST_INSTANCE_H

/* A pinleased of the case's own, beside the service: with other limits and times. */

#include <sys/types.h>

struct instance {
        pid_t pid;
        int pidfd;
        char directory[64]; /* where its sockets are */
        char path[80];      /* of the one for apps */
};

/* Starts it and waits until it says that it is ready. options: NULL-terminated, without --runtime-directory; may be NULL. */
struct instance instance_start(const char *const *options);

/* prepare: is called in its process before it begins. */
struct instance instance_start_prepared(const char *const *options, void (*prepare)(void));
/* Another program than the installed one. */
struct instance instance_start_program(const char *program, const char *const *options);

/* A prepare: what it and its sessions say goes to the journal, with fields, as the service's does. */
void instance_to_journal(void);

/* SIGKILL, and SIGTERM: it is gone, its sessions go on. */
void instance_kill(struct instance *instance);
void instance_leave(struct instance *instance);
/* The installed one in the place of one that is gone. */
void instance_succeed(struct instance *instance, const char *const *options);
/* Without waiting until it is ready. */
void instance_succeed_soon(struct instance *instance, const char *const *options);

/* SIGINT: it ends its sessions. Waits until it has ended, with status 0. */
void instance_stop(struct instance *instance);

#endif
