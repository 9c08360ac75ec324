/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "codec.h"

#include <errno.h>
#include <string.h>

#include "util.h"

/* The table of the protocol: who may send what, how long the body is, how many descriptors come with it. */
static const struct shape {
        uint16_t opcode;
        uint8_t from; /* enum pl_side */
        uint8_t n_fds;
        uint16_t body;
        const char *name;
} shapes[] = {
#define SHAPE(op, from, fds, type, name) { op, from, fds, sizeof(struct type), name }
#define EMPTY(op, from, name)            { op, from, 0, 0, name }
        SHAPE(PL_OP_HELLO, PL_FROM_APP, 0, pl_hello, "HELLO"),
        EMPTY(PL_OP_PING, PL_FROM_APP, "PING"),
        SHAPE(PL_OP_ATTACH, PL_FROM_APP, 1, pl_attach, "ATTACH"),
        SHAPE(PL_OP_DETACH, PL_FROM_APP, 0, pl_detach, "DETACH"),
        SHAPE(PL_OP_REGISTER, PL_FROM_APP, 1, pl_register, "REGISTER"),
        SHAPE(PL_OP_DEREGISTER, PL_FROM_APP, 0, pl_deregister, "DEREGISTER"),
        SHAPE(PL_OP_RELEASE, PL_FROM_APP, 0, pl_release, "RELEASE"),
        SHAPE(PL_OP_GRANT, PL_FROM_APP, 0, pl_grant, "GRANT"),
        SHAPE(PL_OP_GRANT_COMMIT, PL_FROM_APP, 0, pl_grant_commit, "GRANT_COMMIT"),
        SHAPE(PL_OP_REPLY | PL_OP_HELLO, PL_FROM_SESSION, 0, pl_hello_reply, "reply to HELLO"),
        EMPTY(PL_OP_REPLY | PL_OP_PING, PL_FROM_SESSION, "reply to PING"),
        SHAPE(PL_OP_REPLY | PL_OP_ATTACH, PL_FROM_SESSION, 0, pl_attach_reply, "reply to ATTACH"),
        EMPTY(PL_OP_REPLY | PL_OP_DETACH, PL_FROM_SESSION, "reply to DETACH"),
        SHAPE(PL_OP_REPLY | PL_OP_REGISTER, PL_FROM_SESSION, 0, pl_register_reply, "reply to REGISTER"),
        EMPTY(PL_OP_REPLY | PL_OP_DEREGISTER, PL_FROM_SESSION, "reply to DEREGISTER"),
        SHAPE(PL_OP_REPLY | PL_OP_RELEASE, PL_FROM_SESSION, 0, pl_release_reply, "reply to RELEASE"),
        SHAPE(PL_OP_REPLY | PL_OP_GRANT, PL_FROM_SESSION, 0, pl_grant_reply, "reply to GRANT"),
        SHAPE(PL_OP_REPLY | PL_OP_GRANT_COMMIT, PL_FROM_SESSION, 0, pl_grant_commit_reply, "reply to GRANT_COMMIT"),
        SHAPE(PL_OP_REFUSED, PL_FROM_SESSION, 0, pl_refused, "REFUSED"),
        SHAPE(PL_OP_GOING_AWAY, PL_FROM_SESSION, 0, pl_going_away, "GOING_AWAY"),
        SHAPE(PL_OP_REVOKING, PL_FROM_SESSION, 0, pl_revoking, "REVOKING"),
        SHAPE(PL_OP_REVOKED, PL_FROM_SESSION, 0, pl_revoked, "REVOKED"),
        SHAPE(PL_OP_SETTLED, PL_FROM_SESSION, 0, pl_settled, "SETTLED"),
        SHAPE(PL_OP_NOTICE, PL_FROM_SESSION, 0, pl_notice, "NOTICE"),
#undef SHAPE
#undef EMPTY
};

/* The layout is the protocol: no padding, nothing that another compiler could place elsewhere. */
_Static_assert(sizeof(struct pl_header) == 24, "header");
_Static_assert(sizeof(struct pl_hello_reply) == 40, "hello_reply");
_Static_assert(sizeof(struct pl_register) == 40, "register");
_Static_assert(sizeof(struct pl_register_reply) == 48, "register_reply");
_Static_assert(sizeof(struct pl_refused) == 488, "refused");
_Static_assert(sizeof(struct pl_going_away) == 432, "going_away");
_Static_assert(sizeof(struct pl_revoking) == 456, "revoking");
_Static_assert(sizeof(struct pl_revoked) == 456, "revoked");
_Static_assert(sizeof(struct pl_release) == 8, "release");
_Static_assert(sizeof(struct pl_release_reply) == 8, "release_reply");
_Static_assert(sizeof(struct pl_grant) == 32, "grant");
_Static_assert(sizeof(struct pl_grant_reply) == 24, "grant_reply");
_Static_assert(sizeof(struct pl_grant_commit) == 24, "grant_commit");
_Static_assert(sizeof(struct pl_grant_commit_reply) == 8, "grant_commit_reply");
_Static_assert(sizeof(struct pl_settled) == 440, "settled");
_Static_assert(sizeof(struct pl_notice) == 448, "notice");
_Static_assert(sizeof(struct pl_packet) == PL_MAX_PACKET, "packet");

