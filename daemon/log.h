/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef PL_LOG_H
#define PL_LOG_H

/*
 * Lines for the administrator, where an error is decided, not where it occurs. To the journal with fields if that is where
 * standard error goes ($JOURNAL_STREAM), else to standard error, one line each, with the priority as a prefix (sd-daemon(3)).
 *
 * Fields: MESSAGE, MESSAGE_ID (see log-messages.h), PRIORITY, SYSLOG_IDENTIFIER, and as far as they are known PINLEASE_SESSION,
 * PINLEASE_PID and PINLEASE_UID (the app's), PINLEASE_CODE (name of a refusal code). MESSAGE names the session too, so that it
 * can be read without the fields.
 *
 * Never waits: a line that the journal does not take at once is lost, and counted. Never writes a control character or what
 * is not UTF-8: texts may hold what an app has chosen. Nobody's messages drown another's: log-limit.h. errno stays as it was.
 *
 * The session does not link libsystemd: that alone would be more private memory than a session may have.
 */

#include <stdint.h>
#include <sys/types.h>
#include <syslog.h>

#include "log-messages.h"
#include "util.h"

#define LOG_JOURNAL_SOCKET "/run/systemd/journal/socket"

/* The journal's descriptor is this or higher: out of the way of those that are handed over at fixed places. */
#define LOG_FD_MIN 64

/* At the start, while the socket can be reached. Without, or when it fails, lines go to standard error. The name is not
 * copied. */
void log_open(const char *identifier, const char *journal_socket);

/* To be kept by who closes descriptors and goes on, as fds_close_except() does; -1: none. It does not survive exec. */
int log_fd(void);

/* Standard error from now on: for a forked child that is about to arrange its descriptors for another program. */
void log_close(void);

/* All that this process says is about this session. */
void log_set_session(uint64_t session, pid_t app_pid, uid_t app_uid);

/* Whom a message is about. A pid of 0: this process's session, if it has one. */
struct log_subject {
        uint64_t session; /* 0: it has none yet */
        pid_t pid;
        uid_t uid;
        const char *code; /* name of a refusal code, or NULL */
};

void log_line(int priority, const char *format, ...) _printf_(2, 3);
void log_event(int priority, enum log_message message, const char *format, ...) _printf_(3, 4);
void log_subject_event(const struct log_subject *subject, int priority, enum log_message message, const char *format, ...)
        _printf_(4, 5);

/* Says how many messages were not written, where the time for that has come (all: everywhere). In pinleased, now and then. */
void log_report_missed(bool all);

#endif
