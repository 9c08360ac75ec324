/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "puppet.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "fixture.h"

/* rxe does ODP right for whole pages only. */
#define PAGE UINT64_C(4096)
#define HUGE (UINT64_C(2) << 20)
/* Of huge pages, so much of each is looked at. */
#define SAMPLE (2 * PAGE)

struct opened {
        bool is;
        int fd;
        bool writable;
        uint8_t *start;
        uint64_t length;
};

struct held {
        uint64_t id, offset, length, iova;
        uint32_t rkey;
        unsigned int file;
        bool writable;
        bool asked; /* and has not answered yet */
};

static struct {
        const struct puppet *self;
        struct fixture f;
        bool ended;
        enum puppet_conduct conduct;
        struct opened files[PUPPET_FILES];
        struct held held[PUPPET_LIVE];
        unsigned int n_held;
        struct puppet_answer answer; /* events gather here */
} p;

/* --- what comes by itself --- */

static struct held *find(uint64_t id) {
        for (unsigned int i = 0; i < p.n_held; i++)
                if (p.held[i].id == id)
                        return p.held + i;
        return NULL;
}

static void forget(uint64_t id) {
        struct held *held = find(id);

        if (held)
                *held = p.held[--p.n_held];
}

static void note(const struct puppet_event *event) {
        CHECK(p.answer.n_events < PUPPET_EVENTS);
        p.answer.events[p.answer.n_events++] = *event;
}

static void take(const struct pl_packet *packet) {
        const struct pl_revoking *revoking = &packet->body.revoking;
        const struct pl_revoked *revoked = &packet->body.revoked;
        struct held *held;

        CHECK_EQUAL(packet->header.seq, 0);
        switch (packet->header.opcode) {
        case PL_OP_REVOKING:
                note(&(const struct puppet_event) { .kind = EVENT_REVOKING,
                                                    .id = revoking->id,
                                                    .reason = revoking->reason,
                                                    .offset = revoking->offset,
                                                    .length = revoking->length,
                                                    .grace_ms = revoking->grace_ms });
                held = find(revoking->id);
                if (held)
                        held->asked = true;
                break;
        case PL_OP_REVOKED:
                note(&(const struct puppet_event) { .kind = EVENT_REVOKED,
                                                    .id = revoked->id,
                                                    .reason = revoked->reason,
                                                    .offset = revoked->offset,
                                                    .length = revoked->length });
                forget(revoked->id);
                break;
        case PL_OP_SETTLED:
                note(&(const struct puppet_event) {
                        .kind = EVENT_SETTLED, .id = packet->body.settled.id, .size = packet->body.settled.size });
                break;
        case PL_OP_NOTICE:
                note(&(const struct puppet_event) {
                        .kind = EVENT_NOTICE, .id = packet->body.notice.id, .reason = packet->body.notice.kind });
                break;
        default:
                FAIL("%s came", pl_opcode_name(packet->header.opcode));
        }
}

static void lose_session(void) {
        if (!p.ended)
                note(&(const struct puppet_event) { .kind = EVENT_END });
        p.ended = true;
        p.n_held = 0;
}

/* Events may come before the answer. False: the session has ended. */
static bool call(struct pl_packet *request, int fd, struct pl_packet *ret_reply) {
        if (p.ended)
                return false;
        request->header.seq = ++p.f.raw.seq;
        if (raw_send(&p.f.raw, request, request->header.length, &fd, fd >= 0) < 0) {
                lose_session();
                return false;
        }
        for (;;) {
                if (raw_recv_any(&p.f.raw, ret_reply) < 0) {
                        lose_session();
                        return false;
                }
                if (ret_reply->header.seq == p.f.raw.seq)
                        return true;
                take(ret_reply);
        }
}

static void give_back(uint64_t id, bool release, bool asked) {
        struct puppet_event event = { .kind = EVENT_GIVEN_BACK, .id = id, .released = release };
        struct pl_packet request, reply;

        pl_packet_init(&request, release ? PL_OP_RELEASE : PL_OP_DEREGISTER, 0);
        if (release)
                request.body.release.id = id;
        else
                request.body.deregister.id = id;
        if (!call(&request, -1, &reply))
                return;
        if (reply.header.opcode == PL_OP_REFUSED)
                event.code = reply.body.refused.code;
        else if (release)
                event.settles = reply.body.release_reply.settles;
        if (event.code == PINLEASE_CODE_NONE)
                forget(id);
        if (asked)
                note(&event);
        else
                p.answer.value = event.code;
}

/* Its conduct. */
static void react(void) {
        for (unsigned int i = 0; i < p.n_held;) {
                if (!p.held[i].asked) {
                        i++;
                        continue;
                }
                p.held[i].asked = false;
                if (p.conduct != CONDUCT_IGNORES) {
                        give_back(p.held[i].id, p.conduct == CONDUCT_RELEASES, true);
                        i = 0;
                }
        }
}

