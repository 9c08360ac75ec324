/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What sessions hold of what their user may have: handed out in chunks, given back, limited by the kernel as well. */

#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#include "chance.h"
#include "fixture.h"
#include "harness.h"
#include "instance.h"
#include "process.h"
#include "view.h"

#define PAGE UINT64_C(4096)
#define MIB  (UINT64_C(1) << 20)

/* daemon/credit.h */
#define INITIAL_PINNED        MIB
#define INITIAL_ODP           (16 * MIB)
#define INITIAL_REGISTRATIONS 16
#define CHUNK_PINNED          (16 * MIB)
#define CHUNK_ODP             (1024 * MIB)
#define CHUNK_REGISTRATIONS   256

static uint64_t pinned_by(pid_t pid) {
        char value[32];

        CHECK(process_status(pid, "VmPin", value, sizeof value));
        return strtoull(value, NULL, 10) << 10;
}

/* What the only session of this process holds, as three know it. */
static struct amount held(const struct instance *instance) {
        static struct view view;
        const struct view_session *session;
        const struct view_user *user;
        struct status status;

        view_list(instance->directory, &view);
        view_status(instance->directory, &status);
        session = view_of(&view, getpid());
        user = view_user(&status, getuid());
        CHECK(user && amount_equal(&user->credit, &session->credit));
        CHECK(amount_equal(&status.credit, &session->credit));
        CHECK_EQUAL(process_memlock(session->registrar), session->credit.pinned);
        CHECK_EQUAL(pinned_by(session->registrar), session->in_use.pinned);
        CHECK(session->in_use.pinned <= session->credit.pinned);
        return session->credit;
}

static void expect_held(const struct instance *instance, uint64_t pinned, uint64_t odp, uint64_t registrations) {
        struct amount is = held(instance), should = { pinned, odp, registrations };

        if (!amount_equal(&is, &should))
                FAIL("held are %s; should be %s", amount_text(&is), amount_text(&should));
}

static void run_chunks(const void *argument _unused_) {
        struct instance instance = instance_start(NULL);
        struct fixture f = fixture_open(instance.path);
        struct memory memory = memory_new(MEMORY_MEMFD, 24 * MIB);
        struct pl_register request = fixture_request(&f, &memory, PINLEASE_METHOD_PINNED);

        expect_held(&instance, INITIAL_PINNED, INITIAL_ODP, INITIAL_REGISTRATIONS);
        request.length = MIB;
        (void)raw_register(&f.raw, &request, memory.fd);
        expect_held(&instance, INITIAL_PINNED, INITIAL_ODP, INITIAL_REGISTRATIONS);
        request.length = PAGE;
        (void)raw_register(&f.raw, &request, memory.fd);
        expect_held(&instance, INITIAL_PINNED + CHUNK_PINNED, INITIAL_ODP, INITIAL_REGISTRATIONS);

        request.methods = PINLEASE_METHOD_ODP;
        request.length = 17 * MIB;
        (void)raw_register(&f.raw, &request, memory.fd);
        expect_held(&instance, INITIAL_PINNED + CHUNK_PINNED, INITIAL_ODP + CHUNK_ODP, INITIAL_REGISTRATIONS);

        request.length = PAGE;
        for (unsigned int i = 3; i <= INITIAL_REGISTRATIONS; i++)
                (void)raw_register(&f.raw, &request, memory.fd);
        expect_held(&instance,
                    INITIAL_PINNED + CHUNK_PINNED,
                    INITIAL_ODP + CHUNK_ODP,
                    INITIAL_REGISTRATIONS + CHUNK_REGISTRATIONS);

        fixture_close(&f);
        memory_free(&memory);
        view_expect_nothing(instance.directory);
        instance_stop(&instance);
}

/* More than a chunk of what is not used goes back when the session has been idle. */
static bool gave_back(const void *argument) {
        static struct view view;

        view_list(argument, &view);
        return view_of(&view, getpid())->credit.pinned == CHUNK_PINNED;
}

