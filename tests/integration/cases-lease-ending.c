/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Who waits to change a file goes on, however the session ends that has registered it; and what is no change of it. */

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#include "calls.h"
#include "chance.h"
#include "ctl.h"
#include "instance.h"
#include "mrs.h"
#include "process.h"
#include "service.h"
#include "subject.h"

/* Long before lease-break-time, 45 s, after which the kernel does not wait any longer. */
#define BOUND_MS 20000

/* --- the registrar --- */

/* Stands still, and does not even know that somebody waits. Nothing else is asked of it. */
static void run_registrar_stopped(const void *argument) {
        struct subject s = subject_new("/mnt/ext4-dax", NULL);
        struct session session = session_of(getpid());
        uint64_t began = pl_now_ms();
        struct app breaker;

        if (argument) {
                breaker = subject_breaker(subject_truncates, s.path);
                (void)subject_expect_revoking(&s);
        }
        CHECK_CALL(pidfd_send_signal(session.registrar_fd, SIGSTOP, NULL, 0));
        if (!argument)
                breaker = subject_breaker(subject_truncates, s.path);
        await_readable(breaker.channel, "the truncation");
        await(breaker.channel);
        CHECK(pl_now_ms() - began < BOUND_MS);
        CHECK(!call_mr_is_there(s.f.rdma.context->cmd_fd, s.reply.handle));
        CHECK_EQUAL(subject_transfer(&s, 1), IBV_WC_REM_ACCESS_ERR);
        app_finish(&breaker);
        raw_expect_end(&s.f.raw);
        session_await_end(&session);
        subject_abandon(&s);
}

/* --- the app --- */

enum end { EXITS, EXECUTES, FORKS, CLOSES_DEVICE, CLOSES_SOCKET };

struct ending {
        enum end end;
        char path[64];
        struct memory memory;
        uint32_t rkey; /* of the registration, for who truncates the file */
};

/* What it leaves to its child, which does nothing: socket, command fd, file, mapping. */
static void leave_child(int channel) {
        if (CHECK_CALL(fork()) > 0)
                return;
        await_end(channel);
        _exit(0);
}

static void ends(int channel, const void *argument) {
        const struct ending *ending = argument;
        struct fixture f = fixture_open(NULL);
        struct pl_register_reply reply = fixture_register(&f, &ending->memory, PINLEASE_METHOD_ODP);

        subject_expect_lease(&reply);
        tell_value(channel, reply.rkey);
        (void)raw_expect_event(&f.raw, PL_OP_REVOKING);
        switch (ending->end) {
        case EXITS:
                return;
        case EXECUTES:
                /* The socket and all else closes on exec. */
                tell(channel);
                (void)execl("/bin/sleep", "sleep", "2", NULL);
                FAIL("exec: %m");
        case FORKS:
                leave_child(channel);
                return;
        case CLOSES_DEVICE:
                CHECK_EQUAL(ibv_close_device(f.rdma.context), 0);
                await_end(channel);
                return;
        case CLOSES_SOCKET:
                close(f.raw.sock);
                await_end(channel);
        }
}

#define MANY 256

/* What is registered is gone when this goes on. It has no descriptor of the app's device: that would be in the way of
 * its end. */
static void truncates_and_looks(int channel, const void *argument) {
        const struct ending *ending = argument;
        struct mr_entry entries[MANY];
        size_t n;

        tell(channel);
        CHECK_CALL(truncate(ending->path, SUBJECT_CUT));
        n = mrs_list("rxe_a", entries, MANY);
        CHECK(n <= MANY);
        for (size_t i = 0; i < n; i++)
                if (entries[i].rkey == ending->rkey)
                        FAIL("the file is truncated, and the registration is still there");
        tell(channel);
}

