/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Verbs contexts: what is none, how many, and what detaching means. */

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "fixture.h"
#include "harness.h"
#include "leftovers.h"
#include "process.h"

#define PAGE 4096
#define MAX_CONTEXTS 16

static int make_memfd(void) {
        return memfd_create("pl-test", MFD_CLOEXEC);
}
static int make_null(void) {
        return open("/dev/null", O_RDWR | O_CLOEXEC);
}
static int make_pipe(void) {
        int p[2];

        return pipe2(p, O_CLOEXEC) < 0 ? -1 : p[0];
}
static int make_socket(void) {
        return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}
static int make_rdma_cm(void) {
        return open("/dev/infiniband/rdma_cm", O_RDWR | O_CLOEXEC);
}
static int make_path(void) {
        return open("/dev/infiniband/uverbs0", O_PATH | O_CLOEXEC);
}
static int make_fresh(void) {
        return open("/dev/infiniband/uverbs0", O_RDWR | O_CLOEXEC);
}
static int make_async(void) {
        return rdma_open("rxe_a").context->async_fd;
}
static int make_channel(void) {
        struct rdma rdma = rdma_open("rxe_a");

        rdma_connect(&rdma);
        return rdma.channel->fd;
}
static int make_eventfd(void) {
        return eventfd(0, EFD_CLOEXEC);
}

struct wrong {
        int (*make)(void);
        enum pinlease_code code;
};

static void run_wrong(const void *argument) {
        const struct wrong *w = argument;
        struct pl_packet request, reply;
        struct raw raw = raw_open(NULL);
        struct session session = session_of(getpid());
        unsigned int before;
        int fd;

        fd = CHECK_CALL(w->make());
        raw_ping(&raw);
        before = process_fds(session.registrar, NULL);
        /* Opened before it gave up what that takes. */
        CHECK_EQUAL(process_fds(session.registrar, "/pagemap"), 1);
        pl_packet_init(&request, PL_OP_ATTACH, 0);
        expect_code(raw_call(&raw, &request, fd, &reply), w->code);
        raw_ping(&raw);
        CHECK_EQUAL(process_fds(session.registrar, NULL), before);
        raw_close(&raw);
}

/* The kernel makes no difference between a context that was never made and one without: what it says is passed on. */
static void run_fresh(const void *argument _unused_) {
        struct pl_packet request, reply;
        struct raw raw = raw_open(NULL);
        struct session session = session_of(getpid());
        int fd = CHECK_CALL(make_fresh());
        unsigned int before = process_fds(session.registrar, NULL);

        pl_packet_init(&request, PL_OP_ATTACH, 0);
        expect_code(raw_call(&raw, &request, fd, &reply), PINLEASE_CODE_KERNEL);
        CHECK_EQUAL(reply.body.refused.error, EINVAL);
        raw_ping(&raw);
        CHECK_EQUAL(process_fds(session.registrar, NULL), before);
        raw_close(&raw);
}

static unsigned int contexts(void) {
        char text[2048];
        unsigned int n = 0;

        leftovers_rdma("ctx", text, sizeof text);
        for (const char *p = text; (p = strstr(p, "ctxn")); p++)
                n++;
        return n;
}

static bool no_context(const void *argument _unused_) {
        return contexts() == 0;
}

/* Two devices in one session; what belongs to one goes when it is detached, and only that. */
static void run_two(const void *argument _unused_) {
        struct rdma a = rdma_open("rxe_a"), b = rdma_open("rxe_b");
        struct memory memory = memory_new(MEMORY_MEMFD, 4 * PAGE);
        struct pl_register request = {
                .length = memory.length,
                .address = (uintptr_t)memory.start,
                .access = ACCESS_READ_WRITE,
                .methods = PINLEASE_METHOD_PINNED,
        };
        struct pl_register_reply on_a, on_b;
        struct pl_packet packet, reply;
        struct raw raw = raw_open(NULL);
        uint32_t context_a = raw_attach(&raw, a.context->cmd_fd), context_b = raw_attach(&raw, b.context->cmd_fd);

        CHECK(context_a != context_b);
        rdma_connect(&a);
        rdma_connect(&b);
        request.context = context_a;
        request.pd = a.pd->handle;
        on_a = raw_register(&raw, &request, memory.fd);
        request.context = context_b;
        request.pd = b.pd->handle;
        on_b = raw_register(&raw, &request, memory.fd);
        rdma_transfer(&a, on_a.iova, on_a.rkey, memory.start, memory.length, 1);
        rdma_transfer(&b, on_b.iova, on_b.rkey, memory.start, memory.length, 2);

        raw_detach(&raw, context_a);
        CHECK_EQUAL(rdma_try_transfer(&a, on_a.iova, on_a.rkey, NULL, PAGE, 3), IBV_WC_REM_ACCESS_ERR);
        rdma_transfer(&b, on_b.iova, on_b.rkey, memory.start, memory.length, 4);
        pl_packet_init(&packet, PL_OP_DEREGISTER, 0);
        packet.body.deregister.id = on_a.id;
        expect_code(raw_call(&raw, &packet, -1, &reply), PINLEASE_CODE_NO_SUCH_REGISTRATION);

        raw_close(&raw);
        rdma_close(&a);
        rdma_close(&b);
}

