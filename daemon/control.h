/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_CONTROL_H
#define PL_CONTROL_H

/*
 * What pinleased, keeper and registrar say to each other, over SOCK_SEQPACKET. Keeper and registrar are always of one
 * version. A keeper and its pinleased need not be: pinleased may have been replaced since. So what a keeper says first, its
 * introduction, has a layout that never changes, and so has CONTROL_GOING_AWAY; all else is said only between equals.
 */

#include <stdint.h>

#include "credit.h"

#define CONTROL_MAGIC   UINT64_C(0x6c72746e6f636c70)
#ifndef CONTROL_VERSION /* tests build others */
#define CONTROL_VERSION 6
#endif

enum control_type {
        /* pinleased → keeper → registrar */
        CONTROL_GOING_AWAY = 1, /* value: grace, ms */
        CONTROL_CREDIT = 8,  /* answer to WANT. credit: what is handed out on top, perhaps nothing; then value: the enum
                              * credit_kind that is used up, selector: enum credit_whose, limit: what that may have, use: what it has */
        CONTROL_REVOKE = 10, /* cookie, reason, selector, id or device and inode; offset, length; value: grace, ms */
        CONTROL_BREAK_OVER =
                17, /* cookie of a BREAK. value: 0: no other session has anything of that file any more; or a positive
                     * errno: some may have. EBUSY: nothing was done, there are too many breaks at once, or the
                     * kernel does not let go; ETIMEDOUT: some have not done it in time; ENOMEM */

        /* registrar → keeper → pinleased */
        CONTROL_WANT = 9,     /* credit: how much more is needed. One at a time */
        CONTROL_RETURN = 11,  /* credit: what is not needed any more */
        CONTROL_REVOKED = 12, /* cookie; everything selected is gone: counts[] by enum revocation_outcome. value: 0, or
                               * a positive errno: nothing was done (EBUSY: too many at once) */

        CONTROL_BREAK =
                16, /* cookie, device, inode, offset, length: somebody waits to change that file. The registrar gives
                     * its own registrations back; value: within so many ms, by when the others' must be gone, too */

        /* between keeper and registrar */
        CONTROL_PING = 2,         /* keeper → registrar: do you still turn? */
        CONTROL_PONG = 3,         /* registrar → keeper */
        CONTROL_CONTEXT_ADD = 4,  /* registrar → keeper, with a copy of the command fd; context, value: driver id */
        CONTROL_CONTEXT_DROP = 5, /* registrar → keeper: nothing is registered on the context any more */
        CONTROL_ACK = 6,          /* keeper → registrar: add, drop or dispose done; value: 0 or a positive errno */
        CONTROL_BYE = 7,          /* registrar → keeper: all is given up and closed, nothing more will be asked of the kernel */
        CONTROL_DISPOSE = 14,     /* registrar → keeper, with a copy of a descriptor whose last close may take long: the keeper
                                   * holds it. One at a time */
        CONTROL_CLOSED = 15,      /* registrar → keeper: has closed its own copy of that, the keeper's may go now. No ACK */
        CONTROL_YIELDED = 18,     /* registrar → keeper: cookie of a BREAK; its own part of it is over */
        CONTROL_LEND = 19,        /* registrar → keeper, with a copy of a descriptor on which a lease is to be taken; id. Without one:
                                   * again, on the same. The ACK to the first comes with the bell, see bell.h */
        CONTROL_UNLEND = 20,      /* registrar → keeper: id; the lease is given up. No ACK */
        CONTROL_FREEZE = 21,      /* registrar → keeper: value: enum control_freeze. ACK, but to RELEASE;
                                   * EPERM: the app may not be killed */

        CONTROL_MEMLOCK_RAISE = 23, /* registrar → keeper: length: so many bytes the app is to be able to pin by itself, in all. ACK;
                                     * EACCES: no rule has private memory pinned; ESRCH: the app is not known */
        CONTROL_MEMLOCK_LOWER = 24, /* registrar → keeper: length: the same, of what is needed still. No ACK */

        CONTROL_POLICY = 22, /* with a descriptor, see policy-share.h: it replaces the one before. Comes after every WELCOME, too */

        /* pinleased → keeper */
        CONTROL_WELCOME = 13, /* the introduction has been accepted */
};

/* What a REVOKE means. */
enum control_selector {
        CONTROL_SELECT_ALL = 1,
        CONTROL_SELECT_ID = 2,   /* the registration `id` */
        CONTROL_SELECT_FILE = 3, /* registrations of the file `device`, `inode` that overlap `offset`, `length` there */
        CONTROL_SELECT_DEVICE = 4, /* registrations of files of the file system `device` */
};

/* Open BREAKs of one session; one more is answered at once. */
#define CONTROL_MAX_BREAKS 64
/* Nobody waits longer for a change: `value` of a BREAK is at most taken as this. */
#define CONTROL_BREAK_MAX_MS (10 * 60 * 1000)

/* What is to be done to the app, so that a memory region can be taken from it. */
enum control_freeze {
        CONTROL_FREEZE_RELEASE = 0,
        CONTROL_FREEZE_STOP = 1, /* for a moment: see freeze.h */
        CONTROL_FREEZE_KILL = 2,
};

enum revocation_outcome {
        REVOCATION_RELEASED, /* the app let go in time */
        REVOCATION_FORCED,   /* taken away */
        REVOCATION_KEPT,     /* the kernel does not let go, force did not help */
        N_REVOCATION_OUTCOMES,
};

struct control_message {
        uint32_t type;
        uint32_t context;
        uint32_t value;
        uint32_t selector;
        uint64_t cookie; /* chosen by pinleased, given back */
        uint64_t id;
        uint64_t device;
        uint64_t inode;
        uint64_t offset; /* bytes */
        uint64_t length; /* UINT64_MAX: to the end, wherever that is */
        struct credit_amount credit;
        uint64_t limit;
        uint64_t use;
        uint32_t counts[4];
        uint32_t reason; /* enum pl_revocation_reason */
        uint32_t reserved;
};

/* The first message of a keeper on every connection to a pinleased, with its ledger as descriptor. */
struct control_introduction {
        uint64_t magic;
        uint32_t version;
        uint32_t reserved;
        uint64_t session;
        uint32_t app_pid;
        uint32_t registrar_pid;
        uint32_t uid; /* of the app */
        uint32_t gid;
        uint64_t started_ms; /* CLOCK_BOOTTIME */
        struct credit_amount credit; /* what the session holds */
};

int control_pair(int ret_fds[2]);

/* Sends without waiting. fd: -1 or a descriptor to go with it. Returns 0 or a negative errno (-ECONNRESET: closed). */
int control_send(int sock, const struct control_message *message, int fd);
int control_send_introduction(int sock, const struct control_introduction *introduction, int ledger);

/* Receives without waiting. Returns 0, -EAGAIN, -ECONNRESET when the other side has closed, -EPROTO when it has sent
 * something of another length or with several descriptors, or a negative errno. *ret_fd is always set: what came is the
 * caller's, also with something broken, who knows best how to close it; -1: none came. */
int control_recv(int sock, struct control_message *ret_message, int *ret_fd);

/* The same; -EPROTO: what came is not an introduction. Its version is not looked at. */
int control_recv_introduction(int sock, struct control_introduction *ret_introduction, int *ret_fd);

#endif
