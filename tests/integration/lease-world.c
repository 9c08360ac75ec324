/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lease-world.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#include "audit.h"
#include "chance.h"
#include "ledgers.h"
#include "mrs.h"
#include "view.h"

#define PAGE UINT64_C(4096)
#define HUGE (UINT64_C(2) << 20)
#define N_PAGES 16
#define N_HUGE 2
#define MANY 256

/* How long a session goes on to guard a file of which nothing is registered any more, and something. */
#define LINGER_MS 4000

static const char *const folders[N_MEMORY_KINDS] = {
        [MEMORY_TMPFS] = "/mnt/tmpfs",     [MEMORY_HUGETLB] = "/mnt/huge", [MEMORY_EXT4_DAX] = "/mnt/ext4-dax",
        [MEMORY_XFS_DAX] = "/mnt/xfs-dax", [MEMORY_EXT4] = "/mnt/ext4",    [MEMORY_XFS] = "/mnt/xfs",
};

void world_says(struct world *w, const char *format, ...) {
        char *what = w->what[w->n_whats++ % WORLD_MEMORY];
        va_list ap;
        int n;

        va_start(ap, format);
        n = snprintf(what, sizeof w->what[0], "step %u: ", w->step);
        (void)vsnprintf(what + n, sizeof w->what[0] - (size_t)n, format, ap);
        va_end(ap);
}

void world_print(const struct world *w) {
        for (unsigned int i = 0; i < WORLD_MEMORY && i < w->n_whats; i++)
                (void)dprintf(STDOUT_FILENO, "%s\n", w->what[(w->n_whats - 1 - i) % WORLD_MEMORY]);
}

static const char *now(const struct world *w) {
        return w->what[(w->n_whats + WORLD_MEMORY - 1) % WORLD_MEMORY];
}

/* --- files --- */

unsigned int world_new_file(struct world *w, enum memory_kind kind) {
        struct lm_file file = { .there = true, .kind = kind, .unit = kind == MEMORY_HUGETLB ? HUGE : PAGE };
        unsigned int i = 0;
        struct stat st;

        while (i < LM_FILES && w->m.files[i].there)
                i++;
        if (i == LM_FILES)
                return LM_NONE;
        file.size = kind == MEMORY_HUGETLB ? N_HUGE * HUGE : N_PAGES * PAGE;
        if (kind == MEMORY_MEMFD) {
                file.fd = CHECK_CALL(memfd_create("pl-lease", MFD_CLOEXEC));
                CHECK_CALL(ftruncate(file.fd, (off_t)file.size));
        } else {
                file.fd = memory_file(folders[kind], file.path, file.size);
                CHECK_CALL(fchmod(file.fd, 0666));
        }
        CHECK_EQUAL(posix_fallocate(file.fd, 0, (off_t)file.size), 0);
        CHECK_CALL(fstat(file.fd, &st));
        file.device = st.st_dev;
        file.inode = st.st_ino;
        /* Whoever has it open keeps leases away. */
        if (kind != MEMORY_MEMFD)
                file.fd = pl_close(file.fd);
        w->m.files[i] = file;
        return i;
}

static bool is_open(const struct world *w, unsigned int file) {
        for (unsigned int i = 0; i < LM_APPS; i++)
                if (w->m.apps[i].opened[file].description)
                        return true;
        return w->m.kept == file;
}

void world_forget_files(struct world *w) {
        for (unsigned int i = 0; i < LM_FILES; i++)
                if (w->m.files[i].there && w->m.files[i].nameless && !is_open(w, i))
                        w->m.files[i].there = false;
}

unsigned int world_regions(const struct world *w, unsigned int file, uint32_t regions[static RIVAL_REGIONS]) {
        unsigned int n = 0;

        for (unsigned int i = 0; i < LM_APPS; i++)
                for (unsigned int k = 0; k < PUPPET_LIVE; k++) {
                        const struct lm_registration *r = w->m.apps[i].registrations + k;

                        if (lm_is_live(r) && r->file == file)
                                regions[n++] = r->reply.rkey;
                }
        return n;
}

