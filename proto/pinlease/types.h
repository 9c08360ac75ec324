/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PINLEASE_TYPES_H
#define PINLEASE_TYPES_H

/*
 * What pinlease says about memory: kinds of backing, ways to register, and the codes of its refusals.
 *
 * The numbers are part of the protocol and of the ABI. None changes its meaning or is used again; new ones are added.
 * A program that meets a number it does not know treats a refusal as final, and a backing or method as "other".
 */

#ifdef __cplusplus
extern "C" {
#endif

/* Ways to register memory. A request carries a set of them (what the caller accepts), a reply exactly one. */
enum pinlease_method {
        PINLEASE_METHOD_ODP    = 1 << 0, /* on-demand paging: nothing is pinned, the device faults pages in */
        PINLEASE_METHOD_PINNED = 1 << 1, /* pages are pinned (FOLL_LONGTERM) for the registration's life */
        PINLEASE_METHOD_DMABUF = 1 << 2, /* the exporter of a dma-buf maps it for the device (REG_DMABUF_MR) */
        PINLEASE_METHOD_ANY    = PINLEASE_METHOD_ODP | PINLEASE_METHOD_PINNED | PINLEASE_METHOD_DMABUF,
};

/* What memory really is, as the broker found it. */
enum pinlease_backing {
        PINLEASE_BACKING_OTHER     = 0, /* a file of a local file system that is registered only by a rule that names it */
        PINLEASE_BACKING_SHMEM     = 1, /* memfd, tmpfs, shm_open() */
        PINLEASE_BACKING_HUGETLB   = 2, /* hugetlbfs, memfd with MFD_HUGETLB */
        PINLEASE_BACKING_FSDAX     = 3, /* a file on ext4 or xfs whose pages are the persistent memory itself (S_DAX) */
        PINLEASE_BACKING_PAGECACHE = 4, /* an ordinary file of ext2/3/4, xfs, btrfs, f2fs, vfat, exfat … */
        PINLEASE_BACKING_DEVDAX    = 5, /* /dev/daxX.Y: persistent or device memory without a file system */
        PINLEASE_BACKING_DMABUF    = 6, /* a dma-buf of another device or subsystem */
        PINLEASE_BACKING_ANON      = 7, /* private memory of a process, which no descriptor stands for */
};

/* What a request may wish for, and what a registration has got. */
enum pinlease_flag {
        /* Of ODP: what of the range is in memory is made known to the device at once, so that the first access of each page, from
         * remote or not, does not wait for it to be faulted in. */
        PINLEASE_FLAG_PREFETCH = 1 << 0,
};
#define PINLEASE_FLAG_ALL PINLEASE_FLAG_PREFETCH

/*
 * Guards: who tells the broker that what has been registered is about to change, or has changed. A registration has a set of
 * them. None of them but SEALS prevents anything.
 */
enum pinlease_guard {
        PINLEASE_GUARD_SEALS  = 1 << 0, /* the file is sealed against shrinking (F_SEAL_SHRINK): there is nothing to wait for */
        PINLEASE_GUARD_LEASE  = 1 << 1, /* a file lease, fcntl(2) F_SETLEASE: whoever opens or truncates the file by its name waits
                                         * until the registration has been given back. Not told of: who has it open already */
        PINLEASE_GUARD_MODIFY = 1 << 2, /* inotify(7), sizes and extents compared: told after the change, whoever has made it */
        PINLEASE_GUARD_POISON = 1 << 3, /* a memory failure in a page that is registered: told after it, at once */
        PINLEASE_GUARD_ALL    = (1 << 4) - 1,
};

/* Why a guard does not hold. */
enum pinlease_guard_reason {
        PINLEASE_GUARD_HOLDS          = 0,
        PINLEASE_GUARD_NOT_FOR_THIS   = 1, /* it does not exist for this kind of memory */
        PINLEASE_GUARD_NOT_SEALED     = 2,
        PINLEASE_GUARD_NOT_OWNER      = 3, /* a lease is for who owns the file, see F_SETLEASE in fcntl(2) */
        PINLEASE_GUARD_OPEN_ELSEWHERE = 4, /* the file is open a second time, or its only descriptor is not this one's */
        PINLEASE_GUARD_OTHER_LEASE    = 5, /* somebody has a lease by the same description already */
        PINLEASE_GUARD_MEDDLED        = 6, /* who shares the description has undone or redirected the lease */
        PINLEASE_GUARD_READER         = 7, /* another program reads the file just now; it holds again when that closes it */
        PINLEASE_GUARD_NO_RESOURCES   = 8, /* out of memory, descriptors, processes or inotify watches */
        PINLEASE_GUARD_UNSUPPORTED    = 9, /* this kernel or file system has it not */
        PINLEASE_GUARD_CHANGING       = 10, /* a change is under way */
};

/* Why a registration is taken back. A program that meets a number it does not know acts as it does for the others. */
enum pinlease_revocation_reason {
        PINLEASE_REVOKED_ADMINISTRATOR  = 1, /* pinleasectl revoke, or the service is drained */
        PINLEASE_REVOKED_LAYOUT_CHANGE  = 2, /* the file is being, or has been, truncated, opened by another program, moved … */
        PINLEASE_REVOKED_MEMORY_FAILURE = 3, /* the memory is broken: reading the range raises SIGBUS */
        PINLEASE_REVOKED_POLICY         = 4, /* not used yet: a rule has changed */
};

/* What has happened to the file of a registration, which is not taken back for it. */
enum pinlease_notice {
        PINLEASE_NOTICE_UNLINKED   = 1, /* the file has no name any more. Its memory is still the program's */
        PINLEASE_NOTICE_UNMOUNTED  = 2, /* its file system has been unmounted, lazily: it is there as long as the file is used */
        PINLEASE_NOTICE_READ_ONLY  = 3, /* its file system is read-only now */
        PINLEASE_NOTICE_GUARD_LOST = 4, /* a guard does not hold any more */
        PINLEASE_NOTICE_GUARD_BACK = 5, /* it holds again */
        PINLEASE_NOTICE_CHANGED    = 6, /* it has been changed, and the device follows by on-demand paging */
};

/*
 * Why a request was refused. The errno that goes with each code is given in brackets; pinlease_strcode() gives the
 * name without the prefix. What would work instead is said in the refusal's sentence.
 */
enum pinlease_code {
        PINLEASE_CODE_NONE = 0,

        /* The protocol was broken; the session ends. A program that uses the library never sees these. */
        PINLEASE_CODE_BAD_MAGIC    = 1, /* [EPROTO] not a pinlease message */
        PINLEASE_CODE_BAD_VERSION  = 2, /* [EPROTONOSUPPORT] another major version of the protocol */
        PINLEASE_CODE_BAD_LENGTH   = 3, /* [EMSGSIZE] length is not the opcode's own, or the packet is truncated or padded */
        PINLEASE_CODE_BAD_OPCODE   = 4, /* [EOPNOTSUPP] unknown opcode, or one that only the daemon may send */
        PINLEASE_CODE_BAD_FLAGS    = 5, /* [EINVAL] an unknown flag, or a reserved field that is not zero */
        PINLEASE_CODE_BAD_FD_COUNT = 6, /* [EBADMSG] more or fewer descriptors than the opcode carries */
        PINLEASE_CODE_BAD_ORDER    = 7, /* [EPROTO] a request before HELLO, or a second HELLO */
        PINLEASE_CODE_HANGING_FILE = 8, /* [EOPNOTSUPP] a file whose server may block the broker for ever (FUSE, overlay, network or
                                         * unknown file system). The library refuses it before it is sent; sent all
                                         * the same it ends the session. */

        /* The session */
        PINLEASE_CODE_SESSION_LIMIT  = 20, /* [EUSERS] this user has as many sessions as are allowed */
        PINLEASE_CODE_NO_RESOURCES   = 21, /* [EAGAIN] the daemon could not start a session (processes, descriptors, memory) */
        PINLEASE_CODE_RESTARTING     = 22, /* [EAGAIN] the service is being restarted and cannot say whether there is room: try again */
        PINLEASE_CODE_GOING_AWAY     = 23, /* [ESHUTDOWN] the session is being ended, as was announced: nothing new is registered */

        /* Verbs contexts */
        PINLEASE_CODE_NOT_VERBS         = 30, /* [ENOTTY] the descriptor is not a verbs command fd */
        PINLEASE_CODE_UNKNOWN_DRIVER    = 31, /* [ENODEV] a verbs device whose driver id could not be found */
        PINLEASE_CODE_TOO_MANY_CONTEXTS = 32, /* [EMFILE] as many verbs contexts as one session may have */
        PINLEASE_CODE_NO_SUCH_CONTEXT   = 33, /* [ENODEV] the verbs context is not attached */

        /* The request's own arguments */
        PINLEASE_CODE_ZERO_LENGTH    = 40, /* [EINVAL] an empty range */
        PINLEASE_CODE_RANGE_OVERFLOW = 41, /* [EOVERFLOW] offset + length or address + length does not fit */
        PINLEASE_CODE_BEYOND_END     = 42, /* [ERANGE] the range passes the end of the file */
        PINLEASE_CODE_MISALIGNED     = 43, /* [EINVAL] address and offset differ in their place within a page */
        PINLEASE_CODE_BAD_ACCESS     = 44, /* [EINVAL] access flags that are unknown, contradict each other, or are not for the caller to set */
        PINLEASE_CODE_FD_MODE        = 45, /* [EACCES] access wider than the descriptor's open mode */
        PINLEASE_CODE_SEALED         = 46, /* [EPERM] writable access to a file that is sealed against writing */
        PINLEASE_CODE_NO_SUCH_PD     = 47, /* [ENOENT] no such protection domain on this verbs context */
        PINLEASE_CODE_NO_METHOD      = 48, /* [EINVAL] the request accepts no way to register that exists */

        /* What the descriptor is */
        PINLEASE_CODE_NOT_MEMORY = 50, /* [ENODEV] a pipe, socket, directory, device, event descriptor … */
        PINLEASE_CODE_PATH_FD    = 51, /* [EBADF] opened with O_PATH */
        PINLEASE_CODE_BAD_FS     = 52, /* [EOPNOTSUPP] a file system that no rule allows */
        PINLEASE_CODE_NOT_OPEN   = 53, /* [EBADF] not an open descriptor */
        PINLEASE_CODE_NOT_PRIVATE = 54, /* [ENODEV] an address range that is not private anonymous memory of the caller alone: a mapping of a
                                         * file, or shared memory. Said by the library */

        /* The long-term pin rules, and what the device offers */
        PINLEASE_CODE_FSDAX_PIN           = 60, /* [EOPNOTSUPP] file-system DAX is never pinned for long */
        PINLEASE_CODE_PAGECACHE_WRITE_PIN = 61, /* [EOPNOTSUPP] file memory with dirty tracking is never pinned for writing */
        PINLEASE_CODE_PAGECACHE_READ_PIN  = 62, /* [EPERM] a read-only long-term pin of a file needs a rule */
        PINLEASE_CODE_NO_ODP              = 63, /* [EOPNOTSUPP] only ODP would do, and the device has none for RC */
        PINLEASE_CODE_ODP_UNSOUND         = 64, /* [EOPNOTSUPP] only ODP would do, and this device's is known to misplace bytes: it
                                                 * is used only for a request that accepts nothing else */

        /* Guards, and changes of what is registered */
        PINLEASE_CODE_NO_GUARD = 65, /* [EBUSY] a guard that the request insists on cannot be had */
        PINLEASE_CODE_CHANGING = 66, /* [EAGAIN] the file's layout is just being changed, and its registrations are being taken
                                      * back: register when it has settled */

        PINLEASE_CODE_ANON_PIN  = 68, /* [EPERM] private memory is pinned only by a rule that says so */
        PINLEASE_CODE_NO_DMABUF = 69, /* [EOPNOTSUPP] a dma-buf, and the device or the request has no way to register one, or the device
                                       * cannot attach to this one; or no dma-buf, and nothing else would do */

        /* The administrator's policy */
        PINLEASE_CODE_POLICY = 67, /* [EACCES] a rule of the administrator refuses it; the sentence has the administrator's words, if there are any */

        /* Limits */
        PINLEASE_CODE_PINNED_LIMIT       = 70, /* [ENOMEM] pinned bytes */
        PINLEASE_CODE_ODP_LIMIT          = 71, /* [ENOMEM] bytes registered by ODP */
        PINLEASE_CODE_REGISTRATION_LIMIT = 72, /* [ENOSPC] number of registrations */
        PINLEASE_CODE_NOT_RESIDENT       = 73, /* [EFAULT] the broker would have to allocate the caller's pages to pin them */
        PINLEASE_CODE_NOT_POPULATED      = 74, /* [EFAULT] the library could not fault the range in, in the caller's own process */

        /* The kernel's answers */
        PINLEASE_CODE_KERNEL  = 80, /* [the kernel's] the kernel or the device refused */
        PINLEASE_CODE_CHANGED = 81, /* [EAGAIN] the file was truncated, punched or sealed while it was being registered */
        PINLEASE_CODE_NO_MAP  = 82, /* [the kernel's] the file could not be mapped */

        /* Registrations */
        PINLEASE_CODE_NO_SUCH_REGISTRATION = 90, /* [ENOENT] no such registration in this session */
        PINLEASE_CODE_BUSY                 = 91, /* [EBUSY] the MR is in use: a memory window is bound to it, or another call works on it */
        PINLEASE_CODE_NO_SUCH_GRANT        = 92, /* [ENOENT] there is no such grant, any more: it was not committed in time, or has been taken back */
        PINLEASE_CODE_GRANT_MISMATCH       = 93, /* [EINVAL] what was committed is not what was granted; the grant is gone */

        /* Said by the library without asking the daemon */
        PINLEASE_CODE_DISCONNECTED = 100, /* [ECONNRESET] the session has ended */
        PINLEASE_CODE_FORKED       = 101, /* [EOWNERDEAD] the session belongs to the parent process */
        PINLEASE_CODE_NO_SERVICE   = 102, /* [that of connect(2)] the service cannot be reached */
        PINLEASE_CODE_NO_MEMORY    = 103, /* [ENOMEM] in this process */
};

#ifdef __cplusplus
}
#endif

#endif
