/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_BREAKS_H
#define PL_BREAKS_H

/*
 * A file of which several sessions have registrations is about to be changed: one of them says so (CONTROL_BREAK), the
 * others are told to give back theirs of that range (CONTROL_REVOKE), and it hears when they have (CONTROL_BREAK_OVER).
 *
 * One change of a file is one matter, however many sessions hear of it: the second that asks joins, and what it waits
 * for is looked for once more.
 *
 * Who asks may be a registrar out of control. So it is not believed that it has anything of that file. What others
 * have registered is taken back only on the word of a user that could have a lease on the file by the kernel's rules:
 * its owner, as those others have seen it themselves when they registered (ledger_record.owner); or the very user
 * whose they are. A session whose ledger cannot be read is told whoever asks: what a registrar that is out of control
 * has is to be gone, too, and its keeper sees to that. And asking is cheap while answering is not: ledgers are read
 * for a short while and then no less long not, each user's breaks in turn, and open ones are bounded.
 */

#include "sessions.h"

#define BREAKS_PER_SESSION CONTROL_MAX_BREAKS
#define BREAKS_PER_USER 512

/* Beyond the time that the asking session gives: what the others may take to take away by force. */
#define BREAKS_MARGIN_MS 10000

struct breaks_change;

struct breaks {
        sd_event *event;
        struct sessions *sessions;
        sd_event_source *timer;
        struct breaks_change *first;
        uid_t last_uid; /* whose turn it was */
        uint64_t last_cookie;
        unsigned int margin_ms; /* BREAKS_MARGIN_MS, but in tests */
};

/* All are borrowed. */
void breaks_init(struct breaks *breaks, sd_event *event, struct sessions *sessions);
void breaks_done(struct breaks *breaks);

/* A session asks. It is always answered, perhaps at once. */
void breaks_ask(struct breaks *breaks, struct session *session, const struct control_message *message);

/* What has happened. breaks_revoked() returns whether the answer is one to a break. */
bool breaks_revoked(struct breaks *breaks, const struct session *session, const struct control_message *message);
void breaks_introduced(struct breaks *breaks, struct session *session);
void breaks_ended(struct breaks *breaks, struct session *session);

#endif
