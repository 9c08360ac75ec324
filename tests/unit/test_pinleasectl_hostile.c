/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake_admin.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/*
 * A service that lies, or is broken: pinleasectl says so and ends, with a table that fits, nothing that a terminal would
 * obey, and no more memory than for one packet.
 */

/* A packet to come instead of an answer, made from a right one. */
struct nonsense {
        const char *name;
        const char *body; /* NULL: "{}" */
        uint16_t opcode;  /* 0: END */
        void (*spoil)(struct pl_header *header);
        const char *words;
        bool with_fd;
};

static void spoil_magic(struct pl_header *header) {
        header->magic ^= 1;
}

static void spoil_version(struct pl_header *header) {
        header->version++;
}

static void spoil_flags(struct pl_header *header) {
        header->flags = 1;
}

static void spoil_reserved(struct pl_header *header) {
        header->reserved = 1;
}

static void lengthen(struct pl_header *header) {
        header->length++;
}

static void shorten(struct pl_header *header) {
        header->length = 0;
}

static void answer_other(struct pl_header *header) {
        header->seq++;
}

static void answer_nobody(struct pl_header *header) {
        header->seq = 0;
}

#define DEEP_8 "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":"

static const struct nonsense nonsense[] = {
        { .name = "magic", .spoil = spoil_magic, .words = "does not speak pinlease's protocol" },
        { .name = "version", .spoil = spoil_version, .words = "another version" },
        { .name = "flags", .spoil = spoil_flags, .words = "header of a packet" },
        { .name = "reserved", .spoil = spoil_reserved, .words = "header of a packet" },
        { .name = "longer", .spoil = lengthen, .words = "header of a packet" },
        { .name = "shorter", .spoil = shorten, .words = "header of a packet" },
        { .name = "other seq", .spoil = answer_other, .words = "answer to another call" },
        { .name = "END of no call", .spoil = answer_nobody, .words = "the answer to no call" },
        { .name = "ITEM of no call", .opcode = PL_ADMIN_ITEM, .spoil = answer_nobody, .words = "answer to another call" },
        { .name = "a call", .opcode = PL_ADMIN_CALL, .words = "not an answer" },
        { .name = "an app's packet", .opcode = PL_OP_REFUSED, .words = "not an answer" },
        { .name = "descriptor", .with_fd = true, .words = "descriptors came with it" },
        { .name = "empty", .body = "", .words = "should be a JSON object" },
        { .name = "blank", .body = "   ", .words = "should be a JSON object" },
        { .name = "cut off", .body = "{\"a\":1", .words = "should be a JSON object" },
        { .name = "two", .body = "{}{}", .words = "should be a JSON object" },
        { .name = "rest", .body = "{} x", .words = "should be a JSON object" },
        { .name = "array", .body = "[]", .words = "should be a JSON object" },
        { .name = "number", .body = "7", .words = "should be a JSON object" },
        { .name = "null", .body = "null", .words = "should be a JSON object" },
        { .name = "NaN", .body = "{\"a\":NaN}", .words = "should be a JSON object" },
        { .name = "Infinity", .body = "{\"a\":-Infinity}", .words = "should be a JSON object" },
        { .name = "quotes", .body = "{'a':1}", .words = "should be a JSON object" },
        { .name = "comment", .body = "{/**/\"a\":1}", .words = "should be a JSON object" },
        { .name = "comma", .body = "{\"a\":1,}", .words = "should be a JSON object" },
        { .name = "not UTF-8", .body = "{\"a\":\"\xff\"}", .words = "should be a JSON object" },
        { .name = "escape", .body = "{\"a\":\"\\x\"}", .words = "should be a JSON object" },
        { .name = "deep", .body = DEEP_8 DEEP_8 DEEP_8 "1}}}}}}}}}}}}}}}}}}}}}}}}", .words = "too many objects in each other" },
        { .name = "error null", .body = "{\"error\":null}", .words = "does not say why" },
        { .name = "error number", .body = "{\"error\":7}", .words = "does not say why" },
        { .name = "error empty", .body = "{\"error\":{}}", .words = "does not say why" },
        { .name = "error typed", .body = "{\"error\":{\"code\":7,\"message\":[]}}", .words = "does not say why" },
};

