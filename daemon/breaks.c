/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "breaks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "log.h"
#include "proto.h"
#include "session-ledger.h"
#include "timer.h"
#include "util.h"

/* How long ledgers are read before something else's turn comes, and then how long they are not; as for administrators.
 */
#define TURN_US 2000
#define REST_MS 2

/* A session that has too many revocations under way is asked again after that. */
#define AGAIN_MS 100

/* A break that would end so much earlier than the one it could join is one of its own. */
#define SLACK_MS 1000

/* Those of administrators have it not, see admin-server.c. */
#define COOKIE_BIT (UINT64_C(1) << 63)

/* A session that has asked. */
struct asker {
        uint64_t session, cookie;
};

/* A session that is to give back. */
struct holder {
        uint64_t session;
        uint64_t again; /* when it is to be told again, CLOCK_MONOTONIC, ms; 0: it has been told */
};

struct breaks_change {
        struct breaks_change *next;
        uint64_t cookie; /* of the REVOKEs */
        uid_t uid;       /* of who asks */
        uint64_t device, inode, offset, length;
        uint64_t due; /* when all must be gone; CLOCK_MONOTONIC, ms */
        int error;    /* why the answer is not a clean one; positive */

        struct asker *askers;
        size_t n_askers;
        struct holder *holders; /* those that have not answered */
        size_t n_holders;

        bool looking;     /* for holders: */
        uint64_t session; /* by this one; */
        bool in_session;  /* in its ledger from here on: */
        uint32_t cursor;
};

static void start_timer(struct breaks *b);

/* --- askers --- */

static void answer(struct session *session, uint64_t cookie, int error) {
        const struct control_message over = { .type = CONTROL_BREAK_OVER, .cookie = cookie, .value = (uint32_t)error };

        /* If it cannot be said the keeper comes anew, and asks anew. */
        (void)session_tell(session, &over, -1);
}

static void change_free(struct breaks *b, struct breaks_change *change) {
        struct breaks_change **p = &b->first;

        while (*p != change)
                p = &(*p)->next;
        *p = change->next;
        free(change->askers);
        free(change->holders);
        free(change);
}

static void end_change(struct breaks *b, struct breaks_change *change, int error) {
        for (size_t i = 0; i < change->n_askers; i++) {
                struct session *session = sessions_find(b->sessions, change->askers[i].session);

                if (!session)
                        continue;
                session->n_breaks--;
                session->account->n_breaks--;
                answer(session, change->askers[i].cookie, error);
        }
        change_free(b, change);
}

static bool end_if_over(struct breaks *b, struct breaks_change *change) {
        if (change->looking || change->n_holders > 0)
                return false;
        end_change(b, change, change->error);
        return true;
}

static bool is_known(const struct breaks *b, const struct session *session, uint64_t cookie) {
        for (const struct breaks_change *change = b->first; change && session->n_breaks > 0; change = change->next)
                for (size_t i = 0; i < change->n_askers; i++)
                        if (change->askers[i].session == session->id && change->askers[i].cookie == cookie)
                                return true;
        return false;
}

/* The change that this is, too; NULL: none. */
static struct breaks_change *find_change(const struct breaks *b,
                                         uid_t uid,
                                         const struct control_message *m,
                                         uint64_t due) {
        for (struct breaks_change *change = b->first; change; change = change->next)
                if (change->uid == uid && change->device == m->device && change->inode == m->inode &&
                    change->offset <= m->offset &&
                    pl_range_end(change->offset, change->length) >= pl_range_end(m->offset, m->length) &&
                    change->due <= due + SLACK_MS)
                        return change;
        return NULL;
}

static struct breaks_change *new_change(struct breaks *b, uid_t uid, const struct control_message *m, uint64_t due) {
        struct breaks_change *change = malloc(sizeof *change), **p = &b->first;

        if (!change)
                return NULL;
        *change = (struct breaks_change) {
                .cookie = COOKIE_BIT | ++b->last_cookie,
                .uid = uid,
                .device = m->device,
                .inode = m->inode,
                .offset = m->offset,
                .length = m->length,
                .due = due,
        };
        while (*p)
                p = &(*p)->next;
        *p = change;
        return change;
}

static int add_asker(struct breaks_change *change, struct session *session, uint64_t cookie) {
        struct asker *askers = realloc(change->askers, (change->n_askers + 1) * sizeof *askers);

        if (!askers)
                return -ENOMEM;
        change->askers = askers;
        askers[change->n_askers++] = (struct asker) { session->id, cookie };
        session->n_breaks++;
        session->account->n_breaks++;
        return 0;
}

