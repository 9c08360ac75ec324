/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "admin-call.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "admin-params.h"
#include "admin-report.h"
#include "proto.h"
#include "session-ledger.h"
#include "supervisor.h"
#include "util.h"

/* Beyond the grace time: what sessions may take to take away by force. */
#define REVOKE_MARGIN_MS 20000

struct json_object *admin_error(const char *code, const char *format, ...) {
        struct json_object *end = json_object_new_object(), *error = json_object_new_object();
        char sentence[512];
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(sentence, sizeof sentence, format, ap);
        va_end(ap);
        if (!end || !error || json_object_object_add(error, "code", json_object_new_string(code)) < 0 ||
            json_object_object_add(error, "message", json_object_new_string(sentence)) < 0 ||
            json_object_object_add(end, "error", json_object_get(error)) < 0) {
                json_object_put(end);
                end = NULL;
        }
        json_object_put(error);
        return end;
}

static enum admin_step fail(struct json_object **ret_object, const char *code, const char *sentence) {
        *ret_object = admin_error(code, "%s", sentence);
        return ADMIN_STEP_END;
}

/* --- going through sessions --- */

static bool session_matches(const struct admin_filter *f, const struct session *session) {
        return (!f->by_session || session->id == f->session) && (!f->by_pid || (uint64_t)session->app_pid == f->pid) &&
               (!f->by_uid || session->account->uid == f->uid);
}

static bool listing_matches(const struct admin_filter *f, const struct ledger_listing *listing) {
        return (!f->by_registration || listing->id >> 32 == f->registration) &&
               (!f->by_file || (listing->device == f->device && listing->inode == f->inode)) &&
               (!f->by_device || listing->device == f->device);
}

/* The next session that is meant, or NULL. */
static struct session *next_session(struct admin_call *call) {
        struct session *session;

        do {
                session = sessions_after(&call->supervisor->sessions, call->session);
                call->session = session ? session->id : UINT64_MAX;
        } while (session && !session_matches(&call->filter, session));
        return session;
}

static int read_totals(struct session *session, struct stats_totals *ret_totals) {
        struct ledger_reader reader;
        int r;

        r = session_ledger_open(session, &reader);
        return r < 0 ? r : ledger_reader_stats(&reader, ret_totals);
}

/* --- status, metrics --- */

/* One session's part of the sums. */
static bool sum_up(struct admin_call *call) {
        struct session *session = next_session(call);
        struct stats_totals totals;

        if (!session)
                return false;
        call->n_sessions++;
        call->n_resumed += session->resumed;
        call->n_other_version += session->state == SESSION_OTHER_VERSION;
        (void)amount_add(&call->credit, &session->held);
        if (read_totals(session, &totals) == 0)
                stats_totals_add(&call->totals, &totals);
        return true;
}

static enum admin_step step_sums(struct admin_call *call, struct json_object **ret_object) {
        if (call->told) {
                *ret_object = json_object_new_object();
                return ADMIN_STEP_END;
        }
        /* Those that end from now on are added one by one, so that each counts once. */
        if (call->method == ADMIN_METRICS && !call->begun)
                stats_totals_add(&call->totals, &call->supervisor->admin.ended);
        call->begun = true;
        if (sum_up(call))
                return ADMIN_STEP_AGAIN;
        call->told = true;
        *ret_object = call->method == ADMIN_STATUS ? admin_report_status(call) : admin_report_metrics(call);
        return ADMIN_STEP_ITEM;
}

/* --- list --- */

static enum admin_step end_list(struct admin_call *call, struct json_object **ret_object) {
        const struct admin_filter *f = &call->filter;

        if ((f->by_session && call->n_sessions == 0) || (f->by_registration && call->n_registrations == 0))
                return fail(ret_object, "not-found", "There is no such session or registration; pinleasectl list shows those there are.");
        *ret_object = admin_report_counts(call);
        return ADMIN_STEP_END;
}

/* More of the present session's registrations. Returns false at their end. */
static bool read_listings(struct admin_call *call, struct session *session) {
        struct ledger_reader reader;
        int n = -ENOENT;

        if (session && session_ledger_open(session, &reader) == 0)
                n = ledger_reader_next(&reader, &call->cursor, call->listings, ELEMENTSOF(call->listings));
        call->next_listing = 0;
        call->n_listings = n > 0 ? (unsigned int)n : 0;
        return n > 0 || n == -EAGAIN;
}

/* A session is shown before its registrations, but by file or registration only if one of these matches. */
static enum admin_step step_listing(struct admin_call *call, struct json_object **ret_object) {
        struct session *session = sessions_find(&call->supervisor->sessions, call->session);
        const struct ledger_listing *listing;

        if (!session) {
                call->in_session = false;
                return ADMIN_STEP_AGAIN;
        }
        if (!call->told && !call->filter.by_file) {
                call->told = true;
                call->n_sessions++;
                *ret_object = admin_report_session(session, read_totals);
                return ADMIN_STEP_ITEM;
        }
        if (call->next_listing == call->n_listings) {
                call->in_session = read_listings(call, session);
                return ADMIN_STEP_AGAIN;
        }

