/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "lease-model.h"

#include <inttypes.h>
#include <stdio.h>

#include "harness.h"

/* How long after a change it may be heard of: those of a memfd and of huge pages by a look every 5 s. */
#define HEARD_MS 3000
#define HEARD_LATE_MS 8000

static const char *reason_name(unsigned int reason) {
        static const char *const names[] = { "no reason", "the administrator", "a change", "a memory failure" };

        return reason < ELEMENTSOF(names) ? names[reason] : "an unknown reason";
}

bool lm_is_live(const struct lm_registration *r) {
        return r->state == LM_LIVE || r->state == LM_ASKED;
}

unsigned int lm_count(const struct lm_app *app, unsigned int file) {
        unsigned int n = 0;

        for (unsigned int i = 0; i < PUPPET_LIVE; i++)
                n += lm_is_live(app->registrations + i) && (file == LM_NONE || app->registrations[i].file == file);
        return n;
}

struct lm_registration *lm_find(struct lm_app *app, uint64_t id) {
        for (unsigned int i = 0; i < PUPPET_LIVE; i++)
                if (app->registrations[i].state != LM_FREE && app->registrations[i].reply.id == id)
                        return app->registrations + i;
        return NULL;
}

struct lm_registration *lm_free_slot(struct lm_app *app) {
        for (unsigned int i = 0; i < PUPPET_LIVE; i++)
                if (app->registrations[i].state == LM_FREE)
                        return app->registrations + i;
        return NULL;
}

/* --- leases --- */

static bool has_leases(enum memory_kind kind) {
        return kind != MEMORY_MEMFD && kind != MEMORY_HUGETLB;
}

bool lm_can_have_lease(const struct lm *m, const struct lm_app *app, unsigned int file) {
        const struct lm_opened *own = app->opened + file;

        if (!has_leases(m->files[file].kind) || app->puppet.user || !own->description || m->kept == file)
                return false;
        for (unsigned int i = 0; i < LM_APPS; i++) {
                const struct lm_opened *o = m->apps[i].opened + file;

                if (o->description && o->description != own->description && (o->writable || own->writable))
                        return false;
        }
        return true;
}

/* --- what is to happen --- */

static bool is_late(enum memory_kind kind) {
        return kind == MEMORY_MEMFD || kind == MEMORY_HUGETLB;
}

/* Of huge pages only those are missed that this session's registrar has had in its page tables: by ODP that is so after
 * the device has been there, and after a look at it. */
static bool is_found_out(const struct lm_file *file, const struct lm_registration *r) {
        return file->kind != MEMORY_HUGETLB || r->method == PINLEASE_METHOD_PINNED;
}

void lm_expect_change(struct lm *m, unsigned int file, enum lm_lease lease, uint64_t from, uint64_t to) {
        bool after = false;

        m->files[file].changed = pl_now_ms();
        for (unsigned int i = 0; i < LM_APPS; i++)
                for (unsigned int k = 0; k < PUPPET_LIVE; k++) {
                        struct lm_registration *r = m->apps[i].registrations + k;
                        bool lost = r->offset < to && r->offset + r->length > from;
                        /* Cut off the end of a file is found out everywhere. */
                        bool is_found = to == UINT64_MAX || is_found_out(m->files + file, r);

                        if (!lm_is_live(r) || r->file != file)
                                continue;
                        after = after || (lost && is_found && lease == LM_NO_LEASE);
                        if (lease == LM_LEASE || (lost && is_found))
                                r->must |= lm_bit(PL_REVOKED_LAYOUT_CHANGE);
                        else if (lease == LM_PERHAPS || lost)
                                r->may |= lm_bit(PL_REVOKED_LAYOUT_CHANGE);
                }
        m->n_after += after;
}

