/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "uplink.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "util.h"

static void retry_later(struct uplink *u) {
        if (!u->path)
                return;
        u->next_attempt = pl_now_ms() + u->retry_ms;
        u->retry_ms = u->retry_ms * 2 < UPLINK_RETRY_MAX_MS ? u->retry_ms * 2 : UPLINK_RETRY_MAX_MS;
}

/* Nothing that an app has sent can be in flight here: closing is harmless. */
static void drop(struct uplink *u) {
        bool welcome = u->welcome;

        u->fd = pl_close(u->fd);
        u->welcome = false;
        if (welcome)
                u->retry_ms = UPLINK_RETRY_MIN_MS;
        retry_later(u);
        /* One that went well for a while is succeeded at once: the socket is the service manager's, and waits. */
        if (welcome && u->path)
                u->next_attempt = pl_now_ms();
}

static void send_or_drop(struct uplink *u, const struct control_message *message) {
        if (control_send(u->fd, message, -1) < 0)
                drop(u);
}

static void introduce(struct uplink *u) {
        if (control_send_introduction(u->fd, &u->introduction, u->ledger) < 0)
                drop(u);
}

static int connect_to(const char *path) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(pl_closep) int fd = -1;

        if (strlen(path) >= sizeof address.sun_path)
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, strlen(path) + 1);

        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) < 0)
                return -errno;
        return pl_steal_fd(&fd);
}

void uplink_init(struct uplink *u,
                 int fd,
                 const char *path,
                 const struct control_introduction *introduction,
                 int ledger) {
        *u = (struct uplink) {
                .path = path,
                .introduction = *introduction,
                .ledger = ledger,
                .fd = fd,
                .retry_ms = UPLINK_RETRY_MIN_MS,
        };
        introduce(u);
}

void uplink_done(struct uplink *u) {
        u->fd = pl_close(u->fd);
}

void uplink_retire(struct uplink *u) {
        u->path = NULL;
        u->next_attempt = 0;
}

void uplink_turn(struct uplink *u, uint64_t now_ms) {
        if (u->fd >= 0 || !u->next_attempt || now_ms < u->next_attempt)
                return;

        u->next_attempt = 0;
        u->fd = connect_to(u->path);
        if (u->fd < 0) {
                u->fd = -1;
                retry_later(u);
                return;
        }
        introduce(u);
}

static void send_break(struct uplink *u, const struct uplink_break *b) {
        uint64_t now = pl_now_ms();

        send_or_drop(u,
                     &(struct control_message) {
                             .type = CONTROL_BREAK,
                             .cookie = b->cookie,
                             .device = b->device,
                             .inode = b->inode,
                             .offset = b->offset,
                             .length = b->length,
                             .reason = b->reason,
                             .value = b->due > now ? (uint32_t)(b->due - now) : 0,
                     });
}

/* Forgets those that nobody waits for any more. */
static void expire_breaks(struct uplink *u) {
        uint64_t now = pl_now_ms();

        for (size_t i = 0; i < ELEMENTSOF(u->breaks); i++)
                if (now > u->breaks[i].due + UPLINK_BREAK_MARGIN_MS)
                        u->breaks[i].due = 0;
}

static void send_breaks(struct uplink *u) {
        expire_breaks(u);
        for (size_t i = 0; i < ELEMENTSOF(u->breaks) && u->welcome; i++)
                if (u->breaks[i].due)
                        send_break(u, u->breaks + i);
}

static struct uplink_break *find_break(struct uplink *u, uint64_t cookie) {
        for (size_t i = 0; i < ELEMENTSOF(u->breaks); i++)
                if (u->breaks[i].due && u->breaks[i].cookie == cookie)
                        return u->breaks + i;
        return NULL;
}

static bool end_break(struct uplink *u, uint64_t cookie) {
        struct uplink_break *b = find_break(u, cookie);

        if (b)
                b->due = 0;
        return b != NULL;
}

int uplink_recv(struct uplink *u, struct control_message *ret_message, int *ret_fd) {
        struct control_message message;
        _cleanup_(pl_closep) int fd = -1;
        int r;

        /* Lost meanwhile, in sending. */
        if (u->fd < 0)
                return -EAGAIN;
        r = control_recv(u->fd, &message, &fd);
        if (r == -EAGAIN)
                return r;
        if (r < 0) {
                drop(u);
                return -EAGAIN;
        }

        switch (message.type) {
        case CONTROL_WELCOME:
                u->welcome = true;
                if (u->wanting)
                        send_or_drop(u, &(struct control_message) { .type = CONTROL_WANT, .credit = u->wanted });
                send_breaks(u);
                return -EAGAIN;
        case CONTROL_BREAK_OVER:
                if (!end_break(u, message.cookie))
                        return -EAGAIN;
                break;
        case CONTROL_CREDIT:
                /* An answer that nobody waits for is one to an earlier life of this connection. */
                if (!u->wanting)
                        return -EAGAIN;
                u->wanting = false;
                (void)amount_add(&u->introduction.credit, &message.credit);
                break;
        default:
                break;
        }
        *ret_message = message;
        *ret_fd = pl_steal_fd(&fd);
        return 0;
}

int uplink_want(struct uplink *u, const struct credit_amount *amount) {
        if (u->wanting)
                return -EPROTO;
        u->wanting = true;
        u->wanted = *amount;
        if (u->welcome)
                send_or_drop(u, &(struct control_message) { .type = CONTROL_WANT, .credit = *amount });
        return 0;
}

int uplink_return(struct uplink *u, const struct credit_amount *amount) {
        if (amount_subtract(&u->introduction.credit, amount) < 0)
                return -EPROTO;
        if (u->fd >= 0)
                send_or_drop(u, &(struct control_message) { .type = CONTROL_RETURN, .credit = *amount });
        return 0;
}

int uplink_break(struct uplink *u, const struct control_message *message) {
        uint32_t ms = message->value < CONTROL_BREAK_MAX_MS ? message->value : CONTROL_BREAK_MAX_MS;
        struct uplink_break *b = u->breaks;

        expire_breaks(u);
        if (find_break(u, message->cookie))
                return -EPROTO;
        while (b < u->breaks + ELEMENTSOF(u->breaks) && b->due)
                b++;
        if (b == u->breaks + ELEMENTSOF(u->breaks))
                return -EBUSY;
        *b = (struct uplink_break) {
                .cookie = message->cookie,
                .device = message->device,
                .inode = message->inode,
                .offset = message->offset,
                .length = message->length,
                .reason = message->reason,
                .due = pl_now_ms() + ms,
        };
        if (u->welcome)
                send_break(u, b);
        return 0;
}

uint64_t uplink_waits_until(const struct uplink *u) {
        uint64_t latest = 0;

        if (u->fd < 0 && !u->next_attempt)
                return 0;
        for (size_t i = 0; i < ELEMENTSOF(u->breaks); i++)
                if (u->breaks[i].due > latest)
                        latest = u->breaks[i].due;
        return latest;
}

void uplink_tell(struct uplink *u, const struct control_message *message) {
        if (u->welcome)
                send_or_drop(u, message);
}
