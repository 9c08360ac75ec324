/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_PROTO_H
#define PL_PROTO_H

/*
 * The wire between an app and its session. doc/PROTOCOL.md says it in words; this file is the layout.
 *
 * SOCK_SEQPACKET, one message one packet, host byte order (both ends are one host), fixed width, no implicit padding.
 * Every message is a header and the body that its opcode prescribes, to the byte. Reserved fields are zero and checked.
 */

#include <stddef.h>
#include <stdint.h>

#include "pinlease/types.h"

#define PL_MAGIC      UINT32_C(0x504c5331) /* "PLS1" */
#define PL_VERSION    1
#define PL_MAX_FDS    4
#define PL_MAX_PACKET 1024

enum pl_opcode {
        /* app → session */
        PL_OP_HELLO      = 1,
        PL_OP_PING       = 2,
        PL_OP_ATTACH     = 3, /* 1 fd: ibv_context->cmd_fd */
        PL_OP_DETACH     = 4,
        PL_OP_REGISTER   = 5, /* 1 fd: the memory */
        PL_OP_DEREGISTER = 6,

        /* session → app. The answer to OP is PL_OP_REPLY | OP, or REFUSED; both carry the request's seq. */
        PL_OP_REPLY      = 0x100,
        PL_OP_REFUSED    = 0x200,

        /* events: unsolicited, seq 0 */
        PL_OP_GOING_AWAY = 0x300,
        PL_OP_REVOKING   = 0x301, /* PL_FEATURE_REVOCATION */
        PL_OP_REVOKED    = 0x302, /* PL_FEATURE_REVOCATION */
};

struct pl_header {
        uint32_t magic;
        uint16_t version;
        uint16_t opcode;
        uint32_t flags; /* none is defined */
        uint32_t seq;   /* chosen by the app, never 0; echoed by the answer */
        uint32_t length; /* of the whole packet, this header included */
        uint32_t reserved;
};

/* Feature bits: what goes beyond version 1. The reply holds what both sides have. */
#define PL_FEATURE_REVOCATION (UINT64_C(1) << 0) /* REVOKING and REVOKED */
#define PL_FEATURES_KNOWN     PL_FEATURE_REVOCATION

struct pl_hello {
        uint64_t features;
};

struct pl_hello_reply {
        uint64_t features;
        uint64_t session;      /* number of the session, not given again until the next boot */
        uint64_t pinned_limit; /* bytes */
        uint64_t odp_limit;    /* bytes */
        uint32_t registration_limit;
        uint32_t context_limit;
};

struct pl_attach {
        uint64_t reserved;
};

struct pl_attach_reply {
        uint32_t context; /* names the context in later requests */
        uint32_t methods; /* enum pinlease_method that the device offers for RC */
};

struct pl_detach {
        uint32_t context;
        uint32_t reserved;
};

struct pl_register {
        uint32_t context;
        uint32_t pd; /* ibv_pd->handle */
        uint64_t offset; /* bytes into the file */
        uint64_t length; /* bytes */
        uint64_t address; /* where the app has mapped `offset` */
        uint32_t access;  /* enum ibv_access_flags, without ON_DEMAND */
        uint32_t methods; /* enum pinlease_method that the app accepts */
};

struct pl_register_reply {
        uint64_t id;
        uint64_t iova; /* what a remote peer, and a local work request, calls the first byte */
        uint64_t length;
        uint32_t lkey;
        uint32_t rkey;
        uint32_t handle; /* the kernel's MR handle on the app's own context */
        uint32_t method;
        uint32_t backing;
        uint32_t guards; /* none yet */
};

struct pl_deregister {
        uint64_t id;
};

#define PL_RULE_MAX     48
#define PL_SENTENCE_MAX 424

struct pl_refused {
        uint32_t code;    /* enum pinlease_code */
        int32_t error;    /* a positive errno */
        uint32_t opcode;  /* of the request */
        uint32_t reserved;
        char rule[PL_RULE_MAX]; /* NUL terminated, as are all strings here */
        char sentence[PL_SENTENCE_MAX];
};

enum pl_going_away_reason {
        PL_AWAY_SHUTDOWN = 1, /* the service stops; let go within the grace time */
};

struct pl_going_away {
        uint32_t reason;
        uint32_t grace_ms;
        char sentence[PL_SENTENCE_MAX];
};

/* Why a registration is taken back. An app that meets a number it does not know acts as it does for the others. */
enum pl_revocation_reason {
        PL_REVOKED_BY_ADMINISTRATOR = 1,
        PL_REVOKED_LAYOUT_CHANGE    = 2, /* not used yet: the file system moves the file's blocks */
        PL_REVOKED_MEMORY_FAILURE   = 3, /* not used yet: the memory is broken */
        PL_REVOKED_BY_POLICY        = 4, /* not used yet: a rule has changed */
};

struct pl_revoking {
        uint64_t id;     /* of the registration */
        uint64_t offset; /* what of it is meant, in bytes of the file; all of it, as a rule */
        uint64_t length;
        uint32_t reason; /* enum pl_revocation_reason */
        uint32_t grace_ms; /* from now until it is taken away by force */
        char sentence[PL_SENTENCE_MAX];
};

struct pl_revoked {
        uint64_t id;
        uint64_t offset;
        uint64_t length;
        uint32_t reason;
        uint32_t reserved;
        char sentence[PL_SENTENCE_MAX];
};

#endif
