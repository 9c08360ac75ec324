/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <mqueue.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "fake_session.h"
#include "fdclass.h"

/* The library's registrations: what it refuses itself, what it asks of the service, what it makes of the answers. */

/* What must come over the wire, and the answer to it. */
struct exchange {
        const struct memory *memory;
        struct pl_register request;
        struct pl_register_reply reply;
};

static void serve_register(struct fake *f) {
        const struct exchange *exchange = f->argument;
        struct fake_request request;
        struct pl_packet reply;
        struct stat st;

        FAKE_CHECK(fstat(exchange->memory->fd, &st) == 0);
        fake_greet(f);
        fake_expect_attach(f, exchange->request.context);
        fake_expect(f, PL_OP_REGISTER, &request);
        FAKE_CHECK(memcmp(&request.packet.body.reg, &exchange->request, sizeof exchange->request) == 0);
        FAKE_CHECK(request.device == st.st_dev && request.inode == st.st_ino);
        fake_make_reply(f, &reply, PL_OP_REGISTER, 0);
        reply.body.register_reply = exchange->reply;
        fake_send(f, &reply, reply.header.length, NULL, 0);

        fake_expect(f, PL_OP_DEREGISTER, &request);
        FAKE_CHECK(request.packet.body.deregister.id == exchange->reply.id);
        fake_refuse(f, f->seq, PL_OP_DEREGISTER, PINLEASE_CODE_BUSY, EBUSY);
        fake_expect(f, PL_OP_DEREGISTER, &request);
        FAKE_CHECK(request.packet.body.deregister.id == exchange->reply.id);
        fake_reply(f, PL_OP_DEREGISTER);
        fake_expect_detach(f, exchange->request.context);
        fake_expect_end(f);
}

static void exchange(const struct memory *m, unsigned int access, unsigned int methods, const struct exchange *e) {
        char *address = m->at + e->request.offset;
        struct pinlease_mr *reg = UNTOUCHED;
        struct fake_device device;
        struct pinlease *p;
        struct fake f;

        fake_device_open(&device, e->request.pd);
        fake_start(&f, serve_register, e);
        p = client_connect(&f);
        assert_int_equal(
                pinlease_reg_fd(
                        p, &device.pd, m->fd, e->request.offset, e->request.length, address, access, methods, &reg),
                0);
        for (unsigned int busy = 0; busy < 2; busy++) {
                assert_ptr_equal(reg->mr.context, &device.context);
                assert_ptr_equal(reg->mr.pd, &device.pd);
                assert_ptr_equal(reg->mr.addr, address);
                assert_int_equal(reg->mr.length, e->request.length);
                assert_int_equal(reg->mr.handle, e->reply.handle);
                assert_int_equal(reg->mr.lkey, e->reply.lkey);
                assert_int_equal(reg->mr.rkey, e->reply.rkey);
                assert_int_equal(reg->iova, e->reply.iova);
                assert_int_equal(reg->method, e->reply.method);
                assert_int_equal(reg->backing, e->reply.backing);
                assert_int_equal(reg->guards, e->reply.guards);
                /* Still there after it could not be taken back. */
                assert_int_equal(pinlease_dereg(p, reg), busy ? 0 : -EBUSY);
                client_assert_told(p, PINLEASE_CODE_BUSY, EBUSY);
        }
        pinlease_disconnect(p);
        fake_end(&f);
        fake_device_close(&device);
}

TEST(test_register) {
        struct memory m;
        struct exchange e = {
                .memory = &m,
                .request = {
                        .context = 0xc0,
                        .pd = 0xd0,
                        .offset = 4 * PAGE + 100,
                        .length = 2 * PAGE,
                        .access = WRITABLE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_RELAXED_ORDERING,
                        .methods = PINLEASE_METHOD_ANY,
                },
                .reply = {
                        .id = UINT64_C(0x1234567890abcdef),
                        .iova = UINT64_C(0xfedcba0987654321),
                        .length = 2 * PAGE,
                        .lkey = 0x11111111,
                        .rkey = 0x22222222,
                        .handle = 0x33333333,
                        .method = PINLEASE_METHOD_ODP,
                        .backing = PINLEASE_BACKING_FSDAX,
                        .guards = 0x44444444,
                },
        };

        /* 0 stands for any method. The range was holes; now it is there, and nothing else is. */
        memory_open(&m, 16);
        e.request.address = (uintptr_t)m.at + e.request.offset;
        exchange(&m, e.request.access, 0, &e);
        memory_assert_resident(&m, 4, 7);
        memory_close(&m);

        /* For reading a mapping that can only be read is enough. */
        memory_open(&m, 16);
        assert_int_equal(mprotect(m.at, m.size, PROT_READ), 0);
        e.request.offset = 2 * PAGE;
        e.request.address = (uintptr_t)m.at + e.request.offset;
        e.request.access = IBV_ACCESS_REMOTE_READ;
        e.reply.method = PINLEASE_METHOD_PINNED;
        e.request.methods = PINLEASE_METHOD_PINNED;
        e.reply.iova = e.request.address;
        e.reply.backing = PINLEASE_BACKING_SHMEM;
        exchange(&m, e.request.access, PINLEASE_METHOD_PINNED, &e);
        memory_assert_resident(&m, 2, 4);
        memory_close(&m);
}