static void run_surplus(const void *argument _unused_) {
        struct instance instance = instance_start(NULL);
        struct fixture f = fixture_open(instance.path);
        struct memory memory = memory_new(MEMORY_MEMFD, 20 * MIB);
        struct pl_register_reply r = fixture_register(&f, &memory, PINLEASE_METHOD_PINNED);

        expect_held(&instance, 20 * MIB, INITIAL_ODP, INITIAL_REGISTRATIONS);
        raw_deregister(&f.raw, r.id);
        if (!eventually(gave_back, instance.directory))
                FAIL("an idle session gives nothing back");
        expect_held(&instance, CHUNK_PINNED, INITIAL_ODP, INITIAL_REGISTRATIONS);
        /* And has it again. */
        (void)fixture_register(&f, &memory, PINLEASE_METHOD_PINNED);
        expect_held(&instance, 2 * CHUNK_PINNED, INITIAL_ODP, INITIAL_REGISTRATIONS);
        fixture_close(&f);
        memory_free(&memory);
        instance_stop(&instance);
}

/* --- two sessions of one user --- */

struct limit {
        uint32_t method;
        enum pinlease_code code;
        const char *option, *value, *words; /* the refusal names limit and use */
        uint64_t first, second;             /* bytes, registered by either session: the second is too much */
};

static void second_session(int channel, const void *argument) {
        struct fixture f = fixture_open(argument);
        struct memory memory = memory_new(MEMORY_MEMFD, 20 * MIB);
        struct pl_register request = fixture_request(&f, &memory, PINLEASE_METHOD_PINNED);
        struct pl_packet packet, reply;

        tell(channel);
        for (;;) {
                request.methods = (uint16_t)await_value(channel);
                if (request.methods == 0)
                        break;
                request.length = await_value(channel);
                pl_packet_init(&packet, PL_OP_REGISTER, 0);
                packet.body.reg = request;
                tell_value(channel, raw_call(&f.raw, &packet, memory.fd, &reply));
                if (reply.header.opcode == PL_OP_REFUSED)
                        CHECK(send(channel, reply.body.refused.sentence, sizeof reply.body.refused.sentence, 0) > 0);
        }
        fixture_close(&f);
}

static enum pinlease_code ask_second(struct app *app, uint32_t method, uint64_t length, char *ret_sentence, size_t size) {
        enum pinlease_code code;

        tell_value(app->channel, method);
        tell_value(app->channel, length);
        code = (enum pinlease_code)await_value(app->channel);
        if (code != PINLEASE_CODE_NONE) {
                await_readable(app->channel, "the refusal's sentence");
                CHECK(recv(app->channel, ret_sentence, size, 0) > 0);
        }
        return code;
}

static bool is_alone(const void *argument) {
        struct status status;

        view_status(argument, &status);
        return status.sessions == 1;
}

static void run_user_limit(const void *argument) {
        const struct limit *l = argument;
        struct instance instance = instance_start((const char *const[]) { l->option, l->value, NULL });
        struct app app = app_start(second_session, instance.path);
        struct memory memory = memory_new(MEMORY_MEMFD, l->first);
        char sentence[PL_SENTENCE_MAX] = "";
        struct status status;
        struct fixture f;

        await(app.channel);
        f = fixture_open(instance.path);
        (void)fixture_register(&f, &memory, l->method);
        expect_code(ask_second(&app, l->method, l->second, sentence, sizeof sentence), l->code);
        if (!strstr(sentence, l->words))
                FAIL("the refusal does not say \"%s\": %s", l->words, sentence);
        view_status(instance.directory, &status);
        CHECK_EQUAL(status.sessions, 2);
        CHECK_EQUAL(status.n_users, 1);

        /* A successor counts the same. */
        instance_kill(&instance);
        instance_succeed(&instance, (const char *const[]) { l->option, l->value, NULL });
        expect_code(ask_second(&app, l->method, l->second, sentence, sizeof sentence), l->code);

        /* The first one's share is free when it has ended. */
        fixture_close(&f);
        if (!eventually(is_alone, instance.directory))
                FAIL("a session whose connection has ended is listed");
        expect_code(ask_second(&app, l->method, l->second, sentence, sizeof sentence), PINLEASE_CODE_NONE);
        tell_value(app.channel, 0);
        app_finish(&app);
        memory_free(&memory);
        view_expect_nothing(instance.directory);
        instance_stop(&instance);
}

