/* SPDX-License-Identifier: LGPL-2.1-or-later */

/* What the apps do. */

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>

#include "fixture.h"
#include "lease-steps.h"
#include "ledgers.h"

/* Since when a guard that is not to be had has to be explained. */
#define QUIET_MS 20000

static bool is_open(unsigned int file, const struct lm_app *app) {
        return app->opened[file].description;
}

static bool is_own_to_change(unsigned int file, const struct lm_app *app) {
        return app->opened[file].description && app->opened[file].writable && the_world.m.files[file].size > 0;
}

static bool is_idle(unsigned int file, const struct lm_app *app) {
        return app->opened[file].description && lm_count(app, file) == 0;
}

/* --- apps: files --- */

/* Its own description, or that of the other app. */
static void open_file(struct lm_app *app, unsigned int file) {
        struct lm_app *other = world_other(&the_world, app);
        const struct lm_opened *theirs = other->opened + file;
        struct puppet_order order = { .word = PUPPET_OPENS, .file = file, .writable = !lease_one_in(7) };
        bool shared = theirs->description && (the_world.m.files[file].nameless || !lease_one_in(4));
        uint32_t regions[RIVAL_REGIONS];
        unsigned int n = world_regions(&the_world, file, regions);
        enum lm_lease lease = world_lease(&the_world, file);
        int fd = the_world.m.files[file].fd;

        if (shared && fd < 0) {
                int pidfd = CHECK_CALL(pidfd_open(other->app.pid, 0));

                fd = CHECK_CALL(pidfd_getfd(pidfd, theirs->fd, 0));
                close(pidfd);
        }
        if (fd >= 0)
                order.writable = shared ? theirs->writable : true;
        else
                /* It may have to wait for the other. */
                world_behave(other, lease_one_in(4) ? CONDUCT_IGNORES : CONDUCT_RELEASES);
        memcpy(order.path, the_world.m.files[file].path, sizeof order.path);
        world_says(&the_world,
                   "app %u opens file %u (%s)%s%s",
                   lease_number_of(app),
                   file,
                   lease_kind_of(file),
                   shared ? ", the other's" : "",
                   order.writable ? "" : ", read-only");
        app->opened[file].fd = (int)puppet_ask(&app->app, &order, fd).value;
        app->opened[file].description = shared ? theirs->description : ++the_world.m.last_description;
        app->opened[file].writable = order.writable;
        /* Two sessions of the file's owner may take the lease in the same moment, and then one takes it from the other:
         * ARCHITECTURE.md, "Known limits". */
        app->opened[file].spoiled = shared && (theirs->spoiled || (!app->puppet.user && !other->puppet.user));
        if (fd >= 0 && fd != the_world.m.files[file].fd)
                close(fd);
        if (fd < 0 && order.writable) {
                if (lease == LM_LEASE && world_regions_left(regions, n) > 0)
                        FAIL("it is open, and something is registered still");
                lm_expect_change(&the_world.m, file, lease, 0, 0);
        }
        world_settle(&the_world);
}

struct question {
        const struct lm_app *app;
        const struct lm_file *file;
};

static bool is_let_go(const void *argument) {
        const struct question *q = argument;

        return !ledgers_holds_file(q->app->registrar, q->file->device, q->file->inode) &&
               !ledgers_holds_file(q->app->keeper, q->file->device, q->file->inode);
}

/* And its session too, which waits a moment for another registration. */
static void close_file(struct lm_app *app, unsigned int file) {
        const struct puppet_order order = { .word = PUPPET_CLOSES, .file = file };
        const struct question q = { app, the_world.m.files + file };

        world_says(&the_world, "app %u closes file %u (%s)", lease_number_of(app), file, lease_kind_of(file));
        (void)puppet_ask(&app->app, &order, -1);
        app->opened[file] = (struct lm_opened) { 0 };
        if (!eventually(is_let_go, &q))
                FAIL("its session goes on to have it open");
}

