/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_EXPLAIN_FIXTURE_H
#define PL_EXPLAIN_FIXTURE_H

/* The program pinlease-explain, and things to ask it about. */

#include "testing.h"

/* In arguments and expected texts: "$D" stands for the folder, "$S" for a file on /dev/shm, "$P" for this process, "$U"
 * for its user. */
struct explaining {
        char folder[32];   /* file (8192 bytes), link, loop, dangling, fifo, folder/, policy.json */
        char shm[40];      /* 100000 bytes */
        int sealed, memfd; /* 65536 bytes each, the first sealed against shrinking */
        int pipe[2];
        bool is_ext4; /* the folder; else what lies there is something else here */
};

void explaining_setup(struct explaining *x);
void explaining_teardown(struct explaining *x);

/* With the placeholders filled in; the caller's to free. */
char *explaining_expand(const struct explaining *x, const char *text);

/* Runs it: words between blanks. Returns the exit status; the texts are the caller's to free. */
int explaining_run(const struct explaining *x, const char *words, char **ret_out, char **ret_err);
/* The same by arguments as they are. */
int explaining_run_args(char *const args[], char **ret_out, char **ret_err);

/* Its status and output, exactly. */
void explaining_expect(const struct explaining *x, const char *words, int status, const char *out);

#endif