void lm_registered(struct lm *m, struct lm_app *app, const struct lm_registration *registration) {
        const struct lm_file *file = m->files + registration->file;
        struct lm_registration *r = lm_free_slot(app);

        CHECK(r);
        m->n_registered++;
        *r = *registration;
        r->state = LM_LIVE;
        if (pl_now_ms() - file->changed < (is_late(file->kind) ? HEARD_LATE_MS : HEARD_MS))
                r->may |= lm_bit(PL_REVOKED_LAYOUT_CHANGE);
}

void lm_expect_no_name(struct lm *m, unsigned int file) {
        m->files[file].nameless = true;
        m->files[file].path[0] = 0;
        for (unsigned int i = 0; i < LM_APPS; i++)
                m->apps[i].to_be_told[file] = lm_count(m->apps + i, file) > 0;
}

void lm_gone(struct lm *m, struct lm_app *app, struct lm_registration *r) {
        unsigned int file = r->file;

        r->state = LM_FREE;
        if (lm_count(app, file) > 0)
                return;
        m->files[file].idle = pl_now_ms();
        app->to_be_told[file] = false;
}

void lm_lose_session(struct lm *m, struct lm_app *app) {
        for (unsigned int i = 0; i < PUPPET_LIVE; i++)
                if (app->registrations[i].state != LM_FREE)
                        lm_gone(m, app, app->registrations + i);
}

/* --- what happens --- */

#define WHICH_MAX 120

static const char *name(const struct lm *m, const struct lm_app *app, const struct lm_registration *r, char buffer[WHICH_MAX]) {
        (void)snprintf(buffer,
                       WHICH_MAX,
                       "app %u, %s %" PRIu64 "+%" PRIu64 " of file %u (%s)",
                       (unsigned int)(app - m->apps),
                       r->method == PINLEASE_METHOD_PINNED ? "pinned" : "ODP",
                       r->offset,
                       r->length,
                       r->file,
                       memory_name(m->files[r->file].kind));
        return buffer;
}

#define COMPLAIN(app, r, ...)                                                                                          \
        do {                                                                                                           \
                char text_[160];                                                                                       \
                (void)snprintf(text_, sizeof text_, __VA_ARGS__);                                                      \
                complain(m, app, r, text_);                                                                            \
        } while (0)

static _Noreturn void complain(const struct lm *m,
                               const struct lm_app *app,
                               const struct lm_registration *r,
                               const char *text) {
        static const char *const states[] = { "gone", "live", "asked for", "to settle" };
        char which[WHICH_MAX];

        if (!r)
                FAIL("app %u: %s, of no registration that there is", (unsigned int)(app - m->apps), text);
        FAIL("%s, %" PRIu64 " bytes, %s: %s", name(m, app, r, which), m->files[r->file].size, states[r->state], text);
}

static void judge_revoking(struct lm *m, struct lm_app *app, struct lm_registration *r, const struct puppet_event *e) {
        if (!r)
                COMPLAIN(app, r, "REVOKING for %s", reason_name(e->reason));
        if (!((r->must | r->may) & 1U << e->reason))
                COMPLAIN(app, r, "REVOKING for %s, why?", reason_name(e->reason));
        if (r->state != LM_LIVE && (r->state != LM_ASKED || e->grace_ms >= r->grace_ms))
                COMPLAIN(app, r, "REVOKING again");
        if (e->length == 0 || e->offset < r->offset || e->offset + e->length > r->offset + r->length)
                COMPLAIN(app, r, "REVOKING of %" PRIu64 "+%" PRIu64, e->offset, e->length);
        if (e->grace_ms > LM_GRACE_MS)
                COMPLAIN(app, r, "REVOKING with a grace time of %u ms", e->grace_ms);
        m->n_asked += r->state == LM_LIVE;
        r->state = LM_ASKED;
        r->reason = e->reason;
        r->grace_ms = e->grace_ms;
}

static bool settles(const struct lm_registration *r) {
        return r->reason == PL_REVOKED_LAYOUT_CHANGE;
}

