/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "testing.h"

#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "log-limit.h"
#include "log.h"
#include "wraps.h"

#define VIOLATION "81e325db6fc14669b142570e235693a6"
#define SUPPRESSED "03c656599d7d4d1a90d0ab899fce4e0f"

/* A journal, and what is standard error meanwhile. */
static struct {
        char folder[32];
        char path[64];
        int journal;
        int error;  /* what is written to standard error */
        int stderr; /* the real one */
        unsigned int drained;
} f;

static void listen_anew(void) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        pl_close(f.journal);
        (void)unlink(f.path);
        memcpy(address.sun_path, f.path, strlen(f.path) + 1);
        f.journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_return_code(bind(f.journal, (const struct sockaddr *)&address, sizeof address), errno);
}

static void pass_interval(void) {
        wraps_clock->jumped_ms += LOG_LIMIT_INTERVAL_MS;
}

static void set_stream(uintmax_t more) {
        char stream[64];
        struct stat st;

        assert_return_code(fstat(STDERR_FILENO, &st), errno);
        (void)snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino + more);
        assert_return_code(setenv("JOURNAL_STREAM", stream, 1), errno);
}

static int setup(void **unused _unused_) {
        int pair[2];

        (void)strcpy(f.folder, "/tmp/pl-test-log-XXXXXX");
        assert_non_null(mkdtemp(f.folder));
        (void)snprintf(f.path, sizeof f.path, "%s/socket", f.folder);
        f.journal = -1;
        listen_anew();

        assert_return_code(pipe2(pair, O_CLOEXEC | O_NONBLOCK), errno);
        f.error = pair[0];
        f.stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        assert_return_code(dup2(pair[1], STDERR_FILENO), errno);
        pl_close(pair[1]);

        set_stream(0);
        log_open("test", f.path);
        log_set_session(0, 0, 0);
        pass_interval();
        pass_interval();
        return 0;
}

static int teardown(void **unused _unused_) {
        log_close();
        (void)dup2(f.stderr, STDERR_FILENO);
        pl_close(f.stderr);
        pl_close(f.error);
        pl_close(f.journal);
        (void)unlink(f.path);
        (void)rmdir(f.folder);
        return 0;
}

/* --- a datagram, read as the documentation of the native protocol says --- */

struct entry {
        unsigned int n;
        struct {
                char name[65];
                char value[4096];
        } fields[16];
};

static void add_field(struct entry *e, const char *name, size_t name_size, const char *value, size_t size) {
        assert_in_range(name_size, 1, sizeof e->fields[0].name - 1);
        assert_true(size < sizeof e->fields[0].value && e->n < ELEMENTSOF(e->fields));
        for (size_t i = 0; i < name_size; i++)
                assert_true((name[i] >= 'A' && name[i] <= 'Z') || (name[i] >= '0' && name[i] <= '9') || (i > 0 && name[i] == '_'));
        memset(e->fields + e->n, 0, sizeof e->fields[0]);
        memcpy(e->fields[e->n].name, name, name_size);
        memcpy(e->fields[e->n].value, value, size);
        e->n++;
}

/* Returns whether there is one. */
static bool receive(struct entry *e) {
        char bytes[8192], *p = bytes, *end;
        ssize_t n = recv(f.journal, bytes, sizeof bytes, 0);

        if (n < 0)
                return false;
        e->n = 0;
        for (end = bytes + n; p < end;) {
                char *newline = memchr(p, '\n', (size_t)(end - p)), *equals;

                assert_non_null(newline);
                equals = memchr(p, '=', (size_t)(newline - p));
                if (equals) {
                        add_field(e, p, (size_t)(equals - p), equals + 1, (size_t)(newline - equals - 1));
                        p = newline + 1;
                } else {
                        uint64_t size;

                        assert_true(end - newline > (ptrdiff_t)sizeof size);
                        memcpy(&size, newline + 1, sizeof size); /* little-endian, as this machine */
                        assert_true(size < (uint64_t)(end - newline) - sizeof size - 1);
                        add_field(e, p, (size_t)(newline - p), newline + 1 + sizeof size, size);
                        p = newline + 1 + sizeof size + size;
                        assert_int_equal(*p++, '\n');
                }
        }
        return true;
}

