/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "log-limit.h"
#include "utf8.h"

/* A refusal's sentence and some words around it. */
#define TEXT_MAX 640

static const struct {
        const char *id;
        const char *title;
} messages[N_EVENTS] = {
        [EVENT_NONE] = { NULL, "others" },
#define ENTRY(name, id, title) [EVENT_##name] = { id, title },
        LOG_MESSAGES(ENTRY)
#undef ENTRY
};

static struct {
        const char *identifier;
        struct sockaddr_un address;
        int fd; /* the journal's; -1: none */
        uint32_t lost;
        struct log_subject session;
} state = { .fd = -1 };

/* What a line carries beside its text. */
struct line {
        int priority;
        enum log_message message;
        struct log_subject subject;
        const uid_t *uid; /* NULL: it is about nobody */
        uint32_t missed;
};

/* --- text --- */

struct buffer {
        size_t n;
        char bytes[3072];
};

static void append(struct buffer *b, const char *format, ...) _printf_(2, 3);
static void append(struct buffer *b, const char *format, ...) {
        size_t room = sizeof b->bytes - b->n;
        va_list ap;
        int n;

        va_start(ap, format);
        n = vsnprintf(b->bytes + b->n, room, format, ap);
        va_end(ap);
        if (n > 0)
                b->n += (size_t)n < room ? (size_t)n : room - 1;
}

static void append_text(struct buffer *b, const char *text) {
        char escaped[PL_UTF8_ESCAPED(TEXT_MAX)];

        pl_utf8_escape(text, strnlen(text, TEXT_MAX), escaped);
        append(b, "%s", escaped);
}

/* Who it is about, for who reads the text alone. */
static void append_message(struct buffer *b, const struct line *line, const char *text) {
        const struct log_subject *subject = &line->subject;

        if (subject->session)
                append(b, "session %" PRIu64 " of ", subject->session);
        if (subject->pid)
                append(b, "process %d (user %" PRIu32 "): ", (int)subject->pid, (uint32_t)subject->uid);
        append_text(b, text);
        append(b, "\n");
}

/* --- ways out --- */

static int connect_journal(int fd) {
        return connect(fd, (const struct sockaddr *)&state.address, sizeof state.address) < 0 ? -errno : 0;
}