static void talk_nonsense(struct fake_admin *f) {
        const struct nonsense *n = f->argument;
        const char *body = n->body ? n->body : "{}";
        struct pl_header header;

        fake_admin_accept(f);
        fake_admin_expect(f, NULL);
        header = fake_admin_header(f, n->opcode ? n->opcode : PL_ADMIN_END, strlen(body));
        if (n->spoil)
                n->spoil(&header);
        fake_admin_send(f, &header, body, strlen(body), n->with_fd);
        fake_admin_expect_end(f);
}

TEST(test_nonsense) {
        static const char *const commands[] = { "list", "status", "metrics", "undrain" };

        for (size_t i = 0; i < ELEMENTSOF(nonsense); i++)
                for (size_t c = 0; c < (i % 4 ? 1 : ELEMENTSOF(commands)); c++) {
                        struct fake_admin f;
                        struct ctl ctl;

                        print_message("%s: %s\n", commands[c], nonsense[i].name);
                        fake_admin_start(&f, talk_nonsense, nonsense + i);
                        CTL_RUN(&ctl, &f, commands[c]);
                        fake_admin_end(&f);
                        ctl_assert_failed(&ctl, 1, nonsense[i].words);
                        ctl_assert_fits(ctl.err, 4000);
                        ctl_free(&ctl);
                }
}

/* Packets without a whole header, and one that is longer than any may be. */
static void talk_sizes(struct fake_admin *f) {
        size_t size = *(const size_t *)f->argument;
        static char packet[2 * PL_ADMIN_MAX_PACKET];
        struct pl_header header;

        fake_admin_accept(f);
        fake_admin_expect(f, NULL);
        header = fake_admin_header(f, PL_ADMIN_END, size - sizeof header);
        memset(packet, ' ', sizeof packet);
        memcpy(packet, &header, sizeof header);
        memcpy(packet + sizeof header, "{}", 2);
        (void)testing_send(f->sock, 0, packet, size, NULL, 0);
        fake_admin_expect_end(f);
}

TEST(test_sizes) {
        static const size_t sizes[] = { 1, sizeof(struct pl_header) - 1, sizeof(struct pl_header), PL_ADMIN_MAX_PACKET + 1, 100000 };

        for (size_t i = 0; i < ELEMENTSOF(sizes); i++) {
                struct fake_admin f;
                struct ctl ctl;

                fake_admin_start(&f, talk_sizes, sizes + i);
                CTL_RUN(&ctl, &f, "list");
                fake_admin_end(&f);
                ctl_assert_failed(&ctl, 1, "does not answer as it should");
                ctl_free(&ctl);
        }
}

/* Objects as any command might get them: members missing, of other types, out of range, too many. */
static const char *const odd_items[] = {
        "{}",
        "{\"type\":\"session\"}",
        "{\"type\":\"registration\"}",
        "{\"type\":7}",
        "{\"type\":\"session\",\"id\":7,\"pid\":\"x\",\"uid\":-1,\"state\":{},\"age_ms\":1.5,\"resumed\":3,\"in_use\":[],\"credit\":null}",
        "{\"type\":\"registration\",\"id\":[],\"name\":{},\"offset\":-1,\"length\":\"1\",\"access\":{},\"bytes\":1e300,\"age_ms\":true}",
        "{\"type\":\"session\",\"id\":\"18446744073709551615\",\"pid\":18446744073709551615,\"uid\":18446744073709551615,"
        "\"gid\":99999999999999999999999,\"state\":\"\\u0000\\u0000\",\"age_ms\":18446744073709551615,"
        "\"in_use\":{\"pinned_bytes\":18446744073709551615,\"odp_bytes\":18446744073709551615,\"registrations\":18446744073709551615},"
        "\"credit\":{\"pinned_bytes\":18446744073709551615,\"odp_bytes\":18446744073709551615,\"registrations\":18446744073709551615}}",
        "{\"type\":\"registration\",\"id\":\"18446744073709551615.18446744073709551615\",\"offset\":18446744073709551615,"
        "\"length\":18446744073709551615,\"bytes\":18446744073709551615,\"age_ms\":18446744073709551615,\"device\":18446744073709551615,"
        "\"inode\":18446744073709551615,\"access\":[1,null,\"\\u001b[31m\",\"\\u009b\"],\"backing\":\"\\u202edeppams\",\"method\":\"\\n\\r\\t\","
        "\"name\":\"\\u001b]0;you are\\u0007\\u001b[2J /\xe6\xbc\xa2\xe5\xad\x97/\xcc\x80\xcc\x80\xcc\x80/e\xcc\x81\xe2\x80\x8b\xf3\xa0\x80\x81 end\"}",
        "{\"state\":\"\\u001b[2J\",\"version\":\"\\u001b[2J\\n\\n\",\"started\":18446744073709551615,\"sessions\":18446744073709551615,"
        "\"limits\":{\"sessions\":18446744073709551615,\"sessions_per_user\":18446744073709551615,\"session\":7,\"user\":[]},"
        "\"users\":[7,null,{},{\"uid\":18446744073709551615,\"sessions\":18446744073709551615,\"silent\":18446744073709551615,"
        "\"credit\":{\"pinned_bytes\":1,\"odp_bytes\":18446744073709551615,\"registrations\":18446744073709551615}}]}",
        "{\"users\":{},\"limits\":[],\"in_use\":7}",
};