static void run_ending(const void *argument) {
        struct ending ending = { .end = (enum end)(uintptr_t)argument };
        struct session session;
        struct app app, breaker;
        uint64_t began;

        ending.memory = subject_file("/mnt/ext4-dax", ending.path, SUBJECT_LENGTH);
        app = app_start(ends, &ending);
        /* The description is the app's alone to close; the mapping that stays here is no open file of another program.
         */
        ending.rkey = (uint32_t)await_value(app.channel);
        session = session_of(app.pid);
        began = pl_now_ms();
        breaker = app_start(truncates_and_looks, &ending);
        await(breaker.channel);
        await(breaker.channel);
        CHECK_EQUAL(subject_size(ending.path), SUBJECT_CUT);
        CHECK(pl_now_ms() - began < BOUND_MS);
        app_finish(&breaker);
        app_hang_up(&app);
        app_finish(&app);
        session_await_end(&session);
        memory_free(&ending.memory);
        (void)unlink(ending.path);
}

/* --- the device --- */

/* One write of the device, waited for until it is done or there is something to be read. Returns false then, or when it
 * has failed. */
static bool writes(const struct rdma *rdma, const struct pl_register_reply *reply, struct pollfd *p) {
        struct ibv_sge sge = { .addr = (uintptr_t)rdma->buffer, .length = 4096, .lkey = rdma->buffer_mr->lkey };
        struct ibv_send_wr *bad, wr = {
                .sg_list = &sge,
                .num_sge = 1,
                .opcode = IBV_WR_RDMA_WRITE,
                .wr.rdma = { .remote_addr = reply->iova, .rkey = reply->rkey },
        };
        struct ibv_wc wc;
        int n = 0;

        if (ibv_post_send(rdma->active, &wr, &bad) != 0)
                return false;
        while (n == 0 && poll(p, 1, 0) == 0)
                n = ibv_poll_cq(rdma->cq, 1, &wc);
        return n > 0 && wc.status == IBV_WC_SUCCESS;
}

/* What a device that goes says of the last operations, if it says anything, is its own matter; of the session it is
 * known that it goes on, and that the registration is gone. */
static void has_device_removed(int channel, const void *argument) {
        const struct ending *ending = argument;
        struct fixture f = { .rdma = rdma_open("rxe_x") };
        struct pollfd p = { .fd = channel, .events = POLLIN };
        struct pl_register_reply reply;
        struct pl_packet event;

        f.raw = raw_open(NULL);
        f.context = raw_attach(&f.raw, f.rdma.context->cmd_fd);
        rdma_connect(&f.rdma);
        reply = fixture_register(&f, &ending->memory, PINLEASE_METHOD_ODP);
        subject_expect_lease(&reply);
        rdma_transfer(&f.rdma, reply.iova, reply.rkey, ending->memory.start, SUBJECT_CUT, 1);
        tell(channel);
        while (writes(&f.rdma, &reply, &p))
                ;
        await(channel);
        event = raw_expect_event(&f.raw, PL_OP_REVOKING);
        CHECK_EQUAL(event.body.revoking.id, reply.id);
        event = raw_expect_event(&f.raw, PL_OP_REVOKED);
        CHECK_EQUAL(event.body.revoked.id, reply.id);
        raw_expect_event(&f.raw, PL_OP_SETTLED);
        raw_ping(&f.raw);
        raw_detach(&f.raw, f.context);
        raw_close(&f.raw);
}

static void run_device_removed(const void *argument _unused_) {
        struct ending ending = { 0 };
        struct app app, breaker;
        uint64_t began;

        /* rxe's ODP goes wrong with packets smaller than a page. */
        command("ip link add pl-x mtu 9000 type dummy && ip addr add 10.79.0.1/24 dev pl-x && ip link set pl-x up && "
                "rdma link add rxe_x type rxe netdev pl-x");
        ending.memory = subject_file("/mnt/ext4-dax", ending.path, SUBJECT_LENGTH);
        app = app_start(has_device_removed, &ending);
        await(app.channel);
        began = pl_now_ms();
        breaker = subject_breaker(subject_truncates, ending.path);
        command("rdma link delete rxe_x");
        await(breaker.channel);
        CHECK(pl_now_ms() - began < BOUND_MS);
        CHECK_EQUAL(subject_size(ending.path), SUBJECT_CUT);
        app_finish(&breaker);
        tell(app.channel);
        app_finish(&app);
        memory_free(&ending.memory);
        (void)unlink(ending.path);
        command("ip link delete pl-x");
}