        listing = call->listings + call->next_listing;
        if (!listing_matches(&call->filter, listing)) {
                call->next_listing++;
                return ADMIN_STEP_AGAIN;
        }
        if (!call->told) {
                call->told = true;
                call->n_sessions++;
                *ret_object = admin_report_session(session, read_totals);
                return ADMIN_STEP_ITEM;
        }
        call->next_listing++;
        call->n_registrations++;
        *ret_object = report_registration(session->id, listing, pl_boottime_ms());
        return ADMIN_STEP_ITEM;
}

static enum admin_step step_list(struct admin_call *call, struct json_object **ret_object) {
        if (call->in_session)
                return step_listing(call, ret_object);
        if (!next_session(call))
                return end_list(call, ret_object);
        call->in_session = true;
        call->told = false;
        call->cursor = 0;
        call->n_listings = call->next_listing = 0;
        return ADMIN_STEP_AGAIN;
}

/* --- revoke, release --- */

static bool takes_back(const struct admin_call *call) {
        return call->method == ADMIN_REVOKE || call->method == ADMIN_RELEASE;
}

/* The id on the wire of the registration with this number; 0: there is none. */
static uint64_t find_registration(struct admin_call *call, struct session *session) {
        call->cursor = 0;
        while (read_listings(call, session))
                for (unsigned int i = 0; i < call->n_listings; i++)
                        if (call->listings[i].id >> 32 == call->filter.registration)
                                return call->listings[i].id;
        return 0;
}

static bool has_matching(struct admin_call *call, struct session *session) {
        call->cursor = 0;
        while (read_listings(call, session))
                for (unsigned int i = 0; i < call->n_listings; i++)
                        if (listing_matches(&call->filter, call->listings + i))
                                return true;
        return false;
}

static void lose(struct admin_call *call, bool matches) {
        if (!matches)
                return;
        call->n_sessions++;
        call->n_lost++;
}

static void revoke_in(struct admin_call *call, struct session *session) {
        struct control_message message = {
                .type = CONTROL_REVOKE,
                .reason = PL_REVOKED_BY_ADMINISTRATOR,
                .value = (uint32_t)call->grace_ms,
                .selector = CONTROL_SELECT_ALL,
                .cookie = call->cookie,
        };
        struct admin_waits_for *waits_for;
        bool matches = true;

        if (call->filter.by_registration) {
                message.selector = CONTROL_SELECT_ID;
                message.id = find_registration(call, session);
                if (message.id == 0)
                        return;
        } else if (call->filter.by_file) {
                message.selector = CONTROL_SELECT_FILE;
                message.device = call->filter.device;
                message.inode = call->filter.inode;
                message.length = UINT64_MAX;
                matches = has_matching(call, session);
        } else if (call->filter.by_device) {
                message.selector = CONTROL_SELECT_DEVICE;
                message.device = call->filter.device;
                matches = has_matching(call, session);
        }

        waits_for = realloc(call->waits_for, (call->n_waits_for + 1) * sizeof *waits_for);
        if (!waits_for)
                return;
        call->waits_for = waits_for;
        if (session_tell(session, &message, -1) < 0)
                lose(call, matches);
        else
                call->waits_for[call->n_waits_for++] = (struct admin_waits_for) { session->id, matches };
}

static enum admin_step end_revoke(struct admin_call *call, struct json_object **ret_object) {
        bool none = call->n_lost == 0;
        unsigned int n_late = 0;

        for (size_t i = 0; i < N_REVOCATION_OUTCOMES; i++)
                none = none && call->counts[i] == 0;
        for (size_t i = 0; i < call->n_waits_for; i++)
                n_late += call->waits_for[i].matches;
        if (n_late > 0) {
                *ret_object = admin_error("failed",
                                          "%u sessions have not said in time that they are done. pinleasectl list shows what is "
                                          "still registered.",
                                          n_late);
                return ADMIN_STEP_END;
        }
        if (call->n_busy > 0) {
                *ret_object = admin_error("busy",
                                          "%" PRIu64 " sessions have too many revocations under way, and have not taken this one. "
                                          "Try again when some of them are over.",
                                          call->n_busy);
                return ADMIN_STEP_END;
        }
        if (none)
                return fail(ret_object, "not-found", "No registration matches; pinleasectl list shows those there are.");
        *ret_object = admin_report_revoked(call);
        return ADMIN_STEP_END;
}

static enum admin_step step_revoke(struct admin_call *call, struct json_object **ret_object) {
        struct session *session;

        if (call->deadline_ms == 0) {
                session = next_session(call);
                if (session) {
                        if (session->state == SESSION_SERVING)
                                revoke_in(call, session);
                        return ADMIN_STEP_AGAIN;
                }
                call->deadline_ms = pl_now_ms() + call->grace_ms + REVOKE_MARGIN_MS;
        }
        if (call->n_waits_for > 0 && pl_now_ms() < call->deadline_ms)
                return ADMIN_STEP_WAIT;
        return end_revoke(call, ret_object);
}

