/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A whole session of a registrar, in this process: its app is the input, its keeper answers at once, the kernel is
 * fake_uverbs. At the end everything must have been given back.
 *
 * The input is a sequence of steps, each {what, kind, n} and n bytes:
 *
 *   what  bits 0 to 3: which descriptors come with the packet (take_fds()); bit 7: the answer is not read now
 *   kind  1 to 9: the request of that opcode with a header that is right; the bytes are its body
 *         32:     a message of the keeper; the bytes are the message
 *         33:     the verbs call that is bytes[0] from now fails, with error number bytes[1]

 *         34:     the app registers by itself; the bytes are iova and length, 8 each
 *         others: the bytes are the packet
 */

#include "fuzz.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "control.h"
#include "fake_uverbs.h"
#include "testing_policy.h"
#include "log.h"
#include "registrar.h"
#include "wire.h"
#include "wraps.h"

enum { KIND_CONTROL = 32, KIND_FAIL = 33, KIND_APP = 34 };

static struct {
        struct registrar registrar;
        int app, keeper;
        uint32_t seq;
        unsigned int n_given, n_own;
        bool disposing; /* the keeper has a descriptor that the registrar has not closed yet */
        bool over;
} s;

/* --- in place of what talks to the outside --- */

int __real_control_send(int sock, const struct control_message *message, int fd);
int __wrap_control_send(int sock, const struct control_message *message, int fd);
void __wrap_log_line(int priority, const char *format, ...);
void __wrap_log_event(int priority, enum log_message message, const char *format, ...);
void __wrap_log_subject_event(const struct log_subject *subject, int priority, enum log_message message, const char *format, ...);

/* Credit is handed out while there is some. */
static void give(const struct control_message *want) {
        struct control_message m = { .type = CONTROL_CREDIT, .value = CREDIT_PINNED, .limit = 1 << 15, .use = 1 << 15 };

        if (s.n_given++ < 8)
                m.credit = want->credit;
        MUST(__real_control_send(s.keeper, &m, -1) == 0);
}

/* The keeper takes every message at once, and acknowledges. */
int __wrap_control_send(int sock, const struct control_message *message, int fd) {
        struct control_message got;
        int got_fd, r;

        r = __real_control_send(sock, message, fd);
        if (r < 0 || control_recv(s.keeper, &got, &got_fd) < 0)
                return r;
        pl_close(got_fd);
        MUST(memcmp(&got, message, sizeof got) == 0);
        MUST((got_fd >= 0) == (got.type == CONTROL_CONTEXT_ADD || got.type == CONTROL_DISPOSE));
        if (got.type == CONTROL_DISPOSE || got.type == CONTROL_CLOSED) {
                MUST(s.disposing == (got.type == CONTROL_CLOSED));
                s.disposing = !s.disposing;
        }
        if (got.type == CONTROL_WANT)
                give(&got);
        if (got.type == CONTROL_CONTEXT_ADD || got.type == CONTROL_CONTEXT_DROP || got.type == CONTROL_DISPOSE)
                MUST(__real_control_send(s.keeper, &(struct control_message) { .type = CONTROL_ACK }, -1) == 0);
        return r;
}

void __wrap_log_line(int priority _unused_, const char *format _unused_, ...) {
}

void __wrap_log_event(int priority _unused_, enum log_message message _unused_, const char *format _unused_, ...) {
}

void __wrap_log_subject_event(const struct log_subject *subject _unused_,
                              int priority _unused_,
                              enum log_message message _unused_,
                              const char *format _unused_,
                              ...) {
}

/* --- the app --- */

