/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_SUBJECT_H
#define TEST_SUBJECT_H

/* A file with a name that a case has registered, and the programs that want to change it meanwhile. */

#include "fixture.h"
#include "harness.h"

#define SUBJECT_LENGTH (64U << 10)
#define SUBJECT_CUT (16U << 10) /* where it is truncated */

struct subject {
        struct fixture f;
        struct memory memory;
        char path[64];
        struct pl_register_reply reply;
};

/* Pinned where that is possible. */
uint32_t subject_method(const char *folder);

/* A file, mapped and populated. */
struct memory subject_file(const char *folder, char *path, uint64_t length);
void subject_map(struct memory *memory);
/* The same, registered by a session of its own. A lease guards it, else the case fails. socket_path: NULL: the
 * service's. */
struct subject subject_new(const char *folder, const char *socket_path);
void subject_free(struct subject *subject);
/* After its session has ended. */
void subject_abandon(struct subject *subject);

void subject_expect_lease(const struct pl_register_reply *reply);
enum ibv_wc_status subject_transfer(struct subject *subject, uint64_t seed);
/* The next packet says that all of it is to be given back, as its file changes. */
struct pl_packet subject_expect_revoking(struct subject *subject);
uint64_t subject_size(const char *path);

/* Programs, for app_start(); argument: the path. They say when they begin, and when they could go on. */
void subject_truncates(int channel, const void *path);
void subject_opens_and_truncates(int channel, const void *path);
/* These two keep it open until they are told. */
void subject_opens_for_writing(int channel, const void *path);
void subject_reads(int channel, const void *path);
/* Started, and about to do it. */
struct app subject_breaker(void (*breaker)(int channel, const void *path), const char *path);

/* The lease: somebody truncates the file, and waits until the registration has been given back, which it is here. */
void subject_expect_waits(struct subject *s);

#endif