/* --- what it is told --- */

static void opens(const struct puppet_order *order, int fd) {
        struct opened *o = p.files + order->file;

        CHECK(!o->is);
        o->fd = fd >= 0 ? fd : CHECK_CALL(open(order->path, (order->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC));
        o->is = true;
        o->writable = order->writable;
        o->start = NULL;
        p.answer.value = (uint64_t)o->fd;
}

static void unmap(struct opened *o) {
        if (o->start)
                CHECK_CALL(munmap(o->start, o->length));
        o->start = NULL;
}

static void closes(struct opened *o) {
        CHECK(o->is);
        unmap(o);
        close(o->fd);
        o->is = false;
}

/* As much as the file has: a mapping of huge pages that goes beyond would make it larger. */
static void map(struct opened *o, uint64_t size) {
        if (o->start && o->length == size)
                return;
        unmap(o);
        o->length = size;
        o->start = mmap(NULL, size, o->writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, o->fd, 0);
        CHECK(o->start != MAP_FAILED);
}

/* Again if the file is just being changed: by what the case has seen the end of, so not for long. */
static void registers(const struct puppet_order *order) {
        struct opened *o = p.files + order->file;
        struct pl_register request = order->request;
        uint64_t end = pl_now_ms() + PATIENCE_MS;
        struct pl_packet packet, reply;

        CHECK(o->is && p.n_held < PUPPET_LIVE);
        map(o, order->size);
        request.context = p.f.context;
        request.pd = p.f.rdma.pd->handle;
        request.address = (uintptr_t)o->start + request.offset;
        do {
                CHECK_CALL(madvise(o->start + request.offset,
                                   request.length,
                                   o->writable ? 23 /* MADV_POPULATE_WRITE */ : 22 /* MADV_POPULATE_READ */));
                pl_packet_init(&packet, PL_OP_REGISTER, 0);
                packet.body.reg = request;
                if (!call(&packet, o->fd, &reply))
                        return;
                p.answer.value = reply.header.opcode == PL_OP_REFUSED ? reply.body.refused.code : PINLEASE_CODE_NONE;
        } while ((p.answer.value == PINLEASE_CODE_CHANGING || p.answer.value == PINLEASE_CODE_CHANGED) &&
                 pl_now_ms() < end && nanosleep(&(struct timespec) { .tv_nsec = 10 * 1000 * 1000 }, NULL) == 0);
        if (p.answer.value != PINLEASE_CODE_NONE)
                return;
        p.answer.reply = reply.body.register_reply;
        p.held[p.n_held++] = (struct held) {
                .id = p.answer.reply.id,
                .offset = request.offset,
                .length = request.length,
                .iova = p.answer.reply.iova,
                .rkey = p.answer.reply.rkey,
                .file = order->file,
                .writable = request.access & IBV_ACCESS_REMOTE_WRITE,
        };
}

static enum ibv_wc_status prove_piece(const struct held *held, uint64_t at, uint64_t length, uint64_t seed) {
        const struct opened *o = p.files + held->file;
        const uint8_t *memory = o->start + held->offset + at;

        CHECK(o->is && o->start && held->offset + held->length <= o->length);
        if (held->writable)
                return rdma_try_transfer(&p.f.rdma, held->iova + at, held->rkey, memory, length, seed);
        return rdma_compare(&p.f.rdma, held->iova + at, held->rkey, memory, length);
}

/*
 * Does the device reach the pages that the file has? What is written by RDMA is looked for in a mapping of the file: if
 * the file has lost the page there is another one in it, which the mapping finds. That asks the memory region itself,
 * where page numbers of /proc/PID/pagemap would only say what the registrar's mapping had when it was registered. What
 * may only be read is compared: its pages are told apart by what they contain, and are equal if both are zero.
 */
static void proves(uint64_t seed) {
        for (unsigned int i = 0; i < p.n_held; i++) {
                const struct held *held = p.held + i;
                uint64_t step = held->length % HUGE == 0 ? HUGE : held->length;

                for (uint64_t at = 0; at < held->length; at += step) {
                        enum ibv_wc_status status =
                                prove_piece(held, at, step == HUGE ? SAMPLE : step, seed + at + 7919 * i);

                        if (status == IBV_WC_SUCCESS)
                                continue;
                        p.answer.value = status;
                        p.answer.id = held->id;
                        rdma_reconnect(&p.f.rdma);
                        return;
                }
        }
}

static void meddles(int fd, uint64_t way) {
        switch (way) {
        case 0:
                (void)fcntl(fd, F_SETLEASE, F_UNLCK);
                return;
        case 1:
                (void)fcntl(fd, F_SETOWN, getpid());
                return;
        default:
                (void)fcntl(fd, F_SETSIG, 0);
        }
}

static void connects(void) {
        if (!p.ended)
                raw_close(&p.f.raw);
        else
                close(p.f.raw.sock);
        p.n_held = 0;
        p.f.raw = raw_open(p.self->path);
        p.f.context = raw_attach(&p.f.raw, p.f.rdma.context->cmd_fd);
        p.ended = false;
        p.answer.n_events = 0;
}

static void obey(const struct puppet_order *order, int fd) {
        struct opened *o = p.files + order->file;

        switch (order->word) {
        case PUPPET_OPENS:
                opens(order, fd);
                break;
        case PUPPET_CLOSES:
                closes(o);
                break;
        case PUPPET_REGISTERS:
                registers(order);
                break;
        case PUPPET_DEREGISTERS:
        case PUPPET_RELEASES:
                give_back(order->id, order->word == PUPPET_RELEASES, false);
                break;
        case PUPPET_BEHAVES:
                p.conduct = order->conduct;
                break;
        case PUPPET_PROVES:
                proves(order->seed);
                break;
        case PUPPET_TRUNCATES:
                CHECK_CALL(ftruncate(o->fd, (off_t)order->size));
                break;
        case PUPPET_PUNCHES:
                CHECK_CALL(fallocate(o->fd,
                                     FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                     (off_t)order->request.offset,
                                     (off_t)order->request.length));
                break;
        case PUPPET_MEDDLES:
                meddles(o->fd, order->size);
                break;
        case PUPPET_CONNECTS:
                connects();
                break;
        case PUPPET_TELLS_EVENTS:
                break;
        }
}

/* --- its life --- */

/* False: nobody is there to tell anything any more. */
static bool hear(int channel, struct puppet_order *ret_order, int *ret_fd) {
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(sizeof(int))];
        } control = { 0 };
        struct iovec iov = { .iov_base = ret_order, .iov_len = sizeof *ret_order };
        struct msghdr message = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control
        };

        if (recvmsg(channel, &message, MSG_CMSG_CLOEXEC) != sizeof *ret_order)
                return false;
        *ret_fd = -1;
        if (message.msg_controllen > 0)
                memcpy(ret_fd, CMSG_DATA(&control.header), sizeof *ret_fd);
        return true;
}

