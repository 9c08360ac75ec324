/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "changes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "codec.h"
#include "log.h"
#include "util.h"

/* How long the other side may take to do what it wanted, until the app is told all the same. */
#define SETTLE_MS 1000

/* How long after the grace time the other sessions may take. Their keepers are faster; then the kernel's own time decides. */
#define OTHERS_MS 30000

/* When a revocation that could not be begun is tried again. */
#define AGAIN_MS 20

void changes_init(struct changes *c,
                  const struct changes_config *config,
                  struct guards *guards,
                  struct revoker *revoker,
                  const struct registrar_state *state) {
        *c = (struct changes) { .config = *config, .guards = guards, .revoker = revoker, .state = state };
}

static void set_due(struct changes *c, struct guarded *file, uint64_t due) {
        file->change.due = due;
        c->due = pl_earlier(c->due, due);
}

/* A registration of the file, for the app to know it by, and for people to read its name. NULL: there is none. */
static const struct ledger_record *any_of(const struct changes *c, const struct guarded *file) {
        for (uint32_t i = 0; i < c->state->n_registrations; i++) {
                const struct ledger_record *record = &c->state->ledger.entries[i].record;

                if (c->state->registrations[i].file == file)
                        return record;
        }
        return NULL;
}

/* The longest time that a rule gives for the file: whoever waits, waits for all of them. While the file lingers here without a
 * registration, other sessions may have some. */
static uint32_t grace_of(const struct changes *c, const struct guarded *file) {
        uint32_t grace_ms = 0;
        bool any = false;

        for (uint32_t i = 0; i < c->state->n_registrations; i++) {
                const struct registration *registration = c->state->registrations + i;

                if (registration->file != file)
                        continue;
                any = true;
                if (registration->terms.grace_ms > grace_ms)
                        grace_ms = registration->terms.grace_ms;
        }
        return any ? grace_ms : file->grace_ms;
}

/* Is something of it not taken back for a change? */
static bool is_followed(const struct changes *c, const struct guarded *file) {
        for (uint32_t i = 0; i < c->state->n_registrations; i++)
                if (c->state->registrations[i].file == file && c->state->registrations[i].terms.notify)
                        return true;
        return false;
}

static const char *name_of(const struct changes *c, const struct guarded *file) {
        const struct ledger_record *record = any_of(c, file);

        return record && record->name[0] ? record->name : "a file";
}

/* --- notices ----------------------------------------------------------------------------------------------------------- */

static void notice(struct changes *c, struct guarded *file, enum pl_notice_kind kind) {
        if (!c->revoker->settles || file->n_registrations == 0)
                return;
        /* Lost and back again is nothing, and the other way round. */
        if (kind == PL_NOTICE_GUARD_LOST || kind == PL_NOTICE_GUARD_BACK)
                file->change.notices &= ~(1U << PL_NOTICE_GUARD_LOST | 1U << PL_NOTICE_GUARD_BACK);
        file->change.notices |= 1U << kind;
        c->notices = true;
}

static const char *sentence_of(enum pl_notice_kind kind) {
        switch (kind) {
        case PL_NOTICE_UNLINKED:
                return "The file has no name any more. Its memory is still this process's, and stays registered.";
        case PL_NOTICE_UNMOUNTED:
                return "The file's file system has been unmounted; it is there as long as this file is used. What is registered "
                       "stays so: deregister it soon.";
        case PL_NOTICE_READ_ONLY:
                return "The file's file system is read-only now. What is registered stays so.";
        case PL_NOTICE_GUARD_LOST:
                return "A guard of this file does not hold any more: a change of the file may be heard of later, or not at all.";
        case PL_NOTICE_GUARD_BACK:
                return "A guard of this file holds again.";
        default:
                return "The file is about to be changed, or has been. The device follows by on-demand paging: what is registered stays "
                       "so, but what is cut off cannot be reached any more.";
        }
}

