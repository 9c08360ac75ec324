/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <string.h>
#include <sys/mman.h>

#include "fake_ioctl.h"
#include "fake_session.h"

/* pinlease_reg_mr(): what it asks of the service, and what it does in this process itself. */

#define CONTEXT 0xc0U
#define ID UINT64_C(0x500000007)

/* --- the service's part --- */

struct script {
        void *address;
        uint64_t length;
        unsigned int access, methods;
        enum pinlease_code refuse_grant, refuse_commit;
        bool no_registration, end_at_commit;
        enum pinlease_method method; /* 0: ODP */
};

/* What follows is given back, or refused, as often as the other side asks. */
static void expect_grant(struct fake *f, const struct script *s) {
        const struct pl_grant expected = {
                .context = CONTEXT,
                .pd = PD,
                .address = (uintptr_t)s->address,
                .length = s->length,
                .access = s->access,
                .methods = (uint16_t)s->methods,
        };
        struct fake_request request;
        struct pl_packet reply;

        fake_expect(f, PL_OP_GRANT, &request);
        FAKE_CHECK(memcmp(&request.packet.body.grant, &expected, sizeof expected) == 0);
        if (s->refuse_grant) {
                fake_refuse(f, f->seq, PL_OP_GRANT, s->refuse_grant, EPERM);
                return;
        }
        fake_make_reply(f, &reply, PL_OP_GRANT, 0);
        reply.body.grant_reply = (struct pl_grant_reply) {
                .id = ID,
                .iova = (uintptr_t)s->address,
                .method = s->method ? s->method : PINLEASE_METHOD_ODP,
                .lapse_ms = 30000,
        };
        fake_send(f, &reply, reply.header.length, NULL, 0);
}

static void expect_commit(struct fake *f, const struct script *s) {
        const struct pl_grant_commit expected = { .id = ID, .handle = HANDLE, .lkey = LKEY, .rkey = RKEY };
        struct fake_request request;
        struct pl_packet reply;

        fake_expect(f, PL_OP_GRANT_COMMIT, &request);
        FAKE_CHECK(memcmp(&request.packet.body.grant_commit, &expected, sizeof expected) == 0);
        if (s->end_at_commit)
                return;
        if (s->refuse_commit) {
                fake_refuse(f,
                            f->seq,
                            PL_OP_GRANT_COMMIT,
                            s->refuse_commit,
                            s->refuse_commit == PINLEASE_CODE_BUSY ? EBUSY : EINVAL);
                return;
        }
        fake_make_reply(f, &reply, PL_OP_GRANT_COMMIT, 0);
        reply.body.grant_commit_reply = (struct pl_grant_commit_reply) {
                .backing = PINLEASE_BACKING_ANON,
                .guards = pl_guards_set(0, 0, PINLEASE_GUARD_NOT_FOR_THIS),
        };
        fake_send(f, &reply, reply.header.length, NULL, 0);
}

static void expect_deregister(struct fake *f) {
        struct fake_request request;

        fake_expect(f, PL_OP_DEREGISTER, &request);
        FAKE_CHECK(request.packet.body.deregister.id == ID);
        fake_reply(f, PL_OP_DEREGISTER);
}

static void serve(struct fake *f) {
        const struct script *s = f->argument;

        fake_greet(f);
        fake_expect_attach(f, CONTEXT);
        expect_grant(f, s);
        if (s->method == PINLEASE_METHOD_DMABUF) {
                fake_expect_end(f);
                return;
        }
        if (!s->refuse_grant && !s->no_registration)
                expect_commit(f, s);
        if (s->end_at_commit) {
                f->app = pl_close(f->app);
                return;
        }
        if (!s->refuse_grant && (!s->refuse_commit || s->refuse_commit == PINLEASE_CODE_BUSY))
                expect_deregister(f);
        fake_expect_detach(f, CONTEXT);
        fake_expect_end(f);
}

struct fixture {
        struct fake fake;
        struct fake_device device;
        struct pinlease *p;
        char *memory; /* three pages */
        struct script script;
};