/* --- no change --- */

/* Its name goes, or is another file's: the memory is still the app's. */
static void run_name_lost(const void *argument) {
        struct subject s = subject_new("/mnt/ext4-dax", NULL);
        const bool renamed = argument != NULL;
        char other[64];

        CHECK_EQUAL(subject_transfer(&s, 1), IBV_WC_SUCCESS);
        if (renamed) {
                close(memory_file("/mnt/ext4-dax", other, 4096));
                CHECK_CALL(rename(other, s.path));
        } else
                CHECK_CALL(unlink(s.path));
        CHECK_EQUAL(raw_expect_notice(&s.f.raw, PL_NOTICE_UNLINKED).body.notice.id, s.reply.id);
        CHECK_EQUAL(subject_transfer(&s, 2), IBV_WC_SUCCESS);
        CHECK(call_mr_is_there(s.f.rdma.context->cmd_fd, s.reply.handle));
        raw_ping(&s.f.raw);
        raw_deregister(&s.f.raw, s.reply.id);
        subject_free(&s);
}

/* --- before an unmount --- */

#define MOUNTED "/run/pl-lease-mount"

static void uses_mount(int channel, const void *argument) {
        const struct memory *memory = argument;
        struct fixture f = fixture_open(NULL);
        struct pl_register_reply pinned, odp;
        uint64_t ids[2];

        pinned = fixture_register(&f, memory, PINLEASE_METHOD_PINNED);
        odp = fixture_register(&f, memory, PINLEASE_METHOD_ODP);
        tell(channel);
        for (unsigned int i = 0; i < 2; i++)
                ids[i] = raw_expect_event(&f.raw, PL_OP_REVOKING).body.revoking.id;
        CHECK((ids[0] == pinned.id && ids[1] == odp.id) || (ids[1] == pinned.id && ids[0] == odp.id));
        /* One it gives back, the other is taken away. */
        raw_release(&f.raw, ids[0]);
        CHECK_EQUAL(raw_expect_event(&f.raw, PL_OP_REVOKED).body.revoked.id, ids[1]);
        CHECK(!call_mr_is_there(f.rdma.context->cmd_fd, pinned.handle));
        CHECK(!call_mr_is_there(f.rdma.context->cmd_fd, odp.handle));
        /* What it has of the file by itself is its own matter. */
        CHECK_CALL(munmap(memory->start, memory->length));
        close(memory->fd);
        tell(channel);
        await(channel);
        raw_ping(&f.raw);
        fixture_close(&f);
}

static bool is_unmounted(const void *path) {
        return umount2(path, 0) == 0 || errno == EINVAL;
}

static void run_unmount(const void *argument _unused_) {
        struct app other = bystander_start(NULL), app;
        struct memory memory = { .length = SUBJECT_LENGTH };
        struct ctl_answer answer;
        char path[64];

        CHECK_CALL(mkdir(MOUNTED, 0755));
        CHECK_CALL(mount("none", MOUNTED, "tmpfs", 0, NULL));
        memory.fd = memory_file(MOUNTED, path, memory.length);
        subject_map(&memory);
        app = app_start(uses_mount, &memory);
        await(app.channel);
        memory_free(&memory);
        CHECK(umount2(MOUNTED, 0) < 0 && errno == EBUSY);

        answer = ctl_run(NULL, "release", "--mount", MOUNTED, "--grace", "500ms", NULL);
        ctl_expect(&answer, CTL_DONE);
        ctl_done(&answer);
        await(app.channel);
        if (!eventually(is_unmounted, MOUNTED))
                FAIL("cannot be unmounted: %m");
        tell(app.channel);
        app_finish(&app);
        CHECK_CALL(rmdir(MOUNTED));
        bystander_stop(&other);
}

/* --- while it is being registered --- */

#define TURNS 150

