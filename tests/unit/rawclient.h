/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_RAWCLIENT_H
#define PL_RAWCLIENT_H

/* A registrar in a process of its own, with the test as its app and its keeper. The verbs are fake_uverbs. */

#include "codec.h"
#include "control.h"
#include "registrar.h"
#include "testing.h"

struct rawclient {
        pid_t pid;
        int app;    /* the app's end; -1 when the test has hung up */
        int keeper; /* the keeper's end */
        int disposed; /* what the registrar has not closed yet itself; -1: nothing */
        struct ledger ledger;
        unsigned int n_contexts; /* descriptors that the keeper was given */
        unsigned int n_disposals; /* descriptors that the keeper was to close */
        unsigned int n_byes;
        uint32_t seq;
        struct credit_amount limits;

        /* What the keeper has heard of credit and revocations. */
        bool miser; /* WANT is not answered */
        unsigned int n_wants, n_returns, n_pongs;
        struct credit_amount want, returned;
        struct control_message revoked[32];
        unsigned int n_revoked;

        /* What the app is to be able to pin by itself. */
        unsigned int n_raises, n_lowers;
        uint64_t private_pinned;
        uint32_t raise_error; /* a positive errno that RAISE is answered with */

        /* What is to be done to the app. */
        unsigned int n_stops, n_releases;
        uint32_t stop_error;  /* a positive errno that STOP is answered with */
        bool stop_mute;       /* or it is not answered at all */
        bool stop_helps;      /* then deregistrations work */
};

void rawclient_start(struct rawclient *c, unsigned int hello_timeout_ms);

/* With other limits than 1 MiB and 16 registrations, and not all of it held from the beginning. */
void rawclient_start_with(struct rawclient *c, const struct credit_amount *limits, const struct credit_amount *credit);

/* Does the keeper's part: answers, and notes, all that has come by now. */
void rawclient_keep(struct rawclient *c);

/* Waits for the end of the registrar, which must be clean: nothing is registered, the ledger is empty, BYE was said. */
void rawclient_end(struct rawclient *c);

/* Any bytes, any descriptors. Returns 0 or a negative errno. */
int rawclient_send(struct rawclient *c, const void *data, size_t size, const int *fds, unsigned int n_fds);

/* Waits for the next packet, doing the keeper's part meanwhile. Returns 0 or -ECONNRESET. */
int rawclient_recv(struct rawclient *c, struct pl_packet *ret_packet);

/* Sends a request with its next number and waits for the answer, which must bear it. fd: -1 or a descriptor. */
void rawclient_ask(struct rawclient *c, struct pl_packet *request, int fd, struct pl_packet *ret_answer);

/* The answer must be this refusal, whole. */
void rawclient_assert_refused(const struct pl_packet *answer, uint16_t opcode, enum pinlease_code code);

void rawclient_hello(struct rawclient *c);
uint32_t rawclient_attach(struct rawclient *c, const char *device);

/* A page, by whatever method. Returns its id. */
#define RAWCLIENT_PAGE 4096
void rawclient_make_register(struct pl_packet *packet, uint32_t context);
uint64_t rawclient_register(struct rawclient *c, uint32_t context, int fd);

/* The session has ended: nothing more comes, and the registrar is through. */
void rawclient_expect_end(struct rawclient *c);

/* As the keeper, where rawclient_keep() is not to do it. */
void rawclient_expect_control(struct rawclient *c, uint32_t type);
void rawclient_tell(struct rawclient *c, uint32_t type, uint32_t value);

#endif
