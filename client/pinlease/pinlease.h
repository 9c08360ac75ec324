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
 *   (or, of malloc()ed memory, pinlease_reg_mr(p, pd, address, length, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE, NULL, &reg))
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
 *
 * Compatibility. Until the first release the structs of this header may grow, at their end: programs are compiled anew with
 * the library. Every member that a program does not name is 0 in an initializer, and 0 means: as before.
 *
 * Keeping the connection. A registration can be asked back: because the file is about to be truncated, opened or moved by
 * another program, because its memory fails, or because the administrator wants it. Queue pairs survive that if nobody uses the
 * keys any more when they die. What an application does:
 *
 *   1. `revoking`: quiesce. Post no more work requests that name the registration, tell the peers that have its rkey to stop,
 *      and wait until theirs and its own that are under way have completed. Other registrations are not concerned, so the
 *      messages for this go over the same queue pair.
 *   2. pinlease_release(). If it returns 1, a change of the file is under way, and who makes it may now go on; wait for 3.
 *      If it returns 0 there is nothing to wait for.
 *   3. `settled`: the file has the size that it says. Map it anew if that has changed, register it again, and
 *   4. tell the peers: go on, with the new rkey, address and length.
 *
 * All of this has to happen within grace_ms. An application without a `revoking` function loses the registration at the next
 * pinlease_dispatch(); one that does not call that loses it by force at the deadline. In both cases the next work request that
 * names it, from either side, ends in an access error, and the queue pair with it. pinlease-pingpong does all this:
 * client/pingpong/keeping.c. Until 3 the CPU should keep off the mapping too: what is cut off raises SIGBUS.
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
 * A registration. Owned by the library, valid until pinlease_dereg(), pinlease_release() or pinlease_disconnect(); the caller
 * reads it and changes nothing in it but the cookie.
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

        /* Which guards hold: a set of enum pinlease_guard, in the lower 8 bits. The rest is for pinlease_guard_reason(). It changes
         * when a guard is lost or comes back, in the midst of any call of any thread on the session; `notice` says so. */
        uint32_t guards;

        /* The caller's own, as qp_context of a queue pair: the library hands it to `settled`, and else leaves it alone.
         * From pinlease_reg_options, or set at any time before pinlease_release(). */
        void *cookie;

        /* Set of enum pinlease_flag: what it has got, because the caller has asked for it or a rule of the administrator. */
        unsigned int flags;
};

/* What pinlease_reg_fd_ex() takes beyond the range. All 0: as pinlease_reg_fd() with methods 0. */
struct pinlease_reg_options {
        unsigned int methods; /* set of enum pinlease_method that the caller accepts; 0: PINLEASE_METHOD_ANY */
        unsigned int guards;  /* set of enum pinlease_guard without which the caller does not want the registration; 0: none */
        void *cookie;         /* becomes pinlease_mr.cookie */
        unsigned int flags;   /* set of enum pinlease_flag that the caller wishes for; pinlease_mr.flags says what it has got */
};

/* Why the last call of this thread on this session failed. Strings are valid until this thread's next call, on any
 * session: of several sessions, only the latest failure is kept. */
struct pinlease_refusal {
        enum pinlease_code code;
        int error;            /* a positive errno: what the call returned, negated */
        const char *rule;     /* the rule that decided, or "" */
        const char *sentence; /* one or more whole sentences in English: what, on what, why, what would work */
};

/* What is taken back, and why. Valid until the callback returns. */
struct pinlease_revocation {
        enum pinlease_revocation_reason reason;

        /* How long from now until it is taken away by force. 0 in `revoked`; in `revoking` it may be 0 too: an app that comes late,
         * or a memory failure, which allows none. */
        uint32_t grace_ms;

        /* The part of the file that it is about, within the registration: all of it, as a rule; the bytes that a truncation cuts
         * off, where that is known; with PINLEASE_REVOKED_MEMORY_FAILURE the bytes that are lost. It is always the whole registration
         * that is taken back. */
        uint64_t offset, length;

        const char *sentence; /* one or more whole sentences in English, for people */
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
         * The service takes one registration back; the session goes on. Within revocation->grace_ms stop using reg, tell the peers
         * that use it, wait for the work requests under way, and pinlease_release() it (or pinlease_dereg()), here in the callback
         * or later. Who does that keeps all queue pairs. Who does not loses more than the registration: it is taken away, and the
         * next work request that names it, from either side, ends in a remote (or local) access error, which puts the queue
         * pair in the error state; the connection has to be set up anew.
         * Comes again if the time has become shorter.
         *
         * NULL: pinlease_dispatch() gives the registration back itself, at once: who cannot stop its peers gains nothing by
         * having another program wait until the deadline. `revoked` comes then, and reg stays valid as there.
         */
        void (*revoking)(struct pinlease *p,
                         struct pinlease_mr *reg,
                         const struct pinlease_revocation *revocation,
                         void *userdata);

