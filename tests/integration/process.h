/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_PROCESS_H
#define TEST_PROCESS_H

/* What /proc tells about the service's processes, to root. */

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum process_kind {
        PROCESS_SERVICE,     /* keepers, registrars, closers */
        PROCESS_WITH_LEDGER, /* whoever has a ledger open or mapped, but for pinleased, which reads them */
};

unsigned int process_count(enum process_kind kind);

/* The two processes that serve an app. */
struct session {
        pid_t keeper, registrar;
        int keeper_fd, registrar_fd; /* pidfds */
};

/* Waits until they are there, and the registrar has dropped its privileges. */
struct session session_of(pid_t app);
/* The same without waiting, and without pidfds. False if the app has no complete session. */
bool session_find(pid_t app, struct session *ret_session);
/* Waits until both have ended. */
void session_await_end(struct session *session);

/* The installed pinleased, ready or not; 0: there is none. (A child of one that was killed as it started a session may be taken
 * for it, for a moment.) */
pid_t process_daemon(void);

/* A line "name:\tvalue" of /proc/PID/status, as text. False if it is not there. */
bool process_status(pid_t pid, const char *name, char *ret_value, size_t size);

/* What it may pin: RLIMIT_MEMLOCK, soft and hard, as /proc/PID/limits shows them. */
uint64_t process_memlock(pid_t pid);

/* How many descriptors it has, and how many of those links contain `what` (NULL: all). */
unsigned int process_fds(pid_t pid, const char *what);
/* How many lines of its /proc/PID/maps contain `what`. */
unsigned int process_maps(pid_t pid, const char *what);

/* Does it wait until a lease is given up? */
bool process_waits_for_lease(pid_t pid);

/* Writes a text to a file of /proc or /sys, at once. */
void write_file(const char *path, const char *text);

/* The page after some mapping of it that the name contains: an address that is taken there. 0: none. */
uint64_t process_mapped_address(pid_t pid, const char *what, uint64_t *ret_length);

#endif