static int transmit(const struct buffer *b) {
        ssize_t n;

        do
                n = send(state.fd, b->bytes, b->n, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (n < 0 && errno == EINTR);
        return n < 0 ? -errno : 0;
}

/* The native protocol: one datagram of FIELD=value lines. No value has a newline, so the form for binary values is not needed. */
static int to_journal(const struct line *line, const char *text) {
        struct buffer b = { 0 };
        int r;

        append(&b, "PRIORITY=%d\nSYSLOG_FACILITY=%d\nSYSLOG_IDENTIFIER=%s\n", line->priority, LOG_DAEMON >> 3, state.identifier);
        if (messages[line->message].id)
                append(&b, "MESSAGE_ID=%s\n", messages[line->message].id);
        if (line->subject.session)
                append(&b, "PINLEASE_SESSION=%" PRIu64 "\n", line->subject.session);
        if (line->subject.pid)
                append(&b, "PINLEASE_PID=%d\n", (int)line->subject.pid);
        if (line->uid)
                append(&b, "PINLEASE_UID=%" PRIu32 "\n", (uint32_t)*line->uid);
        if (line->subject.code)
                append(&b, "PINLEASE_CODE=%s\n", line->subject.code);
        if (line->missed)
                append(&b, "PINLEASE_MISSED=%" PRIu32 "\n", line->missed);
        append(&b, "MESSAGE=");
        append_message(&b, line, text);

        r = transmit(&b);
        /* journald's socket has been made anew. */
        if ((r == -ECONNREFUSED || r == -ENOTCONN || r == -ECONNRESET) && connect_journal(state.fd) == 0)
                r = transmit(&b);
        return r;
}

/* One write: lines of several processes do not mix. */
static int to_stderr(const struct line *line, const char *text) {
        struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
        struct buffer b = { 0 };

        if (poll(&p, 1, 0) == 0)
                return -EAGAIN;
        append(&b, "<%d>", line->priority);
        append_message(&b, line, text);
        return write(STDERR_FILENO, b.bytes, b.n) < 0 ? -errno : 0;
}

static int put(const struct line *line, const char *text) {
        int r = -ENOTCONN;

        if (state.fd >= 0)
                r = to_journal(line, text);
        /* Nobody listens there, or what is there is not the journal. */
        if (r < 0 && r != -EAGAIN && r != -ENOBUFS)
                r = to_stderr(line, text);
        return r;
}

static void put_or_count(const struct line *line, const char *text) {
        if (state.lost > 0) {
                const struct line about = { .priority = LOG_WARNING };
                char said[80];

                (void)snprintf(said, sizeof said, "%" PRIu32 " messages were lost, the journal was busy", state.lost);
                if (put(&about, said) == 0)
                        state.lost = 0;
        }
        if (put(line, text) < 0)
                state.lost++;
}

/* --- what others call --- */

static void put_missed(const uid_t *uid, enum log_message message, uint32_t missed) {
        const struct line line = { .priority = LOG_NOTICE, .message = EVENT_SUPPRESSED, .uid = uid, .missed = missed };
        char text[160], whose[32] = "";

        if (uid)
                (void)snprintf(whose, sizeof whose, " of user %" PRIu32, (uint32_t)*uid);
        (void)snprintf(text,
                       sizeof text,
                       "%" PRIu32 " more messages about %s%s were not written",
                       missed,
                       messages[message].title,
                       whose);
        put_or_count(&line, text);
}

static void say(const struct log_subject *subject, int priority, enum log_message message, const char *format, va_list ap) {
        struct line line = { .priority = priority & LOG_PRIMASK, .message = message, .subject = state.session };
        int saved = errno;
        char text[TEXT_MAX];
        uint32_t missed;
        bool take;

        if (subject && subject->pid)
                line.subject = *subject;
        else if (subject)
                line.subject.code = subject->code;
        if (line.subject.pid)
                line.uid = &line.subject.uid;

        take = log_limit_take(line.uid, message, &missed);
        if (missed > 0)
                put_missed(line.uid, message, missed);
        if (take) {
                (void)vsnprintf(text, sizeof text, format, ap);
                put_or_count(&line, text);
        }
        errno = saved;
}

void log_line(int priority, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        say(NULL, priority, EVENT_NONE, format, ap);
        va_end(ap);
}

void log_event(int priority, enum log_message message, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        say(NULL, priority, message, format, ap);
        va_end(ap);
}

void log_subject_event(const struct log_subject *subject, int priority, enum log_message message, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        say(subject, priority, message, format, ap);
        va_end(ap);
}

void log_report_missed(bool all) {
        int saved = errno;

        log_limit_reap(all, put_missed);
        errno = saved;
}

void log_set_session(uint64_t session, pid_t app_pid, uid_t app_uid) {
        state.session = (struct log_subject) { .session = session, .pid = app_pid, .uid = app_uid };
}

static bool stderr_is_journal(void) {
        const char *stream = getenv("JOURNAL_STREAM");
        uintmax_t device, inode;
        struct stat st;

        return stream && sscanf(stream, "%" SCNuMAX ":%" SCNuMAX, &device, &inode) == 2 && fstat(STDERR_FILENO, &st) == 0 &&
               st.st_dev == device && st.st_ino == inode;
}

void log_open(const char *identifier, const char *journal_socket) {
        _cleanup_(pl_closep) int fd = -1, high = -1;

        log_close();
        state.identifier = identifier;
        state.address = (struct sockaddr_un) { .sun_family = AF_UNIX };
        if (!stderr_is_journal() || strlen(journal_socket) >= sizeof state.address.sun_path)
                return;
        memcpy(state.address.sun_path, journal_socket, strlen(journal_socket) + 1);

        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        high = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, LOG_FD_MIN);
        if (high >= 0 && connect_journal(high) == 0)
                state.fd = pl_steal_fd(&high);
}

int log_fd(void) {
        return state.fd;
}

void log_close(void) {
        state.fd = pl_close(state.fd);
}