static void talk_odd(struct fake_admin *f) {
        fake_admin_accept(f);
        fake_admin_expect(f, NULL);
        for (size_t i = 0; i < ELEMENTSOF(odd_items); i++)
                fake_admin_item(f, odd_items[i]);
        fake_admin_result(f, "{\"sessions\":\"many\",\"kept\":-1,\"left\":{},\"released\":18446744073709551615,\"lost\":18446744073709551615}");
        fake_admin_expect_end(f);
}

TEST(test_odd_items) {
        static const char *const commands[][4] = {
                { "list" },          { "status" },    { "show", "7" },   { "show", "7.12" },
                { "revoke", "7" },   { "drain" },     { "undrain" },     { "list", "--json" },
                { "status", "--json" },
        };

        for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
                struct fake_admin f;
                struct ctl ctl;

                fake_admin_start(&f, talk_odd, NULL);
                CTL_RUN(&ctl, &f, commands[i][0], commands[i][1], commands[i][2]);
                fake_admin_end(&f);
                ctl_assert_ok(&ctl);
                ctl_assert_fits(ctl.out, commands[i][1] && commands[i][1][0] == '-' ? 4000 : 80);
                if (i == 1)
                        ctl_assert_contains(ctl.out, "state           \\x1b[2J\n");
                ctl_free(&ctl);
        }
}

/* Random bytes and characters for every string of a registration, in every place where one may be. */
static void talk_random(struct fake_admin *f) {
        struct testing_random random = *(const struct testing_random *)f->argument;

        fake_admin_accept(f);
        fake_admin_expect(f, NULL);
        for (unsigned int i = 0; i < testing_rounds(300); i++) {
                char body[2048];
                size_t n = (size_t)snprintf(body, sizeof body, "{\"type\":\"%s\"", i % 2 ? "session" : "registration");

                for (const char *const *member = (const char *const[]) { "id", "state", "backing", "method", "name", NULL }; *member;
                     member++) {
                        n += (size_t)snprintf(body + n, sizeof body - n, ",\"%s\":\"", *member);
                        for (unsigned int left = testing_below(&random, 40); left > 0; left--) {
                                unsigned int c = testing_below(&random, testing_below(&random, 3) ? 0x3000 : 0xd800);

                                n += (size_t)snprintf(body + n, sizeof body - n, "\\u%04x", c);
                        }
                        n += (size_t)snprintf(body + n, sizeof body - n, "\"");
                }
                (void)snprintf(body + n, sizeof body - n, "}");
                fake_admin_item(f, body);
        }
        fake_admin_result(f, "{}");
        fake_admin_expect_end(f);
}

