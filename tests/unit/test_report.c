/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "codec.h"
#include "report.h"

/* --- json-c without memory: the Nth of its calls fails -------------------------------------------------------------- */

static unsigned int n_calls, fail_at; /* 0: none fails */

static bool fails(void) {
        return fail_at > 0 && ++n_calls == fail_at;
}

#define WRAP(type, name, ...)            \
        type __real_##name(__VA_ARGS__); \
        type __wrap_##name(__VA_ARGS__); \
        type __wrap_##name(__VA_ARGS__)

WRAP(struct json_object *, json_object_new_object, void) {
        return fails() ? NULL : __real_json_object_new_object();
}

WRAP(struct json_object *, json_object_new_array, void) {
        return fails() ? NULL : __real_json_object_new_array();
}

WRAP(struct json_object *, json_object_new_uint64, uint64_t n) {
        return fails() ? NULL : __real_json_object_new_uint64(n);
}

WRAP(struct json_object *, json_object_new_string, const char *text) {
        return fails() ? NULL : __real_json_object_new_string(text);
}

WRAP(int, json_object_object_add, struct json_object *object, const char *key, struct json_object *value) {
        return fails() ? -1 : __real_json_object_object_add(object, key, value);
}

WRAP(int, json_object_array_add, struct json_object *array, struct json_object *value) {
        return fails() ? -1 : __real_json_object_array_add(array, value);
}

/* --- helpers ------------------------------------------------------------------------------------------------------- */

static const struct ledger_listing ordinary = {
        .id = UINT64_C(12) << 32 | 3,
        .length = 1048576,
        .device = 1,
        .inode = 3077,
        .bytes = 1048576,
        .created_ms = 40000,
        .access = 3,
        .state = LEDGER_LIVE,
        .method = PINLEASE_METHOD_PINNED,
        .backing = PINLEASE_BACKING_SHMEM,
        .name = "/memfd:buffer (deleted)",
        .guards = PINLEASE_GUARD_MODIFY | PINLEASE_GUARD_POISON | PINLEASE_GUARD_NOT_SEALED << 8 |
                  PINLEASE_GUARD_NOT_FOR_THIS << 12,
};

/* The object says exactly this, in this order. It is freed. */
static void assert_json(struct json_object *object, const char *expected) {
        assert_non_null(object);
        assert_string_equal(json_object_to_json_string_ext(object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE),
                            expected);
        assert_int_equal(json_object_put(object), 1);
}

static struct json_object *member(struct json_object *object, const char *key) {
        struct json_object *value;

        assert_true(json_object_object_get_ex(object, key, &value));
        return value;
}

static void assert_name(const char *name, const char *expected) {
        char shown[REPORT_NAME_MAX];

        memset(shown, 'z', sizeof shown);
        report_name(name, shown);
        assert_string_equal(shown, expected);
}

/* --- registrations: the examples are those of doc/ADMIN.md ----------------------------------------------------------- */

TEST(test_registration) {
        assert_json(
                report_registration(7, &ordinary, 100000),
                "{\"type\":\"registration\",\"id\":\"7.12\",\"session\":\"7\",\"state\":\"live\",\"backing\":\"shmem\","
                "\"name\":\"/memfd:buffer (deleted)\",\"device\":1,\"inode\":3077,\"offset\":0,\"length\":1048576,"
                "\"bytes\":1048576,\"access\":[\"local-write\",\"remote-write\"],\"method\":\"pinned\",\"age_ms\":"
                "60000,"
                "\"guards\":[\"modify\",\"poison\"],"
                "\"guards_missing\":{\"seals\":\"not-sealed\",\"lease\":\"not-for-this\"}}");
}