        /* It has been taken away, as a rule after `revoking`, but not always: the service may be in a hurry, and an app that
         * comes late to pinlease_dispatch() gets only this. reg stays a valid object, for reading and for pinlease_dereg() or
         * pinlease_release(), which succeed; its keys are dead. */
        void (*revoked)(struct pinlease *p,
                        struct pinlease_mr *reg,
                        const struct pinlease_revocation *revocation,
                        void *userdata);

        /*
         * The change of the file for whose sake a registration was given back, or taken away, is over: the file has `size` bytes
         * now and may be registered again. cookie is that of the registration, which itself may be gone. Comes once for each
         * registration whose pinlease_release() has returned 1, and for each that was taken away with
         * PINLEASE_REVOKED_LAYOUT_CHANGE and has not been given to pinlease_dereg() before this.
         * The next change may be under way already: then registering fails with -EAGAIN (PINLEASE_CODE_CHANGING); nothing will tell
         * when that one is over, so try again a little later.
         */
        void (*settled)(struct pinlease *p, void *cookie, uint64_t size, const char *sentence, void *userdata);

        /* Something has happened to the file of a registration, or a guard has been lost or is back, and nothing is taken back
         * for it. Comes once for a file; reg is one of its registrations, and reg->guards (of all of them) is as it is now.
         * size: of the file. Notices of kinds that this library does not know are left out. */
        void (*notice)(struct pinlease *p,
                       struct pinlease_mr *reg,
                       enum pinlease_notice notice,
                       uint64_t size,
                       const char *sentence,
                       void *userdata);
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
 * Registers [offset, offset + length) of the file, or device-dax node, that fd refers to, which the caller has mapped MAP_SHARED at
 * address. Of a device any part of what is mapped may be registered; it is the mapping that has to be aligned.
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
 *   -ENODEV     fd is not memory (pipe, socket, directory, device other than device-dax)
 *   -EOPNOTSUPP the file system may not be registered; or only a pin was acceptable and the kernel has none for this
 *               memory (file-system DAX; a writable long-term pin of file pages: EFAULT of ibv_reg_mr() since Linux 6.5,
 *               "mm/gup: disallow FOLL_LONGTERM writing to file-backed mappings"); or the device has no ODP
 *   -ENOMEM, -ENOSPC  a limit, which the sentence names
 *   -EFAULT     the range is not mapped at address, or not resident
 *   -ENOENT     no such protection domain
 *   -EAGAIN     the file was truncated, punched or sealed meanwhile (PINLEASE_CODE_CHANGED), or is just being changed (PINLEASE_CODE_CHANGING); or the service is just being restarted and cannot say whether this user
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
 * The same, with options (NULL: none): a cookie, wishes, and guards to insist on. See enum pinlease_guard for what each of them sees.
 * Which of them hold is in pinlease_mr.guards whether they were asked for or not: insist only on what the application could not
 * do without.
 *
 * PINLEASE_FLAG_PREFETCH makes the call take as long as a pin would, so that the peers need not wait later. It is granted where the
 * registration is by ODP, the device can do it, and all of the range is in memory, as it is after this call's own faulting-in
 * unless something has been taken out of it again. What is pinned needs none.
 *
 * Errors: those of pinlease_reg_fd(), and
 *   -EINVAL  (PINLEASE_CODE_BAD_FLAGS) a flag that this library does not know
 *   -EBUSY   (PINLEASE_CODE_NO_GUARD) a guard that options->guards insists on cannot be had; the sentence says which and why.
 *            For a lease as a rule: the file is open a second time, or this user does not own it. Also of a set that has
 *            members which this library does not know, and of a service that is older than guards.
 */
int pinlease_reg_fd_ex(struct pinlease *p,
                       struct ibv_pd *pd,
                       int fd,
                       uint64_t offset,
                       uint64_t length,
                       void *address,
                       unsigned int access,
                       const struct pinlease_reg_options *options,
                       struct pinlease_mr **ret_reg);

/*
 * Registers [offset, offset + length) of a dma-buf: memory of a device, or of a subsystem of the kernel, that its exporter (a GPU's
 * driver, udmabuf, a DMA heap …) maps for the RDMA device. Nothing is mapped or faulted in here, and the memory need not be within the
 * reach of a CPU. As ibv_reg_dmabuf_mr(3) in arguments and in what it does (REG_DMABUF_MR, Linux 5.12), by way of the service.
 *
 * fd:      the dma-buf, open for reading and writing (O_RDWR; exported with DRM_RDWR by a graphics driver) where the access is writable.
 *          Borrowed; it may be closed when this has returned: the registration keeps the dma-buf alive.
 * offset, length: bytes within the dma-buf, any, also within pages.
 * iova:    by which address peers, and this side's own work requests, shall name the first byte: 0, or the address at which
 *          the memory is mapped, or any; it has to differ from offset by whole pages (of the CPU). It comes back in pinlease_mr.iova;
 *          pinlease_mr.mr.addr is offset, as with ibv_reg_dmabuf_mr(3).
 * access:  IBV_ACCESS_LOCAL_WRITE, _REMOTE_WRITE, _REMOTE_READ, _REMOTE_ATOMIC, _RELAXED_ORDERING; the kernel has no other for dma-bufs.
 * options: as for pinlease_reg_fd_ex(); NULL: none. Its methods are 0 or have PINLEASE_METHOD_DMABUF.
 *
 * No guard holds: a dma-buf does not change its size, and only its exporter knows of failures in its memory, or of its being moved.
 * Whoever registers it is charged for it, as for a pin, once for each registration; who has allocated the memory does not matter.
 *
 * Errors, each with a code of its own in pinlease_refusal():
 *   -EINVAL     empty range, unknown access or flag; iova and offset differ within a page (PINLEASE_CODE_MISALIGNED)
 *   -EOVERFLOW  offset + length or iova + length does not fit
 *   -ERANGE     the range passes the end of the dma-buf
 *   -EACCES     fd is not open for what access asks; or a rule of the administrator refuses it
 *   -EBADF      fd is not open
 *   -EOPNOTSUPP (PINLEASE_CODE_NO_DMABUF) fd is no dma-buf; or the device, its driver or this kernel registers none; or it could not attach
 *               to this one, and the sentence has what the kernel said
 *   -EBUSY      (PINLEASE_CODE_NO_GUARD) a guard is insisted on, by options or a rule
 *   -ENOMEM, -ENOSPC  a limit, which the sentence names
 *   -ENOENT     no such protection domain
 *   -EAGAIN     the service is just being restarted: try again
 *   -ESHUTDOWN  the service has announced the end of the session (see pinlease_listener.going_away)
 *   others      the kernel's answer to the registration
 *   -ENOTTY, -ENODEV, -EMFILE, -ECONNRESET, -EPROTO, -EOWNERDEAD  as pinlease_attach()
 */
int pinlease_reg_dmabuf(struct pinlease *p,
                        struct ibv_pd *pd,
                        int fd,
                        uint64_t offset,
                        uint64_t length,
                        uint64_t iova,
                        unsigned int access,
                        const struct pinlease_reg_options *options,
                        struct pinlease_mr **ret_reg);

/*
 * Registers private memory of the caller: what malloc(3), the stack, MAP_PRIVATE | MAP_ANONYMOUS and .bss beyond the program's file are.
 * address, length: any, also within pages. options: as for pinlease_reg_fd_ex(); NULL: none. The object is as any other: its keys go into
 * work requests, it is given back by pinlease_dereg() or pinlease_release(), and it can be asked back. Its iova is address. In events
 * offset and length count from address.
 *
 * No descriptor stands for such memory, so it is this process that registers it, on its own verbs context, after the service has
 * granted and charged it; the service then checks what has been registered, and is the one who deregisters it. That is done by ODP
 * (pinlease_mr.method), and nothing is faulted in ahead. On a device without ODP, or with one that is known to misplace bytes (rdma_rxe; see
 * options->methods), use a memfd and pinlease_reg_fd().
 *
 * By a pin it is done only where a rule of the administrator has private memory pinned. The pages are faulted in, and charged to this
 * process and its control group. The service raises the process's limit of locked memory (RLIMIT_MEMLOCK) by as much for as long as it
 * is registered; children that are started meanwhile inherit the raised limit and keep it. The process may change its limit meanwhile;
 * lowered, it may not suffice for the next pin.
 *
 * What lies at address is looked up in /proc/self/maps, which takes the longer the more mappings there are. Memory that is shared, or that comes from a file, is refused: register
 * it by its descriptor, with pinlease_reg_fd(). So are private mappings of files (MAP_PRIVATE; the data of programs and libraries): pages
 * that have not been written to are the file's. The range should stay what it is while it is registered: ODP follows the address, so
 * what is mapped there later is what peers reach.
 *
 * No guard holds: there is no file that could change, and the service does not hear of memory failures in it.
 *
 * After fork() the registration is the parent's: peers reach the parent's pages, also those that it writes to later.
 *
 * Errors, each with a code of its own in pinlease_refusal():
 *   -EINVAL     empty range, unknown access or method
 *   -EOVERFLOW  address + length does not fit
 *   -ENODEV     (PINLEASE_CODE_NOT_PRIVATE) it is not private anonymous memory, or the service is older than this call
 *   -EFAULT     the range is not mapped as a whole, or not with the protection that access needs
 *   -EOPNOTSUPP only ODP would do, and the device has none, or one that is used only for methods == PINLEASE_METHOD_ODP
 *   -EPERM      (PINLEASE_CODE_ANON_PIN) only a pin was acceptable, or is all that the device has, and no rule has private memory pinned
 *   -EACCES     a rule of the administrator refuses it
 *   -EBUSY      (PINLEASE_CODE_NO_GUARD) a guard is insisted on, by options or a rule; (PINLEASE_CODE_BUSY) other threads work on the new memory
 *               region's handle without end
 *   -ENOMEM, -ENOSPC  a limit, which the sentence names; or no memory to pin, of the control group or at all
 *   -ENOENT     no such protection domain; or (PINLEASE_CODE_NO_SUCH_GRANT) it was taken back while it was being registered: try again
 *   -EAGAIN     the service is just being restarted: try again
 *   -ESHUTDOWN  the service has announced the end of the session (see pinlease_listener.going_away)
 *   others      the kernel's answer to the registration
 *   -ENOTTY, -EMFILE, -ECONNRESET, -EPROTO, -EOWNERDEAD  as pinlease_attach()
 */
int pinlease_reg_mr(struct pinlease *p,
                    struct ibv_pd *pd,
                    void *address,
                    uint64_t length,
                    unsigned int access,
                    const struct pinlease_reg_options *options,
                    struct pinlease_mr **ret_reg);

/*
 * Deregisters. On success, and when the session has ended (-ECONNRESET, -EPROTO: the registration went with it), reg is
 * freed. Of a registration that the service has taken away (see pinlease_listener.revoked) it succeeds.
 *
 * Errors: -EBUSY (a memory window is bound to it; reg stays valid), -ECONNRESET, -EPROTO, -EOWNERDEAD.
 */
int pinlease_dereg(struct pinlease *p, struct pinlease_mr *reg);

/*
 * Deregisters for now: as pinlease_dereg(), by an application that will register the same file again. To be used in place of it
 * when a registration has been asked back.
 *
 * Returns 1 if a change of the file is under way, for whose sake the service has asked, or is about to: then
 * pinlease_listener.settled comes with reg->cookie when it is over. Returns 0 if there is none: nothing will come, and the
 * file may be registered again at once. reg is freed in both cases.
 *
 * Errors: as pinlease_dereg().
 */
int pinlease_release(struct pinlease *p, struct pinlease_mr *reg);

/*
 * Why a guard does not hold for a registration; PINLEASE_GUARD_HOLDS if it does. guard is one of enum pinlease_guard: anything
 * else does not exist for any memory, PINLEASE_GUARD_NOT_FOR_THIS.
 */
enum pinlease_guard_reason pinlease_guard_reason(const struct pinlease_mr *reg, enum pinlease_guard guard);

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
 * Delivers the events that have come, without waiting for any (but see pinlease_listener.revoking: where there is no such
 * function, it is one request for each registration asked back). Returns how many, or -ECONNRESET once the session has ended and
 * `disconnected` has been called, or -EOWNERDEAD.
 */
int pinlease_dispatch(struct pinlease *p);

/* Why this thread's last failed call on p failed; for p == NULL, why its last pinlease_connect() failed. Never NULL. */
const struct pinlease_refusal *pinlease_refusal(const struct pinlease *p);

/* Names, in lower case, for messages: "fsdax-pin", "pinned", "hugetlb", "lease", "open-elsewhere", "layout-change",
 * "guard-lost"; "unknown" for a number not known. */
const char *pinlease_strcode(enum pinlease_code code);
const char *pinlease_strmethod(enum pinlease_method method);
const char *pinlease_strbacking(enum pinlease_backing backing);
const char *pinlease_strguard(enum pinlease_guard guard);
const char *pinlease_strguardreason(enum pinlease_guard_reason reason);
const char *pinlease_strrevocation(enum pinlease_revocation_reason reason);
const char *pinlease_strnotice(enum pinlease_notice notice);

#ifdef __cplusplus
}
#endif

#endif