/* --- what is refused without asking --- */

/* Nothing but the greeting may come. */
static void serve_nothing(struct fake *f) {
        fake_greet(f);
        fake_expect_end(f);
}

struct attempt {
        struct pinlease *p;
        struct ibv_pd *pd;
        unsigned int access;
};

static void refused(const struct attempt *a,
                    int fd,
                    uint64_t offset,
                    uint64_t length,
                    void *address,
                    enum pinlease_code code,
                    int error) {
        struct pinlease_mr *reg = UNTOUCHED;

        assert_int_equal(pinlease_reg_fd(a->p, a->pd, fd, offset, length, address, a->access, 0, &reg), -error);
        assert_ptr_equal(reg, UNTOUCHED);
        client_assert_refusal(a->p, code, error);
        assert_string_equal(pinlease_refusal(a->p)->rule, "");
}

TEST(test_arguments) {
        struct fake_device device;
        struct attempt a = { .pd = &device.pd, .access = WRITABLE };
        struct memory m;
        struct fake f;
        int closed;

        memory_open(&m, 4);
        closed = fcntl(m.fd, F_DUPFD_CLOEXEC, 500); /* a number that nobody gets meanwhile */
        pl_close(closed);
        fake_device_open(&device, 1);
        fake_start(&f, serve_nothing, NULL);
        a.p = client_connect(&f);

        refused(&a, m.fd, 0, 0, m.at, PINLEASE_CODE_ZERO_LENGTH, EINVAL);
        refused(&a, m.fd, UINT64_MAX - PAGE + 1, PAGE, m.at, PINLEASE_CODE_RANGE_OVERFLOW, EOVERFLOW);
        refused(&a, m.fd, 1, UINT64_MAX, m.at, PINLEASE_CODE_RANGE_OVERFLOW, EOVERFLOW);
        refused(&a, m.fd, 0, UINT64_MAX, m.at, PINLEASE_CODE_RANGE_OVERFLOW, EOVERFLOW);
        refused(&a, m.fd, 0, PAGE, (void *)(UINTPTR_MAX - PAGE + 1), PINLEASE_CODE_RANGE_OVERFLOW, EOVERFLOW);
        refused(&a, m.fd, 0, PAGE, NULL, PINLEASE_CODE_NOT_POPULATED, EFAULT);
        assert_non_null(strstr(pinlease_refusal(a.p)->sentence, "NULL"));
        refused(&a, closed, 0, PAGE, m.at, PINLEASE_CODE_NOT_OPEN, EBADF);
        refused(&a, -1, 0, PAGE, m.at, PINLEASE_CODE_NOT_OPEN, EBADF);
        memory_assert_resident(&m, 0, 0);

        pinlease_disconnect(a.p);
        fake_end(&f);
        fake_device_close(&device);
        memory_close(&m);
}

/* A file of a file system that is on no list, mounted by nobody but the kernel: where the kernel cannot say that much,
 * it counts as hanging. FUSE and overlay need root: those are tested in the guest. */
