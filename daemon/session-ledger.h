/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_SESSION_LEDGER_H
#define PL_SESSION_LEDGER_H

/* A session's ledger, to be read; and the administrator's word if it is none. */

#include "ledger-reader.h"
#include "sessions.h"

/*
 * Returns 0; -ENOENT: there is none yet, or the session is of another version; or what ledger_reader_init() returns. Of
 * a session whose ledger is none any more it is said once. The reader borrows the session's descriptor.
 */
int session_ledger_open(struct session *session, struct ledger_reader *ret_reader);

#endif