static int memfd(unsigned int size, unsigned int seals) {
        int fd = memfd_create("pinlease-fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);

        MUST(fd >= 0 && ftruncate(fd, size) == 0);
        MUST(pwrite(fd, "abc", 3, 0) == 3 && pwrite(fd, "abc", 3, 4096) == 3);
        MUST(fcntl(fd, F_ADD_SEALS, seals) == 0);
        return fd;
}

static int reopen(int fd, int flags) {
        char path[32];
        int r;

        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        r = open(path, flags | O_CLOEXEC);
        pl_close(fd);
        return r;
}

/* The kinds of descriptors that an app may send. Returns how many, all alike. */
static unsigned int take_fds(unsigned int which, int *ret_fd) {
        int pair[2];

        switch (which) {
        case 0:
                return 0;
        case 1:
                *ret_fd = memfd(8192, 0);
                return 1;
        case 2:
                *ret_fd = memfd(8192, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
                return 1;
        case 3:
                *ret_fd = memfd(65536, F_SEAL_FUTURE_WRITE);
                return 1;
        case 4:
                *ret_fd = reopen(memfd(8192, 0), O_RDONLY);
                return 1;
        case 5:
                *ret_fd = reopen(memfd(8192, 0), O_PATH);
                return 1;
        case 6:
                MUST(pipe2(pair, O_CLOEXEC) == 0);
                pl_close(pair[0]);
                *ret_fd = pair[1];
                return 1;
        case 7:
                *ret_fd = eventfd(0, EFD_CLOEXEC);
                return 1;
        case 8:
                *ret_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
                return 1;
        case 9:
                *ret_fd = open("/dev/zero", O_RDWR | O_CLOEXEC);
                return 1;
        case 10:
                *ret_fd = open("/dev/tty", O_PATH | O_CLOEXEC);
                return 1;
        case 11:
                *ret_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                return 1;
        case 12: /* counts as hanging where the kernel cannot tell */
                *ret_fd = open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC);
                return 1;
        case 13:
                *ret_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
                return 1;
        case 14:
                *ret_fd = memfd(8192, 0);
                return 2;
        default:
                *ret_fd = memfd(8192, 0);
                return 7;
        }
}

static void send_packet(const void *data, size_t size, unsigned int which) {
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(8 * sizeof(int))];
        } control = { 0 };
        struct iovec iov = { .iov_base = (void *)data, .iov_len = size };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
        unsigned int n;
        int fd = -1;

        n = take_fds(which, &fd);
        if (n > 0 && fd >= 0) {
                msg.msg_control = &control;
                msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
                control.header.cmsg_level = SOL_SOCKET;
                control.header.cmsg_type = SCM_RIGHTS;
                control.header.cmsg_len = CMSG_LEN(n * sizeof(int));
                for (unsigned int i = 0; i < n; i++)
                        memcpy(CMSG_DATA(&control.header) + i * sizeof(int), &fd, sizeof(int));
        }
        (void)sendmsg(s.app, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
        pl_close(fd);
}

/* Whatever the session says must be right. */
static void read_answers(void) {
        struct pl_received received;

        while (pl_wire_recv(s.app, MSG_DONTWAIT, &received) == 0) {
                MUST(!received.truncated);
                MUST(pl_packet_check(&received.packet, received.size, received.n_fds, PL_FROM_SESSION) == PINLEASE_CODE_NONE);
        }
}

/* Lets the registrar work until it would wait. */
static void turn(void) {
        while (!s.over) {
                struct pollfd p[REGISTRAR_N_FDS];

                if (registrar_prepare(&s.registrar, p) != 0 && poll(p, ELEMENTSOF(p), 0) <= 0)
                        return;
                s.over = registrar_turn(&s.registrar) < 0;
        }
}

static void fail_call(const uint8_t *bytes, size_t n) {
        static const int errors[] = { -ENOMEM, -EINVAL, -EPERM, -EFAULT, -EOPNOTSUPP, -EBUSY, -ENOTTY, -ENODEV };

        fake->fail_at = n > 0 ? fake->n_calls + 1 + bytes[0] : 0;
        fake->fail_error = errors[n > 1 ? bytes[1] % ELEMENTSOF(errors) : 0];
}

/* On the verbs context of most inputs. */
static void register_by_itself(const uint8_t *bytes, size_t n) {
        uint64_t range[2] = { 0 };
        int fd;

        if (s.n_own++ >= 64)
                return;
        fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        MUST(fd >= 0);
        memcpy(range, bytes, n < sizeof range ? n : sizeof range);
        MUST(fake_app_reg(fd, range[1], range[0]));
        pl_close(fd);
}