/* The app has done so by itself. */
static void judge_given_back(struct lm *m,
                             struct lm_app *app,
                             struct lm_registration *r,
                             const struct puppet_event *e) {
        /* Too late, which is no mistake: it has been taken, and the app is told so. */
        if (e->code == PINLEASE_CODE_NO_SUCH_REGISTRATION)
                return;
        if (!r || r->state == LM_LIVE || e->code != PINLEASE_CODE_NONE)
                COMPLAIN(app, r, "given back, with \"%s\"", pl_code_name((enum pinlease_code)e->code));
        if (e->released && e->settles != settles(r))
                COMPLAIN(app, r, "released, and SETTLED will %s", e->settles ? "come" : "not come");
        if (e->released && e->settles)
                r->state = LM_AWAITS;
        else
                lm_gone(m, app, r);
}

static void judge_revoked(struct lm *m, struct lm_app *app, struct lm_registration *r, const struct puppet_event *e) {
        if (!r || r->state != LM_ASKED)
                COMPLAIN(app, r, "REVOKED for %s", reason_name(e->reason));
        if (e->reason != r->reason)
                COMPLAIN(app, r, "REVOKED for %s, asked for by %s", reason_name(e->reason), reason_name(r->reason));
        m->n_forced++;
        m->n_late += app->conduct != CONDUCT_IGNORES;
        if (settles(r))
                r->state = LM_AWAITS;
        else
                lm_gone(m, app, r);
}

void lm_judge(struct lm *m, struct lm_app *app, const struct puppet_event *e) {
        struct lm_registration *r = lm_find(app, e->id);

        switch (e->kind) {
        case EVENT_REVOKING:
                judge_revoking(m, app, r, e);
                break;
        case EVENT_GIVEN_BACK:
                judge_given_back(m, app, r, e);
                break;
        case EVENT_REVOKED:
                judge_revoked(m, app, r, e);
                break;
        case EVENT_SETTLED:
                if (!r || r->state != LM_AWAITS)
                        COMPLAIN(app, r, "SETTLED");
                if (e->size != m->files[r->file].size)
                        COMPLAIN(app, r, "SETTLED at %" PRIu64 " bytes", e->size);
                lm_gone(m, app, r);
                break;
        case EVENT_NOTICE:
                if (e->reason != PL_NOTICE_UNLINKED)
                        break;
                if (!r || !m->files[r->file].nameless)
                        COMPLAIN(app, r, "a notice that it has no name");
                app->to_be_told[r->file] = false;
                break;
        case EVENT_END:
                if (!app->ends)
                        FAIL("app %u: its session has ended", (unsigned int)(app - m->apps));
                app->ended = true;
                break;
        }
}

static bool app_is_waiting(struct lm *m, const struct lm_app *app) {
        static const char *const waits[] = { "", "REVOKING", "its end", "SETTLED" };
        char which[WHICH_MAX];

        if (app->ends && !app->ended) {
                (void)snprintf(
                        m->problem, sizeof m->problem, "app %u: no end of its session", (unsigned int)(app - m->apps));
                return true;
        }
        for (unsigned int i = 0; i < PUPPET_LIVE; i++) {
                const struct lm_registration *r = app->registrations + i;

                if (r->state == LM_FREE || (r->state == LM_LIVE && !r->must))
                        continue;
                (void)snprintf(m->problem, sizeof m->problem, "%s: %s has not come", name(m, app, r, which), waits[r->state]);
                return true;
        }
        for (unsigned int i = 0; i < LM_FILES; i++)
                if (app->to_be_told[i]) {
                        (void)snprintf(m->problem,
                                       sizeof m->problem,
                                       "app %u: not told that file %u has no name",
                                       (unsigned int)(app - m->apps),
                                       i);
                        return true;
                }
        return false;
}

bool lm_is_waiting(struct lm *m) {
        for (unsigned int i = 0; i < LM_APPS; i++)
                if (app_is_waiting(m, m->apps + i))
                        return true;
        return false;
}