TEST(test_hanging_file) {
        struct mq_attr attributes = { .mq_maxmsg = 1, .mq_msgsize = 1 };
        struct fake_device device;
        struct attempt a = { .pd = &device.pd, .access = WRITABLE };
        struct pl_fdclass class;
        struct memory m;
        struct fake f;
        char name[64];
        int queue;

        (void)snprintf(name, sizeof name, "/pinlease-test-%d", (int)getpid());
        queue = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attributes);
        if (queue < 0 && errno == ENOSYS)
                testing_skip("this kernel has no message queues\n");
        assert_true(queue >= 0);
        assert_int_equal(mq_unlink(name), 0);
        assert_int_equal(pl_fdclass_get(queue, &class), 0);
        if (class.kind != PL_FD_HANGING) {
                pl_close(queue);
                assert_true(testing_kernel_is(7, 0));
                testing_skip("this kernel knows that a message queue does not hang; a real one is tested in the guest\n");
        }

        memory_open(&m, 1);
        fake_device_open(&device, 1);
        fake_start(&f, serve_nothing, NULL);
        a.p = client_connect(&f);
        refused(&a, queue, 0, PAGE, m.at, PINLEASE_CODE_HANGING_FILE, EOPNOTSUPP);
        pinlease_disconnect(a.p);
        fake_end(&f);
        fake_device_close(&device);
        memory_close(&m);
        pl_close(queue);
}

TEST(test_not_populated) {
        struct fake_device device;
        struct attempt a = { .pd = &device.pd, .access = WRITABLE };
        struct memory m;
        struct fake f;
        char *spare;

        memory_open(&m, 8);
        spare = (char *)(uintptr_t)testing_free_address(PAGE);
        fake_device_open(&device, 1);
        fake_start(&f, serve_nothing, NULL);
        a.p = client_connect(&f);

        refused(&a, m.fd, 0, PAGE, spare, PINLEASE_CODE_NOT_POPULATED, EFAULT);
        assert_non_null(strstr(pinlease_refusal(a.p)->sentence, "ENOMEM"));
        memory_assert_resident(&m, 0, 0);

        /* Mapped, but not for writing; mapped, but not for anything. */
        assert_int_equal(mprotect(m.at, PAGE, PROT_READ), 0);
        refused(&a, m.fd, 0, PAGE, m.at, PINLEASE_CODE_NOT_POPULATED, EFAULT);
        a.access = IBV_ACCESS_REMOTE_READ;
        assert_int_equal(mprotect(m.at, PAGE, PROT_NONE), 0);
        refused(&a, m.fd, 0, PAGE, m.at, PINLEASE_CODE_NOT_POPULATED, EFAULT);
        a.access = WRITABLE;
        assert_int_equal(mprotect(m.at, PAGE, PROT_READ | PROT_WRITE), 0);
        memory_assert_resident(&m, 0, 0);

        /* Only the beginning is mapped. */
        assert_int_equal(munmap(m.at + 7 * PAGE, PAGE), 0);
        refused(&a, m.fd, 6 * PAGE, 2 * PAGE, m.at + 6 * PAGE, PINLEASE_CODE_NOT_POPULATED, EFAULT);
        m.size -= PAGE;

        pinlease_disconnect(a.p);
        fake_end(&f);
        fake_device_close(&device);
        memory_close(&m);
}

/* --- what is left to the service --- */

static const struct {
        enum pinlease_code code;
        int error;
} told[] = {
        { PINLEASE_CODE_BEYOND_END, ERANGE }, { PINLEASE_CODE_NOT_MEMORY, ENODEV }, { PINLEASE_CODE_PATH_FD, EBADF },
        { PINLEASE_CODE_FD_MODE, EACCES },    { PINLEASE_CODE_SEALED, EPERM },
};

static void refuse_registrations(struct fake *f) {
        fake_greet(f);
        fake_expect_attach(f, 1);
        for (size_t i = 0; i < ELEMENTSOF(told); i++) {
                fake_expect(f, PL_OP_REGISTER, NULL);
                fake_refuse(f, f->seq, PL_OP_REGISTER, told[i].code, told[i].error);
        }
        fake_expect_detach(f, 1);
        fake_expect_end(f);
}