bool changes_next_event(struct changes *c, struct pl_packet *ret_packet) {
        if (!c->notices)
                return false;
        for (struct guarded *file = c->guards->first; file; file = file->next) {
                const struct ledger_record *record;
                unsigned int kind = 0;
                uint64_t size = file->class.size;

                if (!file->change.notices)
                        continue;
                record = any_of(c, file);
                if (!record) {
                        file->change.notices = 0;
                        continue;
                }
                while (!(file->change.notices & 1U << kind))
                        kind++;
                if (file->fd >= 0)
                        (void)pl_fdclass_size(file->fd, &size);
                pl_packet_init(ret_packet, PL_OP_NOTICE, 0);
                ret_packet->body.notice.id = record->id;
                ret_packet->body.notice.size = size;
                ret_packet->body.notice.kind = kind;
                ret_packet->body.notice.guards = file->guards;
                (void)snprintf(ret_packet->body.notice.sentence,
                               sizeof ret_packet->body.notice.sentence,
                               "%s",
                               sentence_of((enum pl_notice_kind)kind));
                return true;
        }
        c->notices = false;
        return false;
}

void changes_told(struct changes *c, const struct pl_packet *packet) {
        uint32_t slot;

        if (state_find(c->state, packet->body.notice.id, &slot) == 0)
                c->state->registrations[slot].file->change.notices &= ~(1U << packet->body.notice.kind);
}

/* --- giving back ------------------------------------------------------------------------------------------------------- */

static void send(struct changes *c, const struct control_message *message) {
        int r = c->config.send(c->config.userdata, message);

        if (r < 0 && c->error == 0)
                c->error = r;
}

/* Cannot be had at once when there are many already: then a moment later, with whatever else comes until then. */
static void give_back(struct changes *c, struct guarded *file, uint64_t offset, uint64_t length) {
        struct revocation_order order = {
                .reason = PL_REVOKED_LAYOUT_CHANGE,
                .selector = CONTROL_SELECT_FILE,
                .device = file->device,
                .inode = file->inode,
                .offset = offset,
                .length = length,
                .grace_ms = grace_of(c, file),
                .here = true,
                .spare_notified = true,
        };
        int r;

        r = revoker_begin(c->revoker, &order);
        if (r >= 0) {
                /* Or is more of one that is counted already. */
                file->change.n_revocations += r == 0;
                return;
        }
        if (file->change.first == file->change.last) {
                file->change.first = offset;
                file->change.last = pl_range_end(offset, length);
        } else {
                uint64_t last = pl_range_end(offset, length);

                file->change.first = offset < file->change.first ? offset : file->change.first;
                file->change.last = last > file->change.last ? last : file->change.last;
        }
        set_due(c, file, pl_now_ms() + AGAIN_MS);
}

static void begin(struct changes *c, struct guarded *file) {
        file->change.state = GUARDED_CHANGING;
        file->change.ours = false;
        file->change.others = true;
        file->change.asked = false;
        set_due(c, file, pl_now_ms() + grace_of(c, file) + OTHERS_MS);
}

static void settled(struct changes *c, struct guarded *file) {
        uint64_t size = file->class.size;

        file->change.state = GUARDED_QUIET;
        file->change.due = 0;
        if (file->fd >= 0)
                (void)pl_fdclass_size(file->fd, &size);
        revoker_settled(c->revoker, file->device, file->inode, size);
}

/* Is all given back? Then the other side goes on. */
static void advance(struct changes *c, struct guarded *file) {
        bool asked = file->change.asked;

        if (file->change.state != GUARDED_CHANGING || file->change.n_revocations > 0 ||
            file->change.first != file->change.last)
                return;
        if (!file->change.ours && asked)
                send(c, &(const struct control_message) { .type = CONTROL_YIELDED, .cookie = file->change.cookie });
        file->change.ours = true;
        if (!file->change.others)
                return;

        file->change.state = GUARDED_SETTLING;
        if (!asked) {
                settled(c, file);
                return;
        }
        guards_let_go(c->guards, file);
        set_due(c, file, pl_now_ms() + SETTLE_MS);
}

