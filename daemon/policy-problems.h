/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_POLICY_PROBLEMS_H
#define PL_POLICY_PROBLEMS_H

/* What is wrong with a policy: all of it, found in one run, each with its place. Bounded, however much is wrong. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util.h"

#define POLICY_MAX_PROBLEMS 100 /* that are kept; those beyond are counted */

struct policy_problem {
        bool warning;
        uint32_t source;       /* orders the files as they were read */
        uint32_t line, column; /* from 1 on; columns are characters. 0: the file as a whole */
        char file[256];     /* as it was named to us, long ones shortened; harmless to a terminal, as are the others */
        char path[192];     /* JSON path, "$.rules[3].match"; "": the file as a whole */
        char sentence[448]; /* what is wrong, and what would be right */
};

struct policy_problems {
        struct policy_problem *list;
        size_t n;                    /* in the list */
        size_t n_errors, n_warnings; /* that there are */
};

/* Room for one, which counts from now on. NULL: there are enough, or no memory; it counts all the same. An error takes
 * the place of a warning, if there is no other. */
struct policy_problem *policy_problems_add(struct policy_problems *problems, bool warning);

/* When all have been added: puts them in order, by file, line and column, and makes texts whole UTF-8 that were cut in a character. */
void policy_problems_finish(struct policy_problems *problems);

/* "FILE:LINE:COLUMN: error: $.PATH: SENTENCE", the caller's to free; NULL: no memory. */
char *policy_problem_format(const struct policy_problem *problem);

void policy_problems_done(struct policy_problems *problems);

#endif
