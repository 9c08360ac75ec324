/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fake_session.h"
#include "fdclass.h"

/*
 * pinlease_reg_dmabuf(): what is asked of the service, and what is made of its answers. What stands for a dma-buf is an
 * object of the kernel without a type, an eventfd, of which fstatfs() says here that it is one.
 */

#ifndef DMA_BUF_MAGIC
#define DMA_BUF_MAGIC 0x444d4142
#endif

#define CONTEXT 0xc0U
#define IOVA UINT64_C(0x7f0000001000)

static int dmabuf = -1;

/* The library's goes here: a program's own functions come before those of the C library. */
__attribute__((visibility("default"))) int fstatfs(int fd, struct statfs *buf);
int fstatfs(int fd, struct statfs *buf) {
        if (syscall(SYS_fstatfs, fd, buf) < 0)
                return -1;
        if (fd == dmabuf)
                buf->f_type = DMA_BUF_MAGIC;
        return 0;
}

static void dmabuf_open(void) {
        struct pl_fdclass class;

        dmabuf = eventfd(0, EFD_CLOEXEC);
        assert_true(dmabuf >= 0);
        assert_int_equal(pl_fdclass_get(dmabuf, &class), 0);
        assert_int_equal(class.kind, PL_FD_DMABUF);
}

static void dmabuf_close(void) {
        dmabuf = pl_close(dmabuf);
}

/* --- what goes over the wire ----------------------------------------------------------------------------------------
 */

struct exchange {
        uint64_t offset, length, iova;
        unsigned int methods, asked; /* of the options, and over the wire */
        unsigned int access;
};

static const struct exchange exchanges[] = {
        { 0, PAGE, 0, 0, PINLEASE_METHOD_DMABUF, WRITABLE },
        { 3 * PAGE + 17, 5 * PAGE, IOVA + 17, 0, PINLEASE_METHOD_DMABUF, WRITABLE | IBV_ACCESS_REMOTE_ATOMIC },
        { PAGE, 1, 0, PINLEASE_METHOD_DMABUF, PINLEASE_METHOD_DMABUF, IBV_ACCESS_REMOTE_READ },
        { PAGE, UINT64_C(1) << 40, UINT64_C(1) << 63, PINLEASE_METHOD_ANY, PINLEASE_METHOD_ANY, WRITABLE },
        { 0,
          PAGE,
          0,
          PINLEASE_METHOD_DMABUF | PINLEASE_METHOD_ODP,
          PINLEASE_METHOD_DMABUF | PINLEASE_METHOD_ODP,
          WRITABLE },
        { 0, PAGE, 0, 0x10000 | PINLEASE_METHOD_DMABUF, UINT16_MAX, WRITABLE },
        /* It is for the service to know what is not among them. */
        { 5, PAGE, 6, PINLEASE_METHOD_DMABUF | 8, PINLEASE_METHOD_DMABUF | 8, IBV_ACCESS_MW_BIND },
};

static void serve(struct fake *f) {
        struct stat st;

        FAKE_CHECK(fstat(dmabuf, &st) == 0);
        fake_greet(f);
        fake_expect_attach(f, CONTEXT);
        for (size_t i = 0; i < ELEMENTSOF(exchanges); i++) {
                const struct exchange *e = exchanges + i;
                const struct pl_register expected = {
                        .context = CONTEXT,
                        .pd = 0xd0,
                        .offset = e->offset,
                        .length = e->length,
                        .address = e->iova,
                        .access = e->access,
                        .methods = (uint16_t)e->asked,
                };
                struct fake_request request;
                struct pl_packet reply;

                fake_expect(f, PL_OP_REGISTER, &request);
                FAKE_CHECK(memcmp(&request.packet.body.reg, &expected, sizeof expected) == 0);
                FAKE_CHECK(request.device == st.st_dev && request.inode == st.st_ino);
                fake_make_reply(f, &reply, PL_OP_REGISTER, 0);
                reply.body.register_reply = (struct pl_register_reply) {
                        .id = 100 + i,
                        .iova = e->iova,
                        .length = e->length,
                        .lkey = 0x11,
                        .rkey = 0x22,
                        .handle = 0x33,
                        .method = PINLEASE_METHOD_DMABUF,
                        .backing = PINLEASE_BACKING_DMABUF,
                        .guards = PINLEASE_GUARD_NOT_FOR_THIS << 8,
                };
                fake_send(f, &reply, reply.header.length, NULL, 0);
                fake_expect(f, PL_OP_DEREGISTER, &request);
                FAKE_CHECK(request.packet.body.deregister.id == 100 + i);
                fake_reply(f, PL_OP_DEREGISTER);
        }
        fake_expect_detach(f, CONTEXT);
        fake_expect_end(f);
}

