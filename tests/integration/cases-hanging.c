/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Descriptors of a file server that does not answer: they block whoever closes them. The library does not send them; a
 * registrar that gets one gives everything up and ends, and what cannot end of it is an empty shell. */

#include <signal.h>
#include <sys/mman.h>
#include <sys/pidfd.h>

#include <pinlease/pinlease.h>

#include "fixture.h"
#include "fuse.h"
#include "harness.h"
#include "leftovers.h"
#include "process.h"
#include "wire.h"

#define PAGE 4096

struct packet_of_files {
        uint16_t opcode;
        unsigned int n_fds;
        enum pinlease_code code;
        bool mixed;   /* the last descriptor is a memfd */
        bool private; /* of a mount that is its owner's only */
};

static bool keeper_has_ended(const void *argument) {
        const struct session *session = argument;
        char state[64];

        return !process_status(session->keeper, "State", state, sizeof state) || state[0] == 'Z';
}

struct sender {
        const struct packet_of_files *what;
        struct fuse *fuse;
};

/* A process that has the files and, of the app, only the socket: gets that and the packet by the channel, sends it. */
static void sender(int channel, const void *argument) {
        const struct sender *s = argument;
        struct pl_received received;
        int fds[8];

        fuse_open(s->fuse);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                fds[i] = s->fuse->fd;
        if (s->what->mixed)
                fds[s->what->n_fds - 1] = CHECK_CALL(memfd_create("pl-test", MFD_CLOEXEC));

        await_readable(channel, "the socket");
        CHECK_EQUAL(pl_wire_recv(channel, 0, &received), 0);
        CHECK_EQUAL(received.n_fds, 1);
        CHECK_EQUAL(raw_send(&(struct raw) { .sock = received.fds[0] },
                             &received.packet,
                             received.packet.header.length,
                             fds,
                             s->what->n_fds),
                    0);
        close(received.fds[0]);
        await_end(channel);
        /* Its end hangs until the connection is aborted. */
}

static void run_hanging(const void *argument) {
        const struct packet_of_files *p = argument;
        struct fuse fuse = fuse_start(!p->private);
        /* Before there is a verbs context that it could inherit. */
        struct app files = app_start(sender, &(const struct sender) { p, &fuse });
        struct app other = bystander_start(NULL);
        struct fixture f = fixture_open(NULL);
        struct session session = session_of(getpid());
        struct memory memory = memory_new(MEMORY_MEMFD, 16 * PAGE);
        struct pl_register_reply pinned = fixture_register(&f, &memory, PINLEASE_METHOD_PINNED);
        struct pl_packet packet;

        (void)fixture_register(&f, &memory, PINLEASE_METHOD_ODP);
        rdma_connect(&f.rdma);
        rdma_transfer(&f.rdma, pinned.iova, pinned.rkey, memory.start, memory.length, 1);

        pl_packet_init(&packet, p->opcode, 99);
        if (p->opcode == PL_OP_REGISTER)
                packet.body.reg = fixture_request(&f, &memory, PINLEASE_METHOD_ANY);
        CHECK_EQUAL(raw_send(&(struct raw) { .sock = files.channel }, &packet, packet.header.length, &f.raw.sock, 1),
                    0);
        raw_expect_refusal(&f.raw, p->code);
        raw_expect_end(&f.raw);

        /* The kernel has taken the memory regions away. */
        CHECK_EQUAL(rdma_try_transfer(&f.rdma, pinned.iova, pinned.rkey, NULL, PAGE, 2), IBV_WC_REM_ACCESS_ERR);
        /* The keeper does not wait for ever. */
        if (!eventually(keeper_has_ended, &session))
                FAIL("the keeper is there still");

        /* The shell: nothing of the app's memory, no verbs context, nothing of the service's. */
        CHECK_EQUAL(process_maps(session.registrar, "pl-test"), 0);
        CHECK_EQUAL(process_maps(session.registrar, "pinlease-ledger"), 0);
        CHECK_EQUAL(process_fds(session.registrar, "/uverbs"), 0);
        CHECK_EQUAL(process_fds(session.registrar, "pl-test"), 0);
        CHECK_EQUAL(process_fds(session.registrar, "socket:"), 0);
        CHECK_EQUAL(process_count(PROCESS_WITH_LEDGER), 2); /* the bystander's two */
        bystander_proves(&other);

        /* So the app's context goes when the app lets it go. */
        memory_free(&memory);
        fixture_close(&f);
        bystander_stop(&other);
        {
                char text[512];

                leftovers_rdma("mr", text, sizeof text);
                if (text[0])
                        FAIL("left: %s", text);
                leftovers_rdma("ctx", text, sizeof text);
                if (text[0])
                        FAIL("left: %s", text);
                CHECK_EQUAL(leftovers_pinned(), 0);
        }

        app_hang_up(&files);
        fuse_abort(&fuse);
        app_finish(&files);
        await_readable(session.registrar_fd, "the shell to end when the connection is aborted");
}