static void run_user_registrations(const void *argument _unused_) {
        struct instance instance = instance_start((const char *const[]) { "--user-registration-limit", "20", NULL });
        struct app app = app_start(second_session, instance.path);
        struct memory memory = memory_new(MEMORY_MEMFD, PAGE);
        struct pl_register request;
        struct pl_packet packet, reply;
        struct fixture f;

        /* 16 are the first session's, 4 are left. */
        await(app.channel);
        f = fixture_open(instance.path);
        for (unsigned int i = 0; i < 4; i++)
                (void)fixture_register(&f, &memory, i % 2 ? PINLEASE_METHOD_PINNED : PINLEASE_METHOD_ODP);
        request = fixture_request(&f, &memory, PINLEASE_METHOD_PINNED);
        pl_packet_init(&packet, PL_OP_REGISTER, 0);
        packet.body.reg = request;
        expect_code(raw_call(&f.raw, &packet, memory.fd, &reply), PINLEASE_CODE_REGISTRATION_LIMIT);
        if (!strstr(reply.body.refused.sentence,
                    "20 registrations in all, and all of the user's sessions together hold 20; 1 more"))
                FAIL("%s", reply.body.refused.sentence);

        tell_value(app.channel, 0);
        app_finish(&app);
        if (!eventually(is_alone, instance.directory))
                FAIL("a session whose app has ended is listed");
        (void)raw_register(&f.raw, &request, memory.fd);
        fixture_close(&f);
        memory_free(&memory);
        view_expect_nothing(instance.directory);
        instance_stop(&instance);
}

/* --- pinleased is away when more is needed --- */

static void run_away(const void *argument _unused_) {
        struct instance instance = instance_start(NULL);
        struct fixture f = fixture_open(instance.path);
        struct memory memory = memory_new(MEMORY_MEMFD, 2 * MIB);
        struct pl_register request = fixture_request(&f, &memory, PINLEASE_METHOD_PINNED);
        struct pl_register_reply small, r;
        struct pl_packet packet, reply;

        rdma_connect(&f.rdma);
        instance_kill(&instance);

        /* Nobody need be asked. */
        request.length = MIB / 2;
        small = raw_register(&f.raw, &request, memory.fd);
        rdma_transfer(&f.rdma, small.iova, small.rkey, memory.start, 8 * PAGE, 1);

        request.length = 2 * MIB;
        pl_packet_init(&packet, PL_OP_REGISTER, ++f.raw.seq);
        packet.body.reg = request;
        CHECK_EQUAL(raw_send(&f.raw, &packet, packet.header.length, &memory.fd, 1), 0);
        rdma_transfer(&f.rdma, small.iova, small.rkey, memory.start, 8 * PAGE, 2);
        instance_succeed(&instance, NULL);

        CHECK_EQUAL(raw_recv(&f.raw, &reply), 0);
        if (reply.header.opcode == PL_OP_REFUSED)
                FAIL("refused: %s", reply.body.refused.sentence);
        CHECK_EQUAL(reply.header.seq, f.raw.seq);
        r = reply.body.register_reply;
        rdma_transfer(&f.rdma, r.iova, r.rkey, memory.start, 8 * PAGE, 3);
        expect_held(&instance, INITIAL_PINNED + CHUNK_PINNED, INITIAL_ODP, INITIAL_REGISTRATIONS);

        fixture_close(&f);
        memory_free(&memory);
        view_expect_nothing(instance.directory);
        instance_stop(&instance);
}