static void begin(struct fixture *f, const struct script *script) {
        memset(&kernel, 0, sizeof kernel);
        f->memory = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_ptr_not_equal(f->memory, MAP_FAILED);
        f->script = *script;
        f->script.address = f->memory + 100;
        f->script.length = 2 * PAGE;
        f->script.access = WRITABLE | IBV_ACCESS_REMOTE_READ;
        f->script.methods = PINLEASE_METHOD_ANY;
        fake_device_open(&f->device, PD);
        fake_start(&f->fake, serve, &f->script);
        f->p = client_connect(&f->fake);
}

static void end(struct fixture *f) {
        pinlease_disconnect(f->p);
        fake_end(&f->fake);
        fake_device_close(&f->device);
        assert_int_equal(munmap(f->memory, 3 * PAGE), 0);
}

static int reg(struct fixture *f, struct pinlease_mr **ret_reg) {
        static char cookie;
        const struct pinlease_reg_options options = { .cookie = &cookie };
        int r;

        *ret_reg = UNTOUCHED;
        r = pinlease_reg_mr(
                f->p, &f->device.pd, f->script.address, f->script.length, f->script.access, &options, ret_reg);
        if (r < 0)
                assert_ptr_equal(*ret_reg, UNTOUCHED);
        else
                assert_ptr_equal((*ret_reg)->cookie, &cookie);
        return r;
}

TEST(test_registered) {
        struct pinlease_mr *mr;
        struct fixture f;

        begin(&f, &(const struct script) { 0 });
        assert_int_equal(reg(&f, &mr), 0);
        assert_ptr_equal(mr->mr.context, &f.device.context);
        assert_ptr_equal(mr->mr.pd, &f.device.pd);
        assert_ptr_equal(mr->mr.addr, f.script.address);
        assert_int_equal(mr->mr.length, 2 * PAGE);
        assert_int_equal(mr->mr.handle, HANDLE);
        assert_int_equal(mr->mr.lkey, LKEY);
        assert_int_equal(mr->mr.rkey, RKEY);
        assert_int_equal(mr->iova, (uintptr_t)f.script.address);
        assert_int_equal(mr->method, PINLEASE_METHOD_ODP);
        assert_int_equal(mr->backing, PINLEASE_BACKING_ANON);
        assert_int_equal(pinlease_guard_reason(mr, PINLEASE_GUARD_SEALS), PINLEASE_GUARD_NOT_FOR_THIS);

        assert_int_equal(kernel.n_registered, 1);
        assert_int_equal(kernel.reg.start, (uintptr_t)f.script.address);
        assert_int_equal(kernel.reg.hca_va, (uintptr_t)f.script.address);
        assert_int_equal(kernel.reg.length, 2 * PAGE);
        assert_int_equal(kernel.reg.pd_handle, PD);
        assert_int_equal(kernel.reg.access_flags, f.script.access | IBV_ACCESS_ON_DEMAND);

        /* It is the service that deregisters it. */
        assert_int_equal(pinlease_dereg(f.p, mr), 0);
        assert_int_equal(kernel.n_destroyed, 0);
        end(&f);
}

/* A rule has it pinned. */
TEST(test_pinned) {
        struct pinlease_mr *mr;
        struct fixture f;

        begin(&f, &(const struct script) { .method = PINLEASE_METHOD_PINNED });
        assert_int_equal(reg(&f, &mr), 0);
        assert_int_equal(mr->method, PINLEASE_METHOD_PINNED);
        assert_int_equal(kernel.reg.access_flags, f.script.access);
        assert_int_equal(pinlease_dereg(f.p, mr), 0);
        assert_int_equal(kernel.n_destroyed, 0);
        end(&f);

        /* The limit does not suffice after all, or the control group has no more memory: the grant goes back. */
        begin(&f, &(const struct script) { .method = PINLEASE_METHOD_PINNED, .no_registration = true });
        kernel.error = ENOMEM;
        assert_int_equal(reg(&f, &mr), -ENOMEM);
        client_assert_refusal(f.p, PINLEASE_CODE_KERNEL, ENOMEM);
        assert_non_null(strstr(pinlease_refusal(f.p)->sentence, "ulimit -l"));
        end(&f);

        /* Not what was asked for, nor known. */
        begin(&f, &(const struct script) { .method = PINLEASE_METHOD_DMABUF });
        assert_int_equal(reg(&f, &mr), -EPROTO);
        assert_int_equal(kernel.n_registered, 0);
        end(&f);
}