unsigned int world_regions_left(const uint32_t *regions, unsigned int n) {
        static struct mr_entry entries[MANY];
        size_t n_entries = mrs_list("rxe_a", entries, MANY);
        unsigned int left = 0;

        CHECK(n_entries <= MANY);
        for (size_t i = 0; i < n_entries; i++)
                for (unsigned int k = 0; k < n; k++)
                        left += entries[i].rkey == regions[k];
        return left;
}

/* --- whether a lease holds --- */

struct question {
        struct world *world;
        unsigned int file;
};

/* What an app has been told of its registrations of a file, and of what has changed since. */
static bool says_lease(const struct lm *m, const struct lm_app *app, unsigned int file) {
        struct ledgers_entry entries[PUPPET_LIVE];
        ssize_t n = ledgers_read(app->keeper, entries, PUPPET_LIVE);

        CHECK(n <= PUPPET_LIVE);
        for (ssize_t i = 0; i < n; i++)
                if (entries[i].device == m->files[file].device && entries[i].inode == m->files[file].inode &&
                    pl_guards_held(entries[i].guards) & PINLEASE_GUARD_LEASE)
                        return true;
        return false;
}

static bool somebody_says_lease(const void *argument) {
        const struct question *q = argument;

        for (unsigned int i = 0; i < LM_APPS; i++)
                if (says_lease(&q->world->m, q->world->m.apps + i, q->file))
                        return true;
        return false;
}

static void why_not(struct world *w, unsigned int file) {
        for (unsigned int i = 0; i < LM_APPS; i++) {
                struct ledgers_entry entries[PUPPET_LIVE];
                ssize_t n = ledgers_read(w->m.apps[i].keeper, entries, PUPPET_LIVE);

                for (ssize_t k = 0; k < n; k++)
                        if (entries[k].inode == w->m.files[file].inode && entries[k].device == w->m.files[file].device)
                                world_says(w,
                                           "app %u, of file %u: %s",
                                           i,
                                           file,
                                           pl_guard_reason_name(pl_guard_reason(entries[k].guards, 1)));
        }
}

bool world_has_lease(const struct world *w, const struct lm_app *app, unsigned int file) {
        return says_lease(&w->m, app, file);
}

enum lm_lease world_lease(struct world *w, unsigned int file) {
        const struct question q = { w, file };
        bool can = false, spoiled = false, registered = false;

        for (unsigned int i = 0; i < LM_APPS; i++) {
                const struct lm_app *app = w->m.apps + i;

                spoiled = spoiled || (app->opened[file].description && app->opened[file].spoiled);
                registered = registered || lm_count(app, file) > 0;
                can = can || (lm_count(app, file) > 0 && lm_can_have_lease(&w->m, app, file));
        }
        if (!registered)
                return LM_NO_LEASE;
        if (spoiled)
                return LM_PERHAPS;
        if (can && !eventually(somebody_says_lease, &q)) {
                why_not(w, file);
                FAIL("%s: file %u has no lease, why?", now(w), file);
        }
        if (can)
                return LM_LEASE;
        /* A session that has nothing of it registered any more may have one, on a description that both apps have. */
        return pl_now_ms() - w->m.files[file].idle < LINGER_MS ? LM_PERHAPS : LM_NO_LEASE;
}

/* --- apps --- */

struct lm_app *world_other(struct world *w, const struct lm_app *app) {
        return app == w->m.apps ? w->m.apps + 1 : w->m.apps;
}

void world_behave(struct lm_app *app, enum puppet_conduct conduct) {
        const struct puppet_order order = { .word = PUPPET_BEHAVES, .conduct = conduct };

        app->conduct = conduct;
        (void)puppet_ask(&app->app, &order, -1);
}

static void take_events(struct world *w, struct lm_app *app) {
        const struct puppet_order order = { .word = PUPPET_TELLS_EVENTS };
        struct puppet_answer answer = puppet_ask(&app->app, &order, -1);

        app->buffer_rkey = answer.buffer_rkey;
        for (unsigned int i = 0; i < answer.n_events; i++)
                lm_judge(&w->m, app, answer.events + i);
}

static void find_session(struct world *w, struct lm_app *app) {
        const struct view_session *session;
        static struct view view;

        view_list(w->instance.directory, &view);
        session = view_of(&view, app->app.pid);
        app->keeper = session->keeper;
        app->registrar = session->registrar;
}