TEST(test_extremes) {
        struct ledger_listing listing;

        /* Every byte set: nothing is known, numbers are whole, the name is escaped. */
        memset(&listing, 0xff, sizeof listing);
        listing.state = LEDGER_FREE;
        listing.method = 0;
        listing.backing = PINLEASE_BACKING_OTHER;
        memset(listing.name + 1, 0, sizeof listing.name - 1);
        assert_json(report_registration(UINT64_MAX, &listing, 5),
                    "{\"type\":\"registration\",\"id\":\"18446744073709551615.4294967295\",\"session\":"
                    "\"18446744073709551615\","
                    "\"state\":\"unknown\",\"backing\":\"other\",\"name\":\"\\\\xff\",\"device\":18446744073709551615,"
                    "\"inode\":18446744073709551615,\"offset\":18446744073709551615,\"length\":18446744073709551615,"
                    "\"bytes\":18446744073709551615,\"access\":[\"local-write\",\"remote-write\",\"remote-read\","
                    "\"remote-atomic\",\"mw-bind\",\"zero-based\",\"hugetlb\",\"relaxed-ordering\",\"flush-global\","
                    "\"flush-persistent\",\"0xffeffc00\"],\"method\":\"unknown\",\"age_ms\":0,"
                    "\"guards\":[\"seals\",\"lease\",\"modify\",\"poison\"],"
                    "\"guards_missing\":{\"seals\":\"unknown\",\"lease\":\"unknown\",\"modify\":\"unknown\",\"poison\":"
                    "\"unknown\"}}");

        assert_json(report_registration(0, &(struct ledger_listing) { 0 }, UINT64_MAX),
                    "{\"type\":\"registration\",\"id\":\"0.0\",\"session\":\"0\",\"state\":\"unknown\",\"backing\":"
                    "\"other\","
                    "\"name\":\"\",\"device\":0,\"inode\":0,\"offset\":0,\"length\":0,\"bytes\":0,\"access\":[],"
                    "\"method\":\"unknown\",\"age_ms\":18446744073709551615,\"guards\":[],\"guards_missing\":{}}");
}

/* The longest that there is fits into a packet many times. */
TEST(test_largest) {
        struct ledger_listing listing;
        struct json_object *item;
        size_t n;

        memset(&listing, 0xff, sizeof listing);
        listing.state = LEDGER_RETIRING;
        listing.method = 0;
        listing.backing = PINLEASE_BACKING_PAGECACHE;
        listing.created_ms = 0;
        for (unsigned int byte = 1; byte < 256; byte++) {
                memset(listing.name, (int)byte, sizeof listing.name - 1);
                listing.name[sizeof listing.name - 1] = '\0';
                item = report_registration(UINT64_MAX, &listing, UINT64_MAX);
                assert_non_null(item);
                n = strlen(json_object_to_json_string(item));
                assert_in_range(n, 100, REPORT_MAX_REGISTRATION);
                json_object_put(item);
        }
}

TEST(test_words) {
        static const char *const states[] = { "unknown", "intent", "live", "retiring", "revoking" };
        static const char *const backings[] = { "other", "shmem", "hugetlb", "fsdax", "pagecache" };
        struct ledger_listing listing = ordinary;
        struct json_object *item;

        for (unsigned int i = 0; i < N_LEDGER_STATES; i++) {
                listing.state = (enum ledger_state)i;
                listing.backing = (enum pinlease_backing)i;
                listing.method = i % 2 ? PINLEASE_METHOD_ODP : PINLEASE_METHOD_PINNED;
                item = report_registration(1, &listing, 0);
                assert_string_equal(json_object_get_string(member(item, "state")), states[i]);
                assert_string_equal(json_object_get_string(member(item, "backing")), backings[i]);
                assert_string_equal(json_object_get_string(member(item, "method")), i % 2 ? "odp" : "pinned");
                json_object_put(item);
        }
}

/* Each flag has a word of its own; that paging is on demand is said by the method. */
TEST(test_access) {
        for (unsigned int bit = 0; bit < 32; bit++) {
                struct ledger_listing listing = ordinary;
                struct json_object *item, *access;
                const char *word;

                listing.access = UINT32_C(1) << bit;
                item = report_registration(1, &listing, 0);
                access = member(item, "access");
                assert_int_equal(json_object_array_length(access), bit == 6 ? 0 : 1);
                if (bit != 6) {
                        word = json_object_get_string(json_object_array_get_idx(access, 0));
                        assert_int_equal(strncmp(word, "0x", 2) == 0, bit > 9 && bit != 20);
                }
                json_object_put(item);
        }
}

/* --- names --------------------------------------------------------------------------------------------------------- */

