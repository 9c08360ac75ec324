/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_RIVAL_H
#define TEST_RIVAL_H

/*
 * Another program, which changes files that somebody has registered, one thing at a time as it is told. At the very
 * moment when it goes on it looks which of some memory regions are still there.
 */

#include "harness.h"
#include "memory.h"

#define RIVAL_REGIONS 16

enum rival_word {
        RIVAL_TRUNCATES,           /* by name, to `size` */
        RIVAL_OPENS_AND_TRUNCATES, /* O_TRUNC */
        RIVAL_OPENS_FOR_WRITING,
        RIVAL_OPENS_FOR_READING,
        RIVAL_CUTS,    /* the first of those that open it for writing, and use their own descriptor: to `size` */
        RIVAL_PUNCHES, /* offset, length */
        RIVAL_APPENDS, /* writes up to `size`, which is larger than before */
        RIVAL_FILLS,   /* makes it `size` long, without holes, with other bytes in each page */
        RIVAL_UNLINKS,
        RIVAL_RENAMES, /* the file `other` over it */
        RIVAL_KEEPS,   /* opens it for writing, for later; until: */
        RIVAL_LEAVES,
        N_RIVAL_WORDS,
};

struct rival_order {
        enum rival_word word;
        char path[64], other[64];
        int fd;         /* path "": this one, which both have since they began */
        bool uses_kept; /* for the words that take a descriptor */
        uint64_t offset, length, size;
        unsigned int n_regions;
        uint32_t regions[RIVAL_REGIONS]; /* their rkeys */
};

struct rival_answer {
        bool looked;
        unsigned int n_left; /* of the regions */
        uint32_t left;       /* one of them */
        uint64_t took_ms;
};

const char *rival_word_name(enum rival_word word);

struct app rival_start(void);
void rival_tell(const struct app *app, const struct rival_order *order);
struct rival_answer rival_answer(const struct app *app);

#endif
