/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_CHANCE_H
#define TEST_CHANCE_H

/* Random choices that can be made again: PINLEASE_TEST_SEED repeats those of a run, though not its timing. */

#include <stdbool.h>
#include <stdint.h>

/* The seed, given or drawn, and printed. It is the first state as well. */
uint64_t chance_begin(void);

/* The next number; changes the state. */
uint64_t chance(uint64_t *state);

/* Waits for less than max_ms. */
void chance_wait(uint64_t *state, uint64_t max_ms);

/* Shall it take hours? (PINLEASE_SOAK) */
bool soak(void);

/* How often: PINLEASE_SOAK=1 means so often as the case thinks right, another number means itself. */
unsigned int soak_rounds(unsigned int usually, unsigned int in_soak);

#endif
