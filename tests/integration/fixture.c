/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fixture.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "harness.h"

#define PAGE 4096

void enter_host(const char *name) {
        static bool entered;
        char path[64];
        int fd;

        /* Once is enough, and all that a process which has become a user can do. */
        if (!netns_exclusive() || entered)
                return;
        entered = true;
        (void)snprintf(path, sizeof path, "/run/netns/%s", name);
        fd = CHECK_CALL(open(path, O_RDONLY | O_CLOEXEC));
        CHECK_CALL(setns(fd, CLONE_NEWNET));
        close(fd);
}

struct fixture fixture_open(const char *path) {
        struct fixture f;

        enter_host("hosta");
        f.rdma = rdma_open("rxe_a");
        f.raw = raw_open(path);
        f.context = raw_attach(&f.raw, f.rdma.context->cmd_fd);
        return f;
}

void fixture_close(struct fixture *f) {
        raw_close(&f->raw);
        rdma_close(&f->rdma);
}

struct pl_register fixture_request(const struct fixture *f, const struct memory *memory, uint32_t methods) {
        return (struct pl_register) {
                .context = f->context,
                .pd = f->rdma.pd->handle,
                .length = memory->length,
                .address = (uintptr_t)memory->start,
                .access = ACCESS_READ_WRITE,
                .methods = (uint16_t)methods,
        };
}

struct pl_register_reply fixture_register(struct fixture *f, const struct memory *memory, uint32_t methods) {
        struct pl_register request = fixture_request(f, memory, methods);

        return raw_register(&f->raw, &request, memory->fd);
}

enum pinlease_code fixture_try(struct fixture *f,
                               const struct pl_register *request,
                               int fd,
                               struct pl_register_reply *ret_reply) {
        struct pl_packet packet, reply;
        enum pinlease_code code;

        pl_packet_init(&packet, PL_OP_REGISTER, 0);
        packet.body.reg = *request;
        code = raw_call(&f->raw, &packet, fd, &reply);
        if (code == PINLEASE_CODE_NONE && ret_reply)
                *ret_reply = reply.body.register_reply;
        return code;
}

#define ROUNDS 3

static void bystander(int channel, const void *argument) {
        struct fixture f = fixture_open(argument);
        struct memory memory = memory_new(MEMORY_MEMFD, 4 * PAGE);

        rdma_connect(&f.rdma);
        tell(channel);
        for (uint64_t round = 1; round == 1 || round_done(channel, round - 1, 0); round++) {
                struct pl_register_reply r =
                        fixture_register(&f, &memory, round % 2 ? PINLEASE_METHOD_ODP : PINLEASE_METHOD_PINNED);

                rdma_transfer(&f.rdma, r.iova, r.rkey, memory.start, memory.length, round);
                raw_deregister(&f.raw, r.id);
                raw_ping(&f.raw);
        }
        memory_free(&memory);
        fixture_close(&f);
}

struct app bystander_start(const char *path) {
        struct app app = app_start(bystander, path);

        await(app.channel);
        return app;
}

void bystander_proves(struct app *app) {
        await_rounds(app, ROUNDS);
}

void bystander_stop(struct app *app) {
        bystander_proves(app);
        app_hang_up(app);
        app_finish(app);
}