static void answer(int channel, bool with_events) {
        unsigned int n = p.answer.n_events;

        p.answer.buffer_rkey = p.f.rdma.buffer_mr->rkey;
        if (!with_events)
                p.answer.n_events = 0;
        CHECK_EQUAL(send(channel, &p.answer, sizeof p.answer, MSG_NOSIGNAL), sizeof p.answer);
        p.answer.n_events = with_events ? 0 : n;
        p.answer.value = p.answer.id = 0;
}

static void serve_session(void) {
        struct pl_packet packet;

        if (raw_recv_any(&p.f.raw, &packet) < 0)
                lose_session();
        else
                take(&packet);
        react();
}

static void run(int channel, const void *argument) {
        p.self = argument;
        if (p.self->user)
                become(p.self->user);
        /* What it asks for when it redirects the signals of a lease. */
        (void)signal(SIGIO, SIG_IGN);
        for (int signo = SIGRTMIN; signo <= SIGRTMAX; signo++)
                (void)signal(signo, SIG_IGN);
        p.f = fixture_open(p.self->path);
        rdma_connect(&p.f.rdma);
        answer(channel, false);
        for (;;) {
                struct pollfd fds[] = { { .fd = channel, .events = POLLIN },
                                        { .fd = p.ended ? -1 : p.f.raw.sock, .events = POLLIN } };
                struct puppet_order order;
                int fd;

                CHECK_CALL(poll(fds, ELEMENTSOF(fds), -1));
                if (fds[1].revents)
                        serve_session();
                if (!fds[0].revents)
                        continue;
                if (!hear(channel, &order, &fd))
                        break;
                obey(&order, fd);
                react();
                answer(channel, order.word == PUPPET_TELLS_EVENTS);
        }
        if (!p.ended)
                raw_close(&p.f.raw);
        rdma_close(&p.f.rdma);
}

struct app puppet_start(const struct puppet *puppet) {
        struct app app = app_start(run, puppet);

        (void)puppet_answer(&app);
        return app;
}

void puppet_tell(const struct app *app, const struct puppet_order *order, int fd) {
        const struct raw channel = { .sock = app->channel };

        CHECK_EQUAL(raw_send(&channel, order, sizeof *order, &fd, fd >= 0), 0);
}

struct puppet_answer puppet_answer(const struct app *app) {
        struct puppet_answer answer;

        await_packet(app->channel, "the answer of an app", &answer, sizeof answer);
        return answer;
}

struct puppet_answer puppet_ask(const struct app *app, const struct puppet_order *order, int fd) {
        puppet_tell(app, order, fd);
        return puppet_answer(app);
}
