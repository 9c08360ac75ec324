/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_STATE_H
#define PL_STATE_H

/* What a registrar has: verbs contexts, credit, mappings, and the table of its registrations. */

#include "credit.h"
#include "fdclass.h"
#include "guards.h"
#include "ledger.h"
#include "mapping.h"
#include "policy.h"
#include "uverbs.h"

#define MAX_CONTEXTS 16
#define CONTEXT_NAME_MAX 64 /* IB_DEVICE_NAME_MAX of the kernel */

/* A verbs context of the app. */
struct context {
        struct uverbs_device device; /* the descriptor is owned; -1: free slot */
        unsigned int methods;        /* enum pinlease_method that it offers; DMABUF only when it has been probed, see dmabuf-mr.h */
        bool dmabuf_probed;
        unsigned int unsound;        /* those of them that it does wrong */
        char name[CONTEXT_NAME_MAX]; /* the device's; "": not known */
};

/* What the rule that allowed a registration says of it, for as long as it lives. */
struct terms {
        uint32_t grace_ms; /* how long the app has to let go when the file is about to be changed */
        bool notify;       /* by ODP only: it is not taken back for that, the app is told; the kernel keeps the device coherent */
        bool kill;         /* the app may be killed, if nothing else helps */
        bool refused;      /* today's policy would not allow it; it is being taken back */
};

/* The app may register, and has not said yet that it has. */
#define MAX_GRANTS 16
struct open_grant {
        uint32_t slot;
        bool prefetch;
        uint64_t deadline; /* CLOCK_MONOTONIC, ms */
};

/* What the registrar remembers of a registration, beside the ledger's entry at the same index. */
struct registration {
        uint64_t id; /* 0: free slot */
        struct mapping *mapping;
        struct guarded *file; /* NULL: no guards are wanted, or it is GONE */
        uint64_t charged; /* bytes */
        struct terms terms;
        uint32_t next_free;

        /* revoke.h's */
        uint16_t revocations; /* a bit each: those that wait for it */
        uint8_t flags;
        uint8_t reason; /* enum pl_revocation_reason, of the latest */
        uint64_t hit_offset, hit_length; /* what of it is meant by that, in bytes of the file */
        uint64_t settled_size;
};

/* The app has been asked to let go. */
#define REGISTRATION_REVOKING (1 << 0)
/* Nothing is registered any more; the slot is kept until the app has been told. */
#define REGISTRATION_GONE     (1 << 1)
/* A grant that is not committed, see grant.h. */
#define REGISTRATION_OPEN     (1 << 7)
/* The rest of the flags is revoke.c's own. */

struct registrar_state {
        const struct uverbs_ops *uverbs;
        const struct policy_block *policy; /* borrowed, as is what the subject refers to */
        struct policy_subject subject;
        struct ledger ledger;
        struct credit credit;
        struct mapping_table mappings;
        struct guards *guards; /* NULL: none */
        int pagemap; /* /proc/self/pagemap, owned; -1: it is not known what is mapped */
        struct context contexts[MAX_CONTEXTS];

        struct open_grant grants[MAX_GRANTS];
        unsigned int n_grants;

        /* Bytes of what is granted or registered of private memory by pin. The app's limit follows: raise() has it be able to
         * pin so many in all. Returns 0, and *ret_error 0 or a negative errno that is no matter of the session's; or a negative
         * errno that ends the session. NULL: nobody can. */
        uint64_t private_pinned;
        int (*raise)(void *userdata, uint64_t total, int *ret_error);
        void *raise_userdata;

        struct registration *registrations; /* grows up to the ledger's capacity */
        uint32_t n_registrations;           /* slots allocated */
        uint32_t first_free;
        uint32_t generation;

        /* A registration has been undone, whoever did it. Returns whether its slot is kept; then it is GONE, and its owner
         * calls state_slot_put(). NULL: none is. */
        bool (*gone)(void *userdata, uint32_t slot);
        void *gone_userdata;
};

/* Takes the ledger over. The credit holds all that the limits allow; whoever has less says so in state->credit. */
void state_init(struct registrar_state *state,
                const struct uverbs_ops *uverbs,
                struct ledger *ledger,
                const struct credit_amount *limits);

/* Announces to the keeper that something is being worked on, of so many bytes; and that it is done. */
void state_busy(struct registrar_state *state, uint64_t bytes);
void state_idle(struct registrar_state *state);

/* The slot of a registration that is there, or -ENOENT. */
int state_find(const struct registrar_state *state, uint64_t id, uint32_t *ret_slot);

/* A free slot, which names a registration in both tables: this and the ledger. -ENOSPC, -ENOMEM. */
#define STATE_NO_SLOT UINT32_MAX
int state_slot_get(struct registrar_state *state, uint32_t *ret_slot);
void state_slot_put(struct registrar_state *state, uint32_t slot);

/* A number that is not given again while anybody could remember it: a slot, and a count of 32 bits. */
uint64_t state_next_id(struct registrar_state *state, uint32_t slot);

/* Not GONE. */
static inline bool registration_is_there(const struct registration *registration) {
        return registration->id != 0 && !(registration->flags & REGISTRATION_GONE);
}

#endif
