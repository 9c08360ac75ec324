/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_LEASE_WORLD_H
#define TEST_LEASE_WORLD_H

/* What there is, for the model of leases to be compared with: two apps, a pinleased, files, and another program. */

#include "instance.h"
#include "lease-model.h"
#include "rival.h"

#define WORLD_MEMORY 32

struct world {
        struct lm m;
        struct instance instance;
        struct app rival;
        uint64_t state;               /* of chance() */
        char what[WORLD_MEMORY][160]; /* has been done */
        unsigned int n_whats, step;
        unsigned int n_before, n_of_both; /* somebody waited for registrations of one app, or of both */
        unsigned int n_killed;            /* an app or a part of the service, meanwhile */
};

/* What is being done, for who reads of a failure. */
void world_says(struct world *world, const char *format, ...) _printf_(2, 3);
/* What was, the latest first, as far as it is remembered. */
void world_print(const struct world *world);

void world_begin(struct world *world, uint64_t seed);
void world_end(struct world *world);

/*
 * Waits until all has come that was to come, and all is as it should be:
 * - the apps have been told what the model says, and nothing else
 * - every entry of a ledger is live and is a memory region with these keys, and there are no other regions
 * - credit, ledgers, pinleased's sums, and what the kernel has pinned are the same
 * - no guard is said to hold that cannot
 * - what is registered reaches the memory that the file has
 */
void world_settle(struct world *world);

/* --- files --- */

/* A new one, made by nobody's session. Returns LM_NONE if there is no room. */
unsigned int world_new_file(struct world *world, enum memory_kind kind);
/* Those without a name, which nobody has open, are forgotten. */
void world_forget_files(struct world *world);

/* Does the lease hold, just now? Waits until it does, where it must. */
enum lm_lease world_lease(struct world *world, unsigned int file);

/* Is it this app's session that has it? */
bool world_has_lease(const struct world *world, const struct lm_app *app, unsigned int file);

/* The rkeys of what is live of a file. */
unsigned int world_regions(const struct world *world, unsigned int file, uint32_t regions[static RIVAL_REGIONS]);

/* How many of these regions there are. */
unsigned int world_regions_left(const uint32_t *regions, unsigned int n);

/* --- apps --- */

struct lm_app *world_other(struct world *world, const struct lm_app *app);
void world_behave(struct lm_app *app, enum puppet_conduct conduct);
/* After it has ended, or to begin with. */
void world_start_app(struct world *world, struct lm_app *app);
/* Its session has ended, or is about to: waits for that, and for the next one. */
void world_next_session(struct world *world, struct lm_app *app);
/* It is no more: the same, with another process. */
void world_next_app(struct world *world, struct lm_app *app);

#endif
