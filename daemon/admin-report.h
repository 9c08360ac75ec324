/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_ADMIN_REPORT_H
#define PL_ADMIN_REPORT_H

/* What pinleased knows, in the JSON of doc/ADMIN.md. Objects are the caller's; NULL: no memory. */

#include "admin-call.h"
#include "report.h"

struct json_object *admin_report_status(const struct admin_call *call);
struct json_object *admin_report_metrics(const struct admin_call *call);
struct json_object *admin_report_session(struct session *session,
                                         int (*read_totals)(struct session *session, struct stats_totals *ret_totals));
struct json_object *admin_report_counts(const struct admin_call *call);
struct json_object *admin_report_revoked(const struct admin_call *call);
struct json_object *admin_report_drained(const struct admin_call *call);

#endif
