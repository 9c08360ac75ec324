/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lease-steps.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "chance.h"

/* Long before lease-break-time, 45 s, after which the kernel does not wait any longer. */
#define BOUND_MS 20000

struct world the_world;

/* --- chance --- */

uint64_t lease_upto(uint64_t n) {
        return chance(&the_world.state) % n;
}

bool lease_one_in(uint64_t n) {
        return lease_upto(n) == 0;
}

struct lm_app *lease_some_app(void) {
        return the_world.m.apps + lease_upto(LM_APPS);
}

unsigned int lease_number_of(const struct lm_app *app) {
        return (unsigned int)(app - the_world.m.apps);
}

const char *lease_kind_of(unsigned int file) {
        return memory_name(the_world.m.files[file].kind);
}

/* Any one of those for which it is so; LM_NONE: it is so for none. */
unsigned int lease_any_file(bool (*is_so)(unsigned int file, const struct lm_app *app), const struct lm_app *app) {
        unsigned int first = (unsigned int)lease_upto(LM_FILES);

        for (unsigned int i = 0; i < LM_FILES; i++) {
                unsigned int file = (first + i) % LM_FILES;

                if (the_world.m.files[file].there && is_so(file, app))
                        return file;
        }
        return LM_NONE;
}

unsigned int lease_count(unsigned int file) {
        return lm_count(the_world.m.apps, file) + lm_count(the_world.m.apps + 1, file);
}

bool lease_is_within_reach(unsigned int file, const struct lm_app *app _unused_) {
        return !the_world.m.files[file].nameless;
}

static bool is_named(unsigned int file, const struct lm_app *app _unused_) {
        return the_world.m.files[file].path[0];
}

static bool is_registered(unsigned int file, const struct lm_app *app _unused_) {
        return lease_count(file) > 0 && !the_world.m.files[file].nameless;
}

bool lease_is_registered_by_both(unsigned int file, const struct lm_app *app _unused_) {
        return lm_count(the_world.m.apps, file) > 0 && lm_count(the_world.m.apps + 1, file) > 0 &&
               !the_world.m.files[file].nameless;
}

static bool is_spoiled(unsigned int file) {
        return the_world.m.apps[0].opened[file].spoiled || the_world.m.apps[1].opened[file].spoiled;
}

bool lease_is_there(unsigned int file, const struct lm_app *app _unused_) {
        return the_world.m.files[file].path[0] && !is_spoiled(file) &&
               ((lm_count(the_world.m.apps, file) > 0 && lm_can_have_lease(&the_world.m, the_world.m.apps, file)) ||
                (lm_count(the_world.m.apps + 1, file) > 0 &&
                 lm_can_have_lease(&the_world.m, the_world.m.apps + 1, file)));
}

static bool is_there_for_both(unsigned int file, const struct lm_app *app) {
        return lease_is_there(file, app) && lease_is_registered_by_both(file, app);
}

static unsigned int some_leased_file(void) {
        unsigned int file = lease_any_file(is_there_for_both, NULL);

        return file == LM_NONE || lease_one_in(3) ? lease_any_file(lease_is_there, NULL) : file;
}

unsigned int lease_some_leased_file(void) {
        unsigned int file = some_leased_file();

        if (file != LM_NONE)
                return file;
        lease_step_register();
        world_settle(&the_world);
        return some_leased_file();
}

/* One of which something is registered, as a rule. `named`: that can be opened by its name. */
unsigned int lease_some_file(bool named) {
        unsigned int file = lease_one_in(3) ? lease_any_file(lease_is_registered_by_both, NULL)
                                            : lease_any_file(is_registered, NULL);

        if (file == LM_NONE || lease_one_in(8) || (named && !the_world.m.files[file].path[0]))
                file = lease_any_file(named ? is_named : lease_is_within_reach, NULL);
        CHECK(file != LM_NONE);
        return file;
}