/* "" where there is no such field; never twice. */
static const char *field(const struct entry *e, const char *name) {
        const char *value = NULL;

        for (unsigned int i = 0; i < e->n; i++)
                if (strcmp(e->fields[i].name, name) == 0) {
                        assert_null(value);
                        value = e->fields[i].value;
                }
        return value ? value : "";
}

static void expect_field(const struct entry *e, const char *name, const char *value) {
        assert_string_equal(field(e, name), value);
}

static void expect_message(const char *text) {
        static struct entry e;

        assert_true(receive(&e));
        expect_field(&e, "MESSAGE", text);
}

/* The queue of a socket is short (net.unix.max_dgram_qlen). */
static void drain(void) {
        static struct entry e;

        while (receive(&e))
                f.drained++;
}

static unsigned int count_messages(void) {
        unsigned int n;

        drain();
        n = f.drained;
        f.drained = 0;
        return n;
}

static void expect_stderr(const char *text) {
        char bytes[4096];
        ssize_t n = read(f.error, bytes, sizeof bytes - 1);

        bytes[n < 0 ? 0 : n] = 0;
        assert_string_equal(bytes, text);
}

/* --- what is said --- */

TEST(test_session) {
        static struct entry e;

        log_set_session(7, 4711, 1001);
        log_subject_event(&(const struct log_subject) { .code = "bad-length" }, LOG_NOTICE, EVENT_PROTOCOL_VIOLATION, "ends: %d", 5);
        assert_true(receive(&e));
        assert_int_equal(e.n, 9);
        expect_field(&e, "PRIORITY", "5");
        expect_field(&e, "SYSLOG_FACILITY", "3");
        expect_field(&e, "SYSLOG_IDENTIFIER", "test");
        expect_field(&e, "MESSAGE_ID", VIOLATION);
        expect_field(&e, "PINLEASE_SESSION", "7");
        expect_field(&e, "PINLEASE_PID", "4711");
        expect_field(&e, "PINLEASE_UID", "1001");
        expect_field(&e, "PINLEASE_CODE", "bad-length");
        expect_field(&e, "MESSAGE", "session 7 of process 4711 (user 1001): ends: 5");

        errno = ENOSPC;
        log_line(LOG_INFO, "no more");
        assert_int_equal(errno, ENOSPC);
        assert_true(receive(&e));
        assert_int_equal(e.n, 7);
        expect_field(&e, "MESSAGE_ID", "");
        expect_field(&e, "PINLEASE_CODE", "");
        expect_field(&e, "PINLEASE_UID", "1001");
        assert_int_equal(count_messages(), 0);
        expect_stderr("");
}

TEST(test_subjects) {
        static struct entry e;

        log_subject_event(&(const struct log_subject) { 0, 31, 0, NULL }, LOG_NOTICE, EVENT_TURNED_AWAY, "is turned away");
        assert_true(receive(&e));
        expect_field(&e, "PINLEASE_SESSION", "");
        expect_field(&e, "PINLEASE_PID", "31");
        expect_field(&e, "PINLEASE_UID", "0");
        expect_field(&e, "MESSAGE", "process 31 (user 0): is turned away");

        log_subject_event(&(const struct log_subject) { UINT64_MAX, 32, UINT32_MAX - 1, NULL }, LOG_WARNING, EVENT_KEEPER_FAILED, "!");
        assert_true(receive(&e));
        expect_field(&e, "PINLEASE_SESSION", "18446744073709551615");
        expect_field(&e, "PINLEASE_UID", "4294967294");
        expect_field(&e, "MESSAGE", "session 18446744073709551615 of process 32 (user 4294967294): !");

        log_event(LOG_ERR, EVENT_SESSIONS_LEFT, "stops");
        assert_true(receive(&e));
        assert_int_equal(e.n, 5);
        expect_field(&e, "MESSAGE", "stops");
}

