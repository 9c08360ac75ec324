/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "traffic.h"

#include <grp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "chance.h"
#include "fixture.h"
#include "pinlease/pinlease.h"

#define PAGE UINT64_C(4096)

/* Of what lasts, so much is transferred each round. */
#define STRETCH PAGE

/* Between rounds: several apps at full speed keep the emulated machine busy, and nobody else gets anywhere. */
#define PACE_MS 100

static void one_round(struct fixture *f,
                      const struct memory *memory,
                      const struct pl_register_reply lasting[TRAFFIC_LASTING],
                      uint64_t *state) {
        struct pl_register request = fixture_request(
                f, memory, chance(state) % 2 ? PINLEASE_METHOD_PINNED : PINLEASE_METHOD_ODP);
        uint64_t at = chance(state) % 512 * STRETCH;
        struct pl_register_reply r;

        for (unsigned int i = 0; i < TRAFFIC_LASTING; i++)
                rdma_transfer(&f->rdma, lasting[i].iova + at, lasting[i].rkey, memory->start + at, STRETCH, chance(state));

        request.offset = at;
        request.address += at;
        request.length = STRETCH;
        r = raw_register(&f->raw, &request, memory->fd);
        rdma_transfer(&f->rdma, r.iova, r.rkey, memory->start + at, STRETCH, chance(state));
        raw_ping(&f->raw);
        raw_deregister(&f->raw, r.id);
}

/* Rounds, until the channel ends; a word is a question: how many? */
static void traffic_app(int channel, const void *argument) {
        const struct traffic *t = argument;
        struct pl_register_reply lasting[TRAFFIC_LASTING];
        struct memory memory;
        struct fixture f;
        uint64_t state = t->seed;

        enter_host("hosta");
        if (t->user)
                become(t->user);
        f = fixture_open(t->path);
        memory = memory_new(MEMORY_MEMFD, TRAFFIC_PINNED);
        rdma_connect(&f.rdma);
        lasting[0] = fixture_register(&f, &memory, PINLEASE_METHOD_PINNED);
        lasting[1] = fixture_register(&f, &memory, PINLEASE_METHOD_ODP);
        tell(channel);

        /* The pause leaves the processor to those whom it watches. */
        for (uint64_t round = 0; round == 0 || round_done(channel, round, PACE_MS); round++)
                one_round(&f, &memory, lasting, &state);

        /* Nobody has told it to let go. */
        CHECK(poll(&(struct pollfd) { .fd = f.raw.sock, .events = POLLIN }, 1, 0) == 0);
        memory_free(&memory);
        fixture_close(&f);
}

struct app traffic_start(const struct traffic *traffic) {
        struct app app = app_start(traffic_app, traffic);

        await(app.channel);
        return app;
}

void traffic_proves(struct app *app) {
        await_rounds(app, 1);
}

void traffic_stop(struct app *app) {
        traffic_proves(app);
        app_hang_up(app);
        app_finish(app);
}

/* --- newcomers --- */

static void newcomer_app(int channel, const void *argument _unused_) {
        const struct group *group = getgrnam("pinlease");
        uint64_t word;

        CHECK(group);
        CHECK_CALL(setgroups(0, NULL));
        CHECK_CALL(setresgid(group->gr_gid, group->gr_gid, group->gr_gid));
        CHECK_CALL(setresuid(NEWCOMER_UID, NEWCOMER_UID, NEWCOMER_UID));
        while (recv(channel, &word, sizeof word, 0) > 0) {
                struct pinlease *p;

                if (pinlease_connect(NULL, NULL, NULL, &p) < 0)
                        FAIL("not served: %s", pinlease_refusal(NULL)->sentence);
                if (pinlease_ping(p) < 0)
                        FAIL("not served any more: %s", pinlease_refusal(p)->sentence);
                pinlease_disconnect(p);
                tell(channel);
        }
}

struct app newcomer_start(void) {
        return app_start(newcomer_app, NULL);
}

void newcomer_connect(struct app *app) {
        tell(app->channel);
}

void newcomer_served(struct app *app) {
        await(app->channel);
}

void newcomer_stop(struct app *app) {
        app_hang_up(app);
        app_finish(app);
}
