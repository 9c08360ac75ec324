/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <string.h>

#include "codec.h"

/* The protocol once more, by hand: opcode, sender, length of the packet, descriptors. */
static const struct {
        uint16_t opcode;
        enum pl_side from;
        size_t size;
        unsigned int n_fds;
} shapes[] = {
        { PL_OP_HELLO, PL_FROM_APP, 24 + 8, 0 },
        { PL_OP_PING, PL_FROM_APP, 24, 0 },
        { PL_OP_ATTACH, PL_FROM_APP, 24 + 8, 1 },
        { PL_OP_DETACH, PL_FROM_APP, 24 + 8, 0 },
        { PL_OP_REGISTER, PL_FROM_APP, 24 + 40, 1 },
        { PL_OP_DEREGISTER, PL_FROM_APP, 24 + 8, 0 },
        { PL_OP_RELEASE, PL_FROM_APP, 24 + 8, 0 },
        { PL_OP_GRANT, PL_FROM_APP, 24 + 32, 0 },
        { PL_OP_GRANT_COMMIT, PL_FROM_APP, 24 + 24, 0 },
        { PL_OP_REPLY | PL_OP_HELLO, PL_FROM_SESSION, 24 + 40, 0 },
        { PL_OP_REPLY | PL_OP_PING, PL_FROM_SESSION, 24, 0 },
        { PL_OP_REPLY | PL_OP_ATTACH, PL_FROM_SESSION, 24 + 8, 0 },
        { PL_OP_REPLY | PL_OP_DETACH, PL_FROM_SESSION, 24, 0 },
        { PL_OP_REPLY | PL_OP_REGISTER, PL_FROM_SESSION, 24 + 48, 0 },
        { PL_OP_REPLY | PL_OP_DEREGISTER, PL_FROM_SESSION, 24, 0 },
        { PL_OP_REPLY | PL_OP_RELEASE, PL_FROM_SESSION, 24 + 8, 0 },
        { PL_OP_REPLY | PL_OP_GRANT, PL_FROM_SESSION, 24 + 24, 0 },
        { PL_OP_REPLY | PL_OP_GRANT_COMMIT, PL_FROM_SESSION, 24 + 8, 0 },
        { PL_OP_REFUSED, PL_FROM_SESSION, 24 + 488, 0 },
        { PL_OP_GOING_AWAY, PL_FROM_SESSION, 24 + 432, 0 },
        { PL_OP_REVOKING, PL_FROM_SESSION, 24 + 456, 0 },
        { PL_OP_REVOKED, PL_FROM_SESSION, 24 + 456, 0 },
        { PL_OP_SETTLED, PL_FROM_SESSION, 24 + 440, 0 },
        { PL_OP_NOTICE, PL_FROM_SESSION, 24 + 448, 0 },
};

static void make(struct pl_packet *packet, size_t i) {
        pl_packet_init(packet, shapes[i].opcode, (shapes[i].opcode & 0xff00) == PL_OP_GOING_AWAY ? 0 : 7);
}

static enum pinlease_code check(const struct pl_packet *packet, size_t i) {
        return pl_packet_check(packet, shapes[i].size, shapes[i].n_fds, shapes[i].from);
}

TEST(test_right) {
        for (size_t i = 0; i < ELEMENTSOF(shapes); i++) {
                struct pl_packet packet;

                make(&packet, i);
                assert_int_equal(packet.header.length, shapes[i].size);
                assert_int_equal(check(&packet, i), PINLEASE_CODE_NONE);
                assert_string_not_equal(pl_opcode_name(shapes[i].opcode), "unknown");
        }
}