void breaks_ask(struct breaks *b, struct session *session, const struct control_message *message) {
        uint64_t due = pl_now_ms() + (message->value < CONTROL_BREAK_MAX_MS ? message->value : CONTROL_BREAK_MAX_MS);
        uid_t uid = session->account->uid;
        struct breaks_change *change;

        /* Said again after it has lost its connection. */
        if (is_known(b, session, message->cookie))
                return;
        if (session->n_breaks >= BREAKS_PER_SESSION || session->account->n_breaks >= BREAKS_PER_USER) {
                answer(session, message->cookie, EBUSY);
                return;
        }
        change = find_change(b, uid, message, due);
        if (!change)
                change = new_change(b, uid, message, due);
        if (!change || add_asker(change, session, message->cookie) < 0) {
                if (change && change->n_askers == 0)
                        change_free(b, change);
                answer(session, message->cookie, ENOMEM);
                return;
        }

        /* From the beginning: also what those have that have asked before, and what has come since. */
        change->looking = true;
        change->in_session = false;
        change->session = 0;
        start_timer(b);
}

/* --- holders --- */

static struct holder *find_holder(const struct breaks_change *change, uint64_t session) {
        for (size_t i = 0; i < change->n_holders; i++)
                if (change->holders[i].session == session)
                        return change->holders + i;
        return NULL;
}

static void remove_holder(struct breaks_change *change, struct holder *holder) {
        *holder = change->holders[--change->n_holders];
}

static void tell_holder(const struct breaks_change *change, struct session *session, struct holder *holder) {
        uint64_t now = pl_now_ms();

        holder->again = 0;
        /* If it cannot be said the keeper comes anew, and is told then. */
        (void)session_tell(session,
                           &(struct control_message) {
                                   .type = CONTROL_REVOKE,
                                   .reason = PL_REVOKED_LAYOUT_CHANGE,
                                   .selector = CONTROL_SELECT_FILE,
                                   .cookie = change->cookie,
                                   .device = change->device,
                                   .inode = change->inode,
                                   .offset = change->offset,
                                   .length = change->length,
                                   .value = change->due > now ? (uint32_t)(change->due - now) : 0,
                           },
                           -1);
}

static void add_holder(struct breaks_change *change, struct session *session) {
        struct holder *holders = realloc(change->holders, (change->n_holders + 1) * sizeof *holders);

        if (!holders) {
                change->error = ENOMEM;
                return;
        }
        change->holders = holders;
        holders[change->n_holders] = (struct holder) { .session = session->id };
        tell_holder(change, session, holders + change->n_holders++);
}

/* See the header: by whom may what is listed be asked for? */
static bool is_meant(const struct breaks_change *change,
                     const struct session *session,
                     const struct ledger_listing *listing) {
        return listing->device == change->device && listing->inode == change->inode &&
               listing->offset < pl_range_end(change->offset, change->length) &&
               pl_range_end(listing->offset, listing->length) > change->offset &&
               (session->account->uid == change->uid || listing->owner == change->uid);
}

/* Who has asked alone gives back its own by itself. */
static bool is_to_be_looked_at(const struct breaks_change *change, const struct session *session) {
        return session->state == SESSION_SERVING && session->ledger >= 0 && !find_holder(change, session->id) &&
               (change->n_askers > 1 || change->askers[0].session != session->id);
}

/* A stretch of the present session's ledger. */
static void look_in_session(struct breaks *b, struct breaks_change *change) {
        struct session *session = sessions_find(b->sessions, change->session);
        struct ledger_listing listings[LEDGER_READER_STRETCH];
        struct ledger_reader reader;
        int n;

        change->in_session = false;
        if (!session || !is_to_be_looked_at(change, session))
                return;
        n = session_ledger_open(session, &reader);
        if (n == 0)
                n = ledger_reader_next(&reader, &change->cursor, listings, ELEMENTSOF(listings));
        /* Nobody knows what it has: it is asked for what it has of this file, and finds that out by itself. */
        if (n < 0 && n != -EAGAIN) {
                add_holder(change, session);
                return;
        }
        for (int i = 0; i < n; i++)
                if (is_meant(change, session, listings + i)) {
                        add_holder(change, session);
                        return;
                }
        change->in_session = n > 0 || n == -EAGAIN;
}

static void look(struct breaks *b, struct breaks_change *change) {
        const struct session *session;

        if (change->in_session) {
                look_in_session(b, change);
                return;
        }
        session = sessions_after(b->sessions, change->session);
        if (!session) {
                change->looking = false;
                (void)end_if_over(b, change);
                return;
        }
        change->session = session->id;
        change->cursor = 0;
        change->in_session = true;
}

/* The oldest of the next user that has one for which is to be looked; NULL: there is none. */
static struct breaks_change *next_to_look_for(struct breaks *b) {
        struct breaks_change *next = NULL, *lowest = NULL;

        for (struct breaks_change *change = b->first; change; change = change->next) {
                if (!change->looking)
                        continue;
                if (!lowest || change->uid < lowest->uid)
                        lowest = change;
                if (change->uid > b->last_uid && (!next || change->uid < next->uid))
                        next = change;
        }
        next = next ? next : lowest;
        if (next)
                b->last_uid = next->uid;
        return next;
}

