/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PINLEASE_PINLEASE_H
#define PINLEASE_PINLEASE_H

/*
 * libpinlease: RDMA memory registration through the pinlease service.
 *
 *   struct pinlease *p;
 *   struct pinlease_mr *reg;
 *
 *   r = pinlease_connect(NULL, NULL, NULL, &p);
 *   r = pinlease_attach(p, ctx);
 *   r = pinlease_reg_fd(p, pd, fd, 0, length, address, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE, 0, &reg);
 *   if (r < 0)
 *           fprintf(stderr, "%s\n", pinlease_refusal(p)->sentence);
 *   ... reg->mr.lkey, reg->mr.rkey, reg->iova ...
 *   pinlease_dereg(p, reg);
 *   pinlease_disconnect(p);
 *
 * Errors. Functions that can fail return 0 or a negative errno, and write their ret_ argument on success only. After a
 * failure pinlease_refusal() tells the calling thread the code, the sentence and the rule. A service that
 * sends what makes no sense has its session ended: the call that finds out returns -EPROTO, later ones -ECONNRESET.
 *
 * Threads. A session may be used by any number of threads; calls on it run one after another. Callbacks run only inside
 * pinlease_dispatch(), in the thread that called it, with no lock held: they may call back into the library, also
 * pinlease_disconnect().
 *
 * Processes. A session belongs to the process that connected it. In a child of fork() every function on it fails with
 * -EOWNERDEAD except pinlease_disconnect(), which frees the child's copy and leaves the parent's session alone.
 *
 * Units. Offsets, lengths and addresses are bytes. Times are milliseconds.
 */

#include <stddef.h>
#include <stdint.h>
#include <infiniband/verbs.h>
#include <pinlease/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PINLEASE_DEFAULT_SOCKET "/run/pinlease/client.sock"

/* A session with the service. Opaque. */
struct pinlease;

/*
 * A registration. Owned by the library, valid until pinlease_dereg() or pinlease_disconnect(); the caller reads it and
 * changes nothing in it.
 */
struct pinlease_mr {
        /* As ibv_reg_mr() would have filled it: context, pd, addr, length, handle, lkey, rkey. It goes into work
         * requests, ibv_bind_mw(), ibv_advise_mr(). Never pass it to ibv_dereg_mr() or ibv_rereg_mr(). */
        struct ibv_mr mr;

        /* The address by which RDMA names the first byte: in the peer's wr.rdma.remote_addr together with mr.rkey, and
         * in this side's own sge.addr together with mr.lkey. It is mr.addr, except for an ODP registration whose
         * address was not free in the broker: then the broker's own address, see "The iova of an ODP registration" in README. */
        uint64_t iova;

        enum pinlease_method method;   /* how it was registered */
        enum pinlease_backing backing; /* what the memory is */
        uint32_t guards;               /* which guards hold; none yet */
};

/* Why the last call of this thread on this session failed. Strings are valid until this thread's next call, on any
 * session: of several sessions, only the latest failure is kept. */
struct pinlease_refusal {
        enum pinlease_code code;
        int error;            /* a positive errno: what the call returned, negated */
        const char *rule;     /* the rule that decided, or "" */
        const char *sentence; /* one or more whole sentences in English: what, on what, why, what would work */
};

/*
 * Events, delivered by pinlease_dispatch(). Any member may be NULL. An event about a registration that has been deregistered
 * is not delivered; if another thread deregisters it while the callback runs, reg stays readable until that returns.
 */
struct pinlease_listener {
        /* The service stops, or the session cannot go on. Deregister everything within grace_ms; what is left after
         * that is taken away by force, and RDMA to it fails with a remote access error. */
        void (*going_away)(struct pinlease *p, uint32_t grace_ms, const char *sentence, void *userdata);

        /* The session has ended: every registration of it is gone. Only pinlease_disconnect() is of use now. Comes
         * once. */
        void (*disconnected)(struct pinlease *p, void *userdata);

        /*
         * The service takes one registration back; the session goes on. Within grace_ms stop using reg, tell the peers that use
         * it, wait for the work requests under way, and pinlease_dereg() it, here in the callback or later. Who does that keeps
         * all queue pairs. Who does not loses more than the registration: it is taken away, and the next work request
         * that names it, from either side, ends in a remote (or local) access error, which puts the queue pair in the
         * error state; the connection has to be set up anew.
         * Comes again if the time has become shorter.
         */
        void (*revoking)(struct pinlease *p,
                         struct pinlease_mr *reg,
                         uint32_t grace_ms,
                         const char *sentence,
                         void *userdata);

        /* It has been taken away, as a rule after `revoking`, but not always: the service may be in a hurry, and an app that
         * comes late to pinlease_dispatch() gets only this. reg stays a valid object, for reading and for pinlease_dereg(),
         * which succeeds; its keys are dead. */
        void (*revoked)(struct pinlease *p, struct pinlease_mr *reg, const char *sentence, void *userdata);
};

/*
 * Connects to the service and waits for its answer; also for the successor of a service that is being replaced.
 *
 * path:     the service's socket; NULL: $PINLEASE_SOCKET if set, else PINLEASE_DEFAULT_SOCKET.
 * listener: copied; may be NULL. userdata is handed to its functions.
 *
 * Errors: -ENOENT, -ECONNREFUSED (the service does not run), -EACCES (not allowed to use the socket: see the group
 * "pinlease"), -EUSERS (this user has too many sessions), -EPROTO, -EPROTONOSUPPORT (another protocol version),
 * -ECONNRESET, -ENAMETOOLONG, -EAGAIN (the service could not start a session), -ENOMEM, -EMFILE. There is no session to
 * ask for the refusal then: pinlease_refusal(NULL) has it.
 */