TEST(test_names) {
        static const struct {
                const char *name, *shown;
        } names[] = {
                { "", "" },
                { "/mnt/dax/file.bin", "/mnt/dax/file.bin" },
                { "with space\\and \"quotes\"", "with space\\and \"quotes\"" },
                { "/tmp/größe-数据-😀…", "/tmp/größe-数据-😀…" },
                { "\xee\x80\x80", "\xee\x80\x80" }, /* private use: whoever uses it has glyphs for it */
                /* terminals */
                { "\x1b[2J\x1b]0;root#\x07", "\\x1b[2J\\x1b]0;root#\\x07" },
                { "a\nb\rc\td\be", "a\\x0ab\\x0dc\\x09d\\x08e" },
                { "\x7f", "\\x7f" },
                { "\xc2\x80\xc2\x9b\xc2\x9f\xc2\xa1", "\\xc2\\x80\\xc2\\x9b\\xc2\\x9f\xc2\xa1" },
                /* directions, what is invisible, line ends */
                { "\xe2\x80\xaa\xe2\x80\xae\xe2\x80\xaf", "\\xe2\\x80\\xaa\\xe2\\x80\\xae\xe2\x80\xaf" },
                { "\xe2\x81\xa6\xe2\x81\xa9", "\\xe2\\x81\\xa6\\xe2\\x81\\xa9" },
                { "\xe2\x80\x8e\xd8\x9c", "\\xe2\\x80\\x8e\\xd8\\x9c" },
                { "\xe2\x80\xa8\xe2\x80\xa9", "\\xe2\\x80\\xa8\\xe2\\x80\\xa9" },
                { "\xe2\x80\x8b\xef\xbb\xbf", "\\xe2\\x80\\x8b\\xef\\xbb\\xbf" },
                { "\xf3\xa0\x81\x81", "\\xf3\\xa0\\x81\\x81" },
                /* not UTF-8: a lone continuation, cut off, too long a form, a surrogate, beyond the end, no such byte */
                { "\x80x", "\\x80x" },
                { "a\xe2\x82", "a\\xe2\\x82" },
                { "a\xe2\x82z", "a\\xe2\\x82z" },
                { "\xf0\x9f\x98", "\\xf0\\x9f\\x98" },
                { "\xc0\xaf\xc1\xbf", "\\xc0\\xaf\\xc1\\xbf" },
                { "\xe0\x80\xaf", "\\xe0\\x80\\xaf" },
                { "\xf0\x80\x80\xaf", "\\xf0\\x80\\x80\\xaf" },
                { "\xed\xa0\x80", "\\xed\\xa0\\x80" },
                { "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80" },
                { "\xf8\x88\x80\x80\x80\xfe\xff", "\\xf8\\x88\\x80\\x80\\x80\\xfe\\xff" },
                { "\xef\xbf\xbf\xef\xb7\x90", "\\xef\\xbf\\xbf\\xef\\xb7\\x90" },
                { "\xff\xc3\xa9", "\\xff\xc3\xa9" },
        };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                assert_name(names[i].name, names[i].shown);
}

/* As the name of a file is at most, and one byte more, which is not looked at. */
TEST(test_name_length) {
        char name[LEDGER_NAME_MAX + 8], shown[REPORT_NAME_MAX];

        memset(name, '\x01', sizeof name);
        report_name(name, shown);
        assert_int_equal(strlen(shown), REPORT_NAME_MAX - 1);

        /* A character that is cut off by the end is none. */
        memset(name, 'a', sizeof name);
        memcpy(name + LEDGER_NAME_MAX - 2, "ä", 2);
        report_name(name, shown);
        assert_string_equal(shown + LEDGER_NAME_MAX - 2, "\\xc3");
}

static bool is_plain(const char *shown) {
        for (const char *c = shown; *c; c++)
                if ((unsigned char)*c < 0x20 || *c == 0x7f)
                        return false;
        return true;
}

/* Of any bytes nothing reaches a terminal that it obeys; what is shown is shown again as it is. */
TEST(test_random_names) {
        unsigned int rounds = testing_rounds(200000);
        struct testing_random random;

        testing_seed(&random, "names");
        for (unsigned int round = 0; round < rounds; round++) {
                char name[LEDGER_NAME_MAX] = { 0 }, shown[REPORT_NAME_MAX], again[REPORT_NAME_MAX];
                unsigned int n = testing_below(&random, 25), bits = testing_below(&random, 3);

                for (unsigned int i = 0; i < n; i++) /* any bytes; those of longer characters; mostly ASCII */
                        name[i] = (char)(testing_random(&random) | (bits == 1 ? 0x80 : 0));
                if (bits == 2)
                        for (unsigned int i = 0; i < n; i += 2)
                                name[i] = 'a';
                report_name(name, shown);
                assert_true(is_plain(shown));
                assert_true(strlen(shown) >= strlen(name) && strlen(shown) <= 4 * strlen(name));
                report_name(shown, again);
                assert_string_equal(shown, again);
        }
}