TEST(test_grant_refused) {
        struct pinlease_mr *mr;
        struct fixture f;

        begin(&f, &(const struct script) { .refuse_grant = PINLEASE_CODE_ANON_PIN });
        assert_int_equal(reg(&f, &mr), -EPERM);
        client_assert_told(f.p, PINLEASE_CODE_ANON_PIN, EPERM);
        assert_int_equal(kernel.n_registered, 0);
        end(&f);
}

/* The kernel says no: the grant goes back. */
TEST(test_kernel_refuses) {
        struct pinlease_mr *mr;
        struct fixture f;

        begin(&f, &(const struct script) { .no_registration = true });
        kernel.error = EFAULT;
        assert_int_equal(reg(&f, &mr), -EFAULT);
        client_assert_refusal(f.p, PINLEASE_CODE_KERNEL, EFAULT);
        end(&f);

        begin(&f, &(const struct script) { .no_registration = true });
        kernel.error = ENOENT;
        assert_int_equal(reg(&f, &mr), -ENOENT);
        client_assert_refusal(f.p, PINLEASE_CODE_NO_SUCH_PD, ENOENT);
        end(&f);
}

/* What the service does not take is deregistered here; unless it is somebody else's by now. */
TEST(test_commit_refused) {
        struct pinlease_mr *mr;
        struct fixture f;

        begin(&f, &(const struct script) { .refuse_commit = PINLEASE_CODE_GRANT_MISMATCH });
        kernel.n_busy = 3;
        assert_int_equal(reg(&f, &mr), -EINVAL);
        client_assert_told(f.p, PINLEASE_CODE_GRANT_MISMATCH, EINVAL);
        assert_int_equal(kernel.n_destroyed, 1);
        end(&f);

        /* Then the grant is still there. */
        begin(&f, &(const struct script) { .refuse_commit = PINLEASE_CODE_BUSY });
        assert_int_equal(reg(&f, &mr), -EBUSY);
        client_assert_told(f.p, PINLEASE_CODE_BUSY, EBUSY);
        assert_int_equal(kernel.n_destroyed, 1);
        end(&f);
}

TEST(test_session_ends) {
        struct pinlease_mr *mr;
        struct fixture f;

        begin(&f, &(const struct script) { .end_at_commit = true });
        assert_int_equal(reg(&f, &mr), -ECONNRESET);
        client_assert_refusal(f.p, PINLEASE_CODE_DISCONNECTED, ECONNRESET);
        assert_int_equal(kernel.n_destroyed, 1);
        end(&f);
}

/* A child has a copy of the session that it must not use. */
TEST(test_forked) {
        struct pinlease_mr *mr;
        struct fixture f;
        pid_t child;

        begin(&f, &(const struct script) { 0 });
        child = testing_fork();
        if (child == 0) {
                int r = pinlease_reg_mr(f.p, &f.device.pd, f.script.address, 10, WRITABLE, NULL, &mr);

                _exit(r == -EOWNERDEAD && kernel.n_registered == 0 ? 0 : 1);
        }
        assert_int_equal(testing_wait_child(child), 0);
        assert_int_equal(reg(&f, &mr), 0);
        assert_int_equal(pinlease_dereg(f.p, mr), 0);
        end(&f);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_registered),     CHECKED(test_pinned),         CHECKED(test_grant_refused),
                CHECKED(test_kernel_refuses), CHECKED(test_commit_refused), CHECKED(test_session_ends),
                CHECKED(test_forked),
        };

        return cmocka_run_group_tests_name("client: private memory", tests, NULL, NULL);
}