void world_start_app(struct world *w, struct lm_app *app) {
        memset(app->opened, 0, sizeof app->opened);
        memset(app->to_be_told, 0, sizeof app->to_be_told);
        app->ends = app->ended = false;
        app->conduct = CONDUCT_RELEASES;
        /* Not the owner of any file, as a rule: two sessions of the owner are in each other's way (see lm_opened). */
        app->puppet.user = app != w->m.apps && chance(&w->state) % 4 != 0 ? "alice" : NULL;
        app->puppet.path = w->instance.path;
        app->app = puppet_start(&app->puppet);
        find_session(w, app);
        take_events(w, app);
}

/* Zombies of a pinleased that has been killed are nobody's. */
static bool is_gone(const void *argument) {
        char path[64], text[256] = "";
        const char *state;
        ssize_t n;
        int fd;

        (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)*(const pid_t *)argument);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return true;
        n = read(fd, text, sizeof text - 1);
        close(fd);
        state = n > 0 ? strrchr(text, ')') : NULL;
        return !state || state[2] == 'Z';
}

static void await_session_end(struct world *w, struct lm_app *app) {
        if (!eventually(is_gone, &app->registrar) || !eventually(is_gone, &app->keeper))
                FAIL("%s: a session does not end", now(w));
        lm_lose_session(&w->m, app);
}

void world_next_session(struct world *w, struct lm_app *app) {
        const struct puppet_order order = { .word = PUPPET_CONNECTS };

        await_session_end(w, app);
        for (unsigned int i = 0; i < LM_FILES; i++)
                app->opened[i].spoiled = app->opened[i].spoiled && app->opened[i].description;
        (void)puppet_ask(&app->app, &order, -1);
        app->ends = app->ended = false;
        find_session(w, app);
}

void world_next_app(struct world *w, struct lm_app *app) {
        await_session_end(w, app);
        world_start_app(w, app);
}

/* --- is it so? --- */

static struct amount sum_of(const struct lm_app *app) {
        struct amount sum = { .registrations = lm_count(app, LM_NONE) };

        for (unsigned int i = 0; i < PUPPET_LIVE; i++) {
                const struct lm_registration *r = app->registrations + i;

                if (lm_is_live(r))
                        *(r->method == PINLEASE_METHOD_PINNED ? &sum.pinned : &sum.odp) += r->length;
        }
        return sum;
}

static bool problem(struct lm *m, const char *what, const struct lm_app *app, uint64_t id) {
        (void)snprintf(
                m->problem, sizeof m->problem, "app %u, %" PRIx64 ": %s", (unsigned int)(app - m->apps), id, what);
        return false;
}

static bool is_in(const struct mr_entry *entries, size_t n, uint32_t rkey, uint32_t lkey, uint64_t length) {
        for (size_t i = 0; i < n; i++)
                if (entries[i].rkey == rkey)
                        return (!lkey || entries[i].lkey == lkey) && (!length || entries[i].length == length);
        return false;
}

/* A ledger has what the model has, and the kernel has it too. */
static bool ledger_is_right(struct lm *m, struct lm_app *app, const struct mr_entry *regions, size_t n_regions) {
        struct ledgers_entry entries[PUPPET_LIVE];
        ssize_t n = ledgers_read(app->keeper, entries, PUPPET_LIVE);

        if (n != (ssize_t)lm_count(app, LM_NONE))
                return problem(m, "its ledger has another number of entries", app, (uint64_t)n);
        for (ssize_t i = 0; i < n; i++) {
                const struct ledgers_entry *e = entries + i;
                const struct lm_registration *r = lm_find(app, e->id);
                const struct lm_file *file;

                if (!r || !lm_is_live(r))
                        return problem(m, "in its ledger, and should not be", app, e->id);
                file = m->files + r->file;
                if (!e->live)
                        return problem(m, "not live in its ledger", app, e->id);
                if (e->handle != r->reply.handle || e->lkey != r->reply.lkey || e->rkey != r->reply.rkey ||
                    e->length != r->length || e->offset != r->offset || e->inode != file->inode ||
                    e->device != file->device)
                        return problem(m, "other keys or another place in its ledger", app, e->id);
                if (!is_in(regions, n_regions, e->rkey, e->lkey, e->length))
                        return problem(m, "no such memory region", app, e->id);
                if (pl_guards_held(e->guards) & PINLEASE_GUARD_LEASE && !app->opened[r->file].spoiled &&
                    !lm_can_have_lease(m, app, r->file))
                        return problem(m, "it is said to have a lease, and cannot", app, e->id);
        }
        return true;
}