/* One thing wrong at a time, for every opcode. */
TEST(test_header) {
        for (size_t i = 0; i < ELEMENTSOF(shapes); i++) {
                struct pl_packet packet;

                make(&packet, i);
                packet.header.magic ^= 1;
                assert_int_equal(check(&packet, i), PINLEASE_CODE_BAD_MAGIC);

                make(&packet, i);
                packet.header.version++;
                assert_int_equal(check(&packet, i), PINLEASE_CODE_BAD_VERSION);

                for (unsigned int bit = 0; bit < 32; bit++) {
                        make(&packet, i);
                        packet.header.flags = 1U << bit;
                        assert_int_equal(check(&packet, i), PINLEASE_CODE_BAD_FLAGS);
                        make(&packet, i);
                        packet.header.reserved = 1U << bit;
                        assert_int_equal(check(&packet, i), PINLEASE_CODE_BAD_FLAGS);
                }

                make(&packet, i);
                packet.header.seq = 0;
                assert_int_equal(check(&packet, i),
                                 shapes[i].from == PL_FROM_APP ? PINLEASE_CODE_BAD_FLAGS : PINLEASE_CODE_NONE);
        }
}

TEST(test_length) {
        for (size_t i = 0; i < ELEMENTSOF(shapes); i++)
                for (size_t size = 0; size <= PL_MAX_PACKET + 1; size++) {
                        struct pl_packet packet;

                        if (size == shapes[i].size)
                                continue;

                        /* The header tells the truth about a packet that is too short or padded. */
                        make(&packet, i);
                        packet.header.length = (uint32_t)size;
                        assert_int_equal(pl_packet_check(&packet, size, shapes[i].n_fds, shapes[i].from), PINLEASE_CODE_BAD_LENGTH);

                        /* The header lies. */
                        make(&packet, i);
                        assert_int_equal(pl_packet_check(&packet, size, shapes[i].n_fds, shapes[i].from), PINLEASE_CODE_BAD_LENGTH);
                        packet.header.length = (uint32_t)size;
                        assert_int_equal(check(&packet, i), PINLEASE_CODE_BAD_LENGTH);
                }
}

TEST(test_opcode) {
        for (uint32_t opcode = 0; opcode <= UINT16_MAX; opcode++)
                for (enum pl_side from = PL_FROM_APP; from <= PL_FROM_SESSION; from++) {
                        struct pl_packet packet;
                        bool known = false;

                        for (size_t i = 0; i < ELEMENTSOF(shapes); i++)
                                known |= shapes[i].opcode == opcode && shapes[i].from == from;
                        if (known)
                                continue;

                        /* The other side's opcodes with their own length and descriptors, so that nothing else is
                         * wrong. */
                        pl_packet_init(&packet, (uint16_t)opcode, 7);
                        assert_int_equal(pl_packet_check(&packet, packet.header.length, 0, from), PINLEASE_CODE_BAD_OPCODE);
                        assert_int_equal(pl_packet_check(&packet, packet.header.length, 1, from), PINLEASE_CODE_BAD_OPCODE);
                }
        assert_string_equal(pl_opcode_name(0), "unknown");
}

TEST(test_fd_count) {
        for (size_t i = 0; i < ELEMENTSOF(shapes); i++)
                for (unsigned int n_fds = 0; n_fds <= PL_MAX_FDS; n_fds++) {
                        struct pl_packet packet;

                        make(&packet, i);
                        assert_int_equal(pl_packet_check(&packet, shapes[i].size, n_fds, shapes[i].from),
                                         n_fds == shapes[i].n_fds ? PINLEASE_CODE_NONE : PINLEASE_CODE_BAD_FD_COUNT);
                }
}

