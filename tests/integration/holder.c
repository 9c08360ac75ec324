/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "holder.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "fixture.h"

#define PAGE 4096

static struct memory memory_of(const char *path) {
        struct memory m = { .length = 4 * PAGE };

        if (!path)
                return memory_new(MEMORY_MEMFD, 4 * PAGE);
        m.fd = CHECK_CALL(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666));
        (void)fchmod(m.fd, 0666);
        CHECK_CALL(ftruncate(m.fd, (off_t)m.length));
        m.start = mmap(NULL, m.length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, m.fd, 0);
        CHECK(m.start != MAP_FAILED);
        return m;
}

static uint64_t transfer(struct fixture *f, const struct pl_register_reply *r, const struct memory *m) {
        enum ibv_wc_status status = rdma_try_transfer(&f->rdma, r->iova, r->rkey, m->start, m->length, r->id);

        if (status != IBV_WC_SUCCESS)
                rdma_reconnect(&f->rdma);
        return status;
}

uint64_t holder_read_events(struct raw *raw) {
        struct pollfd p = { .fd = raw->sock, .events = POLLIN };
        uint64_t n = 0;

        while (poll(&p, 1, 0) > 0) {
                struct pl_packet packet;

                CHECK_EQUAL(raw_recv(raw, &packet), 0);
                CHECK(packet.header.opcode == PL_OP_REVOKING || packet.header.opcode == PL_OP_REVOKED);
                n += packet.header.opcode == PL_OP_REVOKING ? 1 : 100;
        }
        return n;
}

static uint64_t anew(struct fixture *f) {
        struct memory m = memory_new(MEMORY_MEMFD, 2 * PAGE);
        struct pl_register_reply r = fixture_register(f, &m, PINLEASE_METHOD_PINNED);
        uint64_t status = transfer(f, &r, &m);

        raw_deregister(&f->raw, r.id);
        memory_free(&m);
        return status;
}

static uint64_t try_deregister(struct raw *raw, uint64_t id) {
        struct pl_packet request, reply;

        pl_packet_init(&request, PL_OP_DEREGISTER, 0);
        request.body.deregister.id = id;
        return raw_call(raw, &request, -1, &reply);
}

static void holder(int channel, const void *argument) {
        const struct holder *h = argument;
        struct pl_register_reply replies[2];
        struct memory memories[2];
        struct pl_register request;
        struct fixture f;

        if (h->user)
                become(h->user);
        f = fixture_open(h->path);
        memories[0] = memory_of(NULL);
        memories[1] = memory_of(h->file);
        request = fixture_request(&f, memories, PINLEASE_METHOD_PINNED);
        if (h->window)
                request.access |= IBV_ACCESS_MW_BIND;
        replies[0] = raw_register(&f.raw, &request, memories[0].fd);
        replies[1] = fixture_register(&f, memories + 1, PINLEASE_METHOD_PINNED);
        rdma_connect(&f.rdma);
        if (h->window)
                (void)rdma_bind_window(&f.rdma,
                                       replies[0].handle,
                                       replies[0].lkey,
                                       replies[0].rkey,
                                       replies[0].iova,
                                       replies[0].length);
        tell_value(channel, replies[0].id >> 32);
        for (;;) {
                uint64_t word;

                if (recv(channel, &word, sizeof word, 0) != sizeof word)
                        break;
                switch (word) {
                case HOLDER_TRANSFER:
                case HOLDER_TRANSFER_2:
                        word = transfer(&f, replies + word, memories + word);
                        break;
                case HOLDER_READ_EVENTS:
                        word = holder_read_events(&f.raw);
                        break;
                case HOLDER_ANEW:
                        word = anew(&f);
                        break;
                case HOLDER_DEREGISTER:
                        word = try_deregister(&f.raw, replies[0].id);
                        break;
                case HOLDER_PING:
                        raw_ping(&f.raw);
                        break;
                default:
                        FAIL("no such word");
                }
                tell_value(channel, word);
        }
        fixture_close(&f);
}

struct app holder_start(const struct holder *h, unsigned int *ret_number) {
        struct app app = app_start(holder, h);

        *ret_number = (unsigned int)await_value(app.channel);
        return app;
}

uint64_t holder_ask(const struct app *app, enum holder_word word) {
        tell_value(app->channel, word);
        return await_value(app->channel);
}

void holder_stop(struct app *app) {
        app_hang_up(app);
        app_finish(app);
}
