/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TEST_PUPPET_H
#define TEST_PUPPET_H

/*
 * An app that does what it is told, one thing at a time, and says when it is done. Only what the service asks of it it
 * answers by itself, by its conduct, and keeps what has come until it is asked for it.
 */

#include "harness.h"
#include "raw.h"
#include "rdma.h"

#define PUPPET_FILES 12
#define PUPPET_LIVE 6
#define PUPPET_EVENTS 48
#define PUPPET_PINNED (2 * RDMA_BUFFER) /* by itself, to have something to transfer from */

enum puppet_conduct {
        CONDUCT_RELEASES,
        CONDUCT_DEREGISTERS,
        CONDUCT_IGNORES,
        N_CONDUCTS,
};

enum puppet_word {
        PUPPET_OPENS,        /* file: by path, or the descriptor that comes along. Answers its number */
        PUPPET_CLOSES,       /* file: descriptor and mapping */
        PUPPET_REGISTERS,    /* file, request; size: that the file has. Answers code and reply */
        PUPPET_DEREGISTERS,  /* id */
        PUPPET_RELEASES,     /* id, without having been asked */
        PUPPET_BEHAVES,      /* conduct, from now on */
        PUPPET_TELLS_EVENTS, /* those that have come since */
        PUPPET_PROVES,       /* what it has registered is what the files have. Answers the work's status and an id */
        PUPPET_TRUNCATES,    /* file, by its own descriptor: to `size` */
        PUPPET_PUNCHES,      /* the same: request.offset, request.length */
        PUPPET_MEDDLES,      /* file: spoils the lease on it; size: in which way */
        PUPPET_CONNECTS,     /* anew, after the session has ended; it ends it itself if it has not */
};

#define PUPPET_WAYS_TO_MEDDLE 3

struct puppet_order {
        enum puppet_word word;
        unsigned int file;
        char path[64];
        bool writable;
        enum puppet_conduct conduct;
        uint64_t id, size, seed;
        struct pl_register request; /* context, PD and address are the puppet's to fill in */
};

enum puppet_event_kind {
        EVENT_REVOKING,
        EVENT_GIVEN_BACK, /* by its conduct: code, settles */
        EVENT_REVOKED,
        EVENT_SETTLED,
        EVENT_NOTICE,
        EVENT_END, /* of the session */
};

struct puppet_event {
        enum puppet_event_kind kind;
        uint64_t id;
        unsigned int reason; /* of REVOKING, REVOKED; the notice's kind */
        unsigned int code;
        bool released, settles;
        uint64_t offset, length, size;
        uint32_t grace_ms;
};

struct puppet_answer {
        uint64_t value; /* as the word says; else 0 */
        uint64_t id;
        uint32_t buffer_rkey; /* of the memory region that is its own */
        struct pl_register_reply reply;
        unsigned int n_events;
        struct puppet_event events[PUPPET_EVENTS];
};

struct puppet {
        const char *user; /* NULL: root */
        const char *path; /* of the service's socket; NULL: the real one */
};

/* Started, and connected. It ends, and its session before it, when its channel does. */
struct app puppet_start(const struct puppet *puppet);

/* fd: -1: none goes along. puppet_tell() does not wait for the answer. */
void puppet_tell(const struct app *app, const struct puppet_order *order, int fd);
struct puppet_answer puppet_answer(const struct app *app);
struct puppet_answer puppet_ask(const struct app *app, const struct puppet_order *order, int fd);

#endif