TEST(test_reserved_in_body) {
        struct pl_packet packet;

        pl_packet_init(&packet, PL_OP_ATTACH, 7);
        packet.body.attach.reserved = UINT64_C(1) << 63;
        assert_int_equal(pl_packet_check(&packet, packet.header.length, 1, PL_FROM_APP), PINLEASE_CODE_BAD_FLAGS);

        pl_packet_init(&packet, PL_OP_DETACH, 7);
        packet.body.detach.reserved = 1;
        assert_int_equal(pl_packet_check(&packet, packet.header.length, 0, PL_FROM_APP), PINLEASE_CODE_BAD_FLAGS);

        pl_packet_init(&packet, PL_OP_REFUSED, 7);
        packet.body.refused.reserved = 1;
        assert_int_equal(pl_packet_check(&packet, packet.header.length, 0, PL_FROM_SESSION), PINLEASE_CODE_BAD_FLAGS);

        pl_packet_init(&packet, PL_OP_REPLY | PL_OP_RELEASE, 7);
        packet.body.release_reply.settles = 1;
        assert_int_equal(pl_packet_check(&packet, packet.header.length, 0, PL_FROM_SESSION), PINLEASE_CODE_NONE);
        packet.body.release_reply.settles = 2;
        assert_int_equal(pl_packet_check(&packet, packet.header.length, 0, PL_FROM_SESSION), PINLEASE_CODE_BAD_FLAGS);
        packet.body.release_reply = (struct pl_release_reply) { .reserved = 1 };
        assert_int_equal(pl_packet_check(&packet, packet.header.length, 0, PL_FROM_SESSION), PINLEASE_CODE_BAD_FLAGS);

        pl_packet_init(&packet, PL_OP_GRANT_COMMIT, 7);
        packet.body.grant_commit.reserved = 1;
        assert_int_equal(pl_packet_check(&packet, packet.header.length, 0, PL_FROM_APP), PINLEASE_CODE_BAD_FLAGS);
        pl_packet_init(&packet, PL_OP_GRANT, 7);
        packet.body.grant.guards = PINLEASE_GUARD_ALL;
        assert_int_equal(pl_packet_check(&packet, packet.header.length, 0, PL_FROM_APP), PINLEASE_CODE_NONE);
        packet.body.grant.guards = PINLEASE_GUARD_ALL + 1;
        assert_int_equal(pl_packet_check(&packet, packet.header.length, 0, PL_FROM_APP), PINLEASE_CODE_BAD_FLAGS);

        pl_packet_init(&packet, PL_OP_REVOKED, 0);
        packet.body.revoked.reserved = 1;
        assert_int_equal(pl_packet_check(&packet, packet.header.length, 0, PL_FROM_SESSION), PINLEASE_CODE_BAD_FLAGS);
}

/* A wish that is not known cannot be granted. */
TEST(test_flags) {
        for (unsigned int bit = 0; bit < 8; bit++) {
                struct pl_packet packet;

                pl_packet_init(&packet, PL_OP_REGISTER, 7);
                packet.body.reg.flags = (uint8_t)(1U << bit);
                assert_int_equal(pl_packet_check(&packet, packet.header.length, 1, PL_FROM_APP),
                                 1U << bit & PINLEASE_FLAG_ALL ? PINLEASE_CODE_NONE : PINLEASE_CODE_BAD_FLAGS);
        }
}

TEST(test_guards) {
        for (unsigned int bit = 0; bit < 8; bit++) {
                struct pl_packet packet;

                pl_packet_init(&packet, PL_OP_REGISTER, 7);
                packet.body.reg.guards = (uint8_t)(1U << bit);
                assert_int_equal(pl_packet_check(&packet, packet.header.length, 1, PL_FROM_APP),
                                 bit < PL_N_GUARDS ? PINLEASE_CODE_NONE : PINLEASE_CODE_BAD_FLAGS);
        }
        for (unsigned int bit = 0; bit < 16; bit++) {
                struct pl_packet packet;

                /* Unknown methods are answered, and end nothing. */
                pl_packet_init(&packet, PL_OP_REGISTER, 7);
                packet.body.reg.methods = (uint16_t)(1U << bit);
                assert_int_equal(pl_packet_check(&packet, packet.header.length, 1, PL_FROM_APP), PINLEASE_CODE_NONE);
        }
}

/* What has been set is what is got, whatever was there before, and nothing else changes. */
TEST(test_guards_set) {
        uint32_t guards = 0;

        for (unsigned int i = 0; i < PL_N_GUARDS; i++)
                for (unsigned int reason = 0; reason < 16; reason++) {
                        uint32_t before = guards;

                        guards = pl_guards_set(guards, i, reason);
                        assert_int_equal(pl_guards_held(guards) >> i & 1, reason == 0);
                        assert_int_equal(pl_guard_reason(guards, i), reason);
                        for (unsigned int j = 0; j < PL_N_GUARDS; j++)
                                if (j != i) {
                                        assert_int_equal(pl_guards_held(guards) >> j & 1,
                                                         pl_guards_held(before) >> j & 1);
                                        assert_int_equal(pl_guard_reason(guards, j), pl_guard_reason(before, j));
                                }
                }
}