void lease_step_close(void) {
        struct lm_app *app = lease_some_app();
        unsigned int file = lease_any_file(is_idle, app);

        if (file != LM_NONE)
                close_file(app, file);
}

/* --- apps: registrations --- */

void lease_step_give_back(void) {
        struct lm_app *app = lease_some_app();
        unsigned int first = (unsigned int)lease_upto(PUPPET_LIVE);
        struct puppet_order order = { .word = lease_one_in(3) ? PUPPET_RELEASES : PUPPET_DEREGISTERS };

        for (unsigned int i = 0; i < PUPPET_LIVE; i++) {
                struct lm_registration *r = app->registrations + (first + i) % PUPPET_LIVE;

                /* What may be taken back just now could be on its way. */
                if (r->state != LM_LIVE || r->may)
                        continue;
                world_says(&the_world,
                           "app %u gives back %" PRIu64 "+%" PRIu64 " of file %u (%s)",
                           lease_number_of(app),
                           r->offset,
                           r->length,
                           r->file,
                           lease_kind_of(r->file));
                order.id = r->reply.id;
                expect_code((enum pinlease_code)puppet_ask(&app->app, &order, -1).value, PINLEASE_CODE_NONE);
                lm_gone(&the_world.m, app, r);
                return;
        }
}

static struct lm_registration choose(const struct lm_app *app, unsigned int file, struct pl_register *request) {
        const struct lm_file *f = the_world.m.files + file;
        uint64_t units = f->size / f->unit, offset = lease_upto(units), most = units - offset;
        struct lm_registration r = { .file = file, .offset = offset * f->unit };
        bool pins = f->kind == MEMORY_TMPFS || f->kind == MEMORY_MEMFD || f->kind == MEMORY_HUGETLB;

        r.length = (1 + lease_upto(most < 8 ? most : 8)) * f->unit;
        r.method = pins && !lease_one_in(3) ? PINLEASE_METHOD_PINNED : PINLEASE_METHOD_ODP;
        *request = (struct pl_register) {
                .offset = r.offset,
                .length = r.length,
                .access = app->opened[file].writable && !lease_one_in(5) ? ACCESS_READ_WRITE : ACCESS_READ,
                .methods = (uint16_t)r.method,
                .guards = lease_one_in(8)   ? PINLEASE_GUARD_LEASE
                          : lease_one_in(8) ? PINLEASE_GUARD_MODIFY
                                            : 0,
        };
        return r;
}

static void register_it(struct lm_app *app, unsigned int file) {
        struct puppet_order order = { .word = PUPPET_REGISTERS, .file = file, .size = the_world.m.files[file].size };
        struct lm_registration r = choose(app, file, &order.request);
        struct puppet_answer answer;
        enum pinlease_code code;

        world_says(&the_world,
                   "app %u registers %" PRIu64 "+%" PRIu64 " of file %u (%s), %s%s, guards 0x%x",
                   lease_number_of(app),
                   r.offset,
                   r.length,
                   file,
                   lease_kind_of(file),
                   r.method == PINLEASE_METHOD_PINNED ? "pinned" : "by ODP",
                   order.request.access == ACCESS_READ ? ", to read" : "",
                   order.request.guards);
        answer = puppet_ask(&app->app, &order, -1);
        code = (enum pinlease_code)answer.value;
        if (code == PINLEASE_CODE_NO_GUARD) {
                bool had = order.request.guards == PINLEASE_GUARD_LEASE ? lm_can_have_lease(&the_world.m, app, file)
                                                                        : true;
                bool doubtful = app->opened[file].spoiled || lm_count(app, file) > 0 ||
                                lm_count(world_other(&the_world, app), file) > 0 ||
                                pl_now_ms() - the_world.m.files[file].changed < QUIET_MS ||
                                pl_now_ms() - the_world.m.files[file].idle < QUIET_MS;

                if (had && !doubtful)
                        FAIL("the guard is not to be had, why?");
                return;
        }
        if (code != PINLEASE_CODE_NONE)
                FAIL("\"%s\"", pl_code_name(code));
        if (order.request.guards & ~pl_guards_held(answer.reply.guards))
                FAIL("done without the guard");
        CHECK_EQUAL(answer.reply.method, r.method);
        r.reply = answer.reply;
        lm_registered(&the_world.m, app, &r);
        world_says(&the_world, "  lease: %s", pl_guard_reason_name(pl_guard_reason(answer.reply.guards, 1)));
}

