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
        PL_OP_RELEASE    = 7, /* PL_FEATURE_GUARDS */
        PL_OP_GRANT      = 8, /* PL_FEATURE_GRANTS */
        PL_OP_GRANT_COMMIT = 9, /* PL_FEATURE_GRANTS */

        /* session → app. The answer to OP is PL_OP_REPLY | OP, or REFUSED; both carry the request's seq. */
        PL_OP_REPLY      = 0x100,
        PL_OP_REFUSED    = 0x200,

        /* events: unsolicited, seq 0 */
        PL_OP_GOING_AWAY = 0x300,
        PL_OP_REVOKING   = 0x301, /* PL_FEATURE_REVOCATION */
        PL_OP_REVOKED    = 0x302, /* PL_FEATURE_REVOCATION */
        PL_OP_SETTLED    = 0x303, /* PL_FEATURE_GUARDS */
        PL_OP_NOTICE     = 0x304, /* PL_FEATURE_GUARDS */
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
#define PL_FEATURE_GUARDS     (UINT64_C(1) << 1) /* RELEASE, SETTLED, NOTICE, and pl_register.guards */
#define PL_FEATURE_PREFETCH   (UINT64_C(1) << 2) /* pl_register.flags, pl_register_reply.flags */
#define PL_FEATURE_GRANTS     (UINT64_C(1) << 3) /* GRANT and GRANT_COMMIT */
#define PL_FEATURES_KNOWN     (PL_FEATURE_REVOCATION | PL_FEATURE_GUARDS | PL_FEATURE_PREFETCH | PL_FEATURE_GRANTS)

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
        uint16_t methods; /* enum pinlease_method that the app accepts */
        uint8_t guards;   /* enum pinlease_guard without which it does not want it */
        uint8_t flags;    /* enum pinlease_flag: what it wishes */
};

struct pl_register_reply {
        uint64_t id;
        uint64_t iova; /* what a remote peer, and a local work request, calls the first byte */
        uint64_t length;
        uint32_t lkey;
        uint32_t rkey;
        uint32_t handle; /* the kernel's MR handle on the app's own context */
        uint32_t method;
        uint16_t backing;
        uint16_t flags;  /* enum pinlease_flag: what has been done; 0 without PL_FEATURE_PREFETCH */
        uint32_t guards; /* PL_GUARDS() */
};

/* Which guards hold, in the lower 8 bits; above, 4 bits each, why the others do not: enum pinlease_guard_reason. */
#define PL_N_GUARDS 4
#define PL_GUARD_MAX_N 6
static inline uint32_t pl_guards_held(uint32_t guards) {
        return guards & 0xff;
}
static inline unsigned int pl_guard_reason(uint32_t guards, unsigned int index) {
        return guards >> (8 + 4 * index) & 0xf;
}
static inline uint32_t pl_guards_set(uint32_t guards, unsigned int index, unsigned int reason) {
        guards &= ~(UINT32_C(1) << index | UINT32_C(0xf) << (8 + 4 * index));
        return guards | (reason == 0 ? UINT32_C(1) << index : (uint32_t)reason << (8 + 4 * index));
}

struct pl_deregister {
        uint64_t id;
};

/* As DEREGISTER; and the app wants to hear, by SETTLED, when the change for whose sake it lets go is over. */
struct pl_release {
        uint64_t id;
};

struct pl_release_reply {
        uint32_t settles; /* 1: SETTLED will come, or has come; 0: there is no such change, the file may be registered at once */
        uint32_t reserved;
};

/* Private memory, which no descriptor stands for: the app registers it by itself when it has been granted, and says what has become
 * of that by GRANT_COMMIT; or it gives the grant back by DEREGISTER. */
struct pl_grant {
        uint32_t context;
        uint32_t pd;
        uint64_t address; /* in the app */
        uint64_t length;  /* bytes */
        uint32_t access;  /* enum ibv_access_flags, without ON_DEMAND */
        uint16_t methods; /* as in pl_register */
        uint16_t guards;
};

struct pl_grant_reply {
        uint64_t id;   /* of the registration to be */
        uint64_t iova; /* with which it is to be registered */
        uint32_t method; /* by which */
        uint32_t lapse_ms; /* from now until the grant is void, if it is not committed */
};

/* What the kernel answered to the app. */
struct pl_grant_commit {
        uint64_t id;
        uint32_t handle;
        uint32_t lkey;
        uint32_t rkey;
        uint32_t reserved;
};

struct pl_grant_commit_reply {
        uint32_t backing;
        uint32_t guards; /* PL_GUARDS() */
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
        PL_REVOKED_LAYOUT_CHANGE    = 2, /* the file is being, or has been, truncated, opened by another program, moved … */
        PL_REVOKED_MEMORY_FAILURE   = 3, /* the memory is broken: offset and length say where */
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

/* The change for whose sake a registration was released or taken away is over: the file may be registered again. */
struct pl_settled {
        uint64_t id;   /* of that registration; it is not used again */
        uint64_t size; /* of the file, now; bytes */
        char sentence[PL_SENTENCE_MAX];
};

enum pl_notice_kind {
        PL_NOTICE_UNLINKED   = 1, /* the file has no name any more. Its memory is still the app's */
        PL_NOTICE_UNMOUNTED  = 2, /* its file system has been unmounted (lazily: it is still there as long as it is used) */
        PL_NOTICE_READ_ONLY  = 3, /* its file system is read-only now */
        PL_NOTICE_GUARD_LOST = 4, /* a guard does not hold any more */
        PL_NOTICE_GUARD_BACK = 5, /* it holds again */
        PL_NOTICE_CHANGED    = 6, /* the file has been changed, nothing is taken back for it */
};

/* Something has happened to the file of a registration, which is not taken back for it. */
struct pl_notice {
        uint64_t id; /* one of that file */
        uint64_t size;
        uint32_t kind;   /* enum pl_notice_kind; an app ignores those it does not know */
        uint32_t guards; /* as in the reply, now */
        char sentence[PL_SENTENCE_MAX];
};

#endif
