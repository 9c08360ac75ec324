/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_EXPLAIN_H
#define PL_EXPLAIN_H

/*
 * What a registrar would say to a request, and why, found out beside it: by the same functions (backing.h, policy.h),
 * of a file that is not open. What only the real request finds out (is the file open elsewhere? is there memory,
 * credit?) is left open.
 */

#include <stdio.h>

#include "dmabuf.h"
#include "explain-lookup.h"
#include "explain-options.h"
#include "guard.h"
#include "place.h"

enum forecast {
        FORECAST_HOLDS,
        FORECAST_PERHAPS,
        FORECAST_NOT,
};

struct explain_guard {
        enum forecast forecast;
        const char *why; /* in words */
};

#define EXPLAIN_MAX_WAYS 8

/* Something else that would be allowed, and what would have to change for it. */
struct explain_way {
        bool accept;  /* another method is accepted */
        bool device;  /* another device */
        bool reading; /* read access only */
        bool memory;  /* other memory */
        enum pinlease_backing backing;
        enum pinlease_method method; /* that would be tried first */
};

struct explanation {
        const struct explain_options *options;
        const struct policy_block *policy;
        const struct policy_subject *subject;

        struct lookup found;
        struct pl_fdclass class; /* with the open mode that is asked for, or that there is */
        bool seals_known;
        struct place place;
        bool exporter_known; /* of a dma-buf */
        char exporter[PL_DMABUF_EXPORTER_MAX];
        bool has_backing;
        enum pinlease_backing backing;
        struct pl_register request; /* its range and access */
        struct policy_question question;
        bool device_assumed; /* nothing is known of the device: it is thought to offer all */
        int open_error;      /* 0, or why the caller cannot open the file, a positive errno */
        pid_t lease_holder;  /* 0: no other process has a lease on it, as far as can be seen */

        int result; /* 0, or REFUSED: then `refusal` */
        struct refusal refusal;
        bool asked;                     /* the policy has been asked */
        const struct policy_rule *rule; /* that decided; NULL: none matched, or none was asked */
        struct policy_decision decision;
        struct explain_guard guards[N_GUARDS];     /* with has_backing */
        struct explain_way ways[EXPLAIN_MAX_WAYS]; /* that would be allowed instead, of a refusal */
        size_t n_ways;
};

/* Looks at the file. Returns 0, or a negative errno: there is no answer. explain_done() in any case. */
int explain_find(struct explanation *e);
void explain_done(struct explanation *e);

/* Answers: fills in the rest. No system call. */
void explain_answer(struct explanation *e);

/* explain-guards.c: what could be had for that file. */
void explain_forecast(struct explanation *e);

/* explain-text.c, explain-json.c. Returns 0 or -ENOMEM. */
int explain_print_text(const struct explanation *e, FILE *out);
int explain_print_json(const struct explanation *e, FILE *out);

/* Harmless to a terminal; the caller's to free. Ends the program if there is no memory. */
char *explain_harmless(const char *text);

/* Why a rule does not match, in a word: "backing". And what it wants instead, as the policy has it: "fsdax, hugetlb";
 * the caller's to free. */
const char *explain_mismatch_name(enum policy_mismatch mismatch);
char *explain_wanted(const struct explanation *e, const struct policy_rule *rule, enum policy_mismatch mismatch);

/* "accept odp", "use a device that offers odp, and ask for read access only". */
char *explain_way_text(const struct explain_way *way);

#endif
