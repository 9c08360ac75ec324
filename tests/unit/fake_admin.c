/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake_admin.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <wchar.h>

#define PROGRAM "./pinleasectl"

#define CHECK(condition)                             \
        do {                                         \
                if (!(condition))                    \
                        give_up(__LINE__, #condition); \
        } while (0)

#define AMOUNT(pinned, odp, n) "{\"pinned_bytes\": " #pinned ", \"odp_bytes\": " #odp ", \"registrations\": " #n "}"

const char fake_admin_status[] =
        "{\"version\": \"0.1.0\", \"pid\": 812, \"started\": 1763735100, \"state\": \"serving\",\n"
        " \"sessions\": 2, \"silent\": 0, \"resumed\": 1, \"other_version\": 0,\n"
        " \"in_use\": " AMOUNT(1048576, 0, 1) ", \"credit\": " AMOUNT(16777216, 33554432, 272) ",\n"
        " \"users\": [{\"uid\": 1000, \"sessions\": 2, \"silent\": 0, \"credit\": " AMOUNT(16777216, 33554432, 272) "}],\n"
        " \"limits\": {\"sessions\": 4096, \"sessions_per_user\": 1024, \"silent_per_user\": 64,\n"
        "  \"session\": " AMOUNT(1073741824, 1099511627776, 32768) ",\n"
        "  \"user\": " AMOUNT(68719476736, 17592186044416, 1048576) ",\n"
        "  \"total\": " AMOUNT(274877906944, null, null) "}}";

const char fake_admin_session[] =
        "{\"type\": \"session\", \"id\": \"7\", \"pid\": 1, \"uid\": 1000, \"gid\": 1000, \"keeper_pid\": 4713, "
        "\"registrar_pid\": 4714, \"state\": \"serving\", \"age_ms\": 61000, \"resumed\": false, \"in_use\": " AMOUNT(
                1048576, 0, 1) ", \"credit\": " AMOUNT(16777216, 16777216, 272) "}";

const char fake_admin_registration[] =
        "{\"type\": \"registration\", \"id\": \"7.12\", \"session\": \"7\", \"state\": \"live\", \"backing\": "
        "\"shmem\", "
        "\"name\": \"/memfd:buffer (deleted)\", \"device\": 1, \"inode\": 3077, \"offset\": 0, \"length\": 1048576, "
        "\"bytes\": 1048576, \"access\": [\"local-write\", \"remote-write\"], \"method\": \"pinned\", \"age_ms\": "
        "60000, "
        "\"guards\": [\"modify\", \"poison\"], \"guards_missing\": {\"seals\": \"not-sealed\", \"lease\": "
        "\"not-for-this\"}}";

const char fake_admin_metrics[] =
        "{\"sessions\": 2, \"sessions_started\": 17, \"sessions_turned_away\": 0, \"sessions_resumed\": 1, \"silent\": 0,\n"
        " \"live\": {\"pinned\": {\"registrations\": 1, \"bytes\": 1048576}, \"odp\": {\"registrations\": 0, \"bytes\": 0},\n"
        "          \"dmabuf\": {\"registrations\": 2, \"bytes\": 8192}},\n"
        " \"registered\": {\"pinned\": 40, \"odp\": 2, \"dmabuf\": 5}, \"deregistered\": 41,\n"
        " \"refusals\": {\"fsdax-pin\": 3},\n"
        " \"revocations\": {\"released\": 2, \"forced\": 1, \"kept\": 0},\n"
        " \"latency\": {\"register\": {\"bounds_us\": [16, 32], \"counts\": [0, 12, 30], \"sum_us\": 9000},\n"
        "             \"deregister\": {\"bounds_us\": [16, 32], \"counts\": [20, 20, 1], \"sum_us\": 800}},\n"
        " \"registrars\": [4194305]}";

_Noreturn static void give_up(int line, const char *what) {
        (void)fprintf(stderr, "%s:%d: the fake admin socket does not find: %s\n", __FILE__, line, what);
        _exit(1);
}

void fake_admin_start(struct fake_admin *f, admin_script *script, const void *argument) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };

        *f = (struct fake_admin) { .sock = -1, .argument = argument };
        (void)snprintf(f->folder, sizeof f->folder, "/tmp/pinlease-test-XXXXXX");
        assert_non_null(mkdtemp(f->folder));
        (void)snprintf(f->path, sizeof f->path, "%s/admin.sock", f->folder);
        (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", f->path);
        f->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        assert_true(f->listener >= 0);
        assert_int_equal(bind(f->listener, (const struct sockaddr *)&address, sizeof address), 0);
        assert_int_equal(listen(f->listener, 8), 0);

        f->pid = testing_fork();
        if (f->pid == 0) {
                script(f);
                _exit(0);
        }
        f->listener = pl_close(f->listener);
}

void fake_admin_end(struct fake_admin *f) {
        assert_int_equal(testing_wait_child(f->pid), 0);
        assert_int_equal(unlink(f->path), 0);
        assert_int_equal(rmdir(f->folder), 0);
}

