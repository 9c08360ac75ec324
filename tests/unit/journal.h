/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_TEST_JOURNAL_H
#define PL_TEST_JOURNAL_H

/* A journal for tests: its socket, and what is standard error meanwhile. Datagrams are read as the documentation of the
 * native protocol says. */

#include "testing.h"

struct journal {
        char folder[32];
        char path[64];
        int socket;
        int error; /* what is written to standard error */
        int saved; /* the real one */
        unsigned int drained;
};
extern struct journal journal;

struct entry {
        unsigned int n;
        struct {
                char name[65];
                char value[4096];
        } fields[16];
};

/* A test of what log.h says. The intervals of the limits are over when it begins. */
#define LOGGING(name) cmocka_unit_test_setup_teardown(name, journal_setup, journal_teardown)
int journal_setup(void **state);
int journal_teardown(void **state);

/* As after a restart of journald. */
void journal_listen_anew(void);

/* Sets $JOURNAL_STREAM to standard error's device and inode, plus `more`. */
void journal_set_stream(uintmax_t more);

void journal_pass_interval(void);

/* Returns whether there is an entry. */
bool journal_receive(struct entry *e);

/* Takes what has come. Is there one of this MESSAGE_ID, with this priority? */
bool journal_has(const char *id, const char *priority);

/* "" where there is no such field; never twice. */
const char *journal_field(const struct entry *e, const char *name);

void expect_field(const struct entry *e, const char *name, const char *value);
void expect_message(const char *text);
void expect_stderr(const char *text);

/* How many entries have come since it was asked last. The queue of a socket is short (net.unix.max_dgram_qlen): who says
 * much calls drain meanwhile. */
unsigned int journal_count(void);
void journal_drain(void);

#endif