TEST(test_random_strings) {
        struct testing_random random;
        struct fake_admin f;
        struct ctl ctl;

        testing_seed(&random, __func__);
        for (unsigned int i = 0; i < 2; i++) {
                fake_admin_start(&f, talk_random, &random);
                CTL_RUN(&ctl, &f, "list");
                fake_admin_end(&f);
                ctl_assert_ok(&ctl);
                ctl_assert_fits(ctl.out, i ? 123 : 80);
                ctl_free(&ctl);
                (void)setenv("COLUMNS", "123", 1);
        }
        (void)unsetenv("COLUMNS");
}

/* As long as a packet can be. */
static void talk_long(struct fake_admin *f) {
        static char body[sizeof(((struct pl_admin_packet *)0)->body) + 1];
        const char *head = "{\"type\":\"registration\",\"name\":\"";

        memset(body, 0x7e, sizeof body - 1);
        memcpy(body, head, strlen(head));
        memcpy(body + sizeof body - 3, "\"}", 3);
        fake_admin_accept(f);
        fake_admin_expect(f, NULL);
        fake_admin_item(f, body);
        fake_admin_result(f, "{}");
        fake_admin_expect_end(f);
}

TEST(test_long_name) {
        struct fake_admin f;
        struct ctl ctl;

        fake_admin_start(&f, talk_long, NULL);
        CTL_RUN(&ctl, &f, "list");
        fake_admin_end(&f);
        ctl_assert_ok(&ctl);
        ctl_assert_fits(ctl.out, 80);
        ctl_free(&ctl);

        fake_admin_start(&f, talk_long, NULL);
        CTL_RUN(&ctl, &f, "show", "1.1");
        fake_admin_end(&f);
        ctl_assert_ok(&ctl);
        ctl_assert_fits(ctl.out, 80);
        ctl_free(&ctl);
}

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* Items without end: they are shown as they come, and forgotten. Then the service is gone in the middle. */
static void talk_on(struct fake_admin *f) {
        fake_admin_accept(f);
        fake_admin_expect(f, NULL);
        for (unsigned int i = 0; i < testing_rounds(100000); i++)
                fake_admin_item(f, i % 8 ? fake_admin_registration : fake_admin_session);
        f->sock = pl_close(f->sock);
}

TEST(test_many_items) {
        static const char *const commands[][2] = { { "list", "list" }, { "list", "--json" }, { "metrics", "metrics" } };

        for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
                struct fake_admin f;
                struct ctl ctl;

                fake_admin_start(&f, talk_on, NULL);
                ctl_run(&ctl, &f, CTL_NULL, 0, (const char *const[]) { commands[i][1], i == 1 ? commands[i][0] : NULL, NULL });
                fake_admin_end(&f);
                ctl_assert_failed(&ctl, 1, "has closed the connection");
                if (!SANITIZED && ctl.max_kb > 32768)
                        fail_msg("%s: %ld KiB for %u items", commands[i][0], ctl.max_kb, testing_rounds(100000));
                ctl_free(&ctl);
        }
}

/* Nothing comes: after ten seconds it is given up; where work is to be done first, not so soon. */
static void say_nothing(struct fake_admin *f) {
        fake_admin_accept(f);
        fake_admin_expect(f, NULL);
        fake_admin_expect_end(f);
}

TEST(test_silence) {
        struct fake_admin f;
        struct ctl ctl;

        fake_admin_start(&f, say_nothing, NULL);
        CTL_RUN(&ctl, &f, "status");
        fake_admin_end(&f);
        ctl_assert_failed(&ctl, 1, "has sent nothing for 10 s");
        ctl_free(&ctl);

        fake_admin_start(&f, say_nothing, NULL);
        ctl_run(&ctl, &f, CTL_FILE, 5000, (const char *const[]) { "revoke", "7", NULL });
        fake_admin_end(&f);
        assert_int_equal(ctl.status, 130);
        ctl_free(&ctl);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                CHECKED(test_nonsense),  CHECKED(test_sizes),          CHECKED(test_odd_items), CHECKED(test_random_strings),
                CHECKED(test_long_name), CHECKED(test_many_items), CHECKED(test_silence),
        };

        (void)setlocale(LC_CTYPE, "C.UTF-8");
        (void)unsetenv("COLUMNS");
        (void)unsetenv("LC_ALL");
        return cmocka_run_group_tests(tests, NULL, NULL);
}
