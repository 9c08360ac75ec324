/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "journal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "log-limit.h"
#include "log.h"
#include "wraps.h"

struct journal journal;

void journal_listen_anew(void) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        pl_close(journal.socket);
        (void)unlink(journal.path);
        memcpy(address.sun_path, journal.path, strlen(journal.path) + 1);
        journal.socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_return_code(bind(journal.socket, (const struct sockaddr *)&address, sizeof address), errno);
}

void journal_pass_interval(void) {
        wraps_clock->jumped_ms += LOG_LIMIT_INTERVAL_MS;
}

void journal_set_stream(uintmax_t more) {
        char stream[64];
        struct stat st;

        assert_return_code(fstat(STDERR_FILENO, &st), errno);
        (void)snprintf(stream, sizeof stream, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino + more);
        assert_return_code(setenv("JOURNAL_STREAM", stream, 1), errno);
}

int journal_setup(void **unused _unused_) {
        int pair[2];

        (void)strcpy(journal.folder, "/tmp/pl-test-log-XXXXXX");
        assert_non_null(mkdtemp(journal.folder));
        (void)snprintf(journal.path, sizeof journal.path, "%s/socket", journal.folder);
        journal.socket = -1;
        journal_listen_anew();

        assert_return_code(pipe2(pair, O_CLOEXEC | O_NONBLOCK), errno);
        journal.error = pair[0];
        journal.saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        assert_return_code(dup2(pair[1], STDERR_FILENO), errno);
        pl_close(pair[1]);

        journal_set_stream(0);
        log_open("test", journal.path);
        log_set_session(0, 0, 0);
        journal_pass_interval();
        journal_pass_interval();
        return 0;
}

int journal_teardown(void **unused _unused_) {
        log_close();
        (void)dup2(journal.saved, STDERR_FILENO);
        pl_close(journal.saved);
        pl_close(journal.error);
        pl_close(journal.socket);
        (void)unlink(journal.path);
        (void)rmdir(journal.folder);
        return 0;
}

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

bool journal_receive(struct entry *e) {
        char bytes[8192], *p = bytes, *end;
        ssize_t n = recv(journal.socket, bytes, sizeof bytes, 0);

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

const char *journal_field(const struct entry *e, const char *name) {
        const char *value = NULL;

        for (unsigned int i = 0; i < e->n; i++)
                if (strcmp(e->fields[i].name, name) == 0) {
                        assert_null(value);
                        value = e->fields[i].value;
                }
        return value ? value : "";
}

void expect_field(const struct entry *e, const char *name, const char *value) {
        assert_string_equal(journal_field(e, name), value);
}

bool journal_has(const char *id, const char *priority) {
        static struct entry e;
        bool found = false;

        while (journal_receive(&e))
                found = found || (strcmp(journal_field(&e, "MESSAGE_ID"), id) == 0 &&
                                  strcmp(journal_field(&e, "PRIORITY"), priority) == 0);
        return found;
}

void expect_message(const char *text) {
        static struct entry e;

        assert_true(journal_receive(&e));
        expect_field(&e, "MESSAGE", text);
}

void journal_drain(void) {
        static struct entry e;

        while (journal_receive(&e))
                journal.drained++;
}

unsigned int journal_count(void) {
        unsigned int n;

        journal_drain();
        n = journal.drained;
        journal.drained = 0;
        return n;
}

void expect_stderr(const char *text) {
        char bytes[4096];
        ssize_t n = read(journal.error, bytes, sizeof bytes - 1);

        bytes[n < 0 ? 0 : n] = 0;
        assert_string_equal(bytes, text);
}