static void on_asked(struct changes *c, struct guarded *file) {
        if (file->change.state == GUARDED_CHANGING && file->change.asked)
                return;
        if (file->change.state != GUARDED_CHANGING)
                begin(c, file);
        log_line(LOG_INFO, "somebody waits to change %s: its registrations are given back", name_of(c, file));

        file->change.asked = true;
        file->change.ours = file->change.others = false;
        file->change.cookie = ++c->last_cookie;
        send(c,
             &(const struct control_message) {
                     .type = CONTROL_BREAK,
                     .cookie = file->change.cookie,
                     .device = file->device,
                     .inode = file->inode,
                     .length = UINT64_MAX,
                     .value = grace_of(c, file),
             });
        if (is_followed(c, file))
                notice(c, file, PL_NOTICE_CHANGED);
        give_back(c, file, 0, UINT64_MAX);
}

static void on_changed(struct changes *c, struct guarded *file, const struct guard_report *report) {
        if (file->n_registrations == 0)
                return;
        if (file->change.state != GUARDED_CHANGING)
                begin(c, file);
        if (is_followed(c, file))
                notice(c, file, PL_NOTICE_CHANGED);
        give_back(c, file, report->offset, report->length);
}

static void on_poisoned(struct changes *c, struct guarded *file, const struct guard_report *report) {
        log_event(LOG_ERR,
                  EVENT_MEMORY_FAILURE,
                  "memory failure in %s at byte %" PRIu64 ", %" PRIu64 " bytes: the registrations of it are taken away",
                  name_of(c, file),
                  report->offset,
                  report->length);
        /* Of memory failures there is always room for one more. */
        (void)revoker_begin(c->revoker,
                            &(const struct revocation_order) {
                                    .reason = PL_REVOKED_MEMORY_FAILURE,
                                    .selector = CONTROL_SELECT_FILE,
                                    .device = file->device,
                                    .inode = file->inode,
                                    .offset = report->offset,
                                    .length = report->length,
                                    .here = true,
                            });
}

static void on_activity(struct changes *c, struct guarded *file) {
        int r;

        if (file->change.state == GUARDED_CHANGING)
                return;
        r = guards_look(c->guards, file);
        if (r < 0 && c->error == 0)
                c->error = r;
        if (file->change.state == GUARDED_SETTLING && pl_guards_held(file->guards) & PINLEASE_GUARD_LEASE)
                settled(c, file);
}

static void on_lost(struct changes *c, struct guarded *file, enum guard_index guard) {
        enum pinlease_guard_reason reason = pl_guard_reason(file->guards, guard);

        if (reason == PINLEASE_GUARD_MEDDLED)
                log_event(LOG_NOTICE,
                          EVENT_GUARD_LOST,
                          "the app, or who shares its descriptor, has undone or redirected the lease on %s: changes of it are "
                          "only heard of afterwards",
                          name_of(c, file));
        notice(c, file, PL_NOTICE_GUARD_LOST);
}

/* What the list shows. */
static void show_guards(const struct changes *c, const struct guarded *file) {
        for (uint32_t i = 0; i < c->state->n_registrations; i++)
                if (c->state->registrations[i].file == file)
                        ledger_guards(c->state->ledger.entries + i, file->guards);
}

void changes_report(void *userdata, struct guarded *file, const struct guard_report *report) {
        struct changes *c = userdata;

        switch (report->kind) {
        case GUARD_ASKS:
                on_asked(c, file);
                break;
        case GUARD_CHANGED:
                on_changed(c, file, report);
                break;
        case GUARD_POISONED:
                on_poisoned(c, file, report);
                break;
        case GUARD_UNLINKED:
                notice(c, file, PL_NOTICE_UNLINKED);
                break;
        case GUARD_UNMOUNTED:
                notice(c, file, PL_NOTICE_UNMOUNTED);
                break;
        case GUARD_REMOUNTED:
                notice(c, file, PL_NOTICE_READ_ONLY);
                break;
        case GUARD_LOST:
                on_lost(c, file, report->guard);
                show_guards(c, file);
                break;
        case GUARD_BACK:
                notice(c, file, PL_NOTICE_GUARD_BACK);
                show_guards(c, file);
                break;
        case GUARD_ACTIVITY:
                on_activity(c, file);
                break;
        }
}

