/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <stdio.h>
#include <string.h>

#include "running.h"

/* No memory for an object of JSON. */
static bool no_objects;
struct json_object *__real_json_object_new_object(void);
struct json_object *__wrap_json_object_new_object(void);
struct json_object *__wrap_json_object_new_object(void) {
        return no_objects ? NULL : __real_json_object_new_object();
}

static struct supervisor supervisor = { .config.grace_ms = 3000 };
static struct admin_call call;

static void begin(const char *text, size_t length) {
        /* What comes after the text is nobody's: a sanitizer looks. */
        char *copy = malloc(length ? length : 1);

        assert_non_null(copy);
        memcpy(copy, text, length);
        admin_call_begin(&call, &supervisor, 1, 2, copy, length);
        free(copy);
}

/* It is refused, in words that contain this. */
static void expect_wrong(const char *text, size_t length, const char *words) {
        struct json_object *end = NULL, *error;

        begin(text, length);
        assert_int_equal(admin_call_step(&call, &end), ADMIN_STEP_END);
        assert_string_equal(admin_code(end), "bad-call");
        assert_true(json_object_object_get_ex(end, "error", &error));
        if (!strstr(admin_text(error, "message"), words))
                fail_msg("%.*s: %s", (int)length, text, admin_text(error, "message"));
        json_object_put(end);
        admin_call_end(&call);
}

#define WRONG(text, words) expect_wrong(text, strlen(text), words)

static const struct admin_filter *right(const char *text, enum admin_method method) {
        begin(text, strlen(text));
        if (call.wrong)
                fail_msg("%s: %s", text, json_object_to_json_string(call.error));
        assert_int_equal(call.method, method);
        return &call.filter;
}

TEST(test_right) {
        const struct admin_filter *f;

        (void)right("{\"method\":\"status\"}", ADMIN_STATUS);
        (void)right("{\"method\":\"metrics\",\"parameters\":{}}", ADMIN_METRICS);
        (void)right("{\"parameters\":{},\"method\":\"undrain\"}", ADMIN_UNDRAIN);
        (void)right("{\"method\":\"reload\"}", ADMIN_RELOAD);
        (void)right("{\"method\":\"drain\"}", ADMIN_DRAIN);
        assert_int_equal(call.grace_ms, 3000);
        (void)right("{\"method\":\"drain\",\"parameters\":{\"grace_ms\":600000}}", ADMIN_DRAIN);
        assert_int_equal(call.grace_ms, 600000);
        f = right("{\"method\":\"list\"}", ADMIN_LIST);
        assert_false(f->by_session || f->by_registration || f->by_pid || f->by_uid || f->by_file);

        f = right("{\"method\":\"list\",\"parameters\":{\"id\":\"18446744073709551615.12\",\"pid\":2147483647,\"uid\":4294967295,"
                  "\"device\":18446744073709551615,\"inode\":0}}",
                  ADMIN_LIST);
        assert_true(f->by_session && f->by_registration && f->by_pid && f->by_uid && f->by_file);
        assert_int_equal(f->session, UINT64_MAX);
        assert_int_equal(f->registration, 12);
        assert_int_equal(f->pid, INT32_MAX);
        assert_int_equal(f->uid, UINT32_MAX);
        assert_int_equal(f->device, UINT64_MAX);
        assert_int_equal(f->inode, 0);

        f = right("{\"method\":\"revoke\",\"parameters\":{\"device\":1,\"inode\":2,\"grace_ms\":0}}", ADMIN_REVOKE);
        assert_true(f->by_file);
        assert_int_equal(call.grace_ms, 0);
        f = right("{\"method\":\"revoke\",\"parameters\":{\"uid\":0}}", ADMIN_REVOKE);
        assert_true(f->by_uid);

        f = right("{\"method\":\"release\",\"parameters\":{\"device\":18446744073709551615,\"grace_ms\":5}}",
                  ADMIN_RELEASE);
        assert_true(f->by_device && !f->by_file && !f->by_session && !f->by_pid && !f->by_uid);
        assert_int_equal(f->device, UINT64_MAX);
        assert_int_equal(call.grace_ms, 5);
        f = right("{\"parameters\":{\"device\":0},\"method\":\"release\"}", ADMIN_RELEASE);
        assert_true(f->by_device);
        assert_int_equal(call.grace_ms, 3000);
}

TEST(test_no_call) {
        WRONG("", "one JSON object");
        WRONG("{", "one JSON object");
        WRONG("[]", "one JSON object");
        WRONG("null", "one JSON object");
        WRONG("\"status\"", "one JSON object");
        WRONG("{\"method\":\"status\"} {}", "one JSON object");
        WRONG("{\"method\":\"status\"}x", "one JSON object");
        WRONG("{'method':'status'}", "one JSON object");
        WRONG("{\"method\":\"st\xff\"}", "one JSON object");
        WRONG("{\"method\":\"status\",}", "one JSON object");
        WRONG("{\"method\":\"status\",\"parameters\":{\"a\":[[[[[[[[[[]]]]]]]]]]}}", "one JSON object");
        expect_wrong("{\"method\":\"status\"}\0", 20, "one JSON object");
        expect_wrong("\0", 1, "one JSON object");
        WRONG("{}", "needs a \"method\"");
        WRONG("{\"method\":null}", "needs a \"method\"");
        WRONG("{\"method\":7}", "needs a \"method\"");
        WRONG("{\"method\":\"status\\u0000x\"}", "needs a \"method\"");
        WRONG("{\"method\":\"\"}", "no method");
        WRONG("{\"method\":\"Status\"}", "no method \"Status\"");
        WRONG("{\"method\":\"status\",\"parameters\":[]}", "is an object");
        WRONG("{\"method\":\"status\",\"Parameters\":{}}", "no member \"Parameters\"");
}