static const struct shape *find_shape(uint16_t opcode) {
        for (size_t i = 0; i < ELEMENTSOF(shapes); i++)
                if (shapes[i].opcode == opcode)
                        return shapes + i;
        return NULL;
}

void pl_packet_init(struct pl_packet *packet, uint16_t opcode, uint32_t seq) {
        const struct shape *shape = find_shape(opcode);

        memset(packet, 0, sizeof *packet);
        packet->header = (struct pl_header) {
                .magic = PL_MAGIC,
                .version = PL_VERSION,
                .opcode = opcode,
                .seq = seq,
                .length = (uint32_t)(sizeof packet->header + (shape ? shape->body : 0)),
        };
}

static bool terminated(const char *string, size_t size) {
        return memchr(string, 0, size) != NULL;
}

/* Fields that must be zero, sets without unknown members, strings that must end. */
static bool body_ok(const struct pl_packet *packet) {
        switch (packet->header.opcode) {
        case PL_OP_ATTACH:
                return packet->body.attach.reserved == 0;
        case PL_OP_DETACH:
                return packet->body.detach.reserved == 0;
        case PL_OP_REGISTER:
                /* A guard that is not known cannot be had, and who insists on it must not be told that it is. */
                return (packet->body.reg.guards & ~(unsigned int)PINLEASE_GUARD_ALL) == 0 &&
                       (packet->body.reg.flags & ~(unsigned int)PINLEASE_FLAG_ALL) == 0;
        case PL_OP_GRANT:
                return (packet->body.grant.guards & ~(unsigned int)PINLEASE_GUARD_ALL) == 0;
        case PL_OP_GRANT_COMMIT:
                return packet->body.grant_commit.reserved == 0;
        case PL_OP_REPLY | PL_OP_RELEASE:
                return packet->body.release_reply.settles <= 1 && packet->body.release_reply.reserved == 0;
        case PL_OP_REFUSED:
                return packet->body.refused.reserved == 0 &&
                        terminated(packet->body.refused.rule, sizeof packet->body.refused.rule) &&
                        terminated(packet->body.refused.sentence, sizeof packet->body.refused.sentence);
        case PL_OP_GOING_AWAY:
                return terminated(packet->body.going_away.sentence, sizeof packet->body.going_away.sentence);
        case PL_OP_REVOKING:
                return terminated(packet->body.revoking.sentence, sizeof packet->body.revoking.sentence);
        case PL_OP_REVOKED:
                return packet->body.revoked.reserved == 0 &&
                       terminated(packet->body.revoked.sentence, sizeof packet->body.revoked.sentence);
        case PL_OP_SETTLED:
                return terminated(packet->body.settled.sentence, sizeof packet->body.settled.sentence);
        case PL_OP_NOTICE:
                return terminated(packet->body.notice.sentence, sizeof packet->body.notice.sentence);
        default:
                return true;
        }
}

enum pinlease_code pl_packet_check(const struct pl_packet *packet, size_t size, unsigned int n_fds, enum pl_side from) {
        const struct pl_header *header = &packet->header;
        const struct shape *shape;

        if (size < sizeof *header || size > sizeof *packet)
                return PINLEASE_CODE_BAD_LENGTH;
        if (header->magic != PL_MAGIC)
                return PINLEASE_CODE_BAD_MAGIC;
        if (header->version != PL_VERSION)
                return PINLEASE_CODE_BAD_VERSION;
        if (header->length != size)
                return PINLEASE_CODE_BAD_LENGTH;

        shape = find_shape(header->opcode);
        if (!shape || shape->from != (uint8_t)from)
                return PINLEASE_CODE_BAD_OPCODE;
        if (header->flags != 0 || header->reserved != 0)
                return PINLEASE_CODE_BAD_FLAGS;
        if (from == PL_FROM_APP && header->seq == 0)
                return PINLEASE_CODE_BAD_FLAGS;
        if (size != sizeof *header + shape->body)
                return PINLEASE_CODE_BAD_LENGTH;
        if (n_fds != shape->n_fds)
                return PINLEASE_CODE_BAD_FD_COUNT;
        if (!body_ok(packet))
                return PINLEASE_CODE_BAD_FLAGS;