/* Nothing that an app chooses makes a line, a field, or a terminal do what it likes. */
TEST(test_hostile_text) {
        static const struct {
                const char *text, *shown;
        } texts[] = {
                { "a\nMESSAGE_ID=1\n<0>b", "a\\x0aMESSAGE_ID=1\\x0a<0>b" },
                { "\r\t\b\x7f", "\\x0d\\x09\\x08\\x7f" },
                { "\x1b[2J", "\\x1b[2J" },
                { "\xc2\x9b" "2J", "\\xc2\\x9b2J" },              /* the same as one character */
                { "\x9b", "\\x9b" },
                { "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },    /* letters */
                { "\xe2\x82\xac \xf0\x9f\x98\x80", "\xe2\x82\xac \xf0\x9f\x98\x80" },
                { "\xc0\x8a \xe0\x80\x8a \xf0\x80\x80\x8a", "\\xc0\\x8a \\xe0\\x80\\x8a \\xf0\\x80\\x80\\x8a" }, /* newlines in too many bytes */
                { "\xed\xa0\x80 \xf4\x90\x80\x80 \xff", "\\xed\\xa0\\x80 \\xf4\\x90\\x80\\x80 \\xff" },
                { "\xe2\x80\xa8 \xe2\x80\xae \xe2\x81\xa6", "\\xe2\\x80\\xa8 \\xe2\\x80\\xae \\xe2\\x81\\xa6" },
                { "\xe2\x82", "\\xe2\\x82" },
                { "%s%n", "%s%n" },
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                char line[256];

                pass_interval();
                log_line(LOG_INFO, "%s", texts[i].text);
                expect_message(texts[i].shown);

                log_close();
                log_line(LOG_INFO, "%s", texts[i].text);
                (void)snprintf(line, sizeof line, "<6>%s\n", texts[i].shown);
                expect_stderr(line);
                log_open("test", f.path);
        }
}

TEST(test_long_text) {
        static struct entry e;
        char text[4096];

        memset(text, 'x', sizeof text);
        text[sizeof text - 1] = 0;
        log_line(LOG_INFO, "%s", text);
        assert_true(receive(&e));
        assert_in_range(strlen(field(&e, "MESSAGE")), 500, 1000);

        /* Each takes four characters. */
        memset(text, '\n', sizeof text - 1);
        log_line(LOG_INFO, "%s", text);
        assert_true(receive(&e));
        assert_in_range(strlen(field(&e, "MESSAGE")), 2000, 3000);
}

/* --- where it goes --- */

TEST(test_descriptor) {
        assert_true(log_fd() >= LOG_FD_MIN);
        assert_int_equal(fcntl(log_fd(), F_GETFD), FD_CLOEXEC);
        log_close();
        assert_int_equal(log_fd(), -1);
}

TEST(test_not_the_journal) {
        /* Another's. */
        set_stream(1);
        log_open("test", f.path);
        assert_int_equal(log_fd(), -1);
        log_event(LOG_ERR, EVENT_SESSIONS_LEFT, "stops");
        expect_stderr("<3>stops\n");

        (void)setenv("JOURNAL_STREAM", "x", 1);
        log_open("test", f.path);
        log_line(LOG_INFO, "1");
        (void)unsetenv("JOURNAL_STREAM");
        log_open("test", f.path);
        log_line(LOG_INFO, "2");
        expect_stderr("<6>1\n<6>2\n");

        /* Not to be reached, at the start and later. */
        set_stream(0);
        log_open("test", "/nonexistent/socket");
        log_line(LOG_INFO, "3");
        log_open("test", f.path);
        assert_true(log_fd() >= 0);
        f.journal = pl_close(f.journal);
        log_line(LOG_INFO, "4");
        expect_stderr("<6>3\n<6>4\n");
}

TEST(test_journal_restarted) {
        int fd = log_fd();

        log_line(LOG_INFO, "1");
        listen_anew();
        log_line(LOG_INFO, "2");
        expect_message("2");
        assert_int_equal(log_fd(), fd);
        expect_stderr("");
}

/* Nobody reads: lines are lost, nobody waits, and it is said later. */
static void fill(unsigned int (*count)(void), void (*expect)(const char *)) {
        unsigned int n_said = 20000, n_there;
        char text[80];

        for (unsigned int i = 0; i < n_said; i++) {
                if (i % LOG_LIMIT_BURST == 0)
                        pass_interval();
                log_line(LOG_INFO, "%u", i);
        }
        n_there = count();
        assert_in_range(n_there, 1, n_said - 1);
        pass_interval();
        log_line(LOG_INFO, "again");
        (void)snprintf(text, sizeof text, "%u messages were lost, the journal was busy", n_said - n_there);
        expect(text);
}

static void expect_lost(const char *text) {
        expect_message(text);
        expect_message("again");
        expect_stderr("");
}

TEST(test_full_journal) {
        fill(count_messages, expect_lost);
}

static unsigned int count_lines(void) {
        unsigned int n = 0;
        char byte;

        while (read(f.error, &byte, 1) == 1)
                n += byte == '\n';
        return n;
}

static void expect_lost_lines(const char *text) {
        char lines[128];

        (void)snprintf(lines, sizeof lines, "<4>%s\n<6>again\n", text);
        expect_stderr(lines);
}

TEST(test_full_stderr) {
        log_close();
        /* The writing end blocks. */
        assert_return_code(fcntl(STDERR_FILENO, F_SETFL, 0), errno);
        fill(count_lines, expect_lost_lines);
}

/* --- how much --- */

/* For count_messages(). */
static void provoke(uid_t uid, unsigned int n) {
        const struct log_subject subject = { 1, 2, uid, NULL };

        for (unsigned int i = 0; i < n; i++) {
                log_subject_event(&subject, LOG_NOTICE, EVENT_TURNED_AWAY, "is turned away");
                drain();
        }
}

TEST(test_limit) {
        static struct entry e;

        provoke(2001, LOG_LIMIT_BURST + 7);
        assert_int_equal(count_messages(), LOG_LIMIT_BURST);

        /* Others, and other kinds, are not concerned. */
        provoke(2002, 1);
        assert_int_equal(count_messages(), 1);
        log_subject_event(&(const struct log_subject) { 1, 2, 2001, NULL }, LOG_ERR, EVENT_REGISTRAR_STUCK, "hangs");
        assert_int_equal(count_messages(), 1);

        wraps_clock->jumped_ms += LOG_LIMIT_INTERVAL_MS - 1000;
        provoke(2001, 1);
        log_report_missed(false);
        assert_int_equal(count_messages(), 0);

        wraps_clock->jumped_ms += 1000;
        log_subject_event(&(const struct log_subject) { 1, 2, 2001, NULL }, LOG_NOTICE, EVENT_TURNED_AWAY, "is turned away");
        assert_true(receive(&e));
        expect_field(&e, "MESSAGE_ID", SUPPRESSED);
        expect_field(&e, "PINLEASE_UID", "2001");
        expect_field(&e, "PINLEASE_PID", "");
        expect_field(&e, "PINLEASE_MISSED", "8");
        expect_field(&e, "MESSAGE", "8 more messages about connections turned away of user 2001 were not written");
        assert_int_equal(count_messages(), 1);
}

TEST(test_report_missed) {
        provoke(2010, LOG_LIMIT_BURST + 3);
        for (int i = 0; i < LOG_LIMIT_BURST + 1; i++)
                log_line(LOG_INFO, "about nobody");
        drain();
        assert_int_equal(count_messages(), 2 * LOG_LIMIT_BURST);
        log_report_missed(false);
        assert_int_equal(count_messages(), 0);

        pass_interval();
        log_report_missed(false);
        expect_message("1 more messages about others were not written");
        expect_message("3 more messages about connections turned away of user 2010 were not written");
        log_report_missed(true);
        assert_int_equal(count_messages(), 0);

        provoke(2010, LOG_LIMIT_BURST + 2);
        assert_int_equal(count_messages(), LOG_LIMIT_BURST);
        log_report_missed(true);
        expect_message("2 more messages about connections turned away of user 2010 were not written");
        log_report_missed(true);
        assert_int_equal(count_messages(), 0);
}

/* Sessions say one thing and end; together they are no more talkative than one process. */
TEST(test_limit_of_many_sessions) {
        int page = log_limit_fd(2020);

        assert_true(page >= 0);
        assert_int_equal(log_limit_fd(2020), page);
        assert_int_not_equal(log_limit_fd(2021), page);

        for (unsigned int i = 0; i < 4 * LOG_LIMIT_BURST; i++) {
                pid_t pid = testing_fork();

                if (pid == 0) {
                        if (log_limit_use(page) < 0)
                                _exit(1);
                        log_set_session(i + 1, 99, 2020);
                        log_event(LOG_NOTICE, EVENT_PROTOCOL_VIOLATION, "ends");
                        _exit(0);
                }
                assert_int_equal(testing_wait_child(pid), 0);
                drain();
        }
        assert_int_equal(count_messages(), LOG_LIMIT_BURST);
        pass_interval();
        log_report_missed(false);
        expect_message("30 more messages about broken protocol of user 2020 were not written");
}

TEST(test_limit_of_nonsense) {
        int memfd = memfd_create("pl-test", MFD_CLOEXEC), pair[2];

        assert_int_equal(log_limit_use(-1), -EBADF);
        assert_int_equal(log_limit_use(memfd), -EINVAL);
        pl_close(memfd);
        assert_return_code(pipe2(pair, O_CLOEXEC), errno);
        assert_int_equal(log_limit_use(pair[0]), -EINVAL);
        pl_close(pair[0]);
        pl_close(pair[1]);
}

/* A registrar that somebody has taken over writes into the page, or tries to take it away: that is no harm to pinleased. */
TEST(test_hostile_page) {
        struct testing_random random;
        int page = log_limit_fd(2030);
        uint64_t *words;

        assert_int_equal(ftruncate(page, 0), -1);
        words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, page, 0);
        assert_true(words != MAP_FAILED);
        testing_seed(&random, "test_hostile_page");
        for (int i = 0; i < 100; i++) {
                for (unsigned int k = 0; k < 512; k++)
                        words[k] = testing_random(&random);
                provoke(2030, 2);
                log_report_missed(false);
        }
        (void)count_messages();
        /* Full of the largest numbers: silent until the interval is over, and then no longer. */
        memset(words, 0xff, 4096);
        pass_interval();
        provoke(2030, 1);
        (void)count_messages();
        pass_interval();
        provoke(2030, 1);
        assert_true(count_messages() >= 1);

        /* What is said of others is not touched. */
        provoke(2031, 1);
        assert_int_equal(count_messages(), 1);
        (void)munmap(words, 4096);
}