TEST(test_strings) {
        struct pl_packet packet;

        pl_packet_init(&packet, PL_OP_REFUSED, 7);
        memset(packet.body.refused.rule, 'x', PL_RULE_MAX);
        assert_int_equal(pl_packet_check(&packet, packet.header.length, 0, PL_FROM_SESSION), PINLEASE_CODE_BAD_FLAGS);
        packet.body.refused.rule[PL_RULE_MAX - 1] = 0;
        assert_int_equal(pl_packet_check(&packet, packet.header.length, 0, PL_FROM_SESSION), PINLEASE_CODE_NONE);

        memset(packet.body.refused.sentence, 'x', PL_SENTENCE_MAX);
        assert_int_equal(pl_packet_check(&packet, packet.header.length, 0, PL_FROM_SESSION), PINLEASE_CODE_BAD_FLAGS);
        packet.body.refused.sentence[PL_SENTENCE_MAX - 1] = 0;
        assert_int_equal(pl_packet_check(&packet, packet.header.length, 0, PL_FROM_SESSION), PINLEASE_CODE_NONE);

        pl_packet_init(&packet, PL_OP_GOING_AWAY, 0);
        memset(packet.body.going_away.sentence, 'x', PL_SENTENCE_MAX);
        assert_int_equal(pl_packet_check(&packet, packet.header.length, 0, PL_FROM_SESSION), PINLEASE_CODE_BAD_FLAGS);
        packet.body.going_away.sentence[0] = 0;
        assert_int_equal(pl_packet_check(&packet, packet.header.length, 0, PL_FROM_SESSION), PINLEASE_CODE_NONE);

        for (uint16_t opcode = PL_OP_REVOKING; opcode <= PL_OP_NOTICE; opcode++) {
                char *sentence = opcode == PL_OP_REVOKING  ? packet.body.revoking.sentence
                                 : opcode == PL_OP_REVOKED ? packet.body.revoked.sentence
                                 : opcode == PL_OP_SETTLED ? packet.body.settled.sentence
                                                           : packet.body.notice.sentence;

                pl_packet_init(&packet, opcode, 0);
                memset(sentence, 'x', PL_SENTENCE_MAX);
                assert_int_equal(pl_packet_check(&packet, packet.header.length, 0, PL_FROM_SESSION), PINLEASE_CODE_BAD_FLAGS);
                sentence[PL_SENTENCE_MAX - 1] = 0;
                assert_int_equal(pl_packet_check(&packet, packet.header.length, 0, PL_FROM_SESSION), PINLEASE_CODE_NONE);
        }
}