        return PINLEASE_CODE_NONE;
}

const char *pl_opcode_name(uint16_t opcode) {
        const struct shape *shape = find_shape(opcode);

        return shape ? shape->name : "unknown";
}

static const struct {
        enum pinlease_code code;
        int error;
        const char *name;
} codes[] = {
        { PINLEASE_CODE_NONE, 0, "none" },
        { PINLEASE_CODE_BAD_MAGIC, EPROTO, "bad-magic" },
        { PINLEASE_CODE_BAD_VERSION, EPROTONOSUPPORT, "bad-version" },
        { PINLEASE_CODE_BAD_LENGTH, EMSGSIZE, "bad-length" },
        { PINLEASE_CODE_BAD_OPCODE, EOPNOTSUPP, "bad-opcode" },
        { PINLEASE_CODE_BAD_FLAGS, EINVAL, "bad-flags" },
        { PINLEASE_CODE_BAD_FD_COUNT, EBADMSG, "bad-fd-count" },
        { PINLEASE_CODE_BAD_ORDER, EPROTO, "bad-order" },
        { PINLEASE_CODE_HANGING_FILE, EOPNOTSUPP, "hanging-file" },
        { PINLEASE_CODE_SESSION_LIMIT, EUSERS, "session-limit" },
        { PINLEASE_CODE_NO_RESOURCES, EAGAIN, "no-resources" },
        { PINLEASE_CODE_RESTARTING, EAGAIN, "restarting" },
        { PINLEASE_CODE_GOING_AWAY, ESHUTDOWN, "going-away" },
        { PINLEASE_CODE_NOT_VERBS, ENOTTY, "not-verbs" },
        { PINLEASE_CODE_UNKNOWN_DRIVER, ENODEV, "unknown-driver" },
        { PINLEASE_CODE_TOO_MANY_CONTEXTS, EMFILE, "too-many-contexts" },
        { PINLEASE_CODE_NO_SUCH_CONTEXT, ENODEV, "no-such-context" },
        { PINLEASE_CODE_ZERO_LENGTH, EINVAL, "zero-length" },
        { PINLEASE_CODE_RANGE_OVERFLOW, EOVERFLOW, "range-overflow" },
        { PINLEASE_CODE_BEYOND_END, ERANGE, "beyond-end" },
        { PINLEASE_CODE_MISALIGNED, EINVAL, "misaligned" },
        { PINLEASE_CODE_BAD_ACCESS, EINVAL, "bad-access" },
        { PINLEASE_CODE_FD_MODE, EACCES, "fd-mode" },
        { PINLEASE_CODE_SEALED, EPERM, "sealed" },
        { PINLEASE_CODE_NO_SUCH_PD, ENOENT, "no-such-pd" },
        { PINLEASE_CODE_NO_METHOD, EINVAL, "no-method" },
        { PINLEASE_CODE_NOT_MEMORY, ENODEV, "not-memory" },
        { PINLEASE_CODE_PATH_FD, EBADF, "path-fd" },
        { PINLEASE_CODE_BAD_FS, EOPNOTSUPP, "bad-fs" },
        { PINLEASE_CODE_NOT_OPEN, EBADF, "not-open" },
        { PINLEASE_CODE_NOT_PRIVATE, ENODEV, "not-private" },
        { PINLEASE_CODE_FSDAX_PIN, EOPNOTSUPP, "fsdax-pin" },
        { PINLEASE_CODE_PAGECACHE_WRITE_PIN, EOPNOTSUPP, "pagecache-write-pin" },
        { PINLEASE_CODE_PAGECACHE_READ_PIN, EPERM, "pagecache-read-pin" },
        { PINLEASE_CODE_NO_ODP, EOPNOTSUPP, "no-odp" },
        { PINLEASE_CODE_ODP_UNSOUND, EOPNOTSUPP, "odp-unsound" },
        { PINLEASE_CODE_NO_GUARD, EBUSY, "no-guard" },
        { PINLEASE_CODE_CHANGING, EAGAIN, "changing" },
        { PINLEASE_CODE_POLICY, EACCES, "policy" },
        { PINLEASE_CODE_ANON_PIN, EPERM, "anon-pin" },
        { PINLEASE_CODE_NO_DMABUF, EOPNOTSUPP, "no-dmabuf" },
        { PINLEASE_CODE_PINNED_LIMIT, ENOMEM, "pinned-limit" },
        { PINLEASE_CODE_ODP_LIMIT, ENOMEM, "odp-limit" },
        { PINLEASE_CODE_REGISTRATION_LIMIT, ENOSPC, "registration-limit" },
        { PINLEASE_CODE_NOT_RESIDENT, EFAULT, "not-resident" },
        { PINLEASE_CODE_NOT_POPULATED, EFAULT, "not-populated" },
        { PINLEASE_CODE_KERNEL, EIO, "kernel" },
        { PINLEASE_CODE_CHANGED, EAGAIN, "changed" },
        { PINLEASE_CODE_NO_MAP, EIO, "no-map" },
        { PINLEASE_CODE_NO_SUCH_REGISTRATION, ENOENT, "no-such-registration" },
        { PINLEASE_CODE_BUSY, EBUSY, "busy" },
        { PINLEASE_CODE_NO_SUCH_GRANT, ENOENT, "no-such-grant" },
        { PINLEASE_CODE_GRANT_MISMATCH, EINVAL, "grant-mismatch" },
        { PINLEASE_CODE_DISCONNECTED, ECONNRESET, "disconnected" },
        { PINLEASE_CODE_FORKED, EOWNERDEAD, "forked" },
        { PINLEASE_CODE_NO_SERVICE, ECONNREFUSED, "no-service" },
        { PINLEASE_CODE_NO_MEMORY, ENOMEM, "no-memory" },
};

