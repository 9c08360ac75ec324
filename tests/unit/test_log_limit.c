/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "journal.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "log-limit.h"
#include "log.h"
#include "wraps.h"

#define SUPPRESSED "03c656599d7d4d1a90d0ab899fce4e0f"

/* For journal_count(). */
static void provoke(uid_t uid, unsigned int n) {
        const struct log_subject subject = { 1, 2, uid, NULL };

        for (unsigned int i = 0; i < n; i++) {
                log_subject_event(&subject, LOG_NOTICE, EVENT_TURNED_AWAY, "is turned away");
                journal_drain();
        }
}

TEST(test_limit) {
        static struct entry e;

        provoke(2001, LOG_LIMIT_BURST + 7);
        assert_int_equal(journal_count(), LOG_LIMIT_BURST);

        /* Others, and other kinds, are not concerned. */
        provoke(2002, 1);
        assert_int_equal(journal_count(), 1);
        log_subject_event(&(const struct log_subject) { 1, 2, 2001, NULL }, LOG_ERR, EVENT_REGISTRAR_STUCK, "hangs");
        assert_int_equal(journal_count(), 1);

        wraps_clock->jumped_ms += LOG_LIMIT_INTERVAL_MS - 1000;
        provoke(2001, 1);
        log_report_missed(false);
        assert_int_equal(journal_count(), 0);

        wraps_clock->jumped_ms += 1000;
        log_subject_event(&(const struct log_subject) { 1, 2, 2001, NULL }, LOG_NOTICE, EVENT_TURNED_AWAY, "is turned away");
        assert_true(journal_receive(&e));
        expect_field(&e, "MESSAGE_ID", SUPPRESSED);
        expect_field(&e, "PINLEASE_UID", "2001");
        expect_field(&e, "PINLEASE_PID", "");
        expect_field(&e, "PINLEASE_MISSED", "8");
        expect_field(&e, "MESSAGE", "8 more messages about connections turned away of user 2001 were not written");
        assert_int_equal(journal_count(), 1);
}

TEST(test_report_missed) {
        provoke(2010, LOG_LIMIT_BURST + 3);
        for (int i = 0; i < LOG_LIMIT_BURST + 1; i++)
                log_line(LOG_INFO, "about nobody");
        journal_drain();
        assert_int_equal(journal_count(), 2 * LOG_LIMIT_BURST);
        log_report_missed(false);
        assert_int_equal(journal_count(), 0);

        journal_pass_interval();
        log_report_missed(false);
        expect_message("1 more messages about others were not written");
        expect_message("3 more messages about connections turned away of user 2010 were not written");
        log_report_missed(true);
        assert_int_equal(journal_count(), 0);

        provoke(2010, LOG_LIMIT_BURST + 2);
        assert_int_equal(journal_count(), LOG_LIMIT_BURST);
        log_report_missed(true);
        expect_message("2 more messages about connections turned away of user 2010 were not written");
        log_report_missed(true);
        assert_int_equal(journal_count(), 0);
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
                journal_drain();
        }
        assert_int_equal(journal_count(), LOG_LIMIT_BURST);
        journal_pass_interval();
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
        (void)journal_count();
        /* Full of the largest numbers: silent until the interval is over, and then no longer. */
        memset(words, 0xff, 4096);
        journal_pass_interval();
        provoke(2030, 1);
        (void)journal_count();
        journal_pass_interval();
        provoke(2030, 1);
        assert_true(journal_count() >= 1);

        /* What is said of others is not touched. */
        provoke(2031, 1);
        assert_int_equal(journal_count(), 1);
        (void)munmap(words, 4096);
}

/* More users at a time than are told apart count as one; places come free when they have been silent. */
TEST(test_many_users) {
        for (unsigned int i = 0; i < LOG_LIMIT_USERS; i++)
                provoke(3000 + i, 1);
        assert_int_equal(journal_count(), LOG_LIMIT_USERS);
        for (unsigned int i = 0; i < 1000; i++)
                provoke(4000 + i, 1);
        assert_int_equal(journal_count(), LOG_LIMIT_BURST);
        provoke(3000, 1);
        assert_int_equal(journal_count(), 1);

        journal_pass_interval();
        journal_pass_interval();
        provoke(4999, 1);
        assert_int_equal(journal_count(), 1);
        journal_pass_interval();
        log_report_missed(true);
        expect_message("990 more messages about connections turned away were not written");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                LOGGING(test_limit),
                LOGGING(test_report_missed),
                LOGGING(test_limit_of_many_sessions),
                LOGGING(test_limit_of_nonsense),
                LOGGING(test_hostile_page),
                LOGGING(test_many_users),
        };

        wraps_reset();
        return cmocka_run_group_tests_name("log_limit", tests, NULL, NULL);
}