/* More users at a time than are told apart count as one; places come free when they have been silent. */
TEST(test_many_users) {
        for (unsigned int i = 0; i < LOG_LIMIT_USERS; i++)
                provoke(3000 + i, 1);
        assert_int_equal(count_messages(), LOG_LIMIT_USERS);
        for (unsigned int i = 0; i < 1000; i++)
                provoke(4000 + i, 1);
        assert_int_equal(count_messages(), LOG_LIMIT_BURST);
        provoke(3000, 1);
        assert_int_equal(count_messages(), 1);

        pass_interval();
        pass_interval();
        provoke(4999, 1);
        assert_int_equal(count_messages(), 1);
        pass_interval();
        log_report_missed(true);
        expect_message("990 more messages about connections turned away were not written");
}

#define LOGGING(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
        const struct CMUnitTest tests[] = {
                LOGGING(test_session),
                LOGGING(test_subjects),
                LOGGING(test_hostile_text),
                LOGGING(test_long_text),
                LOGGING(test_descriptor),
                LOGGING(test_not_the_journal),
                LOGGING(test_journal_restarted),
                LOGGING(test_full_journal),
                LOGGING(test_full_stderr),
                LOGGING(test_limit),
                LOGGING(test_report_missed),
                LOGGING(test_limit_of_many_sessions),
                LOGGING(test_limit_of_nonsense),
                LOGGING(test_hostile_page),
                LOGGING(test_many_users),
        };

        wraps_reset();
        return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