/* The compiler asks for every code here (-Wswitch), so a new one cannot be forgotten. */
static bool is_code(enum pinlease_code code) {
        switch (code) {
        case PINLEASE_CODE_NONE:
        case PINLEASE_CODE_BAD_MAGIC:
        case PINLEASE_CODE_BAD_VERSION:
        case PINLEASE_CODE_BAD_LENGTH:
        case PINLEASE_CODE_BAD_OPCODE:
        case PINLEASE_CODE_BAD_FLAGS:
        case PINLEASE_CODE_BAD_FD_COUNT:
        case PINLEASE_CODE_BAD_ORDER:
        case PINLEASE_CODE_HANGING_FILE:
        case PINLEASE_CODE_SESSION_LIMIT:
        case PINLEASE_CODE_NO_RESOURCES:
        case PINLEASE_CODE_RESTARTING:
        case PINLEASE_CODE_GOING_AWAY:
        case PINLEASE_CODE_NOT_VERBS:
        case PINLEASE_CODE_UNKNOWN_DRIVER:
        case PINLEASE_CODE_TOO_MANY_CONTEXTS:
        case PINLEASE_CODE_NO_SUCH_CONTEXT:
        case PINLEASE_CODE_ZERO_LENGTH:
        case PINLEASE_CODE_RANGE_OVERFLOW:
        case PINLEASE_CODE_BEYOND_END:
        case PINLEASE_CODE_MISALIGNED:
        case PINLEASE_CODE_BAD_ACCESS:
        case PINLEASE_CODE_FD_MODE:
        case PINLEASE_CODE_SEALED:
        case PINLEASE_CODE_NO_SUCH_PD:
        case PINLEASE_CODE_NO_METHOD:
        case PINLEASE_CODE_NOT_MEMORY:
        case PINLEASE_CODE_PATH_FD:
        case PINLEASE_CODE_BAD_FS:
        case PINLEASE_CODE_NOT_OPEN:
        case PINLEASE_CODE_FSDAX_PIN:
        case PINLEASE_CODE_PAGECACHE_WRITE_PIN:
        case PINLEASE_CODE_PAGECACHE_READ_PIN:
        case PINLEASE_CODE_NO_ODP:
        case PINLEASE_CODE_ODP_UNSOUND:
        case PINLEASE_CODE_NO_GUARD:
        case PINLEASE_CODE_CHANGING:
        case PINLEASE_CODE_POLICY:
        case PINLEASE_CODE_ANON_PIN:
        case PINLEASE_CODE_NO_DMABUF:
        case PINLEASE_CODE_PINNED_LIMIT:
        case PINLEASE_CODE_ODP_LIMIT:
        case PINLEASE_CODE_REGISTRATION_LIMIT:
        case PINLEASE_CODE_NOT_RESIDENT:
        case PINLEASE_CODE_NOT_POPULATED:
        case PINLEASE_CODE_KERNEL:
        case PINLEASE_CODE_CHANGED:
        case PINLEASE_CODE_NO_MAP:
        case PINLEASE_CODE_NO_SUCH_REGISTRATION:
        case PINLEASE_CODE_BUSY:
        case PINLEASE_CODE_NOT_PRIVATE:
        case PINLEASE_CODE_NO_SUCH_GRANT:
        case PINLEASE_CODE_GRANT_MISMATCH:
        case PINLEASE_CODE_DISCONNECTED:
        case PINLEASE_CODE_FORKED:
        case PINLEASE_CODE_NO_SERVICE:
        case PINLEASE_CODE_NO_MEMORY:
                return true;
        }
        return false;
}

TEST(test_codes) {
        for (unsigned int a = 0; a < 256; a++) {
                const char *name = pl_code_name((enum pinlease_code)a);

                if (!is_code((enum pinlease_code)a)) {
                        assert_string_equal(name, "unknown");
                        continue;
                }
                assert_string_not_equal(name, "unknown");
                assert_int_equal(pl_code_errno((enum pinlease_code)a) > 0, a != PINLEASE_CODE_NONE);
                for (unsigned int b = 0; b < a; b++)
                        assert_string_not_equal(name, pl_code_name((enum pinlease_code)b));
        }
}

TEST(test_names) {
        assert_string_equal(pl_method_name(PINLEASE_METHOD_ODP), "odp");
        assert_string_equal(pl_method_name(PINLEASE_METHOD_PINNED), "pinned");
        assert_string_equal(pl_method_name(PINLEASE_METHOD_ANY), "any");
        assert_string_equal(pl_method_name((enum pinlease_method)0), "unknown");
        assert_string_equal(pl_backing_name(PINLEASE_BACKING_OTHER), "other");
        assert_string_equal(pl_backing_name(PINLEASE_BACKING_SHMEM), "shmem");
        assert_string_equal(pl_backing_name(PINLEASE_BACKING_HUGETLB), "hugetlb");
        assert_string_equal(pl_backing_name(PINLEASE_BACKING_FSDAX), "fsdax");
        assert_string_equal(pl_backing_name(PINLEASE_BACKING_PAGECACHE), "pagecache");
        assert_string_equal(pl_backing_name(PINLEASE_BACKING_DEVDAX), "devdax");
        assert_string_equal(pl_backing_name(PINLEASE_BACKING_DMABUF), "dmabuf");
        assert_string_equal(pl_backing_name(PINLEASE_BACKING_ANON), "anon");
        assert_string_equal(pl_backing_name((enum pinlease_backing)99), "unknown");
}