int pinlease_connect(const char *path, const struct pinlease_listener *listener, void *userdata, struct pinlease **ret_p);

/*
 * Ends the session: every registration of it is deregistered by the service, and freed here. Waits until the service has
 * done so, so that the caller may at once free its protection domains and unmap. p may be NULL. Returns NULL.
 */
struct pinlease *pinlease_disconnect(struct pinlease *p);

/*
 * Makes a verbs context known to the service, so that memory can be registered on its protection domains. The service
 * gets a duplicate of context->cmd_fd. Done by the first pinlease_reg_fd() on a context all the same; a call of its own
 * moves the cost to a better time. Attaching an attached context succeeds.
 *
 * Errors: -ENOTTY (not a verbs device), -ENODEV (its driver is not known), -EMFILE (too many contexts in this session),
 * -ECONNRESET, -EOWNERDEAD.
 */
int pinlease_attach(struct pinlease *p, struct ibv_context *context);

/*
 * Takes a verbs context back: deregisters what is registered on it, and the service gives up its copy of the command fd.
 * To be called before ibv_close_device(), which otherwise leaves the kernel's context alive until the session ends; and a
 * context opened later at the same address would be taken for the old one.
 *
 * Errors: -ENODEV (not attached), -EBUSY (a memory window is bound to a registration; the context stays attached),
 * -ECONNRESET, -EOWNERDEAD.
 */
int pinlease_detach(struct pinlease *p, struct ibv_context *context);

/*
 * Registers [offset, offset + length) of the file that fd refers to, which the caller has mapped MAP_SHARED at address.
 *
 * First the range is faulted in, in this process (MADV_POPULATE_WRITE, or _READ for read-only access; Linux 5.14), so
 * that its memory is charged to the caller and not to the service. The service gets a duplicate of fd, which must be
 * open for reading, and for writing too where the access is writable.
 *
 * access:  IBV_ACCESS_LOCAL_WRITE, _REMOTE_WRITE, _REMOTE_READ, _REMOTE_ATOMIC, _MW_BIND, _RELAXED_ORDERING,
 *          _FLUSH_GLOBAL, _FLUSH_PERSISTENT. Not IBV_ACCESS_ON_DEMAND (that is methods), _ZERO_BASED, _HUGETLB.
 * methods: set of enum pinlease_method that the caller accepts; 0: PINLEASE_METHOD_ANY. The service takes the first of
 *          ODP, pinned that the device offers and the rules allow.
 *
 * Errors, each with a code of its own in pinlease_refusal(), see <pinlease/types.h>:
 *   -EINVAL     empty range, misplaced address, unknown access or method
 *   -EOVERFLOW  offset + length or address + length does not fit
 *   -ERANGE     the range passes the end of the file
 *   -EACCES     fd is not open for what access asks
 *   -EPERM      sealed against writing; or a read-only pin of an ordinary file, which needs a rule
 *   -EBADF      fd is not open, or only as O_PATH
 *   -ENODEV     fd is not memory (pipe, socket, directory, device)
 *   -EOPNOTSUPP the file system may not be registered; or only a pin was acceptable and the kernel has none for this
 *               memory (file-system DAX; a writable long-term pin of file pages: EFAULT of ibv_reg_mr() since Linux 6.5,
 *               "mm/gup: disallow FOLL_LONGTERM writing to file-backed mappings"); or the device has no ODP
 *   -ENOMEM, -ENOSPC  a limit, which the sentence names
 *   -EFAULT     the range is not mapped at address, or not resident
 *   -ENOENT     no such protection domain
 *   -EAGAIN     the file was truncated meanwhile; or the service is just being restarted and cannot say whether this user
 *               may have more: try again
 *   -ESHUTDOWN  the service has announced the end of the session (see pinlease_listener.going_away)
 *   others      the kernel's answer to the registration
 *   -ECONNRESET, -EOWNERDEAD
 */
int pinlease_reg_fd(struct pinlease *p,
                    struct ibv_pd *pd,
                    int fd,
                    uint64_t offset,
                    uint64_t length,
                    void *address,
                    unsigned int access,
                    unsigned int methods,
                    struct pinlease_mr **ret_reg);

/*
 * Deregisters. On success, and when the session has ended (-ECONNRESET, -EPROTO: the registration went with it), reg is
 * freed. Of a registration that the service has taken away (see pinlease_listener.revoked) it succeeds.
 *
 * Errors: -EBUSY (a memory window is bound to it; reg stays valid), -ECONNRESET, -EPROTO, -EOWNERDEAD.
 */
int pinlease_dereg(struct pinlease *p, struct pinlease_mr *reg);

/*
 * One empty request and its answer: is the session alive? Errors: -ECONNRESET, -EOWNERDEAD.
 */
int pinlease_ping(struct pinlease *p);

/*
 * A file descriptor that polls readable (POLLIN) when pinlease_dispatch() has something to do. Owned by the session;
 * only for polling. Negative errno in a forked child.
 */
int pinlease_get_fd(struct pinlease *p);

/*
 * Delivers the events that have come, without blocking. Returns how many, or -ECONNRESET once the session has ended and
 * `disconnected` has been called, or -EOWNERDEAD.
 */
int pinlease_dispatch(struct pinlease *p);

/* Why this thread's last failed call on p failed; for p == NULL, why its last pinlease_connect() failed. Never NULL. */
const struct pinlease_refusal *pinlease_refusal(const struct pinlease *p);

/* Names, in lower case, for messages: "fsdax-pin", "pinned", "hugetlb"; "unknown" for a number not known. */
const char *pinlease_strcode(enum pinlease_code code);
const char *pinlease_strmethod(enum pinlease_method method);
const char *pinlease_strbacking(enum pinlease_backing backing);

#ifdef __cplusplus
}
#endif

#endif
