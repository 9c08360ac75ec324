/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake_keeper.h"
#include "policy-share.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "ledger.h"
#include "session-args.h"
#include "uplink.h"
#include "util.h"

static struct session_args args;
static struct ledger ledger;
static struct uplink uplink;
static bool introduced;
static struct fake_keeper_state state;

static void introduce(const struct control_introduction *introduction, const char *path) {
        uplink_init(&uplink, SESSION_FD_SUPERVISOR, path, introduction, ledger.fd);
        introduced = true;
}

static void introduce_oneself(void) {
        const struct control_introduction introduction = {
                .magic = CONTROL_MAGIC,
                .version = CONTROL_VERSION,
                .session = args.session,
                .app_pid = (uint32_t)args.app_pid,
                .registrar_pid = (uint32_t)getpid(),
                .uid = args.identity.fsuid,
                .gid = args.identity.fsgid,
                .started_ms = 1,
                .credit = args.credit,
        };

        introduce(&introduction, args.session_socket[0] ? args.session_socket : NULL);
}

static void send_bytes(const struct fake_keeper_command *command, size_t size) {
        struct iovec iov = { .iov_base = (void *)command->bytes, .iov_len = size };
        union {
                struct cmsghdr header;
                uint8_t space[CMSG_SPACE(sizeof(int))];
        } control = { .header = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
        struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

        memcpy(CMSG_DATA(&control.header), &ledger.fd, sizeof(int));
        if (command->value == 1) {
                msg.msg_control = &control;
                msg.msg_controllen = sizeof control;
        }
        (void)sendmsg(SESSION_FD_SUPERVISOR, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void give_back(const struct credit_amount *amount) {
        const struct credit_amount less = amount_minimum(amount, &uplink.introduction.credit);

        if (uplink_return(&uplink, &less) < 0)
                _exit(40);
}

static void fill(uint32_t n) {
        for (uint32_t i = 0; i < n; i++) {
                struct ledger_record record = {
                        .id = (uint64_t)(i + 1) << 32 | i,
                        .length = 4096,
                        .device = 7,
                        .inode = 1000 + i % 10,
                        .bytes = 4096,
                        .method = PINLEASE_METHOD_PINNED,
                        .name = "/memfd:fake (deleted)",
                };

                ledger_live(ledger_intent(&ledger, i, &record));
                stats_registered(&ledger.header->stats, PINLEASE_METHOD_PINNED, 4096);
        }
}

static void enter(uint32_t index, const struct control_message *message) {
        struct ledger_record record = {
                .id = (uint64_t)(index + 1) << 32 | index,
                .length = message->length,
                .offset = message->offset,
                .device = message->device,
                .inode = message->inode,
                .owner = (uint32_t)message->id,
        };

        ledger_live(ledger_intent(&ledger, index, &record));
}

static void tell(const struct control_message *message) {
        if (message->type == CONTROL_BREAK)
                (void)uplink_break(&uplink, message);
        else
                uplink_tell(&uplink, message);
}

static void tell_state(void) {
        state.session = args.session;
        state.held = uplink.introduction.credit;
        state.connected = introduced && uplink.fd >= 0;
        state.welcome = uplink.welcome;
        state.wanting = uplink.wanting;
        (void)send(SESSION_FD_CLIENT, &state, sizeof state, MSG_NOSIGNAL);
}

static void obey(void) {
        struct fake_keeper_command command;
        ssize_t n = recv(SESSION_FD_CLIENT, &command, sizeof command, 0);

        if (n <= 0)
                _exit(0);
        switch (command.what) {
        case FAKE_INTRODUCE:
                introduce_oneself();
                return;
        case FAKE_INTRODUCE_AS:
                introduce(&command.introduction, NULL);
                return;
        case FAKE_SEND:
                send_bytes(&command, (size_t)n - offsetof(struct fake_keeper_command, bytes));
                return;
        case FAKE_WANT:
                if (!uplink.wanting)
                        (void)uplink_want(&uplink, &command.amount);
                return;
        case FAKE_RETURN:
                give_back(&command.amount);
                return;
        case FAKE_TELL:
                tell(&command.message);
                return;
        case FAKE_DROP:
                if (uplink.fd >= 0)
                        (void)shutdown(uplink.fd, SHUT_RDWR);
                return;
        case FAKE_FILL:
                fill(command.value);
                return;
        case FAKE_REGISTER:
                enter(command.value, &command.message);
                return;
        case FAKE_LIE:
                ledger.header->magic++;
                return;
        case FAKE_STATE:
                tell_state();
                return;
        default:
                _exit((int)command.value);
        }
}

static void look_at_policy(int fd) {
        const struct policy_block *block;

        if (policy_map(fd, &block) < 0)
                _exit(43);
        state.n_policy++;
        state.policy_rules = block->n_rules;
        policy_unmap(block);
}

static void hear(void) {
        struct control_message message;
        int fd;

        if (uplink_recv(&uplink, &message, &fd) < 0)
                return;
        if (message.type == CONTROL_POLICY)
                look_at_policy(fd);
        pl_close(fd);
        switch (message.type) {
        case CONTROL_POLICY:
                return;
        case CONTROL_CREDIT:
                state.n_credit++;
                state.credit = message;
                return;
        case CONTROL_GOING_AWAY:
                state.n_going_away++;
                state.going_away = message;
                return;
        case CONTROL_REVOKE:
                state.n_revoke++;
                state.revoke = message;
                return;
        case CONTROL_BREAK_OVER:
                state.n_break_over++;
                state.break_over = message;
                return;
        default:
                _exit(41);
        }
}

static int timeout(void) {
        uint64_t now = pl_now_ms();

        if (!introduced || uplink.fd >= 0 || !uplink.next_attempt)
                return -1;
        return uplink.next_attempt > now ? (int)(uplink.next_attempt - now) : 0;
}

int main(int argc, char *argv[]) {
        int null;

        if (session_args_parse(argc, argv, &args) < 0 || ledger_create((uint32_t)args.limits.registrations, &ledger) < 0)
                return 42;
        (void)signal(SIGPIPE, SIG_IGN);
        /* It may outlive its test, who waits for the end of what is written here. */
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        for (int fd = 0; fd < 3; fd++)
                (void)dup2(null, fd);

        for (;;) {
                struct pollfd p[] = {
                        { .fd = SESSION_FD_CLIENT, .events = POLLIN },
                        { .fd = introduced ? uplink.fd : -1, .events = POLLIN },
                };

                if (poll(p, ELEMENTSOF(p), timeout()) < 0)
                        return 43;
                if (p[1].revents)
                        hear();
                else if (p[0].revents)
                        obey();
                if (introduced && uplink.fd < 0 && uplink.next_attempt && pl_now_ms() >= uplink.next_attempt) {
                        state.n_attempts++;
                        uplink_turn(&uplink, pl_now_ms());
                }
        }
}