TEST(test_register) {
        struct fake_device device;
        struct pinlease *p;
        struct fake f;

        dmabuf_open();
        fake_device_open(&device, 0xd0);
        fake_start(&f, serve, NULL);
        p = client_connect(&f);
        for (size_t i = 0; i < ELEMENTSOF(exchanges); i++) {
                const struct exchange *e = exchanges + i;
                const struct pinlease_reg_options options = { .methods = e->methods, .cookie = &device };
                struct pinlease_mr *reg = UNTOUCHED;

                assert_int_equal(pinlease_reg_dmabuf(p,
                                                     &device.pd,
                                                     dmabuf,
                                                     e->offset,
                                                     e->length,
                                                     e->iova,
                                                     e->access,
                                                     e->methods ? &options : NULL,
                                                     &reg),
                                 0);
                assert_ptr_equal(reg->mr.context, &device.context);
                assert_ptr_equal(reg->mr.pd, &device.pd);
                assert_int_equal((uintptr_t)reg->mr.addr, e->offset);
                assert_int_equal(reg->mr.length, e->length);
                assert_int_equal(reg->mr.handle, 0x33);
                assert_int_equal(reg->mr.lkey, 0x11);
                assert_int_equal(reg->mr.rkey, 0x22);
                assert_int_equal(reg->iova, e->iova);
                assert_int_equal(reg->method, PINLEASE_METHOD_DMABUF);
                assert_int_equal(reg->backing, PINLEASE_BACKING_DMABUF);
                assert_ptr_equal(reg->cookie, e->methods ? &device : NULL);
                assert_int_equal(pinlease_dereg(p, reg), 0);
        }
        pinlease_disconnect(p);
        fake_end(&f);
        fake_device_close(&device);
        dmabuf_close();
}

/* --- what is refused without asking ---------------------------------------------------------------------------------
 */

static void serve_nothing(struct fake *f) {
        fake_greet_with(f, 0);
        fake_expect_end(f);
}

struct wrong {
        int fd;
        uint64_t offset, length, iova;
        struct pinlease_reg_options options;
        enum pinlease_code code;
        int error;
};

static void refused(struct pinlease *p, struct ibv_pd *pd, const struct wrong *w) {
        struct pinlease_mr *reg = UNTOUCHED;
        int r;

        r = pinlease_reg_dmabuf(p, pd, w->fd, w->offset, w->length, w->iova, WRITABLE, &w->options, &reg);
        if (r != -w->error)
                fail_msg("%s: %d", pinlease_strcode(w->code), r);
        assert_ptr_equal(reg, UNTOUCHED);
        client_assert_refusal(p, w->code, w->error);
}

