/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "private.h"

#include <sys/mman.h>

uint8_t *private_new(uint64_t length) {
        void *at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        CHECK(at != MAP_FAILED);
        return at;
}

struct user user_open(const char *path, uint64_t length, const struct pinlease_listener *listener, void *userdata) {
        struct user u = { .memory = private_new(length), .length = length };

        enter_host("hosta");
        u.rdma = rdma_open("rxe_a");
        rdma_connect(&u.rdma);
        CHECK_EQUAL(pinlease_connect(path, listener, userdata, &u.p), 0);
        return u;
}

void user_close(struct user *u) {
        pinlease_disconnect(u->p);
        rdma_close(&u->rdma);
        CHECK_CALL(munmap(u->memory, u->length));
}

int user_try_reg(struct user *u, void *address, uint64_t length, unsigned int methods, struct pinlease_mr **ret_mr) {
        const struct pinlease_reg_options options = { .methods = methods };

        return pinlease_reg_mr(u->p, u->rdma.pd, address, length, ACCESS_READ_WRITE, &options, ret_mr);
}

struct pinlease_mr *user_reg(struct user *u, unsigned int method) {
        struct pinlease_mr *mr;

        if (user_try_reg(u, u->memory, u->length, method, &mr) < 0)
                FAIL("%s", pinlease_refusal(u->p)->sentence);
        return mr;
}

void user_expect_refusal(struct user *u, void *address, unsigned int methods, enum pinlease_code code) {
        struct pinlease_mr *mr;

        CHECK(user_try_reg(u, address, 4096, methods, &mr) < 0);
        expect_code(pinlease_refusal(u->p)->code, code);
}
