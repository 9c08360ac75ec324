/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_LEASE_STEPS_H
#define TEST_LEASE_STEPS_H

/* What happens by chance in the model of leases, one step each. Failures end the case. */

#include "lease-world.h"

extern struct world the_world;

/* --- chance --- */

uint64_t lease_upto(uint64_t n);
bool lease_one_in(uint64_t n);
struct lm_app *lease_some_app(void);
/* Any one of the files for which it is so; LM_NONE: it is so for none. */
unsigned int lease_any_file(bool (*is_so)(unsigned int file, const struct lm_app *app), const struct lm_app *app);
bool lease_is_registered_by_both(unsigned int file, const struct lm_app *app);
/* It has a name, and a lease by what is known of it. */
bool lease_is_there(unsigned int file, const struct lm_app *app);
/* One of these, and rather one that both have registered. If there is none something is registered first; LM_NONE: that
 * was of no use. */
unsigned int lease_some_leased_file(void);
/* One of which something is registered, as a rule. `named`: that can be opened by its name. */
unsigned int lease_some_file(bool named);
bool lease_is_within_reach(unsigned int file, const struct lm_app *app);
void lease_behave_somehow(void);

unsigned int lease_number_of(const struct lm_app *app);
const char *lease_kind_of(unsigned int file);
/* Registrations of a file, of both apps. */
unsigned int lease_count(unsigned int file);

/* --- the other program --- */

struct rival_order lease_order_for(enum rival_word word, unsigned int file);
/* Its answer has come: did it go on in time, and not too early? What is to come of it is the model's from then on. */
void lease_judge_rival(const struct rival_order *order,
                       unsigned int file,
                       enum lm_lease lease,
                       const struct rival_answer *answer);
void lease_rival_does(enum rival_word word, unsigned int file);

void lease_step_change(void);
void lease_step_keep(void);
void lease_step_name(void);

/* --- the apps --- */

void lease_step_register(void);
void lease_step_give_back(void);
void lease_step_close(void);
void lease_step_own_change(void);
void lease_step_meddle(void);

#endif