/* What the app shows to who truncates its file. */
struct shown {
        /* A number, one more for each registration that a lease guards, and below it its handle: from the answer to the
         * request until that to its end; 0: none. */
        _Atomic uint64_t region;
        _Atomic uint64_t n_looked; /* so often one was shown after a truncation */
        uint64_t n_before;         /* the app's: so often until it has left one */
};

struct pipeline {
        const char *path;
        int command_fd;
        struct shown *shown;
};

/*
 * What was registered is gone when this goes on. As long as the app shows the same, nothing else can have its handle;
 * and what is registered from now on cannot be as long as it was.
 */
static void look(const struct pipeline *pipeline) {
        uint64_t region = pipeline->shown->region;
        bool is_there;

        if (region == 0)
                return;
        is_there = call_mr_is_there(pipeline->command_fd, (uint32_t)region);
        if (pipeline->shown->region != region)
                return;
        if (is_there)
                FAIL("the file is truncated, and the registration is still there");
        pipeline->shown->n_looked++;
}

static void truncates_and_grows(int channel, const void *argument) {
        const struct pipeline *pipeline = argument;

        for (uint64_t round = 0; round_done(channel, round, 1); round++) {
                CHECK_CALL(truncate(pipeline->path, SUBJECT_CUT));
                look(pipeline);
                CHECK_CALL(truncate(pipeline->path, SUBJECT_LENGTH));
        }
}

/* The answer says that there is a lease. If the file has been cut off meanwhile, it has been waited for. */
static void expect_gone_if_cut(const struct pipeline *pipeline, uint32_t handle) {
        if (subject_size(pipeline->path) < SUBJECT_LENGTH && call_mr_is_there(pipeline->command_fd, handle))
                FAIL("the file was truncated, and the registration was still there");
}

/* Whatever comes: events are taken, and what is to be given back is given back. Returns the reply or refusal to the
 * request. */
static struct pl_packet converse(struct raw *raw, struct pl_packet *request, int fd, uint64_t *live) {
        struct pl_packet packet;

        request->header.seq = ++raw->seq;
        CHECK_EQUAL(raw_send(raw, request, request->header.length, &fd, fd >= 0), 0);
        for (;;) {
                CHECK_EQUAL(raw_recv(raw, &packet), 0);
                if (packet.header.seq == raw->seq)
                        return packet;
                CHECK_EQUAL(packet.header.seq, 0);
                if (packet.header.opcode == PL_OP_REVOKED && packet.body.revoked.id == *live)
                        *live = 0;
        }
}

/* Leaves one to be taken away, every now and then, so that it is looked for whatever the pace is. */
#define LEAVE_EVERY 50

static bool has_been_looked_for(const void *argument) {
        const struct shown *shown = argument;

        return shown->n_looked > shown->n_before;
}