/* It has better words for these, so they go there with the memory as it is. */
TEST(test_left_to_the_service) {
        int fds[ELEMENTSOF(told)], pair[2];
        struct pinlease_mr *reg = UNTOUCHED;
        struct fake_device device;
        struct memory m, sealed;
        struct pinlease *p;
        char path[64];
        struct fake f;

        memory_open(&m, 4);
        memory_open(&sealed, 4);
        assert_int_equal(fcntl(sealed.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
        assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", m.fd);
        fds[0] = m.fd;
        fds[1] = pair[0];
        fds[2] = open(path, O_PATH | O_CLOEXEC);
        fds[3] = open(path, O_RDONLY | O_CLOEXEC);
        fds[4] = sealed.fd;
        fake_device_open(&device, 1);
        fake_start(&f, refuse_registrations, NULL);
        p = client_connect(&f);

        for (size_t i = 0; i < ELEMENTSOF(told); i++) {
                uint64_t length = told[i].code == PINLEASE_CODE_BEYOND_END ? 4 * PAGE : PAGE;

                assert_int_equal(pinlease_reg_fd(p, &device.pd, fds[i], PAGE, length, m.at, WRITABLE, 0, &reg),
                                 -told[i].error);
                client_assert_told(p, told[i].code, told[i].error);
        }
        assert_ptr_equal(reg, UNTOUCHED);
        memory_assert_resident(&m, 0, 0);
        memory_assert_resident(&sealed, 0, 0);

        pinlease_disconnect(p);
        fake_end(&f);
        fake_device_close(&device);
        pl_close(fds[2]);
        pl_close(fds[3]);
        pl_close(pair[0]);
        pl_close(pair[1]);
        memory_close(&sealed);
        memory_close(&m);
}

/* --- whose refusal it is --- */

/* Contexts that nobody has attached: refused by each session by itself. */
static void fail_on(struct pinlease *p) {
        struct ibv_context context = { .cmd_fd = -1 };

        assert_int_equal(pinlease_detach(p, &context), -ENODEV);
}

static void assert_nothing(const struct pinlease *p) {
        assert_int_equal(pinlease_refusal(p)->code, PINLEASE_CODE_NONE);
        assert_int_equal(pinlease_refusal(p)->error, 0);
        assert_string_equal(pinlease_refusal(p)->rule, "");
        assert_string_equal(pinlease_refusal(p)->sentence, "");
}

/* cmocka is for the main thread: what is wrong is told by the result. */
static void *other_thread(void *p) {
        struct ibv_context context = { .cmd_fd = -1 };
        bool fresh = pinlease_refusal(p)->code == PINLEASE_CODE_NONE;

        return fresh && pinlease_attach(p, &context) == -ENOTTY && pinlease_refusal(p)->code == PINLEASE_CODE_NOT_VERBS
                       ? p
                       : NULL;
}

static void serve_twice(struct fake *f) {
        int first;

        fake_greet(f);
        first = f->app;
        f->app = -1;
        fake_greet(f);
        fake_expect_end(f);
        f->app = first;
        fake_expect_end(f);
}

TEST(test_refusals_are_kept_apart) {
        struct pinlease *a, *b, *none = UNTOUCHED;
        pthread_t thread;
        struct fake f;
        void *result;

        fake_start(&f, serve_twice, NULL);
        assert_int_equal(pinlease_connect("no/such/socket", NULL, NULL, &none), -ENOENT);
        a = client_connect(&f);
        b = client_connect(&f);
        assert_nothing(a);

        fail_on(a);
        client_assert_refusal(a, PINLEASE_CODE_NO_SUCH_CONTEXT, ENODEV);
        assert_nothing(b);
        assert_int_equal(pthread_create(&thread, NULL, other_thread, a), 0);
        assert_int_equal(pthread_join(thread, &result), 0);
        assert_ptr_equal(result, a);
        client_assert_refusal(a, PINLEASE_CODE_NO_SUCH_CONTEXT, ENODEV);

        /* Of several sessions, the latest; and connecting has a place of its own. */
        fail_on(b);
        client_assert_refusal(b, PINLEASE_CODE_NO_SUCH_CONTEXT, ENODEV);
        assert_nothing(a);
        client_assert_refusal(NULL, PINLEASE_CODE_NO_SERVICE, ENOENT);
        pinlease_disconnect(b);
        pinlease_disconnect(a);
        fake_end(&f);
}

TEST(test_names) {
        assert_string_equal(pinlease_strcode(PINLEASE_CODE_FSDAX_PIN), "fsdax-pin");
        assert_string_equal(pinlease_strmethod(PINLEASE_METHOD_PINNED), "pinned");
        assert_string_equal(pinlease_strbacking(PINLEASE_BACKING_HUGETLB), "hugetlb");
        assert_string_equal(pinlease_strcode((enum pinlease_code)12345), "unknown");
        assert_string_equal(pinlease_strmethod((enum pinlease_method)0), "unknown");
        assert_string_equal(pinlease_strbacking((enum pinlease_backing)99), "unknown");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_register),      CHECKED(test_arguments),           CHECKED(test_hanging_file),
                CHECKED(test_not_populated), CHECKED(test_left_to_the_service), CHECKED(test_refusals_are_kept_apart),
                CHECKED(test_names),
        };

        return cmocka_run_group_tests_name("client_register", tests, NULL, NULL);
}
