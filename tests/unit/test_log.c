/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "journal.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "log-limit.h"
#include "log.h"
#include "wraps.h"

#define VIOLATION "81e325db6fc14669b142570e235693a6"

/* --- what is said --- */

TEST(test_session) {
        static struct entry e;

        log_set_session(7, 4711, 1001);
        log_subject_event(&(const struct log_subject) { .code = "bad-length" }, LOG_NOTICE, EVENT_PROTOCOL_VIOLATION, "ends: %d", 5);
        assert_true(journal_receive(&e));
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
        assert_true(journal_receive(&e));
        assert_int_equal(e.n, 7);
        expect_field(&e, "MESSAGE_ID", "");
        expect_field(&e, "PINLEASE_CODE", "");
        expect_field(&e, "PINLEASE_UID", "1001");
        assert_int_equal(journal_count(), 0);
        expect_stderr("");
}

TEST(test_subjects) {
        static struct entry e;

        log_subject_event(&(const struct log_subject) { 0, 31, 0, NULL }, LOG_NOTICE, EVENT_TURNED_AWAY, "is turned away");
        assert_true(journal_receive(&e));
        expect_field(&e, "PINLEASE_SESSION", "");
        expect_field(&e, "PINLEASE_PID", "31");
        expect_field(&e, "PINLEASE_UID", "0");
        expect_field(&e, "MESSAGE", "process 31 (user 0): is turned away");

        log_subject_event(&(const struct log_subject) { UINT64_MAX, 32, UINT32_MAX - 1, NULL }, LOG_WARNING, EVENT_KEEPER_FAILED, "!");
        assert_true(journal_receive(&e));
        expect_field(&e, "PINLEASE_SESSION", "18446744073709551615");
        expect_field(&e, "PINLEASE_UID", "4294967294");
        expect_field(&e, "MESSAGE", "session 18446744073709551615 of process 32 (user 4294967294): !");

        log_event(LOG_ERR, EVENT_SESSIONS_LEFT, "stops");
        assert_true(journal_receive(&e));
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

                journal_pass_interval();
                log_line(LOG_INFO, "%s", texts[i].text);
                expect_message(texts[i].shown);

                log_close();
                log_line(LOG_INFO, "%s", texts[i].text);
                (void)snprintf(line, sizeof line, "<6>%s\n", texts[i].shown);
                expect_stderr(line);
                log_open("test", journal.path);
        }
}

TEST(test_long_text) {
        static struct entry e;
        char text[4096];

        memset(text, 'x', sizeof text);
        text[sizeof text - 1] = 0;
        log_line(LOG_INFO, "%s", text);
        assert_true(journal_receive(&e));
        assert_in_range(strlen(journal_field(&e, "MESSAGE")), 500, 1000);

        /* Each takes four characters. */
        memset(text, '\n', sizeof text - 1);
        log_line(LOG_INFO, "%s", text);
        assert_true(journal_receive(&e));
        assert_in_range(strlen(journal_field(&e, "MESSAGE")), 2000, 3000);
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
        journal_set_stream(1);
        log_open("test", journal.path);
        assert_int_equal(log_fd(), -1);
        log_event(LOG_ERR, EVENT_SESSIONS_LEFT, "stops");
        expect_stderr("<3>stops\n");

        (void)setenv("JOURNAL_STREAM", "x", 1);
        log_open("test", journal.path);
        log_line(LOG_INFO, "1");
        (void)unsetenv("JOURNAL_STREAM");
        log_open("test", journal.path);
        log_line(LOG_INFO, "2");
        expect_stderr("<6>1\n<6>2\n");

        /* Not to be reached, at the start and later. */
        journal_set_stream(0);
        log_open("test", "/nonexistent/socket");
        log_line(LOG_INFO, "3");
        log_open("test", journal.path);
        assert_true(log_fd() >= 0);
        journal.socket = pl_close(journal.socket);
        log_line(LOG_INFO, "4");
        expect_stderr("<6>3\n<6>4\n");
}

TEST(test_journal_restarted) {
        int fd = log_fd();

        log_line(LOG_INFO, "1");
        journal_listen_anew();
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
                        journal_pass_interval();
                log_line(LOG_INFO, "%u", i);
        }
        n_there = count();
        assert_in_range(n_there, 1, n_said - 1);
        journal_pass_interval();
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
        fill(journal_count, expect_lost);
}

static unsigned int count_lines(void) {
        unsigned int n = 0;
        char byte;

        while (read(journal.error, &byte, 1) == 1)
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
        };

        wraps_reset();
        return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