/* Every character that there is: shown as it is or escaped, whole. */
TEST(test_every_character) {
        unsigned int n_shown = 0;

        for (uint32_t c = 1; c < 0x110000; c++) {
                char name[8] = { 0 }, shown[REPORT_NAME_MAX];
                size_t n = 0;

                if (c < 0x80)
                        name[n++] = (char)c;
                else if (c < 0x800)
                        name[n++] = (char)(0xc0 | c >> 6);
                else if (c < 0x10000) {
                        name[n++] = (char)(0xe0 | c >> 12);
                        name[n++] = (char)(0x80 | (c >> 6 & 0x3f));
                } else {
                        name[n++] = (char)(0xf0 | c >> 18);
                        name[n++] = (char)(0x80 | (c >> 12 & 0x3f));
                        name[n++] = (char)(0x80 | (c >> 6 & 0x3f));
                }
                if (c >= 0x80)
                        name[n++] = (char)(0x80 | (c & 0x3f));

                report_name(name, shown);
                if (strcmp(name, shown) == 0)
                        n_shown++;
                else
                        assert_int_equal(strlen(shown), 4 * n);
                if (c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) ||
                    (c >= 0xd800 && c < 0xe000))
                        assert_string_not_equal(name, shown);
        }
        /* Ranges too wide would show here: 2048 surrogates, 66 that are none, 4096 tags and variants, some dozens. */
        assert_in_range(n_shown, 0x110000 - 2048 - 66 - 4096 - 150, 0x110000 - 2048 - 66 - 4096);
}

/* --- amounts, metrics ---------------------------------------------------------------------------------------------- */

TEST(test_amounts) {
        struct stats_totals totals = { 0 };

        assert_json(report_amount(&(struct credit_amount) { .pinned = 16777216, .odp = 33554432, .registrations = 272 }),
                    "{\"pinned_bytes\":16777216,\"odp_bytes\":33554432,\"registrations\":272}");

        totals.live[STATS_PINNED].bytes = 1048576;
        totals.live[STATS_PINNED].registrations = 1;
        totals.live[STATS_ODP].bytes = 5;
        totals.live[STATS_ODP].registrations = 2;
        assert_json(report_in_use(&totals), "{\"pinned_bytes\":1048576,\"odp_bytes\":5,\"registrations\":3}");

        /* As it is charged: a dma-buf is as good as pinned. */
        totals.live[STATS_DMABUF].bytes = 4096;
        totals.live[STATS_DMABUF].registrations = 4;
        assert_json(report_in_use(&totals), "{\"pinned_bytes\":1052672,\"odp_bytes\":5,\"registrations\":7}");
        totals.live[STATS_DMABUF].bytes = UINT64_MAX;
        assert_json(report_in_use(&totals), "{\"pinned_bytes\":18446744073709551615,\"odp_bytes\":5,\"registrations\":7}");

        memset(&totals, 0xff, sizeof totals);
        assert_json(report_in_use(&totals),
                    "{\"pinned_bytes\":18446744073709551615,\"odp_bytes\":18446744073709551615,"
                    "\"registrations\":18446744073709551615}");
}

static void assert_latency(struct json_object *latency, const uint64_t *counts, uint64_t sum) {
        struct json_object *bounds = member(latency, "bounds_us"), *array = member(latency, "counts");

        assert_int_equal(json_object_array_length(bounds), STATS_N_BOUNDS);
        assert_int_equal(json_object_array_length(array), STATS_N_BUCKETS);
        for (unsigned int i = 0; i < STATS_N_BOUNDS; i++)
                assert_int_equal(json_object_get_uint64(json_object_array_get_idx(bounds, i)), UINT64_C(16) << i);
        for (unsigned int i = 0; i < STATS_N_BUCKETS; i++)
                assert_int_equal(json_object_get_uint64(json_object_array_get_idx(array, i)), counts[i]);
        assert_int_equal(json_object_get_uint64(member(latency, "sum_us")), sum);
}