static bool regions_are_right(struct lm *m) {
        static struct mr_entry regions[MANY];
        size_t n = mrs_list("rxe_a", regions, MANY), should = 0;

        CHECK(n <= MANY);
        for (unsigned int i = 0; i < LM_APPS; i++) {
                if (!ledger_is_right(m, m->apps + i, regions, n))
                        return false;
                if (!is_in(regions, n, m->apps[i].buffer_rkey, 0, 0))
                        return problem(m, "its own memory region is not there", m->apps + i, 0);
                should += lm_count(m->apps + i, LM_NONE) + 1;
        }
        return !audit_differs(m->problem, sizeof m->problem, "memory regions", n, should);
}

static bool is_right(const void *argument) {
        struct world *w = *(struct world *const *)argument;
        struct audited apps[LM_APPS];

        for (unsigned int i = 0; i < LM_APPS; i++)
                take_events(w, w->m.apps + i);
        if (lm_is_waiting(&w->m) || !regions_are_right(&w->m))
                return false;
        for (unsigned int i = 0; i < LM_APPS; i++)
                apps[i] = (struct audited) { w->m.apps[i].app.pid, sum_of(w->m.apps + i), PUPPET_PINNED };
        return audit_is_right(w->instance.directory, apps, LM_APPS, w->m.problem, sizeof w->m.problem);
}

/* Returns whether all has been proved. What may be taken back at any time can be gone meanwhile: then there is more to
 * come. */
static bool prove(struct world *w, struct lm_app *app, uint64_t seed) {
        const struct puppet_order order = { .word = PUPPET_PROVES, .seed = seed };
        struct puppet_answer answer = puppet_ask(&app->app, &order, -1);
        const struct lm_registration *r;

        if (answer.value == 0)
                return true;
        r = lm_find(app, answer.id);
        if (r && r->may)
                return false;
        FAIL("%s: app %u, file %u: RDMA to what is registered fails: work completion status %" PRIu64,
             now(w),
             (unsigned int)(app - w->m.apps),
             r ? r->file : LM_NONE,
             answer.value);
}

void world_settle(struct world *w) {
        /* However often it takes: the same seed is to give the same run. */
        const uint64_t seed = chance(&w->state);
        struct world *const where = w;
        bool proved;

        do {
                if (!eventually(is_right, &where))
                        FAIL("%s: %s", now(w), w->m.problem);
                proved = true;
                for (unsigned int i = 0; i < LM_APPS; i++)
                        proved = prove(w, w->m.apps + i, seed) && proved;
        } while (!proved);
}

/* --- beginning and end --- */

void world_begin(struct world *w, uint64_t seed) {
        static const enum memory_kind kinds[] = { MEMORY_TMPFS, MEMORY_TMPFS, MEMORY_EXT4_DAX, MEMORY_EXT4,
                                                  MEMORY_XFS,   MEMORY_MEMFD, MEMORY_HUGETLB };
        static const char grace[] = { '0' + LM_GRACE_MS / 100, '0', '0', 0 };
        static const char *const options[] = { "--grace", grace, NULL };

        *w = (struct world) { .state = seed, .m.kept = LM_NONE };
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                CHECK(world_new_file(w, kinds[i]) != LM_NONE);
        w->instance = instance_start(options);
        w->rival = rival_start();
        for (unsigned int i = 0; i < LM_APPS; i++)
                world_start_app(w, w->m.apps + i);
        world_says(w, "begins");
        world_settle(w);
}

void world_end(struct world *w) {
        for (unsigned int i = 0; i < LM_APPS; i++) {
                app_hang_up(&w->m.apps[i].app);
                app_finish(&w->m.apps[i].app);
        }
        app_hang_up(&w->rival);
        app_finish(&w->rival);
        view_expect_nothing(w->instance.directory);
        instance_stop(&w->instance);
        for (unsigned int i = 0; i < LM_FILES; i++)
                if (w->m.files[i].there && w->m.files[i].path[0])
                        (void)unlink(w->m.files[i].path);
}