int pl_code_errno(enum pinlease_code code) {
        for (size_t i = 0; i < ELEMENTSOF(codes); i++)
                if (codes[i].code == code)
                        return codes[i].error;
        return EIO;
}

const char *pl_code_name(enum pinlease_code code) {
        for (size_t i = 0; i < ELEMENTSOF(codes); i++)
                if (codes[i].code == code)
                        return codes[i].name;
        return "unknown";
}

const char *pl_method_name(enum pinlease_method method) {
        switch (method) {
        case PINLEASE_METHOD_ODP:
                return "odp";
        case PINLEASE_METHOD_PINNED:
                return "pinned";
        case PINLEASE_METHOD_DMABUF:
                return "dmabuf";
        case PINLEASE_METHOD_ANY:
                return "any";
        }
        return "unknown";
}

const char *pl_backing_name(enum pinlease_backing backing) {
        switch (backing) {
        case PINLEASE_BACKING_OTHER:
                return "other";
        case PINLEASE_BACKING_SHMEM:
                return "shmem";
        case PINLEASE_BACKING_HUGETLB:
                return "hugetlb";
        case PINLEASE_BACKING_FSDAX:
                return "fsdax";
        case PINLEASE_BACKING_PAGECACHE:
                return "pagecache";
        case PINLEASE_BACKING_DEVDAX:
                return "devdax";
        case PINLEASE_BACKING_DMABUF:
                return "dmabuf";
        case PINLEASE_BACKING_ANON:
                return "anon";
        }
        return "unknown";
}

const char *pl_guard_name(enum pinlease_guard guard) {
        switch (guard) {
        case PINLEASE_GUARD_SEALS:
                return "seals";
        case PINLEASE_GUARD_LEASE:
                return "lease";
        case PINLEASE_GUARD_MODIFY:
                return "modify";
        case PINLEASE_GUARD_POISON:
                return "poison";
        case PINLEASE_GUARD_ALL:
                break;
        }
        return "unknown";
}

const char *pl_guard_reason_name(enum pinlease_guard_reason reason) {
        static const char *const names[] = {
                [PINLEASE_GUARD_HOLDS] = "holds",
                [PINLEASE_GUARD_NOT_FOR_THIS] = "not-for-this",
                [PINLEASE_GUARD_NOT_SEALED] = "not-sealed",
                [PINLEASE_GUARD_NOT_OWNER] = "not-owner",
                [PINLEASE_GUARD_OPEN_ELSEWHERE] = "open-elsewhere",
                [PINLEASE_GUARD_OTHER_LEASE] = "other-lease",
                [PINLEASE_GUARD_MEDDLED] = "meddled",
                [PINLEASE_GUARD_READER] = "reader",
                [PINLEASE_GUARD_NO_RESOURCES] = "no-resources",
                [PINLEASE_GUARD_UNSUPPORTED] = "unsupported",
                [PINLEASE_GUARD_CHANGING] = "changing",
        };

        return (size_t)reason < ELEMENTSOF(names) ? names[reason] : "unknown";
}