TEST(test_arguments) {
        struct fake_device device;
        struct pinlease *p;
        struct memory m;
        struct fake f;
        int pair[2], closed;

        dmabuf_open();
        memory_open(&m, 1);
        closed = fcntl(m.fd, F_DUPFD_CLOEXEC, 500); /* a number that nobody gets meanwhile */
        pl_close(closed);
        assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
        fake_device_open(&device, 1);
        fake_start(&f, serve_nothing, NULL);
        p = client_connect(&f);

        const struct wrong wrongs[] = {
                { dmabuf, 0, 0, 0, { 0 }, PINLEASE_CODE_ZERO_LENGTH, EINVAL },
                { dmabuf, UINT64_MAX - PAGE + 1, PAGE, 0, { 0 }, PINLEASE_CODE_RANGE_OVERFLOW, EOVERFLOW },
                { dmabuf, 0, PAGE, UINT64_MAX - PAGE + 1, { 0 }, PINLEASE_CODE_RANGE_OVERFLOW, EOVERFLOW },
                { dmabuf, 0, UINT64_MAX, 1, { 0 }, PINLEASE_CODE_RANGE_OVERFLOW, EOVERFLOW },
                { dmabuf, 0, PAGE, 0, { .guards = PINLEASE_GUARD_POISON }, PINLEASE_CODE_NO_GUARD, EBUSY },
                { dmabuf, 0, PAGE, 0, { .guards = 1U << 31 }, PINLEASE_CODE_NO_GUARD, EBUSY },
                { dmabuf, 0, PAGE, 0, { .flags = 1U << 31 }, PINLEASE_CODE_BAD_FLAGS, EINVAL },
                { closed, 0, PAGE, 0, { 0 }, PINLEASE_CODE_NOT_OPEN, EBADF },
                { -1, 0, PAGE, 0, { 0 }, PINLEASE_CODE_NOT_OPEN, EBADF },
                /* Memory that could be registered, but is no dma-buf; and what is no memory. */
                { m.fd, 0, PAGE, 0, { 0 }, PINLEASE_CODE_NO_DMABUF, EOPNOTSUPP },
                { m.fd, 0, PAGE, (uintptr_t)m.at, { 0 }, PINLEASE_CODE_NO_DMABUF, EOPNOTSUPP },
                { m.fd,
                  0,
                  PAGE,
                  (uintptr_t)m.at,
                  { .methods = PINLEASE_METHOD_ANY },
                  PINLEASE_CODE_NO_DMABUF,
                  EOPNOTSUPP },
                { pair[0], 0, PAGE, 0, { 0 }, PINLEASE_CODE_NO_DMABUF, EOPNOTSUPP },
        };
        for (size_t i = 0; i < ELEMENTSOF(wrongs); i++) {
                refused(p, &device.pd, wrongs + i);
                if (wrongs[i].iova == UINT64_MAX - PAGE + 1)
                        assert_non_null(strstr(pinlease_refusal(p)->sentence, "iova"));
                if (wrongs[i].code == PINLEASE_CODE_NO_DMABUF)
                        assert_non_null(strstr(pinlease_refusal(p)->sentence, "not a dma-buf"));
        }
        memory_assert_resident(&m, 0, 0);

        pinlease_disconnect(p);
        fake_end(&f);
        fake_device_close(&device);
        pl_close(pair[0]);
        pl_close(pair[1]);
        memory_close(&m);
        dmabuf_close();
}

/* --- answers --------------------------------------------------------------------------------------------------------
 */

/* pinlease_reg_fd() of a dma-buf: the service finds out what it is, and the address need not be mapped. */
static void serve_as_file(struct fake *f) {
        struct fake_request request;
        struct pl_packet reply;

        fake_greet(f);
        fake_expect_attach(f, CONTEXT);
        fake_expect(f, PL_OP_REGISTER, &request);
        FAKE_CHECK(request.packet.body.reg.methods == PINLEASE_METHOD_ANY);
        FAKE_CHECK(request.packet.body.reg.address == IOVA);
        fake_make_reply(f, &reply, PL_OP_REGISTER, PAGE);
        reply.body.register_reply.method = PINLEASE_METHOD_DMABUF;
        reply.body.register_reply.iova = IOVA;
        fake_send(f, &reply, reply.header.length, NULL, 0);
        fake_serve_rest(f);
}

TEST(test_as_file) {
        struct pinlease_mr *reg = UNTOUCHED;
        struct fake_device device;
        struct pinlease *p;
        struct fake f;

        dmabuf_open();
        fake_device_open(&device, 1);
        fake_start(&f, serve_as_file, NULL);
        p = client_connect(&f);
        assert_int_equal(
                pinlease_reg_fd(p, &device.pd, dmabuf, 2 * PAGE, PAGE, (void *)(uintptr_t)IOVA, WRITABLE, 0, &reg), 0);
        assert_int_equal((uintptr_t)reg->mr.addr, IOVA);
        assert_int_equal(reg->method, PINLEASE_METHOD_DMABUF);
        assert_int_equal(pinlease_dereg(p, reg), 0);
        pinlease_disconnect(p);
        fake_end(&f);
        fake_device_close(&device);
        dmabuf_close();
}