TEST(test_metrics) {
        struct builder b = builder_object();
        struct json_object *item, *refusals;
        struct stats_totals totals = {
                .registered = { [STATS_PINNED] = 40, [STATS_ODP] = 2, [STATS_DMABUF] = 8 },
                .live = { [STATS_PINNED] = { .registrations = 1, .bytes = 1048576 },
                          [STATS_DMABUF] = { .registrations = 7, .bytes = 28672 } },
                .deregistered = 41,
                .revocations = { [REVOCATION_RELEASED] = 2, [REVOCATION_FORCED] = 1 },
                .latency = {
                        [STATS_REGISTER] = { .counts = { 0, 12, 30 }, .sum_us = 9000 },
                        [STATS_DEREGISTER] = { .counts = { 20, 20, [STATS_N_BUCKETS - 1] = 1 }, .sum_us = 800 },
                },
        };

        totals.refusals[PINLEASE_CODE_FSDAX_PIN] = 3;
        totals.refusals[PINLEASE_CODE_BUSY] = UINT64_MAX;
        totals.refusals[0] = 1;
        totals.refusals[9] = 10; /* not a code yet */
        totals.refusals[STATS_N_CODES - 1] = 100;
        report_metrics(&b, &totals);
        item = builder_finish(&b);
        assert_non_null(item);

        assert_string_equal(json_object_to_json_string_ext(member(item, "live"), JSON_C_TO_STRING_PLAIN),
                            "{\"pinned\":{\"registrations\":1,\"bytes\":1048576},\"odp\":{\"registrations\":0,\"bytes\":0},"
                            "\"dmabuf\":{\"registrations\":7,\"bytes\":28672}}");
        assert_string_equal(json_object_to_json_string_ext(member(item, "registered"), JSON_C_TO_STRING_PLAIN),
                            "{\"pinned\":40,\"odp\":2,\"dmabuf\":8}");
        assert_int_equal(json_object_get_uint64(member(item, "deregistered")), 41);
        assert_string_equal(json_object_to_json_string_ext(member(item, "revocations"), JSON_C_TO_STRING_PLAIN),
                            "{\"released\":2,\"forced\":1,\"kept\":0}");
        refusals = member(item, "refusals");
        assert_int_equal(json_object_object_length(refusals), 3);
        assert_int_equal(json_object_get_uint64(member(refusals, "fsdax-pin")), 3);
        assert_int_equal(json_object_get_uint64(member(refusals, "busy")), UINT64_MAX);
        assert_int_equal(json_object_get_uint64(member(refusals, "unknown")), 111);
        assert_latency(member(member(item, "latency"), "register"), totals.latency[STATS_REGISTER].counts, 9000);
        assert_latency(member(member(item, "latency"), "deregister"), totals.latency[STATS_DEREGISTER].counts, 800);
        json_object_put(item);
}

/* Every code has its name, and all of them at their largest fit into a packet. */
TEST(test_full_metrics) {
        struct builder b = builder_object();
        struct json_object *item, *refusals;
        struct stats_totals totals;
        unsigned int named = 0;

        memset(&totals, 0xff, sizeof totals);
        report_metrics(&b, &totals);
        item = builder_finish(&b);
        assert_non_null(item);
        refusals = member(item, "refusals");
        for (unsigned int i = 1; i < STATS_N_CODES; i++)
                if (strcmp(pl_code_name((enum pinlease_code)i), "unknown") != 0) {
                        assert_true(json_object_object_get_ex(refusals, pl_code_name((enum pinlease_code)i), NULL));
                        named++;
                }
        assert_int_equal(json_object_object_length(refusals), named + 1);
        assert_int_equal(json_object_get_uint64(member(refusals, "unknown")), UINT64_MAX);
        assert_in_range(strlen(json_object_to_json_string(item)), 1000, 16384);
        json_object_put(item);
}

/* --- no memory ----------------------------------------------------------------------------------------------------- */

TEST(test_no_memory) {
        struct ledger_listing listing = ordinary;
        struct stats_totals totals;
        bool failed = true;

        memset(&totals, 0xff, sizeof totals);
        listing.access = UINT32_MAX;
        for (unsigned int n = 1; failed; n++) {
                fail_at = n, n_calls = 0;
                struct json_object *item = report_registration(1, &listing, 1);
                failed = n_calls >= n;
                assert_int_equal(!item, failed);
                json_object_put(item);
        }
        failed = true;
        for (unsigned int n = 1; failed; n++) {
                fail_at = n, n_calls = 0;
                struct json_object *item = report_in_use(&totals);
                failed = n_calls >= n;
                assert_int_equal(!item, failed);
                json_object_put(item);
        }
        failed = true;
        for (unsigned int n = 1; failed; n++) {
                fail_at = n, n_calls = 0;
                struct builder b = builder_object();
                report_metrics(&b, &totals);
                struct json_object *item = builder_finish(&b);
                failed = n_calls >= n;
                assert_int_equal(!item, failed);
                json_object_put(item);
        }
        fail_at = 0;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_registration),
                CHECKED(test_extremes),
                CHECKED(test_largest),
                CHECKED(test_words),
                CHECKED(test_access),
                CHECKED(test_names),
                CHECKED(test_name_length),
                CHECKED(test_random_names),
                CHECKED(test_every_character),
                CHECKED(test_amounts),
                CHECKED(test_metrics),
                CHECKED(test_full_metrics),
                CHECKED(test_no_memory),
        };

        return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
