/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#include "fake_ioctl.h"
#include "fake_session.h"

/* pinlease_reg_mr(): what lies at an address, and whether that is private memory. */

#define CONTEXT 0xc0U

static char in_bss[4 * PAGE];
static struct fake_device device;

static void try(struct pinlease *p,
                const void *address,
                uint64_t length,
                unsigned int access,
                enum pinlease_code code,
                int error) {
        struct pinlease_mr *mr = UNTOUCHED;
        int r = pinlease_reg_mr(p, &device.pd, (void *)(uintptr_t)address, length, access, NULL, &mr);

        /* The service of this test refuses whatever gets there. */
        if (code == PINLEASE_CODE_NONE) {
                assert_int_equal(r, -EACCES);
                client_assert_told(p, PINLEASE_CODE_POLICY, EACCES);
        } else {
                assert_int_equal(r, -error);
                client_assert_refusal(p, code, error);
        }
        assert_ptr_equal(mr, UNTOUCHED);
}

static void refuse_all(struct fake *f) {
        struct fake_request request;

        fake_greet(f);
        fake_expect_attach(f, CONTEXT);
        for (;;) {
                fake_expect(f, 0, &request);
                if (request.packet.header.opcode == PL_OP_DETACH)
                        break;
                FAKE_CHECK(request.packet.header.opcode == PL_OP_GRANT);
                fake_refuse(f, f->seq, PL_OP_GRANT, PINLEASE_CODE_POLICY, EACCES);
        }
        fake_reply(f, PL_OP_DETACH);
        fake_expect_end(f);
}

static char *map(int protection, int flags, int fd) {
        void *at = mmap(NULL, 4 * PAGE, protection, flags, fd, 0);

        assert_ptr_not_equal(at, MAP_FAILED);
        return at;
}

TEST(test_places) {
        char on_stack[64], *heap = malloc(100), *private = map(PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1),
                           *shared = map(PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1), *file, *copy;
        const void *vdso = (const void *)(uintptr_t)getauxval(AT_SYSINFO_EHDR);
        int fd = testing_memfd(4 * PAGE);
        struct pinlease *p;
        struct fake f;

        memset(&kernel, 0, sizeof kernel);
        file = map(PROT_READ | PROT_WRITE, MAP_SHARED, fd);
        copy = map(PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
        copy[0] = 1;
        assert_non_null(heap);
        on_stack[0] = 0;
        fake_device_open(&device, PD);
        fake_start(&f, refuse_all, NULL);
        p = client_connect(&f);

        try(p, private, 4 * PAGE, WRITABLE, PINLEASE_CODE_NONE, 0);
        try(p, private + 5, 1, WRITABLE, PINLEASE_CODE_NONE, 0);
        try(p, heap, 100, WRITABLE, PINLEASE_CODE_NONE, 0);
        try(p, on_stack, sizeof on_stack, WRITABLE, PINLEASE_CODE_NONE, 0);
        try(p, in_bss + PAGE, 2 * PAGE, WRITABLE, PINLEASE_CODE_NONE, 0);
        /* Several mappings are one range. */
        assert_int_equal(mprotect(private + PAGE, PAGE, PROT_READ), 0);
        try(p, private, 4 * PAGE, IBV_ACCESS_REMOTE_READ, PINLEASE_CODE_NONE, 0);
        try(p, private, 4 * PAGE, WRITABLE, PINLEASE_CODE_NOT_POPULATED, EFAULT);
        assert_int_equal(mprotect(private + PAGE, PAGE, PROT_NONE), 0);
        try(p, private, 4 * PAGE, IBV_ACCESS_REMOTE_READ, PINLEASE_CODE_NOT_POPULATED, EFAULT);
        assert_int_equal(munmap(private + PAGE, PAGE), 0);
        try(p, private, 4 * PAGE, WRITABLE, PINLEASE_CODE_NOT_POPULATED, EFAULT);
        try(p, private + PAGE, PAGE, WRITABLE, PINLEASE_CODE_NOT_POPULATED, EFAULT);
        try(p, private, PAGE, WRITABLE, PINLEASE_CODE_NONE, 0);

        try(p, shared, PAGE, WRITABLE, PINLEASE_CODE_NOT_PRIVATE, ENODEV);
        try(p, file, PAGE, WRITABLE, PINLEASE_CODE_NOT_PRIVATE, ENODEV);
        try(p, copy, PAGE, WRITABLE, PINLEASE_CODE_NOT_PRIVATE, ENODEV);
        assert_non_null(vdso);
        try(p, vdso, 100, IBV_ACCESS_REMOTE_READ, PINLEASE_CODE_NOT_PRIVATE, ENODEV);
        /* The program itself. */
        try(p, FAKE_SENTENCE, 10, IBV_ACCESS_REMOTE_READ, PINLEASE_CODE_NOT_PRIVATE, ENODEV);

        try(p, private, 0, WRITABLE, PINLEASE_CODE_ZERO_LENGTH, EINVAL);
        try(p, NULL, PAGE, WRITABLE, PINLEASE_CODE_NOT_POPULATED, EFAULT);
        try(p, private, UINT64_MAX, WRITABLE, PINLEASE_CODE_RANGE_OVERFLOW, EOVERFLOW);
        try(p, (void *)UINTPTR_MAX, 1, WRITABLE, PINLEASE_CODE_RANGE_OVERFLOW, EOVERFLOW);
        try(p, (void *)(UINTPTR_MAX - PAGE), PAGE, WRITABLE, PINLEASE_CODE_NOT_POPULATED, EFAULT);

        pinlease_disconnect(p);
        fake_end(&f);
        fake_device_close(&device);
        assert_int_equal(kernel.n_registered, 0);
        assert_int_equal(munmap(private, PAGE), 0);
        assert_int_equal(munmap(private + 2 * PAGE, 2 * PAGE), 0);
        assert_int_equal(munmap(shared, 4 * PAGE), 0);
        assert_int_equal(munmap(file, 4 * PAGE), 0);
        assert_int_equal(munmap(copy, 4 * PAGE), 0);
        free(heap);
        pl_close(fd);
}

static void without_grants(struct fake *f) {
        fake_greet_with(f, PL_FEATURE_REVOCATION | PL_FEATURE_GUARDS);
        fake_expect_end(f);
}

TEST(test_old_service) {
        struct pinlease *p;
        struct fake f;

        fake_device_open(&device, PD);
        fake_start(&f, without_grants, NULL);
        p = client_connect(&f);
        try(p, in_bss, PAGE, WRITABLE, PINLEASE_CODE_NOT_PRIVATE, ENODEV);
        pinlease_disconnect(p);
        fake_end(&f);
        fake_device_close(&device);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                CHECKED(test_places),
                CHECKED(test_old_service),
        };

        return cmocka_run_group_tests_name("client: places", tests, NULL, NULL);
}