/* One that is refused, and those that nobody has asked for. */
static const struct answer {
        uint64_t iova;
        unsigned int method;
        enum pinlease_code code;
} answers[] = {
        { IOVA + PAGE, PINLEASE_METHOD_DMABUF, PINLEASE_CODE_MISALIGNED },
        { 0, PINLEASE_METHOD_DMABUF, PINLEASE_CODE_MISALIGNED },
        { IOVA, PINLEASE_METHOD_ODP, PINLEASE_CODE_BAD_FLAGS },
        { IOVA, PINLEASE_METHOD_PINNED, PINLEASE_CODE_BAD_FLAGS },
        { IOVA, PINLEASE_METHOD_ANY, PINLEASE_CODE_BAD_FLAGS },
        { IOVA, 0, PINLEASE_CODE_BAD_FLAGS },
        { IOVA, 8, PINLEASE_CODE_BAD_FLAGS },
};

static void serve_wrongly(struct fake *f) {
        /* Whether dma-bufs alone are accepted, or anything: it has to be one. */
        for (size_t i = 0; i < 2 * ELEMENTSOF(answers); i++) {
                const struct answer *a = answers + i / 2;
                struct pl_packet reply;

                fake_greet(f);
                fake_expect_attach(f, CONTEXT);
                fake_expect(f, PL_OP_REGISTER, NULL);
                fake_make_reply(f, &reply, PL_OP_REGISTER, PAGE);
                reply.body.register_reply.iova = a->iova;
                reply.body.register_reply.method = (uint16_t)a->method;
                fake_send(f, &reply, reply.header.length, NULL, 0);
                fake_expect_end(f);
        }
}

TEST(test_wrong_answers) {
        struct fake_device device;
        struct fake f;

        dmabuf_open();
        fake_device_open(&device, 1);
        fake_start(&f, serve_wrongly, NULL);
        for (size_t i = 0; i < 2 * ELEMENTSOF(answers); i++) {
                const struct pinlease_reg_options options = { .methods = i % 2 ? PINLEASE_METHOD_ANY : 0 };
                struct pinlease_mr *reg = UNTOUCHED;
                struct pinlease *p = client_connect(&f);

                assert_int_equal(pinlease_reg_dmabuf(p, &device.pd, dmabuf, 0, PAGE, IOVA, WRITABLE, &options, &reg),
                                 -EPROTO);
                assert_ptr_equal(reg, UNTOUCHED);
                client_assert_refusal(p, answers[i / 2].code, EPROTO);
                pinlease_disconnect(p);
        }
        fake_end(&f);
        fake_device_close(&device);
        dmabuf_close();
}

static void serve_refusals(struct fake *f) {
        fake_greet(f);
        fake_expect_attach(f, CONTEXT);
        fake_expect(f, PL_OP_REGISTER, NULL);
        fake_refuse(f, f->seq, PL_OP_REGISTER, PINLEASE_CODE_NO_DMABUF, EOPNOTSUPP);
        fake_expect(f, PL_OP_REGISTER, NULL);
        fake_refuse(f, f->seq, PL_OP_REGISTER, PINLEASE_CODE_MISALIGNED, EINVAL);
        fake_expect_detach(f, CONTEXT);
        fake_expect_end(f);
}

TEST(test_told) {
        struct pinlease_mr *reg = UNTOUCHED;
        struct fake_device device;
        struct pinlease *p;
        struct fake f;

        dmabuf_open();
        fake_device_open(&device, 1);
        fake_start(&f, serve_refusals, NULL);
        p = client_connect(&f);
        assert_int_equal(pinlease_reg_dmabuf(p, &device.pd, dmabuf, 0, PAGE, IOVA, WRITABLE, NULL, &reg), -EOPNOTSUPP);
        client_assert_told(p, PINLEASE_CODE_NO_DMABUF, EOPNOTSUPP);
        assert_int_equal(pinlease_reg_dmabuf(p, &device.pd, dmabuf, 1, PAGE, IOVA, WRITABLE, NULL, &reg), -EINVAL);
        client_assert_told(p, PINLEASE_CODE_MISALIGNED, EINVAL);
        assert_ptr_equal(reg, UNTOUCHED);
        pinlease_disconnect(p);
        fake_end(&f);
        fake_device_close(&device);
        dmabuf_close();
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_register),      CHECKED(test_arguments), CHECKED(test_as_file),
                CHECKED(test_wrong_answers), CHECKED(test_told),
        };

        return cmocka_run_group_tests_name("client_dmabuf", tests, NULL, NULL);
}