static void run_in_the_pipeline(const void *argument) {
        static const char *const options[] = { "--grace", "200", NULL };
        struct instance instance = instance_start(options);
        unsigned int n_registered = 0, n_refused = 0, n_guarded = 0, turns = soak_rounds(TURNS, 10000);
        const uint32_t method = subject_method(argument);
        struct fixture f = fixture_open(instance.path);
        struct pipeline pipeline = { .command_fd = f.rdma.context->cmd_fd };
        struct memory memory;
        struct app breaker;
        char path[64];

        memory = subject_file(argument, path, SUBJECT_LENGTH);
        pipeline.path = path;
        pipeline.shown = mmap(NULL, sizeof *pipeline.shown, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        CHECK(pipeline.shown != MAP_FAILED);
        breaker = app_start(truncates_and_grows, &pipeline);
        await_rounds(&breaker, 1);
        while (n_registered < turns) {
                struct pl_packet packet, answer;
                uint64_t live = 0;
                uint32_t handle;

                pl_packet_init(&packet, PL_OP_REGISTER, 0);
                packet.body.reg = fixture_request(&f, &memory, method);
                /* What was cut off is to be there again for a pin, if it is the file's at all just now. */
                if (method == PINLEASE_METHOD_PINNED)
                        (void)madvise(memory.start, memory.length, 23 /* MADV_POPULATE_WRITE */);
                answer = converse(&f.raw, &packet, memory.fd, &live);
                if (answer.header.opcode == PL_OP_REFUSED) {
                        enum pinlease_code code = (enum pinlease_code)answer.body.refused.code;

                        if (code != PINLEASE_CODE_CHANGING && code != PINLEASE_CODE_CHANGED &&
                            code != PINLEASE_CODE_BEYOND_END &&
                            (code != PINLEASE_CODE_NOT_RESIDENT || method != PINLEASE_METHOD_PINNED))
                                FAIL("refused: %s", answer.body.refused.sentence);
                        n_refused++;
                        continue;
                }
                live = answer.body.register_reply.id;
                handle = answer.body.register_reply.handle;
                n_registered++;
                if (pl_guards_held(answer.body.register_reply.guards) & PINLEASE_GUARD_LEASE) {
                        pipeline.shown->region = (uint64_t)n_registered << 32 | handle;
                        expect_gone_if_cut(&pipeline, handle);
                        if (n_guarded++ % LEAVE_EVERY == 0) {
                                pipeline.shown->n_before = pipeline.shown->n_looked;
                                CHECK(eventually(has_been_looked_for, pipeline.shown));
                        }
                }
                pl_packet_init(&packet, n_registered % 2 ? PL_OP_RELEASE : PL_OP_DEREGISTER, 0);
                packet.body.release.id = live;
                answer = converse(&f.raw, &packet, -1, &live);
                if (answer.header.opcode == PL_OP_REFUSED && live != 0)
                        FAIL("not given back: %s", answer.body.refused.sentence);
                if (call_mr_is_there(f.rdma.context->cmd_fd, handle))
                        FAIL("given back, and still there");
                pipeline.shown->region = 0;
        }
        await_rounds(&breaker, 1);
        app_hang_up(&breaker);
        app_finish(&breaker);
        (void)printf("%u times refused, %u times with a lease, %u times looked for after a truncation\n",
                     n_refused,
                     n_guarded,
                     (unsigned int)pipeline.shown->n_looked);
        (void)fflush(stdout);
        CHECK(n_refused > 0 && n_guarded > 0 && pipeline.shown->n_looked > 0);
        CHECK_CALL(munmap(pipeline.shown, sizeof *pipeline.shown));
        (void)unlink(path);
        memory_free(&memory);
        fixture_close(&f);
        instance_stop(&instance);
}

const struct test_case cases_lease_ending[] = {
        { "lease: the registrar stands still when somebody comes", run_registrar_stopped, NULL, 0 },
        { "lease: the registrar stands still while somebody waits", run_registrar_stopped, "", 0 },
        { "lease: the app exits", run_ending, (const void *)EXITS, 0 },
        { "lease: the app executes another program", run_ending, (const void *)EXECUTES, 0 },
        { "lease: the app exits, its child has all it had", run_ending, (const void *)FORKS, 0 },
        { "lease: the app closes its device", run_ending, (const void *)CLOSES_DEVICE, 0 },
        { "lease: the app closes its socket", run_ending, (const void *)CLOSES_SOCKET, 0 },
        { "lease: the device is removed under traffic", run_device_removed, NULL, 0 },
        { "lease: unlink", run_name_lost, NULL, 0 },
        { "lease: another file takes its name", run_name_lost, "", 0 },
        { "lease: release before an unmount", run_unmount, NULL, 0 },
        { "lease: broken while it is being registered, ext4-dax",
          run_in_the_pipeline,
          "/mnt/ext4-dax",
          CASE_SHARED | CASE_LONG },
        { "lease: broken while it is being registered, xfs-dax",
          run_in_the_pipeline,
          "/mnt/xfs-dax",
          CASE_SHARED | CASE_LONG },
        { "lease: broken while it is being registered, xfs",
          run_in_the_pipeline,
          "/mnt/xfs",
          CASE_SHARED | CASE_LONG },
        { "lease: broken while it is being registered, tmpfs, pinned",
          run_in_the_pipeline,
          "/mnt/tmpfs",
          CASE_SHARED | CASE_LONG },
        { 0 },
};