void lease_behave_somehow(void) {
        for (unsigned int i = 0; i < LM_APPS; i++)
                world_behave(the_world.m.apps + i,
                             lease_one_in(4) ? CONDUCT_IGNORES : (enum puppet_conduct)lease_upto(CONDUCT_IGNORES));
}

/* --- changes by others --- */

static bool opens_for_writing(const struct rival_order *order) {
        switch (order->word) {
        case RIVAL_TRUNCATES:
        case RIVAL_OPENS_AND_TRUNCATES:
        case RIVAL_KEEPS:
                return true;
        case RIVAL_OPENS_FOR_WRITING:
        case RIVAL_CUTS:
        case RIVAL_PUNCHES:
        case RIVAL_APPENDS:
        case RIVAL_FILLS:
                return !order->uses_kept;
        default:
                return false;
        }
}

/* What is lost, and how large it is then. */
static void effect(const struct rival_order *order, struct lm_file *f, uint64_t *ret_from, uint64_t *ret_to) {
        *ret_from = *ret_to = 0;
        switch (order->word) {
        case RIVAL_OPENS_AND_TRUNCATES:
                *ret_to = UINT64_MAX;
                f->size = 0;
                return;
        case RIVAL_TRUNCATES:
        case RIVAL_CUTS:
                if (order->size < f->size) {
                        *ret_from = order->size;
                        *ret_to = UINT64_MAX;
                }
                f->size = order->size;
                return;
        case RIVAL_PUNCHES:
                *ret_from = order->offset;
                *ret_to = order->offset + order->length;
                return;
        case RIVAL_APPENDS:
        case RIVAL_FILLS:
                f->size = order->size;
                return;
        default:
                return;
        }
}

struct rival_order lease_order_for(enum rival_word word, unsigned int file) {
        const struct lm_file *f = the_world.m.files + file;
        struct rival_order order = { .word = word, .fd = f->fd, .uses_kept = the_world.m.kept == file };
        uint64_t units = f->size / f->unit, most = f->kind == MEMORY_HUGETLB ? 2 : 16;

        memcpy(order.path, f->path, sizeof order.path);
        order.n_regions = world_regions(&the_world, file, order.regions);
        switch (word) {
        case RIVAL_TRUNCATES:
        case RIVAL_CUTS:
                /* Mostly shorter. */
                order.size = (units > 0 && !lease_one_in(4) ? lease_upto(units) : lease_upto(most + 1)) * f->unit;
                break;
        case RIVAL_PUNCHES:
                order.offset = units > 0 ? lease_upto(units) * f->unit : 0;
                order.length = (1 + lease_upto(4)) * f->unit;
                break;
        case RIVAL_APPENDS:
                order.size = f->size + (units < most ? f->unit : 0);
                break;
        case RIVAL_FILLS:
                order.size = most * f->unit;
                break;
        default:
                break;
        }
        return order;
}

/* The answer has come. */
void lease_judge_rival(const struct rival_order *order,
                       unsigned int file,
                       enum lm_lease lease,
                       const struct rival_answer *answer) {
        uint64_t from, to;

        if (answer->took_ms > BOUND_MS)
                FAIL("it took %" PRIu64 " ms", answer->took_ms);
        if (opens_for_writing(order) && lease == LM_LEASE && answer->n_left > 0)
                FAIL("it goes on, and %u of %u memory regions are there still (0x%x)",
                     answer->n_left,
                     order->n_regions,
                     answer->left);
        effect(order, the_world.m.files + file, &from, &to);
        if (opens_for_writing(order) && lease == LM_LEASE && order->n_regions > 0) {
                the_world.n_before++;
                the_world.n_of_both += lease_is_registered_by_both(file, NULL);
        }
        lm_expect_change(&the_world.m, file, opens_for_writing(order) ? lease : LM_NO_LEASE, from, to);
        if (order->word == RIVAL_KEEPS)
                the_world.m.kept = file;
        if (order->word == RIVAL_LEAVES)
                the_world.m.kept = LM_NONE;
}