TEST(test_wrong_parameters) {
        static const char *const none[] = { "status", "metrics", "undrain", "reload" };
        static const char *const bad_ids[] = { "7", "\"\"", "\"0\"", "\"x\"", "\"7.\"", "\"7.x\"", "\".7\"", "\"7.1.2\"", "\"-7\"",
                                               "\" 7\"", "\"7 \"", "\"+7\"", "\"0x7\"", "\"18446744073709551616\"", "\"7\\u0000\"",
                                               "\"7.18446744073709551616\"", "null" };
        static const char *const bad_numbers[] = { "-1", "1.5", "1e3", "\"1\"", "null", "true", "[1]", "{}", "4294967296" };
        char text[256];

        for (size_t i = 0; i < ELEMENTSOF(none); i++) {
                (void)snprintf(text, sizeof text, "{\"method\":\"%s\",\"parameters\":{\"uid\":1}}", none[i]);
                WRONG(text, "has no parameter \"uid\"");
        }
        WRONG("{\"method\":\"drain\",\"parameters\":{\"id\":\"7\"}}", "drain has no parameter \"id\"");
        WRONG("{\"method\":\"list\",\"parameters\":{\"grace_ms\":1}}", "list has no parameter \"grace_ms\"");
        WRONG("{\"method\":\"list\",\"parameters\":{\"\":1}}", "list has no parameter \"\"");
        for (size_t i = 0; i < ELEMENTSOF(bad_ids); i++) {
                (void)snprintf(text, sizeof text, "{\"method\":\"list\",\"parameters\":{\"id\":%s}}", bad_ids[i]);
                WRONG(text, "\"id\" has a value");
        }
        for (size_t i = 0; i < ELEMENTSOF(bad_numbers); i++) {
                (void)snprintf(text, sizeof text, "{\"method\":\"revoke\",\"parameters\":{\"uid\":%s}}", bad_numbers[i]);
                WRONG(text, "\"uid\" has a value");
        }
        WRONG("{\"method\":\"list\",\"parameters\":{\"pid\":2147483648}}", "\"pid\" has a value");
        WRONG("{\"method\":\"drain\",\"parameters\":{\"grace_ms\":600001}}", "\"grace_ms\" has a value");
        WRONG("{\"method\":\"list\",\"parameters\":{\"device\":1}}", "go together");
        WRONG("{\"method\":\"list\",\"parameters\":{\"inode\":1}}", "go together");
        WRONG("{\"method\":\"release\"}", "device of a file system");
        WRONG("{\"method\":\"release\",\"parameters\":{}}", "device of a file system");
        WRONG("{\"method\":\"release\",\"parameters\":{\"grace_ms\":1}}", "device of a file system");
        WRONG("{\"method\":\"release\",\"parameters\":{\"device\":1,\"inode\":1}}",
              "release has no parameter \"inode\"");
        WRONG("{\"method\":\"release\",\"parameters\":{\"device\":-1}}", "\"device\" has a value");
        WRONG("{\"method\":\"revoke\"}", "exactly one");
        WRONG("{\"method\":\"revoke\",\"parameters\":{}}", "exactly one");
        WRONG("{\"method\":\"revoke\",\"parameters\":{\"grace_ms\":1}}", "exactly one");
        WRONG("{\"method\":\"revoke\",\"parameters\":{\"uid\":1,\"pid\":1}}", "exactly one");
        WRONG("{\"method\":\"revoke\",\"parameters\":{\"id\":\"1\",\"device\":1,\"inode\":1}}", "exactly one");
}

/* Names of any length are shown in whole characters. */
TEST(test_long_names) {
        char text[1024];

        for (unsigned int n = 35; n < 45; n++) {
                struct json_object *end = NULL;
                const char *p;
                char name[512] = "";

                memset(name, 'a', n);
                for (unsigned int i = 0; i < 20; i++)
                        (void)strcat(name, "\xe2\x82\xac");
                (void)snprintf(text, sizeof text, "{\"method\":\"%s\"}", name);
                begin(text, strlen(text));
                assert_int_equal(admin_call_step(&call, &end), ADMIN_STEP_END);
                p = json_object_to_json_string_ext(end, JSON_C_TO_STRING_PLAIN);
                for (; *p; p++)
                        if (*p == '\xe2') {
                                assert_memory_equal(p, "\xe2\x82\xac", 3);
                                p += 2;
                        } else
                                assert_true((unsigned char)*p < 0x80);
                json_object_put(end);
                admin_call_end(&call);
        }
}

/* Without memory to say what is wrong nothing is done all the same. */
TEST(test_no_memory) {
        struct json_object *end = NULL;

        no_objects = true;
        begin("{\"method\":\"revoke\"}", 19);
        assert_int_equal(admin_call_step(&call, &end), ADMIN_STEP_END);
        no_objects = false;
        assert_null(end);
        admin_call_end(&call);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_right),       CHECKED(test_no_call),   CHECKED(test_wrong_parameters),
                CHECKED(test_long_names), CHECKED(test_no_memory),
        };

        return cmocka_run_group_tests_name("admin-params", tests, NULL, NULL);
}
