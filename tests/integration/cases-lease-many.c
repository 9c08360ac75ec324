/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* Many breaks, and many registrations. */

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "calls.h"
#include "chance.h"
#include "instance.h"
#include "proc.h"
#include "process.h"
#include "subject.h"

#define PAGE 4096

/* --- breaks in a row --- */

/* So many files are truncated at the same time: more signals than may be queued. */
#define N_FILES 4

/* The app lets go of none. */
#define FORCED_EVERY 50
/* The bell is stopped until all have begun to wait. */
#define STOPPED_EVERY 10

struct file {
        char path[64];
        int command_fd;
        struct memory memory;
        struct pl_register_reply reply;
        struct app breaker;
        uint64_t size;
        unsigned int n_revoking, n_gone, n_settled;
};

/* Whatever the registration was, it is gone when the truncation is over: nothing else has this handle until it is told.
 */
static void truncates_often(int channel, const void *argument) {
        const struct file *file = argument;

        for (;;) {
                uint64_t handle = await_value(channel), size;

                if (handle == UINT64_MAX)
                        return;
                size = await_value(channel);
                CHECK_CALL(truncate(file->path, (off_t)size));
                if (call_mr_is_there(file->command_fd, (uint32_t)handle))
                        FAIL("the file is truncated, and the registration is still there");
                tell(channel);
        }
}

struct search {
        pid_t keeper, found;
};

static void match_bell(pid_t pid, void *userdata) {
        struct search *search = userdata;
        char value[32];

        if (process_status(pid, "PPid", value, sizeof value) && atoi(value) == search->keeper &&
            process_fds(pid, "signalfd") > 0 && process_status(pid, "Uid", value, sizeof value) &&
            strtoul(value, NULL, 10) == 0)
                search->found = pid;
}

static pid_t bell_of(const struct session *session) {
        struct search search = { .keeper = session->keeper };

        CHECK(proc_each(match_bell, &search));
        CHECK(search.found > 0);
        return search.found;
}

static void allow_one_signal(pid_t pid) {
        const struct rlimit one = { .rlim_cur = 1, .rlim_max = 1 };

        CHECK_CALL(prlimit(pid, RLIMIT_SIGPENDING, &one, NULL));
}

static struct file *file_of(struct file *files, uint64_t id) {
        for (unsigned int i = 0; i < N_FILES; i++)
                if (files[i].reply.id == id)
                        return files + i;
        FAIL("an event of an unknown registration");
}

/* The next packet, whichever. */
static void take(struct raw *raw, struct file *files) {
        struct pl_packet packet;
        struct file *file;

        CHECK_EQUAL(raw_recv(raw, &packet), 0);
        switch (packet.header.opcode) {
        case PL_OP_REVOKING:
                file = file_of(files, packet.body.revoking.id);
                CHECK_EQUAL(packet.body.revoking.reason, PL_REVOKED_LAYOUT_CHANGE);
                file->n_revoking++;
                break;
        case PL_OP_REVOKED:
                file = file_of(files, packet.body.revoked.id);
                file->n_gone++;
                break;
        case PL_OP_SETTLED:
                file = file_of(files, packet.body.settled.id);
                CHECK_EQUAL(packet.body.settled.size, file->size);
                file->n_settled++;
                break;
        case PL_OP_REPLY | PL_OP_RELEASE:
                for (file = files; file->n_gone > 0 || file->n_revoking == 0; file++)
                        ;
                file->n_gone++;
                break;
        default:
                FAIL("%s came", pl_opcode_name(packet.header.opcode));
        }
}

static void release_soon(struct raw *raw, uint64_t id) {
        struct pl_packet packet;

        pl_packet_init(&packet, PL_OP_RELEASE, ++raw->seq);
        packet.body.release.id = id;
        CHECK_EQUAL(raw_send(raw, &packet, packet.header.length, NULL, 0), 0);
}

static void break_all(struct fixture *f, struct file *files, pid_t bell, unsigned int round) {
        bool stopped = round % STOPPED_EVERY == 1, forced = round % FORCED_EVERY == FORCED_EVERY - 1;

        if (stopped)
                CHECK_CALL(kill(bell, SIGSTOP));
        for (unsigned int i = 0; i < N_FILES; i++) {
                files[i].size = round % 2 ? SUBJECT_CUT : SUBJECT_LENGTH;
                files[i].n_revoking = files[i].n_gone = files[i].n_settled = 0;
                tell_value(files[i].breaker.channel, files[i].reply.handle);
                tell_value(files[i].breaker.channel, files[i].size);
        }
        if (stopped) {
                /* They have got as far as they get. */
                (void)nanosleep(&(struct timespec) { .tv_nsec = 20 * 1000 * 1000 }, NULL);
                CHECK_CALL(kill(bell, SIGCONT));
        }
        for (unsigned int i = 0; i < N_FILES; i++)
                while (files[i].n_revoking == 0)
                        take(&f->raw, files);
        for (unsigned int i = 0; i < N_FILES && !forced; i++) {
                CHECK_EQUAL(subject_size(files[i].path), round % 2 ? SUBJECT_LENGTH : SUBJECT_CUT);
                release_soon(&f->raw, files[i].reply.id);
        }
        for (unsigned int i = 0; i < N_FILES; i++) {
                while (files[i].n_gone == 0 || files[i].n_settled == 0)
                        take(&f->raw, files);
                CHECK_EQUAL(files[i].n_revoking, 1);
                CHECK_EQUAL(files[i].n_gone, 1);
                await(files[i].breaker.channel);
                CHECK_EQUAL(subject_size(files[i].path), files[i].size);
        }
}

