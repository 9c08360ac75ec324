/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_TESTING_H
#define PL_TESTING_H

/* What the unit tests share: cmocka with its prerequisites, leak checks, seeds, waiting for events. */

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include "refusal.h"
#include "util.h"

/* A test function. cmocka's own state is used by the leak check only. */
#define TEST(name) static void name(_unused_ void **unused)

/* An entry of the table of tests: afterwards as many descriptors are open, and as many files mapped, as before. A test that
 * goes on for longer than TESTING_DEADLINE_S ends the program. */
#define CHECKED(name) cmocka_unit_test_setup_teardown(name, testing_leak_setup, testing_leak_teardown)

int testing_leak_setup(void **state);
int testing_leak_teardown(void **state);

/* What loops until something is so need not count how often; what blocks for ever is noticed. Threads and system calls as well. */
#define TESTING_DEADLINE_S 300
void testing_deadline_begin(void);
void testing_deadline_end(void);

/* Open descriptors of a process; 0: this one. */
unsigned int testing_count_fds(pid_t pid);

/* Views of memfds in this process. */
unsigned int testing_count_views(void);

/*
 * Random numbers that can be had again: the seed is printed, and taken from PINLEASE_TEST_SEED if that is set. The number
 * of rounds is multiplied by PINLEASE_TEST_ROUNDS, for long campaigns.
 */
struct testing_random {
        uint64_t state;
};
void testing_seed(struct testing_random *random, const char *test);
uint64_t testing_random(struct testing_random *random);
unsigned int testing_below(struct testing_random *random, unsigned int n);
unsigned int testing_rounds(unsigned int rounds);

/* Addresses, aligned to 2 MiB, at which nothing is mapped and nothing will be unless it is asked for. */
uint64_t testing_free_address(uint64_t length);

/* A memfd of that size, sealable, every page touched. */
int testing_memfd(uint64_t size);

/* No event that a test waits for takes this long, however slow the machine. */
#define TESTING_PATIENCE_MS 30000

/* Waits until one of the events is there; fails the test if it does not come. Returns revents. */
int testing_wait_fd(int fd, int events);

/* fork(); the child does not outlive a test that fails. */
pid_t testing_fork(void);

/* Waits for the end of a process; a child is still to be waited for. */
void testing_await_end(pid_t pid);

/* Waits for the end of a child and returns its wait status. */
int testing_wait_child(pid_t pid);

/* A refusal that an app may be shown: code with its errno, and a sentence that is whole. */
void testing_assert_refusal(int r, const struct refusal *refusal, enum pinlease_code code);

/* Sends any bytes with up to 64 descriptors, as a hostile peer would. Returns 0 or a negative errno. */
int testing_send(int sock, int flags, const void *data, size_t size, const int *fds, unsigned int n_fds);

/* Is the kernel of this version, or later? For what may be skipped there, and only there. */
bool testing_kernel_is(unsigned int major, unsigned int minor);

/* Says why, then leaves the test as skipped. */
#define testing_skip(...)                 \
        do {                              \
                print_message("skipped: " __VA_ARGS__); \
                skip();                   \
        } while (0)

#endif