TEST(test_guard_names) {
        static const char *const guards[] = { "seals", "lease", "modify", "poison" };
        static const char *const reasons[] = { "holds",          "not-for-this", "not-sealed", "not-owner",
                                               "open-elsewhere", "other-lease",  "meddled",    "reader",
                                               "no-resources",   "unsupported",  "changing" };

        _Static_assert(ELEMENTSOF(guards) == PL_N_GUARDS, "a guard has no name here");
        for (unsigned int i = 0; i < 32; i++)
                assert_string_equal(pl_guard_name((enum pinlease_guard)(1U << i)),
                                    i < ELEMENTSOF(guards) ? guards[i] : "unknown");
        assert_string_equal(pl_guard_name((enum pinlease_guard)0), "unknown");
        assert_string_equal(pl_guard_name(PINLEASE_GUARD_ALL), "unknown");
        for (unsigned int i = 0; i < 256; i++)
                assert_string_equal(pl_guard_reason_name((enum pinlease_guard_reason)i),
                                    i < ELEMENTSOF(reasons) ? reasons[i] : "unknown");
}

/* What the check lets through must be what the protocol says, whatever bits were turned. */
static void assert_meaning(const struct pl_packet *packet, size_t size, unsigned int n_fds, enum pl_side from) {
        for (size_t i = 0; i < ELEMENTSOF(shapes); i++)
                if (shapes[i].opcode == packet->header.opcode) {
                        assert_int_equal(shapes[i].from, from);
                        assert_int_equal(shapes[i].size, size);
                        assert_int_equal(shapes[i].n_fds, n_fds);
                        assert_int_equal(packet->header.length, size);
                        assert_int_equal(packet->header.magic, PL_MAGIC);
                        assert_int_equal(packet->header.version, PL_VERSION);
                        assert_int_equal(packet->header.flags | packet->header.reserved, 0);
                        return;
                }
        fail_msg("opcode %u let through", packet->header.opcode);
}

TEST(test_mutations) {
        unsigned int n = testing_rounds(200000), let_through = 0;
        struct testing_random random;

        testing_seed(&random, "codec mutations");
        for (unsigned int round = 0; round < n; round++) {
                size_t i = testing_below(&random, ELEMENTSOF(shapes)), size = shapes[i].size;
                unsigned int n_fds = shapes[i].n_fds;
                struct pl_packet packet;
                enum pinlease_code code;

                make(&packet, i);
                for (unsigned int flips = testing_below(&random, 4); flips > 0; flips--)
                        ((uint8_t *)&packet)[testing_below(&random, (unsigned int)size)] ^=
                                (uint8_t)(1U << testing_below(&random, 8));
                if (testing_below(&random, 8) == 0)
                        size = testing_below(&random, PL_MAX_PACKET + 1);
                if (testing_below(&random, 8) == 0)
                        n_fds = testing_below(&random, PL_MAX_FDS + 1);

                code = pl_packet_check(&packet, size, n_fds, shapes[i].from);
                assert_true(is_code(code) && code <= PINLEASE_CODE_BAD_FD_COUNT);
                if (code == PINLEASE_CODE_NONE) {
                        assert_meaning(&packet, size, n_fds, shapes[i].from);
                        let_through++;
                }
        }
        assert_true(let_through > 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_right),     CHECKED(test_header),     CHECKED(test_length),
                CHECKED(test_opcode),    CHECKED(test_fd_count),   CHECKED(test_reserved_in_body),
                CHECKED(test_flags),     CHECKED(test_guards),    CHECKED(test_guards_set), CHECKED(test_strings),
                CHECKED(test_codes),     CHECKED(test_names),      CHECKED(test_guard_names),
                CHECKED(test_mutations),
        };

        return cmocka_run_group_tests_name("codec", tests, NULL, NULL);
}
