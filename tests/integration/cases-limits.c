/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What a session may have, and a user. By a pinleased of the case's own, with small limits. */

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "fixture.h"
#include "harness.h"
#include "instance.h"
#include "process.h"

#define PAGE UINT64_C(4096)
#define MIB (UINT64_C(1) << 20)

struct limit {
        uint32_t method;
        enum pinlease_code code;
};

static void run_bytes(const void *argument) {
        const struct limit *l = argument;
        struct instance instance =
                instance_start((const char *const[]) { "--pin-limit", "1M", "--odp-limit", "1M", NULL });
        struct fixture f = fixture_open(instance.path);
        struct session session = session_of(getpid());
        struct memory big = memory_new(MEMORY_MEMFD, 2 * MIB), half = memory_new(MEMORY_MEMFD, MIB / 2);
        struct pl_register request = fixture_request(&f, &big, l->method);
        struct pl_register_reply first, second;

        CHECK_EQUAL(process_memlock(session.registrar), MIB);
        expect_code(fixture_try(&f, &request, big.fd, NULL), l->code);
        request.length = MIB + 1;
        expect_code(fixture_try(&f, &request, big.fd, NULL), l->code);
        /* To the page. */
        request.length = MIB;
        first = raw_register(&f.raw, &request, big.fd);
        raw_deregister(&f.raw, first.id);
        first = fixture_register(&f, &half, l->method);
        second = fixture_register(&f, &half, l->method);
        request.length = 1;
        expect_code(fixture_try(&f, &request, big.fd, NULL), l->code);
        /* What is given back can be had again. */
        raw_deregister(&f.raw, second.id);
        second = raw_register(&f.raw, &request, big.fd);
        /* The other method's account is another. */
        request.methods = (uint16_t)((PINLEASE_METHOD_ODP | PINLEASE_METHOD_PINNED) ^ l->method);
        request.length = MIB;
        (void)raw_register(&f.raw, &request, big.fd);

        raw_deregister(&f.raw, first.id);
        fixture_close(&f);
        memory_free(&big);
        memory_free(&half);
        session_await_end(&session);
        instance_stop(&instance);
}

/* A byte on two pages costs two. */
static void run_rounding(const void *argument _unused_) {
        struct instance instance = instance_start((const char *const[]) { "--pin-limit", "8K", NULL });
        struct fixture f = fixture_open(instance.path);
        struct memory memory = memory_new(MEMORY_MEMFD, 8 * PAGE);
        struct pl_register request = fixture_request(&f, &memory, PINLEASE_METHOD_PINNED);

        request.offset = PAGE - 1;
        request.address += PAGE - 1;
        request.length = PAGE + 2;
        expect_code(fixture_try(&f, &request, memory.fd, NULL), PINLEASE_CODE_PINNED_LIMIT);
        request.length = PAGE + 1;
        (void)raw_register(&f.raw, &request, memory.fd);
        fixture_close(&f);
        instance_stop(&instance);
}

static void run_nothing(const void *argument _unused_) {
        struct instance instance = instance_start((const char *const[]) { "--pin-limit", "0", NULL });
        struct fixture f = fixture_open(instance.path);
        struct memory memory = memory_new(MEMORY_MEMFD, PAGE);
        struct pl_register request = fixture_request(&f, &memory, PINLEASE_METHOD_PINNED);

        expect_code(fixture_try(&f, &request, memory.fd, NULL), PINLEASE_CODE_PINNED_LIMIT);
        fixture_close(&f);
        instance_stop(&instance);
}

static void run_registrations(const void *argument _unused_) {
        struct instance instance = instance_start((const char *const[]) { "--registration-limit", "40", NULL });
        struct fixture f = fixture_open(instance.path);
        struct memory memory = memory_new(MEMORY_MEMFD, PAGE);
        struct pl_register request = fixture_request(&f, &memory, PINLEASE_METHOD_PINNED);
        struct pl_register_reply last = { 0 };

        for (int i = 0; i < 40; i++) {
                /* By either method: it is one account. */
                request.methods = i % 2 ? PINLEASE_METHOD_ODP : PINLEASE_METHOD_PINNED;
                last = raw_register(&f.raw, &request, memory.fd);
        }
        expect_code(fixture_try(&f, &request, memory.fd, NULL), PINLEASE_CODE_REGISTRATION_LIMIT);
        raw_deregister(&f.raw, last.id);
        (void)raw_register(&f.raw, &request, memory.fd);
        fixture_close(&f);
        instance_stop(&instance);
}

static void run_sessions(const void *argument _unused_) {
        struct instance instance = instance_start((const char *const[]) { "--sessions-per-user", "2", NULL });
        struct raw first = raw_open(instance.path), second = raw_open(instance.path),
                   third = raw_connect(instance.path);

        raw_expect_refusal(&third, PINLEASE_CODE_SESSION_LIMIT);
        raw_expect_end(&third);
        raw_ping(&first);
        raw_ping(&second);
        raw_close(&first);
        if (!eventually(raw_can_open, instance.path))
                FAIL("the place of a session that has ended is not free");
        raw_ping(&second);
        raw_close(&second);
        instance_stop(&instance);
}

#define LIMIT(method, code) run_bytes, &(const struct limit) { PINLEASE_METHOD_##method, PINLEASE_CODE_##code }, 0

const struct test_case cases_limits[] = {
        { "limits: pinned bytes", LIMIT(PINNED, PINNED_LIMIT) },
        { "limits: bytes by ODP", LIMIT(ODP, ODP_LIMIT) },
        { "limits: bytes are counted by pages", run_rounding, NULL, 0 },
        { "limits: no pin at all", run_nothing, NULL, 0 },
        { "limits: registrations", run_registrations, NULL, 0 },
        { "limits: sessions of one user", run_sessions, NULL, 0 },
        { 0 },
};
