/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_TEST_SANDBOX_FIXTURE_H
#define PL_TEST_SANDBOX_FIXTURE_H

/* Processes that go into a sandbox and try something there. */

#include <sys/socket.h>
#include <sys/un.h>

#include "sandbox.h"
#include "testing.h"

/* What there is before the filter; a process in the sandbox has a copy. */
struct given {
        int memfd, null;
        int pair[2];
        int listener;
        struct sockaddr_un address;
        socklen_t address_size;
        pid_t pid; /* of the test itself */
        uid_t uid;
};
extern struct given given;

int sandbox_setup(void **state);
int sandbox_teardown(void **state);
#define IN_SANDBOX(name) cmocka_unit_test_setup_teardown(name, sandbox_setup, sandbox_teardown)

/* A process that enters the sandbox, calls the function and ends with what it returns; the wait status. */
pid_t start_in_sandbox(int (*sandbox)(void), int (*function)(const void *), const void *argument);
int in_sandbox(int (*sandbox)(void), int (*function)(const void *), const void *argument);
void assert_lives(int status);

/* Functions return 0, or the number of the line that did not work. */
#define NEED(condition)                  \
        do {                             \
                if (!(condition))        \
                        return __LINE__ % 255 + 1; \
        } while (0)

/* In place of all tests, where SANDBOX_WORKS is not. */
int sandbox_is_left_out(const char *group);

#endif