static void wait_readable(int fd) {
        struct pollfd p = { .fd = fd, .events = POLLIN };

        CHECK(poll(&p, 1, TESTING_PATIENCE_MS) > 0);
}

void fake_admin_accept(struct fake_admin *f) {
        pl_close(f->sock);
        wait_readable(f->listener);
        f->sock = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC);
        CHECK(f->sock >= 0);
}

void fake_admin_expect(struct fake_admin *f, const char *body) {
        static struct pl_admin_packet packet;
        size_t length;
        ssize_t n;

        wait_readable(f->sock);
        n = recv(f->sock, &packet, sizeof packet, 0);
        CHECK(n >= (ssize_t)sizeof packet.header);
        length = (size_t)n - sizeof packet.header;
        CHECK(packet.header.magic == PL_MAGIC && packet.header.version == PL_VERSION);
        CHECK(packet.header.opcode == PL_ADMIN_CALL && packet.header.flags == 0 && packet.header.reserved == 0);
        CHECK(packet.header.length == (uint32_t)n && packet.header.seq != 0 && packet.header.seq != f->seq);
        CHECK(!memchr(packet.body, 0, length));
        f->seq = packet.header.seq;
        if (body && (strlen(body) != length || memcmp(body, packet.body, length) != 0)) {
                (void)fprintf(stderr, "the call is %.*s\n instead of %s\n", (int)length, packet.body, body);
                _exit(1);
        }
}

void fake_admin_wait(struct fake_admin *f) {
        wait_readable(f->sock);
}

void fake_admin_expect_end(struct fake_admin *f) {
        char byte;

        wait_readable(f->sock);
        CHECK(recv(f->sock, &byte, 1, 0) <= 0);
}

struct pl_header fake_admin_header(const struct fake_admin *f, uint16_t opcode, size_t body_size) {
        return (struct pl_header) {
                .magic = PL_MAGIC,
                .version = PL_VERSION,
                .opcode = opcode,
                .seq = f->seq,
                .length = (uint32_t)(sizeof(struct pl_header) + body_size),
        };
}

void fake_admin_send(struct fake_admin *f, const struct pl_header *header, const void *body, size_t size, bool with_fd) {
        char *packet = malloc(sizeof *header + size);

        CHECK(packet);
        memcpy(packet, header, sizeof *header);
        memcpy(packet + sizeof *header, body, size);
        (void)testing_send(f->sock, 0, packet, sizeof *header + size, &f->listener, with_fd);
        free(packet);
}

static void send_text(struct fake_admin *f, uint16_t opcode, const char *body) {
        struct pl_header header = fake_admin_header(f, opcode, strlen(body));

        fake_admin_send(f, &header, body, strlen(body), false);
}

void fake_admin_item(struct fake_admin *f, const char *body) {
        send_text(f, PL_ADMIN_ITEM, body);
}

void fake_admin_result(struct fake_admin *f, const char *body) {
        send_text(f, PL_ADMIN_END, body);
}

void fake_admin_follow(struct fake_admin *f) {
        const struct exchange *e = f->argument;

        fake_admin_accept(f);
        fake_admin_expect(f, e->call);
        for (const char *const *item = e->items; *item; item++)
                fake_admin_item(f, *item);
        fake_admin_result(f, e->result);
        fake_admin_expect_end(f);
}

static void become_program(const struct fake_admin *f, int out, int err, const char *const arguments[]) {
        const char *argv[32] = { PROGRAM };
        size_t n = 1;

        if (f) {
                argv[n++] = "--socket";
                argv[n++] = f->path;
        }
        for (; *arguments && n < ELEMENTSOF(argv) - 1; arguments++)
                argv[n++] = *arguments;
        (void)setenv("LC_ALL", "C.UTF-8", 0);
        /* Who runs the tests in the background ignores it, and what is ignored stays so. */
        (void)signal(SIGINT, SIG_DFL);
        (void)dup2(out, STDOUT_FILENO);
        (void)dup2(err, STDERR_FILENO);
        (void)execv(PROGRAM, (char *const *)argv);
        (void)dprintf(STDERR_FILENO, "%s: %s\n", PROGRAM, strerror(errno));
        _exit(126);
}

static int open_output(enum ctl_output output) {
        struct winsize size = { .ws_col = 100, .ws_row = 24 };
        int fd;

        switch (output) {
        case CTL_FILE:
                fd = memfd_create("pinleasectl", MFD_CLOEXEC);
                break;
        case CTL_NULL:
        case CTL_FULL:
                fd = open(output == CTL_FULL ? "/dev/full" : "/dev/null", O_RDWR | O_CLOEXEC);
                break;
        default:
                fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
                assert_int_equal(grantpt(fd) | unlockpt(fd) | ioctl(fd, TIOCSWINSZ, &size), 0);
        }
        assert_true(fd >= 0);
        return fd;
}