void changes_elsewhere(struct changes *c, uint64_t device, uint64_t inode) {
        struct guarded *file = guards_find(c->guards, device, inode);

        if (!file || file->change.state != GUARDED_QUIET)
                return;
        file->change.state = GUARDED_SETTLING;
        set_due(c, file, pl_now_ms() + grace_of(c, file) + SETTLE_MS);
}

void changes_revoked(struct changes *c, const struct revocation *revocation) {
        struct guarded *file;

        /* No change waits for these. */
        if (revocation->reason == PL_REVOKED_MEMORY_FAILURE)
                return;
        file = guards_find(c->guards, revocation->device, revocation->inode);
        if (!file || file->change.n_revocations == 0)
                return;
        file->change.n_revocations--;
        /* A change that has been made already has not been kept waiting for it. */
        if (file->change.state == GUARDED_CHANGING && file->change.asked && revocation->counts[REVOCATION_KEPT] > 0)
                log_event(LOG_ERR,
                          EVENT_BREAK_FAILED,
                          "%" PRIu32 " registrations of %s could not be taken away before it is changed: the kernel keeps them",
                          revocation->counts[REVOCATION_KEPT],
                          name_of(c, file));
        advance(c, file);
}

void changes_break_over(struct changes *c, uint64_t cookie, unsigned int error) {
        for (struct guarded *file = c->guards->first; file; file = file->next)
                if (file->change.asked && file->change.cookie == cookie) {
                        if (error)
                                log_event(LOG_ERR,
                                          EVENT_BREAK_FAILED,
                                          "other sessions have not given %s back before it is changed: %s",
                                          name_of(c, file),
                                          strerror((int)error));
                        file->change.others = true;
                        advance(c, file);
                        return;
                }
}

/* --- time -------------------------------------------------------------------------------------------------------------- */

uint64_t changes_due(const struct changes *c) {
        return c->error ? 1 : pl_earlier(c->due, guards_due(c->guards));
}

static void expire(struct changes *c, struct guarded *file) {
        uint64_t first = file->change.first, last = file->change.last;

        file->change.due = 0;
        if (first != last) {
                file->change.first = file->change.last = 0;
                give_back(c, file, first, last - first);
                if (file->change.first == file->change.last)
                        set_due(c, file, pl_now_ms() + grace_of(c, file) + OTHERS_MS);
        } else if (file->change.state == GUARDED_SETTLING) {
                on_activity(c, file);
                if (file->change.state == GUARDED_SETTLING)
                        settled(c, file);
        } else if (file->change.state == GUARDED_CHANGING) {
                if (!file->change.others)
                        log_event(LOG_ERR,
                                  EVENT_BREAK_FAILED,
                                  "other sessions have not given %s back in time, before it is changed",
                                  name_of(c, file));
                file->change.others = true;
                advance(c, file);
        }
}

int changes_work(struct changes *c) {
        uint64_t now = pl_now_ms(), due = guards_due(c->guards);
        int r;

        if (c->due && now >= c->due) {
                c->due = 0;
                for (struct guarded *file = c->guards->first; file; file = file->next)
                        if (file->change.due) {
                                if (now >= file->change.due)
                                        expire(c, file);
                                if (file->change.due)
                                        c->due = pl_earlier(c->due, file->change.due);
                        }
        }
        if (due && now >= due) {
                r = guards_work(c->guards);
                if (r < 0)
                        return r;
        }
        r = c->error;
        c->error = 0;
        return r;
}
