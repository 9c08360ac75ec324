/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "line.h"

#include <inttypes.h>
#include <poll.h>

int line_send(const struct line *line, const struct control_message *message) {
        return control_send(line->fd, message, -1);
}

/* Owns the descriptor. */
static int handle(struct line *line, const struct control_message *message, int fd) {
        if (message->type == CONTROL_POLICY) {
                int r = fd < 0 ? -EPROTO : line->ops->policy(line->userdata, fd);

                pl_close(fd);
                return r;
        }
        if (fd >= 0 && (message->type != CONTROL_ACK || !line->telling)) {
                pl_close(fd);
                return -EPROTO;
        }

        switch (message->type) {
        case CONTROL_PING:
                return line_send(line, &(struct control_message) { .type = CONTROL_PONG });
        case CONTROL_ACK:
                if (!line->telling)
                        return -EPROTO;
                line->telling = false;
                line->ack = *message;
                line->ack_fd = fd;
                return 0;
        case CONTROL_CREDIT:
                line->asking = false;
                line->answer = *message;
                return amount_add(&line->credit->held, &message->credit) < 0 ? -EPROTO : 0;
        default:
                return line->ops->handle(line->userdata, message);
        }
}

int line_drain(struct line *line) {
        for (;;) {
                struct control_message message;
                int fd, r;

                r = control_recv(line->fd, &message, &fd);
                if (r < 0) {
                        pl_close(fd);
                        return r == -EAGAIN ? 0 : r;
                }
                r = handle(line, &message, fd);
                if (r < 0)
                        return r;
        }
}

/* Waits until *due is false, or the deadline has passed: the caller looks which. */
static int wait_for(struct line *line, const bool *due, uint64_t deadline) {
        for (;;) {
                struct pollfd p[] = { { .fd = line->fd, .events = POLLIN }, { .fd = line->client } };
                int r, timeout;
                uint64_t now;

                r = line_drain(line);
                if (r < 0 || !*due)
                        return r;
                r = line->ops->tend(line->userdata, &timeout);
                if (r < 0)
                        return r;

                now = pl_now_ms();
                if (now >= deadline)
                        return 0;
                if (timeout < 0 || (uint64_t)timeout > deadline - now)
                        timeout = (int)(deadline - now);
                if (poll(p, ELEMENTSOF(p), timeout) < 0 && errno != EINTR)
                        return -errno;
                if (p[1].revents & (POLLHUP | POLLERR))
                        return -ECONNRESET;
        }
}

int line_try(struct line *line, const struct control_message *message, int fd, int *ret_error, int *ret_fd) {
        uint64_t deadline = pl_now_ms() + KEEPER_TIMEOUT_MS;
        int r;

        /* Descriptors in flight are counted for all registrars together, which are one user; the others' are soon taken. */
        while ((r = control_send(line->fd, message, fd)) == -ETOOMANYREFS && pl_now_ms() < deadline)
                (void)nanosleep(&(struct timespec) { .tv_nsec = 1000000 }, NULL);
        if (r < 0)
                return r;

        line->telling = true;
        r = wait_for(line, &line->telling, deadline);
        if (r < 0)
                return r;
        if (line->telling)
                return -ETIMEDOUT;
        *ret_error = -(int)line->ack.value;
        *ret_fd = pl_steal_fd(&line->ack_fd);
        return 0;
}

int line_tell(struct line *line, const struct control_message *message, int fd) {
        int r, error, come;

        r = line_try(line, message, fd, &error, &come);
        if (r < 0)
                return r;
        pl_close(come);
        return error;
}

static int refuse_unanswered(struct refusal *ret_refusal) {
        return refuse(ret_refusal,
                      PINLEASE_CODE_RESTARTING,
                      "The part of the service that knows how much this user may have does not answer; it is probably being "
                      "restarted. Nothing was registered: try again in a few seconds.");
}