static void run_in_a_row(const void *argument) {
        static const char *const options[] = { "--grace", "700", NULL };
        unsigned int n = soak_rounds(1000, 10000) / N_FILES;
        struct instance instance = instance_start(options);
        struct fixture f = fixture_open(instance.path);
        struct file files[N_FILES] = { 0 };
        struct session session = { 0 };
        pid_t bell = 0;

        for (unsigned int i = 0; i < N_FILES; i++) {
                files[i].memory = subject_file(argument, files[i].path, SUBJECT_LENGTH);
                files[i].memory.length = SUBJECT_CUT;
                files[i].command_fd = f.rdma.context->cmd_fd;
                files[i].breaker = app_start(truncates_often, files + i);
        }
        for (unsigned int round = 1; round <= n; round++) {
                for (unsigned int i = 0; i < N_FILES; i++) {
                        files[i].reply = fixture_register(&f, &files[i].memory, subject_method(argument));
                        subject_expect_lease(&files[i].reply);
                }
                if (round == 1) {
                        session = session_of(getpid());
                        bell = bell_of(&session);
                        allow_one_signal(bell);
                        allow_one_signal(session.registrar);
                }
                break_all(&f, files, bell, round);
        }
        CHECK_EQUAL(session_of(getpid()).registrar, session.registrar);
        for (unsigned int i = 0; i < N_FILES; i++) {
                tell_value(files[i].breaker.channel, UINT64_MAX);
                app_finish(&files[i].breaker);
                files[i].memory.length = SUBJECT_LENGTH;
                memory_free(&files[i].memory);
                (void)unlink(files[i].path);
        }
        fixture_close(&f);
        instance_stop(&instance);
}

/* --- registrations of one file --- */

#define N_MANY 1000

static struct pl_register_reply many[N_MANY];

static int many_command_fd;

static void truncates_many(int channel, const void *path) {
        subject_truncates(channel, path);
        for (unsigned int i = 0; i < N_MANY; i++)
                if (call_mr_is_there(many_command_fd, many[i].handle))
                        FAIL("the file is truncated, and registration %u is still there", i);
}

static unsigned int index_of(uint64_t id) {
        for (unsigned int i = 0; i < N_MANY; i++)
                if (many[i].id == id)
                        return i;
        FAIL("an event of an unknown registration");
}

/* Each page of a file, by itself; and nobody goes on until the last is gone. */
static void run_many(const void *argument) {
        const bool forced = argument != NULL;
        const char *const options[] = { "--grace", forced ? "2000" : "15000", NULL };
        struct instance instance = instance_start(options);
        unsigned int n_revoking = 0, n_gone = 0, n_settled = 0;
        bool asked[N_MANY] = { false }, waits = false;
        uint64_t queue[N_MANY];
        struct memory memory;
        struct app breaker;
        struct fixture f;
        char path[64];

        f = fixture_open(instance.path);
        memory = subject_file("/mnt/ext4-dax", path, N_MANY * PAGE);
        for (unsigned int i = 0; i < N_MANY; i++) {
                struct pl_register request = fixture_request(&f, &memory, PINLEASE_METHOD_ODP);

                request.offset = i * PAGE;
                request.address += request.offset;
                request.length = PAGE;
                many[i] = raw_register(&f.raw, &request, memory.fd);
                subject_expect_lease(many + i);
        }
        many_command_fd = f.rdma.context->cmd_fd;
        breaker = subject_breaker(truncates_many, path);
        while (n_revoking < N_MANY || n_gone < N_MANY || n_settled < N_MANY) {
                struct pl_packet packet;

                if (!forced && n_revoking < N_MANY)
                        CHECK_EQUAL(subject_size(path), N_MANY * PAGE);
                CHECK_EQUAL(raw_recv(&f.raw, &packet), 0);
                switch (packet.header.opcode) {
                case PL_OP_REVOKING: {
                        unsigned int i = index_of(packet.body.revoking.id);

                        CHECK(!asked[i]);
                        CHECK_EQUAL(packet.body.revoking.offset, i * PAGE);
                        CHECK_EQUAL(packet.body.revoking.length, PAGE);
                        asked[i] = true;
                        n_revoking++;
                        queue[n_revoking - 1] = many[i].id;
                        break;
                }
                case PL_OP_REVOKED:
                        CHECK(forced);
                        CHECK(asked[index_of(packet.body.revoked.id)]);
                        n_gone++;
                        break;
                case PL_OP_REPLY | PL_OP_RELEASE:
                        n_gone++;
                        waits = false;
                        break;
                case PL_OP_SETTLED:
                        CHECK_EQUAL(packet.body.settled.size, SUBJECT_CUT);
                        n_settled++;
                        break;
                default:
                        FAIL("%s came", pl_opcode_name(packet.header.opcode));
                }
                /* One by one: who sends and does not read may wait for ever. */
                if (!forced && !waits && n_gone < n_revoking) {
                        release_soon(&f.raw, queue[n_gone]);
                        waits = true;
                }
        }
        await(breaker.channel);
        app_finish(&breaker);
        raw_ping(&f.raw);
        memory_free(&memory);
        fixture_close(&f);
        (void)unlink(path);
        instance_stop(&instance);
}

const struct test_case cases_lease_many[] = {
        { "lease: breaks in a row, one signal may be queued, ext4-dax",
          run_in_a_row,
          "/mnt/ext4-dax",
          CASE_SHARED | CASE_LONG },
        { "lease: 1000 registrations of a file", run_many, NULL, CASE_SHARED | CASE_LONG },
        { "lease: 1000 registrations of a file, by force", run_many, "", CASE_SHARED | CASE_LONG },
        { 0 },
};