/* The same with the service, whose successor is systemd's to start; the question may reach either, or get lost between them. */
static void run_killed(const void *argument _unused_) {
        struct memory memory = memory_new(MEMORY_MEMFD, 2 * MIB);
        uint64_t state = chance_begin();

        for (unsigned int i = 0; i < (soak() ? 500 : 6); i++) {
                struct fixture f = fixture_open(NULL);
                struct pl_register request = fixture_request(&f, &memory, PINLEASE_METHOD_PINNED);
                struct pl_packet packet, reply;
                struct status status;

                view_status(NULL, &status);
                pl_packet_init(&packet, PL_OP_REGISTER, ++f.raw.seq);
                packet.body.reg = request;
                CHECK_EQUAL(raw_send(&f.raw, &packet, packet.header.length, &memory.fd, 1), 0);
                if (i % 2)
                        chance_wait(&state, 4);
                CHECK_CALL(kill(status.pid, SIGKILL));
                CHECK_EQUAL(raw_recv(&f.raw, &reply), 0);
                if (reply.header.opcode == PL_OP_REFUSED)
                        FAIL("refused: %s", reply.body.refused.sentence);
                raw_deregister(&f.raw, reply.body.register_reply.id);
                fixture_close(&f);
        }
        memory_free(&memory);
        view_expect_nothing(NULL);
}

/* What a session that comes late holds is not handed out to one that comes early. */
static void run_settling(const void *argument _unused_) {
        static const char *const options[] = { "--user-pin-limit", "18M", NULL };
        struct instance instance = instance_start(options);
        struct app app = app_start(second_session, instance.path);
        char sentence[PL_SENTENCE_MAX];
        struct session late;
        struct pollfd p = { .fd = app.channel, .events = POLLIN };
        struct memory memory = memory_new(MEMORY_MEMFD, 2 * MIB);
        struct fixture f;

        await(app.channel);
        f = fixture_open(instance.path);
        late = session_of(getpid());
        (void)fixture_register(&f, &memory, PINLEASE_METHOD_PINNED);

        CHECK_CALL(pidfd_send_signal(late.keeper_fd, SIGSTOP, NULL, 0));
        instance_kill(&instance);
        tell_value(app.channel, PINLEASE_METHOD_PINNED);
        tell_value(app.channel, 2 * MIB);
        instance_succeed_soon(&instance, options);
        /* The other keeper has asked long before this is over; if it has not, nothing is proved. */
        CHECK_EQUAL(poll(&p, 1, 1500), 0);
        CHECK_CALL(pidfd_send_signal(late.keeper_fd, SIGCONT, NULL, 0));
        expect_code((enum pinlease_code)await_value(app.channel), PINLEASE_CODE_PINNED_LIMIT);
        await_readable(app.channel, "the refusal's sentence");
        CHECK(recv(app.channel, sentence, sizeof sentence, 0) > 0);
        if (!strstr(sentence, "together hold 18874368"))
                FAIL("%s", sentence);

        tell_value(app.channel, 0);
        app_finish(&app);
        fixture_close(&f);
        memory_free(&memory);
        view_expect_nothing(instance.directory);
        instance_stop(&instance);
}

static const struct limit user_pinned = {
        PINLEASE_METHOD_PINNED,
        PINLEASE_CODE_PINNED_LIMIT,
        "--user-pin-limit",
        "4M",
        "This user may pin 4194304 bytes in all, and all of the user's sessions together hold 4194304; 1048576 more",
        3 * MIB,
        2 * MIB,
};

static const struct limit user_odp = {
        PINLEASE_METHOD_ODP,
        PINLEASE_CODE_ODP_LIMIT,
        "--user-odp-limit",
        "33M",
        "This user may register 34603008 bytes by ODP in all, and all of the user's sessions together hold 34603008; 1048576 more",
        17 * MIB,
        17 * MIB,
};

const struct test_case cases_credit[] = {
        { "credit: by chunks", run_chunks, NULL, 0 },
        { "credit: what is not used goes back", run_surplus, NULL, 0 },
        { "credit: a user's pinned bytes", run_user_limit, &user_pinned, 0 },
        { "credit: a user's ODP bytes", run_user_limit, &user_odp, 0 },
        { "credit: a user's registrations", run_user_registrations, NULL, 0 },
        { "credit: asked for as pinleased is killed", run_killed, NULL, CASE_LONG },
        { "credit: what late sessions hold is not handed out", run_settling, NULL, 0 },
        { "credit: asked for while pinleased is away", run_away, NULL, 0 },
        { 0 },
};
