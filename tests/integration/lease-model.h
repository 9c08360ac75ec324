/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_LEASE_MODEL_H
#define TEST_LEASE_MODEL_H

/*
 * What should be, where two apps have files registered that others change: which registrations there are, which must be
 * taken back for a change and which may be, and what each app has to be told of it. Knows nothing of how it is found
 * out.
 */

#include <sys/types.h>

#include "memory.h"
#include "puppet.h"

#define LM_APPS 2
#define LM_FILES PUPPET_FILES
#define LM_NONE UINT32_MAX

/* How long an app has to let go. */
#define LM_GRACE_MS 700

struct lm_file {
        bool there;
        enum memory_kind kind;
        char path[64]; /* "": none */
        bool nameless; /* it had one, and has lost it */
        int fd;        /* of a memfd, which everybody has from the beginning; else -1 */
        dev_t device;
        ino_t inode;
        uint64_t unit, size;
        uint64_t changed; /* when it was last; CLOCK_MONOTONIC, ms */
        uint64_t idle;    /* since when nothing of some app is registered any more */
};

/* A description of a file; two apps may have the same. */
struct lm_opened {
        unsigned int description; /* 0: not open */
        bool writable;
        bool spoiled; /* a lease on it may be there or not */
        int fd;       /* its number in the app */
};

enum lm_state {
        LM_FREE,
        LM_LIVE,
        LM_ASKED,  /* REVOKING has come */
        LM_AWAITS, /* it is gone, SETTLED is to come */
};

struct lm_registration {
        enum lm_state state;
        unsigned int file;
        uint64_t offset, length;
        uint32_t method;
        struct pl_register_reply reply;
        unsigned int must, may; /* be taken back, for these reasons: bits */
        unsigned int reason;    /* for which it has been asked for */
        uint32_t grace_ms;
};

struct lm_app {
        struct app app;
        struct puppet puppet;
        enum puppet_conduct conduct;
        bool ends;  /* its session is to end */
        bool ended; /* it has */
        uint32_t buffer_rkey;
        pid_t keeper, registrar;
        struct lm_opened opened[LM_FILES];
        struct lm_registration registrations[PUPPET_LIVE];
        bool to_be_told[LM_FILES]; /* that it has no name any more */
};

/* Does a lease protect what is registered of a file? */
enum lm_lease { LM_NO_LEASE, LM_LEASE, LM_PERHAPS };

struct lm {
        struct lm_file files[LM_FILES];
        struct lm_app apps[LM_APPS];
        unsigned int kept; /* the file that the other program has open for writing; LM_NONE */
        unsigned int last_description;
        /* What has happened: registrations; changes that were found out afterwards; registrations asked for; and taken
         * away, also though the app would have let go. */
        unsigned int n_registered, n_after, n_asked, n_forced, n_late;
        char problem[256];
};

static inline unsigned int lm_bit(enum pl_revocation_reason reason) {
        return 1U << reason;
}

/* What is live and not gone: LM_LIVE or LM_ASKED. */
bool lm_is_live(const struct lm_registration *registration);
unsigned int lm_count(const struct lm_app *app, unsigned int file); /* LM_NONE: of all */
struct lm_registration *lm_find(struct lm_app *app, uint64_t id);
struct lm_registration *lm_free_slot(struct lm_app *app); /* NULL: none */

/* By the kernel's rules, and who has it open. */
bool lm_can_have_lease(const struct lm *m, const struct lm_app *app, unsigned int file);

/*
 * The file is changed, and loses [from, to). With a lease all of it is taken back before that; without one what lies in
 * that range, as soon as it is found out.
 */
void lm_expect_change(struct lm *m, unsigned int file, enum lm_lease lease, uint64_t from, uint64_t to);
/* It has been registered: as its file was changed a moment ago that may be heard of only now, and be taken for a change
 * of it. */
void lm_registered(struct lm *m, struct lm_app *app, const struct lm_registration *registration);
void lm_expect_no_name(struct lm *m, unsigned int file);
void lm_lose_session(struct lm *m, struct lm_app *app);
void lm_gone(struct lm *m, struct lm_app *app, struct lm_registration *registration);

/* Was that to be? The case fails if not. */
void lm_judge(struct lm *m, struct lm_app *app, const struct puppet_event *event);
/* Is there still something to come? Says what. */
bool lm_is_waiting(struct lm *m);

#endif