/* After DETACH nobody but the app holds the context. */
static void run_detach(const void *argument _unused_) {
        struct raw raw = raw_open(NULL);
        struct session session = session_of(getpid());

        for (int i = 0; i < 3; i++) {
                struct rdma rdma = rdma_open("rxe_a");
                uint32_t context = raw_attach(&raw, rdma.context->cmd_fd);

                CHECK_EQUAL(process_fds(session.registrar, "/uverbs"), 1);
                CHECK_EQUAL(process_fds(session.keeper, "/uverbs"), 1);
                raw_detach(&raw, context);
                CHECK_EQUAL(process_fds(session.registrar, "/uverbs"), 0);
                CHECK_EQUAL(process_fds(session.keeper, "/uverbs"), 0);
                rdma_close(&rdma);
                if (!eventually(no_context, NULL))
                        FAIL("%u verbs contexts are there still", contexts());
        }
        raw_ping(&raw);
        raw_close(&raw);
}

static void run_many(const void *argument _unused_) {
        struct rdma rdma = rdma_open("rxe_a");
        struct raw raw = raw_open(NULL);
        struct pl_packet request, reply;
        uint32_t last = 0;

        for (int i = 0; i < MAX_CONTEXTS; i++)
                last = raw_attach(&raw, rdma.context->cmd_fd);
        pl_packet_init(&request, PL_OP_ATTACH, 0);
        expect_code(raw_call(&raw, &request, rdma.context->cmd_fd, &reply), PINLEASE_CODE_TOO_MANY_CONTEXTS);
        raw_detach(&raw, last);
        CHECK_EQUAL(raw_attach(&raw, rdma.context->cmd_fd), last);
        raw_close(&raw);
        rdma_close(&rdma);
}

static void run_detach_unknown(const void *argument _unused_) {
        struct raw raw = raw_open(NULL);
        struct pl_packet request, reply;
        static const uint32_t indices[] = { 0, 15, 16, UINT32_MAX };

        for (size_t i = 0; i < ELEMENTSOF(indices); i++) {
                pl_packet_init(&request, PL_OP_DETACH, 0);
                request.body.detach.context = indices[i];
                expect_code(raw_call(&raw, &request, -1, &reply), PINLEASE_CODE_NO_SUCH_CONTEXT);
        }
        raw_close(&raw);
}

#define WRONG(make) run_wrong, &(const struct wrong) { make, PINLEASE_CODE_NOT_VERBS }, 0

const struct test_case cases_attach[] = {
        { "attach: a memfd", WRONG(make_memfd) },
        { "attach: /dev/null", WRONG(make_null) },
        { "attach: a pipe", WRONG(make_pipe) },
        { "attach: a socket", WRONG(make_socket) },
        { "attach: an eventfd", WRONG(make_eventfd) },
        { "attach: the rdma_cm device", WRONG(make_rdma_cm) },
        { "attach: O_PATH of a verbs device", WRONG(make_path) },
        { "attach: a verbs context's async descriptor", WRONG(make_async) },
        { "attach: a verbs completion channel", WRONG(make_channel) },
        { "attach: a verbs device without a context", run_fresh, NULL, 0 },
        { "attach: two devices in one session", run_two, NULL, 0 },
        { "attach: detached and closed contexts are gone", run_detach, NULL, 0 },
        { "attach: one context too many", run_many, NULL, 0 },
        { "attach: detach of what is not attached", run_detach_unknown, NULL, 0 },
        { 0 },
};