static void register_some(struct lm_app *app, unsigned int file) {
        if (!lm_free_slot(app))
                lease_step_give_back();
        if (!app->opened[file].description)
                open_file(app, file);
        for (uint64_t n = 1 + lease_upto(3); n > 0 && lm_free_slot(app) && the_world.m.files[file].size > 0; n--)
                register_it(app, file);
}

/* Pieces of one file: rather one that it, or the other, has open. */
void lease_step_register(void) {
        struct lm_app *app = lease_some_app();
        unsigned int file = lease_any_file(is_open, lease_one_in(2) ? app : world_other(&the_world, app));

        if (file == LM_NONE || lease_one_in(3))
                file = lease_any_file(lease_is_within_reach, NULL);
        if (the_world.m.files[file].nameless
                    ? the_world.m.files[file].size == 0
                    : lease_upto(the_world.m.files[file].size / the_world.m.files[file].unit + 1) < 2) {
                if (the_world.m.files[file].nameless)
                        return;
                lease_rival_does(RIVAL_FILLS, file);
                world_settle(&the_world);
        }
        register_some(app, file);
        if (lease_one_in(2))
                register_some(world_other(&the_world, app), file);
}

/* By the app's own descriptor: no lease helps against that. */
void lease_step_own_change(void) {
        struct lm_app *app = lease_some_app();
        struct puppet_order order = { .word = lease_one_in(2) ? PUPPET_TRUNCATES : PUPPET_PUNCHES };
        unsigned int file = lease_any_file(is_own_to_change, app);
        struct lm_file *f = the_world.m.files + file;

        if (file == LM_NONE)
                return;
        lease_behave_somehow();
        order.file = file;
        order.size = lease_upto(f->size / f->unit) * f->unit;
        order.request.offset = order.size;
        order.request.length = (1 + lease_upto(4)) * f->unit;
        world_says(&the_world,
                   "app %u itself: %s, file %u (%s): %" PRIu64,
                   lease_number_of(app),
                   order.word == PUPPET_TRUNCATES ? "ftruncate" : "punch",
                   file,
                   lease_kind_of(file),
                   order.size);
        (void)puppet_ask(&app->app, &order, -1);
        if (order.word == PUPPET_TRUNCATES)
                f->size = order.size;
        lm_expect_change(&the_world.m,
                         file,
                         LM_NO_LEASE,
                         order.size,
                         order.word == PUPPET_TRUNCATES ? UINT64_MAX : order.size + order.request.length);
}

void lease_step_meddle(void) {
        struct lm_app *app = lease_some_app();
        struct puppet_order order = { .word = PUPPET_MEDDLES, .size = lease_upto(PUPPET_WAYS_TO_MEDDLE) };

        order.file = lease_any_file(is_open, app);
        if (order.file == LM_NONE)
                return;
        world_says(&the_world,
                   "app %u meddles with the lease on file %u (%s), way %" PRIu64,
                   lease_number_of(app),
                   order.file,
                   lease_kind_of(order.file),
                   order.size);
        (void)puppet_ask(&app->app, &order, -1);
        for (unsigned int i = 0; i < LM_APPS; i++)
                if (the_world.m.apps[i].opened[order.file].description == app->opened[order.file].description)
                        the_world.m.apps[i].opened[order.file].spoiled = true;
}