/* --- time --- */

static void remind(struct breaks *b, struct breaks_change *change, uint64_t now) {
        for (size_t i = 0; i < change->n_holders; i++) {
                struct holder *holder = change->holders + i;
                struct session *session = sessions_find(b->sessions, holder->session);

                if (session && holder->again && now >= holder->again)
                        tell_holder(change, session, holder);
        }
}

static void give_up(struct breaks *b, struct breaks_change *change) {
        log_line(LOG_WARNING,
                 "%zu sessions have not given back in time what they have registered of file %" PRIu64
                 " of device 0x%" PRIx64 ", which is being changed",
                 change->n_holders,
                 change->inode,
                 change->device);
        end_change(b, change, ETIMEDOUT);
}

static int on_timer(sd_event_source *source _unused_, uint64_t usec _unused_, void *userdata) {
        uint64_t now = pl_now_ms(), until = pl_now_us() + TURN_US;
        struct breaks_change *next, *change;
        struct breaks *b = userdata;

        for (change = b->first; change; change = change->next)
                remind(b, change, now);
        do {
                change = next_to_look_for(b);
                if (change)
                        look(b, change);
        } while (change && pl_now_us() < until);
        for (change = b->first; change; change = next) {
                next = change->next;
                if (now >= change->due + b->margin_ms)
                        give_up(b, change);
        }
        start_timer(b);
        return 0;
}

/* For what comes next; nothing: it stays off. */
static void start_timer(struct breaks *b) {
        uint64_t now = pl_now_ms(), at = UINT64_MAX;

        for (const struct breaks_change *change = b->first; change; change = change->next) {
                if (change->due + b->margin_ms < at)
                        at = change->due + b->margin_ms;
                if (change->looking && now + REST_MS < at)
                        at = now + REST_MS;
                for (size_t i = 0; i < change->n_holders; i++)
                        if (change->holders[i].again && change->holders[i].again < at)
                                at = change->holders[i].again;
        }
        if (at != UINT64_MAX && timer_start(b->event, &b->timer, at > now ? at - now : 0, on_timer, b) < 0)
                log_line(LOG_ERR, "cannot start a timer: breaks of leases wait");
}

/* --- what has happened --- */

bool breaks_revoked(struct breaks *b, const struct session *session, const struct control_message *message) {
        struct breaks_change *change = b->first;
        struct holder *holder;

        if (!(message->cookie & COOKIE_BIT))
                return false;
        while (change && change->cookie != message->cookie)
                change = change->next;
        holder = change ? find_holder(change, session->id) : NULL;
        if (!holder)
                return true;
        if (message->value != 0) {
                holder->again = pl_now_ms() + AGAIN_MS;
                start_timer(b);
                return true;
        }
        if (message->counts[REVOCATION_KEPT] > 0)
                change->error = EBUSY;
        remove_holder(change, holder);
        (void)end_if_over(b, change);
        return true;
}

/* What was said to it by its former connection may have been lost, and what it has answered. */
void breaks_introduced(struct breaks *b, struct session *session) {
        for (struct breaks_change *change = b->first; change; change = change->next) {
                struct holder *holder = find_holder(change, session->id);

                if (holder)
                        tell_holder(change, session, holder);
        }
}

/* Who has asked, and is gone, wants nothing any more; what is under way goes on by itself. */
static void remove_askers(struct breaks_change *change, struct session *session) {
        for (size_t i = change->n_askers; i > 0; i--)
                if (change->askers[i - 1].session == session->id) {
                        change->askers[i - 1] = change->askers[--change->n_askers];
                        session->n_breaks--;
                        session->account->n_breaks--;
                }
}

void breaks_ended(struct breaks *b, struct session *session) {
        struct breaks_change *next, *change;

        for (change = b->first; change; change = next) {
                struct holder *holder = find_holder(change, session->id);

                next = change->next;
                if (session->n_breaks > 0)
                        remove_askers(change, session);
                if (change->n_askers == 0) {
                        change_free(b, change);
                        continue;
                }
                if (holder)
                        remove_holder(change, holder);
                (void)end_if_over(b, change);
        }
}

/* --- beginning and end --- */

void breaks_init(struct breaks *b, sd_event *event, struct sessions *sessions) {
        /* Keepers may still report what a former pinleased has asked for: its cookies are not used again. */
        *b = (struct breaks) {
                .event = event,
                .sessions = sessions,
                .last_cookie = (pl_now_ms() << 20) & ~COOKIE_BIT,
                .margin_ms = BREAKS_MARGIN_MS,
        };
}

/* Who waits asks the next pinleased. */
void breaks_done(struct breaks *b) {
        while (b->first)
                change_free(b, b->first);
        b->timer = sd_event_source_disable_unref(b->timer);
}