/* Everything that is in a memfd, as a string. */
static char *contents(int fd) {
        off_t size = lseek(fd, 0, SEEK_END);
        char *text = calloc(1, (size_t)(size < 0 ? 0 : size) + 1);

        assert_non_null(text);
        if (size > 0)
                assert_int_equal(pread(fd, text, (size_t)size, 0), size);
        return text;
}

/* What comes out of a terminal until nobody has it open any more. */
static char *drain_terminal(int fd, int pidfd) {
        char *text = NULL;
        size_t size;
        FILE *f = open_memstream(&text, &size);

        assert_non_null(f);
        for (;;) {
                struct pollfd p[] = { { .fd = fd, .events = POLLIN }, { .fd = pidfd, .events = POLLIN } };
                char buffer[4096];
                ssize_t n;

                assert_true(poll(p, 2, TESTING_PATIENCE_MS) > 0);
                if (p[0].revents) {
                        n = read(fd, buffer, sizeof buffer);
                        if (n <= 0)
                                break;
                        (void)fwrite(buffer, 1, (size_t)n, f);
                } else if (p[1].revents)
                        break;
        }
        assert_int_equal(fclose(f), 0);
        return text;
}

static int wait_program(pid_t pid, int pidfd, int milliseconds, long *ret_max_kb) {
        struct pollfd p = { .fd = pidfd, .events = POLLIN };
        struct rusage usage;
        int status;

        if (milliseconds > 0 && poll(&p, 1, milliseconds) == 0)
                assert_int_equal(kill(pid, SIGINT), 0);
        (void)testing_wait_fd(pidfd, POLLIN);
        assert_int_equal(wait4(pid, &status, 0, &usage), pid);
        *ret_max_kb = usage.ru_maxrss;
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGINT && milliseconds > 0)
                return 130;
        if (!WIFEXITED(status))
                fail_msg("pinleasectl was ended by signal %d", WTERMSIG(status));
        return WEXITSTATUS(status);
}

void ctl_run(struct ctl *ctl, const struct fake_admin *f, enum ctl_output output, int milliseconds, const char *const arguments[]) {
        int out = open_output(output), err = memfd_create("pinleasectl", MFD_CLOEXEC), slave = -1, pidfd;
        pid_t pid;

        *ctl = (struct ctl) { 0 };
        assert_true(err >= 0);
        if (output == CTL_TERMINAL)
                assert_true((slave = open(ptsname(out), O_RDWR | O_NOCTTY | O_CLOEXEC)) >= 0);
        pid = testing_fork();
        if (pid == 0)
                become_program(f, slave >= 0 ? slave : out, err, arguments);
        slave = pl_close(slave);
        pidfd = pidfd_open(pid, 0);
        assert_true(pidfd >= 0);

        if (output == CTL_TERMINAL)
                ctl->out = drain_terminal(out, pidfd);
        ctl->status = wait_program(pid, pidfd, milliseconds, &ctl->max_kb);
        if (output != CTL_TERMINAL)
                ctl->out = contents(out);
        ctl->err = contents(err);
        pl_close(pidfd);
        pl_close(out);
        pl_close(err);
        if (strstr(ctl->err, "Sanitizer") || strstr(ctl->err, "runtime error"))
                fail_msg("%s", ctl->err);
}

void ctl_free(struct ctl *ctl) {
        free(ctl->out);
        free(ctl->err);
        *ctl = (struct ctl) { 0 };
}

void ctl_assert_ok(const struct ctl *ctl) {
        if (ctl->status != 0 || *ctl->err)
                fail_msg("status %d: %s", ctl->status, ctl->err);
}

void ctl_assert_failed(const struct ctl *ctl, int status, const char *words) {
        if (ctl->status != status || !strstr(ctl->err, words))
                fail_msg("status %d, \"%s\" instead of %d, \"%s\"", ctl->status, ctl->err, status, words);
        assert_int_equal(strncmp(ctl->err, "pinleasectl: ", 13), 0);
        assert_int_equal(ctl->err[strlen(ctl->err) - 1], '\n');
}

void ctl_assert_contains(const char *text, const char *part) {
        if (!strstr(text, part))
                fail_msg("\"%s\" is not in:\n%s", part, text);
}

void ctl_assert_fits(const char *text, int columns) {
        const char *all = text;

        while (*text) {
                size_t length = strcspn(text, "\n");
                wchar_t line[4096];
                char bytes[4096];
                size_t n;

                assert_true(length < sizeof bytes);
                memcpy(bytes, text, length);
                bytes[length] = 0;
                n = mbstowcs(line, bytes, ELEMENTSOF(line));
                if (n == (size_t)-1 || wcswidth(line, n) < 0)
                        fail_msg("not printable: %s\n%s", bytes, all);
                if (wcswidth(line, n) > columns)
                        fail_msg("%d columns: %s\n%s", wcswidth(line, n), bytes, all);
                text += length + (text[length] == '\n');
        }
}