/* The registrar hangs with the descriptor still in flight: it never received it, and nobody is held up. */
static void run_in_flight(const void *argument _unused_) {
        struct fixture f = fixture_open(NULL);
        struct session session = session_of(getpid());
        struct fuse fuse = fuse_start(true);
        struct pl_packet packet;

        fuse_open(&fuse);
        CHECK_CALL(pidfd_send_signal(session.registrar_fd, SIGSTOP, NULL, 0));
        pl_packet_init(&packet, PL_OP_REGISTER, 99);
        CHECK_EQUAL(raw_send(&f.raw, &packet, packet.header.length, &fuse.fd, 1), 0);
        CHECK_CALL(pidfd_send_signal(session.registrar_fd, SIGKILL, NULL, 0));
        session_await_end(&session);
        raw_expect_end(&f.raw);
        fuse_abort(&fuse);
        fixture_close(&f);
}

/* The library refuses in the app; the session goes on. */
static void run_library(const void *argument _unused_) {
        struct memory memory = memory_new(MEMORY_MEMFD, 4 * PAGE);
        struct rdma rdma = rdma_open("rxe_a");
        struct fuse fuse = fuse_start(true);
        struct pinlease_mr *mr;
        struct pinlease *p;

        fuse_open(&fuse);
        CHECK_EQUAL(pinlease_connect(NULL, NULL, NULL, &p), 0);
        CHECK_EQUAL(pinlease_reg_fd(p, rdma.pd, fuse.fd, 0, PAGE, memory.start, ACCESS_READ_WRITE, 0, &mr),
                    -EOPNOTSUPP);
        expect_code(pinlease_refusal(p)->code, PINLEASE_CODE_HANGING_FILE);
        CHECK_EQUAL(pinlease_ping(p), 0);
        CHECK_EQUAL(pinlease_reg_fd(p, rdma.pd, memory.fd, 0, PAGE, memory.start, ACCESS_READ_WRITE, 0, &mr), 0);
        CHECK_EQUAL(pinlease_dereg(p, mr), 0);
        (void)pinlease_disconnect(p);
        fuse_abort(&fuse);
        rdma_close(&rdma);
}

#define HANGING(...) run_hanging, &(const struct packet_of_files) { __VA_ARGS__ }, 0

const struct test_case cases_hanging[] = {
        { "hanging: FUSE at REGISTER", HANGING(PL_OP_REGISTER, 1, PINLEASE_CODE_HANGING_FILE, false, false) },
        { "hanging: FUSE of its owner's only, at REGISTER",
          HANGING(PL_OP_REGISTER, 1, PINLEASE_CODE_HANGING_FILE, false, true) },
        { "hanging: FUSE of its owner's only, at ATTACH",
          HANGING(PL_OP_ATTACH, 1, PINLEASE_CODE_HANGING_FILE, false, true) },
        { "hanging: FUSE at ATTACH", HANGING(PL_OP_ATTACH, 1, PINLEASE_CODE_HANGING_FILE, false, false) },
        { "hanging: four FUSE files in one packet", HANGING(PL_OP_REGISTER, 4, PINLEASE_CODE_BAD_FD_COUNT, false, false) },
        { "hanging: more FUSE files than fit", HANGING(PL_OP_PING, 8, PINLEASE_CODE_BAD_FD_COUNT, false, false) },
        { "hanging: a FUSE file and a memfd", HANGING(PL_OP_REGISTER, 2, PINLEASE_CODE_BAD_FD_COUNT, true, false) },
        { "hanging: FUSE in flight to a stopped registrar", run_in_flight, NULL, 0 },
        { "hanging: FUSE by the library", run_library, NULL, 0 },
        { 0 },
};