static bool stop_waiting_for(struct admin_call *call, const struct session *session, bool *ret_matches) {
        for (size_t i = 0; i < call->n_waits_for; i++)
                if (call->waits_for[i].session == session->id) {
                        *ret_matches = call->waits_for[i].matches;
                        call->waits_for[i] = call->waits_for[--call->n_waits_for];
                        return true;
                }
        return false;
}

bool admin_call_revoked(struct admin_call *call, const struct session *session, const struct control_message *message) {
        bool any = false, ignored;

        if (!takes_back(call) || call->cookie != message->cookie || !stop_waiting_for(call, session, &ignored))
                return false;
        for (size_t i = 0; i < N_REVOCATION_OUTCOMES; i++) {
                call->counts[i] += message->counts[i];
                any = any || message->counts[i] > 0;
        }
        call->n_sessions += any;
        call->n_busy += message->value != 0;
        return call->waiting && call->n_waits_for == 0;
}

bool admin_call_session_ended(struct admin_call *call, const struct session *session) {
        bool matches;

        if (!takes_back(call) || !stop_waiting_for(call, session, &matches))
                return false;
        lose(call, matches);
        return call->waiting && call->n_waits_for == 0;
}

void admin_call_add_ended(struct admin_call *call, const struct session *session, const struct stats_totals *totals) {
        if (call->method == ADMIN_METRICS && call->begun && call->session < session->id)
                stats_totals_add(&call->totals, totals);
}

/* --- drain --- */

static enum admin_step step_drain(struct admin_call *call, struct json_object **ret_object) {
        struct supervisor *s = call->supervisor;

        if (!call->told) {
                call->told = true;
                call->n_sessions = s->accounts.n_sessions;
                if (supervisor_drain(s, (uint32_t)call->grace_ms) < 0)
                        return fail(ret_object, "failed", "The service is out of resources.");
                call->left = s->accounts.n_sessions;
        }
        if (s->state == SUPERVISOR_DRAINING)
                return ADMIN_STEP_WAIT;
        *ret_object = admin_report_drained(call);
        return ADMIN_STEP_END;
}

bool admin_call_drained(struct admin_call *call, unsigned int left) {
        if (call->method != ADMIN_DRAIN)
                return false;
        call->left = left;
        return call->waiting;
}

static enum admin_step step_undrain(struct admin_call *call, struct json_object **ret_object) {
        if (supervisor_undrain(call->supervisor) == -EBUSY)
                return fail(ret_object, "busy", "Sessions are still being ended. Wait for the drain to finish.");
        *ret_object = json_object_new_object();
        return ADMIN_STEP_END;
}

static enum admin_step step_reload(struct admin_call *call, struct json_object **ret_object) {
        const struct policies *policies = &call->supervisor->policies;
        struct builder b;

        if (supervisor_reload(call->supervisor) < 0) {
                *ret_object = admin_error("policy",
                                          "The policy has not been taken, the one before holds on. %s (pinleased --check-policy shows "
                                          "all that is wrong.)",
                                          policies->wrong);
                return ADMIN_STEP_END;
        }
        b = builder_object();
        builder_number(&b, "rules", policies->n_rules);
        builder_number(&b, "warnings", policies->n_warnings);
        *ret_object = builder_finish(&b);
        return ADMIN_STEP_END;
}

/* --- all methods --- */

void admin_call_begin(struct admin_call *call,
                      struct supervisor *supervisor,
                      uint64_t cookie,
                      uint32_t seq,
                      const char *text,
                      size_t length) {
        *call = (struct admin_call) {
                .supervisor = supervisor,
                .cookie = cookie,
                .seq = seq,
                .grace_ms = supervisor->config.grace_ms,
        };
        admin_params_parse(call, text, length);
}

enum admin_step admin_call_step(struct admin_call *call, struct json_object **ret_object) {
        enum admin_step step;

        if (call->wrong) {
                *ret_object = json_object_get(call->error);
                return ADMIN_STEP_END;
        }

        call->waiting = false;
        switch (call->method) {
        case ADMIN_STATUS:
        case ADMIN_METRICS:
                return step_sums(call, ret_object);
        case ADMIN_LIST:
                return step_list(call, ret_object);
        case ADMIN_REVOKE:
        case ADMIN_RELEASE:
                step = step_revoke(call, ret_object);
                break;
        case ADMIN_DRAIN:
                step = step_drain(call, ret_object);
                break;
        case ADMIN_RELOAD:
                return step_reload(call, ret_object);
        default:
                return step_undrain(call, ret_object);
        }
        call->waiting = step == ADMIN_STEP_WAIT;
        return step;
}

void admin_call_end(struct admin_call *call) {
        free(call->waits_for);
        json_object_put(call->error);
        call->waits_for = NULL;
        call->error = NULL;
        call->n_waits_for = 0;
        call->method = ADMIN_NONE;
}