/* Says what is used up, and whose. */
static int refuse_used_up(const struct control_message *answer, const struct credit_amount *need, struct refusal *ret_refusal) {
        const char *who = answer->selector == CREDIT_OF_ALL ? "All users together" : "This user";
        const char *holds = answer->selector == CREDIT_OF_ALL ? "all sessions" : "all of the user's sessions";

        switch (answer->value) {
        case CREDIT_PINNED:
                return refuse(ret_refusal,
                              PINLEASE_CODE_PINNED_LIMIT,
                              "%s may pin %" PRIu64 " bytes in all, and %s together hold %" PRIu64 "; %" PRIu64
                              " more would be needed. Deregister some in this or another session, accept ODP where the device has it, "
                              "or have the administrator raise the limit.",
                              who,
                              answer->limit,
                              holds,
                              answer->use,
                              need->pinned);
        case CREDIT_ODP:
                return refuse(ret_refusal,
                              PINLEASE_CODE_ODP_LIMIT,
                              "%s may register %" PRIu64 " bytes by ODP in all, and %s together hold %" PRIu64 "; %" PRIu64
                              " more would be needed. Deregister some in this or another session, or have the administrator raise "
                              "the limit.",
                              who,
                              answer->limit,
                              holds,
                              answer->use,
                              need->odp);
        case CREDIT_REGISTRATIONS:
                return refuse(ret_refusal,
                              PINLEASE_CODE_REGISTRATION_LIMIT,
                              "%s may have %" PRIu64 " registrations in all, and %s together hold %" PRIu64 "; %" PRIu64
                              " more would be needed. Deregister some in this or another session, register larger ranges, or have "
                              "the administrator raise the limit.",
                              who,
                              answer->limit,
                              holds,
                              answer->use,
                              need->registrations);
        default:
                return refuse_unanswered(ret_refusal);
        }
}

/* What is still needed after what has come. Held credit does not shrink while it is asked for more. */
static bool still_needed(const struct line *line,
                         const struct credit_amount *need,
                         const struct credit_amount *before,
                         struct credit_amount *ret_rest) {
        const struct credit_amount come = amount_rest(&line->credit->held, before);

        *ret_rest = amount_rest(need, &come);
        return !amount_is_zero(ret_rest);
}

/* credit_ask_t; userdata is the line. REFUSED with what the user may have and has, or because no answer came in time.
 */
static int ask(void *userdata, const struct credit_amount *need, struct refusal *ret_refusal) {
        struct line *line = userdata;
        const struct credit_amount before = line->credit->held;
        uint64_t deadline = pl_now_ms() + CREDIT_TIMEOUT_MS;
        struct credit_amount more;
        int r;

        /* The question of a request that has given up. What was meant for that is good for this one. */
        if (line->asking) {
                r = wait_for(line, &line->asking, deadline);
                if (r < 0)
                        return r;
                if (line->asking)
                        return refuse_unanswered(ret_refusal);
        }
        if (!still_needed(line, need, &before, &more))
                return 0;

        r = line_send(line, &(struct control_message) { .type = CONTROL_WANT, .credit = more });
        if (r == -EAGAIN)
                return refuse_unanswered(ret_refusal);
        if (r < 0)
                return r;
        line->asking = true;
        r = wait_for(line, &line->asking, deadline);
        if (r < 0)
                return r;

        if (!still_needed(line, need, &before, &more))
                return 0;
        return line->asking ? refuse_unanswered(ret_refusal) : refuse_used_up(&line->answer, &more, ret_refusal);
}

void line_init(
        struct line *line, int fd, int client, struct credit *credit, const struct line_ops *ops, void *userdata) {
        *line = (struct line) {
                .fd = fd, .client = client, .credit = credit, .ops = ops, .userdata = userdata, .ack_fd = -1
        };
        credit->ask = ask;
        credit->userdata = line;
}

bool line_has_surplus(const struct line *line) {
        struct credit copy = *line->credit;
        struct credit_amount surplus;

        return !line->asking && credit_take_surplus(&copy, &surplus);
}

int line_return_surplus(struct line *line) {
        struct control_message message = { .type = CONTROL_RETURN };
        int r;

        if (line->asking || !credit_take_surplus(line->credit, &message.credit))
                return 0;
        r = line_send(line, &message);
        if (r < 0)
                (void)amount_add(&line->credit->held, &message.credit);
        return r == -EAGAIN ? 0 : r;
}