/* What the ledger says to others is what is charged, beside the grants that are open. */
static void check_gauges(void) {
        const struct stats *stats = &s.registrar.state.ledger.header->stats;
        const struct registrar_state *state = &s.registrar.state;
        const struct credit_amount *used = &state->credit.used;
        uint64_t open = 0;

        for (unsigned int i = 0; i < state->n_grants; i++)
                open += state->registrations[state->grants[i].slot].charged;
        MUST(stats->live[STATS_PINNED].bytes == used->pinned);
        MUST(stats->live[STATS_ODP].bytes + open == used->odp);
        MUST(stats->live[STATS_PINNED].registrations + stats->live[STATS_ODP].registrations + state->n_grants == used->registrations);
}

static void step(unsigned int what, unsigned int kind, const uint8_t *bytes, size_t n) {
        struct pl_packet packet;

        if (kind == KIND_FAIL) {
                fail_call(bytes, n);
                return;
        }
        if (kind == KIND_APP) {
                register_by_itself(bytes, n);
                return;
        }
        if (kind == KIND_CONTROL)
                (void)send(s.keeper, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        else if (kind >= PL_OP_HELLO && kind <= PL_OP_GRANT_COMMIT) {
                pl_packet_init(&packet, (uint16_t)kind, ++s.seq);
                memcpy(packet.body.bytes, bytes, n < sizeof packet.body ? n : sizeof packet.body);
                send_packet(&packet, packet.header.length, what & 15);
        } else
                send_packet(bytes, n, what & 15);

        turn();
        check_gauges();
        if (!(what & 128)) {
                read_answers();
                turn();
        }
}

static void begin(void) {
        static const struct credit_amount limits = { .pinned = 1 << 16, .odp = 1 << 16, .registrations = 24 };
        static const struct credit_amount credit = { .pinned = 1 << 13, .odp = 1 << 13, .registrations = 4 };
        struct registrar_config config = {
                .session = 1,
                .limits = limits,
                .credit = credit,
                .hello_timeout_ms = 1 << 30,
                .pagemap = -1,
        };
        int client[2], control[2];
        struct ledger ledger;

        fake_reset();
        wraps_reset();
        memset(&s, 0, sizeof s);
        MUST(control_pair(client) == 0 && control_pair(control) == 0);
        MUST(ledger_create((uint32_t)limits.registrations, &ledger) == 0);
        s.app = client[0];
        s.keeper = control[0];
        config.client = client[1];
        config.control = control[1];
        config.policy = testing_policy_mapped();
        registrar_init(&s.registrar, &config, &fake_ops, &ledger);
}

static void end(void) {
        struct registrar *r = &s.registrar;

        /* The app hangs up; the kernel works again. */
        s.app = pl_close(s.app);
        fake->fail_at = 0;
        turn();
        MUST(s.over);
        MUST(registrar_done(r) == 0);
        MUST(fake_live() == 0);
        MUST(credit_is_zero(&r->state.credit));
        MUST(r->state.mappings.n_views == 0 && !r->state.mappings.objects);
        for (size_t i = 0; i < r->n_hanging; i++)
                pl_close(r->hanging[i]);
        pl_close(r->client);
        pl_close(r->line.fd);
        pl_close(s.keeper);
}

/* The lowest number that is free tells whether a descriptor has been left. */
static int lowest_free(void) {
        int fd = fcntl(2, F_DUPFD_CLOEXEC, 0);

        MUST(fd >= 0);
        return pl_close(fd) + 1 + fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        int before = lowest_free();

        if (size > FUZZ_MAX_INPUT)
                return 0;
        begin();
        while (size >= 3 && !s.over) {
                size_t n = data[2] < size - 3 ? data[2] : size - 3;

                step(data[0], data[1], data + 3, n);
                data += 3 + n;
                size -= 3 + n;
        }
        end();
        MUST(lowest_free() == before);
        return 0;
}