void lease_rival_does(enum rival_word word, unsigned int file) {
        enum lm_lease lease = world_lease(&the_world, file);
        struct rival_order order = lease_order_for(word, file);
        struct rival_answer answer;

        lease_behave_somehow();
        world_says(&the_world,
                   "another program: %s%s, file %u (%s, %" PRIu64 " bytes): %" PRIu64 "+%" PRIu64 " or %" PRIu64
                   " bytes, %s",
                   rival_word_name(word),
                   order.uses_kept ? " by what it has open" : "",
                   file,
                   lease_kind_of(file),
                   the_world.m.files[file].size,
                   order.offset,
                   order.length,
                   order.size,
                   lease == LM_LEASE     ? "there is a lease"
                   : lease == LM_PERHAPS ? "perhaps a lease"
                                         : "no lease");
        rival_tell(&the_world.rival, &order);
        answer = rival_answer(&the_world.rival);
        lease_judge_rival(&order, file, lease, &answer);
}

void lease_step_change(void) {
        static const enum rival_word by_name[] = { RIVAL_TRUNCATES,
                                                   RIVAL_OPENS_AND_TRUNCATES,
                                                   RIVAL_OPENS_FOR_WRITING,
                                                   RIVAL_OPENS_FOR_READING,
                                                   RIVAL_CUTS,
                                                   RIVAL_PUNCHES,
                                                   RIVAL_APPENDS,
                                                   RIVAL_FILLS };
        static const enum rival_word by_descriptor[] = { RIVAL_CUTS, RIVAL_PUNCHES, RIVAL_APPENDS, RIVAL_FILLS };
        unsigned int file = lease_one_in(2) ? lease_some_leased_file() : LM_NONE;
        enum rival_word word;

        if (file == LM_NONE)
                file = lease_some_file(false);
        word = the_world.m.files[file].path[0] ? by_name[lease_upto(ELEMENTSOF(by_name))]
                                               : by_descriptor[lease_upto(ELEMENTSOF(by_descriptor))];
        if (the_world.m.files[file].kind == MEMORY_HUGETLB && word == RIVAL_APPENDS)
                word = RIVAL_FILLS;
        /* Holes in these are found by a look, every 5 s. */
        if (word == RIVAL_PUNCHES && the_world.m.files[file].path[0] == 0 && !lease_one_in(3))
                word = RIVAL_CUTS;
        if (word == RIVAL_PUNCHES && the_world.m.files[file].size == 0)
                word = RIVAL_FILLS;
        lease_rival_does(word, file);
}

/* What it has open it keeps, so that there is no lease. */
void lease_step_keep(void) {
        if (the_world.m.kept != LM_NONE)
                lease_rival_does(RIVAL_LEAVES, the_world.m.kept);
        else
                lease_rival_does(RIVAL_KEEPS, lease_some_file(true));
}

void lease_step_name(void) {
        unsigned int file = lease_some_file(true), other;
        struct rival_order order = lease_order_for(lease_one_in(2) ? RIVAL_UNLINKS : RIVAL_RENAMES, file);
        struct rival_answer answer;

        other = world_new_file(&the_world, the_world.m.files[file].kind);
        if (other == LM_NONE || the_world.m.kept == file) {
                if (other != LM_NONE) {
                        (void)unlink(the_world.m.files[other].path);
                        the_world.m.files[other].there = false;
                }
                return;
        }
        memcpy(order.other, the_world.m.files[other].path, sizeof order.other);
        world_says(&the_world,
                   "another program: %s, file %u (%s)",
                   rival_word_name(order.word),
                   file,
                   lease_kind_of(file));
        rival_tell(&the_world.rival, &order);
        answer = rival_answer(&the_world.rival);
        CHECK_EQUAL(answer.n_left, order.n_regions);
        if (order.word == RIVAL_RENAMES)
                memcpy(the_world.m.files[other].path, order.path, sizeof order.path);
        lm_expect_no_name(&the_world.m, file);
}
