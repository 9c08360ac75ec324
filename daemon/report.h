/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_REPORT_H
#define PL_REPORT_H

/*
 * What ledgers say, in the JSON of doc/ADMIN.md. Objects belong to the caller; NULL when there is no memory for them,
 * never half of one. One registration is at most REPORT_MAX_REGISTRATION bytes of JSON.
 */

#include "builder.h"
#include "ledger-reader.h"
#include "utf8.h"

/* A name with every byte escaped. */
#define REPORT_NAME_MAX PL_UTF8_ESCAPED(LEDGER_NAME_MAX - 1)

#define REPORT_MAX_REGISTRATION 2048

/* An item of `list`. now_ms: CLOCK_BOOTTIME. */
struct json_object *report_registration(uint64_t session, const struct ledger_listing *listing, uint64_t now_ms);

/* An amount. */
struct json_object *report_amount(const struct credit_amount *amount);
struct json_object *report_in_use(const struct stats_totals *totals);

/* Adds the members of `metrics` that come from ledgers: live, registered, deregistered, refusals, revocations, latency. */
void report_metrics(struct builder *item, const struct stats_totals *totals);

/* A name as it may be shown on a terminal; see pl_utf8_escape(). */
void report_name(const char *name, char ret_name[static REPORT_NAME_MAX]);

#endif
