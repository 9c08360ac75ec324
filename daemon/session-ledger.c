/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "session-ledger.h"

#include <errno.h>

#include "log.h"

int session_ledger_open(struct session *session, struct ledger_reader *ret_reader) {
        int r;

        if (session->ledger < 0 || session->state == SESSION_OTHER_VERSION)
                return -ENOENT;
        r = ledger_reader_init(ret_reader, session->ledger);
        if (r != -EBADMSG || session->ledger_lies)
                return r;
        session->ledger_lies = true;
        log_subject_event(&(const struct log_subject) { session->id, session->app_pid, session->account->uid, NULL },
                          LOG_ERR,
                          EVENT_LEDGER_LIES,
                          "its ledger is not one any more: its registrar, process %d, is out of control",
                          (int)session->registrar_pid);
        return r;
}
